// From figures to places in a drawing, with round numbers to label them by.

import { formatDuration } from "./quantity.ts";
import { bytesFigure, shareFigure, shortFigure } from "./report-figures.ts";

/** What a figure is, and so how it is written. */
export type FigureUnit = "count" | "ms" | "bytes" | "share" | "cores";

export interface Tick {
  readonly at: number;
  readonly label: string;
}

export interface Axis {
  /** Where a value is drawn; values beyond the axis are drawn at its end. */
  at(value: number): number;
  readonly ticks: readonly Tick[];
}

/** Where an axis begins and ends in the drawing. */
export interface Extent {
  readonly from: number;
  readonly to: number;
}

const TICKS = 4;
/** So much above the highest figure stays free, for the marks at the upper end of a plot. */
const HEADROOM = 1.04;

/** From 0 to a round number that is more than `max`. */
export function linearAxis(max: number, unit: FigureUnit, { from, to }: Extent): Axis {
  const highest = Number.isFinite(max) && max > 0 ? max : 1;
  const scale = unit === "bytes" ? 1_024 ** Math.floor(Math.log(highest) / Math.log(1_024)) : 1;
  const exact = roundStep(highest / scale / TICKS) * scale;
  const step = unit === "count" ? Math.max(1, exact) : exact;
  const steps = Math.ceil((highest * HEADROOM) / step);
  const top = steps * step;
  const at = (value: number): number => from + (to - from) * clamp(value / top);
  const ticks = Array.from({ length: steps + 1 }, (_, index) => {
    // Times the step, not step by step: 0.1 + 0.2 is no label.
    const value = Number((index * step).toPrecision(12));
    return { at: at(value), label: tickLabel(value, unit) };
  });
  return { at, ticks };
}

/** A figure below this is as good as 0, and so is one so many times smaller than the greatest. */
const LEAST = 1e-6;
const RANGE_MAX = 1e9;

/** Decades around what is above 0; a zero is drawn at the bottom. */
export function logAxis(values: readonly number[], unit: FigureUnit, { from, to }: Extent): Axis {
  let least = Infinity;
  let most = 0;
  for (const value of values) {
    if (value > 0 && value < least) least = value;
    if (value > most && value < Infinity) most = value;
  }
  if (most < LEAST) [least, most] = [0.1, 5];
  least = Math.max(least, LEAST, most / RANGE_MAX);
  const low = Math.floor(Math.log10(least) + 1e-9);
  const high = Math.max(low + 1, Math.ceil(Math.log10(most * HEADROOM)));
  const at = (value: number): number => {
    const place = value > 0 ? (Math.log10(value) - low) / (high - low) : 0;
    return from + (to - from) * clamp(place);
  };
  const every = Math.ceil((high - low) / 6);
  const ticks: Tick[] = [];
  for (let power = low; power <= high; power += every) {
    for (const digit of high - low <= 2 && power < high ? [1, 2, 5] : [1]) {
      const value = Number((digit * 10 ** power).toPrecision(3));
      ticks.push({ at: at(value), label: tickLabel(value, unit) });
    }
  }
  return { at, ticks };
}

/** Seconds, minutes or hours from the start of a run. */
export function timeAxis(fromMs: number, toMs: number, labels: number, extent: Extent): Axis {
  const { from, to } = extent;
  const span = Math.max(1, toMs - fromMs);
  const at = (ms: number): number => from + (to - from) * clamp((ms - fromMs) / span);
  const stepMs = timeStep(span / labels);
  const ticks: Tick[] = [];
  for (let ms = Math.ceil(fromMs / stepMs) * stepMs; ms <= toMs; ms += stepMs) {
    ticks.push({ at: at(ms), label: ms === 0 ? "0" : formatDuration(ms) });
  }
  return { at, ticks };
}

const TIME_STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 21_600];

function timeStep(leastMs: number): number {
  const step = TIME_STEPS_S.find((seconds) => seconds * 1_000 >= leastMs);
  return step === undefined ? Math.ceil(leastMs / 86_400_000) * 86_400_000 : step * 1_000;
}

/** 1, 2 or 5 times a power of ten, no less than this. */
function roundStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least));
  const digit = [1, 2, 5, 10].find((one) => one * power >= least * (1 - 1e-9)) ?? 10;
  return digit * power;
}

function clamp(place: number): number {
  return place < 0 ? 0 : place > 1 ? 1 : place;
}

function tickLabel(value: number, unit: FigureUnit): string {
  if (value === 0) return "0";
  if (unit === "bytes") return bytesFigure(value);
  if (unit === "share") return shareFigure(value);
  if (unit === "ms") return formatDuration(value);
  return shortFigure(value);
}
