import { describe, expect, it } from "vitest";
import { Ring } from "../../src/base/ring.ts";

describe("a ring", () => {
  it.each([1, 2, 3, 7])("of capacity %i keeps the newest, oldest first, at every fill", (size) => {
    const ring = new Ring<number>(size);
    const all: number[] = [];
    for (let item = 0; item < 4 * size + 1; item++) {
      expect(ring.toArray()).toEqual(all.slice(-size));
      expect(ring.length).toBe(Math.min(item, size));
      ring.push(item);
      all.push(item);
    }
  });

  it("keeps undefined like any other item", () => {
    const ring = new Ring<undefined>(2);
    ring.push(undefined);
    expect(ring.toArray()).toEqual([undefined]);
  });

  it("gives away a copy that later pushes do not change", () => {
    const ring = new Ring<number>(2);
    ring.push(1);
    const before = ring.toArray();
    ring.push(2);
    ring.push(3);
    expect(before).toEqual([1]);
  });

  it.each([0, -1, Number.NaN])("of capacity %d is refused", (capacity) => {
    expect(() => new Ring(capacity)).toThrow("a ring holds something");
  });
});
