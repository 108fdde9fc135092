// What a controller and its generator processes say to each other. Nothing is said per connection:
// plans go out, sums and histograms come back a few times a second. Times are milliseconds of the
// machine's monotonic clock (base/clock, machineClock), on which all processes agree.

import type { HistogramPairs } from "./histogram.ts";
import type { LatencyName, OperationKind } from "./report.ts";
import type { Arrival, RateSegment } from "./schedule.ts";
import type { SourceRange } from "./source-addresses.ts";
import type { ProbeTransport } from "./probe-network.ts";
import type { Target } from "./target.ts";

export type Protocol = "holdfast" | "raw";
/** What messages do: echo calls; publishes to subscribers; nothing. */
export type Traffic = "echo" | "publish" | "none";

/** The whole of what a generator needs to know before it starts. Said once. */
export interface GeneratorSetup {
  /** Which of the processes this is, from 0. */
  readonly index: number;
  /** How many there will be where they publish to each other; 1 elsewhere. */
  readonly generators: number;
  readonly seed: number;
  readonly protocol: Protocol;
  readonly targets: readonly Target[];
  /** Local addresses and ports of this process; null: the kernel chooses. */
  readonly sources: readonly SourceRange[] | null;
  /** Where among them to begin. */
  readonly sourceStart: number;
  readonly traffic: Traffic;
  /** Bytes of an echo's or event's payload, 16 or more. */
  readonly payloadBytes: number;
  readonly connectTimeoutMs: number;
  readonly operationTimeoutMs: number;
  /** Hello's token; "" for none. */
  readonly token: string;
  /** Certificates are not verified. */
  readonly isInsecure: boolean;
  /** What carries all but TLS. */
  readonly transport: ProbeTransport;
  readonly topics: number;
  readonly faults: Faults;
  /**
   * Clients that lose their server come back, with backoff and jitter, until they are connected
   * again; told to go (GoAway), they use what they have until they are to come back, open a new
   * connection then, and let what is under way over the old one end.
   */
  readonly isReturning: boolean;
}

/** Shares are 0 to 1, drawn by the seed. */
export interface Faults {
  /** Connections that stop reading once they are up. */
  readonly slowReader: number;
  /** Connections that fall silent once they are up: they answer and send nothing more. */
  readonly halfOpen: number;
  /** Connections closed and opened again, per second, over all generators. */
  readonly churnPerSecond: number;
}

/** What is scheduled: an operation; or a held connection that makes room for a new one. */
export type ScheduledKind = OperationKind | "churn";

/** Arrivals of one kind of operation: this process's share of a schedule over all of them. */
export interface ArrivalPlan {
  readonly kind: ScheduledKind;
  readonly arrival: Arrival;
  /** Of all processes together; the first begins at {@link startAtMs}. */
  readonly segments: readonly RateSegment[];
  readonly startAtMs: number;
  /** Arrivals of this process at most; Infinity: until the segments end. */
  readonly countMax: number;
  /** This process takes the arrivals index, index + count, ... */
  readonly stripe: { readonly index: number; readonly count: number };
}

export type ToGenerator =
  | { readonly type: "setup"; readonly setup: GeneratorSetup }
  /** From here on everything counts for this stage. Answered by a report that ends the last one. */
  | { readonly type: "stage"; readonly stage: number }
  | { readonly type: "arrivals"; readonly plan: ArrivalPlan }
  /** Ends arrivals of a kind at once; what is under way goes on. */
  | { readonly type: "halt"; readonly kind: ScheduledKind }
  /** From now on these shares of the connections misbehave; those with an answer to come do not. */
  | { readonly type: "misbehave"; readonly faults: Pick<Faults, "slowReader" | "halfOpen"> }
  /** Closes connections, the youngest first, at most so many a second, until this many are left. */
  | { readonly type: "shrink"; readonly to: number; readonly perSecond: number }
  /** Sequence numbers that were published, by publisher and topic: what did not come was missed. */
  | { readonly type: "settle"; readonly published: readonly (readonly number[])[] }
  /** Close everything and end. */
  | { readonly type: "stop" };

export type FromGenerator =
  | { readonly type: "ready" }
  | { readonly type: "report"; readonly report: GeneratorReport }
  | { readonly type: "failed"; readonly message: string };

/** Everything since the last report, and where things stand. */
export interface GeneratorReport {
  readonly index: number;
  readonly stage: number;
  /** This one ends its stage. */
  readonly isLast: boolean;
  readonly fromMs: number;
  readonly toMs: number;
  readonly counts: Readonly<Record<OperationKind, OperationCounts>>;
  readonly deliveries: DeliveryCounts;
  /** Failed attempts and operations, by code. */
  readonly failures: Readonly<Record<string, number>>;
  /** Connections that ended without our doing: by code, then by age (DEATH_AGES_MS). */
  readonly deaths: Readonly<Record<string, readonly number[]>>;
  /** Microseconds. */
  readonly histograms: Readonly<Partial<Record<LatencyName, HistogramPairs>>>;
  readonly state: GeneratorState;
}

export interface OperationCounts {
  scheduled: number;
  started: number;
  succeeded: number;
  failed: number;
}

export interface DeliveryCounts {
  received: number;
  missed: number;
  announced: number;
  duplicates: number;
}

/** What the process uses: asked once per report, shares and times since the last. */
export interface GeneratorHealth {
  /** 0 to 1. */
  readonly loopUtilisation: number;
  readonly cpuMs: number;
  readonly rssBytes: number;
  readonly fds: number | null;
}

/** Since the start of the process. */
export interface FaultCounts {
  /** Made to misbehave, and of these ended by the server. */
  slowReaders: number;
  halfOpen: number;
  faultyEnded: number;
  /** Closed to make room for a new one. */
  churned: number;
  /** Told to go. */
  moved: number;
}

export interface GeneratorState extends GeneratorHealth, Readonly<FaultCounts> {
  readonly held: number;
  /** Attempts under way. */
  readonly connecting: number;
  /** Clients that lost their server, and are to try again. */
  readonly returning: number;
  /** When a connection became ready last, by the machine's clock; 0: never. */
  readonly connectedAtMs: number;
  /** Echoes and publishes under way. */
  readonly waiting: number;
  /** Highest sequence number published, by topic. */
  readonly published: readonly number[];
  /** Arrivals that are still to come, or due and not started. */
  readonly toCome: Readonly<Record<ScheduledKind, number>>;
  readonly sourcesFree: number | null;
}
