// Quantities as people write them, `10k`, `1m30s`, `50k/s`, `1%`, and as the probe prints them.
// What is not written exactly so is refused: a misread number would make a wrong measurement.

import { HoldfastError } from "../base/errors.ts";
import type { RateSegment } from "./schedule.ts";

const NUMBER = String.raw`(\d+(?:\.\d+)?)`;
const COUNT = new RegExp(`^${NUMBER}([kmg]?)$`, "i");
const RATE = new RegExp(`^${NUMBER}([kmg]?)(?:/(s|m|h))?$`, "i");
const DURATION = new RegExp(
  `^(?=\\d)(?:${NUMBER}h)?(?:${NUMBER}m)?(?:${NUMBER}s)?(?:${NUMBER}ms)?$`,
);
const SHARE = new RegExp(`^${NUMBER}(%?)$`);

const THOUSANDS: Readonly<Record<string, number>> = { "": 1, k: 1e3, m: 1e6, g: 1e9 };
const BINARY: Readonly<Record<string, number>> = { "": 1, k: 1_024, m: 1_024 ** 2, g: 1_024 ** 3 };
const SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600 };
const DURATION_MS = [3_600_000, 60_000, 1_000, 1] as const;

/** Of connections, or of operations per second: beyond what one machine's probe can mean. */
const COUNT_MAX = 1e9;
/** 24 days: Node's timers take no more than 2^31 - 1 milliseconds. */
const DURATION_MS_MAX = 24 * 86_400_000;
/** 1 TiB. */
const BYTES_MAX = 1_024 ** 4;

/** A whole number from 0: `200000`, `10k`, `1.5m`. Throws HOLDFAST_OPTIONS_INVALID. */
export function parseCount(text: string): number {
  const expected = "a whole number such as 200000, 10k or 1.5m";
  const match = COUNT.exec(text);
  if (match === null) throw invalid(text, `is no count: expected ${expected}`);
  const count = scaled(match[1]!, THOUSANDS[match[2]!.toLowerCase()]!);
  const allowed = atMost(count, COUNT_MAX, text, "a thousand million (1g)");
  if (Number.isInteger(allowed)) return allowed;
  throw invalid(text, `is no whole number: expected ${expected}`);
}

/** In milliseconds: `250ms`, `5s`, `1m30s`, `2h`. Throws HOLDFAST_OPTIONS_INVALID. */
export function parseDurationMs(text: string): number {
  const match = DURATION.exec(text);
  if (match === null) {
    const unit = /^\d+(?:\.\d+)?$/.test(text) ? "has no unit" : "is no duration";
    throw invalid(text, `${unit}: expected such as 250ms, 5s, 1m30s or 2h`);
  }
  let ms = 0;
  for (const [index, unitMs] of DURATION_MS.entries()) {
    ms += scaled(match[index + 1] ?? "0", unitMs);
  }
  return atMost(ms, DURATION_MS_MAX, text, "24 days (576h)");
}

/** Per second: `50k`, `50/s`, `3k/m`. Throws HOLDFAST_OPTIONS_INVALID. */
export function parseRate(text: string): number {
  const match = RATE.exec(text);
  if (match === null) {
    throw invalid(text, "is no rate: expected such as 50k, 0.5/s or 3k/m (a second, minute, hour)");
  }
  const times = scaled(match[1]!, THOUSANDS[match[2]!.toLowerCase()]!);
  const perSecond = times / SECONDS[(match[3] ?? "s").toLowerCase()]!;
  return atMost(perSecond, COUNT_MAX, text, "a thousand million a second (1g/s)");
}

/** From 0 to 1: `1%`, `0.01`. Throws HOLDFAST_OPTIONS_INVALID. */
export function parseShare(text: string): number {
  const match = SHARE.exec(text);
  if (match === null) throw invalid(text, "is no share: expected such as 1% or 0.01");
  const isPercent = match[2] === "%";
  const share = Number(match[1]) / (isPercent ? 100 : 1);
  if (share <= 1) return share;
  const meant = isPercent || share > 100 ? "" : `; ${text}% is written with its sign`;
  throw invalid(text, `is more than all: expected 0% to 100%, or 0 to 1${meant}`);
}

/** `512`, `64k` (65,536), `1m`, `1g`. Throws HOLDFAST_OPTIONS_INVALID. */
export function parseBytes(text: string): number {
  const expected = "whole bytes such as 512, 64k (65,536), 1m or 1g";
  const match = COUNT.exec(text);
  if (match === null) throw invalid(text, `is no size: expected ${expected}`);
  const bytes = scaled(match[1]!, BINARY[match[2]!.toLowerCase()]!);
  const allowed = atMost(bytes, BYTES_MAX, text, "1 TiB (1024g)");
  if (Number.isInteger(allowed)) return allowed;
  throw invalid(text, `is no whole number: expected ${expected}`);
}

/**
 * `1m:10k,3m:50k`: within each duration the rate goes, linearly, from where the one before it ended
 * to this one; `0s` makes it jump. Throws HOLDFAST_OPTIONS_INVALID, which names the entry.
 * @param startPerSecond where the first begins.
 */
export function parseStages(text: string, startPerSecond: number): RateSegment[] {
  let fromPerSecond = startPerSecond;
  const segments = text.split(",").map((entry, index) => {
    const segment = parseStage(entry, fromPerSecond, index);
    fromPerSecond = segment.toPerSecond;
    return segment;
  });
  if (segments.some(({ durationMs }) => durationMs > 0)) return segments;
  throw invalid(text, "takes no time: expected a duration above 0s in at least one stage");
}

function parseStage(entry: string, fromPerSecond: number, index: number): RateSegment {
  const parts = entry.split(":");
  try {
    if (parts.length !== 2) {
      throw invalid(entry, "is no stage: expected duration:rate, such as 1m:10k");
    }
    const durationMs = parseDurationMs(parts[0]!);
    return { durationMs, fromPerSecond, toPerSecond: parseRate(parts[1]!) };
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    throw new HoldfastError(error.code, `stage ${index + 1}: ${error.message}`, { cause: error });
  }
}

/** 1.005m is 1,005,000, not a binary fraction less. */
function scaled(digits: string, scale: number): number {
  const value = Number(digits) * scale;
  const whole = Math.round(value);
  return Math.abs(value - whole) <= 2 * Number.EPSILON * value ? whole : value;
}

function atMost(value: number, max: number, text: string, maxText: string): number {
  if (value <= max) return value;
  throw invalid(text, `is too much: expected at most ${maxText}`);
}

function invalid(text: string, rule: string): HoldfastError {
  const shown = text.length > 60 ? `${text.slice(0, 60)}...` : text;
  return new HoldfastError("HOLDFAST_OPTIONS_INVALID", `${JSON.stringify(shown)} ${rule}`);
}

/** `1,234,567`; fractions are rounded. */
export function formatCount(count: number): string {
  return Math.round(count).toLocaleString("en-US");
}

/** As it is parsed: `0.25ms`, `250ms`, `1.5s`, `1m30s`, `2h5m`; rounded to what people read. */
export function formatDuration(ms: number): string {
  if (ms < 999.5) return `${figures(ms)}ms`;
  if (ms < 59_950) return `${figures(ms / 1_000)}s`;
  const seconds = Math.round(ms / 1_000);
  const hours = Math.floor(seconds / 3_600);
  const minutes = Math.floor((seconds % 3_600) / 60);
  const parts = [
    hours > 0 ? `${formatCount(hours)}h` : "",
    minutes > 0 ? `${minutes}m` : "",
    // Beyond an hour nobody reads the seconds, unless there is nothing else to read.
    seconds % 60 > 0 && hours === 0 ? `${seconds % 60}s` : "",
  ];
  return parts.join("");
}

/** `0.5/s`, `50k/s`, `1,234/s`, `1.25m/s`. */
export function formatRate(perSecond: number): string {
  for (const [unit, scale] of [
    ["m", 1e6],
    ["k", 1e3],
  ] as const) {
    // Shortened only where nothing is lost.
    const short = perSecond / scale;
    if (short >= 1 && Number(short.toFixed(2)) === short) return `${short}${unit}/s`;
  }
  return `${perSecond < 999.5 ? figures(perSecond) : formatCount(perSecond)}/s`;
}

/** `945 B`, `64 KiB`, `1.5 GiB`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (Math.abs(value) < 999.5) return `${figures(value)} ${unit}`;
    value /= 1_024;
  }
  return `${Math.abs(value) < 999.5 ? figures(value) : formatCount(value)} TiB`;
}

/** Of 0 to 1: `0.1%`, `28.9%`. All and nothing are said only where it is all or nothing. */
export function formatShare(share: number): string {
  const percent = share * 100;
  if (percent > 0 && percent < 0.001) return "<0.001%";
  if (percent < 100 && percent > 99.9) return `${Math.floor(percent * 100) / 100}%`;
  return `${figures(percent)}%`;
}

/** Three figures, without zeros at the end; no less than a thousandth. */
function figures(value: number): string {
  if (value === 0) return "0";
  const magnitude = Math.floor(Math.log10(Math.abs(value)));
  return String(Number(value.toFixed(Math.min(3, Math.max(0, 2 - magnitude)))));
}
