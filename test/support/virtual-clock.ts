// Simulated time, run like an event loop: each turn runs the timers that are due, in order of their
// time and then of their making, and after them what waits for the poll. Nothing here depends on
// the machine, so a run can be replayed exactly.

import type { Clock, Scheduled } from "../../src/base/clock.ts";

interface Entry {
  readonly dueMs: number;
  readonly order: number;
  /** Null: cancelled. */
  run: (() => void) | null;
}

/** Turns in which no time passes, one after the other: more are a loop that would never end. */
const TURNS_PER_MOMENT_MAX = 100_000;

export class VirtualClock implements Clock {
  #nowMs: number = 1_000;
  /** How far the wall clock is from the time that has passed. */
  #wallOffsetMs: number = 1_700_000_000_000;
  #order: number = 0;
  /** A binary heap: the earliest entry is the first. */
  readonly #heap: Entry[] = [];
  #afterPoll: Entry[] = [];
  #live: number = 0;

  now(): number {
    return this.#nowMs;
  }

  wall(): number {
    return this.#nowMs + this.#wallOffsetMs;
  }

  after(delayMs: number, run: () => void): Scheduled {
    // Whole microseconds: a wait that is too short to move a float would be due at once, for ever.
    const dueMs = this.#nowMs + Math.ceil(Math.max(0, delayMs) * 1_000) / 1_000;
    const entry: Entry = { dueMs, order: this.#order++, run };
    this.#push(entry);
    return this.#scheduled(entry);
  }

  afterPoll(run: () => void): Scheduled {
    const entry: Entry = { dueMs: this.#nowMs, order: this.#order++, run };
    this.#afterPoll.push(entry);
    return this.#scheduled(entry);
  }

  /** What is scheduled, not cancelled, and has not run. */
  get pending(): number {
    return this.#live;
  }

  /** Somebody sets the wall clock. */
  jumpWall(byMs: number): void {
    this.#wallOffsetMs += byMs;
  }

  /** The loop stands still: time passes and nothing runs. */
  stall(ms: number): void {
    this.#nowMs += ms;
  }

  /**
   * Lets time pass up to `untilMs`.
   * @param afterEach called after every call that ran and the microtasks that it left.
   */
  async run(untilMs: number, afterEach: () => void): Promise<void> {
    let turns = 0;
    let momentMs = this.#nowMs;
    for (;;) {
      const due = this.#takeDue();
      for (const entry of due) await this.#call(entry, afterEach);
      const polled = this.#afterPoll;
      this.#afterPoll = [];
      for (const entry of polled) await this.#call(entry, afterEach);
      if (due.length + polled.length > 0) {
        turns = this.#nowMs === momentMs ? turns + 1 : 0;
        momentMs = this.#nowMs;
        if (turns > TURNS_PER_MOMENT_MAX) throw new Error("time has stopped: a loop never yields");
        continue;
      }
      const next = this.#heap[0];
      if (next === undefined || next.dueMs > untilMs) break;
      this.#nowMs = Math.max(this.#nowMs, next.dueMs);
    }
    this.#nowMs = Math.max(this.#nowMs, untilMs);
  }

  async #call(entry: Entry, afterEach: () => void): Promise<void> {
    const { run } = entry;
    if (run === null) return;
    entry.run = null;
    this.#live--;
    run();
    // A turn of the real loop runs every microtask there is.
    await new Promise((resolve) => setImmediate(resolve));
    afterEach();
  }

  #scheduled(entry: Entry): Scheduled {
    this.#live++;
    return {
      cancel: () => {
        if (entry.run === null) return;
        entry.run = null;
        this.#live--;
      },
    };
  }

  #takeDue(): Entry[] {
    const due: Entry[] = [];
    while (this.#heap.length > 0 && this.#heap[0]!.dueMs <= this.#nowMs) due.push(this.#pop());
    return due;
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(entry);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (isBefore(heap[parent]!, entry)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = entry;
  }

  #pop(): Entry {
    const heap = this.#heap;
    const first = heap[0]!;
    const last = heap.pop()!;
    if (heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (isBefore(last, heap[child]!)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

function isBefore(a: Entry, b: Entry): boolean {
  return a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.order < b.order);
}
