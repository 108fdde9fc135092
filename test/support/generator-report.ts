// What a generator might have reported.

import type { GeneratorReport } from "../../src/probe/generator-messages.ts";
import { noCounts, noDeliveries, noFaults } from "../../src/probe/generator-tally.ts";

/** A quiet second with five connections, unless told otherwise. */
export function generatorReport(changes: Partial<GeneratorReport> = {}): GeneratorReport {
  return {
    index: 0,
    stage: 0,
    isLast: false,
    fromMs: 0,
    toMs: 1_000,
    counts: noCounts(),
    deliveries: noDeliveries(),
    failures: {},
    deaths: {},
    histograms: {},
    state: {
      held: 5,
      ...noFaults(),
      connecting: 0,
      returning: 0,
      connectedAtMs: 0,
      waiting: 0,
      published: [],
      toCome: { connect: 0, echo: 0, publish: 0, churn: 0 },
      loopUtilisation: 0.1,
      cpuMs: 10,
      rssBytes: 1_000,
      fds: 10,
      sourcesFree: null,
    },
    ...changes,
  };
}
