// Exponential backoff with full jitter: each wait is drawn uniformly below a ceiling that doubles,
// so that clients which lost the same server do not come back at the same moment.

import type { Prng } from "./prng.ts";

export interface BackoffOptions {
  /** Ceiling of the first wait, in milliseconds. */
  readonly baseMs: number;
  /** The ceiling stops growing here, in milliseconds. */
  readonly maxMs: number;
}

export class Backoff {
  readonly #options: BackoffOptions;
  readonly #prng: Prng;
  #attempts: number = 0;

  constructor(options: BackoffOptions, prng: Prng) {
    this.#options = options;
    this.#prng = prng;
  }

  /** How many waits were drawn since the last reset. */
  get attempts(): number {
    return this.#attempts;
  }

  /**
   * The next wait in milliseconds.
   * @param atLeastMs what the server asked for; the jittered wait comes on top of it.
   */
  nextMs(atLeastMs: number = 0): number {
    const ceiling = Math.min(this.#options.maxMs, this.#options.baseMs * 2 ** this.#attempts);
    this.#attempts = Math.min(this.#attempts + 1, 30);
    return atLeastMs + this.#prng.float() * ceiling;
  }

  reset(): void {
    this.#attempts = 0;
  }
}
