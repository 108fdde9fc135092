// The evidence of a level that failed, gathered from all who saw something of it.

import { formatCount } from "./quantity.ts";
import { failureFacts } from "./failure.ts";
import type { Protocol } from "./generator-messages.ts";
import { readHost, readListenDrops } from "./host.ts";
import { classifyLimit } from "./limit.ts";
import type { Evidence, HostEvidence } from "./limit-evidence.ts";
import type { Limit, StageReport, ThresholdResult } from "./report.ts";
import type { Run, Stage } from "./run.ts";
import type { Target } from "./target.ts";

/** Why this level did not hold. */
export function levelLimit(
  run: Run,
  stage: Stage,
  report: StageReport,
  missed: readonly ThresholdResult[],
): Limit {
  return classifyLimit(levelEvidence(run, stage, report, missed));
}

/** Why targets do not answer, in the words of the failure that was most frequent. */
export function unreachableLimit(
  report: StageReport,
  protocol: Protocol,
  targets: readonly Target[],
  failed: number,
): Limit {
  const top = report.failures[0] ?? report.deaths[0];
  const how =
    top === undefined
      ? "connections end at once"
      : `${failureFacts(top.code).meaning.replace(/\.$/, "")} (${top.code})`;
  const whose =
    targets.length === 1
      ? targets[0]!.text
      : `${failed} of ${targets.length} targets do not answer`;
  return {
    kind: "unknown",
    party: top?.party ?? "server",
    confidence: "certain",
    text: `${whose}: ${how}`,
    evidence: [],
    advice: adviceFor(top?.code ?? "", protocol),
  };
}

function adviceFor(code: string, protocol: Protocol): string {
  const isHoldfast = protocol === "holdfast";
  if (code.startsWith("connect.refused")) return "see whether the server runs, and on which port";
  if (code.startsWith("connect.local")) return "see which local addresses and ports are free";
  if (code.startsWith("tls.")) return "see whether this port speaks TLS, or give --insecure";
  if (code.startsWith("upgrade.")) return "see whether this port and path speak WebSocket";
  if (isHoldfast && (code.startsWith("hello.") || code.startsWith("closed."))) {
    return "see whether this port speaks Holdfast's protocol; for any other server --protocol raw";
  }
  return "";
}

/** Fewer may be the server's own, or wait in its queue for a moment. */
const HELD_MIN = 10;
/** A server that has taken less of them than this has taken hardly any. */
const TAKEN_SHARE_MIN = 0.1;

/**
 * Where the kernel has completed handshakes and the server has accepted hardly any of them, by its
 * own count of connections or files; null where it has, or where it is not known.
 */
export function unacceptedLimit(run: Run, stage: Stage): Limit | null {
  const now = stage.serverSamples.at(-1)?.figures;
  const before = run.watch?.baseline?.figures;
  const held = run.held;
  if (now === undefined || before === undefined || held < HELD_MIN) return null;
  const taken = growth(before.connections, now.connections) ?? growth(before.fds, now.fds);
  if (taken === null || taken >= held * TAKEN_SHARE_MIN) return null;
  return {
    kind: "accept-rate",
    party: "server",
    confidence: "certain",
    text:
      `the server has accepted ${formatCount(Math.max(0, taken))} of ` +
      `${formatCount(held)} connections; the others wait in the kernel's queue`,
    evidence: [],
    advice: "see whether the server is stopped or blocked, and whether all its workers are watched",
  };
}

function growth(before: number | null, now: number | null): number | null {
  return before === null || now === null ? null : now - before;
}

function levelEvidence(
  run: Run,
  stage: Stage,
  report: StageReport,
  missed: readonly ThresholdResult[],
): Evidence {
  const { connect } = stage.tally.counts;
  const seconds = stage.connectMs / 1_000;
  const states = run.generators.states;
  const isChoosing = states.some((state) => state?.sourcesFree != null);
  return {
    connections: {
      intended: stage.intended,
      held: report.connections.held,
      heldBefore: stage.heldBefore,
    },
    attempts: {
      scheduled: connect.scheduled,
      started: connect.started,
      succeeded: connect.succeeded,
    },
    connectsPerSecond:
      seconds === 0
        ? null
        : { asked: stage.connectPerSecond, reached: connect.succeeded / seconds },
    connectMs: report.latencies.connectService ?? null,
    failures: report.failures,
    deaths: report.deaths,
    missed,
    isLocal: run.isLocal,
    server:
      run.watch === null ? null : { before: stage.serverBefore, samples: stage.serverSamples },
    host: hostEvidence(run, stage),
    generator: {
      fds: run.generators.sum((state) => state.fds ?? 0),
      fdLimit: run.host.fileLimit === null ? null : run.host.fileLimit.soft * states.length,
      sourcesFree: isChoosing ? run.generators.sum((state) => state.sourcesFree ?? 0) : null,
      boundReasons: [],
    },
  };
}

function hostEvidence(run: Run, stage: Stage): HostEvidence {
  const host = readHost();
  const drops = run.isLocal ? readListenDrops() : null;
  const before = stage.listenBefore;
  const isCounted = drops !== null && before !== null;
  return {
    memoryAvailableBytes: stage.memoryAvailableBytes,
    memoryTotalBytes: host.memoryTotalBytes,
    memoryMaxBytes: host.memoryLimitBytes,
    listenOverflows: isCounted ? drops.overflows - before.overflows : null,
    listenDrops: isCounted ? drops.drops - before.drops : null,
    conntrackCount: host.conntrackCount,
    conntrackMax: host.conntrackMax,
  };
}
