import { describe, expect, it } from "vitest";
import { Prng } from "../../src/base/prng.ts";
import type { ProbeConnection } from "../../src/probe/probe-connection.ts";
import { type Return, Returns } from "../../src/probe/returns.ts";

/** What is due until then, in the order in which it is started. */
function taken(returns: Returns, nowMs: number, max: number = Infinity): [number, number][] {
  const all: [number, number][] = [];
  returns.take(nowMs, max, (dueMs, { attempts }) => all.push([dueMs, attempts]));
  return all;
}

describe("clients that lost their server", () => {
  it("come back spread over half a second at first, and over twice as long each time", () => {
    for (const [attempts, ceilingMs] of [
      [0, 500],
      [1, 1_000],
      [3, 4_000],
      [5, 16_000],
      [6, 20_000],
      [40, 20_000],
    ] as const) {
      const returns = new Returns(new Prng(1));
      for (let client = 0; client < 2_000; client++) returns.add(10_000, attempts);
      const times = taken(returns, Infinity).map(([dueMs]) => dueMs - 10_000);
      expect(Math.min(...times)).toBeLessThan(ceilingMs * 0.02 + 10);
      expect(Math.max(...times)).toBeGreaterThan(ceilingMs * 0.98);
      expect(Math.max(...times)).toBeLessThanOrEqual(ceilingMs + 10);
      const mean = times.reduce((sum, time) => sum + time, 0) / times.length;
      expect(mean / ceilingMs).toBeGreaterThan(0.45);
      expect(mean / ceilingMs).toBeLessThan(0.55);
    }
  });

  it("that were told when to come back do so then, and keep what they have until", () => {
    const returns = new Returns(new Prng(2));
    const old = {} as ProbeConnection;
    returns.move(1_000, old, 3_000);
    returns.add(1_000, 0);
    expect(taken(returns, 3_999)).toHaveLength(1);
    const moved: Return[] = [];
    returns.take(4_000, 1, (_, one) => moved.push(one));
    expect(moved).toEqual([{ attempts: 0, old }]);
  });

  it("are started when they are due, in order, and no more at once than may be", () => {
    const returns = new Returns(new Prng(3));
    for (let client = 0; client < 500; client++) returns.add(1_000, client % 3);
    const first = taken(returns, returns.nextMs - 1);
    expect(first).toEqual([]);
    const some = taken(returns, 1_200, 7);
    expect(some).toHaveLength(7);
    const rest = taken(returns, 100_000);
    expect(rest).toHaveLength(493);
    const times = [...some, ...rest].map(([dueMs]) => dueMs);
    expect(times).toEqual(times.toSorted((a, b) => a - b));
    expect(rest.map(([, attempts]) => attempts)).toContain(2);
    expect([returns.count, returns.nextMs]).toEqual([0, Infinity]);
  });

  it("stay away when they are told to", () => {
    const returns = new Returns(new Prng(4));
    for (let client = 0; client < 50; client++) returns.add(0, 0);
    expect(returns.count).toBe(50);
    returns.clear();
    expect(taken(returns, Infinity)).toEqual([]);
    expect([returns.count, returns.nextMs]).toEqual([0, Infinity]);
    returns.add(0, 0);
    expect(taken(returns, 1_000)).toHaveLength(1);
  });
});
