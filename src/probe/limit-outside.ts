// Rules over what is seen from outside: handshakes that are slow or cut off, and the kernel's
// counters of this machine.

import { filesOf, type Findings } from "./limit-evidence.ts";
import { formatCount, formatDuration } from "./quantity.ts";
import type { Limit } from "./report.ts";

/** A cause of what was lost explains at least half of it. */
const MAIN_SHARE = 0.5;
/** The kernel drops what it cannot track, and close to the limit it does so now and then. */
const CONNTRACK_FULL_SHARE = 0.95;
/** A SYN that was dropped is sent again after 1 s, 3 s and 7 s (TCP_TIMEOUT_INIT, RFC 6298). */
const SYN_AGAIN_MS = 1_000;
/** A process below this has files left, whatever else ails it. */
const FILES_LEFT_SHARE = 0.9;

export function conntrack(findings: Findings): Limit | null {
  const { conntrackCount, conntrackMax } = findings.evidence.host;
  if (conntrackCount === null || conntrackMax === null) return null;
  if (conntrackCount < conntrackMax * CONNTRACK_FULL_SHARE) return null;
  if (!findings.isManyAttempts(findings.failed("connect.timeout"))) return null;
  const used = `${formatCount(conntrackCount)} of ${formatCount(conntrackMax)} entries in use`;
  return {
    kind: "conntrack",
    party: "network",
    confidence: "certain",
    text: `this machine's connection tracking: ${used}`,
    evidence: [],
    advice: `\`sysctl -w net.netfilter.nf_conntrack_max=${conntrackMax * 4}\``,
  };
}

/** New connections are slow or late while those that are up do well. */
export function acceptRate(findings: Findings): Limit | null {
  const { connectMs, connectsPerSecond, host, isLocal } = findings.evidence;
  const { timeouts } = findings;
  const isSlow = (connectMs?.p99 ?? 0) >= SYN_AGAIN_MS;
  const isWaiting = findings.isManyAttempts(timeouts);
  // Drops include overflows.
  const drops = isLocal ? Math.max(host.listenOverflows ?? 0, host.listenDrops ?? 0) : 0;
  const isConnectMissed = findings.evidence.missed.some(({ metric }) =>
    metric.startsWith("connect"),
  );
  // Connections that were up and ended are another matter.
  if (isCutOff(findings) || findings.isManyHeld(findings.oldDeaths)) return null;
  if (findings.isRateLow) {
    const { asked, reached } = connectsPerSecond!;
    const rates = `${formatCount(reached)} connects/s of ${formatCount(asked)}/s asked`;
    const confidence = isLocal ? "certain" : "likely";
    return slowLimit("accept-rate", `the server accepted ${rates}`, confidence);
  }
  if (!isSlow && !isWaiting && !(isConnectMissed && drops > 0)) return null;
  if (drops > 0) {
    const dropped = `${formatCount(drops)} connects were dropped`;
    const queue = "the server's accept queue in the kernel";
    return slowLimit("backlog", `${queue}: ${dropped}`, "certain");
  }
  if (findings.areEchoesLost) return null;
  const what = isWaiting
    ? `${formatCount(timeouts)} handshakes timed out`
    : `1 of 100 connects took ${formatDuration(connectMs?.p99 ?? 0)}`;
  const text = `the rate at which the server accepts, it seems: ${what} while others do well`;
  return slowLimit("accept-rate", text, "likely");
}

function slowLimit(
  kind: "accept-rate" | "backlog",
  text: string,
  confidence: Limit["confidence"],
): Limit {
  const advice =
    kind === "backlog"
      ? "raise the server's listen backlog and `sysctl -w net.core.somaxconn=4096`"
      : "lower --connect-rate to see how many it holds, or run more server processes";
  return { kind, party: "server", confidence, text, evidence: [], advice };
}

/** New connections are cut off at once while those that are up stay. */
export function cutOff(findings: Findings): Limit | null {
  const { held } = findings.evidence.connections;
  if (held === 0 || findings.isManyHeld(findings.oldDeaths) || !isCutOff(findings)) return null;
  const cut = cutOffCount(findings);
  const stay = `while ${formatCount(held)} stay`;
  const seen = `${formatCount(cut)} new connections were cut off at once ${stay}`;
  const shares = findings.processes.map((process) => {
    const [fds, { fdLimit }] = [filesOf(process), process];
    return fds === null || fdLimit === null ? null : fds / fdLimit;
  });
  const known = shares.filter((share) => share !== null);
  if (known.length > 0 && Math.max(...known) < FILES_LEFT_SHARE) {
    return {
      kind: "policy",
      party: "server",
      confidence: "likely",
      text: `a limit of the server's own, it seems: ${seen}, though it has files left`,
      evidence: [],
      advice: "see the server's configuration for a maximum of connections, and its log",
    };
  }
  return {
    kind: "server-files",
    party: "server",
    confidence: "likely",
    text: `the server's file limit, it seems: ${seen}`,
    evidence: [],
    advice:
      findings.evidence.server === null
        ? "give --server-stats with the server's /stats or process id, to be sure"
        : "raise its limit (`ulimit -n`, or LimitNOFILE= of its unit) or run more processes",
  };
}

/** Most of what was lost was turned down at once, and it was more than strays. */
function isCutOff(findings: Findings): boolean {
  const cut = cutOffCount(findings);
  return findings.isManyAttempts(cut) && cut >= findings.lost * MAIN_SHARE;
}

/**
 * A process without files accepts and closes at once, or listens no longer; without a word either
 * way.
 */
function cutOffCount(findings: Findings): number {
  return (
    findings.failed(
      "connect.refused",
      "connect.reset",
      "tls.closed",
      "upgrade.closed",
      "hello.closed",
    ) + findings.diedYoung("closed.fin", "closed.reset")
  );
}
