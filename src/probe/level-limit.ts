// The evidence of a level that failed, gathered from all who saw something of it.

import { readHost, readListenDrops } from "./host.ts";
import { classifyLimit } from "./limit.ts";
import type { Evidence, HostEvidence } from "./limit-evidence.ts";
import type { Limit, StageReport, ThresholdResult } from "./report.ts";
import type { Run, Stage } from "./run.ts";

/** Why this level did not hold. */
export function levelLimit(
  run: Run,
  stage: Stage,
  report: StageReport,
  missed: readonly ThresholdResult[],
): Limit {
  return classifyLimit(levelEvidence(run, stage, report, missed));
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
