// The timing wheel against a list that is searched from end to end.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type TimerId, TimerWheel } from "../../src/base/timer-wheel.ts";

/** What a timer does when it fires: nothing, or one more move, on itself or on another one. */
type Then = {
  readonly move: "arm" | "cancel" | "destroy";
  readonly which: number;
  readonly by: number;
};

/** A deadline per timer; null: not armed. Timers are named by the order of their creation. */
class Model {
  nowTick: number = 0;
  readonly deadlines: Map<number, number | null> = new Map();
  created: number = 0;

  get armed(): number[] {
    return [...this.deadlines].filter(([, tick]) => tick !== null).map(([name]) => name);
  }

  name(which: number): number | null {
    const names = [...this.deadlines.keys()];
    return names.length === 0 ? null : names[which % names.length]!;
  }

  arm(name: number, tick: number): void {
    this.deadlines.set(name, Math.max(tick, this.nowTick + 1));
  }
}

class Real {
  readonly wheel: TimerWheel = new TimerWheel(50);
  readonly timers: Map<number, TimerId> = new Map();
  readonly thens: Map<number, Then> = new Map();
  model: Model;
  /** Timers that fired and ought not to have; none may. */
  readonly wrong: string[] = [];
  readonly #names: Map<TimerId, number> = new Map();

  constructor(model: Model) {
    this.model = model;
  }

  create(name: number): void {
    const timer = this.wheel.create(this);
    this.timers.set(name, timer);
    this.#names.set(timer, name);
  }

  destroy(name: number): void {
    this.wheel.destroy(this.timers.get(name)!);
    this.timers.delete(name);
  }

  /** The model decides whether this timer may fire now, and goes along with what it does then. */
  onDeadline(timer: TimerId, nowTick: number): void {
    const name = this.#names.get(timer)!;
    const due = this.model.deadlines.get(name);
    if (due === undefined || due === null || due > nowTick || this.timers.get(name) !== timer) {
      this.wrong.push(`timer ${name}, due at ${due}, fired at ${nowTick}`);
    }
    if (nowTick !== this.model.nowTick)
      this.wrong.push(`told ${nowTick}, not ${this.model.nowTick}`);
    this.model.deadlines.set(name, null);
    const then = this.thens.get(name);
    if (then === undefined) return;
    this.thens.delete(name);
    this.apply(then);
  }

  apply({ move, which, by }: Then): void {
    const name = this.model.name(which);
    if (name === null) return;
    const timer = this.timers.get(name)!;
    if (move === "arm") {
      this.wheel.arm(timer, this.wheel.nowTick + by);
      this.model.arm(name, this.model.nowTick + by);
    } else if (move === "cancel") {
      this.wheel.cancel(timer);
      this.model.deadlines.set(name, null);
    } else {
      this.destroy(name);
      this.model.deadlines.delete(name);
    }
  }
}

function expectSame(model: Model, { wheel, timers, wrong }: Real): void {
  expect(wrong).toEqual([]);
  expect([wheel.nowTick, wheel.live]).toEqual([model.nowTick, model.deadlines.size]);
  expect(wheel.armed).toBe(model.armed.length);
  for (const [name, tick] of model.deadlines) {
    expect(wheel.isArmed(timers.get(name)!)).toBe(tick !== null);
  }
}

/** After an advance nothing that was due is armed any more. */
function expectNoneLate(model: Model): void {
  const late = [...model.deadlines].filter(([, tick]) => tick !== null && tick <= model.nowTick);
  expect(late).toEqual([]);
}

type WheelCommand = fc.Command<Model, Real>;

class Create implements WheelCommand {
  readonly tick: number | null;
  readonly then: Then | null;

  constructor(tick: number | null, then: Then | null) {
    this.tick = tick;
    this.then = then;
  }

  check(): boolean {
    return true;
  }

  run(model: Model, real: Real): void {
    const name = model.created++;
    real.create(name);
    model.deadlines.set(name, null);
    if (this.then !== null) real.thens.set(name, this.then);
    if (this.tick !== null) {
      real.wheel.arm(real.timers.get(name)!, model.nowTick + this.tick);
      model.arm(name, model.nowTick + this.tick);
    }
    expectSame(model, real);
  }

  toString(): string {
    return `create(${this.tick}, ${JSON.stringify(this.then)})`;
  }
}

class Move implements WheelCommand {
  readonly then: Then;

  constructor(then: Then) {
    this.then = then;
  }

  check(model: Readonly<Model>): boolean {
    return model.deadlines.size > 0;
  }

  run(model: Model, real: Real): void {
    real.apply(this.then);
    expectSame(model, real);
  }

  toString(): string {
    return JSON.stringify(this.then);
  }
}

class Advance implements WheelCommand {
  readonly ticks: number;
  /** Moves on first and expires in a second step, with an arming between them. */
  readonly isInTwoSteps: boolean;

  constructor(ticks: number, isInTwoSteps: boolean) {
    this.ticks = ticks;
    this.isInTwoSteps = isInTwoSteps;
  }

  check(): boolean {
    return true;
  }

  run(model: Model, real: Real): void {
    model.nowTick += this.ticks;
    if (this.isInTwoSteps) {
      real.wheel.moveOn(this.ticks);
      real.apply({ move: "arm", which: this.ticks, by: 3 });
      real.wheel.expire();
    } else {
      real.wheel.advance(this.ticks);
    }
    expectSame(model, real);
    expectNoneLate(model);
  }

  toString(): string {
    return `advance(${this.ticks}${this.isInTwoSteps ? ", in two steps" : ""})`;
  }
}

/** Near, around one turn of 1,024 ticks, and several turns away. */
const ticks = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 0, max: 40 }) },
  { weight: 2, arbitrary: fc.integer({ min: 1_020, max: 1_030 }) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 6_000 }) },
);
const then: fc.Arbitrary<Then> = fc.record({
  move: fc.constantFrom("arm", "arm", "cancel", "destroy"),
  which: fc.nat(50),
  by: ticks,
});

describe("the timing wheel", () => {
  it("does what a list of deadlines would do, whatever its timers do when they fire", () => {
    const commands = fc.commands(
      [
        fc.tuple(fc.option(ticks), fc.option(then)).map(([tick, next]) => new Create(tick, next)),
        fc.tuple(fc.option(ticks), fc.option(then)).map(([tick, next]) => new Create(tick, next)),
        then.map((move) => new Move(move)),
        fc.tuple(ticks, fc.boolean()).map(([count, twice]) => new Advance(count, twice)),
      ],
      { maxCommands: 100, size: "max" },
    );
    fc.assert(
      fc.property(commands, (all) => {
        fc.modelRun(() => {
          const model = new Model();
          return { model, real: new Real(model) };
        }, all);
      }),
      { numRuns: 120 },
    );
  });
});
