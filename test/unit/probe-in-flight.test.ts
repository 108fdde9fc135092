import { describe, expect, it } from "vitest";
import { InFlight, wireId } from "../../src/probe/in-flight.ts";

describe("operations under way", () => {
  it("are found by the number that travelled, with the times of their start", () => {
    const inFlight = new InFlight<string>();
    const first = inFlight.add("a", 10, 11);
    const second = inFlight.add("b", 20, 22);
    expect(inFlight.count).toBe(2);
    expect(inFlight.ownerOf(inFlight.fromWireId(wireId(second)))).toBe("b");
    expect([inFlight.intendedMs(first), inFlight.startedMs(first)]).toEqual([10, 11]);
    expect([inFlight.intendedMs(second), inFlight.startedMs(second)]).toEqual([20, 22]);
  });

  it("end once, in any order", () => {
    const inFlight = new InFlight<string>();
    const numbers = ["a", "b", "c"].map((owner) => inFlight.add(owner, 0, 0));
    inFlight.remove(numbers[1]!);
    expect(inFlight.ownerOf(numbers[1]!)).toBeNull();
    expect(() => inFlight.remove(numbers[1]!)).toThrow(/ends once/);
    expect(inFlight.oldest(0)).toBe(numbers[0]);
    inFlight.remove(numbers[0]!);
    expect(inFlight.oldest(0)).toBe(numbers[2]);
    inFlight.remove(numbers[2]!);
    expect([inFlight.oldest(Infinity), inFlight.count]).toEqual([0, 0]);
  });

  it("are overdue from the oldest on, and never before their time", () => {
    const inFlight = new InFlight<number>();
    for (let ms = 1; ms <= 1_000; ms++) inFlight.add(ms, ms, ms);
    const overdue: number[] = [];
    for (let oldest = inFlight.oldest(700); oldest !== 0; oldest = inFlight.oldest(700)) {
      overdue.push(inFlight.ownerOf(oldest)!);
      inFlight.remove(oldest);
    }
    expect(overdue).toEqual(Array.from({ length: 700 }, (_, index) => index + 1));
    expect(inFlight.count).toBe(300);
  });

  it("keep everything when they outgrow their memory while the oldest hangs", () => {
    const inFlight = new InFlight<number>();
    const hanging = inFlight.add(-1, -1, -1);
    const numbers = Array.from({ length: 5_000 }, (_, index) => inFlight.add(index, index, index));
    expect(inFlight.ownerOf(hanging)).toBe(-1);
    for (const [index, number] of numbers.entries()) {
      expect(inFlight.ownerOf(number)).toBe(index);
      expect(inFlight.startedMs(number)).toBe(index);
    }
  });

  it.each([0, 4_294_967_295, 77, 3])("know nothing of an id that never travelled: %s", (id) => {
    const inFlight = new InFlight<string>();
    inFlight.add("a", 0, 0);
    inFlight.add("b", 0, 0);
    expect(inFlight.ownerOf(inFlight.fromWireId(id))).toBeNull();
  });

  it("do not find an operation whose place in memory another one has taken", () => {
    const inFlight = new InFlight<string>();
    const old = inFlight.add("old", 0, 0);
    inFlight.remove(old);
    inFlight.oldest(0);
    for (let count = 0; count < 256; count++) inFlight.add("new", 0, 0);
    expect(inFlight.ownerOf(inFlight.fromWireId(wireId(old)))).toBeNull();
  });
});
