// Everything a run found out, put together.

import type { HistogramPairs, LatencyHistogram } from "./histogram.ts";
import {
  type FaultFigures,
  type LatencyName,
  REPORT_SCHEMA,
  type Report,
  type SeriesPoint,
  type ServerSummary,
  type StageReport,
} from "./report.ts";
import { memorySummary } from "./machine-memory.ts";
import type { Run } from "./run.ts";
import { deathCounts, failureCounts, merged, type Second } from "./run-tally.ts";
import { bytesPerConnection, type ServerSample } from "./server-watch.ts";
import { serverFigures } from "./stage-report.ts";

/** A line that explains less of the differences explains nothing. */
const FIT_MIN = 0.8;

type Verdict = Pick<
  Report,
  "command" | "outcome" | "exitCode" | "sentence" | "limit" | "capacity" | "load" | "stages"
>;

export function assembleReport(run: Run, verdict: Verdict): Report {
  return {
    schema: REPORT_SCHEMA,
    ...verdict,
    environment: run.environment(),
    series: seriesPoints(run, verdict.stages),
    failures: failureCounts(run.total.failures),
    deaths: deathCounts(run.total.deaths),
    server: serverSummary(run, verdict.stages),
    memory: memorySummary(run.memoryBefore, steadyStages(verdict.stages)),
  };
}

/** What was done to connections on purpose. */
export function faultFigures({ generators }: Run): FaultFigures {
  return {
    slowReaders: generators.sum((state) => state.slowReaders),
    halfOpen: generators.sum((state) => state.halfOpen),
    ended: generators.sum((state) => state.faultyEnded),
    churned: generators.sum((state) => state.churned),
  };
}

/** What a line is drawn through. */
function steadyStages(
  stages: readonly StageReport[],
): (Pick<StageReport, "server" | "memory"> & { readonly held: number })[] {
  return (
    stages
      // A confirmation comes after a collection of garbage, if it comes after anything.
      .filter(({ kind, verdict }) => kind !== "confirm" && verdict === "ok")
      .map(({ connections, server, memory }) => ({ held: connections.held, server, memory }))
  );
}

function serverSummary(run: Run, stages: readonly StageReport[]): ServerSummary | null {
  if (run.watch === null) return null;
  const points = steadyStages(stages)
    .map(({ held, server }) => ({ held, rssBytes: server?.rssBytes ?? null }))
    .filter((point): point is { held: number; rssBytes: number } => point.rssBytes !== null);
  const line = bytesPerConnection(points);
  return {
    sources: run.options.serverSources.map((source) =>
      source.kind === "url" ? source.url : `pid ${source.pid}`,
    ),
    baselineRssBytes: run.watch.baseline?.figures.rssBytes ?? null,
    // Where no line fits, or memory falls while connections come, it was not theirs.
    bytesPerConnection: line === null || line.slope <= 0 || line.r2 < FIT_MIN ? null : line,
  };
}

function seriesPoints(run: Run, stages: readonly StageReport[]): SeriesPoint[] {
  const points: SeriesPoint[] = [];
  const samples = samplesBySecond(run);
  const held = new Map<number, number>();
  const rssBytes = new Map<number, number>();
  for (const [index, second] of run.seconds.seconds.entries()) {
    for (const [generator, count] of second.held) held.set(generator, count);
    for (const [generator, bytes] of second.rssBytes) rssBytes.set(generator, bytes);
    const atMs = (index + 1) * 1_000;
    const heldNow = sum(held);
    points.push({
      atMs,
      stage: second.stage,
      intended: stageAt(stages, atMs)?.connections.intended ?? heldNow,
      held: heldNow,
      ...secondFigures(second),
      generatorLoopUtilisation: second.loopUtilisation,
      generatorRssBytes: sum(rssBytes),
      server: serverFigures(run, samples.get(index) ?? null, heldNow),
    });
  }
  return points;
}

function secondFigures(
  second: Second,
): Pick<
  SeriesPoint,
  | "connectsPerSecond"
  | "operationsScheduledPerSecond"
  | "operationsPerSecond"
  | "failures"
  | "deaths"
  | "responseP50Ms"
  | "responseP99Ms"
  | "serviceP50Ms"
  | "connectP99Ms"
  | "latenessP99Ms"
> {
  const { counts, latencies } = second;
  const response = histogramOf(latencies.get("response"));
  return {
    connectsPerSecond: counts.connect.succeeded,
    operationsScheduledPerSecond: counts.echo.scheduled + counts.publish.scheduled,
    operationsPerSecond: counts.echo.succeeded + counts.publish.succeeded,
    failures: second.failures,
    deaths: second.deaths,
    responseP50Ms: percentile(response, 50),
    responseP99Ms: percentile(response, 99),
    serviceP50Ms: quantile(latencies, "service", 50),
    connectP99Ms: quantile(latencies, "connect", 99),
    latenessP99Ms: quantile(latencies, "lateness", 99),
  };
}

function quantile(latencies: Second["latencies"], name: LatencyName, p: number): number | null {
  return percentile(histogramOf(latencies.get(name)), p);
}

function histogramOf(parts: readonly HistogramPairs[] | undefined): LatencyHistogram | null {
  return parts === undefined ? null : merged(parts);
}

function percentile(histogram: LatencyHistogram | null, p: number): number | null {
  return histogram === null || histogram.count === 0 ? null : histogram.percentileMs(p);
}

/** The last sample of every second of the run; a second without one has the one before. */
function samplesBySecond(run: Run): Map<number, ServerSample> {
  const bySecond = new Map<number, ServerSample>();
  const samples = run.serverSamples;
  let next = 0;
  let last: ServerSample | null = null;
  for (let index = 0; index < run.seconds.seconds.length; index++) {
    const endMs = run.startMs + (index + 1) * 1_000;
    while (next < samples.length && samples[next]!.atMs <= endMs) last = samples[next++]!;
    if (last !== null) bySecond.set(index, last);
  }
  return bySecond;
}

function stageAt(stages: readonly StageReport[], atMs: number): StageReport | null {
  return stages.find(({ fromMs, toMs }) => fromMs < atMs && atMs <= toMs + 1_000) ?? null;
}

function sum(values: ReadonlyMap<number, number>): number {
  let total = 0;
  for (const value of values.values()) total += value;
  return total;
}
