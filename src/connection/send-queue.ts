// Frames of one connection that wait because its transport is busy. It exists only while something
// waits. Entries hold slabs, which an event shares with every other subscriber that is behind.
//
//   head                                   tail
//   [heartbeat] [reply] [event a] [event b] [event a]      main list, in sending order
//                          |__________________|            per subscription: first .. last
//
// An event that is dropped is counted on the next event of its topic (`missedBefore`), or on the
// subscription when none is queued, so that the Gap stands exactly where the events are missing.

import { assert } from "../base/assert.ts";
import type { Bytes, Slab } from "../base/buffer-pool.ts";
import { copyBytes } from "../wire/frame-reader.ts";

/** A connection's interest in one topic, as far as its queue must know it. */
export interface EventFlow {
  readonly topicName: string;
  readonly policy: SlowConsumerPolicy;
  /** Events dropped since the last one that was sent or queued. */
  missed: number;
  /** Oldest and newest queued event. */
  first: QueueEntry | null;
  last: QueueEntry | null;
}

export interface QueueEntry {
  readonly slab: Slab;
  readonly start: number;
  end: number;
  /** Null: a reply or control frame, which is never dropped. */
  readonly flow: EventFlow | null;
  /** Events of the flow that were dropped just before this one. */
  missedBefore: number;
  prev: QueueEntry | null;
  next: QueueEntry | null;
  /** The next queued event of the same flow. */
  nextInFlow: QueueEntry | null;
}

export const SLOW_CONSUMER_POLICIES = [
  "disconnect",
  "drop-newest",
  "drop-oldest",
  "conflate",
] as const;
/** What happens when a frame would take a send queue over its cap. */
export type SlowConsumerPolicy = (typeof SLOW_CONSUMER_POLICIES)[number];

/** What an entry takes beside its bytes, rounded. */
const ENTRY_BYTES = 128;
const ENTRIES_MIN = 64;

export class SendQueue {
  /** Bytes of the entries. */
  bytes: number = 0;
  /** Bytes that the transport has taken and not sent, as of its last word. */
  transportBytes: number = 0;
  /** Share of the process-wide budget that this queue was last charged with. */
  accountedBytes: number = 0;
  /** Tick since when nothing has moved. */
  stalledSince: number;
  /** transportBytes, exactly, when stalledSince was set: less means progress. */
  stalledBytes: number = 0;
  /** The high watermark was crossed and the low one has not been reached since. */
  isAboveHigh: boolean = false;
  #head: QueueEntry | null = null;
  #tail: QueueEntry | null = null;
  #count: number = 0;

  constructor(nowTick: number) {
    this.stalledSince = nowTick;
  }

  get count(): number {
    return this.#count;
  }

  get head(): QueueEntry | null {
    return this.#head;
  }

  /** The newest entry is no event. */
  get endsWithAnswer(): boolean {
    return this.#tail !== null && this.#tail.flow === null;
  }

  /** All that waits, here and in the transport. */
  get totalBytes(): number {
    return this.bytes + this.transportBytes;
  }

  /** Takes one holder of the slab over from the caller. */
  pushBack(slab: Slab, start: number, end: number, flow: EventFlow | null): void {
    const entry = entryOf(slab, start, end, flow);
    entry.prev = this.#tail;
    if (this.#tail === null) this.#head = entry;
    else this.#tail.next = entry;
    this.#tail = entry;
    this.#added(entry);
    if (flow === null) return;
    entry.missedBefore = flow.missed;
    flow.missed = 0;
    if (flow.last === null) flow.first = entry;
    else flow.last.nextInFlow = entry;
    flow.last = entry;
  }

  /**
   * Copies a frame behind the newest entry where its slab has room and nobody else holds it: a
   * small frame then costs its bytes and no more. False: it needs an entry of its own.
   */
  append(bytes: Bytes, length: number): boolean {
    const tail = this.#tail;
    if (tail === null || tail.flow !== null || tail.slab.holders > 1) return false;
    if (tail.end + length > tail.slab.bytes.length) return false;
    copyBytes(bytes, 0, length, tail.slab.bytes, tail.end);
    tail.end += length;
    this.bytes += length;
    return true;
  }

  /**
   * Whether a frame fits below the cap. An entry costs memory beside its bytes, so there is at most
   * one for every 128 bytes of the cap; 64 there may always be.
   */
  hasRoom(length: number, bytesMax: number): boolean {
    return (
      this.totalBytes + length <= bytesMax &&
      this.#count < Math.max(ENTRIES_MIN, bytesMax / ENTRY_BYTES)
    );
  }

  /** For control frames: they pass whatever waits. */
  pushFront(slab: Slab, start: number, end: number): void {
    const entry = entryOf(slab, start, end, null);
    entry.next = this.#head;
    if (this.#head === null) this.#tail = entry;
    else this.#head.prev = entry;
    this.#head = entry;
    this.#added(entry);
  }

  /** The head leaves to be sent; the caller releases its slab afterwards. */
  shift(): QueueEntry {
    const entry = this.#head;
    assert(entry !== null, "something is queued");
    this.#unlink(entry);
    if (entry.flow !== null) leaveFlow(entry.flow, entry);
    return entry;
  }

  /**
   * Drops events whose policy allows it, oldest first, until `bytesMax` would hold `bytesWanted`
   * more.
   * @returns how many were dropped. When it is not enough, only replies and control are left.
   */
  dropOldest(bytesWanted: number, bytesMax: number): number {
    let dropped = 0;
    let entry = this.#head;
    while (entry !== null && !this.hasRoom(bytesWanted, bytesMax)) {
      const { next, flow } = entry;
      if (flow !== null && (flow.policy === "drop-oldest" || flow.policy === "conflate")) {
        this.#drop(entry, flow);
        dropped++;
      }
      entry = next;
    }
    return dropped;
  }

  /**
   * Keeps the newest event of each conflated flow and drops the rest; of `incoming` none is kept,
   * since a newer one is about to be queued.
   * @returns how many were dropped.
   */
  conflate(incoming: EventFlow): number {
    let dropped = 0;
    let entry = this.#head;
    while (entry !== null) {
      const { next, flow } = entry;
      if (flow?.policy === "conflate" && (flow === incoming || flow.last !== entry)) {
        this.#drop(entry, flow);
        dropped++;
      }
      entry = next;
    }
    return dropped;
  }

  /** Everything goes unsent. @returns the bytes that were lost. */
  clear(): number {
    const lost = this.bytes;
    while (this.#head !== null) this.shift().slab.release();
    assert(this.bytes === 0 && this.#count === 0, "an empty queue counts nothing");
    return lost;
  }

  #added(entry: QueueEntry): void {
    this.bytes += entry.end - entry.start;
    this.#count++;
  }

  #drop(entry: QueueEntry, flow: EventFlow): void {
    // Older events of the flow were dropped or sent before, so it is always the flow's first.
    assert(flow.first === entry, "events of a flow are dropped oldest first");
    this.#unlink(entry);
    const missed = entry.missedBefore + 1;
    leaveFlow(flow, entry);
    if (flow.first === null) flow.missed += missed;
    else flow.first.missedBefore += missed;
    entry.slab.release();
  }

  #unlink(entry: QueueEntry): void {
    if (entry.prev === null) this.#head = entry.next;
    else entry.prev.next = entry.next;
    if (entry.next === null) this.#tail = entry.prev;
    else entry.next.prev = entry.prev;
    entry.prev = null;
    entry.next = null;
    this.bytes -= entry.end - entry.start;
    this.#count--;
  }
}

function entryOf(slab: Slab, start: number, end: number, flow: EventFlow | null): QueueEntry {
  return { slab, start, end, flow, missedBefore: 0, prev: null, next: null, nextInFlow: null };
}

function leaveFlow(flow: EventFlow, entry: QueueEntry): void {
  assert(flow.first === entry, "events of a flow leave in order");
  flow.first = entry.nextInFlow;
  if (flow.first === null) flow.last = null;
  entry.nextInFlow = null;
}
