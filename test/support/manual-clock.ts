// Time in the hands of a test: it passes only when told, and what is scheduled runs in order, each
// call followed by the microtasks that it left.

import type { Clock, Scheduled } from "../../src/base/clock.ts";

interface Entry {
  readonly dueMs: number;
  readonly order: number;
  readonly run: () => void;
}

/** More calls than this without time passing are a loop that would never end. */
const CALLS_PER_MOMENT_MAX = 200_000;

export class ManualClock implements Clock {
  wallMs: number = 1_700_000_000_000;
  #nowMs: number = 5_000;
  #order: number = 0;
  readonly #timers: Entry[] = [];
  readonly #afterPoll: Entry[] = [];

  now(): number {
    return this.#nowMs;
  }

  wall(): number {
    return this.wallMs;
  }

  after(delayMs: number, run: () => void): Scheduled {
    const entry = { dueMs: this.#nowMs + Math.max(0, delayMs), order: this.#order++, run };
    // Behind every entry that is due no later: equal times keep their order.
    let index = this.#timers.length;
    while (index > 0 && this.#timers[index - 1]!.dueMs > entry.dueMs) index--;
    this.#timers.splice(index, 0, entry);
    return cancelIn(this.#timers, entry);
  }

  afterPoll(run: () => void): Scheduled {
    const entry = { dueMs: this.#nowMs, order: this.#order++, run };
    this.#afterPoll.push(entry);
    return cancelIn(this.#afterPoll, entry);
  }

  /** What is scheduled and has not run. */
  get pending(): number {
    return this.#timers.length + this.#afterPoll.length;
  }

  /** Lets the loop stand still: time passes and nothing runs. */
  stall(ms: number): void {
    this.#nowMs += ms;
    this.wallMs += ms;
  }

  /** Runs all that is due now: timers first, then what waits for the poll. */
  async settle(): Promise<void> {
    for (let calls = 0; ; calls++) {
      if (calls > CALLS_PER_MOMENT_MAX) throw new Error("what is due now never comes to an end");
      await microtasks();
      const next = this.#timers[0];
      if (next !== undefined && next.dueMs <= this.#nowMs) {
        this.#timers.shift();
        next.run();
        continue;
      }
      const polled = this.#afterPoll.shift();
      if (polled === undefined) return;
      polled.run();
    }
  }

  /** Lets time pass, from one due call to the next. */
  async advance(ms: number): Promise<void> {
    const until = this.#nowMs + ms;
    await this.settle();
    for (;;) {
      const next = this.#timers[0];
      if (next === undefined || next.dueMs > until) break;
      this.stall(next.dueMs - this.#nowMs);
      await this.settle();
    }
    this.stall(until - this.#nowMs);
  }
}

function cancelIn(entries: Entry[], entry: Entry): Scheduled {
  return {
    cancel() {
      const index = entries.indexOf(entry);
      if (index !== -1) entries.splice(index, 1);
    },
  };
}

function microtasks(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
