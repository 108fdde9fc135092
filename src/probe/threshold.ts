// What a run is measured against, `echo:p(99)<50ms over 30s`: k6's grammar, with the metric's name,
// units, and windows. A threshold for which nothing was measured is not met.

import { editDistance } from "../base/edit-distance.ts";
import { HoldfastError } from "../base/errors.ts";
import { parseCount, parseDurationMs, parseRate, parseShare } from "./quantity.ts";
import { LATENCY_NAMES, type ThresholdResult } from "./report.ts";
import {
  type Aggregate,
  type AggregateKind,
  type Metric,
  type Sample,
  SampleWindow,
  WINDOW_STEP_MS,
  windowsOf,
} from "./sample-window.ts";

export type { Sample };

type ThresholdUnit = "ms" | "ratio" | "per_second" | "count";
type Operator = "<" | "<=" | ">" | ">=" | "==" | "!=";

export interface Threshold {
  /** As it was written. */
  readonly text: string;
  /** `echo` is `response`. */
  readonly metric: Metric;
  readonly aggregate: Aggregate;
  readonly operator: Operator;
  /** In {@link unit}; a ratio is 0 to 1. */
  readonly limit: number;
  readonly unit: ThresholdUnit;
  /** It has to hold in every window of this length; null: over the whole. */
  readonly overMs: number | null;
  /** The run ends as soon as it is missed, */
  readonly abort: boolean;
  /** but not within this time from its start. */
  readonly afterMs: number;
}

/** What a metric can be asked for, with the unit of the answer; the first is meant by no name. */
type Aggregates = Readonly<Partial<Record<AggregateKind, ThresholdUnit>>>;
const LATENCY: Aggregates = { p: "ms", avg: "ms", min: "ms", max: "ms", med: "ms", count: "count" };
const SHARE: Aggregates = { rate: "ratio", count: "count" };
const OPERATIONS: Aggregates = { rate: "per_second", count: "count" };
const LEVEL: Aggregates = { value: "count", min: "count", max: "count" };

const METRICS = new Map<string, readonly [Metric, Aggregates]>([
  ...LATENCY_NAMES.map((name) => [name, [name, LATENCY]] as const),
  ["echo", ["response", LATENCY]],
  ["errors", ["errors", SHARE]],
  ["loss", ["loss", SHARE]],
  ["rate", ["rate", OPERATIONS]],
  ["held", ["held", LEVEL]],
]);

const FORM = /^(\w+)\s*(?::\s*(\w+)\s*(?:\(([^()]*)\))?)?\s*([<>=!]+)\s*([^\s<>=!]+)(?:\s+(.*))?$/;
const EXAMPLE = "such as echo:p(99)<50ms, errors<0.1% or response:p(99.9)<=200ms over 30s";
const OPERATORS: readonly string[] = ["<", "<=", ">", ">=", "==", "!="] satisfies Operator[];

/** Thresholds with commas between them. Throws as {@link parseThreshold} does. */
export function parseThresholds(text: string): Threshold[] {
  return text.split(",").map(parseThreshold);
}

/**
 * `metric[:aggregate] operator limit [over duration] [abort [after duration]]`. A duration without
 * unit is in milliseconds, as k6 has it, where it is the limit of a latency.
 * @throws HOLDFAST_OPTIONS_INVALID, which names the threshold and what is wrong in it.
 */
export function parseThreshold(written: string): Threshold {
  const text = written.trim();
  const match = FORM.exec(text);
  if (match === null) throw invalid(text, `is not understood: expected one ${EXAMPLE}`);
  const [, name, kind, argument, operator, limit, rest] = match;
  const [metric, aggregates] = metricOf(name!, text);
  const aggregate = aggregateOf(name!, kind, argument, aggregates, text);
  const unit = aggregates[aggregate.kind]!;
  return {
    text,
    metric,
    aggregate,
    operator: operatorOf(operator!, text),
    limit: within(text, () => parseLimit(limit!, unit)),
    unit,
    ...conditions(rest ?? "", text),
  };
}

function metricOf(name: string, text: string): readonly [Metric, Aggregates] {
  const metric = METRICS.get(name);
  if (metric !== undefined) return metric;
  const names = [...METRICS.keys()];
  const rule = `${quoted(name)} is no metric${nearest(name, names)}; they are ${names.join(", ")}`;
  throw invalid(text, rule);
}

function aggregateOf(
  metric: string,
  kind: string | undefined,
  argument: string | undefined,
  aggregates: Aggregates,
  text: string,
): Aggregate {
  const kinds = Object.keys(aggregates);
  const shown = kinds.map((known) => (known === "p" ? "p(99)" : known)).join(", ");
  if (kind === undefined && kinds[0] === "p") {
    throw invalid(text, `${metric} needs an aggregate, such as ${metric}:p(99); it has ${shown}`);
  }
  const asked = kind ?? kinds[0]!;
  if (!kinds.includes(asked)) {
    const rule = `${metric} has no aggregate ${quoted(asked)}${nearest(asked, kinds)}`;
    throw invalid(text, `${rule}; it has ${shown}`);
  }
  if (asked !== "p") {
    if (argument === undefined) return { kind: asked as AggregateKind };
    throw invalid(text, `${asked} takes nothing in brackets; only p does, such as p(99)`);
  }
  const percentile = /^\d+(\.\d+)?$/.test(argument?.trim() ?? "") ? Number(argument) : Number.NaN;
  if (percentile <= 100) return { kind: "p", percentile };
  throw invalid(text, "p needs a percentile from 0 to 100 in brackets, such as p(99.9)");
}

function operatorOf(operator: string, text: string): Operator {
  if (OPERATORS.includes(operator)) return operator as Operator;
  const rule = `${quoted(operator)} is no operator; they are ${OPERATORS.join(" ")}`;
  throw invalid(text, rule);
}

function parseLimit(text: string, unit: ThresholdUnit): number {
  switch (unit) {
    case "ms":
      return parseDurationMs(/^\d+(\.\d+)?$/.test(text) ? `${text}ms` : text);
    case "ratio":
      return parseShare(text);
    case "per_second":
      return parseRate(text);
    case "count":
      return parseCount(text);
  }
}

type Conditions = Pick<Threshold, "overMs" | "abort" | "afterMs">;

function conditions(rest: string, text: string): Conditions {
  const words = rest.split(/\s+/).filter((word) => word !== "");
  const found = new Map<string, number>();
  while (words.length > 0) {
    const word = words.shift()!;
    if (!["over", "abort", "after"].includes(word)) {
      const end = "expected over with a duration, abort, or after with a duration";
      throw invalid(text, `${quoted(word)} is not understood there: ${end}`);
    }
    if (found.has(word)) throw invalid(text, `has ${word} twice`);
    const duration = word === "abort" ? "0ms" : (words.shift() ?? "");
    found.set(
      word,
      within(`${text}: ${word}`, () => parseDurationMs(duration)),
    );
  }
  const overMs = found.get("over") ?? null;
  if (overMs !== null && overMs < WINDOW_STEP_MS) {
    throw invalid(text, "over needs one second at least: there is one sample a second");
  }
  const abort = found.has("abort");
  if (found.has("after") && !abort) {
    throw invalid(text, "after says when abort may come first: expected abort as well");
  }
  return { overMs, abort, afterMs: found.get("after") ?? 0 };
}

/** The same error, with the threshold in front. */
function within(text: string, parse: () => number): number {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    throw new HoldfastError(error.code, `threshold ${text}: ${error.message}`, { cause: error });
  }
}

function invalid(text: string, rule: string): HoldfastError {
  const shown = text === "" ? '""' : text.slice(0, 80);
  return new HoldfastError("HOLDFAST_OPTIONS_INVALID", `threshold ${shown}: ${rule}`);
}

function quoted(text: string): string {
  return JSON.stringify(text.slice(0, 40));
}

/** ` (did you mean errors?)` where one is two letters away at most, or nothing. */
function nearest(name: string, names: readonly string[]): string {
  // What is no word at all has no neighbour, and the cost is the product of the lengths.
  if (name.length > 20) return "";
  const best = names
    .map((known) => ({ known, edits: editDistance(name.toLowerCase(), known.toLowerCase()) }))
    .reduce((a, b) => (b.edits < a.edits ? b : a));
  const isNear = best.edits <= 2 && best.edits < best.known.length - 1;
  return isNear ? ` (did you mean ${best.known}?)` : "";
}

/**
 * Judges all of `samples`: which belong to the run is the caller's choice, and answers that came
 * after its end may.
 * @param fromMs and `toMs`: the time in which operations were scheduled. Rates are taken over it;
 * windows lie within it, and one that is longer than it is the whole.
 */
export function judge(
  threshold: Threshold,
  samples: readonly Sample[],
  fromMs: number,
  toMs: number,
): ThresholdResult {
  const { text, metric, aggregate, overMs, limit, unit, operator } = threshold;
  const window = new SampleWindow(metric, aggregate, samples, fromMs, toMs);
  let worst: number | null = null;
  let worstAtMs: number | null = null;
  for (const { first, end, atMs } of windowsOf(overMs, samples, fromMs, toMs)) {
    window.move(first, end);
    const actual = window.actual();
    if (actual === null) continue;
    if (worst !== null && badness(operator, actual, limit) <= badness(operator, worst, limit)) {
      continue;
    }
    worst = actual;
    worstAtMs = overMs === null ? null : atMs;
  }
  const passed = worst !== null && holds(operator, worst, limit);
  return { text, metric, actual: worst, limit, unit, passed, worstAtMs };
}

function holds(operator: Operator, actual: number, limit: number): boolean {
  switch (operator) {
    case "<":
      return actual < limit;
    case "<=":
      return actual <= limit;
    case ">":
      return actual > limit;
    case ">=":
      return actual >= limit;
    case "==":
      return actual === limit;
    case "!=":
      return actual !== limit;
  }
}

/** The more, the nearer to being missed or the further beyond. */
function badness(operator: Operator, actual: number, limit: number): number {
  switch (operator) {
    case "<":
    case "<=":
      return actual;
    case ">":
    case ">=":
      return -actual;
    case "==":
      return Math.abs(actual - limit);
    case "!=":
      return -Math.abs(actual - limit);
  }
}
