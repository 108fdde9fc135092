// The evidence as lines for people.

import { DEATH_AGES_MS, type FailureCount, type ThresholdResult } from "./report.ts";
import { filesOf, type Findings } from "./limit-evidence.ts";
import type { ProcessSample } from "./process-sample.ts";
import { formatBytes, formatCount, formatDuration, formatRate, formatShare } from "./quantity.ts";

const FAILURES_SHOWN = 5;
const PROCESSES_SHOWN = 8;
/** Deaths that have so large a share at one age have one cause: a timeout, most often. */
const COMMON_AGE_SHARE = 0.8;

/** `a`, `a and b`, `a, b and c`. */
export function listText(parts: readonly string[]): string {
  if (parts.length < 2) return parts.join("");
  return `${parts.slice(0, -1).join(", ")} and ${parts.at(-1)}`;
}

/** `4,998 of 5,000 files in use`; null where either is not known. */
export function filesText(fds: number | null, limit: number | null): string | null {
  if (fds === null || limit === null) return null;
  return `${formatCount(fds)} of ${formatCount(limit)} files in use`;
}

/** The same of a process; with `at least` where that is all that is known. */
export function processFilesText(process: ProcessSample): string | null {
  const { fds, fdLimit } = process;
  const least = filesOf(process);
  const text = filesText(least, fdLimit);
  return text === null || least === fds ? text : `at least ${text}`;
}

/** What an objective came to: `81.2ms`, `3.1%`. */
export function actualText({ actual, unit }: ThresholdResult): string {
  if (actual === null) return "nothing was measured";
  if (unit === "ms") return formatDuration(actual);
  if (unit === "ratio") return formatShare(actual);
  return unit === "per_second" ? formatRate(actual) : formatCount(actual);
}

/** The most frequent first: `connect.refused 3,021, closed.fin 12`. */
export function codesText(rows: readonly Pick<FailureCount, "code" | "count">[]): string {
  const sorted = rows.filter(({ count }) => count > 0).toSorted((a, b) => b.count - a.count);
  const shown = sorted.slice(0, FAILURES_SHOWN);
  const more = sorted.length - shown.length;
  const texts = shown.map(({ code, count }) => `${code} ${formatCount(count)}`);
  return texts.join(", ") + (more > 0 ? `, ${more} more` : "");
}

/** Everything that was looked at, whatever it says. */
export function evidenceLines(findings: Findings): string[] {
  const { evidence } = findings;
  const { connections, attempts, connectsPerSecond, connectMs, missed } = evidence;
  const lines = [
    `connections: ${formatCount(connections.held)} held of ${formatCount(connections.intended)} ` +
      `intended, ${formatCount(connections.heldBefore)} before`,
    `attempts: ${formatCount(attempts.started)} started of ${formatCount(attempts.scheduled)} ` +
      `scheduled, ${formatCount(attempts.succeeded)} succeeded`,
  ];
  if (connectsPerSecond !== null) {
    const { asked, reached } = connectsPerSecond;
    lines.push(`connects: ${formatCount(reached)}/s of ${formatCount(asked)}/s asked`);
  }
  if (connectMs !== null && connectMs.count > 0) {
    const { p50, p99, max } = connectMs;
    lines.push(
      `connect: p50 ${formatDuration(p50)}, p99 ${formatDuration(p99)}, max ${formatDuration(max)}`,
    );
  }
  const failures = codesText(evidence.failures);
  if (failures !== "") lines.push(`failures: ${failures}`);
  lines.push(...deathLines(findings), ...missed.map(missedLine));
  return [...lines, ...serverLines(findings), ...hostLines(findings)];
}

function missedLine(result: ThresholdResult): string {
  return `missed: ${result.text}, ${actualText(result)}`;
}

function deathLines({ evidence }: Findings): string[] {
  const text = codesText(evidence.deaths);
  if (text === "") return [];
  const ages = new Array<number>(DEATH_AGES_MS.length + 1).fill(0);
  for (const { byAge } of evidence.deaths) {
    for (const [index, count] of byAge.entries()) ages[index]! += count;
  }
  const most = Math.max(...ages);
  const all = ages.reduce((total, count) => total + count, 0);
  const bound = DEATH_AGES_MS[ages.indexOf(most)];
  if (most < all * COMMON_AGE_SHARE || bound === undefined) return [`deaths: ${text}`];
  const from = DEATH_AGES_MS[ages.indexOf(most) - 1] ?? 0;
  return [`deaths: ${text}; most at an age of ${formatDuration(from)} to ${formatDuration(bound)}`];
}

function serverLines(findings: Findings): string[] {
  const sources = [...new Set(findings.processes.map(({ source }) => source))];
  const lines = sources.slice(0, PROCESSES_SHOWN).map((source) => {
    return `${source}: ${processText(findings.processes.filter((one) => one.source === source))}`;
  });
  const hidden = sources.length - PROCESSES_SHOWN;
  if (hidden > 0) lines.push(`${formatCount(hidden)} more processes`);
  return [...lines, ...findings.failedSources.map(({ source, why }) => `${source}: ${why}`)];
}

/** The highest of each figure among a process's samples. */
function processText(samples: readonly ProcessSample[]): string {
  const highest = (figure: (sample: ProcessSample) => number | null): number | null => {
    const values = samples.map(figure).filter((value) => value !== null);
    return values.length === 0 ? null : Math.max(...values);
  };
  const connections = highest((sample) => sample.connections);
  const max = highest((sample) => sample.connectionsMax);
  const cores = highest((sample) => sample.cpuCores);
  const lagMs = highest((sample) => sample.loopLagP99Ms);
  const rss = highest((sample) => sample.rssBytes);
  const parts = [
    filesText(
      highest((sample) => sample.fds),
      highest((sample) => sample.fdLimit),
    ),
    connections === null ? null : `${formatCount(connections)} connections`,
    max === null ? null : `${formatCount(max)} allowed`,
    cores === null ? null : `${cores.toFixed(2)} cores`,
    lagMs === null ? null : `loop lag p99 ${formatDuration(lagMs)}`,
    rss === null ? null : `${formatBytes(rss)} resident`,
    samples.some(({ isAccepting }) => isAccepting === false) ? "stopped accepting" : null,
  ];
  return parts.filter((part) => part !== null).join(", ");
}

function hostLines({ evidence }: Findings): string[] {
  const { host, isLocal } = evidence;
  const lines: string[] = [];
  if (isLocal && host.memoryAvailableBytes !== null && host.memoryTotalBytes !== null) {
    const left = formatBytes(host.memoryAvailableBytes);
    lines.push(`memory: ${left} of ${formatBytes(host.memoryTotalBytes)} available`);
  }
  const [overflows, drops] = [host.listenOverflows ?? 0, host.listenDrops ?? 0];
  if (overflows > 0 || drops > 0) {
    lines.push(`accept queues: ${formatCount(overflows)} overflows, ${formatCount(drops)} drops`);
  }
  if (host.conntrackCount !== null && host.conntrackMax !== null) {
    const [count, max] = [formatCount(host.conntrackCount), formatCount(host.conntrackMax)];
    lines.push(`connection tracking: ${count} of ${max} entries`);
  }
  return lines;
}
