// Random joins, leaves, publishes and disconnects on several workers, over sockets that are slow
// and cut everything to pieces.

import fc from "fast-check";
import { it } from "vitest";
import { type BusStep, BusWorld, CLIENTS, TOPICS, WORKERS } from "../support/bus-world.ts";

const client = fc.nat(CLIENTS - 1);
const topic = fc.constantFrom(...TOPICS);
const worker = fc.nat(WORKERS - 1);
const asked = fc.constantFrom("subscribe", "subscribe", "unsubscribe", "publish");
const step = fc.oneof(
  { weight: 12, arbitrary: fc.record({ kind: asked, client, topic }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("disconnect"), client }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom("hold", "let go"), worker }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant("burst"), worker, topic, count: fc.nat(20) }),
  },
  { weight: 8, arbitrary: fc.record({ kind: fc.constant("pass"), ms: fc.nat(12) }) },
) as fc.Arbitrary<BusStep>;

it("every subscriber gets the events of its subscription: all, in order, none twice", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 10, maxLength: 150, size: "max" }),
      fc.nat(),
      async (steps, seed) => {
        const world = new BusWorld(seed);
        await world.start();
        for (const next of steps) await world.take(next);
        await world.end();
      },
    ),
    { numRuns: 100 },
  );
}, 60_000);
