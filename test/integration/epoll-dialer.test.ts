// Outbound connections of the native transport, against real sockets of node:net.

import { execFile, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import {
  type AddressInfo,
  createServer,
  type ListenOptions,
  type Server,
  type Socket,
} from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { getSystemErrorName, promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { BufferPool, type Bytes } from "../../src/base/buffer-pool.ts";
import { systemClock } from "../../src/base/clock.ts";
import {
  type DialHandler,
  type DialTarget,
  EpollDialer,
} from "../../src/transport/epoll-dialer.ts";
import { EpollLoop } from "../../src/transport/epoll-loop.ts";
import { COUNTER } from "../../src/transport/epoll-layout.ts";
import { loadNative } from "../../src/transport/native.ts";
import { WRITE } from "../../src/transport/transport.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { hasNative } from "../support/native.ts";

const NOWHERE: DialTarget = {
  ip: "127.0.0.1",
  port: 0,
  path: null,
  localIp: "",
  localPort: 0,
  noDelay: true,
  timeoutMs: 0,
};

const hasPython = spawnSync("python3", ["-c", ""]).status === 0;

const LOOPBACK = { host: "127.0.0.1", port: 0 };

let pool: BufferPool;
let loop: EpollLoop;
let dialer: EpollDialer;
let folder: string;
let ends: (() => void | Promise<unknown>)[];

beforeEach(() => {
  pool = new BufferPool();
  loop = new EpollLoop(loadNative());
  dialer = new EpollDialer(loop, systemClock, pool);
  folder = mkdtempSync(join(tmpdir(), "holdfast-dialer-"));
  ends = [];
});

afterEach(async () => {
  for (const end of ends.toReversed()) await end();
  const left = ["sockets", "queues", "queueBytes", "invalidOperations"] as const;
  await until(() => pool.leased === 0 && left.every((name) => counter(name) === 0));
  rmSync(folder, { recursive: true, force: true });
});

function counter(name: keyof typeof COUNTER): number {
  return loop.counters[COUNTER[name]]!;
}

async function until(condition: () => boolean): Promise<void> {
  await vi.waitFor(() => expect(condition()).toBe(true), { timeout: 10_000, interval: 2 });
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Nothing of this thread runs meanwhile; others do. */
function standStill(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

/** What one connection was told, in order; chunks that follow each other as one. */
class Story implements DialHandler {
  readonly told: string[] = [];
  bytes: number = 0;
  text: string = "";
  channel: number = -1;
  readonly #react: Partial<DialHandler>;

  constructor(react: Partial<DialHandler> = {}) {
    this.#react = react;
  }

  get isOver(): boolean {
    return this.told.at(-1)?.startsWith("close") ?? false;
  }

  onOpen(): void {
    this.told.push("open");
    this.#react.onOpen?.();
  }

  onChunk(bytes: Bytes, start: number, end: number): void {
    if (this.told.at(-1) !== "chunk") this.told.push("chunk");
    this.bytes += end - start;
    if (this.bytes < 1_000_000) this.text += Buffer.from(bytes.subarray(start, end)).toString();
    this.#react.onChunk?.(bytes, start, end);
  }

  onEnd(): void {
    this.told.push("end");
    this.#react.onEnd?.();
  }

  onClose(error: string): void {
    this.told.push(`close ${error}`.trim());
    this.#react.onClose?.(error);
  }
}

/** Files of this process that are sockets. */
function sockets(): string[] {
  return readdirSync("/proc/self/fd").filter((name) => {
    try {
      return readlinkSync(`/proc/self/fd/${name}`).startsWith("socket:");
    } catch {
      return false;
    }
  });
}

function dial(target: Partial<DialTarget>, story: Story = new Story()): Story {
  story.channel = dialer.connect({ ...NOWHERE, ...target }, story);
  return story;
}

function failed(target: Partial<DialTarget>): string {
  const story = dial(target);
  if (story.channel >= 0) throw new Error("it is connecting");
  return getSystemErrorName(story.channel);
}

/** A server of node:net whose sockets close with their test. */
async function serve(
  onSocket: (socket: Socket) => void,
  where: ListenOptions = LOOPBACK,
): Promise<Server & { readonly port: number }> {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    socket.on("error", () => {});
    ends.push(() => void socket.destroy());
    onSocket(socket);
  });
  await new Promise<void>((resolve) => server.listen(where, resolve));
  ends.unshift(() => new Promise((resolve) => server.close(resolve)));
  const address = server.address() as AddressInfo | string;
  return Object.assign(server, { port: typeof address === "string" ? 0 : address.port });
}

/** A server in a process of its own, which runs while this one stands still. */
async function serveElsewhere(onSocket: string, backlog: number = 511): Promise<number> {
  const script = `
    const server = require("node:net").createServer({ noDelay: true }, (socket) => {
      socket.on("error", () => {});
      ${onSocket}
    });
    server.listen({ port: 0, host: "127.0.0.1", backlog: ${backlog} }, () => {
      require("node:fs").writeSync(1, String(server.address().port));
      if (${backlog} === 1) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    });`;
  const child = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "inherit"] });
  ends.unshift(() => void child.kill("SIGKILL"));
  return new Promise((resolve) => child.stdout.once("data", (port) => resolve(Number(port))));
}

/** A port where connecting takes for ever: its backlog is full and nobody accepts. */
async function silentPort(): Promise<number> {
  const port = await serveElsewhere("", 1);
  const fillers = [0, 1].map(() => dial({ port }));
  await until(() => fillers.every(({ told }) => told[0] === "open"));
  ends.push(() => {
    for (const { channel } of fillers) dialer.reset(channel);
  });
  return port;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const dist = (file: string): string =>
  JSON.stringify(new URL(`../../dist/${file}`, import.meta.url).href);

/** Opens a connection, uses it, closes it, and has nothing more to do. */
const CHILD = `
  import { BufferPool } from ${dist("base/buffer-pool.js")};
  import { systemClock } from ${dist("base/clock.js")};
  import { EpollDialer } from ${dist("transport/epoll-dialer.js")};
  import { EpollLoop } from ${dist("transport/epoll-loop.js")};
  import { loadNative } from ${dist("transport/native.js")};
  const say = (word) => process.stdout.write(word + " ");
  const dialer = new EpollDialer(new EpollLoop(loadNative()), systemClock, new BufferPool());
  const where = { path: null, localIp: "", localPort: 0, noDelay: true, timeoutMs: 60_000 };
  const channel = dialer.connect({ ...where, ip: "127.0.0.1", port: Number(process.argv[1]) }, {
    onOpen() { say("open"); dialer.send(channel, Buffer.from("hi")); },
    onChunk(bytes, start, end) {
      say(bytes.toString("latin1", start, end));
      dialer.close(channel);
    },
    onEnd() { say("end"); },
    onClose(error) { say("close" + error); },
  });`;

const echo = (socket: Socket): void => void socket.pipe(socket);

describe.skipIf(!hasNative)("a connection that we open", () => {
  it.each(["tcp", "unix"])("over %s carries bytes both ways and ends in order", async (kind) => {
    const path = kind === "unix" ? join(folder, "echo.sock") : null;
    const { port } = await serve(echo, path === null ? LOOPBACK : { path });
    const story = dial({ port, path });
    expect(story.told).toEqual([]);
    expect(dialer.send(story.channel, Buffer.from("early"))).toBe(WRITE.REFUSED);
    await until(() => story.told.length === 1);
    expect(dialer.send(story.channel, Buffer.from("hello"))).toBe(WRITE.SENT);
    await until(() => story.text === "hello");
    dialer.close(story.channel);
    await until(() => story.isOver);
    expect(story.told).toEqual(["open", "chunk", "end", "close"]);
  });

  // Without the option 28,000 connections would exhaust an address, wherever they lead.
  it.runIf(hasPython)("leaves the port of an address alone to the moment it connects", async () => {
    const { port } = await serve(() => {});
    const localPort = await freePort();
    const lateOf = async (target: Partial<DialTarget>): Promise<string> => {
      const before = new Set(sockets());
      const story = dial({ port, ...target });
      const file = sockets().find((name) => !before.has(name))!;
      const read = "import socket; s = socket.socket(fileno=3); print(s.getsockopt(0, 24))";
      const stdio = ["ignore", "pipe", "inherit", Number(file)] as const;
      const { stdout } = spawnSync("python3", ["-c", read], { stdio: [...stdio] });
      await until(() => story.told.includes("open"));
      dialer.reset(story.channel);
      await until(() => story.isOver);
      return stdout.toString().trim();
    };
    expect(await lateOf({ localIp: "127.0.0.5" })).toBe("1");
    expect(await lateOf({ localIp: "127.0.0.5", localPort })).toBe("0");
    expect(await lateOf({})).toBe("0");
  });

  it("may have an address and a port of its own, or an address alone", async () => {
    const from: string[] = [];
    const { port } = await serve((socket) => {
      from.push(`${socket.remoteAddress}:${socket.remotePort}`);
      socket.end();
    });
    const localPort = await freePort();
    const both = dial({ port, localIp: "127.0.0.9", localPort });
    await until(() => from.length === 1);
    const address = dial({ port, localIp: "127.0.0.8" });
    await until(() => from.length === 2);
    expect(from[0]).toBe(`127.0.0.9:${localPort}`);
    expect(from[1]).toMatch(/^127\.0\.0\.8:\d+$/);
    for (const story of [both, address]) {
      dialer.close(story.channel);
      await until(() => story.isOver);
    }
  });

  it("sends what waits, every byte in its place, and says how much it is", async () => {
    const received: Buffer[] = [];
    const sockets: Socket[] = [];
    const { port } = await serve((socket) => {
      sockets.push(socket);
      socket.pause();
      socket.on("data", (bytes) => received.push(bytes));
    });
    const story = dial({ port });
    await until(() => story.told.length === 1 && sockets.length === 1);
    sockets[0]!.pause();
    const sent: Buffer[] = [];
    for (let index = 0; index < 300; index++) {
      const length = index % 7 === 0 ? 100_000 : (index * 37) % 900;
      const bytes = Buffer.alloc(length, index);
      sent.push(Buffer.from(bytes));
      expect(dialer.send(story.channel, bytes)).not.toBe(WRITE.REFUSED);
      bytes.fill(0xee);
    }
    expect(dialer.queuedBytes(story.channel)).toBeGreaterThan(0);
    dialer.close(story.channel);
    expect(dialer.send(story.channel, Buffer.from("late"))).toBe(WRITE.REFUSED);
    sockets[0]!.resume();
    sockets[0]!.on("end", () => sockets[0]!.end());
    await until(() => story.isOver);
    expect(Buffer.concat(received).equals(Buffer.concat(sent))).toBe(true);
  });

  it("sends more pieces in one turn than the loop gathers, none over another", async () => {
    const { port } = await serve(echo);
    const stories = Array.from({ length: 20 }, () => dial({ port }));
    await until(() => stories.every(({ told }) => told.length === 1));
    const sent = stories.map(() => "");
    for (let round = 0; round < 300; round++) {
      for (const [index, { channel }] of stories.entries()) {
        const text = `${index}.${round} `;
        sent[index] += text;
        dialer.send(channel, Buffer.from(text));
      }
    }
    await until(() => stories.every(({ text }, index) => text.length === sent[index]!.length));
    expect(stories.map(({ text }) => text)).toEqual(sent);
    for (const { channel } of stories) dialer.reset(channel);
  });

  it("is not read while it is paused", async () => {
    const { port } = await serve((socket) => socket.write("x"));
    const story = dial({ port });
    story.onOpen = (): void => dialer.pause(story.channel);
    await pause(30);
    expect(story.bytes).toBe(0);
    dialer.resume(story.channel);
    await until(() => story.bytes === 1);
    dialer.reset(story.channel);
  });

  it("is one of 10,000 that were asked for in one turn", async () => {
    const port = await serveElsewhere("socket.pipe(socket);", 4_096);
    // A listener takes its connections one turn after another, and SYNs above its backlog are lost.
    const stories = Array.from({ length: 10_000 }, (_, index) => {
      const story: Story = new Story({
        onOpen: () => void dialer.send(story.channel, Buffer.from(`<${index}>`)),
      });
      return dial({ port, localIp: `127.0.0.${2 + (index % 4)}` }, story);
    });
    await until(() => stories.every(({ text }, index) => text === `<${index}>`));
    expect(counter("connects")).toBe(10_000);
    for (const { channel } of stories) dialer.reset(channel);
    await until(() => stories.every(({ told }) => told.join() === "open,chunk,close"));
  });
});

describe.skipIf(!hasNative)("a connection that cannot be opened", () => {
  it.each([
    ["no address", { ip: "localhost", port: 1 }, "EINVAL"],
    ["an address of another kind", { ip: "1.2.3.4.5", port: 1 }, "EINVAL"],
    ["nothing at all", { ip: "", port: 1 }, "EINVAL"],
    ["a port that is none", { port: 65_536 }, "EINVAL"],
    ["a port below zero", { port: -1 }, "EINVAL"],
    ["no local address", { port: 1, localIp: "here" }, "EINVAL"],
    ["a local address of another host", { port: 1, localIp: "192.0.2.1" }, "EADDRNOTAVAIL"],
    ["an address that no route leads to", { ip: "224.0.0.1", port: 1 }, "ENETUNREACH"],
    ["a path that is too long", { path: `/${"x".repeat(200)}` }, "ENAMETOOLONG"],
    ["a path that is far too long", { path: `/${"x".repeat(2_000)}` }, "ENAMETOOLONG"],
    ["no path", { path: "" }, "EINVAL"],
  ])("for %s is said at once", (_, target, error) => {
    expect(failed(target)).toBe(error);
  });

  it("for a Unix socket that is not there, or that is dead, is said at once", async () => {
    const path = join(folder, "dead.sock");
    expect(failed({ path })).toBe("ENOENT");
    const script = `require("node:net").createServer().listen(${JSON.stringify(path)}, () =>
      process.kill(process.pid, "SIGKILL"));`;
    await promisify(execFile)(process.execPath, ["-e", script]).catch(() => {});
    expect(failed({ path })).toBe("ECONNREFUSED");
  });

  it("is refused where nobody listens", async () => {
    const port = await freePort();
    const story = dial({ port });
    await until(() => story.channel < 0 || story.isOver);
    const [said = `close ${getSystemErrorName(Math.min(-1, story.channel))}`] = story.told;
    expect(said).toBe("close ECONNREFUSED");
  });

  it("has no port that a listener has, or another connection to the server", async () => {
    const { port } = await serve(() => {});
    expect(failed({ port, localIp: "127.0.0.1", localPort: port })).toMatch(/^EADDR/);
    const localPort = await freePort();
    const first = dial({ port, localIp: "127.0.0.7", localPort });
    await until(() => first.told.length === 1);
    expect(failed({ port, localIp: "127.0.0.7", localPort })).toBe("EADDRNOTAVAIL");
    dialer.reset(first.channel);
    await until(() => first.isOver);
  });

  it("ends when its time is over, and not before", async () => {
    const port = await silentPort();
    const clock = new ManualClock();
    dialer = new EpollDialer(loop, clock, pool);
    const story = dial({ port, timeoutMs: 500 });
    const patient = dial({ port });
    await clock.advance(499);
    await pause(20);
    expect(story.told).toEqual([]);
    await clock.advance(1);
    expect(story.told).toEqual(["close ETIMEDOUT"]);
    await pause(20);
    expect([story.told, patient.told]).toEqual([["close ETIMEDOUT"], []]);
    dialer.reset(patient.channel);
    await until(() => patient.isOver);
  });

  it("forgets its deadline once it is open", async () => {
    const clock = new ManualClock();
    dialer = new EpollDialer(loop, clock, pool);
    const { port } = await serve(() => {});
    const story = dial({ port, timeoutMs: 500 });
    await until(() => story.told.length === 1);
    expect(clock.pending).toBe(0);
    await clock.advance(1_000);
    expect(story.told).toEqual(["open"]);
    dialer.reset(story.channel);
    await until(() => story.isOver);
  });
});

describe.skipIf(!hasNative)("an end that comes early", () => {
  it.each(["close", "reset", "abandon"] as const)(
    "by %s while it connects is the end, and frees the file",
    async (way) => {
      const port = await silentPort();
      const files = readdirSync("/proc/self/fd").length;
      const story = dial({ port, timeoutMs: 60_000 });
      await pause(5);
      dialer[way](story.channel);
      expect(story.told).toEqual([]);
      await until(() => readdirSync("/proc/self/fd").length === files);
      expect(story.told).toEqual(way === "abandon" ? [] : ["close"]);
    },
  );

  it.each(["close", "reset", "abandon"] as const)(
    "by %s in the turn in which it was asked for is no connection",
    async (way) => {
      const { port } = await serve(echo);
      const story = dial({ port });
      dialer[way](story.channel);
      await until(() => counter("sockets") === 0);
      await pause(5);
      expect(story.told).toEqual(way === "abandon" ? [] : ["close"]);
    },
  );

  it("by another's callback in the batch in which it opens is no opening", async () => {
    const { port } = await serve(echo);
    const stories: Story[] = [];
    const react = (mine: number): Partial<DialHandler> => ({
      onOpen: () => {
        for (const [index, { channel }] of stories.entries()) {
          if (index !== mine) dialer.close(channel);
        }
      },
    });
    for (let index = 0; index < 5; index++) stories.push(dial({ port }, new Story(react(index))));
    standStill(20);
    await until(() => stories.filter(({ isOver }) => isOver).length === 4);
    const told = stories.map((story) => story.told.join()).toSorted();
    expect(told).toEqual(["close", "close", "close", "close", "open"]);
    for (const { channel, isOver } of stories) if (!isOver) dialer.close(channel);
    await until(() => counter("sockets") === 0);
  });

  it("by the peer's reset, before we saw it open, is a connection that failed", async () => {
    const port = await serveElsewhere("socket.resetAndDestroy();");
    const story = dial({ port });
    standStill(100);
    await until(() => story.isOver);
    expect(story.told).toEqual(["close ECONNRESET"]);
  });

  it("by the peer, with bytes before it, is told in order: open, bytes, end", async () => {
    const port = await serveElsewhere(`socket.end("bye");`);
    const story = dial({ port });
    standStill(100);
    await until(() => story.told.includes("end"));
    dialer.close(story.channel);
    await until(() => story.isOver);
    expect([story.told, story.text]).toEqual([["open", "chunk", "end", "close"], "bye"]);
  });
});

describe.skipIf(!hasNative)("a connection that was abandoned", () => {
  it("is told nothing more, and ends in order with a peer that ends", async () => {
    const ended: string[] = [];
    const { port } = await serve((socket) => {
      socket.on("end", () => {
        ended.push("FIN");
        socket.write("whatever");
        socket.end();
      });
      socket.on("error", () => ended.push("RST"));
      socket.resume();
    });
    const story = dial({ port });
    await until(() => story.told.length === 1);
    dialer.send(story.channel, Buffer.from("goodbye"));
    dialer.abandon(story.channel);
    dialer.abandon(story.channel);
    await until(() => counter("sockets") === 0 && ended.length > 0);
    expect([ended, story.told]).toEqual([["FIN"], ["open"]]);
  });

  it("is reset a second later where the peer does not end", async () => {
    const clock = new ManualClock();
    dialer = new EpollDialer(loop, clock, pool);
    const { port } = await serve((socket) => void socket.resume());
    const stories = [dial({ port }), dial({ port })];
    await until(() => stories.every(({ told }) => told.length === 1));
    dialer.abandon(stories[0]!.channel);
    await clock.advance(600);
    dialer.abandon(stories[1]!.channel);
    await clock.advance(399);
    await pause(10);
    expect(counter("sockets")).toBe(2);
    await clock.advance(1);
    await until(() => counter("sockets") === 1);
    await clock.advance(600);
    await until(() => counter("sockets") === 0);
    expect(stories.map(({ told }) => told)).toEqual([["open"], ["open"]]);
    expect(clock.pending).toBe(0);
  });

  it("is reset at once where bytes wait that nobody takes", async () => {
    const { port } = await serve((socket) => socket.pause());
    const story = dial({ port });
    await until(() => story.told.length === 1);
    const block = Buffer.alloc(1_000_000);
    while (dialer.queuedBytes(story.channel) === 0) dialer.send(story.channel, block);
    dialer.abandon(story.channel);
    await until(() => counter("sockets") === 0);
    expect(story.told).toEqual(["open"]);
  });
});

describe.skipIf(!hasNative)("the loop", () => {
  it("is let go with the last connection, and joined again by the next", async () => {
    const { port } = await serve((socket) => socket.end());
    const closed: string[] = [];
    const next: Story = new Story({ onClose: () => void closed.push("second") });
    const first: Story = new Story({
      onEnd: () => dialer.close(first.channel),
      onClose: () => {
        closed.push("first");
        dial({ port }, next);
      },
    });
    dial({ port }, first);
    next.onEnd = (): void => dialer.close(next.channel);
    await until(() => closed.length === 2);
    await until(() => pool.leased === 0);
    const third = dial({ port });
    third.onEnd = (): void => dialer.reset(third.channel);
    await until(() => third.isOver);
    expect(third.told).toEqual(["open", "close"]);
  });

  it("tells the others when a handler throws", async () => {
    const { port } = await serve(echo);
    const thrown: unknown[] = [];
    const listeners = process.listeners("uncaughtException");
    process.removeAllListeners("uncaughtException");
    process.on("uncaughtException", (error) => thrown.push(error));
    ends.push(() => {
      process.removeAllListeners("uncaughtException");
      for (const listener of listeners) process.on("uncaughtException", listener);
    });
    const bad = new Story({
      onOpen: () => {
        throw new Error("a defect");
      },
      onClose: () => {
        throw new Error("another");
      },
    });
    const stories = [dial({ port }, bad), dial({ port }), dial({ port })];
    await until(() => stories.every(({ told }) => told[0] === "open"));
    for (const { channel } of stories) dialer.reset(channel);
    await until(() => stories.every(({ isOver }) => isOver));
    expect(thrown.map((error) => (error as Error).message)).toEqual(["a defect", "another"]);
  });

  it("does not keep a process alive that has nothing open", async () => {
    const { port } = await serve(echo);
    const program = [process.execPath, ["--input-type=module", "-e", CHILD, String(port)]] as const;
    const { stdout } = await promisify(execFile)(...program, { timeout: 10_000 });
    expect(stdout).toBe("open hi end close ");
  });
});
