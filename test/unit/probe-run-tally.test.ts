import { describe, expect, it } from "vitest";
import { GeneratorTally } from "../../src/probe/generator-tally.ts";
import type { GeneratorReport } from "../../src/probe/generator-messages.ts";
import { DEATH_AGES_MS } from "../../src/probe/report.ts";
import {
  deathCounts,
  failureCounts,
  merged,
  SecondTally,
  Tally,
} from "../../src/probe/run-tally.ts";
import { generatorReport } from "../support/generator-report.ts";

describe("what a generator has counted", () => {
  it("is taken once, and everything begins anew", () => {
    const tally = new GeneratorTally();
    tally.counts.echo.started += 3;
    tally.deliveries.missed += 2;
    tally.failed("echo.timeout", 2);
    tally.failed("echo.timeout");
    tally.died("closed.fin", 0);
    tally.histogram("service").recordMs(5);
    const first = tally.take();
    expect(first.counts.echo.started).toBe(3);
    expect(first.deliveries.missed).toBe(2);
    expect(first.failures).toEqual({ "echo.timeout": 3 });
    expect(Object.keys(first.histograms)).toEqual(["service"]);
    const second = tally.take();
    expect(second.counts.echo.started + second.deliveries.missed).toBe(0);
    expect([second.failures, second.deaths, second.histograms]).toEqual([{}, {}, {}]);
  });

  it("has deaths by age, with borders included and one place for the oldest", () => {
    const tally = new GeneratorTally();
    for (const age of DEATH_AGES_MS) tally.died("closed.reset", age);
    tally.died("closed.reset", 100.5);
    tally.died("closed.reset", 10 * 3_600_000);
    const expected: number[] = DEATH_AGES_MS.map(() => 1);
    expected[1]!++;
    expect(tally.take().deaths).toEqual({ "closed.reset": [...expected, 1] });
  });
});

describe("sums over generators", () => {
  function report(changes: Partial<GeneratorReport>): GeneratorReport {
    return generatorReport(changes);
  }

  it("add up counts, failures, deaths and histograms", () => {
    const tally = new Tally();
    for (const index of [0, 1]) {
      const one = new GeneratorTally();
      one.counts.connect.succeeded = 10 + index;
      one.failed("connect.refused", 2);
      one.died("closed.fin", 50);
      one.histogram("connect").recordMs(10 * (index + 1));
      tally.add(report({ index, ...one.take() }));
    }
    expect(tally.counts.connect.succeeded).toBe(21);
    expect([tally.failureCount, tally.deathCount]).toEqual([4, 2]);
    expect(tally.histogram("connect").count).toBe(2);
    expect(tally.histogram("delivery").count).toBe(0);
  });

  it("take the loop of the busiest process and the cores of all, weighted by time", () => {
    const tally = new Tally();
    const part = (
      index: number,
      fromMs: number,
      toMs: number,
      share: number,
      cpuMs: number,
    ): void =>
      tally.add(
        report({
          index,
          fromMs,
          toMs,
          state: { ...report({}).state, loopUtilisation: share, cpuMs },
        }),
      );
    part(0, 0, 1_000, 0.2, 500);
    part(0, 1_000, 4_000, 0.6, 1_500);
    part(1, 0, 4_000, 0.1, 1_000);
    // One that was stopped for the length of a report has nothing to divide by.
    part(2, 0, 0, 1, 0);
    expect(tally.loopUtilisation).toBeCloseTo(0.5);
    expect(tally.cpuCores).toBeCloseTo(0.75);
  });

  it("are nothing at first, without a division by zero", () => {
    const tally = new Tally();
    expect([tally.loopUtilisation, tally.cpuCores, tally.failureCount, tally.deathCount]).toEqual([
      0, 0, 0, 0,
    ]);
  });
});

describe("seconds", () => {
  const at = (toMs: number, changes: Partial<GeneratorReport> = {}): GeneratorReport =>
    generatorReport({ fromMs: toMs - 250, toMs, ...changes });

  it("take a report into the second in which it ended, its border included", () => {
    const seconds = new SecondTally(10_000);
    for (const toMs of [10_250, 11_000, 11_001, 12_000]) seconds.add(at(toMs));
    expect(seconds.seconds).toHaveLength(2);
    expect(seconds.seconds.map(({ held }) => [...held.values()])).toEqual([[5], [5]]);
    // A clock that is a little behind says nothing of a second before the first.
    seconds.add(at(9_999));
    expect(seconds.seconds).toHaveLength(2);
  });

  it("in which nobody reported stand empty between the others", () => {
    const seconds = new SecondTally(0);
    seconds.add(at(500));
    seconds.add(at(5_500));
    expect(seconds.seconds).toHaveLength(6);
    expect(seconds.seconds[3]).toMatchObject({ failures: 0, deaths: 0, stage: -1 });
    expect(seconds.recent(5_900)).toBe(seconds.seconds[4]);
    expect(seconds.recent(100)).toBeNull();
  });

  it("lose nothing of their histograms when they are merged", () => {
    const seconds = new SecondTally(0);
    for (let toMs = 250; toMs <= 20_000; toMs += 250) {
      for (const index of [0, 1]) {
        const tally = new GeneratorTally();
        tally.histogram("response").recordMs(toMs / 100);
        seconds.add(at(toMs, { index, ...tally.take() }));
      }
    }
    expect(seconds.seconds).toHaveLength(20);
    for (const { latencies } of seconds.seconds) {
      expect(merged(latencies.get("response")!).count).toBe(8);
    }
    expect(seconds.seconds[0]!.latencies.get("response")).toHaveLength(1);
    // A process that was stopped reports late, into a second that has been merged.
    const late = new GeneratorTally();
    late.histogram("response").recordMs(1);
    seconds.add(at(600, { ...late.take() }));
    expect(merged(seconds.seconds[0]!.latencies.get("response")!).count).toBe(9);
  });
});

describe("failures and deaths for a report", () => {
  it("stand with their party and phase, the most frequent first", () => {
    const rows = failureCounts({ "echo.lost": 1, "upgrade.status.403": 9, "connect.refused": 1 });
    expect(
      rows.map(({ code, phase, cause, party, count }) => [code, phase, cause, party, count]),
    ).toEqual([
      ["upgrade.status.403", "upgrade", "status.403", "server", 9],
      ["connect.refused", "connect", "refused", "server", 1],
      ["echo.lost", "echo", "lost", "server", 1],
    ]);
    expect(deathCounts({ "closed.code.3003": [0, 2, 1] })).toEqual([
      { code: "closed.code.3003", party: "server", count: 3, byAge: [0, 2, 1] },
    ]);
  });

  it("of a code that nobody knows are a defect, not a row", () => {
    expect(() => failureCounts({ "server.sad": 1 })).toThrow(/no such failure: server.sad/);
  });
});
