// What a generator has counted since its last report.

import type { FailureCode } from "./failure.ts";
import type {
  DeliveryCounts,
  FaultCounts,
  GeneratorReport,
  OperationCounts,
} from "./generator-messages.ts";
import { type HistogramPairs, LatencyHistogram } from "./histogram.ts";
import { DEATH_AGES_MS, LATENCY_NAMES, type LatencyName, type OperationKind } from "./report.ts";

/** Different codes of one process. */
const CODES_MAX = 256;

type TallyPart = Pick<
  GeneratorReport,
  "counts" | "deliveries" | "failures" | "deaths" | "histograms"
>;

export class GeneratorTally {
  counts: Record<OperationKind, OperationCounts> = noCounts();
  deliveries: DeliveryCounts = noDeliveries();
  #failures: Record<string, number> = {};
  #deaths: Record<string, number[]> = {};
  /** Codes that were counted in this run. */
  readonly #codes: Set<string> = new Set();
  readonly #histograms: ReadonlyMap<LatencyName, LatencyHistogram> = new Map(
    LATENCY_NAMES.map((name) => [name, new LatencyHistogram()]),
  );

  histogram(name: LatencyName): LatencyHistogram {
    return this.#histograms.get(name)!;
  }

  failed(given: FailureCode, count: number = 1): void {
    const code = this.#bounded(given);
    this.#failures[code] = (this.#failures[code] ?? 0) + count;
  }

  died(code: FailureCode, ageMs: number): void {
    const ages = (this.#deaths[this.#bounded(code)] ??= new Array<number>(
      DEATH_AGES_MS.length + 1,
    ).fill(0));
    ages[deathAge(ageMs)]!++;
  }

  /**
   * A server may send any number as a code: beyond so many different ones, the number is dropped
   * and the name counts alone.
   */
  #bounded(code: FailureCode): string {
    if (this.#codes.has(code)) return code;
    if (this.#codes.size < CODES_MAX) {
      this.#codes.add(code);
      return code;
    }
    return code.split(".", 2).join(".");
  }

  /** Everything since the last take. */
  take(): TallyPart {
    const histograms: Partial<Record<LatencyName, HistogramPairs>> = {};
    for (const [name, histogram] of this.#histograms) {
      if (histogram.count > 0) histograms[name] = histogram.takePairs();
    }
    const taken = {
      counts: this.counts,
      deliveries: this.deliveries,
      failures: this.#failures,
      deaths: this.#deaths,
      histograms,
    };
    this.counts = noCounts();
    this.deliveries = noDeliveries();
    this.#failures = {};
    this.#deaths = {};
    return taken;
  }
}

/** Index of the first age in DEATH_AGES_MS that is not exceeded, or one past the last. */
function deathAge(ageMs: number): number {
  const index = DEATH_AGES_MS.findIndex((age) => ageMs <= age);
  return index === -1 ? DEATH_AGES_MS.length : index;
}

export function noCounts(): Record<OperationKind, OperationCounts> {
  const none = (): OperationCounts => ({ scheduled: 0, started: 0, succeeded: 0, failed: 0 });
  return { connect: none(), echo: none(), publish: none() };
}

export function noDeliveries(): DeliveryCounts {
  return { received: 0, missed: 0, announced: 0, duplicates: 0 };
}

export function noFaults(): FaultCounts {
  return { slowReaders: 0, halfOpen: 0, faultyEnded: 0, churned: 0, moved: 0 };
}
