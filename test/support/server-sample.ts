// What a watch might have seen of a server's processes.

import type { ProcessSample } from "../../src/probe/process-sample.ts";
import type { FailedSource, ServerSample } from "../../src/probe/server-watch.ts";

/** A healthy process with 4,000 connections, unless told otherwise. */
export function processSample(changes: Partial<ProcessSample> = {}): ProcessSample {
  return {
    source: "http://127.0.0.1:7402/stats",
    pid: 4711,
    atMs: 0,
    rssBytes: 80 * 1_048_576,
    cpuMs: 1_000,
    cpuCores: 0.2,
    fds: 4_020,
    fdLimit: 20_000,
    connections: 4_000,
    connectionsMax: 18_000,
    loopLagP99Ms: 2,
    state: "serving",
    isAccepting: true,
    backlogged: 0,
    refused: 0,
    turnedAway: 0,
    closedByReason: null,
    ...changes,
  };
}

export function serverSample(
  atMs: number,
  processes: readonly ProcessSample[],
  failed: readonly FailedSource[] = [],
): ServerSample {
  const lags = processes.map(({ loopLagP99Ms }) => loopLagP99Ms ?? 0);
  const figures = {
    processes: processes.length,
    rssBytes: processes.reduce((total, { rssBytes }) => total + (rssBytes ?? 0), 0),
    cpuCores: null,
    fds: null,
    fdLimit: null,
    connections: null,
    loopLagP99Ms: Math.max(0, ...lags),
    bytesPerConnection: null,
  };
  return { atMs, processes, failed, figures };
}
