// Whether a `load` run is worse than an earlier one. What is compared are all samples of the stages
// that both runs have and that count in both, not averages of averages.

import { readFileSync } from "node:fs";
import { HoldfastError } from "../base/errors.ts";
import { LatencyHistogram } from "./histogram.ts";
import {
  type BaselineResult,
  type LatencyName,
  OPERATION_KINDS,
  type Report,
  REPORT_SCHEMA,
  type StageReport,
} from "./report.ts";

type Row = BaselineResult["rows"][number];

const LATENCIES: readonly LatencyName[] = ["response", "service", "delivery", "connect"];
const PERCENTILES = [50, 99] as const;
/** Growth by less is noise, whatever share of a short latency it is. */
const NOISE_MS = 1;
/** Errors and losses may grow by this: percentage points. */
const POINTS_TOLERANCE = 0.1;

/**
 * @param before and `now`: reports of `load`. @param file where `before` was read from.
 * @param tolerance share by which latencies may grow and the rate may fall.
 * @returns rows of what both runs measured; a metric's name ends with its unit. From 0 to more, the
 * ratio is null.
 * @throws HOLDFAST_OPTIONS_INVALID where there is nothing to compare.
 */
export function compareBaseline(
  before: Report,
  now: Report,
  file: string,
  tolerance: number = 0.1,
): BaselineResult {
  const [old, current] = comparable(before, now, file);
  const rows = [
    ...LATENCIES.flatMap((name) => latencyRows(name, old, current, tolerance)),
    ...row("operations/s", achievedPerSecond(old), achievedPerSecond(current), (a, b) => {
      return b < a * (1 - tolerance);
    }),
    ...row("errors %", errorPercent(old), errorPercent(current), hasMore),
    ...row("loss %", lossPercent(old), lossPercent(current), hasMore),
  ];
  if (rows.length === 0) throw invalid(file, "and this run measured nothing in common");
  return { file, rows };
}

type Stages = readonly StageReport[];

/** A stage that counts neither way in one of the runs is left out of both. */
function comparable(before: Report, now: Report, file: string): readonly [Stages, Stages] {
  const old = byName(before.stages);
  const pairs = [...byName(now.stages)].flatMap(([name, stage]) => {
    const earlier = old.get(name);
    return earlier === undefined ? [] : [[earlier, stage] as const];
  });
  if (pairs.length === 0) {
    const [was, is] = [before, now].map(({ stages }) => stages.map(({ name }) => name).join(", "));
    throw invalid(file, `has no stage of this run: its stages are ${was}; here they are ${is}`);
  }
  const sound = pairs.filter((pair) => pair.every(counts));
  if (sound.length > 0) return [sound.map(([stage]) => stage), sound.map(([, stage]) => stage)];
  const verdicts = pairs.map(([a, b]) => `${a.name}: ${a.verdict}, now ${b.verdict}`).join("; ");
  throw invalid(file, `has no stage that counts in both runs (${verdicts})`);
}

function counts({ verdict }: StageReport): boolean {
  return verdict === "ok" || verdict === "missed";
}

/** Stages may be alike: the second of a name is another than the first. */
function byName(stages: Stages): Map<string, StageReport> {
  const found = new Map<string, StageReport>();
  for (const stage of stages) {
    let number = 1;
    while (found.has(`${stage.kind} ${stage.name} ${number}`)) number++;
    found.set(`${stage.kind} ${stage.name} ${number}`, stage);
  }
  return found;
}

/** Samples beyond a percentile: with fewer it is one slow sample that comes and goes. */
const BEYOND_MIN = 10;

function latencyRows(name: LatencyName, old: Stages, current: Stages, tolerance: number): Row[] {
  const before = merged(name, old);
  const now = merged(name, current);
  const count = Math.min(before.count, now.count);
  return PERCENTILES.filter((p) => count * (1 - p / 100) >= BEYOND_MIN).flatMap((p) =>
    row(`${name} p${p} ms`, before.percentileMs(p), now.percentileMs(p), (a, b) => {
      return b > a * (1 + tolerance) && b > a + NOISE_MS;
    }),
  );
}

function merged(name: LatencyName, stages: Stages): LatencyHistogram {
  const all = new LatencyHistogram();
  for (const { latencies } of stages) {
    const hdr = latencies[name]?.hdr;
    if (hdr !== undefined) all.add(LatencyHistogram.fromHdr(hdr));
  }
  return all;
}

/** Of echoes and publishes, in the time in which they were scheduled; null where none were. */
function achievedPerSecond(stages: Stages): number | null {
  let succeeded = 0;
  let seconds = 0;
  for (const { operations } of stages) {
    let longest = 0;
    for (const kind of ["echo", "publish"] as const) {
      const figures = operations[kind];
      if (figures === undefined || figures.intendedPerSecond === 0) continue;
      succeeded += figures.succeeded;
      longest = Math.max(longest, figures.scheduled / figures.intendedPerSecond);
    }
    seconds += longest;
  }
  return seconds === 0 ? null : succeeded / seconds;
}

function errorPercent(stages: Stages): number | null {
  let failed = 0;
  let all = 0;
  for (const { operations } of stages) {
    for (const kind of OPERATION_KINDS) {
      const figures = operations[kind];
      failed += figures?.failed ?? 0;
      all += (figures?.failed ?? 0) + (figures?.succeeded ?? 0);
    }
  }
  return all === 0 ? null : (100 * failed) / all;
}

function lossPercent(stages: Stages): number | null {
  let missed = 0;
  let expected = 0;
  for (const { deliveries } of stages) {
    missed += deliveries?.missed ?? 0;
    expected += deliveries?.expected ?? 0;
  }
  return expected === 0 ? null : (100 * missed) / expected;
}

function hasMore(before: number, now: number): boolean {
  return now - before > POINTS_TOLERANCE;
}

/** No row where one of the runs did not measure it. */
function row(
  metric: string,
  before: number | null,
  now: number | null,
  isWorse: (before: number, now: number) => boolean,
): Row[] {
  if (before === null || now === null) return [];
  const ratio = before === now ? 1 : before === 0 ? null : now / before;
  return [{ metric, before, now, ratio, isRegression: isWorse(before, now) }];
}

/**
 * The report of an earlier `load`.
 * @throws HOLDFAST_OPTIONS_INVALID, which names the file and says why it is none.
 */
export function readBaseline(file: string): Report {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "unknown";
    throw invalid(file, code === "ENOENT" ? "does not exist" : `cannot be read (${code})`);
  }
  let report: unknown;
  try {
    report = JSON.parse(text);
  } catch (error) {
    throw invalid(file, `is no JSON: ${(error as Error).message}`);
  }
  checkReport(file, report);
  return report;
}

function checkReport(file: string, report: unknown): asserts report is Report {
  if (!isObject(report) || typeof report["schema"] !== "string") {
    throw invalid(file, "is no report of holdfast-probe: it has no schema");
  }
  const { schema, command, stages } = report;
  if (schema !== REPORT_SCHEMA) {
    const shown = JSON.stringify(schema.slice(0, 60));
    throw invalid(file, `has the schema ${shown}; this version reads ${REPORT_SCHEMA}`);
  }
  if (command !== "load") {
    throw invalid(file, `is a report of ${String(command)}; a baseline is a report of load`);
  }
  if (!Array.isArray(stages)) throw invalid(file, "is damaged: it has no stages");
  const broken = stages.findIndex((stage) => !isStage(stage));
  if (broken !== -1) throw invalid(file, `is damaged in stage ${broken + 1}`);
}

/** Of a stage, what is read here. */
function isStage(stage: unknown): boolean {
  if (!isObject(stage)) return false;
  const { kind, name, verdict, operations, latencies, deliveries } = stage;
  if (![kind, name, verdict].every((text) => typeof text === "string")) return false;
  if (!isObject(operations) || !isObject(latencies)) return false;
  return (
    Object.values(operations).every((figures) => {
      return hasNumbers(figures, "scheduled", "succeeded", "failed", "intendedPerSecond");
    }) &&
    Object.values(latencies).every((summary) => isObject(summary) && isHdr(summary["hdr"])) &&
    (deliveries === null || hasNumbers(deliveries, "expected", "missed"))
  );
}

function isHdr(text: unknown): boolean {
  try {
    return typeof text === "string" && LatencyHistogram.fromHdr(text).count >= 0;
  } catch {
    return false;
  }
}

function hasNumbers(value: unknown, ...names: readonly string[]): boolean {
  return isObject(value) && names.every((name) => Number.isFinite(value[name]));
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function invalid(file: string, rule: string): HoldfastError {
  return new HoldfastError("HOLDFAST_OPTIONS_INVALID", `the baseline ${file} ${rule}`);
}
