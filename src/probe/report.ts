// What a run found out, as one JSON document: `--json` prints it, everything else renders it. The
// schema's name changes when a field changes its meaning or goes; new fields do not change it.
// docs/probe-report.md describes it. Times are milliseconds unless a name says otherwise; `atMs`,
// `fromMs` and `toMs` count from the start of the run.

import type { Party, Phase } from "./failure.ts";
import type { ProbeTransport } from "./probe-network.ts";

export const REPORT_SCHEMA = "holdfast-probe.report/1";

export interface Report {
  readonly schema: typeof REPORT_SCHEMA;
  readonly command: "capacity" | "load" | "scenario";
  /** The result in one sentence. */
  readonly sentence: string;
  readonly outcome: Outcome;
  /** What the command exits with. */
  readonly exitCode: number;
  /** What limited the run; null where nothing did. */
  readonly limit: Limit | null;
  /** Only with `capacity`. */
  readonly capacity: CapacityResult | null;
  /** Only with `load`, and with `scenario`, where no baseline is asked for. */
  readonly load: LoadResult | null;
  readonly environment: Environment;
  readonly stages: readonly StageReport[];
  /** One point a second. */
  readonly series: readonly SeriesPoint[];
  /** All failures of the run. */
  readonly failures: readonly FailureCount[];
  /** Connections that ended although nobody here ended them, by age. */
  readonly deaths: readonly DeathCount[];
  readonly server: ServerSummary | null;
  /** Who holds this machine's memory; null where the server is elsewhere, or it is not known. */
  readonly memory: MemorySummary | null;
}

interface CodeRow {
  readonly exitCode: number;
  readonly meaning: string;
}

/** What a run came to, and what the command exits with. */
export const OUTCOME_TABLE = {
  passed: { exitCode: 0, meaning: "The question was answered, and what was demanded holds." },
  error: { exitCode: 1, meaning: "The probe failed: a defect." },
  "generator-bound": {
    exitCode: 90,
    meaning: "The probe itself was the limit: no verdict on the server.",
  },
  "no-convergence": {
    exitCode: 91,
    meaning: "What the search found did not hold when it was confirmed.",
  },
  unreachable: { exitCode: 92, meaning: "Nothing could be connected at the first level." },
  regression: { exitCode: 93, meaning: "Worse than the baseline." },
  failed: { exitCode: 99, meaning: "An objective, a threshold or --at-least was missed." },
  aborted: { exitCode: 105, meaning: "Interrupted by a signal; the report holds what there was." },
} as const;
export type Outcome = keyof typeof OUTCOME_TABLE;
export const OUTCOMES: readonly Outcome[] = Object.keys(OUTCOME_TABLE) as Outcome[];

/** Exit codes of a command that came to no outcome. */
export const OTHER_EXIT_CODES: Readonly<Record<"usage" | "invalid", CodeRow>> = {
  usage: { exitCode: 2, meaning: "The command line is wrong: nothing was started." },
  invalid: { exitCode: 104, meaning: "The value of an option is invalid: nothing was started." },
};

export function exitCodeOf(outcome: Outcome): number {
  return OUTCOME_TABLE[outcome].exitCode;
}

/** What can limit a run. */
export const LIMITS = {
  "server-files": "The server's RLIMIT_NOFILE.",
  "generator-files": "The probe's own RLIMIT_NOFILE.",
  backlog: "The kernel's queue of connections that wait to be accepted overflowed.",
  "accept-rate": "The server takes connections, or answers Hello or the upgrade, too slowly.",
  "server-memory": "Memory where the server runs.",
  "server-cpu": "The server's CPU: its event loop is busy all the time.",
  objective: "An objective was missed, and nothing else explains it.",
  policy: "The server said no: GoAway or close code, HTTP status.",
  ports: "The probe's local addresses and ports.",
  conntrack: "The kernel's table of tracked connections.",
  generator: "The probe was late or busy.",
  "server-died": "The server's process went away.",
  unknown: "Connections fail or end, and no evidence says why.",
} as const;
export type LimitKind = keyof typeof LIMITS;
export const LIMIT_KINDS: readonly LimitKind[] = Object.keys(LIMITS) as LimitKind[];

export interface Limit {
  readonly kind: LimitKind;
  readonly party: Party;
  /** "certain": a figure shows it. "likely": it fits what was seen from outside. */
  readonly confidence: "certain" | "likely";
  /** A clause such as `the server's file limit: 5,000 of 5,000 files in use`. */
  readonly text: string;
  /** What was looked at, for people. */
  readonly evidence: readonly string[];
  /** What to do about it, or to learn more; "" where there is nothing. */
  readonly advice: string;
}

export interface CapacityResult {
  /** Most connections at which every objective held; 0 where none did. */
  readonly connections: number;
  /** Fewest at which it did not; null where no level failed (`--max` was reached). */
  readonly failedAt: number | null;
  /** Connections of the confirmation (0.95 of the capacity); null where there was none. */
  readonly confirmed: { readonly connections: number; readonly holdMs: number } | null;
  readonly search: "exp" | "stairs";
  readonly maxReached: boolean;
}

export interface LoadResult {
  /** What was done to connections on purpose; null without `--fault`. */
  readonly faults: FaultFigures | null;
  readonly thresholds: readonly ThresholdResult[];
  readonly baseline: BaselineResult | null;
}

export interface FaultFigures {
  /** Connections that stopped reading, and that fell silent. */
  readonly slowReaders: number;
  readonly halfOpen: number;
  /** Of both: ended by the server, as far as the probe saw. */
  readonly ended: number;
  /** Closed by the probe, each with a new one in its place. */
  readonly churned: number;
}

export interface ThresholdResult {
  /** As it was written. */
  readonly text: string;
  readonly metric: string;
  /** null: the metric has no samples. */
  readonly actual: number | null;
  readonly limit: number;
  /** `ms`, `ratio`, `per_second` or `count`. */
  readonly unit: string;
  readonly passed: boolean;
  /** With `over`: where the worst window began. */
  readonly worstAtMs: number | null;
}

export interface BaselineResult {
  /** The file. */
  readonly file: string;
  readonly rows: readonly {
    readonly metric: string;
    readonly before: number;
    readonly now: number;
    /** now / before; null where before is 0. */
    readonly ratio: number | null;
    readonly isRegression: boolean;
  }[];
}

export interface Environment {
  readonly probeVersion: string;
  readonly nodeVersion: string;
  readonly kernel: string;
  readonly cpus: number;
  readonly memoryBytes: number;
  /** ISO 8601, of the start. */
  readonly startedAt: string;
  readonly durationMs: number;
  readonly argv: readonly string[];
  readonly seed: number;
  readonly targets: readonly string[];
  readonly protocol: "holdfast" | "raw";
  /** What carried all but TLS, which is node:tls's. */
  readonly transport: ProbeTransport;
  /** Kernel settings that bear on the result, by name. */
  readonly sysctls: Readonly<Record<string, string>>;
  readonly generatorProcesses: number;
  /** Files that one generator process may have open. */
  readonly generatorFileLimit: number | null;
  /** Local address and port pairs to one target; null where the kernel chooses. */
  readonly sourceTuples: number | null;
}

/** `ok`: all held. The others say why it did not, or why the stage counts neither way. */
export const STAGE_VERDICTS = [
  "ok",
  "missed",
  "wall",
  "scram",
  "generator-bound",
  "aborted",
] as const;
export type StageVerdict = (typeof STAGE_VERDICTS)[number];

export interface StageReport {
  readonly index: number;
  /**
   * `climb`, `verify`, `bisect`, `stairs`, `confirm`; `connect` or `load`; of a scenario `ramp`,
   * `hold`, `fault` or `recover`.
   */
  readonly kind: string;
  /** Such as `4,000` or `confirm 4,718` or `1m to 10k/s`. */
  readonly name: string;
  readonly fromMs: number;
  readonly toMs: number;
  readonly verdict: StageVerdict;
  readonly reasons: readonly string[];
  readonly connections: {
    readonly intended: number;
    /** At the end of the stage. */
    readonly held: number;
    /** Ended within the stage although nobody here ended them. */
    readonly deaths: number;
  };
  /** By kind of operation: `connect`, `echo`, `publish`. */
  readonly operations: Readonly<Partial<Record<OperationKind, OperationFigures>>>;
  /** Deliveries of published events; null where nothing was published. */
  readonly deliveries: DeliveryFigures | null;
  readonly latencies: Readonly<Partial<Record<LatencyName, LatencySummary>>>;
  readonly failures: readonly FailureCount[];
  readonly deaths: readonly DeathCount[];
  readonly generator: GeneratorFigures;
  readonly server: ServerFigures | null;
  /** At the end; null where the server is on another machine, or it is not known. */
  readonly memory: MemoryFigures | null;
}

export const OPERATION_KINDS = ["connect", "echo", "publish"] as const;
export type OperationKind = (typeof OPERATION_KINDS)[number];

export interface OperationFigures {
  /** Due by the schedule. */
  readonly scheduled: number;
  readonly started: number;
  readonly succeeded: number;
  readonly failed: number;
  /** Scheduled per second of the time in which any were scheduled. */
  readonly intendedPerSecond: number;
  /** Succeeded per second, from the first start to the last end. */
  readonly achievedPerSecond: number;
}

export interface DeliveryFigures {
  /** Events published, each times the subscribers of its topic. */
  readonly expected: number;
  readonly received: number;
  /** Sequence numbers that never came. */
  readonly missed: number;
  /** Of these, announced by the server with Gap. */
  readonly announced: number;
  readonly duplicates: number;
}

/**
 * `connect`: from the intended start to a connection that is ready for use. `connectService`: from
 * its real start. `lateness`: how late an echo or publish began, or one of ten ticks a second of
 * the probe's own loop: ours in any case. `service`: from its real start to the answer. `response`:
 * from its intended start to the answer. `delivery`: from the intended start of a publish to the
 * event at one subscriber.
 */
export const LATENCY_NAMES = [
  "connect",
  "connectService",
  "connectLateness",
  "lateness",
  "service",
  "response",
  "delivery",
] as const;
export type LatencyName = (typeof LATENCY_NAMES)[number];

/** Milliseconds; all zero where `count` is. */
export interface LatencySummary {
  readonly count: number;
  readonly min: number;
  readonly mean: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
  /** HdrHistogram V2, compressed, base64; recorded in microseconds. */
  readonly hdr: string;
}

export interface FailureCount {
  /** Such as `connect.refused` or `upgrade.status.403`. */
  readonly code: string;
  readonly phase: Phase;
  readonly cause: string;
  readonly party: Party;
  readonly count: number;
}

/** Upper bounds of the ages in which deaths are counted, in milliseconds. */
export const DEATH_AGES_MS = [
  100, 1_000, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000, 900_000, 3_600_000,
] as const;

export interface DeathCount {
  readonly code: string;
  readonly party: Party;
  readonly count: number;
  /** By {@link DEATH_AGES_MS}, with one more for what is older. */
  readonly byAge: readonly number[];
}

/** How the probe itself did; the worst of its processes where it is no sum. */
export interface GeneratorFigures {
  readonly processes: number;
  /** 0 to 1, of the busiest process. */
  readonly loopUtilisation: number;
  /** The worst of connects, echoes, publishes and the probe's own ticks, against its objective. */
  readonly latenessP99Ms: number;
  /** A tenth of the objective that is nearest to being spoilt. */
  readonly latenessLimitMs: number;
  /** Started of scheduled, 0 to 1. */
  readonly startedShare: number;
  /** Cores in use, over all processes. */
  readonly cpuCores: number;
  readonly rssBytes: number;
  /** Growth of resident memory per connection held; null below 5,000 connections. */
  readonly bytesPerConnection: number | null;
  readonly fds: number | null;
}

/** Sums over all the server's processes that are watched; null where a figure is not known. */
export interface ServerFigures {
  readonly processes: number;
  readonly rssBytes: number | null;
  readonly cpuCores: number | null;
  readonly fds: number | null;
  readonly fdLimit: number | null;
  readonly connections: number | null;
  /** The worst of all processes. */
  readonly loopLagP99Ms: number | null;
  /** (resident - resident before the first connection) / held. */
  readonly bytesPerConnection: number | null;
}

export interface SeriesPoint {
  readonly atMs: number;
  readonly stage: number;
  readonly intended: number;
  readonly held: number;
  readonly connectsPerSecond: number;
  readonly operationsScheduledPerSecond: number;
  readonly operationsPerSecond: number;
  readonly failures: number;
  readonly deaths: number;
  /** Over this second; null where there is no sample. */
  readonly responseP50Ms: number | null;
  readonly responseP99Ms: number | null;
  readonly serviceP50Ms: number | null;
  readonly connectP99Ms: number | null;
  readonly latenessP99Ms: number | null;
  readonly generatorLoopUtilisation: number;
  readonly generatorRssBytes: number;
  readonly server: ServerFigures | null;
}

export interface ServerSummary {
  /** What was asked: URLs and process ids. */
  readonly sources: readonly string[];
  /** Resident bytes before the first connection. */
  readonly baselineRssBytes: number | null;
  /** Slope of a line through (held, resident) of all stages that were ok; null below three. */
  readonly bytesPerConnection: MemoryLine | null;
}

/** Bytes of this machine's memory, by who holds them. */
export interface MemoryFigures {
  readonly kernel: {
    /** Whatever belongs neither to a process nor to a file and is not free. */
    readonly bytes: number;
    /** Of these: sockets, files and what else the kernel has many of. */
    readonly slabBytes: number | null;
    /** Of these: what TCP has sent or received and nobody has taken yet. */
    readonly tcpBufferBytes: number | null;
    /** Of this machine, both ends of a connection within it. */
    readonly tcpSockets: number | null;
  };
  /** null where its processes are not watched. */
  readonly server: ProcessMemory | null;
  /** Generators and the controller. */
  readonly probe: ProcessMemory;
}

export interface ProcessMemory {
  readonly processes: number;
  /** Resident, pages that several share counted in each. */
  readonly rssBytes: number;
  /** Resident, such pages divided among them. */
  readonly pssBytes: number;
}

/** Bytes per connection by least squares: the slope, and how well the line fits, 0 to 1. */
export interface MemoryLine {
  readonly slope: number;
  readonly r2: number;
}

export interface MemorySummary {
  /** Before the first connection. */
  readonly before: MemoryFigures;
  /** Over all stages that were ok but confirmations; null below three different numbers held. */
  readonly kernel: MemoryLine | null;
  readonly server: MemoryLine | null;
  /** Processes that were forked for more connections are in it. */
  readonly probe: MemoryLine | null;
}
