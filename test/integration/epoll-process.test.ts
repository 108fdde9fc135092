// The native acceptor in processes of its own: out of files, at exit, in worker threads. For its
// own connections and for those that it hands over to uWebSockets.js.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { loadUws } from "../../src/transport/uws.ts";
import { hasNative } from "../support/native.ts";
import { binaryMessage, upgradeRequest } from "../support/raw-websocket.ts";
import { pass, until } from "../support/transport-bench.ts";

const LOOPBACK = "127.0.0.1";
const FILES = 96;
/** Processor time in a second without work, in milliseconds. */
const IDLE_MS_MAX = 100;
/** Kernel ticks of /proc/PID/stat. */
const TICK_MS = 10;

type Kind = "tcp" | "websocket";
const KINDS: Kind[] = [];
if (hasNative) KINDS.push("tcp");
if (hasNative && isThere(loadUws)) KINDS.push("websocket");

const children: ChildProcess[] = [];
const sockets: Socket[] = [];

beforeAll(() => {
  if (!existsSync(fileURLToPath(dist("transport/uws.js")))) throw new Error("run npm run build");
});

afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  for (const socket of sockets.splice(0)) socket.destroy();
});

function isThere(load: () => unknown): boolean {
  try {
    return load() !== null;
  } catch {
    return false;
  }
}

function dist(path: string): string {
  return new URL(`../../dist/${path}`, import.meta.url).href;
}

/** Makes a transport that echoes, `address` where it listens, and `report`. */
function program(kind: Kind): string {
  const module = (path: string): string => `await import(${JSON.stringify(dist(path))})`;
  return `
    const { EpollLoop } = ${module("transport/epoll-loop.js")};
    const { loadNative } = ${module("transport/native.js")};
    const { systemClock } = ${module("base/clock.js")};
    const { BufferPool } = ${module("base/buffer-pool.js")};
    const pool = new BufferPool();
    const report = { opened: 0, closed: 0, acceptErrors: [], reasons: [] };
    const on = { open() {}, chunk() {} };
    const handler = {
      admit: () => true,
      onOpen(channel) { report.opened++; on.open(channel); },
      onChunk(channel, bytes, start, end) {
        const slab = pool.lease(end - start);
        slab.bytes.set(bytes.subarray(start, end));
        transport.write(channel, slab, 0, end - start);
        slab.release();
        on.chunk(channel);
      },
      onQueued() {}, onDrain() {}, onEnd(channel) { transport.close(channel, 1000, ""); },
      onSign() {}, onFault() {}, onClose() { report.closed++; },
      onAcceptError(code) { report.acceptErrors.push(code); },
    };
    const where = { host: "${LOOPBACK}", port: 0, path: null, fd: null };
    const loop = new EpollLoop(loadNative());
    ${kind === "tcp" ? TCP_PROGRAM(module) : WEBSOCKET_PROGRAM(module)}
    const { port } = await transport.listen();
    if (report.reasons.length > 0) throw new Error(report.reasons.join());
  `;
}

const TCP_PROGRAM = (module: (path: string) => string): string => `
  const { TcpEpollTransport } = ${module("transport/tcp-epoll.js")};
  const options = { ...where, backlog: 4096, noDelay: true, keepAliveMs: 0, userTimeoutMs: 0,
    queueBytesMax: 1e9 };
  const transport = new TcpEpollTransport(options, handler, loop, systemClock);
`;

const WEBSOCKET_PROGRAM = (module: (path: string) => string): string => `
  const { WebSocketTransport } = ${module("transport/websocket.js")};
  const { loadUws } = ${module("transport/uws.js")};
  const options = { ...where, messageBytesMax: 1000, subprotocol: null, origins: ["*"],
    onUpgradeRefused() {}, onOwnListener: (reason) => report.reasons.push(reason) };
  const transport = new WebSocketTransport(options, handler, loadUws(), systemClock, loop);
`;

interface Report {
  readonly opened: number;
  readonly closed: number;
  readonly acceptErrors: readonly string[];
}

interface Child {
  readonly process: ChildProcess;
  readonly port: number;
  ask(command: "report" | "free"): Promise<Report>;
}

/** @param filesMax how many it may open; null: as many as this one. */
async function start(kind: Kind, rest: string, filesMax: number | null): Promise<Child> {
  const code = `${program(kind)}
    ${rest}
    console.log(JSON.stringify({ port }));
  `;
  const node = [process.execPath, "--input-type=module", "--eval", code];
  const limit = filesMax === null ? ":" : `ulimit -n ${filesMax}`;
  const child = spawn("sh", ["-c", `${limit}; exec "$0" "$@"`, ...node], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  children.push(child);
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const next = async (): Promise<unknown> => {
    const { value, done } = await lines.next();
    if (done === true) throw new Error("the process has ended");
    return JSON.parse(value);
  };
  const { port } = (await next()) as { port: number };
  const ask = async (command: string): Promise<Report> => {
    child.stdin.write(`${command}\n`);
    return (await next()) as Report;
  };
  return { process: child, port, ask };
}

interface Client {
  readonly socket: Socket;
  /** Bytes that came back. */
  received: number;
  isServed: boolean;
  hasEnded: boolean;
  error: string;
}

function client(kind: Kind, port: number): Client {
  const socket = connect(port, LOOPBACK);
  const it: Client = { socket, received: 0, isServed: false, hasEnded: false, error: "" };
  sockets.push(socket);
  socket.on("error", (error: NodeJS.ErrnoException) => (it.error = error.code ?? error.name));
  socket.on("end", () => (it.hasEnded = true));
  socket.on("close", () => (it.hasEnded = true));
  socket.on("data", (bytes: Buffer) => {
    it.isServed = true;
    it.received += bytes.length;
  });
  socket.write(kind === "tcp" ? "hello" : upgradeRequest({ "Sec-WebSocket-Protocol": null }));
  return it;
}

async function crowd(kind: Kind, port: number, size: number): Promise<Client[]> {
  const all = Array.from({ length: size }, () => client(kind, port));
  await until(() => all.every(({ isServed, hasEnded }) => isServed || hasEnded), "all know");
  return all;
}

async function echo(kind: Kind, { socket, ...before }: Client, it: Client): Promise<void> {
  socket.write(kind === "tcp" ? "again" : binaryMessage(Buffer.from("again")));
  await until(() => it.received > before.received, "it is served", 1_000);
}

/** Processor time of a process, in milliseconds. */
function processorMs({ pid }: ChildProcess): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ");
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}

const WITH_COMMANDS = `
  const { openSync, closeSync } = await import("node:fs");
  const { createInterface } = await import("node:readline");
  const spare = Array.from({ length: 8 }, () => openSync("/dev/null", "r"));
  createInterface(process.stdin).on("line", (command) => {
    if (command === "free") for (const fd of spare.splice(0)) closeSync(fd);
    console.log(JSON.stringify(report));
  });
`;

describe.each(KINDS)("out of files, the acceptor of %s", (kind) => {
  async function full(): Promise<{ child: Child; inside: Client[]; outside: Client[] }> {
    const child = await start(kind, WITH_COMMANDS, FILES);
    const all = await crowd(kind, child.port, 200);
    const inside = all.filter(({ isServed }) => isServed);
    return { child, inside, outside: all.filter(({ isServed }) => !isServed) };
  }

  it("refuses whoever waits in order, tells it once, and serves those it has", async () => {
    const { child, inside, outside } = await full();
    expect(inside.length).toBeGreaterThan(20);
    expect(inside.length).toBeLessThan(FILES);
    expect(outside.map(({ error }) => error).filter((error) => error !== "")).toEqual([]);
    for (const it of [inside[0]!, inside.at(-1)!]) await echo(kind, it, it);
    const report = await child.ask("report");
    expect(report.acceptErrors).toEqual(["EMFILE"]);
    expect(report.opened).toBe(inside.length);
  });

  it("idles, and later comers are refused within its second", async () => {
    const { child } = await full();
    await pass(100);
    const before = processorMs(child.process);
    await pass(1_000);
    expect(processorMs(child.process) - before).toBeLessThan(IDLE_MS_MAX);
    for (let round = 0; round < 2; round++) {
      const late = await crowd(kind, child.port, 150);
      expect(late.filter(({ isServed }) => isServed)).toEqual([]);
      expect(late.filter(({ error }) => error !== "")).toEqual([]);
    }
    expect((await child.ask("report")).acceptErrors).toEqual(["EMFILE"]);
  });

  it("accepts again at once when connections end, and tells the next time anew", async () => {
    const { child, inside } = await full();
    for (const { socket } of inside.slice(0, 10)) socket.destroy();
    await pass(50);
    const later = await crowd(kind, child.port, 5);
    expect(later.filter(({ isServed }) => isServed).length).toBe(5);
    await echo(kind, later[0]!, later[0]!);
    await crowd(kind, child.port, 50);
    expect((await child.ask("report")).acceptErrors).toEqual(["EMFILE", "EMFILE"]);
  });

  it("accepts again by itself when files are free elsewhere in the process", async () => {
    const { child } = await full();
    await child.ask("free");
    const served = (): Promise<Client[]> => crowd(kind, child.port, 3);
    // Who comes within the second is served at its end.
    expect((await served()).filter(({ isServed }) => isServed).length).toBe(3);
  });

  it("keeps to one episode while connections come and go at its limit", async () => {
    const { child, inside } = await full();
    for (let round = 0; round < 4; round++) {
      inside[round]!.socket.destroy();
      await crowd(kind, child.port, 3);
    }
    const { acceptErrors, opened } = await child.ask("report");
    expect(acceptErrors).toEqual(["EMFILE"]);
    expect(opened).toBeGreaterThan(inside.length);
  });
});

describe.each(KINDS)("a process that serves %s", (kind) => {
  it.each([
    ["onOpen", "on.open = () => process.exit(0);"],
    ["onChunk", "on.chunk = () => process.exit(0);"],
    ["a timer", "on.open = () => setTimeout(() => process.exit(0), 20);"],
    ["a closed input", "process.stdin.on('end', () => process.exit(0)).resume();"],
  ])("may exit from %s with sockets open", async (_where, rest) => {
    const child = await start(kind, rest, null);
    const exit = once(child.process, "exit");
    const all = Array.from({ length: 50 }, () => client(kind, child.port));
    for (const { socket } of all) {
      if (kind === "websocket") {
        socket.once("data", () => socket.write(binaryMessage(Buffer.from("hello"))));
      }
    }
    await pass(50);
    child.process.stdin!.end();
    const begun = performance.now();
    expect(await exit).toEqual([0, null]);
    expect(performance.now() - begun).toBeLessThan(2_000);
    await until(() => all.every(({ hasEnded }) => hasEnded), "every client has heard of it");
  });
});

function filesLike(name: RegExp): number {
  return readdirSync("/proc/self/fd").filter((file) => {
    try {
      return name.test(readlinkSync(`/proc/self/fd/${file}`));
    } catch {
      return false;
    }
  }).length;
}

/** Posts its port; whatever it is sent, it destroys its transport. */
function workerProgram(kind: Kind): string {
  return `(async () => {
    const { parentPort } = require("node:worker_threads");
    ${program(kind)}
    parentPort.postMessage(port);
    parentPort.once("message", () => transport.destroy());
  })();`;
}

async function startWorker(kind: Kind): Promise<{ worker: Worker; all: Client[]; port: number }> {
  const worker = new Worker(workerProgram(kind), { eval: true });
  const [port] = (await once(worker, "message")) as [number];
  const all = await crowd(kind, port, 20);
  expect(all.every(({ isServed }) => isServed)).toBe(true);
  return { worker, all, port };
}

// uWebSockets.js aborts the process when a thread ends in which it has sockets, whoever accepted
// them: the second test is what it can do.
describe.runIf(KINDS.includes("tcp"))("a worker thread", () => {
  it("that serves TCP may be terminated at any time, and leaves no file", async () => {
    await pass(50);
    const before = filesLike(/^socket:|eventpoll/);
    for (let round = 0; round < 8; round++) {
      const { worker, all, port } = await startWorker("tcp");
      // Some are busy, some have not been accepted.
      for (const { socket } of all.slice(0, 10)) socket.write(Buffer.alloc(200_000));
      for (let count = 0; count < 50; count++) all.push(client("tcp", port));
      await worker.terminate();
      await until(() => all.every(({ hasEnded }) => hasEnded), "every client has heard of it");
      for (const { socket } of all) socket.destroy();
    }
    await until(() => filesLike(/^socket:|eventpoll/) <= before, "every file is closed");
    expect(filesLike(/eventpoll/)).toBeGreaterThan(0);
  });

  it.each(KINDS)("that serves %s ends by itself once that is destroyed", async (kind) => {
    await pass(50);
    const before = filesLike(/^socket:|eventpoll/);
    for (let round = 0; round < 3; round++) {
      const { worker, all } = await startWorker(kind);
      worker.postMessage("destroy");
      expect(await once(worker, "exit")).toEqual([0]);
      await until(() => all.every(({ hasEnded }) => hasEnded), "every client has heard of it");
    }
    await until(() => filesLike(/^socket:|eventpoll/) <= before, "every file is closed");
  });
});
