// What the native loop promises beyond the transport's contract: how often the kernel is asked, who
// gets a turn, and what happens to several members of one loop.

import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { BufferPool, type Slab } from "../../src/base/buffer-pool.ts";
import { systemClock } from "../../src/base/clock.ts";
import { COUNTER } from "../../src/transport/epoll-layout.ts";
import { EpollLoop } from "../../src/transport/epoll-loop.ts";
import { loadNative } from "../../src/transport/native.ts";
import { TcpEpollTransport } from "../../src/transport/tcp-epoll.ts";
import { type ChannelId, type TransportAddress, WRITE } from "../../src/transport/transport.ts";
import { hasNative } from "../support/native.ts";
import { pass, pattern, Recorder, until } from "../support/transport-bench.ts";
import { freePath } from "../contract/socket-harness.ts";

const OPTIONS = {
  host: "127.0.0.1",
  port: 0,
  path: null,
  fd: null,
  backlog: 128,
  noDelay: true,
  keepAliveMs: 0,
  userTimeoutMs: 0,
  queueBytesMax: 2 ** 30,
};

let loop: EpollLoop;
let pool: BufferPool;
const made: { transport: TcpEpollTransport; handler: Recorder; address: TransportAddress }[] = [];
const sockets: Socket[] = [];

beforeEach(() => {
  loop = new EpollLoop(loadNative());
  pool = new BufferPool();
});

afterEach(expectAllGone);

async function expectAllGone(): Promise<void> {
  for (const { transport } of made) transport.destroy();
  for (const { handler } of made) {
    await until(() => handler.opened.length === handler.closed.length, "all are closed");
    expect(handler.breaches).toEqual([]);
  }
  made.length = 0;
  for (const socket of sockets.splice(0)) socket.destroy();
  expect(pool.leased).toBe(0);
  expect(loop.counters[COUNTER.invalidOperations]).toBe(0);
  expect(loop.counters[COUNTER.sockets]).toBe(0);
  expect(loop.counters[COUNTER.queueBytes]).toBe(0);
}

async function listen(options: object = {}): Promise<(typeof made)[number]> {
  const handler = new Recorder();
  const transport = new TcpEpollTransport({ ...OPTIONS, ...options }, handler, loop, systemClock);
  const one = { transport, handler, address: await transport.listen() };
  made.push(one);
  return one;
}

async function client(of: (typeof made)[number]): Promise<{ socket: Socket; channel: ChannelId }> {
  const before = of.handler.opened.length;
  const { port, path } = of.address;
  const where = path === null ? { port, host: "127.0.0.1" } : { path };
  const socket = connect({ ...where, allowHalfOpen: true });
  sockets.push(socket);
  socket.on("error", () => {});
  await once(socket, "connect");
  await until(() => of.handler.opened.length > before, "it is open");
  return { socket, channel: of.handler.opened.at(-1)! };
}

function slabOf(content: Uint8Array | string): Slab {
  const bytes = Buffer.from(content);
  const slab = pool.lease(Math.max(1, bytes.length));
  slab.bytes.set(bytes);
  return slab;
}

function counted(name: keyof typeof COUNTER): number {
  return loop.counters[COUNTER[name]]!;
}

function receiver(socket: Socket): { received: Buffer } {
  const kept = { received: Buffer.alloc(0) };
  socket.on("data", (chunk) => {
    kept.received = Buffer.concat([kept.received, chunk]);
  });
  return kept;
}

describe.skipIf(!hasNative)("writes through the loop", () => {
  it("sends what is written to one connection in one turn by one system call", async () => {
    const one = await listen();
    const { socket, channel } = await client(one);
    const peer = receiver(socket);
    const slab = slabOf("abcdefghij");
    const before = counted("writes");
    for (let at = 0; at < 10; at++) one.transport.write(channel, slab, at, at + 1);
    slab.release();
    await until(() => peer.received.length === 10, "it comes");
    expect(peer.received.toString()).toBe("abcdefghij");
    expect(counted("writes") - before).toBe(1);
  });

  it("gathers the writes of a connection, however they alternate with others'", async () => {
    const one = await listen();
    const [a, b] = [await client(one), await client(one)];
    const [toA, toB] = [receiver(a.socket), receiver(b.socket)];
    const before = counted("writes");
    for (let at = 0; at < 100; at++) {
      const slab = slabOf(`${at % 10}`);
      one.transport.write(a.channel, slab, 0, 1);
      one.transport.write(b.channel, slab, 0, 1);
      slab.release();
    }
    await until(() => toA.received.length + toB.received.length === 200, "all of it comes");
    expect(toA.received.toString()).toBe("0123456789".repeat(10));
    expect(toB.received.equals(toA.received)).toBe(true);
    // 64 pieces fit one call.
    expect(counted("writes") - before).toBe(4);
  });

  it("sends one slab to many connections and copies it for none that takes it", async () => {
    const one = await listen();
    const all: Awaited<ReturnType<typeof client>>[] = [];
    for (let count = 0; count < 20; count++) all.push(await client(one));
    const peers = all.map(({ socket }) => receiver(socket));
    const slab = slabOf(pattern(0, 2_000));
    for (const { channel } of all) {
      expect(one.transport.write(channel, slab, 0, 2_000)).toBe(WRITE.SENT);
    }
    expect(pool.leased).toBe(1);
    slab.release();
    expect(pool.leased).toBe(1);
    for (const peer of peers) {
      await until(() => peer.received.length === 2_000, "it comes");
      expect(peer.received.equals(pattern(0, 2_000))).toBe(true);
    }
    expect(pool.leased).toBe(0);
    expect(one.handler.queuings).toBe(0);
  });

  it("keeps a slab until the flush, also where the operations are full before", async () => {
    const one = await listen();
    const { socket, channel } = await client(one);
    const peer = receiver(socket);
    const slab = slabOf("x");
    for (let count = 0; count < 1_024; count++) one.transport.write(channel, slab, 0, 1);
    slab.bytes[0] = 0x79;
    // The 1,025th has the others flushed first: nothing of it may be let go with them.
    one.transport.write(channel, slab, 0, 1);
    expect(slab.holders).toBe(2);
    slab.release();
    await until(() => peer.received.length === 1_025, "all of it comes");
    expect(peer.received.toString("latin1", 1_024)).toBe("y");
  });

  it("takes more slabs and more bytes in one turn than it keeps known", async () => {
    const one = await listen();
    const { socket, channel } = await client(one);
    const peer = receiver(socket);
    const expected: Buffer[] = [];
    for (let count = 0; count < 700; count++) {
      const bytes = Buffer.alloc(count % 7 === 0 ? 9_000 : 3, count & 0xff);
      const slab = slabOf(bytes);
      one.transport.write(channel, slab, 0, bytes.length);
      slab.release();
      expected.push(bytes);
    }
    const all = Buffer.concat(expected);
    await until(() => peer.received.length === all.length, "all of it comes");
    expect(peer.received.equals(all)).toBe(true);
  });

  it("tells at once where a peer takes no more, and of a deferred write afterwards", async () => {
    const one = await listen();
    const { socket, channel } = await client(one);
    socket.pause();
    const slab = slabOf(pattern(0, 60_000));
    let outcome: number = WRITE.SENT;
    let writes = 0;
    for (; outcome === WRITE.SENT && writes < 1_000; writes++) {
      outcome = one.transport.write(channel, slab, 0, 60_000);
      await pass(0);
    }
    // Turn by turn each write is deferred: the queue begins in a flush, and onQueued tells.
    expect(one.handler.queuings).toBe(1);
    expect(one.transport.queued[channel]).toBeGreaterThan(0);
    slab.release();
    const peer = receiver(socket);
    socket.resume();
    await until(() => one.handler.drains === 1, "it drains");
    await until(() => peer.received.length === writes * 60_000, "all of it comes");
  });

  it("resets a connection whose queue passes the guard, and says why", async () => {
    const one = await listen({ queueBytesMax: 100_000 });
    const { socket, channel } = await client(one);
    socket.pause();
    const slab = slabOf(pattern(0, 60_000));
    for (let count = 0; count < 1_000; count++) {
      if (one.transport.write(channel, slab, 0, 60_000) === WRITE.REFUSED) break;
      await pass(0);
    }
    slab.release();
    await until(() => one.handler.closed.length === 1, "it is closed");
    expect(one.handler.closed[0]).toEqual({ channel, end: "reset", detail: "ENOBUFS" });
  });
});

describe.skipIf(!hasNative)("turns of the loop", () => {
  it("holds what came in the batch in which another connection's handler paused it", async () => {
    const one = await listen();
    const all = [await client(one), await client(one), await client(one)];
    one.handler.on.onChunk = () => {
      for (const { channel } of all) one.transport.pause(channel);
    };
    for (const { socket } of all) socket.write("together");
    // The loop must find them in one batch: nobody polls while this waits.
    const end = performance.now() + 30;
    while (performance.now() < end);
    await pass();
    const told = all.filter(({ channel }) => one.handler.receivedBytes(channel) > 0);
    expect(told.length).toBe(1);
    one.handler.on.onChunk = () => {};
    for (const { channel } of all) one.transport.resume(channel);
    for (const { channel } of all) {
      await until(() => one.handler.receivedBytes(channel) === 8, "the rest comes");
    }
  });

  it("tells all that came before a reset, however often its connection is paused", async () => {
    const one = await listen();
    const { socket, channel } = await client(one);
    one.handler.on.onChunk = () => {
      one.transport.pause(channel);
      setTimeout(() => one.transport.resume(channel), 5);
    };
    socket.write(Buffer.alloc(100_000));
    await until(() => socket.writableLength === 0, "all of it is sent");
    socket.resetAndDestroy();
    await until(() => one.handler.closed.length === 1, "it is closed");
    expect(one.handler.closed[0]).toEqual({ channel, end: "reset", detail: "ECONNRESET" });
    expect(one.handler.receivedBytes(channel)).toBe(100_000);
  });

  it("holds an end that came in the batch of the pause, and tells it afterwards", async () => {
    const one = await listen();
    const [first, second] = [await client(one), await client(one)];
    one.handler.on.onChunk = () => one.transport.pause(second.channel);
    first.socket.write("x");
    second.socket.end();
    const end = performance.now() + 30;
    while (performance.now() < end);
    await pass();
    expect(one.handler.hasEnded(second.channel)).toBe(false);
    one.transport.resume(second.channel);
    await until(() => one.handler.hasEnded(second.channel), "the end is told");
  });

  // Over a Unix socket every read is followed by another one without an event.
  it.each(["TCP", "a Unix socket"])("lets quiet ones in between floods over %s", async (kind) => {
    const one = await listen(kind === "TCP" ? {} : { path: freePath() });
    const heavy = [];
    for (let count = 0; count < 24; count++) heavy.push(await client(one));
    const quiet = await client(one);
    const block = Buffer.alloc(4_000_000);
    for (const { socket } of heavy) socket.write(block);
    await pass(5);
    quiet.socket.write("me");
    const late = client(one);
    await until(() => one.handler.receivedBytes(quiet.channel) === 2, "it is heard");
    await late;
    const left = heavy.filter(({ channel }) => one.handler.receivedBytes(channel) < block.length);
    // Long before the others are done; whoever starves is heard when all are.
    expect(left.length).toBeGreaterThan(heavy.length / 2);
    for (const { channel } of heavy) one.transport.reset(channel);
  });

  it("gives timers their turn under a flood", async () => {
    const one = await listen();
    for (let count = 0; count < 8; count++) {
      const { socket } = await client(one);
      const flood = (error?: Error | null): void => {
        if (error == null) socket.write(Buffer.alloc(256_000), flood);
      };
      flood();
    }
    let ticks = 0;
    const timer = setInterval(() => ticks++, 5);
    await pass(300);
    clearInterval(timer);
    expect(ticks).toBeGreaterThan(10);
    expect(counted("batches")).toBeGreaterThan(5);
  });

  it("asks the kernel for nothing more than a read and a write per message", async () => {
    const one = await listen();
    const { socket, channel } = await client(one);
    const slab = slabOf("pong");
    one.handler.on.onChunk = () => void one.transport.write(channel, slab, 0, 4);
    const before = [counted("reads"), counted("writes"), counted("readAgain")];
    for (let count = 1; count <= 20; count++) {
      socket.write("ping");
      await once(socket, "data");
    }
    slab.release();
    const after = [counted("reads"), counted("writes"), counted("readAgain")];
    expect(after.map((value, index) => value - before[index]!)).toEqual([20, 20, 0]);
  });
});

describe.skipIf(!hasNative)("what is asked for after a turn has flushed", () => {
  it("goes out at once, though nothing else wakes the process", async () => {
    const one = await listen();
    const { socket, channel } = await client(one);
    const peer = receiver(socket);
    const slab = slabOf("late");
    one.handler.on.onChunk = () => {
      // After a resume the rest is read before libuv polls, and this comes after the flush.
      void Promise.resolve().then(() => one.transport.write(channel, slab, 0, 4));
    };
    for (let round = 1; round <= 5; round++) {
      one.transport.pause(channel);
      socket.write("wake");
      await pass(20);
      const from = performance.now();
      one.transport.resume(channel);
      await once(socket, "data");
      expect(performance.now() - from).toBeLessThan(500);
    }
    slab.release();
    expect(peer.received.toString()).toBe("late".repeat(5));
  });

  it("is done, however long the chain of handlers that ask for more", async () => {
    const one = await listen();
    const channels: ChannelId[] = [];
    for (let count = 0; count < 40; count++) channels.push((await client(one)).channel);
    one.handler.on.onClose = () => {
      const next = channels.shift();
      if (next !== undefined) one.transport.reset(next);
    };
    one.transport.reset(channels.shift()!);
    await until(() => one.handler.closed.length === 40, "all are closed", 1_000);
    expect(channels).toEqual([]);
  });

  it("leaves a process that has nothing to do asleep", async () => {
    const one = await listen();
    const { socket, channel } = await client(one);
    one.transport.pause(channel);
    socket.write(Buffer.alloc(300_000));
    await pass(50);
    one.transport.resume(channel);
    await until(() => one.handler.receivedBytes(channel) === 300_000, "all of it comes");
    const before = process.cpuUsage();
    await pass(400);
    const { user, system } = process.cpuUsage(before);
    expect(user + system).toBeLessThan(100_000);
  });
});

describe.skipIf(!hasNative)("members of one loop", () => {
  it("share it, and each is told of its own connections alone", async () => {
    const [a, b] = [await listen(), await listen()];
    const toA = await client(a);
    const toB = await client(b);
    expect(toA.channel).not.toBe(toB.channel);
    toA.socket.write("to a");
    toB.socket.write("to b");
    await until(() => a.handler.receivedBytes(toA.channel) === 4, "a hears");
    await until(() => b.handler.receivedBytes(toB.channel) === 4, "b hears");
    a.transport.destroy();
    await until(() => a.handler.closed.length === 1, "a's is closed");
    expect(b.handler.isOpen(toB.channel)).toBe(true);
    toB.socket.write(" still");
    await until(() => b.handler.receivedBytes(toB.channel) === 10, "b hears on");
  });

  it("may come again after the last has left", async () => {
    for (let round = 0; round < 3; round++) {
      const one = await listen();
      const { channel } = await client(one);
      expect(channel).toBe(0);
      one.transport.destroy();
      await until(() => one.handler.closed.length === 1, "it is closed");
      await pass(5);
    }
  });

  it("never give a channel's number to another connection inside a batch", async () => {
    const one = await listen();
    const seen: string[] = [];
    one.handler.on.onOpen = (channel) => seen.push(`+${channel}`);
    one.handler.on.onClose = (channel) => seen.push(`-${channel}`);
    for (let round = 0; round < 20; round++) {
      const { socket, channel } = await client(one);
      const other = connect({ port: one.address.port, host: "127.0.0.1" });
      sockets.push(other);
      other.on("error", () => {});
      socket.resetAndDestroy();
      await until(() => !one.handler.isOpen(channel), "it is closed");
      await until(() => one.handler.opened.length === 2 * (round + 1), "the other is open");
    }
    const open = new Set<string>();
    const shared = seen.filter((step) => {
      const channel = step.slice(1);
      if (step.startsWith("-")) return !open.delete(channel);
      return open.size === open.add(channel).size;
    });
    expect(shared).toEqual([]);
  });
});
