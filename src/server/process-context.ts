// What all connections of a process share, put together.

import { BufferPool } from "../base/buffer-pool.ts";
import type { Clock } from "../base/clock.ts";
import { Prng } from "../base/prng.ts";
import { TimerWheel } from "../base/timer-wheel.ts";
import type { ProcessContext } from "../connection/connection-context.ts";
import { Cork } from "../connection/cork.ts";
import { Outbound } from "../connection/outbound.ts";
import { SendBudget } from "../connection/send-budget.ts";
import { Counters } from "../observe/counters.ts";
import { MessageReader } from "../wire/message-reader.ts";
import { PayloadScope } from "../wire/payload.ts";

/** Precision of every deadline, in milliseconds. */
const TICK_MS = 50;
/**
 * The same in workers that outnumber the cores: a tick finds the caches of another process and
 * costs some 0.4 ms, so that 18 idle workers on 2 cores take a tenth of the machine with the finer.
 * With a still coarser one heartbeats leave in bursts that calls wait behind: the p99 of calls over
 * 300,000 connections was 3.4 times that over 1,000 at 200 ms, and 1.8 times at 100
 * (npm run bench:latency).
 */
const CROWDED_TICK_MS = 100;

/**
 * @param seed of jitter; undefined: random.
 * @param isCrowded whether more processes than cores serve.
 */
export function processContext(
  clock: Clock,
  seed: number | undefined,
  budgetBytes: number,
  isCrowded: boolean = false,
): ProcessContext {
  const pool = new BufferPool();
  const cork = new Cork(pool);
  const counters = new Counters();
  const scope = new PayloadScope();
  const budget = new SendBudget(budgetBytes);
  return {
    clock,
    pool,
    cork,
    counters,
    scope,
    budget,
    wheel: new TimerWheel(isCrowded ? CROWDED_TICK_MS : TICK_MS),
    prng: new Prng(seed ?? Prng.randomSeed()),
    reader: new MessageReader(scope),
    outbound: new Outbound(pool, cork, counters, budget),
    turn: { owner: null, work: 0 },
  };
}
