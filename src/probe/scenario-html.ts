// Scenarios as one HTML file that needs nothing else, as a single report is: the result first, all
// scenarios beside each other, then each with its objectives, charts and phases.

import { type ShareBar, shareBarsFigure } from "./chart-shares.ts";
import { html, type Markup, NOTHING } from "./markup.ts";
import { formatCount, formatDuration } from "./quantity.ts";
import { scenarioCharts, seriesColumns } from "./report-charts.ts";
import {
  bytesFigure,
  countOf,
  latencyFigure,
  shareFigure,
  UNKNOWN,
  unitFigure,
} from "./report-figures.ts";
import { limitBox } from "./report-html.ts";
import { readOut, reportPage } from "./report-page.ts";
import {
  commandCode,
  type Fact,
  factList,
  machineFacts,
  settingFacts,
  stageCard,
} from "./report-tables.ts";
import type { FaultFigures, Report } from "./report.ts";
import {
  latencyText,
  measuredText,
  nearestObjective,
  objectiveText,
  SCENARIO_WORDS,
  scenarioFigures,
  usedFigure,
} from "./scenario-figures.ts";
import type { ScenarioResult, ScenariosReport, ScenarioVerdict } from "./scenario-report.ts";
import { scenarioTiles } from "./scenario-tiles.ts";

/** Moments of a scenario that its read-out knows: a page has the figures of all of them. */
const READ_OUT_MAX = 300;

/** Rows of objectives that are about as high as a chart. */
const BESIDE_MAX = 9;

/** Classes of the style sheet, which are those of a stage's verdicts. */
const STYLES: Readonly<Record<ScenarioVerdict, string>> = {
  passed: "ok",
  failed: "wall",
  "generator-bound": "generator-bound",
  skipped: "aborted",
  aborted: "aborted",
};

export function scenariosHtml(report: ScenariosReport): string {
  const { scenarios, server } = report;
  return reportPage(
    `scenario ${server}`,
    html`${header(report)}
${scenarioTiles(scenarios)}
${summaryTable(scenarios)}
${overviewChart(scenarios)}
${scenarios.map(scenarioSection)}
${environmentList(report)}
<footer>Made by holdfast-probe (${report.schema}). Every latency of <em>response</em>,
<em>delivery</em> and <em>connect</em> counts from the moment at which the schedule wanted
it.</footer>`,
  );
}

function header(report: ScenariosReport): Markup {
  const { outcome, exitCode, sentence, server, startedAt, durationMs, scale, timeScale } = report;
  const tone = exitCode === 0 ? "good" : outcome === "generator-bound" ? "bound" : "bad";
  const started = startedAt.slice(0, 16).replace("T", " ");
  const size = scale === 1 ? NOTHING : html`<span>${shareFigure(scale)} of the size</span>`;
  const time = timeScale === 1 ? NOTHING : html`<span>${shareFigure(timeScale)} of the time</span>`;
  return html`<header><div class="over"><span class="badge ${tone}">${outcome}</span>
<span>holdfast-probe scenario</span> <b>${server}</b> <span>${started} UTC</span>
<span>${formatDuration(durationMs)}</span> ${size} ${time} <span>exit code ${exitCode}</span></div>
<h1>${sentence}</h1></header>`;
}

/** Of a section: its name, unless that is no name to link to. */
function anchor({ name }: ScenarioResult, index: number): string {
  return /^[a-z][a-z0-9-]*$/.test(name) ? name : `scenario-${index + 1}`;
}

const SUMMARY_HEAD = [
  "held",
  "per s",
  "p99",
  "lateness p99",
  "errors",
  "server cores",
  "server memory",
];

function summaryTable(scenarios: readonly ScenarioResult[]): Markup {
  const head = SUMMARY_HEAD.map((title) => html`<th>${title}</th>`);
  return html`<h2>Scenarios</h2><div class="card scroll"><table class="summary"><thead><tr>
<th class="left">scenario</th><th class="left">verdict</th>${head}
<th class="left">objective nearest to its limit</th></tr></thead>
<tbody>${scenarios.map(summaryRow)}</tbody></table></div>`;
}

function summaryRow(result: ScenarioResult, index: number): Markup {
  const { verdict, title, reason } = result;
  const nearest = nearestObjective(result);
  const about = nearest === null ? UNKNOWN : measuredText(nearest.objective);
  const cells = summaryCells(result).map((cell) => html`<td>${cell}</td>`);
  const noted = reason === "" ? NOTHING : html` class="noted"`;
  const note =
    reason === ""
      ? NOTHING
      : html`<tr><td class="note" colspan="${cells.length + 3}">${reason}</td></tr>`;
  return html`<tr${noted}><th><a href="#${anchor(result, index)}">${title}</a></th>
<td class="left verdict t-${STYLES[verdict]}">${SCENARIO_WORDS[verdict]}</td>${cells}
<td class="left wrap">${about}</td></tr>${note}`;
}

function summaryCells(result: ScenarioResult): (Markup | string)[] {
  const figures = scenarioFigures(result);
  if (figures === null) return SUMMARY_HEAD.map(() => UNKNOWN);
  const { stage, rate, errors } = figures;
  const { connections, generator, server } = stage;
  const { cpuCores, rssBytes } = server ?? {};
  return [
    beside(connections.held, connections.intended),
    rate === null ? UNKNOWN : beside(rate.achievedPerSecond, rate.intendedPerSecond),
    latencyText(figures),
    latencyFigure(generator.latenessP99Ms),
    formatCount(errors),
    cpuCores == null ? UNKNOWN : cpuCores.toFixed(2),
    bytesFigure(rssBytes),
  ];
}

function beside(actual: number, intended: number): Markup {
  return html`${formatCount(actual)} <span class="of">of ${formatCount(intended)}</span>`;
}

function overviewChart(scenarios: readonly ScenarioResult[]): Markup {
  if (scenarios.length === 0) return NOTHING;
  const present = new Set(scenarios.map(({ verdict }) => verdict));
  const chart = shareBarsFigure({
    title: "How near to their limits",
    note: "the objective of each scenario that was nearest to its limit, or furthest beyond",
    bars: scenarios.map(overviewBar),
    legend: [...present].map((verdict) => ({
      label: SCENARIO_WORDS[verdict],
      box: `v-${STYLES[verdict]}`,
    })),
  });
  return html`<div class="charts overview">${chart}</div>`;
}

function overviewBar(result: ScenarioResult): ShareBar {
  const { name: label, verdict, reason } = result;
  const box = `v-${STYLES[verdict]}`;
  const nearest = nearestObjective(result);
  const word = SCENARIO_WORDS[verdict];
  if (nearest === null) return { label, share: null, text: `${word}: ${reason}`, box };
  const { share, objective } = nearest;
  const used = usedFigure(share);
  const text = `${word}${used === UNKNOWN ? "" : `, ${used}`}: ${objectiveText(objective)}`;
  return { label, share, text, box };
}

function scenarioSection(result: ScenarioResult, index: number): Markup {
  const { name, title, question, plan, verdict, reason, report } = result;
  const tone = { ok: "good", wall: "bad", "generator-bound": "bound" }[STYLES[verdict]] ?? "quiet";
  const why = reason === "" ? NOTHING : html`<p class="why t-${STYLES[verdict]}">${reason}</p>`;
  return html`<section id="${anchor(result, index)}"><div class="over">
<span class="badge ${tone}">${SCENARIO_WORDS[verdict]}</span><span>${name}</span></div>
<h2>${title}</h2><p class="question">${question}</p><p class="plan">${plan}</p>${why}
${report === null ? NOTHING : reportParts(result, report)}</section>
`;
}

function reportParts(result: ScenarioResult, report: Report): Markup {
  const { stages, limit, load, sentence, series } = report;
  const columns = seriesColumns(report);
  const phases = stages.length === 0 ? NOTHING : stageCard(stages, "phase");
  const count = result.objectives.length;
  // Two cards in each row: few objectives stand beside a chart, many below them all.
  const isBeside = count > 0 && count <= BESIDE_MAX;
  const drawn = series.length === 0 ? NOTHING : scenarioCharts(report, columns, !isBeside);
  const objectives = objectivesCard(result, isBeside);
  const cards = isBeside ? [objectives, drawn] : [drawn, objectives];
  const figures = series.length === 0 ? NOTHING : readOut(columns, READ_OUT_MAX);
  return html`${limit === null ? NOTHING : limitBox(limit, sentence)}${faultsLine(load?.faults)}
${phases}<div class="charts">${cards}</div>${figures}`;
}

function faultsLine(faults: FaultFigures | null | undefined): Markup {
  if (faults == null) return NOTHING;
  const { slowReaders, halfOpen, ended, churned } = faults;
  const parts = [
    ...(slowReaders === 0 ? [] : [countOf(slowReaders, "slow reader")]),
    ...(halfOpen === 0 ? [] : [`${formatCount(halfOpen)} half-open`]),
    ...(slowReaders + halfOpen === 0 ? [] : [`${formatCount(ended)} of them ended by the server`]),
    ...(churned === 0 ? [] : [`${formatCount(churned)} churned`]),
  ];
  if (parts.length === 0) return NOTHING;
  return html`<p class="plan">Done on purpose: ${parts.join(", ")}.</p>`;
}

function objectivesCard({ objectives }: ScenarioResult, isBeside: boolean): Markup {
  if (objectives.length === 0) return NOTHING;
  const rows = objectives.map(({ phase, text, actual, limit, unit, passed }) => {
    const figure = actual === null ? "no samples" : unitFigure(actual, unit);
    const [style, word] = passed ? ["ok", "ok"] : ["missed", "MISSED"];
    return html`<tr><th>${phase}</th><td class="left code">${text}</td><td>${figure}</td>
<td>${unitFigure(limit, unit)}</td><td class="left verdict t-${style}">${word}</td></tr>`;
  });
  return html`<figure class="card${isBeside ? "" : " wide"}">
<figcaption><h3>Objectives</h3></figcaption>
<div class="scroll"><table><thead><tr><th class="left">phase</th><th class="left">objective</th>
<th>actual</th><th>limit</th><th class="left">verdict</th></tr></thead><tbody>${rows}</tbody>
</table></div></figure>`;
}

function environmentList(report: ScenariosReport): Markup {
  const { argv, server, startedAt, durationMs, scenarios } = report;
  const made = scenarios.find((one) => one.report !== null)?.report?.environment;
  const facts: Fact[] = [
    ["Command", commandCode(argv)],
    ["Server", server],
    ["Started", `${startedAt}, took ${formatDuration(durationMs)}`],
  ];
  if (made === undefined) return factList(facts);
  const seed: Fact = ["Seed", String(made.seed)];
  return factList([...facts, seed, ...machineFacts(made), ...settingFacts(made)]);
}
