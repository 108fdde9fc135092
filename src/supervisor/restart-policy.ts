// When a worker that ended is started again: after a short wait that doubles, and not at all for a
// while once it has crashed too often.

import { Backoff } from "../base/backoff.ts";
import type { Prng } from "../base/prng.ts";

/** As many crashes within the time open the breaker. */
export const BREAKER = { crashes: 5, withinMs: 60_000 } as const;
/** An open breaker lets one worker try again after this long. */
export const BREAKER_PAUSE_MS = 60_000;
/** The listening sockets keep clients waiting meanwhile: the first wait is short. */
const WAIT = { baseMs: 100, maxMs: 10_000 } as const;

export interface RestartDecision {
  /** Until the next start, in milliseconds. */
  readonly waitMs: number;
  readonly isBroken: boolean;
}

export class RestartPolicy {
  readonly #backoff: Backoff;
  /** When it crashed, at most as often as the breaker counts. */
  #crashes: number[] = [];

  constructor(prng: Prng) {
    this.#backoff = new Backoff(WAIT, prng);
  }

  /** Crashes that the breaker still counts. */
  crashesAt(nowMs: number): number {
    return this.#crashes.filter((at) => nowMs - at < BREAKER.withinMs).length;
  }

  /** A worker ended that nobody had told to. */
  crashed(nowMs: number): RestartDecision {
    this.#crashes = [...this.#crashes, nowMs].slice(-BREAKER.crashes);
    if (this.crashesAt(nowMs) >= BREAKER.crashes) {
      return { waitMs: BREAKER_PAUSE_MS, isBroken: true };
    }
    if (this.crashesAt(nowMs) === 1) this.#backoff.reset();
    return { waitMs: this.#backoff.nextMs(), isBroken: false };
  }

  /** Somebody has put it right, or says so: begins anew. */
  reset(): void {
    this.#crashes = [];
    this.#backoff.reset();
  }
}
