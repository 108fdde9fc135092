// Which charts a report has, and which of its figures are in them.

import { formatCount } from "./quantity.ts";
import { barFigure } from "./chart-bars.ts";
import { deathsFigure } from "./chart-deaths.ts";
import { distributionFigure } from "./chart-distribution.ts";
import { type Band, type TimeChart, timeFigure, type TimeLine } from "./chart-time.ts";
import { html, type Markup, NOTHING } from "./markup.ts";
import { countOf, shortFigure } from "./report-figures.ts";
import type { Report, SeriesPoint, StageReport } from "./report.ts";
import { errorMatrix } from "./report-tables.ts";

/** What a loop may be busy, and still be on time. */
const LOOP_UTILISATION_MAX = 0.8;

type Figure = (point: SeriesPoint) => number | null;

/** Columns of figures by name: charts draw them, and the read-out shows them. */
const FIGURES: Readonly<Record<string, Figure>> = {
  intended: (point) => point.intended,
  held: (point) => point.held,
  connects: (point) => point.connectsPerSecond,
  scheduled: (point) => point.operationsScheduledPerSecond,
  operations: (point) => point.operationsPerSecond,
  failures: (point) => point.failures,
  responseP50: (point) => point.responseP50Ms,
  responseP99: (point) => point.responseP99Ms,
  serviceP50: (point) => point.serviceP50Ms,
  connectP99: (point) => point.connectP99Ms,
  lateness: (point) => point.latenessP99Ms,
  serverRss: (point) => point.server?.rssBytes ?? null,
  serverFds: (point) => point.server?.fds ?? null,
  serverCpu: (point) => point.server?.cpuCores ?? null,
  serverLag: (point) => point.server?.loopLagP99Ms ?? null,
};

/** A run, second by second, by column. */
export interface SeriesColumns {
  readonly atMs: readonly number[];
  readonly figures: Readonly<Record<string, readonly (number | null)[]>>;
}

export function seriesColumns({ series, stages }: Report): SeriesColumns {
  const figures: Record<string, readonly (number | null)[]> = {};
  for (const [name, figure] of Object.entries(FIGURES)) figures[name] = series.map(figure);
  // Against what is allowed, so that one line across the chart is the limit of both.
  const limits = new Map(stages.map(({ index, generator }) => [index, generator.latenessLimitMs]));
  figures["loopOfAllowed"] = series.map(
    ({ generatorLoopUtilisation }) => generatorLoopUtilisation / LOOP_UTILISATION_MAX,
  );
  figures["latenessOfAllowed"] = series.map(({ stage, latenessP99Ms }) => {
    const limit = limits.get(stage) ?? stages.at(-1)?.generator.latenessLimitMs;
    return latenessP99Ms === null || !limit ? null : latenessP99Ms / limit;
  });
  return { atMs: series.map(({ atMs }) => atMs), figures };
}

export function charts(report: Report, columns: SeriesColumns): Markup {
  const page: ChartPage = { report, columns, bands: bandsOf(report.stages) };
  const main = report.command === "capacity" ? capacityCharts(page) : loadCharts(page);
  return html`<div class="charts">${main}${latencyChart(page)}${serverChart(page)}
${generatorChart(page)}${arrivalsChart(page)}${errorMatrix(report.failures)}
${deathsFigure(report.deaths)}</div>`;
}

/**
 * The charts of a scenario among others, no more than three: connections; operations beside what
 * they cost the server; latencies. What it does not have is not drawn.
 */
export function scenarioCharts(
  report: Report,
  columns: SeriesColumns,
  isFirstWide: boolean,
): Markup {
  const page: ChartPage = { report, columns, bands: bandsOf(report.stages), isCompact: true };
  const first = { ...page, isCompact: !isFirstWide };
  const isOperating = report.series.some((point) => point.operationsScheduledPerSecond > 0);
  const load = isOperating ? operationsChart(page) : serverChart(page);
  return html`${connectionsChart(first)}${load}${latencyChart(page)}`;
}

interface ChartPage {
  readonly report: Report;
  readonly columns: SeriesColumns;
  readonly bands: readonly Band[];
  /** Charts are of half the width, and name the stages nevertheless. */
  readonly isCompact?: boolean;
}

function bandsOf(stages: readonly StageReport[]): Band[] {
  return stages.map((stage) => {
    const { fromMs, toMs, verdict } = stage;
    return { fromMs, toMs, verdict, label: shortName(stage) };
  });
}

/** Stages whose names are no more than their connections. */
const LEVELS: readonly string[] = ["climb", "verify", "bisect", "stairs", "confirm"];

/** As short as it can be: `128k` for a level of the climb. */
function shortName({ kind, name, connections }: StageReport): string {
  if (!LEVELS.includes(kind)) return name;
  const level = shortFigure(connections.intended);
  return kind === "climb" || kind === "stairs" ? level : `${kind} ${level}`;
}

function capacityCharts(page: ChartPage): Markup {
  const { capacity, stages } = page.report;
  const connections = capacity?.connections ?? 0;
  const levels = barFigure({
    title: "Levels",
    note: "connections held at each level (bar) of those intended (frame)",
    axis: "connections",
    bars: stages.map((stage) => ({
      label: shortFigure(stage.connections.intended),
      intended: stage.connections.intended,
      actual: stage.connections.held,
      verdict: stage.verdict,
      reasons: stage.reasons,
    })),
    limit:
      connections === 0
        ? null
        : { value: connections, label: `capacity ${formatCount(connections)}` },
  });
  return html`${levels}${distribution(page)}${connectionsChart(page)}`;
}

function loadCharts(page: ChartPage): Markup {
  const { command, stages } = page.report;
  const loads = stages.filter(({ kind }) => command === "scenario" || kind === "load");
  const rates = barFigure({
    title: "Rates",
    note: "operations per second achieved (bar) of those intended (frame)",
    axis: "per second",
    bars: loads.map((stage) => {
      const { name, verdict, reasons, operations } = stage;
      const figures = operations.echo ?? operations.publish ?? operations.connect;
      return {
        label: name,
        intended: figures?.intendedPerSecond ?? 0,
        actual: figures?.achievedPerSecond ?? 0,
        verdict,
        reasons,
      };
    }),
    limit: null,
  });
  return html`${rates}${distribution(page)}${operationsChart(page)}${connectionsChart(page)}`;
}

function operationsChart(page: ChartPage): Markup {
  const { isCompact = false, report } = page;
  const hasCpu = isCompact && report.series.some(({ server }) => server?.cpuCores != null);
  return timeFigure({
    ...timePart(page),
    title: hasCpu ? "Operations and the server's CPU" : "Operations",
    note: "due by the schedule, and succeeded, each second",
    isWide: !isCompact,
    lines: [
      { ...line(page, "scheduled", "scheduled", 6), unit: "count" },
      { ...line(page, "operations", "succeeded", 1), unit: "count", isArea: true },
      { ...line(page, "failures", "failures", 2), unit: "count" },
      ...(hasCpu
        ? [{ ...line(page, "serverCpu", "server: CPU", 3), unit: "cores", isRight: true } as const]
        : []),
    ],
    left: "per second",
    right: "cores",
  });
}

function distribution({ report }: ChartPage): Markup {
  const counted = report.stages.filter(({ verdict }) => verdict === "ok" || verdict === "missed");
  const held =
    report.command === "capacity" ? counted.filter((one) => one.verdict === "ok") : counted;
  const stages = held.length > 0 ? held : report.stages;
  const which = held.length > 0 && report.command === "capacity" ? " that held" : "";
  return distributionFigure(stages, `${countOf(stages.length, "stage")}${which}, added up`);
}

function timePart({
  columns,
  bands,
  isCompact = false,
}: ChartPage): Pick<TimeChart, "atMs" | "bands" | "isNamingBands"> {
  return { atMs: columns.atMs, bands, isNamingBands: isCompact };
}

function line(
  { columns }: ChartPage,
  key: string,
  label: string,
  style: TimeLine["style"],
): Pick<TimeLine, "key" | "label" | "style" | "values"> {
  return { key, label, style, values: columns.figures[key] ?? [] };
}

function connectionsChart(page: ChartPage): Markup {
  const { series } = page.report;
  const most = Math.max(1, ...series.map(({ held, intended }) => Math.max(held, intended)));
  const fileLimit = series.findLast(({ server }) => server?.fdLimit != null)?.server?.fdLimit;
  const isWatched = series.some(({ server }) => server !== null);
  // A limit far away would only flatten everything else.
  const isNear = fileLimit != null && fileLimit <= most * 1.3;
  return timeFigure({
    ...timePart(page),
    title: isWatched ? "Connections and the server's memory" : "Connections",
    note: isWatched
      ? "what the probe holds, beside what the server says of itself"
      : "what the probe holds; nobody watched the server",
    isWide: isWatched && page.isCompact !== true,
    lines: [
      { ...line(page, "intended", "intended", 6), unit: "count", isStep: true },
      { ...line(page, "held", "held", 1), unit: "count", isArea: true },
      { ...line(page, "serverFds", "server: files open", 5), unit: "count" },
      { ...line(page, "serverRss", "server: resident memory", 2), unit: "bytes", isRight: true },
    ],
    left: "connections, files",
    right: "resident",
    limit: isNear
      ? { value: fileLimit, label: `server's file limit ${formatCount(fileLimit)}` }
      : null,
  });
}

function latencyChart(page: ChartPage): Markup {
  return timeFigure({
    ...timePart(page),
    title: "Latency over time",
    note: "response counts from the intended start, service from the real one",
    isLog: true,
    lines: [
      { ...line(page, "connectP99", "connect p99", 2), unit: "ms" },
      { ...line(page, "responseP99", "response p99", 1), unit: "ms" },
      { ...line(page, "responseP50", "response p50", 4), unit: "ms" },
      { ...line(page, "serviceP50", "service p50", 3), unit: "ms" },
      { ...line(page, "lateness", "lateness p99 (ours)", 6), unit: "ms" },
    ],
    left: "latency",
  });
}

function serverChart(page: ChartPage): Markup {
  const title = "The server's CPU and event loop";
  if (page.report.series.every(({ server }) => server === null)) return NOTHING;
  return timeFigure({
    ...timePart(page),
    title,
    note: "cores in use, and how late its event loop was",
    lines: [
      { ...line(page, "serverCpu", "CPU", 1), unit: "cores", isArea: true },
      { ...line(page, "serverLag", "loop lag p99", 2), unit: "ms", isRight: true },
    ],
    left: "cores",
    right: "loop lag",
  });
}

function generatorChart(page: ChartPage): Markup {
  return timeFigure({
    ...timePart(page),
    title: "The generator's health",
    note: "each second as a share of what a stage may have on the whole",
    lines: [
      { ...line(page, "latenessOfAllowed", "lateness p99", 2), unit: "share" },
      { ...line(page, "loopOfAllowed", "event loop (80% is 100%)", 1), unit: "share" },
    ],
    left: "of what is allowed",
    limit: { value: 1, label: "limit" },
  });
}

function arrivalsChart(page: ChartPage): Markup {
  return timeFigure({
    ...timePart(page),
    title: "Connects and failures",
    note: "each second",
    lines: [
      { ...line(page, "connects", "connects", 1), unit: "count", isArea: true },
      { ...line(page, "failures", "failures", 2), unit: "count" },
    ],
    left: "per second",
  });
}
