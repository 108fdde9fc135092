// Lines over the time of a run, on one or two scales, with its stages behind them.

import { type FigureUnit, linearAxis, logAxis, timeAxis } from "./chart-axis.ts";
import {
  bottomAxis,
  canvas,
  type Canvas,
  drawing,
  emptyFigure,
  figure,
  leftAxis,
  limitLine,
  type LineStyle,
  rightAxis,
} from "./chart-frame.ts";
import { areaPath, linePath, place, type Point, thinned } from "./chart-path.ts";
import { html, type Markup, NOTHING } from "./markup.ts";
import type { StageVerdict } from "./report.ts";

export interface TimeLine {
  /** Names the column of figures that the read-out shows. */
  readonly key: string;
  readonly label: string;
  readonly unit: FigureUnit;
  readonly style: LineStyle;
  /** One for each second of the run. */
  readonly values: readonly (number | null)[];
  readonly isRight?: boolean;
  readonly isArea?: boolean;
  /** It changes at once and stays: the line has corners instead of slopes. */
  readonly isStep?: boolean;
}

export interface Band {
  readonly fromMs: number;
  readonly toMs: number;
  readonly label: string;
  readonly verdict: StageVerdict;
}

export interface TimeChart {
  readonly title: string;
  readonly note: string;
  readonly isWide?: boolean;
  readonly isLog?: boolean;
  /** Wide charts name their bands in any case. */
  readonly isNamingBands?: boolean;
  readonly atMs: readonly number[];
  readonly bands: readonly Band[];
  readonly lines: readonly TimeLine[];
  readonly left: string;
  readonly right?: string;
  /** On the left scale. */
  readonly limit?: { readonly value: number; readonly label: string } | null;
}

const MARGIN = 54;
/** Width of a letter of a stage's label, in the drawing's pixels. */
const LETTER = 6;

export function timeFigure(chart: TimeChart): Markup {
  const { title, note, atMs, isWide = false } = chart;
  // A line of which nothing is known would only be in the way.
  const lines = chart.lines.filter(({ values }) => values.some((value) => value !== null));
  if (atMs.length === 0 || lines.length === 0) return emptyFigure(title, "Nothing was measured.");
  const hasRight = lines.some(({ isRight }) => isRight === true);
  const area = canvas(isWide, { left: MARGIN, right: hasRight ? MARGIN + 14 : 14 });
  const fromMs = Math.min(0, atMs[0]!);
  const toMs = Math.max(atMs.at(-1)!, 1);
  const time = timeAxis(fromMs, toMs, isWide ? 12 : 6, area.x);
  const left = leftScale(chart, lines, area);
  const right = linearAxis(greatest(lines, true), unitOf(lines, true), area.y);
  const limit = chart.limit ?? null;
  const body = [
    bandMarkup(chart.bands, area, (ms) => time.at(ms), isWide || chart.isNamingBands === true),
    leftAxis(area, left, chart.left),
    hasRight ? rightAxis(area, right, chart.right ?? "") : NOTHING,
    bottomAxis(area, time, false),
    ...lines.map((line) =>
      lineMarkup(line, area, (index) => {
        const value = line.values[index];
        if (value == null) return null;
        const scale = line.isRight === true ? right : left;
        return { x: time.at(atMs[index]!), y: scale.at(value) };
      }),
    ),
    limit === null ? NOTHING : limitLine(area, left.at(limit.value), limit.label),
    html`<g class="cursor"><path d="M0 ${area.y.to}V${area.y.from}"/><text
 class="middle strong halo" y="${area.y.to - 8}"></text></g>`,
  ];
  const data = html` data-from="${fromMs}" data-to="${toMs}" data-left="${area.x.from}"
 data-right="${area.x.to}" data-width="${area.width}"`;
  return figure({
    title,
    note,
    isWide,
    legend: lines.map(({ label, style, key, unit }) => ({ label, style, key, unit })),
    body: drawing(area, `${title}: ${note}`, body, data),
  });
}

function leftScale(
  { isLog = false, limit }: TimeChart,
  lines: readonly TimeLine[],
  area: Canvas,
): ReturnType<typeof linearAxis> {
  const unit = unitOf(lines, false);
  const most = Math.max(greatest(lines, false), limit?.value ?? 0);
  if (!isLog) return linearAxis(most, unit, area.y);
  const values = lines.filter(isOnLeft).flatMap((line) => line.values.filter(isKnown));
  return logAxis(values, unit, area.y);
}

function greatest(lines: readonly TimeLine[], isRight: boolean): number {
  let most = 0;
  for (const line of lines) {
    if (isOnLeft(line) === isRight) continue;
    for (const value of line.values) if (value !== null && value > most) most = value;
  }
  return most;
}

function unitOf(lines: readonly TimeLine[], isRight: boolean): FigureUnit {
  return lines.find((line) => isOnLeft(line) !== isRight)?.unit ?? "count";
}

function isOnLeft({ isRight }: TimeLine): boolean {
  return isRight !== true;
}

function isKnown(value: number | null): value is number {
  return value !== null;
}

function lineMarkup(
  line: TimeLine,
  { y }: Canvas,
  pointAt: (index: number) => Point | null,
): Markup {
  const thin = thinned(line.values).map(pointAt);
  const points = line.isStep === true ? stepped(thin) : thin;
  const fill =
    line.isArea === true
      ? html`<path class="a${line.style}" d="${areaPath(points, y.from)}"/>`
      : NOTHING;
  return html`${fill}<path class="l${line.style}" d="${linePath(points)}"/>`;
}

/** A figure of a second holds from the end of the second before. */
function stepped(points: readonly (Point | null)[]): (Point | null)[] {
  return points.flatMap((point, index) => {
    const before = points[index - 1];
    return point === null || before == null ? [point] : [{ x: before.x, y: point.y }, point];
  });
}

/** Stages as stripes, with a mark in the verdict's colour above, and their names where they fit. */
function bandMarkup(
  bands: readonly Band[],
  { y }: Canvas,
  at: (ms: number) => number,
  isNaming: boolean,
): Markup {
  const stripes = bands.map(({ fromMs, toMs, label, verdict }, index) => {
    const from = place(at(fromMs));
    const width = place(Math.max(0, at(toMs) - from));
    const stripe = html`<rect class="band${index % 2}" x="${from}" y="${y.to}" width="${width}"
 height="${y.from - y.to}"/><rect class="v-${verdict}" x="${from}" y="${y.to}"
 width="${Math.max(0, width - 1)}" height="3"><title>${label}: ${verdict}</title></rect>`;
    if (label.length * LETTER > width - 6 || !isNaming) return stripe;
    return html`${stripe}<text class="band-text halo" x="${from + 4}"
 y="${y.to + 15}">${label}</text>`;
  });
  return html`${stripes}`;
}
