// Readers that stop and go under each policy: what a client was sent and what it was told to be
// missing is together all that was published, in order; and the budget is the truth at every step.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  SLOW_CONSUMER_POLICIES,
  type SlowConsumerPolicy,
} from "../../src/connection/send-queue.ts";
import {
  expectToFollow,
  SlowReaderScene,
  type Step,
  TOPICS,
} from "../support/slow-reader-scene.ts";

const topic = fc.nat(TOPICS.length - 1);
const length = fc.oneof(fc.nat(100), fc.integer({ min: 500, max: 3_900 }));
const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constant("publish" as const), topic, length }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("by client" as const), topic, length }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("call" as const), length: fc.nat(300) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("push" as const), length: fc.nat(300) }) },
  { weight: 3, arbitrary: fc.constant<Step>({ kind: "stop" }) },
  { weight: 1, arbitrary: fc.constant<Step>({ kind: "go" }) },
  { weight: 2, arbitrary: fc.constant<Step>({ kind: "settle" }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("wait" as const),
      ms: fc.integer({ min: 1, max: 400 }),
    }),
  },
) as fc.Arbitrary<Step>;

interface Outcome {
  readonly dropped: number;
  readonly closed: number;
}

async function play(
  policy: SlowConsumerPolicy,
  steps: readonly Step[],
  seed: number,
): Promise<Outcome> {
  const scene = await SlowReaderScene.open(policy, seed);
  const { running, reader, neighbour, publisher } = scene;
  for (const next of steps) {
    await scene.run(next);
    scene.expectBudgetIsTrue();
  }
  reader.peer.setReading(true);
  await scene.pass(2_000);
  // One more event per topic tells what was dropped last.
  for (const name of TOPICS.keys()) await scene.run({ kind: "publish", topic: name, length: 1 });
  await scene.pass(2_000);
  scene.expectBudgetIsTrue();
  const { counters } = running.server.shared;
  let missed = 0;
  for (const client of [reader, neighbour]) {
    const followed = expectToFollow(client);
    missed += followed.missed;
    if (client.closedWith === null) expect(followed.reached).toEqual(scene.published);
    else expect(client.closedWith).toBe(3_003);
  }
  const closed = [reader, neighbour].filter(({ closedWith }) => closedWith !== null).length;
  expect(running.server.closedByCause.queue_full).toBe(closed);
  // Of what was dropped for a connection that is closed nobody can be told.
  if (closed === 0) expect(missed).toBe(counters.eventsDropped);
  if (reader.closedWith === null) {
    expect(scene.answers()).toEqual(Array.from({ length: scene.calls }, (_, index) => index + 1));
  }
  if (policy === "disconnect") expect([missed, counters.eventsDropped]).toEqual([0, 0]);
  expect(publisher.closedWith).toBe(null);
  await running.stop();
  return { dropped: counters.eventsDropped, closed };
}

describe.each(SLOW_CONSUMER_POLICIES)("under the policy %s", (policy) => {
  it("a client knows of every event that it got it or missed it, in order", async () => {
    const steps = fc.array(step, { minLength: 30, maxLength: 70, size: "max" });
    const outcomes: Outcome[] = [];
    await fc.assert(
      fc.asyncProperty(steps, fc.nat(), async (all, seed) => {
        outcomes.push(await play(policy, all, seed));
      }),
      { numRuns: 60 },
    );
    // Queues did fill up: otherwise nothing was shown.
    const effect = policy === "disconnect" ? "closed" : "dropped";
    expect(outcomes.filter((outcome) => outcome[effect] > 0).length).toBeGreaterThan(0);
  });
});
