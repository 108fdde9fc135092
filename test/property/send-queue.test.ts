// The send queue against an array, and what a client can tell from it against what was published.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BufferPool } from "../../src/base/buffer-pool.ts";
import { type EventFlow, SendQueue } from "../../src/connection/send-queue.ts";

type Step =
  | { readonly kind: "event"; readonly flow: number; readonly length: number }
  | { readonly kind: "reply" | "control"; readonly length: number }
  | { readonly kind: "send" | "clear" }
  | { readonly kind: "drop newest" | "conflate"; readonly flow: number }
  | { readonly kind: "drop oldest"; readonly wanted: number; readonly max: number }
  | { readonly kind: "transport"; readonly bytes: number };

const flow = fc.nat(2);
const length = fc.integer({ min: 1, max: 60 });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("event" as const), flow, length }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom("reply", "control"), length }) },
  { weight: 3, arbitrary: fc.constant<Step>({ kind: "send" }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom("drop newest", "conflate"), flow }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("drop oldest" as const),
      wanted: fc.nat(80),
      max: fc.nat(300),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("transport" as const), bytes: fc.nat(100) }),
  },
) as fc.Arbitrary<Step>;

/** An entry of the model: `seq` counts the events of a flow from 1. */
interface Entry {
  readonly flow: number | null;
  readonly seq: number;
  readonly length: number;
}

/** A queue as anybody would write it, and what the client of it has heard. */
class Model {
  entries: Entry[] = [];
  transportBytes: number = 0;
  /** Published and heard so far, by flow. */
  readonly published: number[] = [0, 0, 0];
  readonly heard: number[] = [0, 0, 0];

  get bytes(): number {
    return this.entries.reduce((sum, entry) => sum + entry.length, 0);
  }

  /** @returns how many were dropped. */
  dropOldest(wanted: number, max: number): number {
    let dropped = 0;
    while (this.bytes + this.transportBytes + wanted > max) {
      const at = this.entries.findIndex((entry) => entry.flow !== null);
      if (at === -1) break;
      this.entries.splice(at, 1);
      dropped++;
    }
    return dropped;
  }

  conflate(incoming: number): number {
    const before = this.entries.length;
    this.entries = this.entries.filter((entry, at) => {
      if (entry.flow === null) return true;
      if (entry.flow === incoming) return false;
      return !this.entries.slice(at + 1).some((later) => later.flow === entry.flow);
    });
    return before - this.entries.length;
  }

  /** Events that are missing before each entry, by position: none that was heard or is queued. */
  gaps(): number[] {
    const last = [...this.heard];
    return this.entries.map(({ flow: of, seq }) => {
      if (of === null) return 0;
      const missing = seq - last[of]! - 1;
      last[of] = seq;
      return missing;
    });
  }

  /** Dropped events of a flow that no queued one stands behind. */
  missed(of: number): number {
    const last = this.entries.findLast((entry) => entry.flow === of)?.seq ?? this.heard[of]!;
    return this.published[of]! - last;
  }
}

class Real {
  readonly pool: BufferPool = new BufferPool();
  readonly queue: SendQueue = new SendQueue(0);
  readonly flows: EventFlow[] = ["a", "b", "c"].map((topicName) => ({
    topicName,
    policy: "conflate",
    missed: 0,
    first: null,
    last: null,
  }));

  push(of: number | null, seq: number, bytes: number): void {
    const slab = this.pool.lease(bytes + 8);
    new DataView(slab.bytes.buffer, slab.bytes.byteOffset).setUint32(4, seq);
    this.queue.pushBack(slab, 8, 8 + bytes, of === null ? null : this.flows[of]!);
  }

  pushFront(bytes: number): void {
    this.queue.pushFront(this.pool.lease(bytes), 0, bytes);
  }
}

function run(model: Model, real: Real, next: Step): void {
  const { queue, flows } = real;
  switch (next.kind) {
    case "event": {
      const seq = ++model.published[next.flow]!;
      real.push(next.flow, seq, next.length);
      model.entries.push({ flow: next.flow, seq, length: next.length });
      return;
    }
    case "reply":
      real.push(null, 0, next.length);
      model.entries.push({ flow: null, seq: 0, length: next.length });
      return;
    case "control":
      real.pushFront(next.length);
      model.entries.unshift({ flow: null, seq: 0, length: next.length });
      return;
    case "send":
      send(model, real);
      return;
    case "drop newest":
      model.published[next.flow]!++;
      flows[next.flow]!.missed++;
      return;
    case "drop oldest":
      expect(queue.dropOldest(next.wanted, next.max)).toBe(model.dropOldest(next.wanted, next.max));
      return;
    case "conflate":
      expect(queue.conflate(flows[next.flow]!)).toBe(model.conflate(next.flow));
      return;
    case "transport":
      queue.transportBytes = next.bytes;
      model.transportBytes = next.bytes;
      return;
    case "clear":
      expect(queue.clear()).toBe(model.bytes);
      model.entries = [];
  }
}

/** The client hears the Gap and the event: together they are all that was published up to it. */
function send(model: Model, real: Real): void {
  if (model.entries.length === 0) return;
  const [missing] = model.gaps();
  const { flow: of, seq, length: bytes } = model.entries.shift()!;
  const entry = real.queue.shift();
  expect([entry.end - entry.start, entry.missedBefore]).toEqual([bytes, missing]);
  if (of !== null) {
    expect(model.heard[of]! + entry.missedBefore + 1).toBe(seq);
    model.heard[of] = seq;
  }
  entry.slab.release();
}

function expectSame(model: Model, real: Real): void {
  const { queue, flows, pool } = real;
  expect([queue.count, queue.bytes]).toEqual([model.entries.length, model.bytes]);
  expect(queue.totalBytes).toBe(model.bytes + model.transportBytes);
  expect(pool.leased).toBe(model.entries.length);
  const gaps: number[] = [];
  const found: (string | null)[] = [];
  for (let entry = queue.head; entry !== null; entry = entry.next) {
    gaps.push(entry.missedBefore);
    found.push(entry.flow?.topicName ?? null);
  }
  expect(gaps).toEqual(model.gaps());
  expect(found).toEqual(
    model.entries.map((entry) => (entry.flow === null ? null : "abc"[entry.flow])),
  );
  for (const [of, { missed }] of flows.entries()) expect(missed).toBe(model.missed(of));
}

describe("the send queue", () => {
  it("holds what an array would hold, with each Gap exactly where events are missing", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 100, size: "max" }), (steps) => {
        const [model, real] = [new Model(), new Real()];
        for (const next of steps) {
          run(model, real, next);
          expectSame(model, real);
        }
        while (model.entries.length > 0) run(model, real, { kind: "send" });
        expectSame(model, real);
        expect(real.pool.leased).toBe(0);
      }),
      { numRuns: 200 },
    );
  });
});
