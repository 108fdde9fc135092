// Connections inside the process, for tests and simulation: a "network" whose delays, segment sizes
// and window are scripted and whose time is the clock it is given. Bytes are copied on the way, as
// a kernel does, so a slab that is reused too early shows as corruption.

import type { Slab } from "../base/buffer-pool.ts";
import type { Clock } from "../base/clock.ts";
import { HoldfastError } from "../base/errors.ts";
import { ChannelTable } from "./channel-table.ts";
import {
  type ChannelId,
  type Slice,
  type Transport,
  type TransportAddress,
  type TransportHandler,
  WRITE,
  type WriteOutcome,
} from "./transport.ts";

export interface MemoryOptions {
  /** Bytes that the network takes of each direction before it must wait for the reader. */
  readonly windowBytes: number;
  /** How long the next delivery takes, in milliseconds. */
  readonly delayMs: () => number;
  /** How many of `length` waiting bytes the next delivery brings, 1 .. length. */
  readonly segmentBytes: (length: number) => number;
  /** Whether chunks keep the boundaries of what the peer sent, as WebSocket messages do. */
  readonly hasMessages: boolean;
  /** Whether writes wait for the end of the turn, as in a native loop: see onQueued. */
  readonly gathersWrites: boolean;
}

/** Gathered bytes of one connection beyond which they go on their way at once. */
const GATHERED_BYTES_MAX = 65_536;

/** The far end of a connection, in the hands of a test. */
export interface MemoryPeer {
  /** Bytes go on their way; the array may be reused. */
  send(bytes: Uint8Array): void;
  /** FIN, after what was sent. */
  end(): void;
  /** RST: what is under way in either direction is lost. */
  reset(): void;
  /** Stops or resumes taking bytes; the server's bytes wait in the window meanwhile. */
  setReading(reading: boolean): void;
  /** Everything this end sends is lost from now on, and nothing arrives: a pulled cable. */
  blackhole(): void;
  /** Close code that the server gave, or null while it is open. -1: reset. */
  readonly closedWith: number | null;
}

export interface MemoryPeerHandler {
  onData(bytes: Uint8Array): void;
  onClose(code: number): void;
}

/** One direction: bytes in order, delivered piece by piece. */
class Pipe {
  readonly chunks: Uint8Array[] = [];
  bytes: number = 0;
  ended: boolean = false;
  /** A delivery is scheduled. */
  busy: boolean = false;
  stopped: boolean = false;

  push(bytes: Uint8Array): void {
    this.chunks.push(bytes);
    this.bytes += bytes.length;
  }

  /** The next `count` bytes, from the first chunk only. */
  take(count: number): Uint8Array {
    const first = this.chunks[0]!;
    const taken = first.subarray(0, count);
    if (count === first.length) this.chunks.shift();
    else this.chunks[0] = first.subarray(count);
    this.bytes -= taken.length;
    return taken;
  }
}

class Link implements MemoryPeer {
  channel: ChannelId = -1;
  readonly toServer: Pipe = new Pipe();
  readonly toPeer: Pipe = new Pipe();
  /** What was gathered: its slabs are retained. */
  readonly gathered: Slice[] = [];
  gatheredBytes: number = 0;
  closedWith: number | null = null;
  closeCode: number = 0;
  lost: boolean = false;
  isEndTold: boolean = false;
  readonly #transport: MemoryTransport;
  readonly handler: MemoryPeerHandler;

  constructor(transport: MemoryTransport, handler: MemoryPeerHandler) {
    this.#transport = transport;
    this.handler = handler;
  }

  send(bytes: Uint8Array): void {
    if (this.toServer.ended || this.lost || this.channel === -1) return;
    this.toServer.push(new Uint8Array(bytes));
    this.#transport.pumpToServer(this);
  }

  end(): void {
    this.toServer.ended = true;
    this.#transport.pumpToServer(this);
  }

  reset(): void {
    this.#transport.drop(this, "reset", "ECONNRESET");
  }

  setReading(reading: boolean): void {
    this.toPeer.stopped = !reading;
    this.#transport.pumpToPeer(this);
  }

  blackhole(): void {
    this.lost = true;
  }
}

export class MemoryTransport implements Transport {
  readonly kind = "memory" as const;
  readonly hasMessages: boolean;
  readonly canPause: boolean = true;
  readonly gathersWrites: boolean;
  readonly pendingFiles: number = 0;
  readonly #options: MemoryOptions;
  readonly #handler: TransportHandler;
  readonly #clock: Clock;
  readonly #channels: ChannelTable<Link> = new ChannelTable();
  /** Links that have gathered something in this turn. */
  readonly #gathering: Set<Link> = new Set();
  #accepting: boolean = false;

  constructor(options: MemoryOptions, handler: TransportHandler, clock: Clock) {
    this.#options = options;
    this.#handler = handler;
    this.#clock = clock;
    this.hasMessages = options.hasMessages;
    this.gathersWrites = options.gathersWrites;
  }

  get queued(): Float64Array {
    return this.#channels.queued;
  }

  listen(): Promise<TransportAddress> {
    this.#accepting = true;
    return Promise.resolve({ host: "memory", port: 0, path: null });
  }

  stopAccepting(): void {
    this.#accepting = false;
  }

  resumeAccepting(): Promise<void> {
    this.#accepting = true;
    return Promise.resolve();
  }

  destroy(): void {
    this.stopAccepting();
    for (const link of [...this.#channels.entries()]) this.drop(link, "reset", "destroyed");
  }

  /** A new connection. Throws HOLDFAST_CONNECT_FAILED where none is accepted. */
  connect(handler: MemoryPeerHandler): MemoryPeer {
    if (!this.#accepting || !this.#handler.admit()) {
      throw new HoldfastError("HOLDFAST_CONNECT_FAILED", "the memory transport does not accept");
    }
    const link = new Link(this, handler);
    link.channel = this.#channels.add(link);
    this.#handler.onOpen(link.channel);
    return link;
  }

  write(channel: ChannelId, slab: Slab, start: number, end: number): WriteOutcome {
    const link = this.#channels.get(channel);
    if (link === null || link.toPeer.ended) return WRITE.REFUSED;
    if (this.gathersWrites) return this.#gather(link, slab, start, end);
    this.#push(link, { slab, start, end });
    return this.#account(link);
  }

  writev(channel: ChannelId, slices: readonly Slice[]): WriteOutcome {
    let outcome: WriteOutcome = WRITE.REFUSED;
    for (const { slab, start, end } of slices) outcome = this.write(channel, slab, start, end);
    return outcome;
  }

  queuedNow(channel: ChannelId): number {
    return this.#channels.queued[channel] ?? 0;
  }

  pause(channel: ChannelId): void {
    const link = this.#channels.get(channel);
    if (link !== null) link.toServer.stopped = true;
  }

  resume(channel: ChannelId): void {
    const link = this.#channels.get(channel);
    if (link === null) return;
    link.toServer.stopped = false;
    this.pumpToServer(link);
  }

  close(channel: ChannelId, code: number): void {
    const link = this.#channels.get(channel);
    if (link === null || link.toPeer.ended) return;
    this.#sendGathered(link);
    link.closeCode = code;
    link.toPeer.ended = true;
    link.toServer.stopped = false;
    this.pumpToPeer(link);
    this.pumpToServer(link);
  }

  reset(channel: ChannelId): void {
    const link = this.#channels.get(channel);
    if (link !== null) this.drop(link, "closed", "");
  }

  remoteAddress(channel: ChannelId): string {
    return this.#channels.get(channel) === null ? "" : `memory:${channel}`;
  }

  /** What it retains until the end of the turn. */
  *gatheredSlabs(): Generator<Slab> {
    for (const { gathered } of this.#gathering) for (const { slab } of gathered) yield slab;
  }

  /** Ends a connection at once, for both sides. */
  drop(link: Link, end: "closed" | "reset", detail: string, code: number = -1): void {
    if (link.channel === -1) return;
    const { channel } = link;
    letGo(link);
    this.#channels.remove(channel);
    link.channel = -1;
    link.closedWith = code;
    this.#handler.onClose(channel, end, detail);
    link.handler.onClose(code);
  }

  pumpToServer(link: Link): void {
    const pipe = link.toServer;
    if (pipe.busy || pipe.stopped || link.channel === -1) return;
    if (pipe.bytes === 0 && !pipe.ended) return;
    pipe.busy = true;
    this.#clock.after(this.#options.delayMs(), () => {
      pipe.busy = false;
      if (link.channel === -1 || pipe.stopped || link.lost) return;
      if (pipe.bytes > 0) this.#deliverToServer(link);
      else this.#endToServer(link);
      this.pumpToServer(link);
    });
  }

  pumpToPeer(link: Link): void {
    const pipe = link.toPeer;
    if (pipe.busy || pipe.stopped || link.channel === -1 || link.lost) return;
    if (pipe.bytes === 0 && !pipe.ended) return;
    pipe.busy = true;
    this.#clock.after(this.#options.delayMs(), () => {
      pipe.busy = false;
      if (link.channel === -1 || pipe.stopped || link.lost) return;
      if (pipe.bytes > 0) this.#deliverToPeer(link);
      else if (pipe.ended) this.#endToPeer(link);
      this.pumpToPeer(link);
    });
  }

  #deliverToServer(link: Link): void {
    const pipe = link.toServer;
    const first = pipe.chunks[0]!.length;
    const count = this.hasMessages ? first : this.#options.segmentBytes(first);
    const bytes = pipe.take(count);
    this.#handler.onChunk(link.channel, bytes, 0, bytes.length);
  }

  #endToServer(link: Link): void {
    // Both directions have ended: nothing more can happen on this connection.
    if (link.toPeer.ended && link.toPeer.bytes === 0) {
      this.drop(link, "closed", "", link.closeCode);
      return;
    }
    link.toServer.stopped = true;
    if (link.isEndTold) return;
    link.isEndTold = true;
    this.#handler.onEnd(link.channel);
  }

  #deliverToPeer(link: Link): void {
    const pipe = link.toPeer;
    const bytes = pipe.take(this.#options.segmentBytes(pipe.chunks[0]!.length));
    const before = this.#channels.queued[link.channel]!;
    this.#account(link);
    link.handler.onData(bytes);
    if (link.channel === -1) return;
    if (before > 0 && this.#channels.queued[link.channel] === 0) {
      this.#handler.onDrain(link.channel);
    }
  }

  #endToPeer(link: Link): void {
    // A peer answers a FIN with its own; a lost one cannot.
    this.drop(link, "closed", "", link.closeCode);
  }

  #push(link: Link, { slab, start, end }: Slice): void {
    // Not slice(), which copies nothing where the slab is a Buffer.
    link.toPeer.push(new Uint8Array(slab.bytes.subarray(start, end)));
  }

  #gather(link: Link, slab: Slab, start: number, end: number): WriteOutcome {
    link.gathered.push({ slab: slab.retain(), start, end });
    link.gatheredBytes += end - start;
    if (this.#gathering.size === 0) this.#clock.afterPoll(() => this.#endTurn());
    this.#gathering.add(link);
    const isQueued = this.#channels.queued[link.channel]! > 0;
    if (isQueued || link.gatheredBytes > GATHERED_BYTES_MAX) return this.#sendGathered(link);
    return WRITE.SENT;
  }

  #sendGathered(link: Link): WriteOutcome {
    for (const slice of link.gathered) this.#push(link, slice);
    letGo(link);
    return this.#account(link);
  }

  #endTurn(): void {
    const links = [...this.#gathering];
    this.#gathering.clear();
    for (const link of links) if (link.channel !== -1) this.#sendGathered(link);
    for (const link of links) {
      const isQueued = link.channel !== -1 && this.#channels.queued[link.channel]! > 0;
      if (isQueued) this.#handler.onQueued(link.channel);
    }
  }

  #account(link: Link): WriteOutcome {
    const over = Math.max(0, link.toPeer.bytes - this.#options.windowBytes);
    this.#channels.queued[link.channel] = over;
    this.pumpToPeer(link);
    return over === 0 ? WRITE.SENT : WRITE.QUEUED;
  }
}

function letGo(link: Link): void {
  for (const { slab } of link.gathered) slab.release();
  link.gathered.length = 0;
  link.gatheredBytes = 0;
}
