// Rates over a window, and the server in numbers, under a clock that the test moves.
import { describe, expect, it } from "vitest";
import { Rates } from "../../src/observe/rates.ts";
import { ProcessReader } from "../../src/observe/process-reading.ts";
import { readiness } from "../../src/server/readiness.ts";
import { Server } from "../../src/server/server.ts";
import { Stats } from "../../src/server/stats.ts";
import { ManualClock } from "../support/manual-clock.ts";

describe("rates", () => {
  function counting(): { clock: ManualClock; rates: Rates; counter: { value: number } } {
    const clock = new ManualClock();
    const counter = { value: 0 };
    return { clock, counter, rates: new Rates(clock, () => [counter.value]) };
  }

  it("are zero before they are looked at", () => {
    const { rates, counter } = counting();
    counter.value = 5;
    expect(rates.rise()).toEqual({ seconds: 0, by: [0] });
  });

  it("count from the start until there are ten seconds of them", async () => {
    const { rates, clock, counter } = counting();
    rates.start();
    counter.value = 30;
    await clock.advance(2_500);
    expect(rates.rise()).toEqual({ seconds: 2.5, by: [30] });
  });

  it("forget what is more than ten seconds ago", async () => {
    const { rates, clock, counter } = counting();
    rates.start();
    counter.value = 1_000;
    await clock.advance(20_000);
    counter.value = 1_007;
    const { seconds, by } = rates.rise();
    expect(seconds).toBeGreaterThanOrEqual(9);
    expect(seconds).toBeLessThanOrEqual(10);
    expect(by).toEqual([7]);
  });

  it("leave no timer behind", async () => {
    const { rates, clock } = counting();
    rates.start();
    expect(clock.pending).toBe(1);
    await clock.advance(3_000);
    expect(clock.pending).toBe(1);
    rates.stop();
    expect(clock.pending).toBe(0);
  });
});

function standing(): { server: Server; clock: ManualClock; stats: Stats } {
  const clock = new ManualClock();
  const server = new Server(
    {
      tcp: { enabled: false },
      websocket: { enabled: false },
      admin: { enabled: false },
      connection: { max: 5 },
      node: { name: "n-1" },
    },
    { clock, seed: 1, listeners: [{ name: "mem", transport: { kind: "memory" } }] },
  );
  return { server, clock, stats: new Stats(server, "1.2.3", new ProcessReader(clock)) };
}

describe("stats", () => {
  it("can be read before the server has started", async () => {
    const { stats } = standing();
    const report = await stats.read();
    expect(report).toMatchObject({
      version: "1.2.3",
      node: "n-1",
      state: "new",
      uptimeMs: 0,
      connections: { total: 0, max: 5 },
      listeners: [{ name: "mem", transport: "memory", address: null, library: null }],
    });
    expect(Object.values(report.rates)).toEqual([0, 0, 0, 0, 0, 0, 0]);
  });

  it("measure the uptime by a clock that nobody sets", async () => {
    const { stats, clock } = standing();
    stats.start();
    await clock.advance(60_000);
    clock.wallMs -= 3_600_000;
    expect((await stats.read()).uptimeMs).toBe(60_000);
    stats.stop();
  });

  it("give rates per second of what was counted", async () => {
    const { stats, clock, server } = standing();
    stats.start();
    server.shared.counters.framesIn = 50;
    server.callsByStatus[0] = 3;
    server.callsByStatus[13] = 2;
    server.closedByReason.normal = 1;
    await clock.advance(2_000);
    const { rates, totals } = await stats.read();
    expect(rates).toMatchObject({ framesIn: 25, calls: 2.5, closes: 0.5, opens: 0 });
    expect(totals).toMatchObject({ framesIn: 50, calls: 5, closes: 1 });
    stats.stop();
  });

  it("tell of the loop's lag in the window, not of long ago", async () => {
    const { stats, clock, server } = standing();
    for (let tick = 0; tick < 100; tick++) server.lagMs.observe(400);
    stats.start();
    for (let tick = 0; tick < 99; tick++) server.lagMs.observe(0.5);
    server.lagMs.observe(30);
    expect((await stats.read()).loop).toMatchObject({ lagP99Ms: 1, lagMaxMs: 400 });
    await clock.advance(1_000);
    for (let tick = 0; tick < 5; tick++) server.lagMs.observe(30);
    expect((await stats.read()).loop.lagP99Ms).toBe(50);
    server.lagMs.observe(7_000);
    for (let tick = 0; tick < 5; tick++) server.lagMs.observe(6_000);
    expect((await stats.read()).loop.lagP99Ms).toBe(7_000);
    stats.stop();
  });

  it("count open files at most once a second", async () => {
    const clock = new ManualClock();
    const reader = new ProcessReader(clock);
    const first = (await reader.read()).fds;
    const { openSync, closeSync } = await import("node:fs");
    const opened = Array.from({ length: 20 }, () => openSync("/dev/null", "r"));
    expect((await reader.read()).fds).toBe(first);
    await clock.advance(1_000);
    expect((await reader.read()).fds).toBeGreaterThanOrEqual(first! + 15);
    for (const fd of opened) closeSync(fd);
  });
});

describe("readiness", () => {
  it("is not given before the start and after the end", async () => {
    const { server } = standing();
    expect(readiness(server)).toBe("not_serving");
    await server.stop();
    expect(readiness(server)).toBe("draining");
  });
});
