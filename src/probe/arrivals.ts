// What is due, by the schedules that a generator was given. Latecomers are kept: what could not
// start in time starts as soon as it can, and is measured from when it should have.

import type { ArrivalPlan, ScheduledKind } from "./generator-messages.ts";
import { expectedArrivals, Schedule } from "./schedule.ts";

/** Every arrival of one turn of the loop costs the others time: then sockets are looked at. */
const TURN_BUDGET: Readonly<Record<ScheduledKind, number>> = {
  connect: 128,
  churn: 64,
  echo: 2_048,
  publish: 2_048,
};

/** Kinds have schedules that have nothing to do with each other. */
const SEED_STEPS: Readonly<Record<ScheduledKind, number>> = {
  connect: 0x1000_0000,
  echo: 0x2000_0000,
  publish: 0x3000_0000,
  churn: 0x4000_0000,
};

class ActivePlan {
  readonly plan: ArrivalPlan;
  readonly schedule: Schedule;
  left: number;

  constructor(plan: ArrivalPlan, seed: number) {
    this.plan = plan;
    this.schedule = new Schedule(plan.segments, plan.arrival, seed, plan.stripe);
    this.left = plan.countMax;
  }

  get nextMs(): number {
    return this.left > 0 ? this.plan.startAtMs + this.schedule.nextMs : Infinity;
  }

  /** Due and not started. */
  backlog(nowMs: number): number {
    const next = this.nextMs;
    if (next > nowMs) return 0;
    const { segments, startAtMs, stripe } = this.plan;
    const due =
      expectedArrivals(segments, nowMs - startAtMs) - expectedArrivals(segments, next - startAtMs);
    return Math.min(this.left, 1 + Math.floor(due / stripe.count));
  }
}

export type StartArrivals = (kind: ScheduledKind, intendedMs: number) => void;

export class Arrivals {
  readonly #seed: number;
  readonly #active: Map<ScheduledKind, ActivePlan> = new Map();
  /** Plans that there were, by kind. */
  readonly #plans: Map<ScheduledKind, number> = new Map();

  constructor(seed: number) {
    this.#seed = seed;
  }

  /**
   * Replaces the plan of its kind. The seed, the kind and how many of the kind there were decide
   * its arrivals: the same in every process that shares the schedule.
   */
  add(plan: ArrivalPlan): void {
    const ordinal = this.#plans.get(plan.kind) ?? 0;
    this.#plans.set(plan.kind, ordinal + 1);
    const seed = this.#seed + SEED_STEPS[plan.kind] + ordinal;
    this.#active.set(plan.kind, new ActivePlan(plan, seed));
  }

  halt(kind: ScheduledKind): void {
    this.#active.delete(kind);
  }

  /** When the next arrival is due; Infinity: none is to come. */
  get nextMs(): number {
    let next = Infinity;
    for (const active of this.#active.values()) next = Math.min(next, active.nextMs);
    return next;
  }

  /** Starts what is due at `nowMs`, as much as one turn may. */
  run(nowMs: number, start: StartArrivals): void {
    for (const [kind, active] of this.#active) {
      let budget = TURN_BUDGET[kind];
      for (let next = active.nextMs; next <= nowMs && budget > 0; next = active.nextMs) {
        budget--;
        active.left--;
        active.schedule.advance();
        start(kind, next);
      }
      if (active.nextMs === Infinity) this.#active.delete(kind);
    }
  }

  backlog(kind: ScheduledKind, nowMs: number): number {
    return this.#active.get(kind)?.backlog(nowMs) ?? 0;
  }

  /** {@link toCome}, of every kind. */
  get allToCome(): Record<ScheduledKind, number> {
    return {
      connect: this.toCome("connect"),
      echo: this.toCome("echo"),
      publish: this.toCome("publish"),
      churn: this.toCome("churn"),
    };
  }

  /** Still to come or due and not started; Infinity where the plan has no such number. */
  toCome(kind: ScheduledKind): number {
    return this.#active.get(kind)?.left ?? 0;
  }
}
