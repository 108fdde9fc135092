// In which order generators open their connections. All at once would be woken for every single
// one; a few at a time do many in one turn, which costs little more than half as much.

import type { ArrivalPlan } from "./generator-messages.ts";
import { CONNECTS_PER_GENERATOR } from "./generator-plan.ts";

/** So many more than could keep up open at a time: one may be held up. */
const LANES_SPARE = 1;

/**
 * Schedules that together come to `perSecond` from the first to the last: generators stand in
 * lanes, one behind the other, and all lanes end together.
 * @param shares how many each generator opens, by its index.
 * @returns by the generator's index; none for who opens nothing.
 */
export function connectPlans(
  shares: readonly number[],
  perSecond: number,
  startAtMs: number,
): ReadonlyMap<number, ArrivalPlan> {
  const openers = [...shares.entries()].filter(([, share]) => share > 0);
  const count = Math.ceil(perSecond / CONNECTS_PER_GENERATOR) + LANES_SPARE;
  const lanes = Array.from({ length: Math.min(count, openers.length) }, (_, lane) =>
    openers.filter((_opener, index) => index % count === lane),
  );
  const total = sumOf(openers);
  const plans = new Map<number, ArrivalPlan>();
  for (const [lane, members] of lanes.entries()) {
    const lanePerSecond = (perSecond * sumOf(members)) / total;
    // Each begins within the others' first interval, so that together they are as even as one.
    let fromMs = startAtMs + (lane * 1_000) / perSecond;
    for (const [index, share] of members) {
      const durationMs = (share / lanePerSecond) * 1_000;
      const rate = { durationMs, fromPerSecond: lanePerSecond, toPerSecond: lanePerSecond };
      plans.set(index, {
        kind: "connect",
        arrival: "constant",
        segments: [rate],
        startAtMs: fromMs,
        countMax: share,
        stripe: { index: 0, count: 1 },
      });
      fromMs += durationMs;
    }
  }
  return plans;
}

function sumOf(openers: readonly (readonly [number, number])[]): number {
  return openers.reduce((sum, [, share]) => sum + share, 0);
}
