// Latencies as HdrHistogram counts them: microseconds in buckets that keep three significant
// digits. Counting happens here, in an array that grows with what it sees; the library writes and
// reads the format that others understand. Its own recording takes six times as long (100 ns
// against 17), and it gives out no sparse copy.

import {
  build,
  decodeFromCompressedBase64,
  encodeIntoCompressedBase64,
  JsHistogram,
} from "hdr-histogram-js";
import { assert } from "../base/assert.ts";
import { HoldfastError } from "../base/errors.ts";
import type { LatencySummary } from "./report.ts";

/**
 * Value, count, value, count, ..., rising: what was recorded, in microseconds. A value is the
 * lowest of its bucket, so that merging loses nothing. Crosses processes by structured clone.
 */
export type HistogramPairs = Float64Array;

/** What is longer counts as this: some 36 minutes. */
const MICROSECONDS_MAX = 2 ** 31 - 1;
/** 2^11 buckets of one microsecond, then 2^10 for each doubling: within 1 in 1,024 of a value. */
const FINE_BITS = 11;
const GROUP_BITS = FINE_BITS - 1;
const GROUP = 1 << GROUP_BITS;
const PRECISION = {
  bitBucketSize: 64,
  autoResize: false,
  lowestDiscernibleValue: 1,
  highestTrackableValue: MICROSECONDS_MAX,
  numberOfSignificantValueDigits: 3,
  useWebAssembly: false,
} as const;

export class LatencyHistogram {
  /** By bucket; no longer than the highest value needs, 180 KB at most. */
  #counts: Float64Array = new Float64Array(0);
  #count: number = 0;
  /** All that was recorded lies within these buckets; after subtraction they may be wider. */
  #low: number = Infinity;
  #high: number = -1;

  /** Adds one. Less than a microsecond counts as one. Costs some 20 ns and no memory. */
  recordMs(ms: number): void {
    assert(ms === ms, "a latency is a number");
    this.#add(bucketOf(Math.round(ms * 1_000)), 1);
  }

  get count(): number {
    return this.#count;
  }

  /** Of these, what was too long to be told apart; it counts as some 36 minutes. */
  get clamped(): number {
    return this.#counts[bucketOf(MICROSECONDS_MAX)] ?? 0;
  }

  /** What is recorded. Costs nothing where nothing is, else a look at each bucket in its range. */
  get pairs(): HistogramPairs {
    if (this.#count === 0) return new Float64Array(0);
    const counts = this.#counts;
    let buckets = 0;
    for (let bucket = this.#low; bucket <= this.#high; bucket++) {
      if (counts[bucket] !== 0) buckets++;
    }
    const pairs = new Float64Array(2 * buckets);
    let at = 0;
    for (let bucket = this.#low; bucket <= this.#high; bucket++) {
      const count = counts[bucket]!;
      if (count === 0) continue;
      pairs[at++] = lowestOf(bucket);
      pairs[at++] = count;
    }
    return pairs;
  }

  /** {@link pairs}; then everything starts anew. */
  takePairs(): HistogramPairs {
    const pairs = this.pairs;
    if (this.#high >= 0) this.#counts.fill(0, this.#low, this.#high + 1);
    this.#count = 0;
    this.#low = Infinity;
    this.#high = -1;
    return pairs;
  }

  addPairs(pairs: HistogramPairs): void {
    for (let at = 0; at < pairs.length; at += 2) this.#add(bucketOf(pairs[at]!), pairs[at + 1]!);
  }

  /** Takes away what was added before, as a window does that moves on. */
  subtractPairs(pairs: HistogramPairs): void {
    for (let at = 0; at < pairs.length; at += 2) {
      const bucket = bucketOf(pairs[at]!);
      const left = (this.#counts[bucket] ?? 0) - pairs[at + 1]!;
      assert(left >= 0, "only what was added is taken away");
      this.#counts[bucket] = left;
      this.#count -= pairs[at + 1]!;
    }
  }

  add(other: LatencyHistogram): void {
    for (let bucket = other.#low; bucket <= other.#high; bucket++) {
      const count = other.#counts[bucket]!;
      if (count !== 0) this.#add(bucket, count);
    }
  }

  /**
   * The highest value that counts as the one which so many percent do not exceed: up to 1 in 1,024
   * above it. 0 where nothing is recorded. @param p 0 to 100
   */
  percentileMs(p: number): number {
    assert(p >= 0 && p <= 100, "a percentile is 0 to 100");
    if (this.#count === 0) return 0;
    if (p === 0) return this.minMs;
    const exact = (p / 100) * this.#count;
    // 99.9 of 1,000 is 999, whatever binary fractions make of it.
    let left = Math.max(1, Math.ceil(exact * (1 - 4 * Number.EPSILON)));
    for (let bucket = this.#low; bucket <= this.#high; bucket++) {
      left -= this.#counts[bucket]!;
      if (left <= 0) return highestOf(bucket) / 1_000;
    }
    return this.maxMs;
  }

  get minMs(): number {
    for (let bucket = this.#low; bucket <= this.#high; bucket++) {
      if (this.#counts[bucket] !== 0) return lowestOf(bucket) / 1_000;
    }
    return 0;
  }

  get maxMs(): number {
    for (let bucket = this.#high; bucket >= this.#low; bucket--) {
      if (this.#counts[bucket] !== 0) return highestOf(bucket) / 1_000;
    }
    return 0;
  }

  get meanMs(): number {
    if (this.#count === 0) return 0;
    let sum = 0;
    for (let bucket = this.#low; bucket <= this.#high; bucket++) {
      const count = this.#counts[bucket]!;
      if (count !== 0) sum += count * middleOf(bucket);
    }
    return sum / this.#count / 1_000;
  }

  summary(): LatencySummary {
    return {
      count: this.#count,
      min: this.minMs,
      mean: this.meanMs,
      p50: this.percentileMs(50),
      p90: this.percentileMs(90),
      p99: this.percentileMs(99),
      p999: this.percentileMs(99.9),
      max: this.maxMs,
      hdr: this.toHdr(),
    };
  }

  /** HdrHistogram V2, compressed, base64. */
  toHdr(): string {
    const { pairs } = this;
    const histogram = build(PRECISION);
    for (let at = 0; at < pairs.length; at += 2) {
      histogram.recordValueWithCount(pairs[at]!, pairs[at + 1]!);
    }
    return encodeIntoCompressedBase64(histogram);
  }

  /** Throws HOLDFAST_OPTIONS_INVALID where it is no HdrHistogram V2 in base64. */
  static fromHdr(text: string): LatencyHistogram {
    const histogram = new LatencyHistogram();
    for (const [value, count] of decoded(text)) histogram.#add(bucketOf(value), count);
    return histogram;
  }

  #add(bucket: number, count: number): void {
    if (bucket >= this.#counts.length) this.#grow(bucket);
    this.#counts[bucket]! += count;
    this.#count += count;
    if (bucket < this.#low) this.#low = bucket;
    if (bucket > this.#high) this.#high = bucket;
  }

  #grow(bucket: number): void {
    const counts = new Float64Array(((bucket >> GROUP_BITS) + 1) << GROUP_BITS);
    counts.set(this.#counts);
    this.#counts = counts;
  }
}

/** Buckets 0 to 2,047 are the values; what is longer loses its last bits, one for each doubling. */
function bucketOf(microseconds: number): number {
  const value =
    microseconds < 1 ? 1 : microseconds > MICROSECONDS_MAX ? MICROSECONDS_MAX : microseconds;
  const shift = Math.max(0, 32 - FINE_BITS - Math.clz32(value));
  return (shift << GROUP_BITS) + (value >>> shift);
}

function lowestOf(bucket: number): number {
  const shift = shiftOf(bucket);
  return (bucket - (shift << GROUP_BITS)) * 2 ** shift;
}

function highestOf(bucket: number): number {
  return lowestOf(bucket) + 2 ** shiftOf(bucket) - 1;
}

function middleOf(bucket: number): number {
  return lowestOf(bucket) + Math.floor(2 ** shiftOf(bucket) / 2);
}

function shiftOf(bucket: number): number {
  return bucket < 2 * GROUP ? 0 : (bucket >> GROUP_BITS) - 1;
}

/** Values and counts of an encoded histogram, whatever its precision. */
function decoded(text: string): [number, number][] {
  try {
    const histogram = decodeFromCompressedBase64(text, 64, false);
    assert(histogram instanceof JsHistogram, "it is no WebAssembly");
    const found: [number, number][] = [];
    const buckets = histogram.countsArrayIndex(histogram.maxValue);
    for (let bucket = 0; bucket <= buckets; bucket++) {
      const count = histogram.getCountAtIndex(bucket);
      if (count > 0) found.push([histogram.valueFromIndex(bucket), count]);
    }
    return found;
  } catch (error) {
    const message = `this is no HdrHistogram (V2, compressed, base64): ${text.slice(0, 40)}`;
    throw new HoldfastError("HOLDFAST_OPTIONS_INVALID", message, { cause: error });
  }
}
