// What was intended and what came of it, stage by stage: a frame for the one, a bar for the other.
// Verdicts differ by colour, by the bar's filling and by a word below.

import { linearAxis } from "./chart-axis.ts";
import {
  canvas,
  type Canvas,
  drawing,
  emptyFigure,
  figure,
  type LegendEntry,
  leftAxis,
  limitLine,
} from "./chart-frame.ts";
import { place } from "./chart-path.ts";
import { html, type Markup, NOTHING } from "./markup.ts";
import { countFigure, shortFigure } from "./report-figures.ts";
import type { StageVerdict } from "./report.ts";

export interface Bar {
  readonly label: string;
  readonly intended: number;
  readonly actual: number;
  readonly verdict: StageVerdict;
  readonly reasons: readonly string[];
}

export interface BarChart {
  readonly title: string;
  readonly note: string;
  /** What is counted, and with which words it stands beside what was intended. */
  readonly axis: string;
  readonly bars: readonly Bar[];
  readonly limit: { readonly value: number; readonly label: string } | null;
}

const VERDICT_WORDS: Readonly<Record<StageVerdict, string>> = {
  ok: "ok",
  missed: "missed",
  wall: "wall",
  scram: "scram",
  "generator-bound": "gen-bound",
  aborted: "aborted",
};

/** A bar needs this much room for a word below it. */
const WORD_WIDTH = 48;
const BAR_WIDTH_MAX = 46;

export function barFigure({ title, note, axis, bars, limit }: BarChart): Markup {
  if (bars.length === 0) return emptyFigure(title, "No stage has ended.");
  const area = canvas(false, { left: 46, right: 8, bottom: 40 });
  const most = Math.max(...bars.map(({ intended, actual }) => Math.max(intended, actual)));
  const scale = linearAxis(Math.max(most, limit?.value ?? 0), "count", area.y);
  const slot = (area.x.to - area.x.from) / bars.length;
  const every = Math.ceil(WORD_WIDTH / slot);
  const at = (value: number): number => scale.at(value);
  const spotOf = (index: number): Spot => {
    // Words that would run into each other are left out; the last one says how it ended.
    const isLast = index === bars.length - 1;
    const hasWords = isLast || (index % every === 0 && index + every <= bars.length);
    return { middle: area.x.from + (index + 0.5) * slot, slot, hasWords };
  };
  const body = [
    leftAxis(area, scale, axis),
    html`<path class="floor" d="M${area.x.from} ${area.y.from}H${area.x.to}"/>`,
    ...bars.map((bar, index) => barMarkup(bar, area, at, spotOf(index))),
    limit === null ? NOTHING : limitLine(area, at(limit.value), limit.label),
    ...bars.map((bar, index) => wordsMarkup(bar, area, at, spotOf(index))),
  ];
  const legend = verdictLegend(bars);
  return figure({ title, note, legend, body: drawing(area, `${title}: ${note}`, body) });
}

const VERDICT_MEANINGS: Readonly<Record<StageVerdict, string>> = {
  ok: "ok: all held",
  missed: "missed: an objective did not hold",
  wall: "wall: connections are missing",
  scram: "scram: backed off for the server's sake",
  "generator-bound": "gen-bound: the probe's limit, no verdict",
  aborted: "aborted",
};

/** Of the verdicts that there are. */
function verdictLegend(bars: readonly Bar[]): LegendEntry[] {
  const verdicts = new Set(bars.map(({ verdict }) => verdict));
  return [...verdicts].map((verdict) => ({
    label: VERDICT_MEANINGS[verdict],
    box: `v-${verdict}`,
  }));
}

/** Where a bar stands. */
interface Spot {
  readonly middle: number;
  readonly slot: number;
  readonly hasWords: boolean;
}

function barMarkup(bar: Bar, { y }: Canvas, at: (value: number) => number, spot: Spot): Markup {
  const { label, intended, actual, verdict, reasons } = bar;
  const width = Math.max(1, Math.min(BAR_WIDTH_MAX, spot.slot * 0.66));
  const x = place(spot.middle - width / 2);
  const box = (value: number, name: string): Markup => {
    const top = place(at(value));
    return html`<rect class="${name}" x="${x}" y="${top}" width="${place(width)}"
 height="${place(y.from - top)}" rx="2"/>`;
  };
  const of = `${countFigure(actual)} of ${countFigure(intended)} intended`;
  const tip = [`${label}: ${of}`, verdict, ...reasons].join("\n");
  const boxes = [box(intended, "intended"), box(actual, `v-${verdict}`)];
  return html`<g><title>${tip}</title>${boxes}</g>`;
}

/** Above everything else, so that no line goes through them. */
function wordsMarkup(bar: Bar, { y }: Canvas, at: (value: number) => number, spot: Spot): Markup {
  if (!spot.hasWords) return NOTHING;
  const { label, actual, verdict } = bar;
  const x = place(spot.middle);
  return html`<text class="middle" x="${x}" y="${y.from + 15}">${label}</text><text
 class="middle t-${verdict}" x="${x}" y="${y.from + 30}">${VERDICT_WORDS[verdict]}</text><text
 class="middle strong halo" x="${x}" y="${place(at(actual) - 5)}">${shortFigure(actual)}</text>`;
}
