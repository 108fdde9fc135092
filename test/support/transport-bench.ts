// What the contract's tests stand on: a transport with a recording handler, and peers of it.

import { expect } from "vitest";
import { BufferPool, type Bytes, type Slab } from "../../src/base/buffer-pool.ts";
import {
  type ChannelId,
  type Transport,
  type TransportEnd,
  type TransportFault,
  type TransportHandler,
  WRITE,
} from "../../src/transport/transport.ts";

/** The far end of one connection. */
export interface ContractPeer {
  /** All bytes that came, in order; made anew each time. */
  readonly received: Buffer;
  readonly receivedBytes: number;
  /** How it ended, null while it is open; `code` is the close frame's, 0 where there is none. */
  readonly ended: { readonly wasReset: boolean; readonly code: number } | null;
  send(bytes: Uint8Array): void;
  /** Ends its sending side in order; on WebSocket by a close frame. */
  end(): void;
  /** RST; only where the transport has such a thing. */
  reset(): void;
  setReading(reading: boolean): void;
  /** Lets go of whatever it holds, at the end of a test. */
  destroy(): void;
}

export interface OpenTransport {
  readonly transport: Transport;
  /** Rejects where nothing listens or the connection is cut off before it is open. */
  connect(): Promise<ContractPeer>;
}

export interface TransportTraits {
  readonly canPause: boolean;
  /** A peer may end its side and go on reading. */
  readonly hasHalfClose: boolean;
  readonly hasReset: boolean;
  /** A peer is told the code that close() was given. */
  readonly hasCloseCodes: boolean;
  /** What a chunk lay in holds other bytes, or none, after a later chunk. */
  readonly reusesReceiveMemory: boolean;
  readonly hasRemoteAddress: boolean;
}

export interface TransportHarness {
  readonly name: string;
  readonly traits: TransportTraits;
  /** A transport that listens. */
  open(handler: TransportHandler): Promise<OpenTransport>;
  /** A program that opens one, connects to it, destroys it, and must then end by itself. */
  readonly exitProgram?: string;
}

export interface ContractTest {
  /** Left out where the transport has no such thing. */
  readonly needs?: (harness: TransportHarness) => boolean;
  run(bench: Bench): Promise<void>;
}
export type ContractTests = Readonly<Record<string, ContractTest>>;

/** Keeps what a handler is told, and what it must not be told. */
export class Recorder implements TransportHandler {
  readonly opened: ChannelId[] = [];
  readonly closed: { channel: ChannelId; end: TransportEnd; detail: string }[] = [];
  readonly faults: { channel: ChannelId; fault: TransportFault }[] = [];
  readonly acceptErrors: string[] = [];
  /** Breaches of the contract; none is right. */
  readonly breaches: string[] = [];
  drains: number = 0;
  /** Writes that were called sent and wait after all. */
  queuings: number = 0;
  refused: number = 0;
  isAdmitting: boolean = true;
  /** Done in the middle of a callback, after it was recorded. */
  on: Partial<Pick<TransportHandler, "onOpen" | "onChunk" | "onDrain" | "onEnd" | "onClose">> = {};
  readonly #live: Map<ChannelId, { chunks: Buffer[]; hasEnded: boolean }> = new Map();
  readonly #received: Map<ChannelId, Buffer[]> = new Map();

  /** The chunks of a channel since it was opened last, copied. */
  chunks(channel: ChannelId): Buffer[] {
    return this.#received.get(channel) ?? [];
  }

  received(channel: ChannelId): Buffer {
    return Buffer.concat(this.chunks(channel));
  }

  receivedBytes(channel: ChannelId): number {
    return this.chunks(channel).reduce((sum, { length }) => sum + length, 0);
  }

  hasEnded(channel: ChannelId): boolean {
    return this.#live.get(channel)?.hasEnded ?? false;
  }

  isOpen(channel: ChannelId): boolean {
    return this.#live.has(channel);
  }

  /** How a channel ended last; null while it has not. */
  endOf(channel: ChannelId): TransportEnd | null {
    return this.closed.findLast((entry) => entry.channel === channel)?.end ?? null;
  }

  admit(): boolean {
    if (!this.isAdmitting) this.refused++;
    return this.isAdmitting;
  }

  onOpen(channel: ChannelId): void {
    if (this.#live.has(channel)) this.breaches.push(`channel ${channel} was opened twice`);
    const chunks: Buffer[] = [];
    this.#live.set(channel, { chunks, hasEnded: false });
    this.#received.set(channel, chunks);
    this.opened.push(channel);
    this.on.onOpen?.(channel);
  }

  onChunk(channel: ChannelId, bytes: Bytes, start: number, end: number): void {
    const live = this.#alive(channel, "a chunk");
    if (live?.hasEnded === true) this.breaches.push(`a chunk after the end of ${channel}`);
    if (!(start >= 0 && start <= end && end <= bytes.length)) {
      this.breaches.push(`a chunk from ${start} to ${end} of ${bytes.length} bytes`);
    }
    live?.chunks.push(Buffer.from(bytes.subarray(start, end)));
    this.on.onChunk?.(channel, bytes, start, end);
  }

  onQueued(channel: ChannelId): void {
    this.#alive(channel, "a queue");
    this.queuings++;
  }

  onDrain(channel: ChannelId): void {
    this.#alive(channel, "a drain");
    this.drains++;
    this.on.onDrain?.(channel);
  }

  onEnd(channel: ChannelId): void {
    const live = this.#alive(channel, "an end");
    if (live?.hasEnded === true) this.breaches.push(`channel ${channel} ended twice`);
    if (live !== undefined) live.hasEnded = true;
    this.on.onEnd?.(channel);
  }

  /** Control frames of any channel. */
  signs: number = 0;

  onSign(channel: ChannelId): void {
    this.#alive(channel, "a sign");
    this.signs++;
  }

  onFault(channel: ChannelId, fault: TransportFault): void {
    this.#alive(channel, "a fault");
    this.faults.push({ channel, fault });
  }

  onClose(channel: ChannelId, end: TransportEnd, detail: string): void {
    this.#alive(channel, "a close");
    this.#live.delete(channel);
    this.closed.push({ channel, end, detail });
    this.on.onClose?.(channel, end, detail);
  }

  onAcceptError(code: string): void {
    this.acceptErrors.push(code);
  }

  #alive(channel: ChannelId, what: string): { chunks: Buffer[]; hasEnded: boolean } | undefined {
    const live = this.#live.get(channel);
    if (live === undefined) this.breaches.push(`${what} on channel ${channel}, which is not open`);
    return live;
  }
}

/** One test's transport, peers and slabs. */
export class Bench {
  readonly harness: TransportHarness;
  readonly handler: Recorder = new Recorder();
  readonly pool: BufferPool = new BufferPool();
  readonly #opened: OpenTransport[] = [];
  readonly #peers: ContractPeer[] = [];

  constructor(harness: TransportHarness) {
    this.harness = harness;
  }

  get transport(): Transport {
    return this.#opened[0]!.transport;
  }

  async open(): Promise<void> {
    this.#opened.push(await this.harness.open(this.handler));
  }

  /** A connection that is open at both ends. */
  async connect(): Promise<{ peer: ContractPeer; channel: ChannelId }> {
    const before = this.handler.opened.length;
    const peer = await this.#opened[0]!.connect();
    this.#peers.push(peer);
    await until(() => this.handler.opened.length > before, "the transport says it is open");
    return { peer, channel: this.handler.opened.at(-1)! };
  }

  /** Tries to connect where it must not succeed: resolves once it is clear that it did not. */
  async expectNoConnection(): Promise<void> {
    const before = this.handler.opened.length;
    const peer = await this.#opened[0]!.connect().catch(() => null);
    if (peer !== null) {
      this.#peers.push(peer);
      await until(() => peer.ended !== null, "the connection is cut off");
    }
    expect(this.handler.opened.length).toBe(before);
  }

  slab(content: Uint8Array | string): Slab {
    const bytes = Buffer.from(content);
    const slab = this.pool.lease(Math.max(1, bytes.length));
    slab.bytes.set(bytes);
    return slab;
  }

  /** Writes, and takes the slab back as the connection layer does: to be overwritten at once. */
  write(channel: ChannelId, content: Uint8Array | string): number {
    const slab = this.slab(content);
    const outcome = this.transport.write(channel, slab, 0, Buffer.byteLength(content));
    giveBack(slab);
    return outcome;
  }

  /** Writes a known pattern until the transport says that some of it waits. */
  writeUntilQueued(channel: ChannelId): { written: number } {
    let written = 0;
    while (written < PATTERN_BYTES_MAX) {
      const outcome = this.write(channel, pattern(written, 65_536));
      expect(outcome).not.toBe(WRITE.REFUSED);
      written += 65_536;
      if (outcome === WRITE.QUEUED) return { written };
    }
    throw new Error(`${written} bytes were taken although the peer reads nothing`);
  }

  /** Everything goes, and the transport must have let go of all it held. */
  async dispose(): Promise<void> {
    for (const { transport } of this.#opened) transport.destroy();
    for (const peer of this.#peers) peer.destroy();
    const open = (): number => this.handler.opened.length - this.handler.closed.length;
    await until(() => open() === 0, "every channel is closed");
    await until(() => this.pool.leased === 0, "every slab is released");
    expect(this.handler.breaches).toEqual([]);
  }
}

/** More than kernels buffer on loopback. */
const PATTERN_BYTES_MAX = 64 * 1_048_576;

/** Bytes that tell where in a stream they belong. */
export function pattern(offset: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  for (let index = 0; index < length; index++) {
    const at = offset + index;
    bytes[index] = (at ^ (at >>> 8) ^ (at >>> 16)) & 0xff;
  }
  return bytes;
}

/** What a transport did not retain is overwritten: it must have copied or sent it. */
export function giveBack(slab: Slab): void {
  if (slab.holders === 1) slab.bytes.fill(0xee);
  slab.release();
}

export async function until(
  condition: () => boolean,
  what: string,
  ms: number = 5_000,
): Promise<void> {
  const deadline = performance.now() + ms;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`it did not come about that ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** Long enough for something to happen that must not. */
export function pass(ms: number = 40): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
