// A stage as the report shows it, and the three rules by which a stage counts neither way: the
// generator was late, busy, or did not start what was due.

import type {
  GeneratorFigures,
  LatencyName,
  LatencySummary,
  OperationFigures,
  OperationKind,
  ServerFigures,
  StageReport,
  StageVerdict,
} from "./report.ts";
import { LATENCY_NAMES, OPERATION_KINDS } from "./report.ts";
import type { LatencyHistogram } from "./histogram.ts";
import type { Run, Stage } from "./run.ts";
import { deathCounts, failureCounts, type Tally } from "./run-tally.ts";
import type { ServerSample } from "./server-watch.ts";
import type { Sample, Threshold } from "./threshold.ts";

/** Lateness may take this share of an objective: more would be part of what is measured. */
const LATENESS_SHARE = 0.1;
const LOOP_UTILISATION_MAX = 0.8;
const STARTED_SHARE_MIN = 0.99;
/** What counts as an objective where none was given. */
export const OBJECTIVE_MS_DEFAULT = 250;
/** Fewer starts than this are no share to judge by. */
const STARTED_MIN = 100;

/** How late the probe was, against what it may be. */
interface Lateness {
  readonly histogram: LatencyHistogram;
  /** 99, or that of the objective where it looks further out. */
  readonly percentile: number;
  readonly limitMs: number;
}

const CONNECT_METRICS: readonly string[] = ["connect", "connectService"];
const OPERATION_METRICS: readonly string[] = ["response", "service", "delivery"];

/**
 * What lateness each objective allows, at the percentile that it is about: the probe's own delay
 * must not be what an objective is missed by. Without any objective of time there is a default.
 */
function latenessOf(tally: Tally, objectives: readonly Threshold[]): readonly Lateness[] {
  const connects = tally.histogram("connectLateness");
  const operations = tally.histogram("lateness");
  const found: Lateness[] = [];
  for (const { metric, unit, operator, aggregate, limit } of objectives) {
    if (unit !== "ms" || !operator.startsWith("<")) continue;
    const furthest = aggregate.kind === "max" ? 100 : (aggregate.percentile ?? 0);
    const about = { percentile: Math.max(99, furthest), limitMs: limit * LATENESS_SHARE };
    if (CONNECT_METRICS.includes(metric)) found.push({ histogram: connects, ...about });
    if (OPERATION_METRICS.includes(metric)) found.push({ histogram: operations, ...about });
  }
  const isWithout = found.length === 0;
  const tightestMs = Math.min(...found.map(({ limitMs }) => limitMs));
  const limitMs = isWithout ? OBJECTIVE_MS_DEFAULT * LATENESS_SHARE : tightestMs;
  if (isWithout) found.push({ histogram: connects, percentile: 99, limitMs });
  // The probe's own ticks are among them, so that a standstill shows whatever the objectives are.
  if (!found.some(({ histogram }) => histogram === operations)) {
    found.push({ histogram: operations, percentile: 99, limitMs });
  }
  return found;
}

function isLate({ histogram, percentile, limitMs }: Lateness): boolean {
  return histogram.count > 0 && histogram.percentileMs(percentile) > limitMs;
}

/** The lateness p99 that is nearest to, or furthest beyond, its limit. */
export function worstLateness(
  tally: Tally,
  objectives: readonly Threshold[],
): { readonly p99Ms: number; readonly limitMs: number } {
  const figures = latenessOf(tally, objectives).map(({ histogram, limitMs }) => ({
    p99Ms: histogram.count === 0 ? 0 : histogram.percentileMs(99),
    limitMs,
  }));
  const share = ({ p99Ms, limitMs }: (typeof figures)[number]): number => p99Ms / limitMs;
  return figures.toSorted((a, b) => share(b) - share(a) || a.limitMs - b.limitMs)[0]!;
}

/** Started of scheduled, of the kind of operation where the least was. */
function startedShare(tally: Tally): number {
  let least = 1;
  for (const kind of OPERATION_KINDS) {
    const { scheduled, started } = tally.counts[kind];
    if (scheduled >= STARTED_MIN) least = Math.min(least, started / scheduled);
  }
  return least;
}

/** Why a stage is bound by the generator; empty: it is not. */
export function generatorReasons(tally: Tally, objectives: readonly Threshold[]): string[] {
  const reasons: string[] = [];
  const late = latenessOf(tally, objectives).find(isLate);
  if (late !== undefined) {
    const { histogram, percentile, limitMs } = late;
    const at = percentile === 100 ? "max" : `p${percentile}`;
    reasons.push(
      `the probe was late: lateness ${at} ${histogram.percentileMs(percentile).toFixed(1)} ms, ` +
        `${limitMs.toFixed(1)} ms (a tenth of the objective) are allowed`,
    );
  }
  const busy = tally.loopUtilisation;
  if (busy > LOOP_UTILISATION_MAX) {
    const share = Math.round(busy * 100);
    reasons.push(`the probe was busy: its loop was in use ${share}% of the time, 80% are allowed`);
  }
  const started = startedShare(tally);
  if (started < STARTED_SHARE_MIN) {
    const share = (started * 100).toFixed(1);
    reasons.push(`the probe started ${share}% of what was scheduled, 99% are asked for`);
  }
  return reasons;
}

/** A stage as thresholds look at it. */
export function stageSample(run: Run, stage: Stage): Sample {
  const { tally } = stage;
  const latencies: Partial<Record<LatencyName, ReturnType<Tally["histogram"]>>> = {};
  for (const name of LATENCY_NAMES) latencies[name] = tally.histogram(name);
  const { received, missed } = tally.deliveries;
  return {
    fromMs: stage.startMs - run.startMs,
    toMs: stage.endMs - run.startMs,
    latencies,
    errors: stageErrors(run, stage),
    loss: { bad: missed, all: received + missed },
    operations: tally.counts.echo.succeeded + tally.counts.publish.succeeded,
    held: run.held,
  };
}

/**
 * The share of errors is that of connections (attempts that failed and deaths, of those intended)
 * or of operations, whichever is worse: many good echoes must not hide missing connections.
 */
function stageErrors(run: Run, stage: Stage): { bad: number; all: number } {
  const { tally, intended } = stage;
  const { connect, echo, publish } = tally.counts;
  const missing = Math.max(connect.failed + tally.deathCount, intended - run.accountedFor);
  const connections = { bad: missing, all: Math.max(intended, connect.started) };
  const operations = {
    bad: echo.failed + publish.failed,
    all: echo.started + publish.started,
  };
  return shareOf(operations) > shareOf(connections) ? operations : connections;
}

function shareOf({ bad, all }: { bad: number; all: number }): number {
  return all === 0 ? 0 : bad / all;
}

export function stageReport(
  run: Run,
  stage: Stage,
  verdict: StageVerdict,
  reasons: readonly string[],
  objectives: readonly Threshold[],
): StageReport {
  const { tally } = stage;
  const held = run.held;
  const latencies: Partial<Record<LatencyName, LatencySummary>> = {};
  for (const name of LATENCY_NAMES) {
    const histogram = tally.histogram(name);
    if (histogram.count > 0) latencies[name] = histogram.summary();
  }
  const { received, missed, announced, duplicates } = tally.deliveries;
  const hasDeliveries = tally.counts.publish.scheduled > 0;
  return {
    index: stage.index,
    kind: stage.kind,
    name: stage.name,
    fromMs: Math.round(stage.startMs - run.startMs),
    toMs: Math.round(stage.endMs - run.startMs),
    verdict,
    reasons,
    connections: { intended: stage.intended, held, deaths: tally.deathCount },
    operations: operationFigures(stage),
    deliveries: hasDeliveries
      ? { expected: received + missed, received, missed, announced, duplicates }
      : null,
    latencies,
    failures: failureCounts(tally.failures),
    deaths: deathCounts(tally.deaths),
    generator: generatorFigures(run, tally, objectives),
    server: serverFigures(run, stage.serverSamples.at(-1) ?? null, held),
    memory: stage.memory,
  };
}

function operationFigures(stage: Stage): Partial<Record<OperationKind, OperationFigures>> {
  const figures: Partial<Record<OperationKind, OperationFigures>> = {};
  for (const kind of OPERATION_KINDS) {
    const { scheduled, started, succeeded, failed } = stage.tally.counts[kind];
    if (scheduled === 0 && started === 0) continue;
    const seconds = Math.max(1, kind === "connect" ? stage.connectMs : stage.operateMs) / 1_000;
    figures[kind] = {
      scheduled,
      started,
      succeeded,
      failed,
      intendedPerSecond: kind === "connect" ? stage.connectPerSecond : scheduled / seconds,
      achievedPerSecond: succeeded / seconds,
    };
  }
  return figures;
}

function generatorFigures(
  run: Run,
  tally: Tally,
  objectives: readonly Threshold[],
): GeneratorFigures {
  const lateness = worstLateness(tally, objectives);
  return {
    processes: run.generators.count,
    loopUtilisation: tally.loopUtilisation,
    latenessP99Ms: lateness.p99Ms,
    latenessLimitMs: lateness.limitMs,
    startedShare: startedShare(tally),
    cpuCores: tally.cpuCores,
    rssBytes: run.generatorRssBytes,
    bytesPerConnection: run.generatorBytesPerConnection,
    fds: run.generators.sum((state) => state.fds ?? 0),
  };
}

/** The server's own figures, with the growth of its memory per connection that the probe holds. */
export function serverFigures(
  run: Run,
  sample: ServerSample | null,
  held: number,
): ServerFigures | null {
  if (sample === null) return null;
  const { figures } = sample;
  const before = run.watch?.baseline?.figures.rssBytes ?? null;
  if (figures.rssBytes === null || before === null || held < CONNECTIONS_FOR_BYTES) return figures;
  const grown = figures.rssBytes - before;
  // A server that gave back more than it took says nothing about its connections.
  return { ...figures, bytesPerConnection: grown < 0 ? null : Math.round(grown / held) };
}

/** Below this many, what a process allocates anyway would count as the connections'. */
const CONNECTIONS_FOR_BYTES = 500;
