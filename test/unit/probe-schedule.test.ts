import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type Arrival,
  expectedArrivals,
  type RateSegment,
  Schedule,
} from "../../src/probe/schedule.ts";

const WHOLE = { index: 0, count: 1 };

function segment(durationMs: number, fromPerSecond: number, toPerSecond: number): RateSegment {
  return { durationMs, fromPerSecond, toPerSecond };
}

function times(
  segments: readonly RateSegment[],
  arrival: Arrival = "constant",
  seed: number = 1,
  stripe: { index: number; count: number } = WHOLE,
): number[] {
  const schedule = new Schedule(segments, arrival, seed, stripe);
  const found: number[] = [];
  for (; schedule.nextMs !== Infinity; schedule.advance()) found.push(schedule.nextMs);
  return found;
}

const rates = fc.oneof(
  fc.constant(0),
  fc.integer({ min: 1, max: 400 }),
  fc.double({ min: 0.001, max: 400, noNaN: true }),
);
const durations = fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 4_000 }));
const plans = fc.array(
  fc.record({ durationMs: durations, fromPerSecond: rates, toPerSecond: rates }),
  { maxLength: 5 },
);
const arrivals = fc.constantFrom<Arrival>("constant", "poisson");

describe("a schedule of constant arrivals", () => {
  it("spaces a steady rate evenly, from its very start", () => {
    expect(times([segment(1_000, 5, 5)])).toEqual([0, 200, 400, 600, 800]);
  });

  it("makes a rate below one a second as rare as it is", () => {
    expect(times([segment(60_000, 0.05, 0.05)])).toEqual([0, 20_000, 40_000]);
  });

  it("follows a ramp by its integral", () => {
    // 5 t^2 arrivals after t seconds.
    const expected = [0, 1, 2, 3, 4].map((n) => 1_000 * Math.sqrt(n / 5));
    expect(times([segment(1_000, 0, 10)])).toEqual(expected.map((ms) => expect.closeTo(ms, 9)));
  });

  it("ends a ramp to zero with its last arrival", () => {
    // 10 t - 5 t^2 arrivals after t seconds: five before it is over.
    const expected = [0, 1, 2, 3, 4].map((n) => 1_000 * (1 - Math.sqrt(1 - n / 5)));
    expect(times([segment(1_000, 10, 0)])).toEqual(expected.map((ms) => expect.closeTo(ms, 9)));
  });

  it("is silent while the rate is zero, and goes on where it stood", () => {
    const segments = [segment(2_000, 0, 0), segment(1_000, 2, 2), segment(5_000, 0, 0)];
    expect(times([...segments, segment(1_000, 2, 2)])).toEqual([2_000, 2_500, 8_000, 8_500]);
  });

  it("changes its rate at once at a step, written out or between two segments", () => {
    const stepped = [segment(1_000, 2, 2), segment(0, 2, 10), segment(500, 10, 10)];
    expect(times(stepped)).toEqual([0, 500, 1_000, 1_100, 1_200, 1_300, 1_400]);
    expect(times(stepped.filter(({ durationMs }) => durationMs > 0))).toEqual(times(stepped));
  });

  it("carries a part of an arrival from segment to segment", () => {
    // Half an arrival each: the second comes when both halves are there.
    const halves = [segment(500, 1, 1), segment(500, 1, 1), segment(500, 1, 1)];
    expect(times(halves)).toEqual([0, 1_000]);
  });

  it.each([
    ["no segment", []],
    ["no time", [segment(0, 5, 50)]],
    ["no rate", [segment(9_000, 0, 0)]],
  ])("has no arrival where there is %s", (_, segments) => {
    expect(times(segments)).toEqual([]);
    expect(times(segments, "poisson")).toEqual([]);
  });

  it("stays at the end", () => {
    const schedule = new Schedule([segment(1_000, 1, 1)], "constant", 1, WHOLE);
    schedule.advance();
    schedule.advance();
    expect(schedule.nextMs).toBe(Infinity);
  });

  it("does not drift within a hundred million arrivals", () => {
    const count = 1_000_000;
    const segments = [segment(1_000_000, 0, 100_000), segment(1_000_000, 50_000, 50_000)];
    const schedule = new Schedule(segments, "constant", 1, { index: 0, count });
    for (let n = 0; n < 50_000_000; n += count) {
      expect(schedule.nextMs).toBeCloseTo(1_000 * Math.sqrt(n / 50), 6);
      schedule.advance();
    }
    for (let n = 0; n < 50_000_000; n += count) {
      expect(schedule.nextMs).toBe(1_000_000 + n / 50);
      schedule.advance();
    }
    expect(schedule.nextMs).toBe(Infinity);
  });
});

describe("every schedule", () => {
  it("gives its stripes together what one alone would take", () => {
    const cases = fc.tuple(plans, arrivals, fc.integer(), fc.integer({ min: 1, max: 7 }));
    fc.assert(
      fc.property(cases, ([segments, arrival, seed, count]) => {
        const stripes = Array.from({ length: count }, (_, index) =>
          times(segments, arrival, seed, { index, count }),
        );
        const alone = times(segments, arrival, seed);
        expect(alone.map((_, n) => stripes[n % count]![Math.floor(n / count)])).toEqual(alone);
        expect(stripes.flat()).toHaveLength(alone.length);
      }),
    );
  });

  it("never goes back, and ends within its segments", () => {
    fc.assert(
      fc.property(plans, arrivals, fc.integer(), (segments, arrival, seed) => {
        const endMs = segments.reduce((sum, { durationMs }) => sum + durationMs, 0);
        let last = 0;
        for (const ms of times(segments, arrival, seed)) {
          expect(ms).toBeGreaterThanOrEqual(last);
          expect(ms).toBeLessThanOrEqual(endMs);
          last = ms;
        }
      }),
    );
  });

  it("has had as many constant arrivals, at any time, as the integral says", () => {
    fc.assert(
      fc.property(plans, fc.double({ min: 0, max: 20_000, noNaN: true }), (segments, tMs) => {
        const before = times(segments).filter((ms) => ms < tMs).length;
        expect(Math.abs(before - expectedArrivals(segments, tMs))).toBeLessThan(1 + 1e-6);
      }),
    );
  });

  it("puts a constant arrival where the integral reaches its number", () => {
    fc.assert(
      fc.property(plans, (segments) => {
        for (const [n, ms] of times(segments).entries()) {
          expect(expectedArrivals(segments, ms)).toBeCloseTo(n, 6);
        }
      }),
    );
  });
});

describe("Poisson arrivals", () => {
  const minute = [segment(60_000, 1_000, 1_000)];

  it("are as many as the rate says, give or take", () => {
    // Three standard deviations are 735.
    expect(Math.abs(times(minute, "poisson", 42).length - 60_000)).toBeLessThan(735);
  });

  it("have gaps that are exponential: their deviation is their mean, one in e is longer", () => {
    const all = times(minute, "poisson", 7);
    const gaps = all.slice(1).map((ms, index) => ms - all[index]!);
    const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
    const variance = gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length;
    expect(mean).toBeCloseTo(1, 1);
    expect(Math.sqrt(variance) / mean).toBeCloseTo(1, 1);
    expect(gaps.filter((gap) => gap > mean).length / gaps.length).toBeCloseTo(1 / Math.E, 2);
  });

  it("follow a ramp: three quarters of them come in its second half", () => {
    const all = times([segment(60_000, 0, 2_000)], "poisson", 3);
    expect(all.filter((ms) => ms >= 30_000).length / all.length).toBeCloseTo(0.75, 2);
  });

  it("are the same for one seed and others for another", () => {
    expect(times(minute, "poisson", 5)).toEqual(times(minute, "poisson", 5));
    expect(times(minute, "poisson", 5)).not.toEqual(times(minute, "poisson", 6));
  });

  it("do not begin at once, as constant ones do", () => {
    const seeds = Array.from({ length: 200 }, (_, seed) => seed);
    const first = seeds.map((seed) => new Schedule(minute, "poisson", seed, WHOLE).nextMs);
    expect(first.every((ms) => ms > 0)).toBe(true);
    expect(first.reduce((sum, ms) => sum + ms, 0) / 200).toBeCloseTo(1, 0);
  });
});

describe("a segment is refused", () => {
  const bad = [-1, -0.001, Number.NaN, Infinity, -Infinity];
  const names = ["durationMs", "fromPerSecond", "toPerSecond"] as const;

  it.each(names.flatMap((name) => bad.map((value) => [name, value] as const)))(
    "where %s is %d, and the message says which",
    (name, value) => {
      const segments = [segment(1_000, 1, 1), { ...segment(1_000, 1, 1), [name]: value }];
      expect(() => new Schedule(segments, "constant", 1, WHOLE)).toThrow(
        expect.objectContaining({
          code: "HOLDFAST_OPTIONS_INVALID",
          message: `stage 2: ${name} is ${value}, but must be a number from 0`,
        }),
      );
    },
  );

  it.each([
    { index: -1, count: 1 },
    { index: 1, count: 1 },
    { index: 0, count: 0 },
    { index: 0.5, count: 2 },
  ])("and stripe $index of $count is a defect", (stripe) => {
    expect(() => new Schedule([], "constant", 1, stripe)).toThrow(/stripe/);
  });
});

describe("expected arrivals", () => {
  const segments = [segment(1_000, 0, 10), segment(0, 10, 4), segment(1_000, 4, 4)];

  it.each([
    [-5, 0],
    [0, 0],
    [500, 1.25],
    [1_000, 5],
    [1_250, 6],
    [2_000, 9],
    [9_999, 9],
    [Infinity, 9],
  ])("before %d ms are %d", (tMs, expected) => {
    expect(expectedArrivals(segments, tMs)).toBe(expected);
  });
});
