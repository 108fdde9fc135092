// echo-server.mjs as a child of the test.

import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

const PROGRAM = fileURLToPath(new URL("./echo-server.mjs", import.meta.url));
const START_MS = 10_000;

export interface EchoOptions {
  /** The most files that it may have open. */
  readonly files?: number;
  /** Its loop stands still for so long, so often. */
  readonly stallMs?: number;
  readonly stallEveryMs?: number;
  /** It takes no more from the kernel; what it holds is echoed all the same. */
  readonly acceptsPerSecond?: number;
}

type FromServer = { readonly port?: number; readonly connections?: number };

export class EchoProcess {
  readonly port: number;
  /** Files that it needs for itself: open before the first connection. */
  readonly ownFiles: number;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, port: number) {
    this.#child = child;
    this.port = port;
    this.ownFiles = this.files;
  }

  /** @param atEnd takes what stops it: the running test's onTestFinished. */
  static async start(
    { files, ...options }: EchoOptions,
    atEnd: (stop: () => void) => void,
  ): Promise<EchoProcess> {
    const limit = files === undefined ? "" : `ulimit -n ${files}; `;
    const program = [process.execPath, PROGRAM, JSON.stringify(options)];
    const child = spawn("sh", ["-c", `${limit}exec "$0" "$@"`, ...program], {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    atEnd(() => void child.kill("SIGKILL"));
    const { port } = await answerOf(child);
    return new EchoProcess(child, port!);
  }

  get pid(): number {
    return this.#child.pid!;
  }

  get endpoint(): string {
    return `tcp://127.0.0.1:${this.port}`;
  }

  get files(): number {
    return readdirSync(`/proc/${this.pid}/fd`).length;
  }

  /** How many it holds now. */
  async connections(): Promise<number> {
    const answer = answerOf(this.#child);
    this.#child.send("connections");
    return (await answer).connections!;
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }
}

function answerOf(child: ChildProcess): Promise<FromServer> {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error("the echo server is silent")), START_MS);
    child.once("message", (message: FromServer) => {
      clearTimeout(late);
      resolve(message);
    });
  });
}
