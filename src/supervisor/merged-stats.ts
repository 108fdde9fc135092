// The /stats of many processes as one: what can be added is, and of the rest the worst is shown.
// Counters of workers that have gone, or do not answer, are in it, so that no sum ever falls.

import type { LoopReport } from "../server/loop-report.ts";
import type { StatsReport } from "../server/stats.ts";

type Counts = Readonly<Record<string, number>>;

/** What only rises while a process lives, and is kept when it has gone. */
export interface StatsCounters {
  readonly totals: Counts;
  readonly closedByReason: Counts;
  readonly cpuMicros: { readonly user: number; readonly system: number };
  readonly lagMaxMs: number;
  readonly stalls: number;
  /** Without its gauges. */
  readonly native: Counts | null;
}

export const NO_COUNTERS: StatsCounters = {
  totals: {},
  closedByReason: {},
  cpuMicros: { user: 0, system: 0 },
  lagMaxMs: 0,
  stalls: 0,
  native: null,
};

const NATIVE_GAUGES: readonly (keyof LoopReport)[] = ["queueBytes", "queues", "sockets"];

export function countersOf(report: StatsReport): StatsCounters {
  const { totals, closedByReason, cpuMicros, loop } = report;
  const native =
    report.native === null
      ? null
      : Object.fromEntries(
          Object.entries(report.native).map(([name, value]) => {
            return [name, (NATIVE_GAUGES as readonly string[]).includes(name) ? 0 : value];
          }),
        );
  const { lagMaxMs, stalls } = loop;
  return { totals, closedByReason, cpuMicros, lagMaxMs, stalls, native };
}

export function addCounters(a: StatsCounters, b: StatsCounters): StatsCounters {
  return {
    totals: added([a.totals, b.totals]),
    closedByReason: added([a.closedByReason, b.closedByReason]),
    cpuMicros: {
      user: a.cpuMicros.user + b.cpuMicros.user,
      system: a.cpuMicros.system + b.cpuMicros.system,
    },
    lagMaxMs: Math.max(a.lagMaxMs, b.lagMaxMs),
    stalls: a.stalls + b.stalls,
    native:
      a.native === null || b.native === null ? (a.native ?? b.native) : added([a.native, b.native]),
  };
}

/** What a process that serves no connections says of itself. */
export type OwnStats = Pick<
  StatsReport,
  | "arrayBuffersBytes"
  | "cpuMicros"
  | "externalBytes"
  | "fdLimit"
  | "fds"
  | "heapUsedBytes"
  | "node"
  | "nodeVersion"
  | "pid"
  | "readiness"
  | "rssBytes"
  | "schema"
  | "state"
  | "uptimeMs"
  | "version"
>;

/**
 * @param own of the process that answers; its memory and CPU time are added.
 * @param workers of those that answered.
 * @param others counters of those that did not, or have gone.
 */
export function mergedStats(
  own: OwnStats,
  workers: readonly StatsReport[],
  others: StatsCounters,
): StatsReport {
  const sum = (value: (report: StatsReport) => number): number =>
    workers.reduce((total, report) => total + value(report), 0);
  const counts = workers.map(countersOf).reduce(addCounters, others);
  const gauges = nativeGauges(workers);
  return {
    ...own,
    ...tightest([own, ...workers]),
    rssBytes: own.rssBytes + sum(({ rssBytes }) => rssBytes),
    heapUsedBytes: own.heapUsedBytes + sum(({ heapUsedBytes }) => heapUsedBytes),
    externalBytes: own.externalBytes + sum(({ externalBytes }) => externalBytes),
    arrayBuffersBytes: own.arrayBuffersBytes + sum(({ arrayBuffersBytes }) => arrayBuffersBytes),
    cpuMicros: {
      user: own.cpuMicros.user + counts.cpuMicros.user,
      system: own.cpuMicros.system + counts.cpuMicros.system,
    },
    connections: {
      total: sum(({ connections }) => connections.total),
      max: sum(({ connections }) => connections.max),
      byState: added(workers.map(({ connections }) => connections.byState)),
      byTransport: added(workers.map(({ connections }) => connections.byTransport)),
    },
    rates: added(workers.map(({ rates }) => rates)) as StatsReport["rates"],
    totals: counts.totals,
    closedByReason: counts.closedByReason,
    queue: added(workers.map(({ queue }) => queue)) as StatsReport["queue"],
    memory: added(workers.map(({ memory }) => memory)) as StatsReport["memory"],
    topics: {
      count: Math.max(0, ...workers.map(({ topics }) => topics.count)),
      subscriptions: sum(({ topics }) => topics.subscriptions),
      backlog: sum(({ topics }) => topics.backlog),
    },
    loop: {
      lagP99Ms: Math.max(0, ...workers.map(({ loop }) => loop.lagP99Ms)),
      lagMaxMs: counts.lagMaxMs,
      stalls: counts.stalls,
    },
    listeners: listenersOf(workers),
    native: counts.native === null ? null : ({ ...counts.native, ...gauges } as LoopReport),
    admission: {
      accepting: workers.length > 0 && workers.every(({ admission }) => admission.accepting),
      served: sum(({ admission }) => admission.served),
      turnedAway: sum(({ admission }) => admission.turnedAway),
    },
  };
}

/** Of the process that is nearest to its limit of files. */
function tightest(
  processes: readonly Pick<StatsReport, "fds" | "fdLimit">[],
): Pick<StatsReport, "fds" | "fdLimit"> {
  const share = ({ fds, fdLimit }: Pick<StatsReport, "fds" | "fdLimit">): number =>
    (fds ?? 0) / (fdLimit ?? Infinity);
  const { fds, fdLimit } = processes.reduce((a, b) => (share(b) > share(a) ? b : a));
  return { fds, fdLimit };
}

/** Workers listen on the same addresses: each is one listener. */
function listenersOf(workers: readonly StatsReport[]): StatsReport["listeners"] {
  const byKey = new Map(
    workers
      .flatMap(({ listeners }) => listeners)
      .map((listener) => [JSON.stringify(listener), listener] as const),
  );
  const all = [...byKey.values()];
  // One that is not listening at the moment says nothing that another does not.
  return all.filter(
    ({ name, address }) =>
      address !== null || !all.some((other) => other.name === name && other.address !== null),
  );
}

function nativeGauges(workers: readonly StatsReport[]): Counts {
  const entries = NATIVE_GAUGES.map((name) => {
    return [name, workers.reduce((sum, { native }) => sum + (native?.[name] ?? 0), 0)] as const;
  });
  return Object.fromEntries(entries);
}

/** Sums by name, in the order of the first that has a name. */
function added(all: readonly Counts[]): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const counts of all) {
    for (const [name, value] of Object.entries(counts)) sums[name] = (sums[name] ?? 0) + value;
  }
  return sums;
}
