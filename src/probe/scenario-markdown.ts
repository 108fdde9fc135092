// Scenarios as Markdown, for an issue or a wiki: the summary, then each with its phases and
// objectives. What comes from outside is text in it and nothing else.

import { formatCount, formatDuration } from "./quantity.ts";
import {
  bytesFigure,
  coresFigure,
  countOf,
  latencyFigure,
  msFigure,
  shareFigure,
  UNKNOWN,
  unitFigure,
} from "./report-figures.ts";
import type { OperationFigures, StageReport } from "./report.ts";
import {
  latencyText,
  nearestObjective,
  objectiveText,
  phaseFigures,
  SCENARIO_WORDS,
  scenarioFigures,
} from "./scenario-figures.ts";
import type { ObjectiveResult, ScenarioResult, ScenariosReport } from "./scenario-report.ts";
import { verdictText } from "./stage-line.ts";
import { plain } from "./text-layout.ts";

/** The whole report, with a line break at its end. */
export function scenariosMarkdown(report: ScenariosReport): string {
  const parts = [
    `# ${asText(report.sentence)}`,
    environmentLine(report),
    table(SUMMARY_HEAD, report.scenarios.map(summaryRow), "llrrrrrll"),
    ...report.scenarios.flatMap(scenarioParts),
  ];
  return `${parts.filter((part) => part !== "").join("\n\n")}\n`;
}

/** In one line, and without whatever would mean something in Markdown or HTML. */
function asText(text: string): string {
  return plain(text.replace(/\s+/g, " "))
    .replace(/&/g, "&amp;")
    .replace(/[\\`*_[\]|~#]|<(?![\d\s=])/g, "\\$&");
}

function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  align: string,
): string {
  if (rows.length === 0) return "";
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  const rules = [...align].map((letter) => (letter === "r" ? "---:" : "---"));
  return [line(head), line(rules), ...rows.map((row) => line(row.map(asText)))].join("\n");
}

function environmentLine(report: ScenariosReport): string {
  const { server, startedAt, durationMs, scale, timeScale, scenarios } = report;
  const made = scenarios.find((one) => one.report !== null)?.report?.environment;
  const parts = [
    server,
    `${startedAt}, took ${formatDuration(durationMs)}`,
    ...(scale === 1 ? [] : [`${shareFigure(scale)} of the scenarios' size`]),
    ...(timeScale === 1 ? [] : [`${shareFigure(timeScale)} of their time`]),
    ...(made === undefined
      ? []
      : [
          `Linux ${made.kernel}, ${countOf(made.cpus, "core")}, ${bytesFigure(made.memoryBytes)}`,
          `Node.js ${made.nodeVersion}, holdfast-probe ${made.probeVersion} by ${made.transport}`,
        ]),
    `outcome ${report.outcome}, exit code ${report.exitCode}`,
  ];
  return parts.map(asText).join("; ");
}

const SUMMARY_HEAD = [
  ...["scenario", "verdict", "held of intended", "per s of intended", "p99", "lateness p99"],
  ...["errors", "server", "nearest to its limit"],
];

function summaryRow(result: ScenarioResult): string[] {
  const figures = scenarioFigures(result);
  const nearest = nearestObjective(result);
  const about = nearest === null ? UNKNOWN : objectiveText(nearest.objective);
  const words = [result.name, SCENARIO_WORDS[result.verdict]];
  if (figures === null) return [...words, ...Array<string>(6).fill(UNKNOWN), about];
  const { stage, rate, errors } = figures;
  return [
    ...words,
    heldText(stage),
    rateText(rate),
    latencyText(figures),
    latencyFigure(stage.generator.latenessP99Ms),
    formatCount(errors),
    serverText(stage),
    about,
  ];
}

function heldText({ connections: { held, intended } }: StageReport): string {
  return `${formatCount(held)} of ${formatCount(intended)}`;
}

function rateText(rate: OperationFigures | null): string {
  if (rate === null) return UNKNOWN;
  const { achievedPerSecond: achieved, intendedPerSecond: intended } = rate;
  // Clients that come back by themselves were not scheduled.
  return intended === 0
    ? formatCount(achieved)
    : `${formatCount(achieved)} of ${formatCount(intended)}`;
}

function serverText({ server }: StageReport): string {
  if (server === null) return UNKNOWN;
  const { cpuCores, rssBytes } = server;
  return `${coresFigure(cpuCores)}, ${bytesFigure(rssBytes)}`;
}

function scenarioParts({ title, name, ...rest }: ScenarioResult): string[] {
  const { question, plan, verdict, reason, objectives, report } = rest;
  const phases = (report?.stages ?? []).map((stage) => phaseRow(stage, objectives));
  const why = reason === "" ? "" : `: ${asText(reason)}`;
  return [
    `## ${asText(title)} (${asText(name)}): ${SCENARIO_WORDS[verdict]}`,
    asText(question),
    `Plan: ${asText(plan)}`,
    verdict === "passed" ? "" : `**${SCENARIO_WORDS[verdict]}**${why}`,
    table(PHASE_HEAD, phases, "lrrlrrrrl"),
    table(OBJECTIVE_HEAD, objectives.map(objectiveRow), "llrrl"),
  ];
}

const PHASE_HEAD = [
  ...[
    "phase",
    "held of intended",
    "per s of intended",
    "of",
    "p50 ms",
    "p99 ms",
    "lateness p99 ms",
  ],
  ...["errors", "verdict"],
];

function phaseRow(stage: StageReport, objectives: readonly ObjectiveResult[]): string[] {
  const { rate, latency, errors } = phaseFigures(stage, objectives);
  return [
    stage.name,
    heldText(stage),
    rateText(rate),
    latency?.name ?? UNKNOWN,
    msFigure(latency?.summary.p50),
    msFigure(latency?.summary.p99),
    msFigure(stage.generator.latenessP99Ms),
    formatCount(errors),
    [verdictText(stage.verdict), ...stage.reasons].join("; "),
  ];
}

const OBJECTIVE_HEAD = ["phase", "objective", "actual", "limit", "verdict"];

function objectiveRow({ phase, text, actual, limit, unit, passed }: ObjectiveResult): string[] {
  const figure = actual === null ? "no samples" : unitFigure(actual, unit);
  return [phase, text, figure, unitFigure(limit, unit), passed ? "ok" : "MISSED"];
}
