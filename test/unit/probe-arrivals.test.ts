import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Arrivals } from "../../src/probe/arrivals.ts";
import type { ArrivalPlan, ScheduledKind } from "../../src/probe/generator-messages.ts";

function plan(changes: Partial<ArrivalPlan> = {}): ArrivalPlan {
  return {
    kind: "echo",
    arrival: "constant",
    segments: [{ durationMs: 1_000, fromPerSecond: 100, toPerSecond: 100 }],
    startAtMs: 5_000,
    countMax: Infinity,
    stripe: { index: 0, count: 1 },
    ...changes,
  };
}

/** When everything until `untilMs` is due, by turns of the loop so many milliseconds apart. */
function times(arrivals: Arrivals, untilMs: number, everyMs: number = 7): number[] {
  const found: number[] = [];
  for (let nowMs = 0; nowMs <= untilMs; nowMs += everyMs) {
    arrivals.run(nowMs, (_, intendedMs) => found.push(intendedMs));
  }
  return found;
}

function timesOf(seed: number, plans: readonly ArrivalPlan[]): number[] {
  const arrivals = new Arrivals(seed);
  for (const one of plans) arrivals.add(one);
  return times(arrivals, 20_000);
}

describe("arrivals", () => {
  it("start on time, never before, and with the time at which they were due", () => {
    const arrivals = new Arrivals(1);
    arrivals.add(plan());
    expect(arrivals.nextMs).toBe(5_000);
    const started: [ScheduledKind, number][] = [];
    const start = (kind: ScheduledKind, atMs: number): void => void started.push([kind, atMs]);
    arrivals.run(4_999.9, start);
    expect(started).toEqual([]);
    arrivals.run(5_025, start);
    expect(started).toEqual([
      ["echo", 5_000],
      ["echo", 5_010],
      ["echo", 5_020],
    ]);
    expect(arrivals.nextMs).toBe(5_030);
  });

  it("of one seed are the same, of another seed others, however they are striped", () => {
    const segments = [
      { durationMs: 2_000, fromPerSecond: 0, toPerSecond: 400 },
      { durationMs: 1_000, fromPerSecond: 400, toPerSecond: 50 },
    ];
    const poisson = plan({ arrival: "poisson", segments });
    const alone = timesOf(42, [poisson]);
    expect(alone.length).toBeGreaterThan(400);
    expect(timesOf(42, [poisson])).toEqual(alone);
    expect(timesOf(43, [poisson])).not.toEqual(alone);
    const three = [0, 1, 2].map((index) =>
      timesOf(42, [{ ...poisson, stripe: { index, count: 3 } }]),
    );
    expect(three.flat().toSorted((a, b) => a - b)).toEqual(alone);
    expect(
      Math.max(...three.map(({ length }) => length)) - Math.min(...three.map((t) => t.length)),
    ).toBeLessThanOrEqual(1);
  });

  it("of a later plan differ from those of an earlier one; other kinds change nothing", () => {
    const poisson = plan({ arrival: "poisson" });
    const [alone, among] = [new Arrivals(9), new Arrivals(9)];
    alone.add(poisson);
    const first = times(alone, 10_000);
    alone.add(poisson);
    const second = times(alone, 10_000);
    expect(second).not.toEqual(first);
    among.add({ ...poisson, kind: "connect" });
    const connects = times(among, 10_000);
    expect(connects).not.toEqual(first);
    among.add(poisson);
    expect(times(among, 10_000)).toEqual(first);
    among.add(poisson);
    expect(times(among, 10_000)).toEqual(second);
  });

  it("that are late all start, within turns that have an end", () => {
    const arrivals = new Arrivals(1);
    arrivals.add(plan({ segments: [{ durationMs: 1_000, fromPerSecond: 9e3, toPerSecond: 9e3 }] }));
    const turns: number[] = [];
    let total = 0;
    while (arrivals.nextMs !== Infinity) {
      let count = 0;
      arrivals.run(60_000, () => count++);
      turns.push(count);
      total += count;
    }
    expect(total).toBe(9_000);
    expect(Math.max(...turns)).toBe(2_048);
  });

  it("end at their most, and are no more than scheduled", () => {
    const arrivals = new Arrivals(1);
    arrivals.add(plan({ countMax: 7 }));
    expect(arrivals.toCome("echo")).toBe(7);
    expect(times(arrivals, 20_000)).toHaveLength(7);
    expect([arrivals.toCome("echo"), arrivals.nextMs]).toEqual([0, Infinity]);
  });

  it("of several kinds do not disturb each other; a new plan replaces its kind's", () => {
    const arrivals = new Arrivals(1);
    arrivals.add(plan({ kind: "connect", countMax: 10 }));
    arrivals.add(plan({ kind: "echo", startAtMs: 5_005 }));
    arrivals.add(plan({ kind: "echo", startAtMs: 6_000, countMax: 3 }));
    const found: Partial<Record<ScheduledKind, number>> = {};
    arrivals.run(30_000, (kind) => {
      found[kind] = (found[kind] ?? 0) + 1;
    });
    expect(found).toEqual({ connect: 10, echo: 3 });
  });

  it("that are halted stop at once, and have nothing to come", () => {
    const arrivals = new Arrivals(1);
    arrivals.add(plan());
    arrivals.halt("echo");
    arrivals.halt("publish");
    expect([arrivals.nextMs, arrivals.toCome("echo"), arrivals.backlog("echo", 9_000)]).toEqual([
      Infinity,
      0,
      0,
    ]);
    expect(times(arrivals, 10_000)).toEqual([]);
  });
});

describe("the backlog", () => {
  it("is nothing before the first is due, and all that is due and was not started", () => {
    const arrivals = new Arrivals(1);
    arrivals.add(plan());
    expect(arrivals.backlog("echo", 4_999)).toBe(0);
    expect(arrivals.backlog("echo", 5_000)).toBe(1);
    expect(arrivals.backlog("echo", 5_095)).toBe(10);
    arrivals.run(5_045, () => {});
    expect(arrivals.backlog("echo", 5_095)).toBe(5);
    expect(arrivals.backlog("connect", 5_095)).toBe(0);
  });

  it("and what was started are together what was due, at every moment (constant rates)", () => {
    const rate = fc.integer({ min: 0, max: 2_000 });
    const segment = fc.record({
      durationMs: fc.integer({ min: 0, max: 3_000 }),
      fromPerSecond: rate,
      toPerSecond: rate,
    });
    fc.assert(
      fc.property(
        fc.array(segment, { minLength: 1, maxLength: 4 }),
        fc.integer({ min: 1, max: 4 }),
        fc.array(fc.double({ min: 0, max: 15_000, noNaN: true }), { maxLength: 5 }),
        (segments, count, moments) => {
          for (let index = 0; index < count; index++) {
            const stripe = { index, count };
            const [kept, eager] = [new Arrivals(1), new Arrivals(1)];
            for (const one of [kept, eager]) one.add(plan({ segments, startAtMs: 0, stripe }));
            let started = 0;
            for (const nowMs of moments.toSorted((a, b) => a - b)) {
              while (eager.nextMs <= nowMs) eager.run(nowMs, () => started++);
              // The integral at a moment and the time of an arrival may round to either side of it.
              expect(Math.abs(kept.backlog("echo", nowMs) - started)).toBeLessThanOrEqual(1);
            }
          }
        },
      ),
      { numRuns: 100 },
    );
  });
});
