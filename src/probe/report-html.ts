// A report as one HTML file that needs nothing else: no network, no fonts, no libraries. Everything
// in it that comes from outside is escaped, and no script runs in it but its own.

import { html, type Markup, NOTHING } from "./markup.ts";
import { formatDuration } from "./quantity.ts";
import { charts, seriesColumns } from "./report-charts.ts";
import type { Limit, Report } from "./report.ts";
import { readOut, reportPage } from "./report-page.ts";
import { baselineTable, environmentList, stageTable, thresholdTable } from "./report-tables.ts";
import { tiles } from "./report-tiles.ts";

/** Seconds that the read-out knows; of a longer run it knows every second, third, ... second. */
const READ_OUT_MAX = 600;

export function reportHtml(report: Report): string {
  const columns = seriesColumns(report);
  const { environment, command } = report;
  return reportPage(
    `${command} ${environment.targets.join(" ")}`,
    html`${header(report)}
${tiles(report)}
${charts(report, columns)}
${stageTable(report.stages)}
${thresholdTable(report.load?.thresholds ?? [])}
${baselineTable(report.load?.baseline ?? null)}
${environmentList(report)}
<footer>Made by holdfast-probe ${environment.probeVersion} (${report.schema}). Every latency of
<em>response</em> and <em>connect</em> counts from the moment at which the schedule wanted
it.</footer>
${readOut(columns, READ_OUT_MAX)}`,
  );
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

/** @param sentence that stands above it */
export function limitBox(limit: Limit, sentence: string): Markup {
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
