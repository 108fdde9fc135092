// One epoll instance for all native connections of a server. The addon fills records into shared
// arrays and calls once per batch; what is to be written, paused and closed is appended to a shared
// array of operations, which one call flushes when the batch is over, or before libuv polls again.
//
//   epoll -> native: records, received bytes -> one call -> members -> operations -> flush -> epoll
//
// Everything about one connection happens in the order of its records and operations. A channel's
// number is given out again only after its member was told that it is closed.

import { getSystemErrorName } from "node:util";
import { assert } from "../base/assert.ts";
import type { Bytes, Slab } from "../base/buffer-pool.ts";
import { HEADER, LAYOUT, OPERATION, RECORD, STRIDE, TCP_FACT, TCP_FACTS } from "./epoll-layout.ts";
import type { NativeAddon, NativeLoop } from "./native.ts";
import { type ChannelId, type TcpInfo, WRITE, type WriteOutcome } from "./transport.ts";

/** Told what happens to its channels and acceptors. The rules of a TransportHandler hold. */
export interface LoopMember {
  onData(channel: ChannelId, bytes: Bytes, start: number, end: number): void;
  onEnd(channel: ChannelId): void;
  /** What was queued has been taken. */
  onDrain(channel: ChannelId): void;
  /** Some of what was written waits after all. */
  onQueued(channel: ChannelId): void;
  /** The last of the channel. @param error name of an errno; "" where it ended in order. */
  onClosed(channel: ChannelId, error: string): void;
  /** An outbound connection is open. */
  onConnected(channel: ChannelId): void;
  /** A file of its own: to be adopted, handed on or closed. */
  onAccepted(acceptor: number, fd: number): void;
  /** The acceptor waits until it is retried. */
  onAcceptError(acceptor: number, error: string): void;
}

/** Bits of a channel's state; 0: it is not open. */
const OPEN = 1;
const CLOSING = 2;
/** It is being reset: of what has come already nothing is told. */
const RESETTING = 4;
const PAUSED = 8;
/** Bytes came in the same batch as the pause, and wait for its end. */
const HELD = 16;
const CONNECTING = 32;

const FIRST_CHANNELS = 64;
const MEMBERS_MAX = 255;
/**
 * Written bytes that may wait for the flush: more, and a peer that takes nothing would not be
 * noticed. As much as one cork carries.
 */
const UNFLUSHED_BYTES_MAX = 65_536;
/** Memory of slabs that are kept known to the addon. */
const SLOT_BYTES_MAX = 4 * 1_048_576;
const RESULT_WORDS = 3;
/** Flushes in one turn: handlers that go on writing at every result wait for the next one. */
const ROUNDS_MAX = 8;

interface Held {
  bytes: Bytes;
  hasEnded: boolean;
}

export class EpollLoop {
  readonly addon: NativeAddon;
  readonly counters: Float64Array = new Float64Array(LAYOUT.counters);
  /** Bytes that wait for the kernel, by channel. Replaced when it grows. */
  queued: Float64Array = new Float64Array(FIRST_CHANNELS);
  #states: Uint8Array = new Uint8Array(FIRST_CHANNELS);
  /** Member of each channel. */
  #owners: Uint8Array = new Uint8Array(FIRST_CHANNELS);
  readonly #header: Int32Array = new Int32Array(LAYOUT.headerWords);
  readonly #records: Int32Array = new Int32Array(STRIDE * LAYOUT.records);
  readonly #flushed: Int32Array = new Int32Array(STRIDE * LAYOUT.results);
  readonly #operations: Int32Array = new Int32Array(STRIDE * LAYOUT.operations);
  readonly #received: Buffer = Buffer.allocUnsafeSlow(LAYOUT.receiveBytes);
  readonly #facts: Float64Array = new Float64Array(TCP_FACTS);
  #native: NativeLoop | null = null;
  readonly #members: (LoopMember | null)[] = [];
  #memberCount: number = 0;
  /** Open channels and acceptors: what the process is kept alive for. */
  #active: number = 0;
  /** Channels that the addon may not give out, and those of them that the next flush frees. */
  #channels: number = 0;
  #freed: number = 0;
  /** Results of flushes: word, channel and errno of each; from #toldAt on nobody was told yet. */
  readonly #results: number[] = [];
  #toldAt: number = 0;
  readonly #held: Map<ChannelId, Held> = new Map();
  /** Slabs that the addon knows, by their slot. */
  readonly #slots: Map<Slab, number> = new Map();
  #slotBytes: number = 0;
  #lastSlab: Slab | null = null;
  #lastSlot: number = 0;
  /** Slabs that operations name: the first so many. The array keeps its length and memory. */
  readonly #retained: (Slab | null)[] = [];
  #retainedCount: number = 0;
  #unflushedBytes: number = 0;
  #queueBytesMax: number = 0;
  #isInTurn: boolean = false;

  constructor(addon: NativeAddon) {
    this.addon = addon;
  }

  /** Who is told from now on. @returns the number that its calls name. */
  join(member: LoopMember): number {
    let id = this.#members.indexOf(null);
    if (id === -1) id = this.#members.length;
    assert(id < MEMBERS_MAX, `a loop has at most ${MEMBERS_MAX} members`);
    this.#members[id] = member;
    this.#memberCount++;
    return id;
  }

  /** Nothing of the member is open any more. With the last one the epoll instance is closed. */
  leave(id: number): void {
    this.#members[id] = null;
    if (--this.#memberCount > 0) return;
    // Inside a turn the addon is still at work.
    if (this.#isInTurn) this.#want();
    else this.#close();
  }

  /** The addon's side; made when it is needed first, since an idle server needs none. */
  get native(): NativeLoop {
    this.#native ??= this.#makeNative();
    return this.#native;
  }

  #makeNative(): NativeLoop {
    const native = new this.addon.Loop(
      this.#header,
      this.#records,
      this.#flushed,
      this.#operations,
      this.#received,
      this.counters,
      this.queued,
      () => this.#turn(),
    );
    if (this.#queueBytesMax > 0) native.limitQueue(this.#queueBytesMax);
    return native;
  }

  /** One more, or one less, thing that the process waits for. */
  activate(change: 1 | -1): void {
    const before = this.#active;
    this.#active += change;
    if ((before === 0) !== (this.#active === 0)) {
      this.#native?.setActive(this.#active === 0 ? 0 : 1);
    }
  }

  /** Takes over a file that was accepted. @returns the channel, or -errno: the file is closed. */
  adopt(member: number, fd: number): number {
    this.#reserve();
    return this.#opened(member, this.native.adopt(member, fd), OPEN);
  }

  /** @param open asks the addon to connect. @returns the channel, or -errno. */
  connect(member: number, open: (native: NativeLoop) => number): number {
    this.#reserve();
    return this.#opened(member, open(this.native), CONNECTING);
  }

  /** Queued bytes beyond which a connection is reset, whoever writes them: a guard, no policy. */
  allowQueue(bytesMax: number): void {
    if (bytesMax <= this.#queueBytesMax) return;
    this.#queueBytesMax = bytesMax;
    this.#native?.limitQueue(bytesMax);
  }

  isOpen(channel: ChannelId): boolean {
    return (this.#states[channel] ?? 0) !== 0;
  }

  /** The member's open channels. */
  *channelsOf(member: number): Generator<ChannelId> {
    for (let channel = 0; channel < this.#states.length; channel++) {
      if (this.#states[channel] !== 0 && this.#owners[channel] === member) yield channel;
    }
  }

  write(channel: ChannelId, slab: Slab, start: number, end: number): WriteOutcome {
    const state = this.#states[channel] ?? 0;
    if ((state & (OPEN | CLOSING | RESETTING)) !== OPEN) return WRITE.REFUSED;
    if (start === end) return this.queued[channel]! > 0 ? WRITE.QUEUED : WRITE.SENT;
    // First of all: a flush lets go of the slabs and slots of what was appended before it.
    if (this.#header[HEADER.OPERATIONS] === LAYOUT.operations) this.#flush();
    const slot = slab === this.#lastSlab ? this.#lastSlot : this.#slotOf(slab);
    this.#retain(slab);
    this.#append(OPERATION.WRITE | (slot << 8), channel, start, end);
    this.#unflushedBytes += end - start;
    // What follows a queue is queued: it is said at once how much that is.
    if (this.#unflushedBytes > UNFLUSHED_BYTES_MAX || this.queued[channel]! > 0) this.#flush();
    return this.queued[channel]! > 0 ? WRITE.QUEUED : WRITE.SENT;
  }

  pause(channel: ChannelId): void {
    const state = this.#states[channel] ?? 0;
    if ((state & (OPEN | CLOSING | RESETTING | PAUSED)) !== OPEN) return;
    this.#states[channel] = state | PAUSED;
    this.#append(OPERATION.PAUSE, channel, 0, 0);
  }

  resume(channel: ChannelId): void {
    const state = this.#states[channel] ?? 0;
    if ((state & PAUSED) === 0) return;
    this.#states[channel] = state & ~PAUSED;
    this.#append(OPERATION.RESUME, channel, 0, 0);
    if ((state & HELD) !== 0) this.#want();
  }

  /** FIN, after what is queued. What still comes is told. */
  close(channel: ChannelId): void {
    const state = this.#states[channel] ?? 0;
    if (state === 0 || (state & (CLOSING | RESETTING)) !== 0) return;
    this.#states[channel] = (state | CLOSING) & ~PAUSED;
    this.#append(OPERATION.CLOSE, channel, 0, 0);
    if ((state & HELD) !== 0) this.#want();
  }

  /** RST. Nothing is told any more but the end. */
  reset(channel: ChannelId): void {
    const state = this.#states[channel] ?? 0;
    if (state === 0 || (state & RESETTING) !== 0) return;
    this.#states[channel] = state | RESETTING;
    this.#append(OPERATION.RESET, channel, 0, 0);
  }

  remoteAddress(channel: ChannelId): string {
    return this.isOpen(channel) ? (this.#native?.peerAddress(channel) ?? "") : "";
  }

  /** Null for a Unix socket, and where the channel is not open. */
  tcpInfo(channel: ChannelId): TcpInfo | null {
    const facts = this.#facts;
    if (!this.isOpen(channel) || this.#native?.tcpInfo(channel, facts) !== 0) return null;
    return {
      rttMs: facts[TCP_FACT.rtt]! / 1_000,
      rttVarianceMs: facts[TCP_FACT.rttVariance]! / 1_000,
      retransmits: facts[TCP_FACT.retransmits]!,
      unackedBytes: facts[TCP_FACT.unacked]!,
      unsentBytes: facts[TCP_FACT.unsent]!,
    };
  }

  /** Called by the addon: after a batch was collected, and where something waits for the poll. */
  #turn(): void {
    const header = this.#header;
    this.#isInTurn = true;
    try {
      while (header[HEADER.BEGUN]! < header[HEADER.RECORDS]!) {
        this.#tell(STRIDE * header[HEADER.BEGUN]!++);
      }
      this.#settle();
    } finally {
      this.#isInTurn = false;
    }
    if (this.#memberCount === 0) this.#close();
  }

  #tell(at: number): void {
    const records = this.#records;
    const word = records[at]!;
    const channel = records[at + 1]!;
    const member = this.#members[word >> 8] ?? null;
    const kind = word & 0xff;
    if (kind === RECORD.DATA) {
      const start = records[at + 2]!;
      const end = start + records[at + 3]!;
      if ((this.#states[channel]! & (PAUSED | RESETTING | HELD)) === 0) {
        member!.onData(channel, this.#received, start, end);
      } else {
        this.#tellUnusual(member!, channel, start, end);
      }
    } else {
      this.#tellRare(member, kind, channel, records[at + 2]!);
    }
  }

  /** Bytes for a channel that was paused or reset by what was told before them. */
  #tellUnusual(member: LoopMember, channel: ChannelId, start: number, end: number): void {
    if (this.#mayTell(channel)) {
      member.onData(channel, this.#received, start, end);
    } else if ((this.#states[channel]! & RESETTING) === 0) {
      const held = this.#hold(channel);
      held.bytes = Buffer.concat([held.bytes, this.#received.subarray(start, end)]);
    }
  }

  /** Tells what is held of a channel that was resumed, since it came before. */
  #mayTell(channel: ChannelId): boolean {
    const held = this.#held.get(channel);
    if (held !== undefined && (this.#states[channel]! & PAUSED) === 0) {
      this.#tellHeldOf(channel, held);
    }
    return (this.#states[channel]! & (PAUSED | RESETTING)) === 0;
  }

  #tellRare(member: LoopMember | null, kind: number, channel: ChannelId, detail: number): void {
    if (kind === RECORD.ACCEPTED) {
      // The member may have gone since the batch was collected.
      if (member === null) this.addon.closeFile(detail);
      else member.onAccepted(channel, detail);
      return;
    }
    if (member === null) return;
    if (kind === RECORD.ACCEPT_ERROR) {
      member.onAcceptError(channel, errorName(detail));
      return;
    }
    const state = this.#states[channel]!;
    if (kind === RECORD.CLOSED) {
      this.#closed(member, channel, (state & RESETTING) !== 0 ? 0 : detail);
    } else if ((state & RESETTING) !== 0) {
      return;
    } else if (kind === RECORD.CONNECTED) {
      this.#states[channel] = (state & ~CONNECTING) | OPEN;
      member.onConnected(channel);
    } else if (kind === RECORD.END) {
      if (this.#mayTell(channel)) member.onEnd(channel);
      else this.#hold(channel).hasEnded = true;
    } else if (kind === RECORD.DRAIN) {
      // What was written in the same turn may have filled the kernel again: another one will come.
      if (this.queued[channel] === 0) member.onDrain(channel);
    } else if (kind === RECORD.QUEUED) {
      if (this.queued[channel]! > 0) member.onQueued(channel);
    }
  }

  #closed(member: LoopMember, channel: ChannelId, errno: number): void {
    this.#states[channel] = 0;
    this.#held.delete(channel);
    this.activate(-1);
    try {
      member.onClosed(channel, errno === 0 ? "" : errorName(errno));
    } finally {
      this.#append(OPERATION.FREE, channel, 0, 0);
      this.#freed++;
    }
  }

  /** Flushes, and tells what came of it, until nothing is left or others must have their turn. */
  #settle(): void {
    const header = this.#header;
    for (let round = 0; round < ROUNDS_MAX; round++) {
      if (header[HEADER.OPERATIONS]! > 0) this.#flush();
      if (this.#held.size > 0) this.#tellHeld();
      this.#tellResults();
      if (header[HEADER.OPERATIONS] === 0 && this.#toldAt === this.#results.length) {
        header[HEADER.WANTED] = 0;
        return;
      }
    }
    this.#want();
  }

  /** Those that are there now: a handler that writes at each may add more without end. */
  #tellResults(): void {
    const results = this.#results;
    const { length } = results;
    while (this.#toldAt < length) {
      const at = this.#toldAt;
      this.#toldAt += RESULT_WORDS;
      const word = results[at]!;
      const member = this.#members[word >> 8] ?? null;
      this.#tellRare(member, word & 0xff, results[at + 1]!, results[at + 2]!);
    }
    if (this.#toldAt < results.length) return;
    results.length = 0;
    this.#toldAt = 0;
  }

  /** Never calls a member: it is called from inside write. */
  #flush(): void {
    const count = this.native.flush(this.#header[HEADER.OPERATIONS]!);
    const flushed = this.#flushed;
    for (let at = 0; at < count * STRIDE; at += STRIDE) {
      this.#results.push(flushed[at]!, flushed[at + 1]!, flushed[at + 2]!);
    }
    if (count > 0) this.#want();
    this.#channels -= this.#freed;
    this.#freed = 0;
    this.#unflushedBytes = 0;
    this.#releaseSlabs();
    if (this.#slotBytes > SLOT_BYTES_MAX) this.#forgetSlots();
  }

  #append(word: number, channel: ChannelId, start: number, end: number): void {
    const header = this.#header;
    if (header[HEADER.OPERATIONS] === LAYOUT.operations) this.#flush();
    const operations = this.#operations;
    const at = STRIDE * header[HEADER.OPERATIONS]!++;
    operations[at] = word;
    operations[at + 1] = channel;
    operations[at + 2] = start;
    operations[at + 3] = end;
  }

  /** Called again before libuv polls, if this is no turn already. */
  #want(): void {
    this.#header[HEADER.WANTED] = 1;
  }

  #releaseSlabs(): void {
    for (let index = 0; index < this.#retainedCount; index++) {
      this.#retained[index]!.release();
      this.#retained[index] = null;
    }
    this.#retainedCount = 0;
  }

  #retain(slab: Slab): void {
    const count = this.#retainedCount;
    if (count > 0 && this.#retained[count - 1] === slab) return;
    this.#retained[count] = slab.retain();
    this.#retainedCount++;
  }

  /** May flush. */
  #slotOf(slab: Slab): number {
    let slot = this.#slots.get(slab);
    if (slot === undefined) {
      if (this.#slots.size === LAYOUT.slots) {
        this.#flush();
        this.#forgetSlots();
      }
      slot = this.#slots.size;
      this.#slots.set(slab, slot);
      // A slab of no class is not lent again: nobody keeps it.
      this.#slotBytes += slab.sizeClass === -1 ? Infinity : slab.bytes.length;
      this.native.setSlot(slot, slab.bytes);
    }
    this.#lastSlab = slab;
    this.#lastSlot = slot;
    return slot;
  }

  /** No operation names any of them. */
  #forgetSlots(): void {
    this.#slots.clear();
    this.#slotBytes = 0;
    this.#lastSlab = null;
  }

  /** What came of a connection in the batch in which it was paused: one read, or two. */
  #hold(channel: ChannelId): Held {
    let held = this.#held.get(channel);
    if (held === undefined) {
      held = { bytes: NOTHING, hasEnded: false };
      this.#held.set(channel, held);
      this.#states[channel]! |= HELD;
    }
    return held;
  }

  #tellHeld(): void {
    for (const [channel, held] of this.#held) {
      if ((this.#states[channel]! & PAUSED) !== 0) continue;
      this.#tellHeldOf(channel, held);
    }
  }

  #tellHeldOf(channel: ChannelId, held: Held): void {
    const member = this.#members[this.#owners[channel]!]!;
    const { bytes } = held;
    held.bytes = NOTHING;
    if (bytes.length > 0 && (this.#states[channel]! & RESETTING) === 0) {
      member.onData(channel, bytes, 0, bytes.length);
    }
    const state = this.#states[channel]!;
    // What it was told may have had it paused again: the end waits.
    if ((state & PAUSED) !== 0) return;
    this.#held.delete(channel);
    this.#states[channel] = state & ~HELD;
    if (held.hasEnded && (state & RESETTING) === 0) member.onEnd(channel);
  }

  #opened(member: number, channel: number, state: number): number {
    if (channel < 0) return channel;
    this.#states[channel] = state;
    this.#owners[channel] = member;
    this.#channels++;
    this.activate(1);
    return channel;
  }

  /** Room for one more channel in what is shared. */
  #reserve(): void {
    const { length } = this.queued;
    if (this.#channels < length) return;
    const queued = new Float64Array(2 * length);
    queued.set(this.queued);
    const states = new Uint8Array(2 * length);
    states.set(this.#states);
    const owners = new Uint8Array(2 * length);
    owners.set(this.#owners);
    this.queued = queued;
    this.#states = states;
    this.#owners = owners;
    this.native.setQueued(queued);
  }

  #close(): void {
    this.#native?.close();
    this.#native = null;
    this.#header.fill(0);
    this.#channels = 0;
    this.#freed = 0;
    this.#results.length = 0;
    this.#toldAt = 0;
    this.#unflushedBytes = 0;
    this.#releaseSlabs();
    this.#queueBytesMax = 0;
    this.#forgetSlots();
  }
}

const NOTHING: Bytes = new Uint8Array(0);

function errorName(errno: number): string {
  return getSystemErrorName(-errno);
}
