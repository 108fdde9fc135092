import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { waterLevel } from "../../src/probe/water-level.ts";

const sum = (values: readonly number[]): number => values.reduce((total, one) => total + one, 0);

describe("what each generator should hold", () => {
  it.each([
    ["filling from nothing", [0, 0, 0], 9, [3, 3, 3]],
    ["a rest that does not divide", [0, 0, 0], 10, [4, 3, 3]],
    ["filling the emptiest first", [10, 2, 4], 20, [10, 5, 5]],
    ["one that is fuller than its share keeps what it has", [100, 0], 110, [100, 10]],
    ["emptying the fullest first", [10, 2, 4], 8, [3, 2, 3]],
    ["emptying all", [3, 1], 0, [0, 0]],
    ["nothing to do", [5, 7], 12, [5, 7]],
    ["one alone", [5], 9, [9]],
  ])("%s", (_, held, total, expected) => {
    expect(waterLevel(held, total)).toEqual(expected);
  });

  it("adds up, moves nobody the wrong way, and ends as even as it can", () => {
    const counts = fc.array(fc.nat(5_000), { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(counts, fc.nat(60_000), (held, total) => {
        const levels = waterLevel(held, total);
        expect(sum(levels)).toBe(total);
        const isFilling = total >= sum(held);
        for (const [index, level] of levels.entries()) {
          if (isFilling) expect(level).toBeGreaterThanOrEqual(held[index]!);
          else expect(level).toBeLessThanOrEqual(held[index]!);
        }
        // Those that were moved differ by one at most, and lie on one side of the others, but for
        // the one that a rest makes.
        const moved = levels.filter((level, index) => level !== held[index]);
        if (moved.length === 0) return;
        expect(Math.max(...moved) - Math.min(...moved)).toBeLessThanOrEqual(1);
        const kept = levels.filter((level, index) => level === held[index]);
        for (const level of kept) {
          if (isFilling) expect(level).toBeGreaterThanOrEqual(Math.max(...moved) - 1);
          else expect(level).toBeLessThanOrEqual(Math.min(...moved) + 1);
        }
      }),
    );
  });
});
