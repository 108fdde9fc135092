// Leases against a list of who holds what.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BufferPool, type Slab } from "../../src/base/buffer-pool.ts";

type Step =
  | { readonly kind: "lease"; readonly bytes: number }
  | { readonly kind: "retain" | "release"; readonly which: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    kind: fc.constant("lease" as const),
    bytes: fc.oneof(
      fc.integer({ min: 0, max: 5_000 }),
      fc.constantFrom(255, 256, 257, 1_024, 65_536, 65_537, 1_048_577),
    ),
  }),
  fc.record({ kind: fc.constant("retain" as const), which: fc.nat(100) }),
  fc.record({ kind: fc.constant("release" as const), which: fc.nat(100) }),
  fc.record({ kind: fc.constant("release" as const), which: fc.nat(100) }),
);

interface Held {
  readonly slab: Slab;
  readonly mark: number;
  holders: number;
}

function take(pool: BufferPool, held: Held[], bytes: number, mark: number): void {
  const slab = pool.lease(bytes);
  expect(slab.bytes.length).toBe(BufferPool.sizeFor(bytes));
  expect(slab.bytes.length).toBeGreaterThanOrEqual(bytes);
  slab.bytes[0] = mark;
  slab.bytes[slab.bytes.length - 1] = mark;
  held.push({ slab, mark, holders: 1 });
}

/** Counts agree, and nobody wrote into what somebody else holds. */
function expectSame(pool: BufferPool, held: readonly Held[]): void {
  expect(pool.leased).toBe(held.length);
  expect(pool.leasedBytes).toBe(held.reduce((sum, { slab }) => sum + slab.bytes.length, 0));
  expect(pool.freeBytes).toBeGreaterThanOrEqual(0);
  for (const { slab, mark, holders } of held) {
    expect([slab.holders, slab.bytes[0], slab.bytes.at(-1)]).toEqual([holders, mark, mark]);
  }
}

describe("the buffer pool", () => {
  it("lends every slab to one lease at a time, counts exactly, and gets everything back", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120, size: "max" }), (steps) => {
        const pool = new BufferPool();
        const held: Held[] = [];
        for (const [index, next] of steps.entries()) {
          if (next.kind === "lease") {
            take(pool, held, next.bytes, index % 251);
          } else if (held.length > 0) {
            const at = next.which % held.length;
            const one = held[at]!;
            one.holders += next.kind === "retain" ? 1 : -1;
            if (next.kind === "retain") one.slab.retain();
            else one.slab.release();
            if (one.holders === 0) held.splice(at, 1);
          }
          expectSame(pool, held);
        }
        for (const { slab, holders } of held) {
          for (let count = 0; count < holders; count++) slab.release();
        }
        expect([pool.leased, pool.leasedBytes]).toEqual([0, 0]);
      }),
      { numRuns: 120 },
    );
  });
});
