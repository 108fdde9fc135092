// When clients that lost their server come back: exponential backoff with full jitter, as a client
// library has it, for very many at once. One timer serves all, so times are kept by hundredths of a
// second.

import type { Prng } from "../base/prng.ts";

/** Ceiling of the first wait, and where it stops growing: the defaults of the client library. */
const BASE_MS = 500;
const MAX_MS = 20_000;
const STEP_MS = 10;

export class Returns {
  readonly #prng: Prng;
  /** By step of the clock: how many attempts each of those that are due had made before. */
  readonly #steps: Map<number, number[]> = new Map();
  #nextStep: number = Infinity;
  #count: number = 0;

  constructor(prng: Prng) {
    this.#prng = prng;
  }

  /** How many are to come. */
  get count(): number {
    return this.#count;
  }

  /** When the next is due; Infinity: none is to come. */
  get nextMs(): number {
    return this.#nextStep * STEP_MS;
  }

  /**
   * @param attempts how many have failed since it was connected last
   * @param atLeastMs what the server asked for; the jittered wait comes on top of it
   */
  add(nowMs: number, attempts: number, atLeastMs: number = 0): void {
    const ceilingMs = Math.min(MAX_MS, BASE_MS * 2 ** attempts);
    const waitMs = atLeastMs + this.#prng.float() * ceilingMs;
    const step = Math.ceil((nowMs + waitMs) / STEP_MS);
    const due = this.#steps.get(step);
    if (due === undefined) this.#steps.set(step, [attempts]);
    else due.push(attempts);
    this.#nextStep = Math.min(this.#nextStep, step);
    this.#count++;
  }

  /** Takes those that are due, `max` at most. */
  take(nowMs: number, max: number, start: (dueMs: number, attempts: number) => void): void {
    for (let left = Math.min(max, this.#count); left > 0 && this.nextMs <= nowMs; left--) {
      const due = this.#steps.get(this.#nextStep)!;
      const dueMs = this.nextMs;
      const attempts = due.pop()!;
      if (due.length === 0) this.#forget(this.#nextStep);
      this.#count--;
      start(dueMs, attempts);
    }
  }

  /** Nobody comes back any more. */
  clear(): void {
    this.#steps.clear();
    this.#nextStep = Infinity;
    this.#count = 0;
  }

  #forget(step: number): void {
    this.#steps.delete(step);
    this.#nextStep = Infinity;
    for (const other of this.#steps.keys()) this.#nextStep = Math.min(this.#nextStep, other);
  }
}
