import { describe, expect, it } from "vitest";
import { GeneratorTally } from "../../src/probe/generator-tally.ts";
import { Tally } from "../../src/probe/run-tally.ts";
import { generatorReasons, worstLateness } from "../../src/probe/stage-report.ts";
import { parseThreshold, type Threshold } from "../../src/probe/threshold.ts";
import { generatorReport } from "../support/generator-report.ts";

interface Facts {
  readonly connectLateMs?: number;
  readonly lateMs?: number;
  readonly loop?: number;
  readonly scheduled?: number;
  readonly started?: number;
}

/** A stage in which every connect and every operation was so late. */
function tallyOf({ connectLateMs, lateMs, loop = 0.1, scheduled = 0, started }: Facts): Tally {
  const one = new GeneratorTally();
  for (let count = 0; count < 200; count++) {
    if (connectLateMs !== undefined) one.histogram("connectLateness").recordMs(connectLateMs);
    if (lateMs !== undefined) one.histogram("lateness").recordMs(lateMs);
  }
  one.counts.echo.scheduled = scheduled;
  one.counts.echo.started = started ?? scheduled;
  const report = generatorReport({ ...one.take() });
  const tally = new Tally();
  tally.add({ ...report, state: { ...report.state, loopUtilisation: loop } });
  return tally;
}

const objectives = (...texts: string[]): Threshold[] => texts.map(parseThreshold);

describe("lateness", () => {
  const late: Record<string, [string[], Facts, string | null]> = {
    "operations, a tenth of 250 ms without an objective": [[], { lateMs: 26 }, "25.0 ms"],
    "connects, a tenth of 250 ms without an objective": [[], { connectLateMs: 26 }, "25.0 ms"],
    "operations, a tenth of theirs": [["echo:p(99)<50ms"], { lateMs: 6 }, "5.0 ms"],
    "operations, within a tenth of theirs": [["echo:p(99)<50ms"], { lateMs: 4.9 }, null],
    "connects, a tenth of theirs": [["connect:p(99)<1s"], { connectLateMs: 101 }, "100.0 ms"],
    "connects, within a tenth of theirs": [["connect:p(99)<1s"], { connectLateMs: 99 }, null],
    "connects where only echoes have an objective": [
      ["echo:p(99)<10ms"],
      { connectLateMs: 500 },
      null,
    ],
    "the tightest of several": [
      ["echo:p(99)<50ms", "service:p(50)<=20ms"],
      { lateMs: 3 },
      "2.0 ms",
    ],
    "what must be more is no objective": [["echo:p(99)>1ms", "echo:count<5"], { lateMs: 24 }, null],
  };

  it.each(Object.entries(late))("is held against: %s", (_, [texts, facts, limit]) => {
    const reasons = generatorReasons(tallyOf(facts), objectives(...texts));
    if (limit === null) expect(reasons).toEqual([]);
    else expect(reasons.join()).toContain(`${limit} (a tenth of the objective) are allowed`);
  });

  it("is looked at as far out as the objective looks", () => {
    const one = new GeneratorTally();
    for (let count = 0; count < 1_999; count++) one.histogram("lateness").recordMs(1);
    one.histogram("lateness").recordMs(80);
    const tally = new Tally();
    tally.add(generatorReport({ ...one.take() }));
    expect(generatorReasons(tally, objectives("echo:p(99)<100ms"))).toEqual([]);
    expect(generatorReasons(tally, objectives("echo:p(99.99)<100ms"))).toHaveLength(1);
    expect(generatorReasons(tally, objectives("echo:max<100ms"))).toEqual([
      expect.stringMatching(/lateness max 80\.\d ms/),
    ]);
  });

  it("is the one that is nearest to its limit, not the longest", () => {
    const slo = objectives("connect:p(99)<1s", "echo:p(99)<50ms");
    const both = worstLateness(tallyOf({ connectLateMs: 40, lateMs: 3 }), slo);
    expect(both.p99Ms).toBeCloseTo(3, 1);
    expect(both.limitMs).toBeCloseTo(5);
  });

  it("is nothing where nothing was scheduled", () => {
    expect(worstLateness(tallyOf({}), [])).toEqual({ p99Ms: 0, limitMs: 25 });
  });
});

describe("a stage is bound by the generator", () => {
  it.each([
    ["it was late", { lateMs: 30 }, /late: lateness p99 30\.0 ms, 25\.0 ms .* are allowed/],
    ["it connected late", { connectLateMs: 26 }, /late: lateness p99 26\.0 ms/],
    ["it was busy", { loop: 0.81 }, /busy: its loop was in use 81% of the time/],
    ["it started too little", { scheduled: 1_000, started: 989 }, /started 98\.9% of what/],
  ])("because %s", (_, facts, reason) => {
    expect(generatorReasons(tallyOf(facts), [])).toEqual([expect.stringMatching(reason)]);
  });

  it.each([
    ["late at the limit", { lateMs: 24.9 }],
    ["busy at the limit", { loop: 0.8 }],
    ["99% started", { scheduled: 1_000, started: 990 }],
    ["so little scheduled that one missing is no share", { scheduled: 99, started: 90 }],
    ["nothing scheduled", {}],
  ])("not by %s", (_, facts) => {
    expect(generatorReasons(tallyOf(facts), [])).toEqual([]);
  });

  it("for several reasons at once, all of which are said", () => {
    const facts = { lateMs: 500, loop: 0.99, scheduled: 10_000, started: 5_000 };
    expect(generatorReasons(tallyOf(facts), [])).toHaveLength(3);
  });

  it("where connects alone were not all started, whatever echoes did", () => {
    const tally = tallyOf({ scheduled: 100_000 });
    tally.counts.connect.scheduled = 200;
    tally.counts.connect.started = 150;
    expect(generatorReasons(tally, [])).toEqual([expect.stringMatching(/started 75\.0%/)]);
  });
});
