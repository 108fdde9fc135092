// What all charts have in common: a figure with title, legend and drawing; grid and axis labels.

import type { Axis, Extent, FigureUnit } from "./chart-axis.ts";
import { place } from "./chart-path.ts";
import { html, type Markup, NOTHING } from "./markup.ts";

/** One of the line styles of the style sheet: each has its own colour and its own dashes. */
export type LineStyle = 1 | 2 | 3 | 4 | 5 | 6;

export interface LegendEntry {
  readonly label: string;
  /** A line in this style, or a box of this class of the style sheet. */
  readonly style?: LineStyle;
  readonly box?: string;
  /** Column of the series that is shown beside the label while the pointer is over a chart. */
  readonly key?: string;
  readonly unit?: FigureUnit;
}

export interface FigureParts {
  readonly title: string;
  /** A clause that says what is drawn. */
  readonly note: string;
  readonly isWide?: boolean;
  readonly legend?: readonly LegendEntry[];
  readonly body: Markup;
}

/** Sizes in the drawing's own pixels; on the page it is as wide as there is room. */
export interface Canvas {
  readonly width: number;
  readonly height: number;
  /** Of the plot inside. */
  readonly x: Extent;
  /** From the floor upwards. */
  readonly y: Extent;
}

export function canvas(
  isWide: boolean,
  margins: { readonly left: number; readonly right: number; readonly bottom?: number },
): Canvas {
  const width = isWide ? 1_144 : 560;
  const height = isWide ? 290 : 258;
  return {
    width,
    height,
    x: { from: margins.left, to: width - margins.right },
    y: { from: height - (margins.bottom ?? 24), to: 24 },
  };
}

export function figure({ title, note, isWide = false, legend = [], body }: FigureParts): Markup {
  const about = note === "" ? NOTHING : html`<p>${note}</p>`;
  const entries = legend.length === 0 ? NOTHING : legendMarkup(legend);
  return html`<figure class="card${isWide ? " wide" : ""}"><figcaption><h3>${title}</h3>
${about}</figcaption>${entries}${body}</figure>
`;
}

/** In place of a drawing of nothing. */
export function emptyFigure(title: string, text: string): Markup {
  return figure({ title, note: "", body: html`<p class="empty">${text}</p>` });
}

function legendMarkup(entries: readonly LegendEntry[]): Markup {
  const items = entries.map(({ label, style, box, key, unit }) => {
    const swatch =
      style === undefined
        ? html`<svg width="13" height="9" aria-hidden="true"><rect class="${box ?? ""}"
 x=".5" y=".5" width="12" height="8" rx="1.5"/></svg>`
        : html`<svg width="24" height="8" aria-hidden="true"><path class="l${style}"
 d="M2 4h20"/></svg>`;
    const slot =
      key === undefined ? NOTHING : html` <b data-key="${key}" data-unit="${unit ?? "count"}"></b>`;
    return html`<li>${swatch}${label}${slot}</li>`;
  });
  return html`<ul class="legend">${items}</ul>`;
}

/** Lines across the plot with their labels at the left, and the name of the axis above. */
export function leftAxis({ x, y }: Canvas, axis: Axis, name: string): Markup {
  const lines = axis.ticks.map(
    ({ at, label }) => html`<path class="grid" d="M${x.from} ${place(at)}H${x.to}"/><text
 class="end" x="${x.from - 7}" y="${place(at + 3.5)}">${label}</text>`,
  );
  return html`${lines}<text class="axis" x="0" y="${y.to - 12}">${name}</text>`;
}

export function rightAxis({ x, y, width }: Canvas, axis: Axis, name: string): Markup {
  const labels = axis.ticks.map(
    ({ at, label }) => html`<path class="tick" d="M${x.to} ${place(at)}h4"/><text
 x="${x.to + 7}" y="${place(at + 3.5)}">${label}</text>`,
  );
  return html`${labels}<text class="axis end" x="${width}" y="${y.to - 12}">${name}</text>`;
}

export function bottomAxis({ x, y }: Canvas, axis: Axis, isGrid: boolean): Markup {
  const labels = axis.ticks.map(({ at, label }) => {
    const line = isGrid ? `M${place(at)} ${y.from}V${y.to}` : `M${place(at)} ${y.from}v4`;
    return html`<path class="${isGrid ? "grid" : "tick"}" d="${line}"/><text class="middle"
 x="${place(at)}" y="${y.from + 17}">${label}</text>`;
  });
  return html`${labels}<path class="floor" d="M${x.from} ${y.from}H${x.to}"/>`;
}

/** What must not be passed: a line across the plot, and its name. */
export function limitLine({ x }: Canvas, at: number, label: string): Markup {
  const y = place(at);
  return html`<path class="limit" d="M${x.from} ${y}H${x.to}"/><text class="limit-text halo"
 x="${x.from + 6}" y="${y - 5}">${label}</text>`;
}

export function drawing(canvas: Canvas, label: string, body: MarkupList, data?: Markup): Markup {
  return html`<svg viewBox="0 0 ${canvas.width} ${canvas.height}" role="img" aria-label="${label}"${
    data ?? NOTHING
  }>${body}</svg>`;
}

type MarkupList = Markup | readonly Markup[];
