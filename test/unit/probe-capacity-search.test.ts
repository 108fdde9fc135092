import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CapacitySearch, type SearchOptions } from "../../src/probe/capacity-search.ts";

const OPTIONS: SearchOptions = {
  search: "exp",
  start: 1_000,
  max: 1_000_000,
  step: 1_000,
  precision: 0.01,
};

/** Searches a server that holds `capacity`; a level that fails shows a plateau or does not. */
function find(
  capacity: number,
  options: Partial<SearchOptions>,
  plateauOf: (connections: number) => number | null,
): { search: CapacitySearch; levels: number[] } {
  const search = new CapacitySearch({ ...OPTIONS, ...options });
  const levels: number[] = [];
  for (let level = search.next(); level !== null; level = search.next()) {
    levels.push(level.connections);
    const hasHeld = level.connections <= capacity;
    search.record(level.connections, hasHeld, hasHeld ? null : plateauOf(level.connections));
    if (levels.length > 100) throw new Error(`no end: ${levels.join(" ")}`);
  }
  return { search, levels };
}

describe("the exponential search", () => {
  it("doubles until a level fails, then tries what was still held, then a little more", () => {
    const { search, levels } = find(4_979, {}, () => 4_979);
    expect(levels).toEqual([1_000, 2_000, 4_000, 8_000, 4_979, 5_028]);
    expect([search.best, search.failedAt]).toEqual([4_979, 5_028]);
  });

  it("bisects where a level fails without a wall, as when an objective is missed", () => {
    const { search, levels } = find(5_000, {}, () => null);
    expect(levels.slice(0, 6)).toEqual([1_000, 2_000, 4_000, 8_000, 6_000, 5_000]);
    expect(search.best).toBe(5_000);
    expect(search.failedAt).toBeLessThanOrEqual(5_050);
  });

  it("goes below the first level where that fails", () => {
    const { search } = find(37, { start: 1_000 }, () => 37);
    expect(search.best).toBe(37);
    expect(search.failedAt).toBe(38);
  });

  it("ends at none where nothing holds", () => {
    const { search } = find(0, { start: 8 }, () => null);
    expect([search.best, search.failedAt]).toEqual([0, 1]);
  });

  it("stops at the highest level it may try", () => {
    const { search, levels } = find(Infinity, { max: 5_000 }, () => null);
    expect(levels).toEqual([1_000, 2_000, 4_000, 5_000]);
    expect([search.best, search.failedAt]).toEqual([5_000, Infinity]);
  });

  it("does not follow a plateau that keeps falling", () => {
    // Every level ends with a little less than was asked for, as when connections keep dying.
    const { levels } = find(2_000, {}, (connections) => connections - 1);
    expect(levels.length).toBeLessThan(20);
  });

  it("finds any wall within its precision, whether or not the plateau is true", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 900_000 }),
        fc.integer({ min: 1, max: 50_000 }),
        fc.double({ min: 0.5, max: 1.5, noNaN: true }),
        fc.boolean(),
        (capacity, start, error, hasPlateau) => {
          const plateau = hasPlateau ? Math.floor(capacity * error) : null;
          const { search, levels } = find(capacity, { start }, () => plateau);
          expect(search.best).toBeLessThanOrEqual(capacity);
          expect(search.failedAt).toBeGreaterThan(capacity);
          const width = search.failedAt - search.best;
          expect(width).toBeLessThanOrEqual(Math.max(1, Math.floor(search.best * 0.01)));
          expect(levels.length).toBeLessThan(45);
        },
      ),
    );
  });
});

describe("the search by stairs", () => {
  it("climbs by equal steps and ends at the first that fails", () => {
    const { search, levels } = find(3_500, { search: "stairs", step: 1_000 }, () => 3_500);
    expect(levels).toEqual([1_000, 2_000, 3_000, 4_000]);
    expect([search.best, search.failedAt]).toEqual([3_000, 4_000]);
  });

  it("ends at the highest level it may try", () => {
    const { levels } = find(Infinity, { search: "stairs", step: 400, max: 2_000 }, () => null);
    expect(levels).toEqual([1_000, 1_400, 1_800, 2_000]);
  });
});

describe("a result that is not confirmed", () => {
  it("gives way to a lower one", () => {
    const { search } = find(10_000, {}, () => 10_000);
    search.lower(9_000, 9_500);
    expect([search.best, search.failedAt]).toEqual([9_000, 9_500]);
  });
});
