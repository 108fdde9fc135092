// Bars that lie side by side from left to right: how much of its limit each has used. A line stands
// where all of it is used; a bar that would be longer than the plot ends at its edge.

import { linearAxis } from "./chart-axis.ts";
import { bottomAxis, type Canvas, drawing, figure, type LegendEntry } from "./chart-frame.ts";
import { place } from "./chart-path.ts";
import { html, type Markup, NOTHING } from "./markup.ts";
import { clipped } from "./text-layout.ts";

export interface ShareBar {
  readonly label: string;
  /** Of its limit, 1 is all of it; null: there is no bar. */
  readonly share: number | null;
  /** Says beside the bar what it is, in words. */
  readonly text: string;
  /** Class of the style sheet that fills it. */
  readonly box: string;
}

export interface ShareChart {
  readonly title: string;
  readonly note: string;
  readonly bars: readonly ShareBar[];
  readonly legend: readonly LegendEntry[];
}

const ROW = 26;
const BAR = 13;
const WIDTH = 1_144;
/** Where the plot lies; labels are to its left, words to its right. */
const PLOT = { from: 150, to: 650 };
const LABEL_LENGTH = 24;
const TEXT_LENGTH = 76;
/** Further beyond the limit it does not matter by how much. */
const SHARE_MAX = 1.9;

export function shareBarsFigure({ title, note, bars, legend }: ShareChart): Markup {
  const height = 24 + bars.length * ROW + 26;
  const area: Canvas = { width: WIDTH, height, x: PLOT, y: { from: height - 26, to: 24 } };
  const most = Math.max(1, ...bars.map(({ share }) => Math.min(SHARE_MAX, share ?? 0)));
  const axis = linearAxis(most, "share", area.x);
  const body = [
    bottomAxis(area, axis, true),
    ...bars.map((bar, index) => barMarkup(bar, 24 + (index + 0.5) * ROW, (at) => axis.at(at))),
    html`<path class="limit" d="M${place(axis.at(1))} ${area.y.from}V${area.y.to - 4}"/><text
 class="limit-text middle" x="${place(axis.at(1))}" y="${area.y.to - 9}">limit</text>`,
  ];
  return figure({
    title,
    note,
    isWide: true,
    legend,
    body: drawing(area, `${title}: ${note}`, body),
  });
}

function barMarkup(bar: ShareBar, middle: number, at: (share: number) => number): Markup {
  const { label, share, text, box } = bar;
  const base = place(middle + 4);
  // As wide as a line at least, so that one can see that it is there.
  const width = share === null ? 0 : Math.max(1.5, at(share) - PLOT.from);
  const rect =
    share === null
      ? NOTHING
      : html`<rect class="${box}" x="${PLOT.from}" y="${place(middle - BAR / 2)}"
 width="${place(width)}" height="${BAR}" rx="2"/>`;
  return html`<g><title>${label}: ${text}</title><text class="end strong" x="${PLOT.from - 9}"
 y="${base}">${clipped(label, LABEL_LENGTH)}</text>${rect}<text x="${PLOT.to + 14}"
 y="${base}">${clipped(text, TEXT_LENGTH)}</text></g>`;
}
