// A generator in the test's own process, against real sockets, and what it has reported so far.

import { type Clock, machineClock } from "../../src/base/clock.ts";
import { Generator } from "../../src/probe/generator.ts";
import type {
  ArrivalPlan,
  GeneratorReport,
  GeneratorSetup,
  ScheduledKind,
} from "../../src/probe/generator-messages.ts";
import { Tally } from "../../src/probe/run-tally.ts";
import {
  chooseTransport,
  probeNetwork,
  type ProbeTransport,
} from "../../src/probe/probe-network.ts";
import { parseTargets, resolveTargets } from "../../src/probe/target.ts";

const HEALTH = { loopUtilisation: 0.1, cpuMs: 1, rssBytes: 1, fds: 1 };
const NO_FAULTS = { slowReader: 0, halfOpen: 0, churnPerSecond: 0 };

/** Of one generator alone, with an echo of 32 bytes, unless told otherwise. */
export async function generatorSetup(
  endpoints: readonly string[],
  changes: Partial<GeneratorSetup> = {},
): Promise<GeneratorSetup> {
  return {
    index: 0,
    sourceStart: 0,
    generators: 1,
    seed: 7,
    protocol: "holdfast",
    targets: await resolveTargets(parseTargets(endpoints)),
    sources: null,
    traffic: "echo",
    payloadBytes: 32,
    connectTimeoutMs: 2_000,
    operationTimeoutMs: 2_000,
    token: "",
    isInsecure: false,
    transport: GeneratorBench.transport,
    topics: 1,
    faults: NO_FAULTS,
    isReturning: false,
    ...changes,
  };
}

export class GeneratorBench {
  /** Of every bench that is started from now on. */
  static transport: ProbeTransport = chooseTransport("auto");
  readonly clock: Clock;
  readonly generator: Generator;
  readonly reports: GeneratorReport[] = [];
  /** Everything that was reported. */
  readonly total: Tally = new Tally();

  private constructor(setup: GeneratorSetup, clock: Clock) {
    this.clock = clock;
    this.generator = new Generator(
      setup,
      probeNetwork(setup.transport, setup.isInsecure, clock),
      clock,
      () => HEALTH,
      (report) => {
        this.reports.push(report);
        this.total.add(report);
      },
    );
  }

  /** @param atEnd takes what stops it: the running test's onTestFinished. */
  static async start(
    endpoints: readonly string[],
    changes: Partial<GeneratorSetup>,
    atEnd: (stop: () => void) => void,
    clock: Clock = machineClock(),
  ): Promise<GeneratorBench> {
    const bench = new GeneratorBench(await generatorSetup(endpoints, changes), clock);
    atEnd(() => bench.generator.stop());
    return bench;
  }

  /** So many, evenly over this time from now. */
  schedule(kind: ScheduledKind, count: number, durationMs: number): void {
    const perSecond = (count * 1_000) / durationMs;
    const plan: ArrivalPlan = {
      kind,
      arrival: "constant",
      segments: [{ durationMs, fromPerSecond: perSecond, toPerSecond: perSecond }],
      startAtMs: this.clock.now(),
      countMax: count,
      stripe: { index: 0, count: 1 },
    };
    this.generator.addArrivals(plan);
  }

  /** Opens so many and waits until they are held. */
  async hold(count: number): Promise<void> {
    this.schedule("connect", count, 20);
    await this.until(() => this.report().held === count);
  }

  /** Asks for a report now, and says where things stand. */
  report(): GeneratorReport["state"] {
    this.generator.beginStage(this.reports.at(-1)?.stage ?? -1);
    return this.reports.at(-1)!.state;
  }

  async until(holds: () => boolean): Promise<void> {
    const deadline = performance.now() + 5_000;
    while (!holds()) {
      if (performance.now() > deadline) throw new Error("it did not come about");
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}
