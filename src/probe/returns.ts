// When clients that lost their server come back: exponential backoff with full jitter, as a client
// library has it, for very many at once. One timer serves all, so times are kept by hundredths of a
// second.

import type { Prng } from "../base/prng.ts";
import type { ProbeConnection } from "./probe-connection.ts";

/** One client's next attempt. */
export interface Return {
  /** How many have failed since it was connected last. */
  readonly attempts: number;
  /** What it uses until then; null: it has lost its connection. */
  readonly old: ProbeConnection | null;
}

/** Ceiling of the first wait, and where it stops growing: the defaults of the client library. */
const BASE_MS = 500;
const MAX_MS = 20_000;
const STEP_MS = 10;

export class Returns {
  readonly #prng: Prng;
  /** By step of the clock: those that are due. */
  readonly #steps: Map<number, Return[]> = new Map();
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

  /** Of one that has lost its connection. */
  add(nowMs: number, attempts: number): void {
    const ceilingMs = Math.min(MAX_MS, BASE_MS * 2 ** attempts);
    this.#put(nowMs + this.#prng.float() * ceilingMs, { attempts, old: null });
  }

  /** Of one that was told to go, and when to come back, which the server has spread already. */
  move(nowMs: number, old: ProbeConnection, afterMs: number): void {
    this.#put(nowMs + afterMs, { attempts: 0, old });
  }

  #put(dueMs: number, one: Return): void {
    const step = Math.ceil(dueMs / STEP_MS);
    const due = this.#steps.get(step);
    if (due === undefined) this.#steps.set(step, [one]);
    else due.push(one);
    this.#nextStep = Math.min(this.#nextStep, step);
    this.#count++;
  }

  /** Takes those that are due, `max` at most. */
  take(nowMs: number, max: number, start: (dueMs: number, one: Return) => void): void {
    for (let left = Math.min(max, this.#count); left > 0 && this.nextMs <= nowMs; left--) {
      const due = this.#steps.get(this.#nextStep)!;
      const dueMs = this.nextMs;
      const one = due.pop()!;
      if (due.length === 0) this.#forget(this.#nextStep);
      this.#count--;
      start(dueMs, one);
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
