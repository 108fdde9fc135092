// What all generators have reported, added up: by stage for the verdicts, by second for the charts
// and for thresholds with windows.

import type { DeathCount, FailureCount } from "./report.ts";
import { failureFacts } from "./failure.ts";
import type { DeliveryCounts, GeneratorReport, OperationCounts } from "./generator-messages.ts";
import { noCounts, noDeliveries } from "./generator-tally.ts";
import { type HistogramPairs, LatencyHistogram } from "./histogram.ts";
import { LATENCY_NAMES, type LatencyName, type OperationKind } from "./report.ts";

type Counts = Record<OperationKind, OperationCounts>;

/** In less time than this, one turn of the loop would look like work without end. */
const BUSY_MS_MIN = 500;

/** One process within one stage. */
interface ProcessTally {
  busyMs: number;
  wallMs: number;
  cpuMs: number;
}

/** Sums of one stage, or of a whole run. */
export class Tally {
  readonly counts: Counts = noCounts();
  readonly deliveries: DeliveryCounts = noDeliveries();
  readonly failures: Record<string, number> = {};
  readonly deaths: Record<string, number[]> = {};
  readonly #histograms: Map<LatencyName, LatencyHistogram> = new Map();
  readonly #processes: Map<number, ProcessTally> = new Map();

  add(report: GeneratorReport): void {
    addOperations(this.counts, report.counts);
    addDeliveries(this.deliveries, report.deliveries);
    for (const [code, count] of Object.entries(report.failures)) {
      this.failures[code] = (this.failures[code] ?? 0) + count;
    }
    for (const [code, ages] of Object.entries(report.deaths)) {
      const sums = (this.deaths[code] ??= ages.map(() => 0));
      for (const [index, count] of ages.entries()) sums[index]! += count;
    }
    for (const name of LATENCY_NAMES) {
      const pairs = report.histograms[name];
      if (pairs !== undefined) this.histogram(name).addPairs(pairs);
    }
    this.#addProcess(report);
  }

  /** Empty where nothing was recorded. */
  histogram(name: LatencyName): LatencyHistogram {
    let histogram = this.#histograms.get(name);
    if (histogram === undefined) {
      histogram = new LatencyHistogram();
      this.#histograms.set(name, histogram);
    }
    return histogram;
  }

  get deathCount(): number {
    let total = 0;
    for (const ages of Object.values(this.deaths)) for (const count of ages) total += count;
    return total;
  }

  get failureCount(): number {
    return Object.values(this.failures).reduce((total, count) => total + count, 0);
  }

  /** Of the busiest process, 0 to 1. */
  get loopUtilisation(): number {
    let busiest = 0;
    for (const { busyMs, wallMs } of this.#processes.values()) {
      if (wallMs >= BUSY_MS_MIN) busiest = Math.max(busiest, busyMs / wallMs);
    }
    return busiest;
  }

  /** Over all processes, while they were in this stage. */
  get cpuCores(): number {
    let cores = 0;
    for (const { cpuMs, wallMs } of this.#processes.values()) {
      if (wallMs > 0) cores += cpuMs / wallMs;
    }
    return cores;
  }

  /**
   * From here on, or until it is taken back, the generators rest: how busy they are then would hide
   * how busy they were.
   */
  isResting: boolean = false;

  #addProcess(report: GeneratorReport): void {
    if (this.isResting) return;
    const { index, fromMs, toMs, state } = report;
    const tally = this.#processes.get(index) ?? { busyMs: 0, wallMs: 0, cpuMs: 0 };
    this.#processes.set(index, tally);
    tally.wallMs += toMs - fromMs;
    tally.busyMs += (toMs - fromMs) * state.loopUtilisation;
    tally.cpuMs += state.cpuMs;
  }
}

function addOperations(into: Counts, more: GeneratorReport["counts"]): void {
  for (const kind of ["connect", "echo", "publish"] as const) {
    into[kind].scheduled += more[kind].scheduled;
    into[kind].started += more[kind].started;
    into[kind].succeeded += more[kind].succeeded;
    into[kind].failed += more[kind].failed;
  }
}

function addDeliveries(into: DeliveryCounts, more: DeliveryCounts): void {
  into.received += more.received;
  into.missed += more.missed;
  into.announced += more.announced;
  into.duplicates += more.duplicates;
}

/** For a report: the codes with what they stand for, most frequent first. */
export function failureCounts(failures: Readonly<Record<string, number>>): FailureCount[] {
  return Object.entries(failures)
    .map(([code, count]) => {
      const { phase, cause, party } = failureFacts(code);
      return { code, phase, cause, party, count };
    })
    .sort((a, b) => b.count - a.count || (a.code < b.code ? -1 : 1));
}

export function deathCounts(deaths: Readonly<Record<string, readonly number[]>>): DeathCount[] {
  return Object.entries(deaths)
    .map(([code, byAge]) => {
      const count = byAge.reduce((total, part) => total + part, 0);
      return { code, party: failureFacts(code).party, count, byAge };
    })
    .sort((a, b) => b.count - a.count || (a.code < b.code ? -1 : 1));
}

/** One second of all generators. */
export interface Second {
  readonly counts: Counts;
  readonly deliveries: DeliveryCounts;
  failures: number;
  deaths: number;
  readonly latencies: Map<LatencyName, HistogramPairs[]>;
  /** By process: its last state within the second. */
  readonly held: Map<number, number>;
  readonly rssBytes: Map<number, number>;
  loopUtilisation: number;
  stage: number;
}

/** What was reported, by the second in which it was. */
export class SecondTally {
  readonly #startMs: number;
  readonly #seconds: Second[] = [];
  /** Seconds before this one have their histograms merged: reports come in order, hardly late. */
  #merged: number = 0;

  constructor(startMs: number) {
    this.#startMs = startMs;
  }

  add(report: GeneratorReport): void {
    const index = Math.max(0, Math.floor((report.toMs - this.#startMs - 1) / 1_000));
    const second = this.#at(index);
    addOperations(second.counts, report.counts);
    addDeliveries(second.deliveries, report.deliveries);
    for (const count of Object.values(report.failures)) second.failures += count;
    for (const ages of Object.values(report.deaths)) {
      for (const count of ages) second.deaths += count;
    }
    for (const name of LATENCY_NAMES) {
      const pairs = report.histograms[name];
      if (pairs === undefined) continue;
      const parts = second.latencies.get(name);
      if (parts === undefined) second.latencies.set(name, [pairs]);
      else parts.push(pairs);
    }
    second.held.set(report.index, report.state.held);
    second.rssBytes.set(report.index, report.state.rssBytes);
    second.loopUtilisation = Math.max(second.loopUtilisation, report.state.loopUtilisation);
    second.stage = Math.max(second.stage, report.stage);
    while (this.#merged < index - 3) merge(this.#at(this.#merged++));
  }

  /** By second; there may be holes filled with nothing where nobody reported. */
  get seconds(): readonly Second[] {
    return this.#seconds;
  }

  /** The last whole second before `nowMs`; null at the start. */
  recent(nowMs: number): Second | null {
    return this.#seconds[Math.floor((nowMs - this.#startMs) / 1_000) - 1] ?? null;
  }

  #at(index: number): Second {
    while (this.#seconds.length <= index) this.#seconds.push(newSecond());
    return this.#seconds[index]!;
  }
}

function newSecond(): Second {
  return {
    counts: noCounts(),
    deliveries: noDeliveries(),
    failures: 0,
    deaths: 0,
    latencies: new Map(),
    held: new Map(),
    rssBytes: new Map(),
    loopUtilisation: 0,
    stage: -1,
  };
}

function merge(second: Second): void {
  for (const [name, parts] of second.latencies) {
    if (parts.length < 2) continue;
    second.latencies.set(name, [merged(parts).takePairs()]);
  }
}

/** One histogram of all these. */
export function merged(parts: readonly HistogramPairs[]): LatencyHistogram {
  const histogram = new LatencyHistogram();
  for (const pairs of parts) histogram.addPairs(pairs);
  return histogram;
}
