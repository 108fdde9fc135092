import { describe, expect, it } from "vitest";
import { Prng } from "../../src/base/prng.ts";

function draw(seed: number, count: number): number[] {
  const prng = new Prng(seed);
  return Array.from({ length: count }, () => prng.uint32());
}

describe("the generator", () => {
  it("gives the same numbers for the same seed", () => {
    expect(draw(1, 4)).toEqual(draw(1, 4));
    expect(draw(42, 1_000)).toEqual(draw(42, 1_000));
  });

  it("gives unrelated numbers for neighbouring seeds", () => {
    const [first, second] = [draw(1, 1_000), draw(2, 1_000)];
    const same = first.filter((value, index) => value === second[index]).length;
    expect(same).toBeLessThan(3);
    const bits = first.map((value, index) => popCount(value ^ second[index]!));
    const mean = bits.reduce((sum, count) => sum + count, 0) / bits.length;
    expect(mean).toBeGreaterThan(15);
    expect(mean).toBeLessThan(17);
  });

  it.each([0, -1, 0xffff_ffff, 2 ** 53, 0.5])("takes any seed (%d) and does not stick", (seed) => {
    expect(new Set(draw(seed, 1_000)).size).toBeGreaterThan(990);
  });

  it("covers whole numbers from min to max, both included, and nothing else", () => {
    const prng = new Prng(7);
    const counts = new Map<number, number>();
    for (let index = 0; index < 10_000; index++) {
      const value = prng.int(-2, 2);
      counts.set(value, (counts.get(value) ?? 0) + 1);
    }
    expect([...counts.keys()].sort((a, b) => a - b)).toEqual([-2, -1, 0, 1, 2]);
    for (const count of counts.values()) expect(count).toBeGreaterThan(1_700);
  });

  it("gives the one number that there is between equal bounds", () => {
    expect(new Prng(7).int(5, 5)).toBe(5);
  });

  it("gives fractions from 0 up to and never 1, evenly", () => {
    const prng = new Prng(3);
    const values = Array.from({ length: 10_000 }, () => prng.float());
    expect(values.every((value) => value >= 0 && value < 1)).toBe(true);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    expect(mean).toBeGreaterThan(0.48);
    expect(mean).toBeLessThan(0.52);
  });

  it("makes a 32-bit seed of its own", () => {
    const seed = Prng.randomSeed();
    expect(seed).toBe(seed >>> 0);
  });
});

function popCount(value: number): number {
  let count = 0;
  for (let rest = value >>> 0; rest !== 0; rest &= rest - 1) count++;
  return count;
}
