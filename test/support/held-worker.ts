// A process that serves on listening sockets that it inherits, as the workers of a supervisor do,
// and takes orders on its standard input.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

type Files = Readonly<Record<string, readonly number[]>>;

export interface HeldWorker {
  readonly child: ChildProcess;
  /** Resolves with "ok", or the code and text of what it threw. */
  adopt(sockets: Files): Promise<string>;
  release(sockets: Files): Promise<string>;
  /** Begins to drain; the process ends when nobody is left. */
  drain(): void;
  ended(): Promise<number | null>;
}

export interface HeldWorkerOptions {
  /** Shown to clients in Welcome. */
  readonly name: string;
  readonly worker: number;
  /** Files of this process, which become 3 and following ones there. */
  readonly inherited: readonly number[];
  /** What it listens on at first, by the numbers that they have there. */
  readonly sockets: Files;
  readonly options?: object;
  readonly sharesPorts?: boolean;
  readonly env?: NodeJS.ProcessEnv;
}

function program({ name, worker, sockets, options, sharesPorts }: HeldWorkerOptions): string {
  const server = new URL("../../dist/server/server.js", import.meta.url).href;
  const all = {
    ...{ node: { name }, admin: { enabled: false }, websocket: { enabled: false } },
    ...options,
  };
  const parts = { worker, sockets, sharesPorts: sharesPorts ?? false };
  return `
    const { Server } = await import(${JSON.stringify(server)});
    const say = (value) => console.log(JSON.stringify(value));
    const failed = (error) => say(error.code + ": " + error.message);
    let server;
    try {
      server = new Server(${JSON.stringify(all)}, ${JSON.stringify(parts)});
      await server.start();
    } catch (error) {
      failed(error);
      process.exit(1);
    }
    say("serving");
    const orders = (await import("node:readline")).createInterface(process.stdin);
    orders.on("line", async (line) => {
      const { order, sockets } = JSON.parse(line);
      if (order === "drain") {
        await server.stop();
        process.exit(0);
      }
      try {
        await server[order](sockets);
        say("ok");
      } catch (error) {
        failed(error);
      }
    });
  `;
}

/** Rejects with what the worker said where it does not serve. */
export async function startHeldWorker(options: HeldWorkerOptions): Promise<HeldWorker> {
  const child = spawn(process.execPath, ["--input-type=module", "--eval", program(options)], {
    stdio: ["pipe", "pipe", "inherit", ...options.inherited],
    env: { ...process.env, ...options.env },
  });
  const lines = createInterface(child.stdout!)[Symbol.asyncIterator]();
  const next = async (): Promise<string> => {
    const { value, done } = await lines.next();
    return done === true ? "it has ended" : (JSON.parse(value) as string);
  };
  const said = await next();
  if (said !== "serving") throw new Error(said);
  const order = (name: string, sockets?: Files): void => {
    child.stdin!.write(`${JSON.stringify({ order: name, sockets })}\n`);
  };
  const ask = (name: string, sockets: Files): Promise<string> => {
    order(name, sockets);
    return next();
  };
  return {
    child,
    adopt: (sockets) => ask("adopt", sockets),
    release: (sockets) => ask("release", sockets),
    drain: () => order("drain"),
    async ended() {
      if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
      return child.exitCode;
    },
  };
}
