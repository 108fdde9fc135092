import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EventQueue, type SubscriptionMessage } from "../../src/client/event-queue.ts";

const event = (offset: number): SubscriptionMessage => ({
  type: "event",
  topic: "t",
  payload: new Uint8Array(),
  offset,
});
const gap = (missed: number | null): SubscriptionMessage => ({ type: "gap", topic: "t", missed });

/** Offsets of events, and gaps as text. */
function drain(queue: EventQueue): (number | string)[] {
  const out: (number | string)[] = [];
  for (let next = queue.shift(); next !== null; next = queue.shift()) {
    out.push(next.type === "event" ? next.offset : `gap ${next.missed}`);
  }
  return out;
}

describe("the queue of a subscription", () => {
  it("gives messages in order and is empty afterwards", () => {
    const queue = new EventQueue("t", 3);
    for (const offset of [1, 2, 3]) queue.push(event(offset));
    expect(queue.length).toBe(3);
    expect(drain(queue)).toEqual([1, 2, 3]);
    expect(queue.length).toBe(0);
    expect(queue.shift()).toBeNull();
  });

  it("drops the oldest when full and tells how many stand missing before the rest", () => {
    const queue = new EventQueue("t", 3);
    for (let offset = 1; offset <= 10; offset++) queue.push(event(offset));
    expect(queue.length).toBe(4);
    expect(drain(queue)).toEqual(["gap 7", 8, 9, 10]);
  });

  it("adds what a server's gap says when that is dropped as well", () => {
    const queue = new EventQueue("t", 2);
    for (const message of [event(1), gap(5), event(7), event(8)]) queue.push(message);
    expect(drain(queue)).toEqual(["gap 6", 7, 8]);
  });

  it("does not know how many are missing once an unknown gap is among them", () => {
    const queue = new EventQueue("t", 2);
    for (const message of [event(1), gap(null), event(1), event(2)]) queue.push(message);
    expect(drain(queue)).toEqual(["gap null", 1, 2]);
  });

  it("joins gaps that follow each other, so that flapping fills no queue", () => {
    const queue = new EventQueue("t", 2);
    for (const message of [event(1), gap(2), gap(3), gap(null), gap(4)]) queue.push(message);
    expect(drain(queue)).toEqual([1, "gap null"]);
  });

  it("keeps one event at least", () => {
    const queue = new EventQueue("t", 1);
    for (const message of [event(1), gap(1), event(3)]) queue.push(message);
    expect(drain(queue)).toEqual(["gap 2", 3]);
  });

  it("loses no count: whatever is pushed and read, events and gaps add up to what came", () => {
    const operation = fc.oneof(
      { weight: 6, arbitrary: fc.constant("event" as const) },
      { weight: 4, arbitrary: fc.constant("read" as const) },
      { weight: 1, arbitrary: fc.integer({ min: 1, max: 9 }) },
    );
    const property = fc.property(
      fc.integer({ min: 1, max: 6 }),
      fc.array(operation, { maxLength: 400 }),
      (max, operations) => {
        const queue = new EventQueue("t", max);
        let offset = 0;
        let accounted = 0;
        const read = (): boolean => {
          const next = queue.shift();
          if (next === null) return false;
          accounted += next.type === "event" ? 1 : next.missed!;
          // Every event stands exactly where all before it are accounted for.
          if (next.type === "event") expect(accounted).toBe(next.offset);
          return true;
        };
        for (const what of operations) {
          if (what === "read") read();
          else if (what === "event") queue.push(event(++offset));
          else {
            offset += what;
            queue.push(gap(what));
          }
          expect(queue.length).toBeLessThanOrEqual(max + 1);
        }
        while (read());
        expect(accounted).toBe(offset);
      },
    );
    fc.assert(property, { numRuns: 500 });
  });
});
