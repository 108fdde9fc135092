import { beforeEach, describe, expect, it } from "vitest";
import { BufferPool, type Slab } from "../../src/base/buffer-pool.ts";
import { Cork, CORK_BYTES, type Corked } from "../../src/connection/cork.ts";

class Owner implements Corked {
  readonly written: string[] = [];
  then: () => void = () => {};

  /** What a transport that gathers writes keeps until it asks the kernel. */
  readonly kept: { slab: Slab; start: number; end: number }[] = [];
  keeps: boolean = false;

  writeCorked(slab: Slab, start: number, end: number): void {
    this.written.push(textOf(slab, start, end));
    if (this.keeps) this.kept.push({ slab: slab.retain(), start, end });
    this.then();
  }
}

function textOf(slab: Slab, start: number, end: number): string {
  return Buffer.from(slab.bytes.subarray(start, end)).toString();
}

let pool: BufferPool;
let cork: Cork;
let a: Owner;
let b: Owner;

beforeEach(() => {
  pool = new BufferPool();
  cork = new Cork(pool);
  a = new Owner();
  b = new Owner();
});

function say(owner: Owner, text: string): void {
  const target = cork.open(owner, text.length);
  target.set(Buffer.from(text), cork.at);
  cork.commit(cork.at + text.length);
}

describe("the cork", () => {
  it("writes at once what one connection says in one chunk, at the chunk's end", () => {
    cork.enter();
    say(a, "one ");
    say(a, "two ");
    say(a, "three");
    expect([a.written, pool.leased]).toEqual([[], 1]);
    cork.leave();
    expect([a.written, pool.leased]).toEqual([["one two three"], 0]);
  });

  it("writes at the end of the turn what is said outside of a chunk", async () => {
    say(a, "one ");
    say(a, "two");
    expect(a.written).toEqual([]);
    await Promise.resolve();
    expect([a.written, pool.leased]).toEqual([["one two"], 0]);
  });

  it("writes what one has said when another one speaks, so that order across them is kept", () => {
    cork.enter();
    say(a, "a1");
    say(b, "b1");
    expect([a.written, b.written]).toEqual([["a1"], []]);
    say(a, "a2");
    expect([a.written, b.written]).toEqual([["a1"], ["b1"]]);
    cork.leave();
    expect([a.written, b.written]).toEqual([["a1", "a2"], ["b1"]]);
    expect(pool.leased).toBe(0);
  });

  it("waits for the outermost of nested chunks", () => {
    cork.enter();
    cork.enter();
    say(a, "x");
    cork.leave();
    expect(a.written).toEqual([]);
    cork.leave();
    expect(a.written).toEqual(["x"]);
  });

  it("writes what it has when the next frame does not fit, to the byte", () => {
    cork.enter();
    say(a, "x".repeat(CORK_BYTES - 5));
    say(a, "12345");
    expect(a.written).toEqual([]);
    say(a, "6");
    expect(a.written.map(({ length }) => length)).toEqual([CORK_BYTES]);
    cork.leave();
    expect(a.written[1]).toBe("6");
  });

  it("refuses a frame that is longer than its slab", () => {
    expect(() => cork.open(a, CORK_BYTES + 1)).toThrow("a longer frame is written by itself");
    expect(pool.leased).toBe(0);
  });

  it("writes nothing for a frame that was begun and not finished", () => {
    cork.enter();
    cork.open(a, 100);
    cork.leave();
    expect([a.written, pool.leased]).toEqual([[], 0]);
  });

  it("does not write an unfinished frame behind a finished one", () => {
    cork.enter();
    say(a, "whole");
    cork.open(a, 100).set(Buffer.from("half"), cork.at);
    cork.leave();
    expect(a.written).toEqual(["whole"]);
  });

  it("writes for the one who asks only what is its own", () => {
    cork.enter();
    say(a, "x");
    cork.flushFor(b);
    expect(a.written).toEqual([]);
    cork.flushFor(a);
    expect(a.written).toEqual(["x"]);
    cork.flushFor(a);
    expect(a.written).toEqual(["x"]);
    cork.leave();
  });

  it("forgets what a connection said that has ended, and says how much that was", () => {
    cork.enter();
    say(a, "12345");
    expect(cork.discardFor(b)).toBe(0);
    expect(cork.discardFor(a)).toBe(5);
    expect(pool.leased).toBe(0);
    cork.leave();
    expect(a.written).toEqual([]);
    expect(cork.discardFor(a)).toBe(0);
  });

  it("may be spoken into while it writes", () => {
    cork.enter();
    a.then = () => {
      a.then = () => {};
      say(b, "told by a");
      say(a, "again");
    };
    say(a, "first");
    cork.leave();
    expect(a.written[0]).toBe("first");
    expect(b.written).toEqual(["told by a"]);
  });

  it("writes in the same turn what was said while it wrote", async () => {
    cork.enter();
    a.then = () => {
      a.then = () => {};
      say(a, "again");
    };
    say(a, "first");
    cork.leave();
    await Promise.resolve();
    expect([a.written, pool.leased]).toEqual([["first", "again"], 0]);
  });

  it("may lose its owner while it writes", () => {
    cork.enter();
    say(a, "x");
    a.then = () => expect(cork.discardFor(a)).toBe(0);
    cork.leave();
    expect([a.written, pool.leased]).toEqual([["x"], 0]);
  });

  it("needs no second turn for frames that were written by the first", async () => {
    say(a, "x");
    cork.flush();
    await Promise.resolve();
    expect([a.written, pool.leased]).toEqual([["x"], 0]);
  });

  it("goes on in a slab that a transport keeps, and leaves there what was written", () => {
    a.keeps = true;
    b.keeps = true;
    cork.enter();
    say(a, "to a");
    say(b, "to b");
    say(a, "again");
    cork.leave();
    const kept = [...a.kept, ...b.kept];
    expect(new Set(kept.map(({ slab }) => slab)).size).toBe(1);
    expect(kept.map(({ slab, start, end }) => textOf(slab, start, end))).toEqual([
      ...a.written,
      ...b.written,
    ]);
    for (const { slab } of kept) slab.release();
    expect(pool.leased).toBe(0);
  });

  it("takes another slab when the one that is kept is full", () => {
    a.keeps = true;
    cork.enter();
    say(a, "x".repeat(CORK_BYTES - 10));
    cork.flush();
    say(a, "y".repeat(20));
    cork.leave();
    const [first, second] = a.kept;
    expect(second!.slab).not.toBe(first!.slab);
    expect(second!.start).toBe(0);
    for (const { slab } of a.kept) slab.release();
    expect(pool.leased).toBe(0);
  });

  it("does not go on in a slab that was let go and lent to somebody else", () => {
    cork.enter();
    say(a, "first");
    cork.leave();
    const foreign = pool.lease(CORK_BYTES);
    foreign.bytes.fill(0x2e);
    cork.enter();
    say(a, "second");
    cork.leave();
    expect(textOf(foreign, 0, 20)).toBe(".".repeat(20));
    foreign.release();
  });

  it("goes on behind a frame that was forgotten, not over what is kept", () => {
    a.keeps = true;
    cork.enter();
    say(a, "kept");
    cork.flush();
    say(b, "forgotten");
    cork.discardFor(b);
    say(a, "next");
    cork.leave();
    expect(a.kept.map(({ slab, start, end }) => textOf(slab, start, end))).toEqual([
      "kept",
      "next",
    ]);
    for (const { slab } of a.kept) slab.release();
  });

  it("never goes on in an older slab at the offsets of a newer one", () => {
    a.keeps = true;
    cork.enter();
    say(a, "x".repeat(60_000));
    cork.flush();
    // It does not fit behind that, and is forgotten in a slab of its own.
    say(b, "y".repeat(10_000));
    cork.discardFor(b);
    say(b, "z".repeat(20_000));
    cork.leave();
    const [{ slab, start, end }] = a.kept as [(typeof a.kept)[number]];
    expect(textOf(slab, start, end)).toBe("x".repeat(60_000));
    slab.release();
    expect(pool.leased).toBe(0);
  });
});
