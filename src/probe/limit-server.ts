// Rules over what the server says in words, and over what the figures of its processes show.

import { filesOf, type Findings } from "./limit-evidence.ts";
import { listText, processFilesText } from "./limit-words.ts";
import type { ProcessSample } from "./process-sample.ts";
import { formatBytes, formatCount, formatDuration } from "./quantity.ts";
import { type Refusal, refusalOf } from "./refusal-codes.ts";
import type { Limit } from "./report.ts";

/** A cause of what was lost explains at least half of it. */
const MAIN_SHARE = 0.5;
/** Objectives that a refusal itself spoils. */
const COUNT_METRICS: readonly string[] = ["errors", "held"];
/** Full to the last few: some are open for a moment only, as for a log or a look-up. */
const FILES_SPARE = 2;
const FILES_FULL_SHARE = 0.999;
/** Below this the kernel reclaims memory all the time, and then kills. */
const MEMORY_LEFT_SHARE = 0.05;
/** Of one core. An event loop has no more than one, and a sample covers its pauses too. */
const CORE_BUSY = 0.9;
/** A loop that is so late spoils every latency objective that people set. */
const LOOP_LAG_MS = 100;

/** A process ended, or another answers in its place, or its port is closed. */
export function serverDied(findings: Findings): Limit | null {
  const gone = findings.failedSources.filter(({ kind }) => kind === "gone");
  const why = [...gone.map((failed) => failed.why), ...replacements(findings)];
  if (why.length > 0) return died(findings, why, "certain");
  const refused = findings.failedSources.filter(({ kind }) => kind === "refused");
  if (refused.length === 0 || !isCut(findings)) return null;
  return died(findings, refused.map(unheard), "certain");
}

/** Its figures and its connections went away together, or all connections did. */
export function serverAway(findings: Findings): Limit | null {
  if (!isCut(findings)) return null;
  const silent = findings.failedSources.filter(({ kind }) => kind === "silent");
  if (silent.length > 0) return died(findings, silent.map(unheard), "likely");
  const { heldBefore } = findings.evidence.connections;
  if (findings.evidence.server !== null || heldBefore === 0) return null;
  if (findings.oldDeaths < heldBefore * MAIN_SHARE || !areRefused(findings)) return null;
  const ended = `${formatCount(findings.oldDeaths)} of ${formatCount(heldBefore)} held connections`;
  return died(findings, [`${ended} ended and new ones are refused`], "likely");
}

function isCut(findings: Findings): boolean {
  return areRefused(findings) || findings.isManyHeld(findings.oldDeaths);
}

function areRefused(findings: Findings): boolean {
  return findings.isManyAttempts(findings.failed("connect.refused", "connect.reset"));
}

function unheard({ source, why }: { readonly source: string; readonly why: string }): string {
  return `${source}: ${why}`;
}

function died(findings: Findings, why: readonly string[], confidence: Limit["confidence"]): Limit {
  const all = countSources(findings);
  const many = `${formatCount(why.length)} of ${formatCount(all)} server processes`;
  const verb = confidence === "certain" ? "died" : "went away, it seems";
  const evidence = findings.failedSources.flatMap(({ source }) => {
    const last = findings.lastOf(source);
    if (last === null) return [];
    const files = processFilesText(last);
    const memory = last.rssBytes === null ? null : `${formatBytes(last.rssBytes)} resident`;
    const known = [memory, files].filter((part) => part !== null);
    return known.length === 0 ? [] : [`${source}, at last: ${known.join(", ")}`];
  });
  return {
    kind: "server-died",
    party: "server",
    confidence,
    text: all > 1 ? `${many} ${verb} (${why[0]})` : `the server ${verb}: ${why[0]}`,
    evidence,
    advice: "see the server's log and, for the kernel's out-of-memory killer, `dmesg`",
  };
}

/** Another process answers where one answered before. */
function replacements({ evidence }: Findings): string[] {
  const { before, samples } = evidence.server ?? { before: null, samples: [] };
  const texts: string[] = [];
  const pids = new Map<string, number>();
  const all = [...(before === null ? [] : [before]), ...samples];
  for (const { source, pid } of all.flatMap(({ processes }) => processes)) {
    if (pid === null) continue;
    const known = pids.get(source);
    if (known !== undefined && known !== pid) {
      texts.push(`process ${known} was replaced by process ${pid}`);
    }
    pids.set(source, pid);
  }
  return texts;
}

/** The server said no, and that explains most of what was lost. */
export function policy(findings: Findings): Limit | null {
  const { failures, deaths, missed } = findings.evidence;
  const said: { refusal: Refusal; code: string; count: number }[] = [];
  for (const { code, count } of [...failures, ...deaths]) {
    const refusal = refusalOf(code);
    if (refusal !== null && count > 0) said.push({ refusal, code, count });
  }
  said.sort((a, b) => b.count - a.count);
  const inWords = said.reduce((total, { count }) => total + count, 0);
  // A client that does not know the protocol does not hear the words: the server's count tells.
  const turnedAway = Math.min(
    findings.rise(({ refused }) => refused),
    findings.lost,
  );
  const count = Math.max(inWords, turnedAway);
  if (count === 0 || count < findings.lost * MAIN_SHARE) return null;
  // One refusal is a wall if it is all that there is, and a stray beside a latency that was missed.
  const isMany = findings.isManyAttempts(count) || findings.isManyHeld(count);
  if (!isMany && missed.some(({ metric }) => !COUNT_METRICS.includes(metric))) return null;
  const most = said[0];
  const verb = most?.code.startsWith("closed.") === true ? "ended" : "refused";
  return {
    kind: "policy",
    party: "server",
    confidence: "certain",
    text:
      most === undefined
        ? `refused by policy: the server turned ${formatCount(turnedAway)} connections away as full`
        : `${verb} by policy: ${most.refusal.text}`,
    evidence: maximumLines(findings),
    advice: most?.refusal.advice ?? "raise the server's connection.max, if there is room for more",
  };
}

function maximumLines(findings: Findings): string[] {
  return findings
    .worst(({ connections }) => connections)
    .filter(({ connections, connectionsMax }) => connectionsMax !== null && connections !== null)
    .slice(0, 1)
    .map(({ source, connections, connectionsMax }) => {
      const served = `${formatCount(connectionsMax!)} served`;
      return `${source}: ${formatCount(connections!)} connections, ${served}`;
    });
}

/** A process has no files left, or keeps what it has left for itself. */
export function serverFiles(findings: Findings): Limit | null {
  if (!findings.isShort) return null;
  const bySource = new Map<string, ProcessSample>();
  for (const process of findings.processes) {
    if (!isFull(process) && process.isAccepting !== false) continue;
    const known = bySource.get(process.source);
    if (known === undefined || filesShare(known) < filesShare(process)) {
      bySource.set(process.source, process);
    }
  }
  const [worst] = [...bySource.values()].toSorted((a, b) => filesShare(b) - filesShare(a));
  if (worst === undefined) return null;
  const files = processFilesText(worst);
  const rest = isFull(worst) ? "" : ", and it has stopped accepting";
  const one = files === null ? "it has stopped accepting to keep some free" : files + rest;
  const all = countSources(findings);
  const full = `${formatCount(bySource.size)} of ${formatCount(all)} processes are full`;
  const text = all === 1 ? one : `${full} (${worst.source}: ${one})`;
  return {
    kind: "server-files",
    party: "server",
    confidence: "certain",
    text: `the server's file limit: ${text}`,
    evidence: [],
    advice: "raise its limit (`ulimit -n`, or LimitNOFILE= of its unit) or run more processes",
  };
}

function isFull(process: ProcessSample): boolean {
  const [fds, { fdLimit }] = [filesOf(process), process];
  if (fds === null || fdLimit === null) return false;
  return fds >= Math.min(fdLimit - FILES_SPARE, fdLimit * FILES_FULL_SHARE);
}

function filesShare(process: ProcessSample): number {
  const [fds, { fdLimit }] = [filesOf(process), process];
  return fds === null || fdLimit === null ? 0 : fds / fdLimit;
}

export function serverMemory({ evidence }: Findings): Limit | null {
  const { memoryAvailableBytes, memoryTotalBytes, memoryMaxBytes } = evidence.host;
  const limit = (text: string): Limit => ({
    kind: "server-memory",
    party: "server",
    confidence: "certain",
    text,
    evidence: [],
    advice: "give the machine more memory, or spread the connections over more machines",
  });
  if (!evidence.isLocal) return null;
  if (memoryAvailableBytes !== null && memoryTotalBytes !== null) {
    if (memoryAvailableBytes < memoryTotalBytes * MEMORY_LEFT_SHARE) {
      const left = `${formatBytes(memoryAvailableBytes)} of ${formatBytes(memoryTotalBytes)}`;
      return limit(`the memory of the server's machine: ${left} are left`);
    }
  }
  const resident = evidence.server?.samples.map(({ figures }) => figures.rssBytes ?? 0) ?? [];
  const most = Math.max(0, ...resident);
  if (memoryMaxBytes === null || most < memoryMaxBytes * (1 - MEMORY_LEFT_SHARE)) return null;
  const used = `${formatBytes(most)} of ${formatBytes(memoryMaxBytes)}`;
  return limit(`the server's memory: ${used} that its control group may use`);
}

/** Something is slow, and an event loop is busy or late. */
export function serverCpu(findings: Findings): Limit | null {
  const { missed, server } = findings.evidence;
  const isSlow =
    missed.length > 0 ||
    findings.isManyAttempts(findings.timeouts) ||
    findings.isRateLow ||
    findings.areEchoesLost;
  if (server === null || !isSlow) return null;
  const limit = (text: string, confidence: Limit["confidence"]): Limit => ({
    kind: "server-cpu",
    party: "server",
    confidence,
    text,
    evidence: [],
    advice: "run more server processes, on more cores, or give each connection less to do",
  });
  const worst = findings.worst(({ cpuCores }) => cpuCores);
  const busy = worst.filter(isBusy);
  const lag = findings.worst(({ loopLagP99Ms }) => loopLagP99Ms)[0];
  if (busy.length === 0) {
    const lagMs = lag?.loopLagP99Ms ?? 0;
    if (lagMs < LOOP_LAG_MS) return null;
    return limit(
      `the server's event loop: 1 of 100 ticks is ${formatDuration(lagMs)} late`,
      "likely",
    );
  }
  const times = server.samples.filter(({ processes }) => processes.some(isBusy)).length;
  const isLasting = times >= Math.min(2, server.samples.length);
  // A process that tells no loop lag may have more threads than one, and room on other cores.
  const isLoop = busy.every(({ loopLagP99Ms }) => loopLagP99Ms !== null);
  const all = countSources(findings);
  const cores = listText(busy.slice(0, 3).map(({ cpuCores }) => cpuCores!.toFixed(2)));
  const some = `${formatCount(busy.length)} of ${formatCount(all)} processes`;
  const text =
    all === 1 ? `its process uses ${cores} cores` : `${some} use a core or more (${cores})`;
  return limit(`the server's CPU: ${text}`, isLasting && isLoop ? "certain" : "likely");
}

function isBusy({ cpuCores }: ProcessSample): boolean {
  return cpuCores !== null && cpuCores >= CORE_BUSY;
}

function countSources({ evidence }: Findings): number {
  const { before, samples } = evidence.server ?? { before: null, samples: [] };
  const last = samples.at(-1) ?? before;
  return last === null ? 1 : Math.max(1, last.processes.length + last.failed.length);
}
