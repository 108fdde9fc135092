import { describe, expect, it } from "vitest";
import { type TimerId, type TimerOwner, TimerWheel } from "../../src/base/timer-wheel.ts";

const TURN = 1_024;

/** Notes when each of its timers fires, and may do something in the middle of it. */
class Owner implements TimerOwner {
  readonly fired: number[] = [];
  then: (timer: TimerId, nowTick: number) => void = () => {};

  onDeadline(timer: TimerId, nowTick: number): void {
    this.fired.push(nowTick);
    this.then(timer, nowTick);
  }
}

function armed(wheel: TimerWheel, tick: number): { owner: Owner; timer: TimerId } {
  const owner = new Owner();
  const timer = wheel.create(owner);
  wheel.arm(timer, tick);
  return { owner, timer };
}

describe("a deadline", () => {
  it.each([1, 2, 63, TURN - 1, TURN, TURN + 1, 2 * TURN, 3 * TURN + 5])(
    "at tick %i fires at that tick and at no other",
    (tick) => {
      const wheel = new TimerWheel(50);
      const { owner } = armed(wheel, tick);
      for (let step = 0; step < tick + 2 * TURN; step++) wheel.advance(1);
      expect(owner.fired).toEqual([tick]);
      expect(wheel.armed).toBe(0);
    },
  );

  it.each([0, -5, 7])("in the past (%i at tick 7) fires at the next tick", (tick) => {
    const wheel = new TimerWheel(50);
    wheel.advance(7);
    const { owner } = armed(wheel, tick);
    expect(owner.fired).toEqual([]);
    wheel.advance(1);
    expect(owner.fired).toEqual([8]);
  });

  it.each([
    [10, 10],
    [10, TURN],
    [10, 5 * TURN + 3],
    [TURN + 10, TURN + 10],
    [3 * TURN, 4 * TURN],
  ])("at tick %i is found by one jump of %i ticks, and told the tick reached", (tick, jump) => {
    const wheel = new TimerWheel(50);
    const { owner } = armed(wheel, tick);
    wheel.advance(jump);
    expect(owner.fired).toEqual([jump]);
  });

  it.each([
    [11, 10],
    [TURN + 10, TURN + 9],
    [2 * TURN, 2 * TURN - 1],
    [9 * TURN, 3 * TURN],
  ])("at tick %i is not reached by a jump of %i ticks", (tick, jump) => {
    const wheel = new TimerWheel(50);
    const { owner } = armed(wheel, tick);
    wheel.advance(jump);
    expect(owner.fired).toEqual([]);
    wheel.advance(tick - jump);
    expect(owner.fired).toEqual([tick]);
  });

  it("that shares its slot with others a turn away fires without them", () => {
    const wheel = new TimerWheel(50);
    const all = [5 + 2 * TURN, 5, 5 + TURN, 5].map((tick) => armed(wheel, tick).owner);
    wheel.advance(5);
    expect(all.map(({ fired }) => fired)).toEqual([[], [5], [], [5]]);
    wheel.advance(TURN);
    expect(all.map(({ fired }) => fired)).toEqual([[], [5], [5 + TURN], [5]]);
    wheel.advance(TURN);
    expect(all[0]!.fired).toEqual([5 + 2 * TURN]);
  });

  it("comes before a later one within one jump", () => {
    const wheel = new TimerWheel(50);
    const order: number[] = [];
    for (const tick of [30, 10, 20]) armed(wheel, tick).owner.then = () => order.push(tick);
    wheel.advance(40);
    expect(order).toEqual([10, 20, 30]);
  });

  it("fires once in 100,000 for 100,000 timers of one tick", () => {
    const wheel = new TimerWheel(50);
    const owner = new Owner();
    for (let count = 0; count < 100_000; count++) wheel.arm(wheel.create(owner), 20);
    wheel.advance(19);
    expect(owner.fired.length).toBe(0);
    wheel.advance(1);
    expect(owner.fired.length).toBe(100_000);
    expect([wheel.armed, wheel.live]).toEqual([0, 100_000]);
  });
});

describe("moving a deadline", () => {
  it("later costs no second firing at the old time", () => {
    const wheel = new TimerWheel(50);
    const { owner, timer } = armed(wheel, 10);
    wheel.arm(timer, 25);
    expect(wheel.armed).toBe(1);
    wheel.advance(24);
    expect(owner.fired).toEqual([]);
    wheel.advance(1);
    expect(owner.fired).toEqual([25]);
  });

  it("later again and again, as an active connection does, fires only after the last", () => {
    const wheel = new TimerWheel(50);
    const { owner, timer } = armed(wheel, 10);
    for (let tick = 1; tick <= 500; tick++) {
      wheel.advance(1);
      wheel.arm(timer, tick + 10);
    }
    expect(owner.fired).toEqual([]);
    wheel.advance(10);
    expect(owner.fired).toEqual([510]);
  });

  it("earlier fires at the earlier time and not at the later one", () => {
    const wheel = new TimerWheel(50);
    const { owner, timer } = armed(wheel, 100);
    wheel.arm(timer, 10);
    for (let step = 0; step < 200; step++) wheel.advance(1);
    expect(owner.fired).toEqual([10]);
  });

  it("later and then earlier than the slot it lies in fires at the last one asked for", () => {
    const wheel = new TimerWheel(50);
    const { owner, timer } = armed(wheel, 50);
    wheel.arm(timer, 80);
    wheel.arm(timer, 20);
    for (let step = 0; step < 100; step++) wheel.advance(1);
    expect(owner.fired).toEqual([20]);
  });

  it("by whole turns, into the same slot, is no firing a turn early", () => {
    const wheel = new TimerWheel(50);
    const { owner, timer } = armed(wheel, 7);
    wheel.arm(timer, 7 + 3 * TURN);
    for (let step = 0; step < 7 + 3 * TURN - 1; step++) wheel.advance(1);
    expect(owner.fired).toEqual([]);
    wheel.advance(1);
    expect(owner.fired).toEqual([7 + 3 * TURN]);
  });
});

describe("inside a callback", () => {
  it("a timer may be armed again for the very slot that is being looked at", () => {
    const wheel = new TimerWheel(50);
    const { owner } = armed(wheel, 5);
    owner.then = (timer, nowTick) => {
      if (owner.fired.length < 3) wheel.arm(timer, nowTick + TURN);
    };
    wheel.advance(5);
    expect(owner.fired).toEqual([5]);
    wheel.advance(2 * TURN);
    expect(owner.fired).toEqual([5, 5 + 2 * TURN]);
    wheel.advance(TURN);
    expect(owner.fired).toEqual([5, 5 + 2 * TURN, 5 + 3 * TURN]);
  });

  it("a timer that is armed for now fires at the next advance, not in an endless round", () => {
    const wheel = new TimerWheel(50);
    const { owner } = armed(wheel, 5);
    owner.then = (timer, nowTick) => wheel.arm(timer, nowTick);
    wheel.advance(5);
    wheel.advance(1);
    wheel.advance(1);
    expect(owner.fired).toEqual([5, 6, 7]);
  });

  it("a timer that is due at the same tick may be cancelled, and does not fire", () => {
    const wheel = new TimerWheel(50);
    const first = armed(wheel, 5);
    const second = armed(wheel, 5);
    first.owner.then = () => wheel.cancel(second.timer);
    wheel.advance(5);
    expect([first.owner.fired, second.owner.fired]).toEqual([[5], []]);
    expect([wheel.armed, wheel.live]).toEqual([0, 2]);
  });

  it("a timer that is due at the same tick may be destroyed, and its number given away", () => {
    const wheel = new TimerWheel(50);
    const first = armed(wheel, 5);
    const second = armed(wheel, 5);
    const heir = new Owner();
    first.owner.then = () => {
      wheel.destroy(second.timer);
      wheel.arm(wheel.create(heir), 8);
    };
    wheel.advance(5);
    expect([second.owner.fired, heir.fired]).toEqual([[], []]);
    wheel.advance(3);
    expect([second.owner.fired, heir.fired]).toEqual([[], [8]]);
  });

  it("the timer itself may be destroyed", () => {
    const wheel = new TimerWheel(50);
    const { owner } = armed(wheel, 5);
    owner.then = (timer) => wheel.destroy(timer);
    wheel.advance(5 + 2 * TURN);
    expect(owner.fired).toEqual([5 + 2 * TURN]);
    expect([wheel.armed, wheel.live]).toEqual([0, 0]);
  });

  it("a timer that is due at the same tick may be moved later or earlier", () => {
    const wheel = new TimerWheel(50);
    const first = armed(wheel, 5);
    const later = armed(wheel, 5);
    const earlier = armed(wheel, 5 + TURN);
    first.owner.then = () => {
      wheel.arm(later.timer, 9);
      wheel.arm(earlier.timer, 7);
    };
    for (let step = 0; step < 2 * TURN; step++) wheel.advance(1);
    expect([later.owner.fired, earlier.owner.fired]).toEqual([[9], [7]]);
  });

  it("so many timers may be made that the arrays grow, and none is lost", () => {
    const wheel = new TimerWheel(50);
    const born = new Owner();
    const { owner } = armed(wheel, 1);
    const bystander = armed(wheel, 1);
    owner.then = () => {
      for (let count = 0; count < 5_000; count++) wheel.arm(wheel.create(born), 2);
    };
    wheel.advance(1);
    expect(bystander.owner.fired).toEqual([1]);
    wheel.advance(1);
    expect(born.fired.length).toBe(5_000);
  });
});

describe("the wheel", () => {
  it("counts what is armed and what exists, and gives numbers away again", () => {
    const wheel = new TimerWheel(50);
    const owner = new Owner();
    const timers = Array.from({ length: 200 }, () => wheel.create(owner));
    expect([wheel.armed, wheel.live]).toEqual([0, 200]);
    for (const timer of timers) wheel.arm(timer, 10);
    for (const timer of timers.slice(0, 50)) wheel.cancel(timer);
    for (const timer of timers.slice(0, 50)) wheel.cancel(timer);
    expect([wheel.armed, wheel.live]).toEqual([150, 200]);
    for (const timer of timers) wheel.destroy(timer);
    expect([wheel.armed, wheel.live]).toEqual([0, 0]);
    wheel.advance(TURN);
    expect(owner.fired).toEqual([]);
    const again = Array.from({ length: 200 }, () => wheel.create(owner));
    expect(new Set(again)).toEqual(new Set(timers));
  });

  it("knows which timers are armed", () => {
    const wheel = new TimerWheel(50);
    const { timer } = armed(wheel, 3);
    expect(wheel.isArmed(timer)).toBe(true);
    wheel.advance(3);
    expect(wheel.isArmed(timer)).toBe(false);
  });

  it.each([
    [0, 1],
    [1, 1],
    [50, 1],
    [51, 2],
    [1_000, 20],
    [1_001, 21],
  ])("takes %i ms for %i ticks of 50 ms: never fewer than asked for", (ms, ticks) => {
    expect(new TimerWheel(50).ticks(ms)).toBe(ticks);
  });

  it.each([0, -50])("cannot have ticks of %i ms", (tickMs) => {
    expect(() => new TimerWheel(tickMs)).toThrow("a tick lasts longer than nothing");
  });

  it("asserts that a timer is destroyed once and never armed afterwards", () => {
    const wheel = new TimerWheel(50);
    const timer = wheel.create(new Owner());
    wheel.destroy(timer);
    expect(() => wheel.destroy(timer)).toThrow("a timer is destroyed once");
    expect(() => wheel.arm(timer, 1)).toThrow("a destroyed timer is not armed");
    expect([wheel.armed, wheel.live]).toEqual([0, 0]);
  });

  it("asserts that a number it never gave out is neither armed nor destroyed", () => {
    const wheel = new TimerWheel(50);
    expect(() => wheel.arm(5_000, 1)).toThrow("a destroyed timer is not armed");
    expect(() => wheel.destroy(5_000)).toThrow("a timer is destroyed once");
    expect(wheel.live).toBe(0);
  });
});
