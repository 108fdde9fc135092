// What is known about a level that failed, and the sums that the rules of limit.ts ask of it.

import type { ProcessSample } from "./process-sample.ts";
import {
  DEATH_AGES_MS,
  type DeathCount,
  type FailureCount,
  type LatencySummary,
  type Limit,
  type ThresholdResult,
} from "./report.ts";
import type { FailedSource, ServerSample } from "./server-watch.ts";

/** Of one level, from its first attempt to its end. */
export interface Evidence {
  readonly connections: {
    readonly intended: number;
    /** At the level's end. */
    readonly held: number;
    /** When it began. */
    readonly heldBefore: number;
  };
  readonly attempts: {
    readonly scheduled: number;
    readonly started: number;
    readonly succeeded: number;
  };
  /** While connections were opened; null where none were. */
  readonly connectsPerSecond: { readonly asked: number; readonly reached: number } | null;
  /** From an attempt's real start to a connection ready for use (`connectService`). */
  readonly connectMs: Pick<LatencySummary, "count" | "p50" | "p99" | "max"> | null;
  readonly failures: readonly FailureCount[];
  readonly deaths: readonly DeathCount[];
  /** Objectives that were missed. */
  readonly missed: readonly ThresholdResult[];
  /** Whether the server runs on this machine, so that `host` is its host too. */
  readonly isLocal: boolean;
  /** null: it is not watched. */
  readonly server: ServerEvidence | null;
  readonly host: HostEvidence;
  readonly generator: GeneratorEvidence;
}

export interface ServerEvidence {
  /** The last sample before the level, or the baseline. */
  readonly before: ServerSample | null;
  /** Those of the level, oldest first. */
  readonly samples: readonly ServerSample[];
}

/** This machine; null where a figure is not known. */
export interface HostEvidence {
  /** The least within the level. */
  readonly memoryAvailableBytes: number | null;
  readonly memoryTotalBytes: number | null;
  /** The limit of the control group that the server runs in. */
  readonly memoryMaxBytes: number | null;
  /** How much the kernel's counters ListenOverflows and ListenDrops rose within the level. */
  readonly listenOverflows: number | null;
  readonly listenDrops: number | null;
  readonly conntrackCount: number | null;
  readonly conntrackMax: number | null;
}

/** Sums over the generator processes. */
export interface GeneratorEvidence {
  readonly fds: number | null;
  readonly fdLimit: number | null;
  /** Local address and port pairs that are left; null where the kernel chooses them. */
  readonly sourcesFree: number | null;
  /** Why the level is bound by the generator; empty where it is not. */
  readonly boundReasons: readonly string[];
}

const CONNECT_PHASES: readonly string[] = ["dns", "connect", "tls", "upgrade", "hello"];
/** A connection that ends before was never really taken. */
const YOUNG_MS = 1_000;
/** Fewer than this are strays, as every network has them. */
const SIGNIFICANT_SHARE = 0.01;
/** So few count only where they are a tenth of all. */
const FEW = 3;
const FEW_SHARE = 0.1;
/** Less than this of the rate that was asked for: the server does not keep up. */
const RATE_KEPT_SHARE = 0.8;

/** The evidence with what the rules ask of it. */
export class Findings {
  readonly evidence: Evidence;
  /** Attempts that failed before the connection was ready. */
  readonly failedAttempts: number;
  /** Connections that ended within a second of being ready, and older ones. */
  readonly youngDeaths: number;
  readonly oldDeaths: number;
  /** Every process at every sample of the level. */
  readonly processes: readonly ProcessSample[];

  constructor(evidence: Evidence) {
    this.evidence = evidence;
    this.failedAttempts = sumOf(evidence.failures, ({ phase }) => CONNECT_PHASES.includes(phase));
    const young = evidence.deaths.map(youngOf);
    this.youngDeaths = young.reduce((total, count) => total + count, 0);
    this.oldDeaths = sumOf(evidence.deaths, () => true) - this.youngDeaths;
    this.processes = evidence.server?.samples.flatMap(({ processes }) => processes) ?? [];
  }

  /** Connections that were to be there and are not. */
  get lost(): number {
    return this.failedAttempts + this.youngDeaths + this.oldDeaths;
  }

  get isShort(): boolean {
    const { held, intended } = this.evidence.connections;
    return this.lost > 0 || held < intended;
  }

  /** Failures whose code is one of these, whatever its detail. */
  failed(...names: readonly string[]): number {
    return sumOf(this.evidence.failures, ({ code }) => names.includes(withoutDetail(code)));
  }

  /** Deaths younger than a second whose code is one of these. */
  diedYoung(...codes: readonly string[]): number {
    const these = this.evidence.deaths.filter(({ code }) => codes.includes(code));
    return these.map(youngOf).reduce((total, count) => total + count, 0);
  }

  /** Whether so many are more than strays among the level's attempts. */
  isManyAttempts(count: number): boolean {
    return isMany(count, this.evidence.attempts.started);
  }

  /** Whether so many are more than strays among what was held when the level began. */
  isManyHeld(count: number): boolean {
    return isMany(count, this.evidence.connections.heldBefore);
  }

  /** Handshakes of any kind that were waited for in vain. */
  get timeouts(): number {
    return this.failed("connect.timeout", "tls.timeout", "upgrade.timeout", "hello.timeout");
  }

  /**
   * The connect rate, as measured over a second or more, is well below what was asked, though not
   * because attempts failed at once.
   */
  get isRateLow(): boolean {
    const { connectsPerSecond, attempts } = this.evidence;
    if (connectsPerSecond === null) return false;
    if (this.isManyAttempts(this.failedAttempts - this.timeouts)) return false;
    const { asked, reached } = connectsPerSecond;
    // Few attempts end in a moment, and that moment is mostly waiting for the last.
    return reached < asked * RATE_KEPT_SHARE && attempts.succeeded >= reached;
  }

  /** Echoes of connections that are up were waited for in vain. */
  get areEchoesLost(): boolean {
    return this.isManyHeld(this.failed("echo.timeout", "publish.timeout"));
  }

  /** The level's rise of a counter, over all processes. */
  rise(counter: (process: ProcessSample) => number | null): number {
    const { server } = this.evidence;
    if (server === null) return 0;
    const first = server.before ?? server.samples[0];
    let total = 0;
    for (const process of server.samples.at(-1)?.processes ?? []) {
      const { source, pid } = process;
      const before = first?.processes.find((one) => one.source === source && one.pid === pid);
      const from = before === undefined ? null : counter(before);
      const to = counter(process);
      if (from !== null && to !== null) total += to - from;
    }
    return total;
  }

  /** For each source the sample at which `figure` was highest; null figures stay out. */
  worst(figure: (process: ProcessSample) => number | null): readonly ProcessSample[] {
    const bySource = new Map<string, ProcessSample>();
    for (const process of this.processes) {
      const value = figure(process);
      const known = bySource.get(process.source);
      if (value === null || (known !== undefined && figure(known)! >= value)) continue;
      bySource.set(process.source, process);
    }
    return [...bySource.values()].toSorted((a, b) => figure(b)! - figure(a)!);
  }

  /** Sources that gave no figures when the level ended, the first that went first. */
  get failedSources(): readonly FailedSource[] {
    return this.evidence.server?.samples.at(-1)?.failed ?? [];
  }

  /** What a source last said of itself. */
  lastOf(source: string): ProcessSample | null {
    const { before, samples } = this.evidence.server ?? { before: null, samples: [] };
    const all = [...(before === null ? [] : [before]), ...samples];
    const found = all.findLast(({ processes }) => processes.some((one) => one.source === source));
    return found?.processes.find((one) => one.source === source) ?? null;
  }
}

/**
 * Files that a process has open, or the least that they may be: what it counts may be a second old,
 * and each connection is a file. null where neither is known.
 */
export function filesOf({ fds, connections }: ProcessSample): number | null {
  return fds === null && connections === null ? null : Math.max(fds ?? 0, connections ?? 0);
}

/** `hello.refused.3004` -> `hello.refused`. */
export function withoutDetail(code: string): string {
  return code.split(".", 2).join(".");
}

/** The number behind a code's name; null where it has none. */
export function detailOf(code: string): number | null {
  const detail = code.split(".")[2];
  return detail === undefined ? null : Number(detail);
}

function youngOf({ byAge }: DeathCount): number {
  return byAge.reduce((total, count, index) => {
    const ageMs = DEATH_AGES_MS[index] ?? Number.POSITIVE_INFINITY;
    return ageMs <= YOUNG_MS ? total + count : total;
  }, 0);
}

function sumOf<Row extends { readonly count: number }>(
  rows: readonly Row[],
  fits: (row: Row) => boolean,
): number {
  return rows.reduce((total, row) => (fits(row) ? total + row.count : total), 0);
}

function isMany(count: number, all: number): boolean {
  return count >= (count < FEW ? FEW_SHARE : SIGNIFICANT_SHARE) * Math.max(1, all) && count > 0;
}

/** Says what the limit is, or null. Its evidence is what goes beyond limit-words.ts. */
export type Rule = (findings: Findings) => Limit | null;
