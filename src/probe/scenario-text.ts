// Scenarios for people in a terminal: one line for each, then why those that did not pass did not,
// and the result as the last line.

import { formatDuration } from "./quantity.ts";
import {
  bytesFigure,
  countFigure,
  countOf,
  latencyFigure,
  msFigure,
  shareFigure,
  shortFigure,
  UNKNOWN,
  unitFigure,
} from "./report-figures.ts";
import {
  nearestObjective,
  objectiveText,
  type PhaseFigures,
  SCENARIO_WORDS,
  scenarioFigures,
} from "./scenario-figures.ts";
import type { ScenarioResult, ScenariosReport, ScenarioVerdict } from "./scenario-report.ts";
import { rateOfIntended } from "./stage-line.ts";
import {
  clipped,
  type Paint,
  paintWith,
  plain,
  type TextStyle,
  textTable,
  wrapped,
} from "./text-layout.ts";

const WIDTH_MAX = 120;
const WIDTH_MIN = 60;
/** What an objective can be told in; with less room other columns go first. */
const OBJECTIVE_WIDTH = 27;
const NAME_WIDTH = 20;

const STYLES: Readonly<Record<ScenarioVerdict, TextStyle>> = {
  passed: "green",
  failed: "red",
  "generator-bound": "magenta",
  skipped: "dim",
  aborted: "yellow",
};

interface Column {
  readonly title: string;
  /** Narrow terminals do without the highest first; 0 stays. */
  readonly dispensable: number;
  cell(figures: PhaseFigures): string;
}

const COLUMNS: readonly Column[] = [
  { title: "held", dispensable: 0, cell: heldCell },
  { title: "per s/of", dispensable: 1, cell: rateCell },
  { title: "p99 ms of", dispensable: 0, cell: latencyCell },
  { title: "late", dispensable: 3, cell: ({ stage }) => msFigure(stage.generator.latenessP99Ms) },
  { title: "errors", dispensable: 0, cell: ({ errors }) => countFigure(errors) },
  {
    title: "cores",
    dispensable: 2,
    cell: ({ stage }) => stage.server?.cpuCores?.toFixed(2) ?? UNKNOWN,
  },
  { title: "memory", dispensable: 4, cell: ({ stage }) => bytesFigure(stage.server?.rssBytes) },
];

/** One number where all are there. */
function heldCell({ stage }: PhaseFigures): string {
  const { held, intended } = stage.connections;
  const figure = Math.max(held, intended) < 99_999.5 ? countFigure : shortFigure;
  return held === intended ? figure(held) : `${figure(held)}/${figure(intended)}`;
}

/** `9,994/10k`: what came of it to the last digit, beside what was asked. */
function rateCell({ rate }: PhaseFigures): string {
  if (rate === null) return UNKNOWN;
  const { achievedPerSecond: achieved, intendedPerSecond: intended } = rate;
  const figure = achieved < 99_999.5 ? countFigure : shortFigure;
  return `${figure(achieved)}/${shortFigure(intended)}`;
}

const LATENCY_WORDS = { delivery: "dlvr", response: "resp", connect: "conn" } as const;

function latencyCell({ latency }: PhaseFigures): string {
  if (latency === null) return UNKNOWN;
  return `${msFigure(latency.summary.p99)} ${LATENCY_WORDS[latency.name]}`;
}

interface Page {
  readonly report: ScenariosReport;
  readonly width: number;
  readonly paint: Paint;
}

/**
 * The whole report, with a line break at its end.
 * @param options.width characters in a line; more than 120 are not used
 */
export function scenariosText(
  report: ScenariosReport,
  options: { readonly colour: boolean; readonly width: number },
): string {
  const width = Math.max(WIDTH_MIN, Math.min(WIDTH_MAX, options.width));
  const page = { report, width, paint: paintWith(options.colour) };
  const sections = [titleLines(page), tableLines(page), reasonLines(page), resultLines(page)];
  const filled = sections.filter((lines) => lines.length > 0);
  return `${filled.map((lines) => lines.join("\n")).join("\n\n")}\n`;
}

/** Figures of the scenario in a sentence of fragments, for when it has ended. */
export function scenarioLine(result: ScenarioResult, paint: Paint = paintWith(false)): string {
  const { name, verdict, reason } = result;
  const shown = paint(SCENARIO_WORDS[verdict], STYLES[verdict]);
  const figures = scenarioFigures(result);
  const parts = figures === null ? [] : figureParts(figures);
  const why = reason === "" ? [] : [plain(reason)];
  return `${shown} ${plain(name)}: ${[...why, ...parts].join("; ") || "nothing ran"}`;
}

function figureParts(figures: PhaseFigures): string[] {
  const { stage, rate, latency, errors } = figures;
  const { held, intended } = stage.connections;
  return [
    `${countFigure(held)} of ${countFigure(intended)} connections`,
    ...(rate === null ? [] : [`${rateOfIntended(rate)} per s`]),
    ...(latency === null ? [] : [`${latency.name} p99 ${latencyFigure(latency.summary.p99)}`]),
    countOf(errors, "error"),
  ];
}

function titleLines({ report, width, paint }: Page): string[] {
  const { server, durationMs, scale, timeScale, scenarios } = report;
  const parts = [
    countOf(scenarios.length, "scenario"),
    ...(scale === 1 ? [] : [`${shareFigure(scale)} of their size`]),
    ...(timeScale === 1 ? [] : [`${shareFigure(timeScale)} of their time`]),
    `took ${formatDuration(durationMs)}`,
  ];
  const titles = wrapped(`scenario ${plain(server)}`, width, 2);
  return [...titles.map((line) => paint(line, "bold")), ...wrapped(parts.join(", "), width)];
}

function tableLines({ report, width, paint }: Page): string[] {
  const { scenarios } = report;
  if (scenarios.length === 0) return [];
  const rows = scenarios.map((result) => ({ result, figures: scenarioFigures(result) }));
  const tableOf = (columns: readonly Column[], isWhole: boolean): string[] => {
    const head = ["", "", ...columns.map(({ title }) => title), "nearest to its limit"];
    const body = rows.map(({ result, figures }) => {
      const cells = columns.map(({ cell }) => (figures === null ? UNKNOWN : cell(figures)));
      const nearest = isWhole ? nearestCell(result) : ".".repeat(OBJECTIVE_WIDTH);
      return [clipped(plain(result.name), NAME_WIDTH), word(result), ...cells, nearest];
    });
    const align = `ll${"r".repeat(columns.length)}l`;
    return textTable([head, ...body], align, isWhole ? width : Infinity);
  };
  let columns = COLUMNS;
  const isTooWide = (): boolean => tableOf(columns, false).some(({ length }) => length > width);
  for (let least = 4; least > 0 && isTooWide(); least--) {
    columns = columns.filter(({ dispensable }) => dispensable !== least);
  }
  const [head = "", ...lines] = tableOf(columns, true);
  return [
    paint(head, "dim"),
    ...lines.map((line, index) => painted(line, scenarios[index]!, paint)),
  ];
}

/** Short enough for a table; what is below it has the whole word. */
function word({ verdict }: ScenarioResult): string {
  return verdict === "generator-bound" ? "GEN-BOUND" : SCENARIO_WORDS[verdict];
}

/** The verdict is the second cell, and two blanks or more are before it. */
function painted(line: string, result: ScenarioResult, paint: Paint): string {
  const text = word(result);
  const from = line.indexOf(`  ${text}`) + 2;
  return line.slice(0, from) + paint(text, STYLES[result.verdict]) + line.slice(from + text.length);
}

/** `response:p(99) 31.2 of 250 ms`; the reasons below the table have the phase as well. */
function nearestCell(result: ScenarioResult): string {
  const nearest = nearestObjective(result);
  if (nearest === null) return "";
  const { text, actual, limit, unit } = nearest.objective;
  const what = plain(text.replace(/\s*[<>=!].*$/s, "").replace("p(99)", "p99"));
  if (unit === "ms" && limit < 1_000) return `${what} ${msFigure(actual)} of ${limit} ms`;
  return `${what} ${unitFigure(actual, unit)} of ${unitFigure(limit, unit)}`;
}

/** Of each that did not pass: why, and every objective that it missed. */
function reasonLines({ report, width, paint }: Page): string[] {
  return report.scenarios.flatMap((result) => {
    const { name, verdict, reason, objectives } = result;
    if (verdict === "passed") return [];
    const whole = SCENARIO_WORDS[verdict];
    const head = `${whole} ${plain(name)}${reason === "" ? "" : `: ${plain(reason)}`}`;
    const [first = "", ...rest] = wrapped(head, width, 4);
    // The reason may have told of them already.
    const missed = objectives.filter(({ passed, text }) => !passed && !reason.includes(text));
    // What nobody could measure was not missed by the server.
    const mark = verdict === "failed" ? "missed" : "not judged";
    const texts = missed.map((one) => `${mark} ${plain(objectiveText(one))}`);
    return [
      paint(whole, STYLES[verdict]) + first.slice(whole.length),
      ...rest,
      ...texts.flatMap((text) => wrapped(text, width - 4, 2).map((line) => `    ${line}`)),
    ];
  });
}

function resultLines({ report, width, paint }: Page): string[] {
  const style = report.exitCode === 0 ? "green" : "red";
  const [first = "", ...rest] = wrapped(`RESULT ${plain(report.sentence)}`, width, 7);
  return [paint("RESULT", style) + first.slice(6), ...rest];
}
