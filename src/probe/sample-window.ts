// The samples of a run as thresholds look at them: all of them, or window by window.

import { type HistogramPairs, LatencyHistogram } from "./histogram.ts";
import { LATENCY_NAMES, type LatencyName } from "./report.ts";

export type Metric = LatencyName | "errors" | "loss" | "rate" | "held";
export type AggregateKind = "avg" | "min" | "max" | "med" | "p" | "count" | "rate" | "value";

export interface Aggregate {
  readonly kind: AggregateKind;
  /** Only with `p`: 0 to 100. */
  readonly percentile?: number;
}

/** What one second, or one stage, holds. */
export interface Sample {
  readonly fromMs: number;
  readonly toMs: number;
  readonly latencies: Partial<
    Record<LatencyName, HistogramPairs | readonly HistogramPairs[] | LatencyHistogram>
  >;
  /** Of operations; or of whatever was worse, where that is known already. */
  readonly errors: Share;
  /** Attempts that failed and connections that ended; and attempts that were started. */
  readonly connectionErrors?: { readonly bad: number; readonly started: number };
  readonly loss: Share;
  /** That succeeded. */
  readonly operations: number;
  /** Connections, at its end. */
  readonly held: number;
}

interface Share {
  readonly bad: number;
  readonly all: number;
}

/** Windows move by seconds: this is how often there is a sample. */
export const WINDOW_STEP_MS = 1_000;

/** Samples first..end-1. */
interface Range {
  readonly first: number;
  readonly end: number;
  readonly atMs: number;
}

/**
 * Windows that begin with each sample, as long as they fit, or else the whole. Samples are in order
 * and not cut: half a second more or less is taken as it comes. What came after the end belongs to
 * the last window.
 */
export function windowsOf(
  overMs: number | null,
  samples: readonly Sample[],
  fromMs: number,
  toMs: number,
): Range[] {
  const slackMs = WINDOW_STEP_MS / 2;
  const whole = { first: 0, end: samples.length, atMs: fromMs };
  if (overMs === null) return [whole];
  const windows: Range[] = [];
  let end = 0;
  for (const [first, sample] of samples.entries()) {
    const atMs = Math.max(fromMs, sample.fromMs);
    if (atMs + overMs > toMs + slackMs) break;
    end = Math.max(end, first + 1);
    while (end < samples.length && samples[end]!.toMs <= atMs + overMs + slackMs) end++;
    windows.push({ first, end, atMs });
  }
  const last = windows.pop();
  if (last === undefined) return [whole];
  windows.push({ ...last, end: samples.length });
  return windows;
}

/** What a metric is, over samples that come and go at both ends. */
export class SampleWindow {
  readonly #metric: Metric;
  readonly #aggregate: Aggregate;
  readonly #samples: readonly Sample[];
  readonly #fromMs: number;
  readonly #toMs: number;
  readonly #histogram: LatencyHistogram = new LatencyHistogram();
  #first: number = 0;
  #end: number = 0;

  constructor(
    metric: Metric,
    aggregate: Aggregate,
    samples: readonly Sample[],
    fromMs: number,
    toMs: number,
  ) {
    this.#metric = metric;
    this.#aggregate = aggregate;
    this.#samples = samples;
    this.#fromMs = fromMs;
    this.#toMs = toMs;
  }

  /** Never back. Only what comes and goes is added and taken away: windows may be long. */
  move(first: number, end: number): void {
    for (; this.#end < end; this.#end++) {
      for (const pairs of this.#pairs(this.#end)) this.#histogram.addPairs(pairs);
    }
    for (; this.#first < first; this.#first++) {
      for (const pairs of this.#pairs(this.#first)) this.#histogram.subtractPairs(pairs);
    }
  }

  /** null: nothing was measured. */
  actual(): number | null {
    const metric = this.#metric;
    const samples = this.#samples.slice(this.#first, this.#end);
    switch (metric) {
      case "errors":
        return this.#errors(samples);
      case "loss":
        return this.#share(samples.map(({ loss }) => loss));
      case "rate":
        return this.#rate(samples);
      case "held":
        return this.#held(samples.map(({ held }) => held));
      default:
        return this.#latency();
    }
  }

  #pairs(index: number): readonly HistogramPairs[] {
    const metric = this.#metric;
    if (!isLatency(metric)) return [];
    const latency = this.#samples[index]!.latencies[metric] ?? [];
    if (latency instanceof LatencyHistogram) return [latency.pairs];
    return latency instanceof Float64Array ? [latency] : latency;
  }

  #latency(): number | null {
    const { kind, percentile } = this.#aggregate;
    const histogram = this.#histogram;
    if (histogram.count === 0) return null;
    switch (kind) {
      case "avg":
        return histogram.meanMs;
      case "min":
        return histogram.minMs;
      case "max":
        return histogram.maxMs;
      case "count":
        return histogram.count;
      default:
        return histogram.percentileMs(percentile ?? 50);
    }
  }

  /** The worse of two shares: many good operations must not hide connections that are missing. */
  #errors(samples: readonly Sample[]): number | null {
    const operations = this.#share(samples.map(({ errors }) => errors));
    let bad = 0;
    let started = 0;
    let held = 0;
    for (const { connectionErrors, held: heldThen } of samples) {
      bad += connectionErrors?.bad ?? 0;
      started += connectionErrors?.started ?? 0;
      if (connectionErrors !== undefined) held = Math.max(held, heldThen);
    }
    const connections = this.#share([{ bad, all: Math.max(bad, started, held) }]);
    if (operations === null || connections === null) return operations ?? connections;
    if (this.#aggregate.kind === "count") return operations + connections;
    return Math.max(operations, connections);
  }

  #share(shares: readonly Share[]): number | null {
    const bad = shares.reduce((sum, share) => sum + share.bad, 0);
    const all = shares.reduce((sum, share) => sum + share.all, 0);
    if (all === 0) return null;
    return this.#aggregate.kind === "count" ? bad : bad / all;
  }

  #rate(samples: readonly Sample[]): number | null {
    let operations = 0;
    let ms = 0;
    for (const sample of samples) {
      operations += sample.operations;
      const fromMs = Math.max(sample.fromMs, this.#fromMs);
      ms += Math.max(0, Math.min(sample.toMs, this.#toMs) - fromMs);
    }
    if (ms === 0) return null;
    return this.#aggregate.kind === "count" ? operations : (operations / ms) * 1_000;
  }

  #held(levels: readonly number[]): number | null {
    if (levels.length === 0) return null;
    const { kind } = this.#aggregate;
    if (kind === "value") return levels.at(-1)!;
    return levels.reduce((a, b) => (kind === "min" ? Math.min(a, b) : Math.max(a, b)));
  }
}

function isLatency(metric: Metric): metric is LatencyName {
  return (LATENCY_NAMES as readonly string[]).includes(metric);
}
