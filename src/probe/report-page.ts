// What every page of a report has around its content: nothing in it is fetched, and no script runs
// but its own.

import { createHash } from "node:crypto";
import { html, type Markup, verbatim } from "./markup.ts";
import type { SeriesColumns } from "./report-charts.ts";
import { REPORT_SCRIPT } from "./report-script.ts";
import { REPORT_STYLE } from "./report-style.ts";

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

/** A whole document. The script reads the series that stand in the content, {@link readOut}. */
export function reportPage(title: string, content: Markup): string {
  const page = html`<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${policy()}">
<title>${title} - holdfast-probe</title>
<style>${verbatim(REPORT_STYLE + PATTERN_STYLE)}</style></head>
<body>${verbatim(PATTERNS)}<main>
${content}
</main>
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

/**
 * Figures of every moment for the charts that stand in the same section, or on the page where there
 * is none around it; as JSON that cannot end the element it stands in.
 * @param momentsMax of a longer run every second, third, ... second is there
 */
export function readOut({ atMs, figures }: SeriesColumns, momentsMax: number): Markup {
  const every = Math.max(1, Math.ceil(atMs.length / momentsMax));
  const shown = <T>(values: readonly T[]): T[] => values.filter((_, index) => index % every === 0);
  const rounded = Object.entries(figures).map(([name, values]) => [
    name,
    shown(values).map((value) => (value === null ? null : Number(value.toPrecision(6)))),
  ]);
  const json = JSON.stringify({ atMs: shown(atMs), figures: Object.fromEntries(rounded) });
  const safe = verbatim(json.replaceAll("<", "\\u003c"));
  return html`<script type="application/json" class="series">${safe}</script>`;
}
