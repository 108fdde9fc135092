import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { connectPlans } from "../../src/probe/connect-lanes.ts";
import type { ArrivalPlan } from "../../src/probe/generator-messages.ts";

const START_MS = 10_000;

function endMs({ startAtMs, segments }: ArrivalPlan): number {
  return startAtMs + segments[0]!.durationMs;
}

/** Connects per second that are due at a moment, over all plans. */
function rateAt(plans: Iterable<ArrivalPlan>, atMs: number): number {
  return [...plans]
    .filter((plan) => plan.startAtMs <= atMs && atMs < endMs(plan))
    .reduce((sum, { segments }) => sum + segments[0]!.fromPerSecond, 0);
}

describe("the order in which generators connect", () => {
  it("has all of few open at once", () => {
    const plans = connectPlans([100, 100], 5_000, START_MS);
    expect([...plans.values()].map(({ startAtMs }) => startAtMs)).toEqual([10_000, 10_000.2]);
    expect(plans.get(0)!.segments).toEqual([
      { durationMs: 40, fromPerSecond: 2_500, toPerSecond: 2_500 },
    ]);
  });

  it("has so many of many open at a time as keep up with the rate, and one more", () => {
    const plans = [...connectPlans(new Array(17).fill(9_000), 22_000, START_MS).values()];
    expect(plans).toHaveLength(17);
    const open = (atMs: number): number =>
      plans.filter((plan) => plan.startAtMs <= atMs && atMs < endMs(plan)).length;
    for (let atMs = START_MS + 10; atMs < START_MS + 6_900; atMs += 50) expect(open(atMs)).toBe(4);
  });

  it("leaves out who opens nothing", () => {
    expect([...connectPlans([0, 7, 0, 5], 1_000, 0).keys()].toSorted()).toEqual([1, 3]);
    expect(connectPlans([0, 0], 1_000, 0).size).toBe(0);
    expect(connectPlans([], 1_000, 0).size).toBe(0);
  });

  it("comes to the rate all the time, and to every share", () => {
    const share = fc.integer({ min: 0, max: 20_000 });
    const shares = fc.array(share, { minLength: 1, maxLength: 60 });
    fc.assert(
      fc.property(shares, fc.integer({ min: 1, max: 60_000 }), (shares, perSecond) => {
        const plans = connectPlans(shares, perSecond, START_MS);
        const total = shares.reduce((sum, one) => sum + one, 0);
        for (const [index, { countMax, segments }] of plans) {
          expect(countMax).toBe(shares[index]);
          const { durationMs, fromPerSecond } = segments[0]!;
          expect((durationMs / 1_000) * fromPerSecond).toBeCloseTo(countMax, 3);
        }
        expect([...plans.values()].reduce((sum, { countMax }) => sum + countMax, 0)).toBe(total);
        // Lanes begin within a few of the others' intervals, and end so.
        const firstMs = START_MS + (60 * 1_000) / perSecond;
        const lastMs = START_MS + (total * 1_000) / perSecond - 1;
        for (const part of [0.01, 0.3, 0.5, 0.9]) {
          const atMs = firstMs + (lastMs - firstMs) * part;
          if (atMs <= firstMs) continue;
          expect(rateAt(plans.values(), atMs) / perSecond).toBeCloseTo(1, 6);
        }
      }),
    );
  });
});
