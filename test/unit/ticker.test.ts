import { beforeEach, describe, expect, it } from "vitest";
import { TimerWheel } from "../../src/base/timer-wheel.ts";
import { Counters } from "../../src/observe/counters.ts";
import { Ticker } from "../../src/server/ticker.ts";
import { ManualClock } from "../support/manual-clock.ts";

let clock: ManualClock;
let wheel: TimerWheel;
let counters: Counters;
let lags: number[];
let ticker: Ticker;

beforeEach(() => {
  clock = new ManualClock();
  wheel = new TimerWheel(50);
  counters = new Counters();
  lags = [];
  ticker = new Ticker(clock, wheel, counters, (lagMs) => lags.push(lagMs));
});

/** The milliseconds on the clock when the deadline at this tick fires. */
function firesAt(tick: number): { ms: number | null } {
  const fired: { ms: number | null } = { ms: null };
  const begin = clock.now();
  const timer = wheel.create({
    onDeadline: () => {
      fired.ms = clock.now() - begin;
    },
  });
  wheel.arm(timer, tick);
  return fired;
}

describe("the ticker", () => {
  it("moves the wheel one tick per 50 ms while the loop runs freely", async () => {
    ticker.start();
    await clock.advance(10_000);
    expect(wheel.nowTick).toBe(200);
    expect(lags.length).toBe(200);
    expect(Math.max(...lags)).toBe(0);
    expect(counters.loopStalls).toBe(0);
    ticker.stop();
  });

  it("loses no time where each tick comes a little late", async () => {
    ticker.start();
    for (let round = 0; round < 100; round++) {
      clock.stall(37);
      await clock.settle();
    }
    await clock.advance(50);
    expect(wheel.nowTick * 50).toBeGreaterThan(3_750 - 100);
    expect(wheel.nowTick * 50).toBeLessThanOrEqual(3_750);
    ticker.stop();
  });

  it.each([60_000, 3_600_000])("gives a stall of %i ms one second and no more", async (stallMs) => {
    ticker.start();
    await clock.advance(500);
    expect(wheel.nowTick).toBe(10);
    clock.stall(stallMs);
    await clock.settle();
    expect(wheel.nowTick).toBe(30);
    expect(counters.loopStalls).toBe(1);
    expect(Math.max(...lags)).toBe(stallMs - 50);
    await clock.advance(500);
    expect(wheel.nowTick).toBe(40);
    ticker.stop();
  });

  it("counts a stall as it is up to one second", async () => {
    ticker.start();
    clock.stall(900);
    await clock.settle();
    expect([wheel.nowTick, counters.loopStalls]).toEqual([18, 0]);
    ticker.stop();
  });

  it("expires nobody until what waited to be read has been read", async () => {
    ticker.start();
    const order: string[] = [];
    const timer = wheel.create({ onDeadline: () => order.push("expired") });
    wheel.arm(timer, 4);
    clock.after(220, () => order.push("read"));
    clock.stall(230);
    await clock.settle();
    expect(order).toEqual(["read", "expired"]);
    ticker.stop();
  });

  it("does not expire a peer whose bytes were waiting through a stall", async () => {
    ticker.start();
    let isExpired = false;
    const timer = wheel.create({ onDeadline: () => void (isExpired = true) });
    wheel.arm(timer, 10);
    // The bytes came while the loop stood still, and are read when it runs again.
    clock.after(100, () => wheel.arm(timer, wheel.nowTick + 30));
    clock.stall(3_000);
    await clock.settle();
    expect([isExpired, wheel.nowTick]).toEqual([false, 20]);
    // They were heard after the stall, not before it.
    await clock.advance(1_450);
    expect(isExpired).toBe(false);
    await clock.advance(100);
    expect(isExpired).toBe(true);
    ticker.stop();
  });

  it("still expires a peer that was silent before and after a stall", async () => {
    ticker.start();
    const fired = firesAt(100);
    clock.stall(60_000);
    await clock.settle();
    expect(fired.ms).toBe(null);
    await clock.advance(4_000);
    expect(fired.ms).toBe(64_000);
    ticker.stop();
  });

  it("does not move with the wall clock", async () => {
    ticker.start();
    await clock.advance(500);
    clock.wallMs -= 3_600_000;
    await clock.advance(500);
    clock.wallMs += 7_200_000;
    await clock.advance(500);
    expect([wheel.nowTick, counters.loopStalls]).toEqual([30, 0]);
    ticker.stop();
  });

  it("leaves nothing scheduled when it is stopped, at whatever moment", async () => {
    ticker.start();
    await clock.advance(75);
    ticker.stop();
    expect(clock.pending).toBe(0);
    ticker.start();
    clock.stall(50);
    const timer = wheel.create({ onDeadline: () => ticker.stop() });
    wheel.arm(timer, wheel.nowTick + 1);
    await clock.settle();
    expect(clock.pending).toBe(0);
    ticker.stop();
    expect(clock.pending).toBe(0);
  });
});
