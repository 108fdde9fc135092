// Latencies by percentile, the way HdrHistogram plots them: every step to the right is one more
// nine, so that the tail has as much room as the middle.

import { logAxis, type Tick } from "./chart-axis.ts";
import {
  bottomAxis,
  canvas,
  drawing,
  emptyFigure,
  figure,
  leftAxis,
  type LineStyle,
} from "./chart-frame.ts";
import { linePath, type Point } from "./chart-path.ts";
import { LatencyHistogram } from "./histogram.ts";
import { html, type Markup } from "./markup.ts";
import { latencyFigure } from "./report-figures.ts";
import type { LatencyName, LatencySummary, StageReport } from "./report.ts";

/** Below so many samples in the tail it is chance that is drawn. */
const NINES_MAX = 6;

const CURVES: readonly { name: LatencyName; label: string; style: LineStyle }[] = [
  { name: "response", label: "response", style: 1 },
  { name: "service", label: "service", style: 3 },
  { name: "connect", label: "connect", style: 2 },
  { name: "delivery", label: "delivery", style: 4 },
  { name: "lateness", label: "lateness (ours)", style: 6 },
];

interface Step {
  /** Share of samples above, just before this value. */
  readonly above: number;
  readonly ms: number;
}

interface Curve {
  readonly label: string;
  readonly style: LineStyle;
  readonly steps: readonly Step[];
  readonly count: number;
  readonly p99: number;
}

/** @param stages whose histograms are added up */
export function distributionFigure(stages: readonly StageReport[], note: string): Markup {
  const title = "Latency by percentile";
  const curves = CURVES.flatMap(({ name, label, style }) => {
    const summaries = stages.flatMap(({ latencies }) => latencies[name] ?? []);
    const curve = curveOf(summaries.filter(({ count }) => count > 0));
    return curve === null ? [] : [{ ...curve, label, style }];
  });
  if (curves.length === 0) return emptyFigure(title, "Nothing was measured.");
  const area = canvas(false, { left: 54, right: 14 });
  const nines = Math.min(
    NINES_MAX,
    Math.max(2, ...curves.map(({ count }) => Math.log10(Math.max(1, count)))),
  );
  const at = (above: number): number => {
    const place = above <= 0 ? 1 : Math.min(1, -Math.log10(above) / nines);
    return area.x.from + (area.x.to - area.x.from) * place;
  };
  const values = curves.flatMap(({ steps }) => steps.map(({ ms }) => ms));
  const scale = logAxis(values, "ms", area.y);
  const body = [
    leftAxis(area, scale, "latency"),
    bottomAxis(area, { at, ticks: percentileTicks(nines, at) }, true),
    ...curves.map((curve) =>
      curveMarkup(curve, (step) => ({ x: at(step.above), y: scale.at(step.ms) })),
    ),
  ];
  const legend = curves.map(({ label, style, p99 }) => ({
    label: `${label}, p99 ${latencyFigure(p99)}`,
    style,
  }));
  return figure({ title, note, legend, body: drawing(area, `${title}: ${note}`, body) });
}

function curveMarkup({ style, steps }: Curve, pointOf: (step: Step) => Point): Markup {
  const points: Point[] = [];
  for (const step of steps) {
    const point = pointOf(step);
    const last = points.at(-1);
    // Closer than a pixel is one place; the higher value counts there.
    if (last !== undefined && point.x - last.x < 1)
      points[points.length - 1] = { ...point, x: last.x };
    else points.push(point);
  }
  return html`<path class="l${style}" d="${linePath(points)}"/>`;
}

function percentileTicks(nines: number, at: (above: number) => number): Tick[] {
  const ticks = [{ at: at(0.5), label: "50%" }];
  for (let nine = 1; nine <= nines + 1e-9; nine++) {
    const percent = 100 - 100 * 10 ** -nine;
    ticks.push({ at: at(10 ** -nine), label: `${Number(percent.toPrecision(nine + 1))}%` });
  }
  return ticks;
}

/** Of all stages together; null where there are no samples. */
function curveOf(
  summaries: readonly LatencySummary[],
): Pick<Curve, "steps" | "count" | "p99"> | null {
  const [first] = summaries;
  if (first === undefined) return null;
  const merged = new LatencyHistogram();
  try {
    for (const { hdr } of summaries) merged.add(LatencyHistogram.fromHdr(hdr));
  } catch {
    // A report of another make may carry no histograms; its figures are a rough curve still.
    return summaryCurve(summaries.reduce((most, one) => (one.count > most.count ? one : most)));
  }
  const steps: Step[] = [];
  const { pairs, count } = merged;
  let below = 0;
  for (let at = 0; at < pairs.length; at += 2) {
    steps.push({ above: 1 - below / count, ms: pairs[at]! / 1_000 });
    below += pairs[at + 1]!;
  }
  // The greatest is the greatest up to the last of all samples.
  steps.push({ above: 1 / count, ms: merged.maxMs });
  return { steps, count, p99: merged.percentileMs(99) };
}

function summaryCurve({
  min,
  p50,
  p90,
  p99,
  p999,
  max,
  count,
}: LatencySummary): Pick<Curve, "steps" | "count" | "p99"> {
  const steps = [
    { above: 1, ms: min },
    { above: 0.5, ms: p50 },
    { above: 0.1, ms: p90 },
    { above: 0.01, ms: p99 },
    { above: 0.001, ms: p999 },
    { above: 1 / Math.max(1, count), ms: max },
  ];
  return { steps: steps.toSorted((a, b) => b.above - a.above), count, p99 };
}
