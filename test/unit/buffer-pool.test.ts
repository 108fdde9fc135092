import { describe, expect, it } from "vitest";
import { BufferPool, SLAB_SIZES } from "../../src/base/buffer-pool.ts";

const LARGEST = SLAB_SIZES.at(-1)!;

describe("a lease", () => {
  it.each(SLAB_SIZES)("of %i bytes gets a slab of just that size", (size) => {
    const pool = new BufferPool();
    expect(pool.lease(size).bytes.length).toBe(size);
    expect(BufferPool.sizeFor(size)).toBe(size);
  });

  it.each(SLAB_SIZES.slice(0, -1).map((size, index) => [size + 1, SLAB_SIZES[index + 1]!]))(
    "of %i bytes gets a slab of %i",
    (wanted, size) => {
      expect(new BufferPool().lease(wanted).bytes.length).toBe(size);
      expect(BufferPool.sizeFor(wanted)).toBe(size);
    },
  );

  it.each([0, 1])("of %i bytes gets the smallest slab", (wanted) => {
    expect(new BufferPool().lease(wanted).bytes.length).toBe(SLAB_SIZES[0]);
  });

  it("beyond the largest class is exact, counted, and not kept afterwards", () => {
    const pool = new BufferPool();
    const slab = pool.lease(LARGEST + 1);
    expect(slab.bytes.length).toBe(LARGEST + 1);
    expect(BufferPool.sizeFor(LARGEST + 1)).toBe(LARGEST + 1);
    expect([pool.leased, pool.leasedBytes]).toEqual([1, LARGEST + 1]);
    slab.release();
    expect([pool.leased, pool.leasedBytes, pool.freeBytes]).toEqual([0, 0, 0]);
  });

  it("has one holder, and goes back with the last of them", () => {
    const pool = new BufferPool();
    const slab = pool.lease(100);
    expect(slab.holders).toBe(1);
    slab.retain().retain();
    slab.release();
    slab.release();
    expect([slab.holders, pool.leased]).toEqual([1, 1]);
    slab.release();
    expect([slab.holders, pool.leased, pool.leasedBytes]).toEqual([0, 0, 0]);
  });

  it("cannot be released more often than it was held", () => {
    const pool = new BufferPool();
    const slab = pool.lease(100);
    slab.release();
    expect(() => slab.release()).toThrow("a slab is released as often as it was held");
    expect([pool.leased, pool.leasedBytes]).toEqual([0, 0]);
  });

  it("shares no byte with another one that is held", () => {
    const pool = new BufferPool();
    const slabs = Array.from({ length: 1_000 }, () => pool.lease(256));
    for (const [index, { bytes }] of slabs.entries()) bytes.fill(index % 251);
    for (const [index, { bytes }] of slabs.entries()) {
      expect(bytes.every((byte) => byte === index % 251)).toBe(true);
    }
  });

  it("reuses what was given back before it asks for more memory", () => {
    const pool = new BufferPool();
    const first = pool.lease(4_096);
    const { freeBytes } = pool;
    first.release();
    const second = pool.lease(4_096);
    expect(second).toBe(first);
    expect(pool.freeBytes).toBe(freeBytes);
  });
});

describe("what is kept free", () => {
  it.each(SLAB_SIZES)("of size %i stays below 4 MiB whatever comes back", (size) => {
    const pool = new BufferPool();
    const count = Math.ceil((6 * 1_048_576) / size);
    const slabs = Array.from({ length: count }, () => pool.lease(size));
    for (const slab of slabs) slab.release();
    expect([pool.leased, pool.leasedBytes]).toEqual([0, 0]);
    expect(pool.freeBytes).toBe(Math.floor((4 * 1_048_576) / size) * size);
  });

  it("is counted exactly while slabs go and come", () => {
    const pool = new BufferPool();
    const small = pool.lease(1);
    expect(pool.freeBytes).toBe(65_536 - 256);
    const large = pool.lease(262_144);
    expect(pool.freeBytes).toBe(65_536 - 256);
    large.release();
    expect(pool.freeBytes).toBe(65_536 - 256 + 262_144);
    small.release();
    expect(pool.freeBytes).toBe(65_536 + 262_144);
  });
});
