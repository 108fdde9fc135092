import { beforeEach, describe, expect, it } from "vitest";
import { BufferPool } from "../../src/base/buffer-pool.ts";
import { type EventFlow, type QueueEntry, SendQueue } from "../../src/connection/send-queue.ts";

function flowOf(topicName: string): EventFlow {
  return { topicName, policy: "conflate", missed: 0, first: null, last: null };
}

let pool: BufferPool;
let queue: SendQueue;
let a: EventFlow;
let b: EventFlow;

beforeEach(() => {
  pool = new BufferPool();
  queue = new SendQueue(0);
  a = flowOf("a");
  b = flowOf("b");
});

/** Queues `length` bytes; the first byte is `mark`, by which the entry is known again. */
function push(flow: EventFlow | null, mark: number, length: number = 10): void {
  const slab = pool.lease(length + 3);
  slab.bytes[3] = mark;
  queue.pushBack(slab, 3, 3 + length, flow);
}

function markOf({ slab, start }: QueueEntry): number {
  return slab.bytes[start]!;
}

/** Marks in sending order; an entry with a Gap before it is [missed, mark]. */
function contents(): (number | [number, number])[] {
  const found: (number | [number, number])[] = [];
  for (let entry = queue.head; entry !== null; entry = entry.next) {
    found.push(entry.missedBefore > 0 ? [entry.missedBefore, markOf(entry)] : markOf(entry));
  }
  return found;
}

describe("a send queue", () => {
  it("gives entries back in the order in which they came, with their bytes counted", () => {
    for (const mark of [1, 2, 3]) push(null, mark, mark * 100);
    expect([queue.bytes, queue.count]).toEqual([600, 3]);
    for (const mark of [1, 2, 3]) {
      const entry = queue.shift();
      expect([markOf(entry), entry.end - entry.start]).toEqual([mark, mark * 100]);
      entry.slab.release();
    }
    expect([queue.bytes, queue.count, queue.head]).toEqual([0, 0, null]);
    expect(pool.leased).toBe(0);
  });

  it("lets control frames pass what waits, also when nothing does", () => {
    const control = (mark: number): void => {
      const slab = pool.lease(4);
      slab.bytes[0] = mark;
      queue.pushFront(slab, 0, 4);
    };
    control(9);
    push(a, 1);
    control(8);
    expect(contents()).toEqual([8, 9, 1]);
    push(null, 2);
    expect(contents()).toEqual([8, 9, 1, 2]);
    expect(queue.bytes).toBe(28);
  });

  it("asserts that something is there before it gives it away", () => {
    expect(() => queue.shift()).toThrow("something is queued");
    push(null, 1);
    queue.shift().slab.release();
    expect(() => queue.shift()).toThrow("something is queued");
  });

  it("releases everything when it is cleared, and says how many bytes were lost", () => {
    push(a, 1, 100);
    push(null, 2, 50);
    push(b, 3, 7);
    expect(queue.clear()).toBe(157);
    expect([queue.bytes, queue.count, pool.leased]).toEqual([0, 0, 0]);
    expect([a.first, a.last, b.first, b.last]).toEqual([null, null, null, null]);
    expect(queue.clear()).toBe(0);
    push(a, 4);
    expect(contents()).toEqual([4]);
  });

  it("counts what the transport still has to what waits", () => {
    push(null, 1, 100);
    queue.transportBytes = 500;
    expect(queue.totalBytes).toBe(600);
  });
});

describe("dropping the oldest events", () => {
  it("stops as soon as there is room, and puts the Gap before the next event of the topic", () => {
    for (const mark of [1, 2, 3, 4]) push(a, mark, 10);
    expect(queue.dropOldest(15, 40)).toBe(2);
    expect(contents()).toEqual([[2, 3], 4]);
    expect([queue.bytes, pool.leased]).toEqual([20, 2]);
  });

  it("drops nothing while there is room to the byte, and one event for one byte more", () => {
    for (const mark of [1, 2, 3]) push(a, mark, 10);
    expect(queue.dropOldest(10, 40)).toBe(0);
    expect(queue.dropOldest(11, 40)).toBe(1);
  });

  it("never drops replies and control frames, even if that leaves no room", () => {
    push(null, 1, 50);
    push(a, 2, 10);
    push(null, 3, 50);
    expect(queue.dropOldest(10, 40)).toBe(1);
    expect(contents()).toEqual([1, 3]);
    expect(a.missed).toBe(1);
    expect(queue.dropOldest(10, 40)).toBe(0);
  });

  it("counts what the transport has, which cannot be dropped", () => {
    push(a, 1, 10);
    push(a, 2, 10);
    queue.transportBytes = 30;
    expect(queue.dropOldest(1, 41)).toBe(1);
    expect(contents()).toEqual([[1, 2]]);
  });

  it("keeps a count for each topic, at the place where its events are missing", () => {
    push(a, 1);
    push(b, 2);
    push(a, 3);
    push(null, 4);
    push(b, 5);
    expect(queue.dropOldest(0, 20)).toBe(3);
    expect(contents()).toEqual([4, [1, 5]]);
    expect([a.missed, b.missed]).toEqual([2, 0]);
    push(a, 6);
    expect(contents()).toEqual([4, [1, 5], [2, 6]]);
    expect(a.missed).toBe(0);
  });

  it("adds up over several rounds, and with what was missed before anything was queued", () => {
    a.missed = 3;
    push(a, 1);
    expect(contents()).toEqual([[3, 1]]);
    push(a, 2);
    queue.dropOldest(0, 10);
    expect(contents()).toEqual([[4, 2]]);
    queue.dropOldest(10, 10);
    expect([contents(), a.missed]).toEqual([[], 5]);
    push(a, 3);
    expect(contents()).toEqual([[5, 3]]);
  });
});

describe("conflating", () => {
  it("keeps the newest event of each other topic and none of the one that is coming", () => {
    for (const [flow, mark] of [
      [a, 1],
      [b, 2],
      [a, 3],
      [null, 4],
      [b, 5],
      [b, 6],
    ] as const) {
      push(flow, mark);
    }
    expect(queue.conflate(a)).toBe(4);
    expect(contents()).toEqual([4, [2, 6]]);
    expect([a.missed, b.missed]).toEqual([2, 0]);
    push(a, 7);
    expect(contents()).toEqual([4, [2, 6], [2, 7]]);
  });

  it("drops nothing where each topic has one event and a new topic comes", () => {
    push(a, 1);
    push(b, 2);
    expect(queue.conflate(flowOf("c"))).toBe(0);
    expect(contents()).toEqual([1, 2]);
  });

  it("of an empty queue does nothing", () => {
    expect(queue.conflate(a)).toBe(0);
    expect(a.missed).toBe(0);
  });

  it("goes on from the counts that dropping left", () => {
    for (const mark of [1, 2, 3, 4]) push(a, mark);
    queue.dropOldest(0, 30);
    queue.conflate(b);
    expect(contents()).toEqual([[3, 4]]);
  });
});

describe("an event that leaves in order", () => {
  it("takes its Gap with it, and later drops begin to count anew", () => {
    for (const mark of [1, 2, 3, 4]) push(a, mark);
    queue.dropOldest(0, 30);
    const entry = queue.shift();
    expect([entry.missedBefore, markOf(entry)]).toEqual([1, 2]);
    entry.slab.release();
    queue.dropOldest(0, 10);
    expect(contents()).toEqual([[1, 4]]);
  });

  it("leaves its topic empty when it was the last, and the topic may fill again", () => {
    push(a, 1);
    queue.shift().slab.release();
    expect([a.first, a.last]).toEqual([null, null]);
    push(a, 2);
    push(a, 3);
    expect(contents()).toEqual([2, 3]);
    expect(queue.conflate(b)).toBe(1);
    expect(contents()).toEqual([[1, 3]]);
  });

  it("may be shared with other queues, each of which holds it", () => {
    const slab = pool.lease(10);
    const other = new SendQueue(0);
    queue.pushBack(slab.retain(), 0, 10, a);
    other.pushBack(slab.retain(), 0, 10, b);
    slab.release();
    expect(slab.holders).toBe(2);
    queue.clear();
    expect([slab.holders, pool.leased]).toEqual([1, 1]);
    other.clear();
    expect(pool.leased).toBe(0);
  });
});
