// Listening by the native acceptor: where, with what options, and what happens in between.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readlinkSync,
  rmSync,
} from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { EpollLoop } from "../../src/transport/epoll-loop.ts";
import { loadNative } from "../../src/transport/native.ts";
import { TcpEpollTransport, type TcpEpollOptions } from "../../src/transport/tcp-epoll.ts";
import { WRITE } from "../../src/transport/transport.ts";
import { hasNative } from "../support/native.ts";
import { giveBack, pass, Recorder, until } from "../support/transport-bench.ts";
import { BufferPool } from "../../src/base/buffer-pool.ts";

const LOOPBACK = "127.0.0.1";
const DEFAULTS: TcpEpollOptions = {
  ...{ host: LOOPBACK, port: 0, path: null, fd: null, backlog: 4_096 },
  ...{ noDelay: true, keepAliveMs: 0, userTimeoutMs: 0, queueBytesMax: 1_073_741_824 },
};
/** Connections that one acceptor takes in one batch. */
const ACCEPTS_MAX = 64;
/** Index of the loop's counter of batches. */
const BATCHES = 0;
const PROGRAM = fileURLToPath(new URL("../../dist/cli/holdfast.js", import.meta.url));
const hasPython = spawnSync("python3", ["-c", ""]).status === 0;
const hasSs = spawnSync("ss", ["-V"]).status === 0;

const clients: Socket[] = [];
const transports: TcpEpollTransport[] = [];
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-acceptor-"));
});

afterEach(async () => {
  for (const transport of transports.splice(0)) transport.destroy();
  for (const client of clients.splice(0)) client.destroy();
  rmSync(folder, { recursive: true, force: true });
  await until(() => eventPolls() === pollsBefore, "every epoll instance is closed");
});

function filesLike(name: RegExp): number[] {
  const files: number[] = [];
  for (const file of readdirSync("/proc/self/fd")) {
    try {
      if (name.test(readlinkSync(`/proc/self/fd/${file}`))) files.push(Number(file));
    } catch {
      // That of the folder itself.
    }
  }
  return files;
}

const sockets = (): number[] => filesLike(/^socket:/);
const eventPolls = (): number => filesLike(/eventpoll/).length;
const pollsBefore = eventPolls();

interface Opened {
  readonly transport: TcpEpollTransport;
  readonly handler: Recorder;
  readonly loop: EpollLoop;
}

function make(options: Partial<TcpEpollOptions> = {}, loop?: EpollLoop): Opened {
  const handler = new Recorder();
  const own = loop ?? new EpollLoop(loadNative());
  const all = { ...DEFAULTS, ...options };
  const transport = new TcpEpollTransport(all, handler, own, systemClock);
  transports.push(transport);
  return { transport, handler, loop: own };
}

/** Asks the kernel at once: it completes the connection before anybody accepts it. */
function client(where: { host?: string; port: number } | { path: string }): Socket {
  const socket = connect({ host: LOOPBACK, ...where });
  socket.on("error", () => {});
  socket.resume();
  clients.push(socket);
  return socket;
}

async function served(
  { handler }: Opened,
  where: { host?: string; port: number } | { path: string },
): Promise<Socket> {
  const before = handler.opened.length;
  const socket = client(where);
  await until(() => handler.opened.length > before, "it is served");
  return socket;
}

function handleFile(owner: object): number {
  return (owner as { _handle: { fd: number } })._handle.fd;
}

async function listening(where: { port: number; host: string } | string): Promise<Server> {
  const server = createServer();
  if (typeof where === "string") server.listen(where);
  else server.listen(where);
  await once(server, "listening");
  return server;
}

describe.skipIf(!hasNative)("the native acceptor listens", () => {
  it("on any free port where the port is 0, and says which", async () => {
    const opened = make();
    const address = await opened.transport.listen();
    expect(address).toMatchObject({ host: LOOPBACK, path: null });
    await served(opened, address);
  });

  it("on a host by its name", async () => {
    const opened = make({ host: "localhost" });
    const { host, port } = await opened.transport.listen();
    expect([LOOPBACK, "::1"]).toContain(host);
    await served(opened, { host, port });
  });

  it("on an address of IPv6 alone", async () => {
    const opened = make({ host: "::1" });
    const { host, port } = await opened.transport.listen();
    expect(host).toBe("::1");
    await served(opened, { host: "::1", port });
    expect(opened.transport.remoteAddress(opened.handler.opened[0]!)).toMatch(/^::1:\d+$/);
    const refused = client({ host: LOOPBACK, port });
    const [error] = (await once(refused, "error")) as [NodeJS.ErrnoException];
    expect(error.code).toBe("ECONNREFUSED");
  });

  it("on :: for IPv6 and for IPv4", async () => {
    const opened = make({ host: "::" });
    const { port } = await opened.transport.listen();
    await served(opened, { host: "::1", port });
    await served(opened, { host: LOOPBACK, port });
    const addresses = opened.handler.opened.map((it) => opened.transport.remoteAddress(it));
    expect(addresses[0]).toMatch(/^::1:/);
    expect(addresses[1]).toMatch(/^::ffff:127\.0\.0\.1:/);
  });

  it.each([0, 107])("on a path of %i bytes, or a short one", async (length) => {
    const path = join(folder, "s".repeat(Math.max(1, length - folder.length - 1)));
    const opened = make({ path });
    expect(await opened.transport.listen()).toEqual({ host: "", port: 0, path });
    await served(opened, { path });
  });

  it("on a path whose file is there until it stops, and again when it resumes", async () => {
    const path = join(folder, "a.sock");
    const opened = make({ path });
    await opened.transport.listen();
    expect(existsSync(path)).toBe(true);
    opened.transport.stopAccepting();
    expect(existsSync(path)).toBe(false);
    await opened.transport.resumeAccepting();
    await served(opened, { path });
    opened.transport.destroy();
    expect(existsSync(path)).toBe(false);
  });

  it.runIf(hasSs)("with a backlog of 4096", async () => {
    const limit = Number(spawnSync("cat", ["/proc/sys/net/core/somaxconn"]).stdout.toString());
    const { port } = await make().transport.listen();
    const { stdout } = spawnSync("ss", ["-ltnH", `sport = :${port}`]);
    expect(stdout.toString().trim().split(/\s+/)[2]).toBe(String(Math.min(4_096, limit)));
  });

  it("for 3,000 clients at a time that nobody has accepted yet, and serves all", async () => {
    const opened = make();
    const { port } = await opened.transport.listen();
    // One tick: nothing is accepted in between.
    for (let count = 0; count < 3_000; count++) client({ port });
    expect(opened.handler.opened.length).toBe(0);
    await until(() => opened.handler.opened.length === 3_000, "all are served", 10_000);
  });
});

describe.skipIf(!hasNative)("the native acceptor does not listen, and says why", () => {
  async function messageOf(options: Partial<TcpEpollOptions>): Promise<string> {
    const before = sockets().length;
    const error: unknown = await make(options)
      .transport.listen()
      .catch((rejected: unknown) => rejected);
    expect(error).toMatchObject({ code: "HOLDFAST_LISTEN_FAILED" });
    expect(sockets().length, "no socket is left").toBe(before);
    return (error as Error).message;
  }

  it("where the name of the host is unknown", async () => {
    const message = await messageOf({ host: "no-such-host.invalid" });
    expect(message).toMatch(/no-such-host\.invalid:0: (ENOTFOUND: the host name is|EAI_AGAIN)/);
  });

  it.runIf(process.getuid?.() !== 0)("where rights are missing", async () => {
    expect(await messageOf({ port: 1 })).toContain("EACCES: not permitted: ports below 1024");
  });

  it("where a path is longer than the system takes", async () => {
    const path = join(folder, "s".repeat(108 - folder.length - 1));
    expect(path.length).toBe(108);
    expect(await messageOf({ path })).toContain("ENAMETOOLONG: a socket's path has at most 107");
  });

  it.each(["a\0b", "\0abstract", ""])("where a path is %j, and makes no file", async (name) => {
    const path = name === "" ? "" : join(folder, name);
    expect(await messageOf({ path: name.startsWith("\0") ? name : path })).toContain("EINVAL");
    expect(readdirSync(folder)).toEqual([]);
  });

  it("where the path of a socket is a folder", async () => {
    expect(await messageOf({ path: folder })).toContain("EADDRINUSE");
    expect(existsSync(folder)).toBe(true);
  });

  it("once it was destroyed", async () => {
    const { transport } = make();
    await transport.listen();
    transport.destroy();
    await expect(transport.listen()).rejects.toThrow("ESHUTDOWN: it was destroyed");
    await expect(transport.resumeAccepting()).rejects.toThrow("ESHUTDOWN: it was destroyed");
  });
});

describe.skipIf(!hasNative)("the native acceptor and an inherited file", () => {
  it("listens on it, and leaves it open when it stops", async () => {
    const parent = await listening({ host: LOOPBACK, port: 0 });
    const { port } = parent.address() as { port: number };
    const opened = make({ fd: handleFile(parent), host: "not looked at", port: 1 });
    expect(await opened.transport.listen()).toMatchObject({ host: LOOPBACK, port });
    opened.transport.stopAccepting();
    const early = client({ port });
    await once(early, "connect");
    await opened.transport.resumeAccepting();
    parent.close();
    await served(opened, { port });
  });

  it("listens on a Unix socket, and leaves its file", async () => {
    const path = join(folder, "parent.sock");
    const parent = await listening(path);
    const opened = make({ fd: handleFile(parent) });
    await opened.transport.listen();
    parent.unref();
    opened.transport.stopAccepting();
    expect(existsSync(path)).toBe(true);
    parent.close();
  });

  async function messageOf(fd: number): Promise<string> {
    const before = sockets().length;
    const error: unknown = await make({ fd })
      .transport.listen()
      .catch((rejected: unknown) => rejected);
    expect(error).toMatchObject({ code: "HOLDFAST_LISTEN_FAILED" });
    expect(sockets().length, "no socket is left").toBe(before);
    expect((error as Error).message).toContain(`for TCP on the inherited file ${fd}: `);
    return (error as Error).message;
  }

  it.each([-1, 9_999])("refuses %i, which is not open", async (fd) => {
    expect(await messageOf(fd)).toContain("EBADF: no such file is open");
  });

  it("refuses a file that is no socket, and leaves it alone", async () => {
    const fd = openSync("/dev/null", "r");
    expect(await messageOf(fd)).toContain("ENOTSOCK: it is no socket");
    closeSync(fd);
  });

  it("refuses a UDP socket", async () => {
    const udp = createSocket("udp4").bind(0, LOOPBACK);
    await once(udp, "listening");
    const symbols = Object.getOwnPropertySymbols(udp);
    const state = symbols.find((symbol) => symbol.description === "state symbol")!;
    const { handle } = (udp as never as Record<symbol, { handle: { fd: number } }>)[state]!;
    expect(await messageOf(handle.fd)).toContain("ESOCKTNOSUPPORT: it is no stream socket");
    udp.close();
  });

  it("refuses a connected socket, which stays connected", async () => {
    const opened = make();
    const { port } = await opened.transport.listen();
    const socket = await served(opened, { port });
    expect(await messageOf(handleFile(socket))).toContain("EINVAL: no socket can listen there");
    socket.write("still here");
    const [channel] = opened.handler.opened;
    await until(() => opened.handler.receivedBytes(channel!) === 10, "it is heard");
  });

  it.runIf(hasPython)("refuses a socket that is bound to nothing", () => {
    const prepare =
      "import os, socket, sys; s = socket.socket(); os.dup2(s.fileno(), 30);" +
      "os.execv(sys.argv[1], sys.argv[1:])";
    const flags = ["--tcp-fd=30", "--transport=tcp-epoll", "--websocket-enabled=false"];
    const alone = ["--workers=0", "--admin-enabled=false"];
    const serve = [process.execPath, PROGRAM, "serve", ...alone, ...flags];
    const { status, stderr } = spawnSync("python3", ["-c", prepare, ...serve], { timeout: 10_000 });
    expect(stderr.toString()).toContain(
      "the inherited file 30: EINVAL: no socket can listen there",
    );
    expect(status).toBe(1);
  });

  it("refuses one end of a pair of sockets", async () => {
    const child: ChildProcess = spawn("sleep", ["5"], { stdio: ["ignore", "pipe", "ignore"] });
    expect(await messageOf(handleFile(child.stdout!))).toContain("EINVAL");
    child.kill("SIGKILL");
  });
});

describe.skipIf(!hasNative || !hasPython)("options of accepted sockets", () => {
  const PROGRAM = `
import json, socket
s = socket.socket(fileno=3)
tcp = socket.IPPROTO_TCP
print(json.dumps({
  "noDelay": s.getsockopt(tcp, socket.TCP_NODELAY),
  "keepAlive": s.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
  "idleSeconds": s.getsockopt(tcp, socket.TCP_KEEPIDLE),
  "userTimeoutMs": s.getsockopt(tcp, socket.TCP_USER_TIMEOUT),
}))
`;

  async function optionsOf(options: Partial<TcpEpollOptions>): Promise<unknown> {
    const opened = make(options);
    const { port } = await opened.transport.listen();
    // Numbers are given again when a file of an earlier test closes: what they name is not.
    const named = (fd: number): string => `${fd} ${readlinkSync(`/proc/self/fd/${fd}`)}`;
    const before = new Set(sockets().map(named));
    const socket = await served(opened, { port });
    const own = sockets().filter((fd) => !before.has(named(fd)) && fd !== handleFile(socket));
    expect(own).toHaveLength(1);
    const stdio = ["ignore", "pipe", "inherit", own[0]!] as const;
    const { stdout } = spawnSync("python3", ["-c", PROGRAM], { stdio: [...stdio] });
    return JSON.parse(stdout.toString());
  }

  it("are those that were asked for", async () => {
    const wanted = { noDelay: true, keepAliveMs: 61_500, userTimeoutMs: 7_000 };
    const found = { noDelay: 1, keepAlive: 1, idleSeconds: 62, userTimeoutMs: 7_000 };
    expect(await optionsOf(wanted)).toEqual(found);
  });

  it("are the kernel's where none was asked for", async () => {
    const found = { noDelay: 0, keepAlive: 0, userTimeoutMs: 0 };
    expect(await optionsOf({ noDelay: false })).toMatchObject(found);
  });
});

describe.skipIf(!hasNative)("the user timeout", () => {
  it("ends a connection whose peer takes nothing", async () => {
    const opened = make({ userTimeoutMs: 300 });
    const { port } = await opened.transport.listen();
    const socket = await served(opened, { port });
    socket.pause();
    const [channel] = opened.handler.opened;
    const slab = new BufferPool().lease(65_536);
    for (let outcome: number = WRITE.SENT; outcome === WRITE.SENT; ) {
      outcome = opened.transport.write(channel!, slab, 0, 65_536);
    }
    giveBack(slab);
    await until(() => opened.handler.closed.length === 1, "it has timed out", 10_000);
    expect(opened.handler.closed[0]).toMatchObject({ end: "reset", detail: "ETIMEDOUT" });
  });
});

describe.skipIf(!hasNative)("accepting takes turns", () => {
  it("of 64 connections, and those that are open are heard in between", async () => {
    const opened = make();
    const { handler, loop } = opened;
    const { port } = await opened.transport.listen();
    const early = await served(opened, { port });
    const openedInBatch: Map<number, number> = new Map();
    let openedBefore: number | null = null;
    handler.on.onOpen = () => {
      const batch = loop.counters[BATCHES]!;
      openedInBatch.set(batch, (openedInBatch.get(batch) ?? 0) + 1);
    };
    handler.on.onChunk = () => (openedBefore = handler.opened.length);
    for (let count = 0; count < 500; count++) client({ port });
    early.write("me too");
    await until(() => handler.opened.length === 501, "all are served");
    expect(Math.max(...openedInBatch.values())).toBe(ACCEPTS_MAX);
    expect(openedBefore).not.toBeNull();
    expect(openedBefore).toBeLessThanOrEqual(1 + ACCEPTS_MAX);
  });

  it("with timers and with other sockets of the process", async () => {
    const opened = make();
    const { handler } = opened;
    const { port } = await opened.transport.listen();
    for (let count = 0; count < 2_000; count++) client({ port });
    let openedBefore: number | null = null;
    setTimeout(() => (openedBefore = handler.opened.length), 0);
    await until(() => handler.opened.length === 2_000, "all are served");
    expect(openedBefore).toBeLessThan(500);
  });
});

describe.skipIf(!hasNative)("stopping and starting", () => {
  it("cuts off those who wait when it stops, and opens none of them", async () => {
    const opened = make();
    const { port } = await opened.transport.listen();
    const waiting = Array.from({ length: 100 }, () => client({ port }));
    opened.transport.stopAccepting();
    await until(() => waiting.every((socket) => socket.destroyed), "all are cut off");
    expect(opened.handler.opened).toEqual([]);
  });

  it("from inside admit serves those of the same batch that are admitted, no others", async () => {
    const opened = make();
    const { port } = await opened.transport.listen();
    const before = sockets().length;
    const waiting = Array.from({ length: 20 }, () => client({ port }));
    let asked = 0;
    opened.handler.admit = () => {
      opened.transport.stopAccepting();
      return ++asked <= 5;
    };
    await until(() => waiting.filter(({ destroyed }) => destroyed).length === 15, "15 are cut off");
    expect(opened.handler.opened.length).toBe(5);
    expect(sockets().length, "theirs and their peers', not the listening one").toBe(before + 9);
    await expect(once(client({ port }), "connect")).rejects.toMatchObject({ code: "ECONNREFUSED" });
  });

  it.each([true, false])(
    "by destroy from inside admit, which answers %s, leaks nothing",
    async (answer) => {
      const opened = make();
      const { port } = await opened.transport.listen();
      const waiting = Array.from({ length: 20 }, () => client({ port }));
      opened.handler.admit = () => {
        opened.transport.destroy();
        return answer;
      };
      await until(() => waiting.every((socket) => socket.destroyed), "all are cut off");
      expect(opened.handler.opened).toEqual([]);
      await until(() => eventPolls() === pollsBefore, "the epoll instance is closed");
    },
  );

  it("by destroy from inside onOpen closes it and cuts off the others", async () => {
    const opened = make();
    const { port } = await opened.transport.listen();
    const waiting = Array.from({ length: 20 }, () => client({ port }));
    opened.handler.on.onOpen = () => opened.transport.destroy();
    await until(() => waiting.every((socket) => socket.destroyed), "all are cut off");
    expect([opened.handler.opened.length, opened.handler.closed.length]).toEqual([1, 1]);
  });

  it("refuses a crowd in order: each gets its end, nothing is opened, no file stays", async () => {
    const opened = make();
    const { port } = await opened.transport.listen();
    const before = sockets().length;
    opened.handler.isAdmitting = false;
    const crowd = Array.from({ length: 1_000 }, () => client({ port }));
    let resets = 0;
    for (const socket of crowd) socket.on("error", () => resets++);
    await until(() => crowd.every((socket) => socket.destroyed), "all are refused");
    expect([opened.handler.refused, opened.handler.opened.length, resets]).toEqual([1_000, 0, 0]);
    await until(() => sockets().length === before, "every file is closed");
  });

  it("listens once, however often it is told to at a time", async () => {
    const before = sockets().length;
    const { transport } = make();
    const all = await Promise.all([1, 2, 3].map(() => transport.listen()));
    expect(new Set(all.map(({ port }) => port)).size).toBe(1);
    expect(sockets().length).toBe(before + 1);
  });

  it.each(["localhost", LOOPBACK])("that stops while it opens %s does not listen", async (host) => {
    const opened = make({ host });
    const before = sockets().length;
    const opening = opened.transport.listen();
    opened.transport.stopAccepting();
    await opening;
    expect(sockets().length).toBe(before);
    await opened.transport.resumeAccepting();
    expect(sockets().length).toBe(before + 1);
  });

  it("that is destroyed while it opens leaves nothing open", async () => {
    const { transport } = make({ host: "localhost" });
    const before = sockets().length;
    const opening = transport.listen().catch(() => {});
    transport.destroy();
    await opening;
    expect(sockets().length).toBe(before);
  });

  it("that stops, resumes and stops at once has stopped", async () => {
    const { transport } = make();
    await transport.listen();
    const before = sockets().length;
    transport.stopAccepting();
    const resuming = transport.resumeAccepting();
    transport.stopAccepting();
    await resuming;
    expect(sockets().length).toBe(before - 1);
  });

  it("that stops and resumes 100 times listens at the same port, with one file", async () => {
    const opened = make();
    const { port } = await opened.transport.listen();
    const before = sockets().length;
    for (let round = 0; round < 100; round++) {
      opened.transport.stopAccepting();
      await opened.transport.resumeAccepting();
    }
    expect(sockets().length).toBe(before);
    await served(opened, { port });
  });

  it("several transports on one loop serve their own, and one may go", async () => {
    const loop = new EpollLoop(loadNative());
    const first = make({}, loop);
    const second = make({}, loop);
    const third = make({ path: join(folder, "third.sock") }, loop);
    const ports = [await first.transport.listen(), await second.transport.listen()];
    await third.transport.listen();
    await served(first, ports[0]!);
    await served(second, ports[1]!);
    await served(third, { path: join(folder, "third.sock") });
    first.transport.destroy();
    await served(second, ports[1]!);
    expect([first, second, third].map(({ handler }) => handler.opened.length)).toEqual([1, 2, 1]);
    await until(() => first.handler.closed.length === 1, "its connection is closed");
    expect([second, third].map(({ handler }) => handler.closed.length)).toEqual([0, 0]);
  });

  it("20 lives in one process, with connections at each end, leave no file behind", async () => {
    await pass(20);
    const before = [sockets().length, eventPolls()];
    for (let life = 0; life < 20; life++) {
      const opened = make();
      const { port } = await opened.transport.listen();
      for (let count = 0; count < 5; count++) await served(opened, { port });
      opened.transport.destroy();
      await until(() => opened.handler.closed.length === 5, "all are closed");
    }
    await until(() => clients.every(({ destroyed }) => destroyed), "every client has heard of it");
    await until(() => sockets().length === before[0], "every socket is closed");
    await until(() => eventPolls() === before[1], "every epoll instance is closed");
    expect(clients.length).toBe(100);
  });
});
