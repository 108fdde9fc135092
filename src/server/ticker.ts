// Drives the timing wheel. Deadlines are about peers, so they are measured in time during which
// this process was able to listen: a stalled loop (a long handler, a stopped process) counts for at
// most a second, and deadlines are looked at only after what is waiting to be read has been read.

import type { Clock, Scheduled } from "../base/clock.ts";
import type { TimerWheel } from "../base/timer-wheel.ts";
import type { Counters } from "../observe/counters.ts";

/** The most that one tick may add: longer gaps are ours, not the peers'. */
const STALL_MS = 1_000;

export class Ticker {
  readonly #clock: Clock;
  readonly #wheel: TimerWheel;
  readonly #counters: Counters;
  readonly #onLag: (lagMs: number) => void;
  #scheduled: Scheduled | null = null;
  #lastMs: number = 0;
  /** Time that has passed and was not yet given to the wheel. */
  #owedMs: number = 0;

  /** @param onLag told once per tick how late it came, in milliseconds. */
  constructor(clock: Clock, wheel: TimerWheel, counters: Counters, onLag: (lagMs: number) => void) {
    this.#clock = clock;
    this.#wheel = wheel;
    this.#counters = counters;
    this.#onLag = onLag;
  }

  start(): void {
    this.#lastMs = this.#clock.now();
    this.#scheduled = this.#clock.after(this.#wheel.tickMs, () => this.#tick());
  }

  stop(): void {
    this.#scheduled?.cancel();
    this.#scheduled = null;
  }

  #tick(): void {
    const now = this.#clock.now();
    const elapsed = now - this.#lastMs;
    this.#lastMs = now;
    const lag = Math.max(0, elapsed - this.#wheel.tickMs);
    if (lag > STALL_MS) this.#counters.loopStalls++;
    this.#onLag(lag);
    this.#owedMs += Math.min(elapsed, STALL_MS);
    const ticks = Math.floor(this.#owedMs / this.#wheel.tickMs);
    this.#owedMs -= ticks * this.#wheel.tickMs;
    // What the poll reads was heard now, not before the stall; whoever is expired after it was
    // silent until now.
    this.#wheel.moveOn(ticks);
    this.#scheduled = this.#clock.afterPoll(() => this.#expire());
  }

  #expire(): void {
    this.#scheduled = this.#clock.after(this.#wheel.tickMs - this.#owedMs, () => this.#tick());
    this.#wheel.expire();
  }
}
