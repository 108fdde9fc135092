// The tables of a report's page: errors by phase, cause and party; stages; thresholds; the
// baseline; and with what all of it was made.

import { emptyFigure, figure } from "./chart-frame.ts";
import { FAILURES, type FailureRow, type Party, PHASES } from "./failure.ts";
import { html, type Markup, NOTHING } from "./markup.ts";
import { formatCount, formatDuration } from "./quantity.ts";
import {
  bytesFigure,
  coresFigure,
  countFigure,
  countOf,
  looseFigure,
  msFigure,
  ratioFigure,
  shareFigure,
  UNKNOWN,
  unitFigure,
} from "./report-figures.ts";
import type {
  BaselineResult,
  Environment,
  FailureCount,
  OperationFigures,
  Report,
  StageReport,
  ThresholdResult,
} from "./report.ts";
import { errorCount } from "./report-summary.ts";
import { stageTitle, verdictText } from "./stage-line.ts";

const PARTIES: readonly Party[] = ["server", "network", "client", "prober"];

/** Rows in the order in which a connection goes through the phases. */
export function errorMatrix(failures: readonly FailureCount[]): Markup {
  const title = "Failures by phase, cause and party";
  if (failures.length === 0) return emptyFigure(title, "Nothing failed.");
  const most = Math.max(...failures.map(({ count }) => count));
  const all = failures.reduce((sum, { count }) => sum + count, 0);
  const order = (phase: string): number => (PHASES as readonly string[]).indexOf(phase);
  const rows = failures
    .toSorted((a, b) => order(a.phase) - order(b.phase) || b.count - a.count)
    .map((failure) => {
      const { code, phase, cause, party, count } = failure;
      // By magnitude, so that the rare ones are seen beside the frequent ones.
      const heat = Math.round(8 + (34 * Math.log1p(count)) / Math.log1p(most));
      const cells = PARTIES.map((one) =>
        one === party
          ? html`<td class="heat" style="--heat: ${heat}%">${countFigure(count)}</td>`
          : html`<td class="none">·</td>`,
      );
      return html`<tr title="${meaningOf(code)}"><th>${phase}</th>
<td class="left">${cause}</td>${cells}</tr>`;
    });
  const head = PARTIES.map((party) => html`<th>${party}</th>`);
  const body = html`<div class="scroll"><table><thead><tr><th class="left">phase</th>
<th class="left">cause</th>${head}</tr></thead><tbody>${rows}</tbody></table></div>`;
  const note = `${countOf(all, "failure")}, by whose doing they are as far as it can be told`;
  return figure({ title, note, body });
}

/** A code of a later version has no row here. */
function meaningOf(code: string): string {
  const [phase, cause] = code.split(".");
  const rows = FAILURES as Readonly<Record<string, FailureRow>>;
  return `${code}: ${rows[`${phase}.${cause}`]?.meaning ?? "not known here"}`;
}

const DELIVERY = "delivery p99 ms";

interface StageColumn {
  readonly title: string;
  cell(stage: StageReport): Markup | string;
}

const STAGE_COLUMNS: readonly StageColumn[] = [
  { title: "held", cell: ({ connections: { held, intended } }) => beside(held, intended) },
  { title: "connects/s", cell: ({ operations: { connect } }) => rate(connect) },
  { title: "operations/s", cell: ({ operations: { echo, publish } }) => rate(echo ?? publish) },
  { title: "connect p99 ms", cell: ({ latencies }) => msFigure(latencies.connect?.p99) },
  { title: "response p50 ms", cell: ({ latencies }) => msFigure(latencies.response?.p50) },
  { title: "response p99 ms", cell: ({ latencies }) => msFigure(latencies.response?.p99) },
  { title: DELIVERY, cell: ({ latencies }) => msFigure(latencies.delivery?.p99) },
  {
    title: "lateness p99 ms",
    cell: ({ generator }) =>
      asPair(msFigure(generator.latenessP99Ms), msFigure(generator.latenessLimitMs)),
  },
  { title: "server B/conn", cell: ({ server }) => countFigure(server?.bytesPerConnection) },
  { title: "server CPU", cell: ({ server }) => server?.cpuCores?.toFixed(2) ?? UNKNOWN },
  { title: "errors", cell: (stage) => formatCount(errorCount(stage)) },
];

export function stageTable(stages: readonly StageReport[]): Markup {
  return stages.length === 0 ? NOTHING : html`<h2>Stages</h2>${stageCard(stages, "stage")}`;
}

/** @param what the stages are called */
export function stageCard(stages: readonly StageReport[], what: string): Markup {
  // Deliveries are there with publishes only.
  const isDelivering = stages.some(({ latencies }) => latencies.delivery !== undefined);
  const columns = STAGE_COLUMNS.filter(({ title }) => isDelivering || title !== DELIVERY);
  const rows = stages.map((stage) => {
    const { verdict, reasons } = stage;
    const cells = columns.map(({ cell }) => html`<td>${cell(stage)}</td>`);
    const noted = reasons.length > 0 ? html` class="noted"` : NOTHING;
    return html`<tr${noted}><th>${stageTitle(stage)}</th>${cells}
<td class="left verdict t-${verdict}">${verdictText(verdict)}</td></tr>
${reasonRow(stage, columns.length + 2)}`;
  });
  const head = columns.map(({ title }) => html`<th>${title}</th>`);
  return html`<div class="card scroll"><table><thead><tr><th class="left">${what}</th>
${head}<th class="left">verdict</th></tr></thead><tbody>${rows}</tbody></table></div>`;
}

function reasonRow({ reasons }: StageReport, columns: number): Markup {
  if (reasons.length === 0) return NOTHING;
  return html`<tr><td class="note" colspan="${columns}">${reasons.join("; ")}</td></tr>`;
}

function beside(actual: number, intended: number): Markup {
  return asPair(formatCount(actual), formatCount(intended));
}

function asPair(actual: string, intended: string): Markup {
  return html`${actual} <span class="of">of ${intended}</span>`;
}

function rate(figures: OperationFigures | undefined): Markup {
  if (figures === undefined) return html`${UNKNOWN}`;
  const { achievedPerSecond: achieved, intendedPerSecond: intended } = figures;
  // Clients that come back by themselves were not scheduled.
  return intended === 0 ? html`${formatCount(achieved)}` : beside(achieved, intended);
}

export function thresholdTable(thresholds: readonly ThresholdResult[]): Markup {
  if (thresholds.length === 0) return NOTHING;
  const rows = thresholds.map(({ text, actual, limit, unit, passed, worstAtMs }) => {
    const at = worstAtMs === null ? "" : `worst window from ${formatDuration(worstAtMs)}`;
    const figureText = actual === null ? "no samples" : unitFigure(actual, unit);
    const verdict = passed ? "ok" : "missed";
    return html`<tr><th class="code">${text}</th><td>${figureText}</td>
<td>${unitFigure(limit, unit)}</td>
<td class="left">${at}</td><td class="left verdict t-${verdict}">${verdictText(verdict)}</td></tr>`;
  });
  return html`<h2>Thresholds</h2><div class="card scroll"><table><thead><tr>
<th class="left">threshold</th><th>actual</th><th>limit</th><th></th><th class="left">verdict</th>
</tr></thead><tbody>${rows}</tbody></table></div>`;
}

export function baselineTable(baseline: BaselineResult | null): Markup {
  if (baseline === null) return NOTHING;
  const rows = baseline.rows.map(({ metric, before, now, ratio, isRegression }) => {
    const [style, word] = isRegression ? ["t-wall", "WORSE"] : ["t-ok", "ok"];
    return html`<tr><th>${metric}</th><td>${looseFigure(before)}</td><td>${looseFigure(now)}</td>
<td>${ratioFigure(ratio)}</td><td class="left verdict ${style}">${word}</td></tr>`;
  });
  return html`<h2>Against ${baseline.file}</h2><div class="card scroll"><table><thead><tr>
<th class="left">metric</th><th>before</th><th>now</th><th>ratio</th><th class="left">verdict</th>
</tr></thead><tbody>${rows}</tbody></table></div>`;
}

/** A fact's name, and what it is. */
export type Fact = readonly [string, string | Markup];

export function environmentList(report: Report): Markup {
  const { environment: made, server } = report;
  return factList([
    ["Command", commandCode(made.argv)],
    ["Targets", `${made.targets.join(", ")} (${made.protocol} protocol)`],
    ["Started", `${made.startedAt}, took ${formatDuration(made.durationMs)}`],
    ["Seed", String(made.seed)],
    ...machineFacts(made),
    ["Server watched", server === null ? "no" : server.sources.join(", ")],
    ...stageServerFacts(report),
    ...settingFacts(made),
  ]);
}

export function factList(facts: readonly Fact[]): Markup {
  const items = facts.map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`);
  return html`<h2>Environment</h2><div class="card"><dl class="facts">${items}</dl></div>`;
}

/** As it would be typed. */
export function commandCode(argv: readonly string[]): Markup {
  return html`<code>holdfast-probe ${argv.map(shellWord).join(" ")}</code>`;
}

/** What the probe ran on, and as what. */
export function machineFacts(made: Environment): Fact[] {
  return [
    ["Probe", `holdfast-probe ${made.probeVersion}, Node.js ${made.nodeVersion}`],
    ["Probe's machine", machineText(made)],
    ["Generators", generatorsText(made)],
  ];
}

/** Of the kernel. */
export function settingFacts({ sysctls }: Environment): Fact[] {
  return Object.entries(sysctls).map(([name, value]) => [name, html`<code>${value}</code>`]);
}

function machineText({ kernel, cpus, memoryBytes }: Environment): string {
  return `Linux ${kernel}, ${countOf(cpus, "core")}, ${bytesFigure(memoryBytes)}`;
}

function generatorsText(made: Environment): string {
  const { generatorProcesses, transport, generatorFileLimit, sourceTuples } = made;
  const files =
    generatorFileLimit === null ? "" : `, ${formatCount(generatorFileLimit)} files each`;
  const pairs =
    sourceTuples === null ? "" : `, ${formatCount(sourceTuples)} local address and port pairs`;
  return `${countOf(generatorProcesses, "process", "processes")}, ${transport}${files}${pairs}`;
}

/** What the generators used at most: it was not free. */
function stageServerFacts({ stages }: Report): Fact[] {
  if (stages.length === 0) return [];
  const most = (figure: (stage: StageReport) => number): number => Math.max(...stages.map(figure));
  const cores = coresFigure(most(({ generator }) => generator.cpuCores));
  const bytes = bytesFigure(most(({ generator }) => generator.rssBytes));
  const busy = shareFigure(most(({ generator }) => generator.loopUtilisation));
  return [["Generators used", `up to ${cores}, ${bytes} resident, busiest loop ${busy}`]];
}

function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
