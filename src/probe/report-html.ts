// A report as one HTML file that needs nothing else: no network, no fonts, no libraries. Everything
// in it that comes from outside is escaped, and no script runs in it but its own.

import { createHash } from "node:crypto";
import { html, type Markup, NOTHING, verbatim } from "./markup.ts";
import { formatDuration } from "./quantity.ts";
import { charts, seriesColumns, type SeriesColumns } from "./report-charts.ts";
import type { Limit, Report } from "./report.ts";
import { REPORT_SCRIPT } from "./report-script.ts";
import { REPORT_STYLE } from "./report-style.ts";
import { baselineTable, environmentList, stageTable, thresholdTable } from "./report-tables.ts";
import { tiles } from "./report-tiles.ts";

/** Seconds that the read-out knows; of a longer run it knows every second, third, ... second. */
const READ_OUT_MAX = 600;

/** Fillings of bars: what is told apart by colour is told apart without it, too. */
const PATTERNS = `<svg width="0" height="0" style="position:absolute" aria-hidden="true"><defs>
<pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse"
 patternTransform="rotate(45)"><rect class="f-warn" width="3" height="6"/></pattern>
<pattern id="cross" width="6" height="6" patternUnits="userSpaceOnUse"
 patternTransform="rotate(-45)"><rect class="f-bad" width="4.4" height="6"/></pattern>
<pattern id="dots" width="5" height="5" patternUnits="userSpaceOnUse"><circle class="f-bound"
 cx="2.5" cy="2.5" r="1.4"/></pattern></defs></svg>`;
const PATTERN_STYLE =
  ".f-warn { fill: var(--warn); } .f-bad { fill: var(--bad); } .f-bound { fill: var(--bound); }";

export function reportHtml(report: Report): string {
  const columns = seriesColumns(report);
  const { environment, command } = report;
  const title = `${command} ${environment.targets.join(" ")}`;
  const page = html`<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${policy()}">
<title>${title} - holdfast-probe</title>
<style>${verbatim(REPORT_STYLE + PATTERN_STYLE)}</style></head>
<body>${verbatim(PATTERNS)}<main>
${header(report)}
${tiles(report)}
${charts(report, columns)}
${stageTable(report.stages)}
${thresholdTable(report.load?.thresholds ?? [])}
${baselineTable(report.load?.baseline ?? null)}
${environmentList(report)}
<footer>Made by holdfast-probe ${environment.probeVersion} (${report.schema}). Every latency of
<em>response</em> and <em>connect</em> counts from the moment at which the schedule wanted
it.</footer>
</main>
<script type="application/json" id="series">${verbatim(readOut(columns))}</script>
<script>${verbatim(REPORT_SCRIPT)}</script>
</body></html>
`;
  return page.text;
}

/** Nothing is fetched, and no script runs but the one of this file. */
function policy(): string {
  const hash = createHash("sha256").update(REPORT_SCRIPT).digest("base64");
  return [
    "default-src 'none'",
    "style-src 'unsafe-inline'",
    `script-src 'sha256-${hash}'`,
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
}

function header(report: Report): Markup {
  const { environment, outcome, exitCode, command, sentence, limit } = report;
  const tone = exitCode === 0 ? "good" : outcome === "generator-bound" ? "bound" : "bad";
  const started = environment.startedAt.slice(0, 16).replace("T", " ");
  return html`<header><div class="over"><span class="badge ${tone}">${outcome}</span>
<span>holdfast-probe ${command}</span> <b>${environment.targets.join(" ")}</b>
<span>${started} UTC</span> <span>${formatDuration(environment.durationMs)}</span>
<span>exit code ${exitCode}</span></div>
<h1>${sentence}</h1>${limit === null ? NOTHING : limitBox(limit, sentence)}</header>`;
}

function limitBox(limit: Limit, sentence: string): Markup {
  const { kind, party, confidence, text, evidence, advice } = limit;
  const items = evidence.map((line) => html`<li>${line}</li>`);
  const details =
    evidence.length === 0
      ? NOTHING
      : html`<details><summary>Evidence</summary><ul>${items}</ul></details>`;
  const what = advice === "" ? NOTHING : html`<p>What to do: ${withCode(advice)}</p>`;
  // The sentence above says it already, as a rule.
  const words = sentence.includes(text) ? NOTHING : html`<p>${text}</p>`;
  return html`<div class="limit-box"><p><strong>Limit: ${kind}</strong>
<span class="kind">party ${party}, ${confidence}</span></p>${words}${what}${details}</div>`;
}

/** What stands between backquotes is something to type. */
function withCode(text: string): Markup {
  const parts = text.split("`");
  return html`${parts.map((part, index) => (index % 2 === 1 ? html`<code>${part}</code>` : part))}`;
}

/** Figures of every moment, as JSON that cannot end the element it stands in. */
function readOut({ atMs, figures }: SeriesColumns): string {
  const every = Math.max(1, Math.ceil(atMs.length / READ_OUT_MAX));
  const shown = <T>(values: readonly T[]): T[] => values.filter((_, index) => index % every === 0);
  const rounded = Object.entries(figures).map(([name, values]) => [
    name,
    shown(values).map((value) => (value === null ? null : Number(value.toPrecision(6)))),
  ]);
  const json = JSON.stringify({ atMs: shown(atMs), figures: Object.fromEntries(rounded) });
  return json.replaceAll("<", "\\u003c");
}
