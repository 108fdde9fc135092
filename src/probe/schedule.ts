// When operations are due. Arrivals follow the integral of a rate that is linear within each of its
// segments: arrival n (from 0) is due when n arrivals, or the sum of n + 1 exponential draws, fit
// under the rate. Processes share a schedule by stripes, without talking to each other.

import { assert } from "../base/assert.ts";
import { HoldfastError } from "../base/errors.ts";
import { Prng } from "../base/prng.ts";

/** Evenly under the rate, or with exponential gaps, as independent clients would come. */
export type Arrival = "constant" | "poisson";

/** The rate goes from fromPerSecond to toPerSecond, linearly, within durationMs; 0 is a step. */
export interface RateSegment {
  readonly durationMs: number;
  readonly fromPerSecond: number;
  readonly toPerSecond: number;
}

/** Takes the arrivals index, index + count, index + 2 count, ... */
export interface Stripe {
  readonly index: number;
  readonly count: number;
}

/** A segment with what came before it, so that nothing accumulates from arrival to arrival. */
interface Part {
  readonly startMs: number;
  readonly durationMs: number;
  /** Arrivals before it begins, and before it ends: real numbers. */
  readonly fromCount: number;
  readonly toCount: number;
  readonly fromPerSecond: number;
  /** Change of the rate: per second, and per millisecond. */
  readonly slope: number;
}

export class Schedule {
  readonly #parts: readonly Part[];
  readonly #stripe: Stripe;
  /** Draws the gaps of all stripes alike; null: arrivals come evenly. */
  readonly #prng: Prng | null;
  /** Of the next arrival: where the integral has to be. */
  #count: number = 0;
  #part: number = 0;
  #nextMs: number = 0;

  /**
   * @param seed equal seeds give equal arrivals, however many stripes share them; unused with
   * `constant`.
   * @throws HOLDFAST_OPTIONS_INVALID where a duration or rate is negative or not finite.
   */
  constructor(segments: readonly RateSegment[], arrival: Arrival, seed: number, stripe: Stripe) {
    assert(
      Number.isInteger(stripe.index) && stripe.index >= 0 && stripe.index < stripe.count,
      "a stripe is one of its count",
    );
    this.#parts = partsOf(segments);
    this.#stripe = stripe;
    this.#prng = arrival === "poisson" ? new Prng(seed) : null;
    this.#move(this.#prng === null ? stripe.index : stripe.index + 1);
  }

  /**
   * Milliseconds from the schedule's start to the next arrival of this stripe, never falling;
   * Infinity when none is left.
   */
  get nextMs(): number {
    return this.#nextMs;
  }

  /** Takes it. Costs a draw for every stripe with `poisson`. */
  advance(): void {
    this.#move(this.#stripe.count);
  }

  #move(arrivals: number): void {
    const prng = this.#prng;
    if (prng === null) this.#count += arrivals;
    else for (let draw = 0; draw < arrivals; draw++) this.#count -= Math.log(1 - prng.float());
    // The last draws of a ramp differ by less than its times can tell.
    this.#nextMs = Math.max(this.#nextMs, this.#timeOf(this.#count));
  }

  #timeOf(count: number): number {
    // An arrival that is due at the very end of a segment begins the next that has a rate.
    while (this.#part < this.#parts.length && count >= this.#parts[this.#part]!.toCount) {
      this.#part++;
    }
    const part = this.#parts[this.#part];
    return part === undefined ? Infinity : part.startMs + timeWithin(part, count - part.fromCount);
  }
}

/**
 * Solves rate t + slope t^2 / 2 = count for t, in the form that subtracts no near numbers and knows
 * a slope of zero.
 */
function timeWithin(part: Part, count: number): number {
  const { fromPerSecond: rate, slope, durationMs } = part;
  if (count <= 0) return 0;
  if (slope === 0) return Math.min(durationMs, (1_000 * count) / rate);
  const root = Math.sqrt(Math.max(0, rate * rate + 2_000 * slope * count));
  return Math.min(durationMs, (2_000 * count) / (rate + root));
}

function partsOf(segments: readonly RateSegment[]): readonly Part[] {
  let startMs = 0;
  let fromCount = 0;
  return segments.map((segment, index) => {
    check(segment, index);
    const { durationMs, fromPerSecond, toPerSecond } = segment;
    const toCount = fromCount + (durationMs / 2_000) * (fromPerSecond + toPerSecond);
    const slope = durationMs === 0 ? 0 : (toPerSecond - fromPerSecond) / durationMs;
    const part = { startMs, durationMs, fromCount, toCount, fromPerSecond, slope };
    startMs += durationMs;
    fromCount = toCount;
    return part;
  });
}

function check(segment: RateSegment, index: number): void {
  for (const name of ["durationMs", "fromPerSecond", "toPerSecond"] as const) {
    const value = segment[name];
    if (Number.isFinite(value) && value >= 0) continue;
    const message = `stage ${index + 1}: ${name} is ${value}, but must be a number from 0`;
    throw new HoldfastError("HOLDFAST_OPTIONS_INVALID", message);
  }
}

/**
 * The integral of the rate from the start to `tMs`, a real number; all of it beyond the end. Of
 * constant arrivals, as many as it is rounded up are due before `tMs`.
 */
export function expectedArrivals(segments: readonly RateSegment[], tMs: number): number {
  let left = Math.max(0, tMs);
  let count = 0;
  for (const { durationMs, fromPerSecond, toPerSecond } of segments) {
    if (left === 0) break;
    const ms = Math.min(left, durationMs);
    const share = durationMs === 0 ? 0 : ms / durationMs;
    const nowPerSecond = fromPerSecond + (toPerSecond - fromPerSecond) * share;
    count += (ms / 2_000) * (fromPerSecond + nowPerSecond);
    left -= ms;
  }
  return count;
}
