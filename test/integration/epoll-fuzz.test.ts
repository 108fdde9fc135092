// Random calls from inside every callback, against a model: one loop with a TCP and a Unix
// transport and a dialer, peers of node:net and of the dialer, handlers that throw. A run is a
// function of its seed as far as the kernel is; HOLDFAST_FUZZ_SEED and HOLDFAST_FUZZ_OPERATIONS
// choose another, or a longer one.

import { connect, type Socket } from "node:net";
import { env } from "node:process";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { BufferPool, type Bytes } from "../../src/base/buffer-pool.ts";
import { systemClock } from "../../src/base/clock.ts";
import { Prng } from "../../src/base/prng.ts";
import { EpollDialer } from "../../src/transport/epoll-dialer.ts";
import { COUNTER } from "../../src/transport/epoll-layout.ts";
import { EpollLoop } from "../../src/transport/epoll-loop.ts";
import { loadNative } from "../../src/transport/native.ts";
import { TcpEpollTransport } from "../../src/transport/tcp-epoll.ts";
import {
  type ChannelId,
  type TransportAddress,
  type TransportEnd,
  type TransportHandler,
  WRITE,
} from "../../src/transport/transport.ts";
import { freePath } from "../contract/socket-harness.ts";
import { hasNative } from "../support/native.ts";
import { giveBack, until } from "../support/transport-bench.ts";

const OPERATIONS = Number(env["HOLDFAST_FUZZ_OPERATIONS"] ?? 30_000);
const SEED = Number(env["HOLDFAST_FUZZ_SEED"] ?? 4);
const PEERS_MAX = 40;
/** A well-behaved writer stops here. */
const QUEUE_BYTES_MAX = 262_144;
const KEY_BYTES = 4;
const OPTIONS = {
  ...{ host: "127.0.0.1", port: 0, path: null, fd: null, backlog: 128, noDelay: true },
  ...{ keepAliveMs: 0, userTimeoutMs: 0, queueBytesMax: 2 ** 30 },
};

// A prime, so that no power of two of bytes left out or repeated looks right.
const PERIOD = 65_521;
const PATTERN = Buffer.alloc(PERIOD + 2 * 65_536);
{
  const prng = new Prng(1);
  for (let at = 0; at < PERIOD; at++) PATTERN[at] = prng.uint32() & 0xff;
  PATTERN.copy(PATTERN, PERIOD, 0);
  PATTERN.copy(PATTERN, 2 * PERIOD, 0);
}

/** One direction: it begins with its key, and goes on with what follows from it. */
class Stream {
  key: number;
  bytes: number = 0;

  constructor(key: number) {
    this.key = key;
  }

  /** The next bytes of a sender. */
  next(length: number): Buffer {
    const bytes = Buffer.from(this.#at(this.bytes, length));
    for (let at = this.bytes; at < Math.min(KEY_BYTES, this.bytes + length); at++) {
      bytes[at - this.bytes] = (this.key >>> (8 * at)) & 0xff;
    }
    return bytes;
  }

  /** @returns whether these are the next bytes of a receiver, who learns the key from the first. */
  accept(chunk: Buffer): boolean {
    let at = 0;
    while (this.bytes < KEY_BYTES && at < chunk.length) {
      this.key = (this.key | (chunk[at++]! << (8 * this.bytes++))) >>> 0;
    }
    for (let end = 0; at < chunk.length; at = end) {
      end = Math.min(chunk.length, at + 65_536);
      if (!this.#at(this.bytes, end - at).equals(chunk.subarray(at, end))) return false;
      this.bytes += end - at;
    }
    return true;
  }

  #at(position: number, length: number): Buffer {
    const start = (this.key + position) % PERIOD;
    return PATTERN.subarray(start, start + length);
  }
}

/** A far end: of node:net, or of the dialer. */
interface Far {
  readonly sent: Stream;
  readonly received: Stream;
  /** It has ended its side in order; what it sent must arrive. */
  hasEnded: boolean;
  /** It went away as it pleased: nothing is owed to it. */
  hasLeft: boolean;
  isGone: boolean;
  send(length: number): void;
  end(): void;
  leave(isHard: boolean): void;
  setReading(isReading: boolean): void;
}

/** A channel as the handler knows it. */
interface Near {
  readonly channel: ChannelId;
  readonly sent: Stream;
  readonly received: Stream;
  isClosing: boolean;
  isReset: boolean;
  isPaused: boolean;
  hasEnded: boolean;
}

class World {
  readonly prng: Prng;
  readonly pool: BufferPool = new BufferPool();
  readonly loop: EpollLoop = new EpollLoop(loadNative());
  readonly dialer: EpollDialer = new EpollDialer(this.loop, systemClock, this.pool);
  readonly sides: Side[] = [];
  readonly fars: Far[] = [];
  /** By the key of what each sends; those that have gone stay. */
  readonly farsByKey: Map<number, Far> = new Map();
  readonly nearsByKey: Map<number, Near> = new Map();
  readonly breaches: string[] = [];
  operations: number = 0;
  throws: number = 0;
  queuings: number = 0;
  drains: number = 0;
  caught: number = 0;
  isQuiet: boolean = false;
  #depth: number = 0;
  #key: number = 1;

  constructor(seed: number) {
    this.prng = new Prng(seed);
  }

  chance(times: number): boolean {
    return this.prng.int(1, times) === 1;
  }

  nextKey(): number {
    this.#key += 7;
    return this.#key;
  }

  length(): number {
    return this.chance(5) ? this.prng.int(1, 60_000) : this.prng.int(1, 300);
  }

  /** Inside of a callback: nothing, or some calls about anything, or an exception after them. */
  inside(): void {
    if (this.isQuiet || this.#depth > 2) return;
    this.#depth++;
    for (let count = this.prng.int(0, 2); count > 0; count--) this.call();
    this.#depth--;
    if (!this.chance(150)) return;
    this.throws++;
    throw new Error("planted");
  }

  call(): void {
    this.operations++;
    const side = this.sides[this.prng.int(0, this.sides.length - 1)]!;
    side.call();
  }
}

/** A transport with its handler. */
class Side implements TransportHandler {
  readonly #world: World;
  readonly transport: TcpEpollTransport;
  readonly nears: Map<ChannelId, Near> = new Map();
  address: TransportAddress | null = null;
  isListening: boolean = false;
  #isDestroyed: boolean = false;

  constructor(world: World, path: string | null) {
    this.#world = world;
    this.transport = new TcpEpollTransport({ ...OPTIONS, path }, this, world.loop, systemClock);
  }

  async listen(): Promise<void> {
    this.isListening = true;
    this.address = await this.transport.listen();
  }

  call(): void {
    const { prng } = this.#world;
    const all = [...this.nears.values()];
    if (all.length === 0) return;
    const near = all[prng.int(0, all.length - 1)]!;
    const kind = prng.int(0, 99);
    if (kind < 60) this.write(near);
    else if (kind < 68) this.pause(near);
    else if (kind < 84) this.resume(near);
    else if (kind < 91) this.close(near);
    else if (kind < 95) this.reset(near);
    else if (kind < 97) this.#ask(near);
    else if (kind < 99) this.#callGone();
    else if (this.#world.chance(2)) this.#fill(near);
    // Seldom, since it cuts off whoever waits to be accepted.
    if (kind === 99 && this.#world.chance(20)) this.#stopAndGoOn();
  }

  write(near: Near, wanted: number = 0): void {
    const { transport } = this;
    const { prng, pool } = this.#world;
    if (transport.queued[near.channel]! > QUEUE_BYTES_MAX) return;
    const count = prng.int(1, 6) === 1 ? prng.int(2, 5) : 1;
    const slices = Array.from({ length: count }, () => {
      const length = wanted > 0 ? wanted : this.#world.length();
      const slab = pool.lease(length + 8);
      const start = prng.int(0, 8);
      return { slab, start, end: start + length };
    });
    const before = near.sent.bytes;
    for (const { slab, start, end } of slices) {
      slab.bytes.set(near.sent.next(end - start), start);
      near.sent.bytes += end - start;
    }
    const [{ slab, start, end }] = slices as [(typeof slices)[0]];
    const outcome =
      count === 1
        ? transport.write(near.channel, slab, start, end)
        : transport.writev(near.channel, slices);
    const isOpen = !near.isClosing && !near.isReset && this.nears.has(near.channel);
    if ((outcome === WRITE.REFUSED) === isOpen) this.#breach(near, `write: ${outcome}`);
    if (outcome === WRITE.REFUSED) near.sent.bytes = before;
    const isQueued = transport.queued[near.channel]! > 0;
    if (outcome !== WRITE.REFUSED && isQueued !== (outcome === WRITE.QUEUED)) {
      this.#breach(near, `write: ${outcome} with ${transport.queued[near.channel]} queued`);
    }
    for (const slice of slices) giveBack(slice.slab);
  }

  /** More than the kernel takes from a peer that does not read. */
  #fill(near: Near): void {
    for (let count = 0; count < 60 && this.transport.queued[near.channel] === 0; count++) {
      this.write(near, 60_000);
      if (near.isClosing || near.isReset || !this.nears.has(near.channel)) return;
    }
  }

  pause(near: Near): void {
    this.transport.pause(near.channel);
    if (!near.isClosing && !near.isReset) near.isPaused = true;
  }

  resume(near: Near): void {
    this.transport.resume(near.channel);
    near.isPaused = false;
  }

  close(near: Near): void {
    this.transport.close(near.channel);
    if (near.isReset) return;
    near.isClosing = true;
    near.isPaused = false;
  }

  reset(near: Near): void {
    this.transport.reset(near.channel);
    near.isReset = true;
  }

  destroy(): void {
    this.#isDestroyed = true;
    for (const near of this.nears.values()) near.isReset = true;
    this.transport.destroy();
  }

  admit(): boolean {
    // A refusal is no defect, nor is what it does meanwhile; an exception here is not foreseen.
    for (let count = this.#world.prng.int(0, 2); count > 0; count--) this.#world.call();
    return this.#world.isQuiet || !this.#world.chance(12);
  }

  onOpen(channel: ChannelId): void {
    const sent = new Stream(this.#world.nextKey());
    const near: Near = {
      ...{ channel, sent, received: new Stream(0) },
      ...{ isClosing: false, isReset: false, isPaused: false, hasEnded: false },
    };
    if (this.nears.has(channel)) this.#breach(near, "opened twice");
    this.nears.set(channel, near);
    this.#world.nearsByKey.set(sent.key, near);
    this.#world.inside();
  }

  onChunk(channel: ChannelId, bytes: Bytes, start: number, end: number): void {
    const near = this.#near(channel, "a chunk");
    if (near.isPaused) this.#breach(near, "a chunk while it is paused");
    if (near.hasEnded) this.#breach(near, "a chunk after its end");
    if (!(start < end)) this.#breach(near, "an empty chunk");
    if (!near.received.accept(Buffer.from(bytes.subarray(start, end)))) {
      this.#breach(near, "wrong bytes");
    }
    this.#world.inside();
  }

  onQueued(channel: ChannelId): void {
    const near = this.#near(channel, "a queue");
    this.#world.queuings++;
    if (!(this.transport.queued[channel]! > 0)) this.#breach(near, "a queue that is none");
    this.#world.inside();
  }

  onDrain(channel: ChannelId): void {
    const near = this.#near(channel, "a drain");
    this.#world.drains++;
    if (this.transport.queued[channel] !== 0) this.#breach(near, "a drain with bytes left");
    this.#world.inside();
  }

  onEnd(channel: ChannelId): void {
    const near = this.#near(channel, "an end");
    if (near.hasEnded || near.isPaused) this.#breach(near, "an end out of turn");
    near.hasEnded = true;
    const far = this.#world.farsByKey.get(near.received.key);
    if (far?.hasEnded === true && !far.hasLeft && far.sent.bytes !== near.received.bytes) {
      this.#breach(near, `the end after ${near.received.bytes} of ${far.sent.bytes} bytes`);
    }
    this.#world.inside();
  }

  onClose(channel: ChannelId, end: TransportEnd, detail: string): void {
    const near = this.#near(channel, "a close", true);
    this.nears.delete(channel);
    const far = this.#world.farsByKey.get(near.received.key);
    const isOwn = near.isReset || (near.isClosing && near.hasEnded);
    if (end === "closed" && !isOwn) this.#breach(near, `closed by nobody ${detail}`);
    if (end === "reset" && far !== undefined && !far.hasLeft) {
      this.#breach(near, `reset by nobody (${detail})`);
    }
    if (this.transport.queued[channel] !== 0) this.#breach(near, "closed with bytes queued");
    this.#world.inside();
  }

  onFault(): void {}
  onSign(): void {}

  onAcceptError(code: string): void {
    this.#world.breaches.push(`accepting failed: ${code}`);
  }

  #ask({ channel }: Near): void {
    this.transport.remoteAddress(channel);
    this.transport.tcpInfo(channel);
    this.transport.queuedNow(channel);
  }

  /** Whatever is said about a channel that is none is of no consequence. */
  #callGone(): void {
    const gone = 100_000;
    const slab = this.#world.pool.lease(10);
    if (this.transport.write(gone, slab, 0, 5) !== WRITE.REFUSED) {
      this.#world.breaches.push("a channel that is none was written to");
    }
    slab.release();
    for (const call of ["pause", "resume", "close", "reset"] as const) this.transport[call](gone);
  }

  #stopAndGoOn(): void {
    if (!this.isListening) return;
    this.isListening = false;
    this.transport.stopAccepting();
    setImmediate(() => {
      if (this.#isDestroyed) return;
      this.transport.resumeAccepting().then(
        () => {
          this.isListening = true;
        },
        (error: unknown) => this.#world.breaches.push(String(error)),
      );
    });
  }

  #near(channel: ChannelId, what: string, isEnd: boolean = false): Near {
    const near = this.nears.get(channel);
    if (near === undefined) {
      this.#world.breaches.push(`${what} of ${channel}, which is not open`);
      throw new Error("there is no such channel");
    }
    if (near.isReset && !isEnd) this.#breach(near, `${what} after it was reset`);
    return near;
  }

  #breach({ channel }: Near, what: string): void {
    this.#world.breaches.push(`${this.address?.path ?? "TCP"} ${channel}: ${what}`);
  }
}

/** What both kinds of peers have. */
function newFar(world: World): Pick<Far, "sent" | "received" | "hasEnded" | "hasLeft" | "isGone"> {
  const sent = new Stream(world.nextKey());
  return { sent, received: new Stream(0), hasEnded: false, hasLeft: false, isGone: false };
}

function received(world: World, far: Far, chunk: Buffer): void {
  if (!far.received.accept(chunk)) world.breaches.push(`a peer got wrong bytes`);
}

/** Its connection has ended both ways without an error: it must have all that was for it. */
function endedInOrder(world: World, far: Far): void {
  const near = world.nearsByKey.get(far.received.key);
  const isOwed = near !== undefined && near.isClosing && !near.isReset && !far.hasLeft;
  if (isOwed && near.sent.bytes !== far.received.bytes) {
    world.breaches.push(`a peer got ${far.received.bytes} of ${near.sent.bytes} bytes`);
  }
}

function netFar(world: World, { host, port, path }: TransportAddress): Far {
  const where = path === null ? { host, port } : { path };
  const socket: Socket = connect({ ...where, noDelay: true, allowHalfOpen: true });
  const far: Far = {
    ...newFar(world),
    send(length) {
      if (!socket.writable || far.hasEnded || socket.writableLength > QUEUE_BYTES_MAX) return;
      socket.write(far.sent.next(length));
      far.sent.bytes += length;
    },
    end() {
      far.hasEnded = true;
      socket.end();
    },
    leave(isHard) {
      far.hasLeft = true;
      // net would never close one that is reset while its FIN is under way.
      if (isHard && path === null && !far.hasEnded) socket.resetAndDestroy();
      else socket.destroy();
    },
    setReading(isReading) {
      if (isReading) socket.resume();
      else socket.pause();
    },
  };
  socket.on("data", (chunk: Buffer) => received(world, far, chunk));
  socket.on("error", () => {
    far.hasLeft = true;
  });
  socket.on("end", () => endedInOrder(world, far));
  socket.on("close", () => {
    far.isGone = true;
  });
  return far;
}

function dialFar(world: World, { host, port, path }: TransportAddress): Far {
  const { dialer } = world;
  let channel = -1;
  let isOpen = false;
  const far: Far = {
    ...newFar(world),
    send(length) {
      if (!isOpen || far.hasEnded || far.hasLeft || far.isGone) return;
      if (dialer.queuedBytes(channel) > QUEUE_BYTES_MAX) return;
      if (dialer.send(channel, far.sent.next(length)) === WRITE.REFUSED) return;
      far.sent.bytes += length;
    },
    end() {
      if (far.isGone) return;
      if (isOpen) far.hasEnded = true;
      else far.hasLeft = true;
      dialer.close(channel);
    },
    leave(isHard) {
      if (far.isGone) return;
      far.hasLeft = true;
      if (isHard) dialer.reset(channel);
      else {
        dialer.abandon(channel);
        far.isGone = true;
      }
    },
    setReading(isReading) {
      if (far.isGone) return;
      if (isReading) dialer.resume(channel);
      else dialer.pause(channel);
    },
  };
  const target = { ip: host, port, path, localIp: "", localPort: 0, noDelay: true, timeoutMs: 0 };
  channel = dialer.connect(target, {
    onOpen() {
      isOpen = true;
      world.inside();
    },
    onChunk(bytes, start, end) {
      received(world, far, Buffer.from(bytes.subarray(start, end)));
      world.inside();
    },
    onEnd() {
      endedInOrder(world, far);
      world.inside();
    },
    onClose(error) {
      far.isGone = true;
      if (error !== "") far.hasLeft = true;
      world.inside();
    },
  });
  if (channel < 0) far.isGone = true;
  return far;
}

function stepOutside(world: World): void {
  const { prng } = world;
  world.operations++;
  const side = world.sides[prng.int(0, world.sides.length - 1)]!;
  const open = world.fars.filter((far) => !far.isGone);
  if (open.length < PEERS_MAX && world.chance(6) && side.isListening) {
    const far = world.chance(3) ? dialFar(world, side.address!) : netFar(world, side.address!);
    world.fars.push(far);
    world.farsByKey.set(far.sent.key, far);
    return;
  }
  if (open.length === 0) return;
  const far = open[prng.int(0, open.length - 1)]!;
  const kind = prng.int(0, 99);
  if (kind < 55) far.send(world.length());
  else if (kind < 70) far.setReading(false);
  else if (kind < 76) far.setReading(true);
  else if (kind < 83) far.end();
  else if (kind < 86) far.leave(world.chance(2));
  else world.call();
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

let others: NodeJS.UncaughtExceptionListener[] = [];
let world: World;

function onUncaught(error: Error): void {
  if (error.message === "planted") world.caught++;
  else world.breaches.push(`uncaught: ${error.stack}`);
}

// What is thrown in a handler is uncaught, which the test runner must not see.
beforeEach(() => {
  others = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException");
  process.on("uncaughtException", onUncaught);
});

afterEach(() => {
  process.removeListener("uncaughtException", onUncaught);
  for (const listener of others) process.on("uncaughtException", listener);
});

async function start(seed: number): Promise<World> {
  world = new World(seed);
  world.sides.push(new Side(world, null), new Side(world, freePath()));
  for (const side of world.sides) await side.listen();
  return world;
}

async function run(operations: number): Promise<void> {
  while (world.operations < operations && world.breaches.length === 0) {
    for (let count = world.prng.int(1, 12); count > 0; count--) stepOutside(world);
    await turn();
  }
}

/** Everything ends in order. */
async function finish(): Promise<void> {
  world.isQuiet = true;
  await until(() => world.sides.every(({ isListening }) => isListening), "all listen again");
  for (const side of world.sides) {
    for (const near of side.nears.values()) {
      side.resume(near);
      side.close(near);
    }
  }
  for (const far of world.fars) {
    if (far.isGone) continue;
    far.setReading(true);
    far.end();
  }
  const areGone = (): boolean => {
    // Who was accepted just now was not asked to close yet.
    for (const side of world.sides) for (const near of side.nears.values()) side.close(near);
    return world.sides.every(({ nears }) => nears.size === 0);
  };
  await until(areGone, "all channels are closed", 15_000);
  await until(() => world.fars.every(({ isGone }) => isGone), "all peers have gone", 15_000);
}

async function expectNothingLeft(): Promise<void> {
  world.isQuiet = true;
  for (const side of world.sides) side.destroy();
  for (const far of world.fars) if (!far.isGone) far.leave(true);
  const { counters } = world.loop;
  await until(() => counters[COUNTER.sockets] === 0, "all files are closed");
  await until(() => world.sides.every(({ nears }) => nears.size === 0), "all are told");
  await until(() => world.pool.leased === 0, "every slab is released");
  expect(world.breaches).toEqual([]);
  expect(counters[COUNTER.queues]).toBe(0);
  expect(counters[COUNTER.queueBytes]).toBe(0);
  expect(counters[COUNTER.invalidOperations]).toBe(0);
  expect(world.caught).toBe(world.throws);
}

describe.skipIf(!hasNative)("random calls from inside of callbacks", () => {
  const timeoutMs = 60_000 + OPERATIONS;
  for (const seed of [SEED, SEED + 1]) {
    it(`lose, repeat and misplace nothing (seed ${seed})`, { timeout: timeoutMs }, async () => {
      await start(seed);
      await run(OPERATIONS);
      expect(world.breaches).toEqual([]);
      await finish();
      // A run in which nothing happened shows nothing.
      expect(world.throws).toBeGreaterThan(OPERATIONS / 10_000);
      expect(world.queuings).toBeGreaterThan(0);
      expect(world.drains).toBeGreaterThan(0);
      await expectNothingLeft();
    });
  }

  it(`may be destroyed amid all of it (seed ${SEED + 2})`, { timeout: timeoutMs }, async () => {
    for (let episode = 0; episode < 10; episode++) {
      await start(SEED + 2 + episode);
      await run(Math.ceil(OPERATIONS / 50));
      await expectNothingLeft();
    }
  });
});
