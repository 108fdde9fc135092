// A report's figures as people read them, the same in the terminal and in HTML; what is not known
// is a dash.

import { formatBytes, formatCount, formatDuration, formatShare } from "./quantity.ts";

export const UNKNOWN = "-";

/** `182,041`. */
export function countFigure(count: number | null | undefined): string {
  if (count == null || !Number.isFinite(count)) return UNKNOWN;
  return formatCount(count);
}

/** `182k`, `1.02M`: for axes and narrow places. */
export function shortFigure(count: number): string {
  const size = Math.abs(count);
  if (size >= 999_500_000) return `${Number((count / 1e9).toPrecision(3))}G`;
  if (size >= 999_500) return `${Number((count / 1e6).toPrecision(3))}M`;
  if (size >= 1_000) return `${Number((count / 1e3).toPrecision(3))}k`;
  return `${Number(count.toPrecision(3))}`;
}

/** Milliseconds without their unit: `0.24`, `9.12`, `31.0`, `2,914`. */
export function msFigure(ms: number | null | undefined): string {
  if (ms == null || !Number.isFinite(ms)) return UNKNOWN;
  if (ms < 9.995) return ms.toFixed(2);
  return ms < 99.95 ? ms.toFixed(1) : countFigure(ms);
}

/** A latency with its unit: `0.24 ms`, `31.0 ms`, `2.91 s`. */
export function latencyFigure(ms: number | null | undefined): string {
  if (ms == null || !Number.isFinite(ms)) return UNKNOWN;
  return ms < 999.5 ? `${msFigure(ms)} ms` : `${msFigure(ms / 1_000)} s`;
}

/** `00:07`, `12:30`, `1:02:03`: a clock that runs. */
export function clockFigure(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1_000));
  const two = (number: number): string => String(number).padStart(2, "0");
  const minutes = `${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
  return seconds < 3_600 ? minutes : `${Math.floor(seconds / 3_600)}:${minutes}`;
}

export function bytesFigure(bytes: number | null | undefined): string {
  return bytes == null || !Number.isFinite(bytes) ? UNKNOWN : formatBytes(bytes);
}

/** `34%`, `2.1%`; of 0 to 1. */
export function shareFigure(share: number | null | undefined): string {
  return share == null || !Number.isFinite(share) ? UNKNOWN : formatShare(share);
}

/** `0.61 cores`. */
export function coresFigure(cores: number | null | undefined): string {
  if (cores == null || !Number.isFinite(cores)) return UNKNOWN;
  return `${cores.toFixed(2)} cores`;
}

/** A threshold's figure, in the report's name of its unit. */
export function unitFigure(value: number | null, unit: string): string {
  if (value === null) return UNKNOWN;
  if (unit === "ms") return latencyFigure(value);
  if (unit === "ratio") return shareFigure(value);
  return unit === "per_second" ? `${countFigure(value)}/s` : countFigure(value);
}

/** A figure whose unit stands elsewhere: `0.031`, `34.1`, `49,980`. */
export function looseFigure(value: number): string {
  return Math.abs(value) >= 999.5 ? countFigure(value) : `${Number(value.toPrecision(3))}`;
}

/** How many times as much: `x1.67`; from nothing to something it is no number. */
export function ratioFigure(ratio: number | null): string {
  return ratio === null ? UNKNOWN : `x${Number(ratio.toPrecision(3))}`;
}

/** `1 process`, `4 processes`. */
export function countOf(count: number, one: string, many: string = `${one}s`): string {
  return `${countFigure(count)} ${count === 1 ? one : many}`;
}

/** `under 100ms`, `30s to 1m`, `over 1h`: the bucket at this index of `bounds`. */
export function ageFigure(bounds: readonly number[], index: number): string {
  const from = bounds[index - 1];
  const to = bounds[index];
  if (from === undefined) return `under ${formatDuration(to ?? 0)}`;
  return to === undefined
    ? `over ${formatDuration(from)}`
    : `${formatDuration(from)} to ${formatDuration(to)}`;
}
