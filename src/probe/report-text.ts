// A report for people in a terminal: what was asked and what came of it, stage by stage; how server
// and generator did; what went wrong; and the result as the last line.

import { formatCount, formatDuration } from "./quantity.ts";
import {
  ageFigure,
  bytesFigure,
  coresFigure,
  countFigure,
  countOf,
  looseFigure,
  msFigure,
  ratioFigure,
  shareFigure,
  unitFigure,
} from "./report-figures.ts";
import { DEATH_AGES_MS, type DeathCount, OPERATION_KINDS, type Report } from "./report.ts";
import { generatorSummary, mainStage } from "./report-summary.ts";
import {
  isConnecting,
  rateOfIntended,
  stageHeader,
  stageLabel,
  stageLine,
  stageTitle,
  VERDICT_STYLES,
  verdictText,
} from "./stage-line.ts";
import { type Paint, paintWith, plain, textTable, wrapped } from "./text-layout.ts";

/** What a section's lines are indented by; its name stands there. */
const INDENT = 11;
/** Longer lines are hard to read, however wide the terminal. */
const WIDTH_MAX = 100;
const WIDTH_MIN = 40;

/** A report and how it is to be set. */
interface Page {
  readonly report: Report;
  readonly width: number;
  readonly paint: Paint;
}

/**
 * The whole report, with a line break at its end.
 * @param options.width characters in a line; more than 100 are not used
 */
export function reportText(
  report: Report,
  options: { readonly colour: boolean; readonly width: number },
): string {
  const width = Math.max(WIDTH_MIN, Math.min(WIDTH_MAX, options.width));
  const page = { report, width, paint: paintWith(options.colour) };
  const sections = [
    titleLines(page),
    stageLines(page),
    reasonLines(page),
    serverLines(page),
    generatorLines(page),
    memoryLines(page),
    operationLines(page),
    deliveryLines(page),
    faultLines(page),
    failureLines(page),
    deathLines(page),
    thresholdLines(page),
    baselineLines(page),
    limitLines(page),
    resultLines(page),
  ];
  const filled = sections.filter((lines) => lines.length > 0);
  return `${filled.map((lines) => lines.join("\n")).join("\n\n")}\n`;
}

/** A section's name, then its lines beside and below it. */
function section({ paint }: Page, name: string, lines: readonly string[]): string[] {
  return lines.map((line, index) => {
    const text = (index === 0 ? name : "").padEnd(INDENT) + line;
    return index === 0 ? paint(text.slice(0, INDENT), "bold") + text.slice(INDENT) : text;
  });
}

function prose(page: Page, name: string, texts: readonly string[]): string[] {
  const lines = texts.flatMap((text) => wrapped(plain(text), page.width - INDENT, 2));
  return section(page, name, lines);
}

function table(
  page: Page,
  name: string,
  rows: readonly (readonly string[])[],
  align: string,
): string[] {
  const [head = "", ...lines] = textTable(rows, align, page.width - INDENT);
  return section(page, name, [page.paint(head, "dim"), ...lines]);
}

function titleLines({ report, width, paint }: Page): string[] {
  const { environment, command } = report;
  const { targets, protocol, transport, seed, durationMs, generatorProcesses } = environment;
  const title = `${command} ${targets.map(plain).join(" ")}`;
  const about =
    `${protocol} protocol, ${transport}, ` +
    `${countOf(generatorProcesses, "generator process", "generator processes")}, ` +
    `seed ${seed}, took ${formatDuration(durationMs)}`;
  const titles = wrapped(title, width, 2).map((line) => paint(line, "bold"));
  return [...titles, ...wrapped(about, width)];
}

function stageLines({ report, width, paint }: Page): string[] {
  if (report.stages.length === 0) return [];
  const header = stageHeader(width).split("\n");
  return [
    ...header.map((line) => paint(line, "dim")),
    ...report.stages.map((stage) => stageLine(stage, width, paint)),
  ];
}

/** Why stages did not hold, or do not count. */
function reasonLines(page: Page): string[] {
  const stages = page.report.stages.filter(({ reasons }) => reasons.length > 0);
  const lines = stages.flatMap((stage) => {
    const verdict = verdictText(stage.verdict);
    const text = `${verdict} at ${stageTitle(stage)}: ${stage.reasons.join("; ")}`;
    const [first = "", ...rest] = wrapped(plain(text), page.width - INDENT, 2);
    const style = VERDICT_STYLES[stage.verdict];
    return [page.paint(verdict, style) + first.slice(verdict.length), ...rest];
  });
  return section(page, "reasons", lines);
}

/** The server's own figures at the end of every stage; those of several processes are summed. */
function serverLines(page: Page): string[] {
  const { server, stages } = page.report;
  const rows = stages.flatMap((stage) => {
    const figures = stage.server;
    if (figures === null) return [];
    const ofLimit = figures.fdLimit === null ? "" : `/${formatCount(figures.fdLimit)}`;
    return [
      [
        plain(stageTitle(stage)),
        countFigure(figures.connections),
        bytesFigure(figures.rssBytes),
        coresFigure(figures.cpuCores),
        `${countFigure(figures.fds)}${ofLimit}`,
        msFigure(figures.loopLagP99Ms),
      ],
    ];
  });
  if (rows.length === 0) return [];
  const processes = mainStage(page.report)?.server?.processes ?? 1;
  const whose = processes === 1 ? "stage" : `stage (${processes} processes)`;
  const head = [whose, "connections", "resident", "cpu", "files/limit", "loop lag p99 ms"];
  const lines = table(page, "server", [head, ...rows], "lrrrrr");
  const slope = server?.bytesPerConnection;
  if (slope == null) return lines;
  const text =
    `${formatCount(slope.slope)} B/connection by the slope over all stages that held ` +
    `(R² ${slope.r2.toFixed(4)}); ` +
    `${bytesFigure(server?.baselineRssBytes)} resident before the first`;
  return [...lines, ...prose(page, "", [text])];
}

function generatorLines(page: Page): string[] {
  const summary = generatorSummary(page.report);
  if (summary === null) return [];
  const { latenessP99Ms, latenessLimitMs, bytesPerConnection } = summary;
  const parts = [
    countOf(summary.processes, "process", "processes"),
    `cpu ${coresFigure(summary.cpuCores)}`,
    `loop ${shareFigure(summary.loopUtilisation)}`,
    `lateness p99 ${msFigure(latenessP99Ms)} ms (limit ${msFigure(latenessLimitMs)})`,
    `started ${shareFigure(summary.startedShare)} of scheduled`,
    ...(bytesPerConnection === null ? [] : [`${formatCount(bytesPerConnection)} B/connection`]),
  ];
  return prose(page, "generator", [`${parts.join(", ")}: ${summary.verdict}`]);
}

/** Who holds the machine's memory, where server and probe share one. */
function memoryLines(page: Page): string[] {
  const { memory, stages } = page.report;
  if (memory === null) return [];
  const before = { title: "before the first", figures: memory.before };
  const of = stages.map((stage) => ({ title: stageTitle(stage), figures: stage.memory }));
  const rows = [before, ...of].flatMap(({ title, figures }) => {
    if (figures === null) return [];
    const { kernel, server, probe } = figures;
    return [
      [
        plain(title),
        bytesFigure(kernel.bytes),
        bytesFigure(kernel.slabBytes),
        bytesFigure(server?.pssBytes ?? null),
        bytesFigure(probe.pssBytes),
      ],
    ];
  });
  const head = ["stage", "kernel", "of it slab", "server", "probe"];
  const lines = table(page, "memory", [head, ...rows], "lrrrr");
  const slopes = (["kernel", "server", "probe"] as const).flatMap((party) => {
    const line = memory[party];
    return line === null
      ? []
      : [`${party} ${formatCount(line.slope)} B/connection (R² ${line.r2.toFixed(4)})`];
  });
  return slopes.length === 0 ? lines : [...lines, ...prose(page, "", [slopes.join(", ")])];
}

function operationLines(page: Page): string[] {
  const rows = page.report.stages.flatMap((stage) =>
    OPERATION_KINDS.flatMap((kind) => {
      const figures = stage.operations[kind];
      if (figures === undefined) return [];
      // The stage's own line has the connects of those that are there for them.
      if (kind === "connect" && isConnecting(stage)) return [];
      const started = `${formatCount(figures.started)}/${formatCount(figures.scheduled)}`;
      const counts = [started, formatCount(figures.succeeded), formatCount(figures.failed)];
      return [[plain(stageTitle(stage)), kind, ...counts, rateOfIntended(figures)]];
    }),
  );
  if (rows.length === 0) return [];
  const head = ["stage", "", "started/scheduled", "succeeded", "failed", "per s/intended"];
  return table(page, "operations", [head, ...rows], "llrrrr");
}

function deliveryLines(page: Page): string[] {
  const lines = page.report.stages.flatMap((stage) => {
    const { deliveries } = stage;
    if (deliveries === null) return [];
    const { expected, received, missed, announced, duplicates } = deliveries;
    return [
      `${stageLabel(stage)}: ${formatCount(received)} of ${formatCount(expected)} received, ` +
        `${formatCount(missed)} missed (${formatCount(announced)} announced), ` +
        `${formatCount(duplicates)} twice; ` +
        `p50 ${msFigure(stage.latencies.delivery?.p50)} ms, ` +
        `p99 ${msFigure(stage.latencies.delivery?.p99)} ms, ` +
        `max ${msFigure(stage.latencies.delivery?.max)} ms`,
    ];
  });
  return prose(page, "deliveries", lines);
}

function failureLines(page: Page): string[] {
  const { failures } = page.report;
  if (failures.length === 0) return [];
  const all = failures.reduce((sum, { count }) => sum + count, 0);
  const rows = failures.map(({ phase, cause, party, count }) => {
    return [plain(phase), plain(cause), party, formatCount(count), shareFigure(count / all)];
  });
  const head = ["phase", "cause", "by", "count", "of all"];
  return table(page, "failures", [head, ...rows], "lllrr");
}

function deathLines(page: Page): string[] {
  const lines = page.report.deaths.map(
    (death) =>
      `${death.code} (${death.party}): ${formatCount(death.count)}, by age ${agesText(death)}`,
  );
  return prose(page, "deaths", lines);
}

function agesText({ byAge }: DeathCount): string {
  const ages = byAge.flatMap((count, index) =>
    count === 0 ? [] : [`${formatCount(count)} ${ageFigure(DEATH_AGES_MS, index)}`],
  );
  return ages.join(", ");
}

function faultLines(page: Page): string[] {
  const faults = page.report.load?.faults;
  if (faults == null) return [];
  const { slowReaders, halfOpen, ended, churned } = faults;
  const text =
    `${formatCount(slowReaders)} slow readers and ${formatCount(halfOpen)} half-open, ` +
    `${formatCount(ended)} of them ended by the server; ${formatCount(churned)} churned`;
  return prose(page, "faults", [text]);
}

function thresholdLines(page: Page): string[] {
  const thresholds = page.report.load?.thresholds ?? [];
  if (thresholds.length === 0) return [];
  const rows = thresholds.map((threshold) => {
    const { text, actual, limit, unit, passed, worstAtMs } = threshold;
    const at = worstAtMs === null ? "" : `worst at ${formatDuration(worstAtMs)}`;
    const figure = actual === null ? "no samples" : unitFigure(actual, unit);
    // What no stage counts for is not judged.
    const isJudged = actual !== null || page.report.outcome !== "generator-bound";
    const verdict = passed ? "ok" : isJudged ? "MISSED" : "not judged";
    return [plain(text), figure, unitFigure(limit, unit), verdict, at];
  });
  return table(page, "thresholds", [["", "actual", "limit", "", ""], ...rows], "lrrll");
}

function baselineLines(page: Page): string[] {
  const baseline = page.report.load?.baseline;
  if (baseline == null) return [];
  const rows = baseline.rows.map(({ metric, before, now, ratio, isRegression }) => {
    // A row's name carries its unit.
    const figures = [looseFigure(before), looseFigure(now), ratioFigure(ratio)];
    return [plain(metric), ...figures, isRegression ? "WORSE" : "ok"];
  });
  const head = [plain(baseline.file), "before", "now", "ratio", ""];
  return table(page, "baseline", [head, ...rows], "lrrrl");
}

function limitLines(page: Page): string[] {
  const { limit } = page.report;
  if (limit === null) return [];
  const texts = [`${limit.text} (${limit.kind}, ${limit.confidence})`, ...limit.evidence];
  if (limit.advice !== "") texts.push(`What to do: ${limit.advice}`);
  return prose(page, "limit", texts);
}

function resultLines({ report, width, paint }: Page): string[] {
  const style = report.exitCode === 0 ? "green" : "red";
  const [first = "", ...rest] = wrapped(`RESULT ${plain(report.sentence)}`, width, 7);
  return [paint("RESULT", style) + first.slice(6), ...rest];
}
