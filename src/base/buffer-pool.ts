// Slabs of a few fixed sizes that are lent out, counted and taken back. Whoever leases a slab owns
// it until the last release; a slab that several queues share (one event, many subscribers) counts
// its holders. Leases outstanding are zero when nothing is queued and no frame is half read.

import { assert } from "./assert.ts";

/**
 * Bytes of each size class, about four times the one before. The large ones have room for a frame
 * of 64 KiB or 1 MiB with its header, which would otherwise take the next class.
 */
export const SLAB_SIZES: readonly number[] = [
  256, 1_024, 4_096, 16_384, 66_048, 262_144, 1_052_672,
];
/** The largest slab that is kept for the next lease. */
export const SLAB_BYTES_MAX: number = SLAB_SIZES[SLAB_SIZES.length - 1]!;
/** Free slabs kept per size, in bytes: enough for a burst, little enough to forget. */
const FREE_BYTES_MAX = 4 * 1_048_576;
/** Small classes are cut from one allocation of this size, to spare the allocator. */
const CHUNK_BYTES = 65_536;

/** Only large slabs, of which there are few, keep views. */
const VIEWED_BYTES_MIN = 65_536;
/**
 * Longest view that a slab keeps: about 100 KB of small objects in a slab that had every length.
 */
const VIEWS_MAX = 1_024;

/** Plain words shared by every environment: Node's Buffer is one. */
export type Bytes = Uint8Array<ArrayBufferLike>;

export class Slab {
  /** The memory. Valid while the slab is held; the next holder finds the old bytes in it. */
  readonly bytes: Bytes;
  readonly #pool: BufferPool;
  /** Index into SLAB_SIZES; -1: larger than any class, never kept. */
  readonly sizeClass: number;
  /** Rises each time the slab is lent out: tells one holder's slab from the next one's. */
  lease: number = 0;
  #holders: number = 0;
  /** Views from 0 on, by length; at most VIEWS_MAX of them. */
  #views: Bytes[] | null = null;

  constructor(pool: BufferPool, bytes: Bytes, sizeClass: number) {
    this.#pool = pool;
    this.bytes = bytes;
    this.sizeClass = sizeClass;
  }

  get holders(): number {
    return this.#holders;
  }

  /**
   * bytes[start..end]. Most writes begin at 0 and are short: those views are kept and used again.
   */
  view(start: number, end: number): Bytes {
    const isKept = start === 0 && end <= VIEWS_MAX && this.bytes.length >= VIEWED_BYTES_MIN;
    if (!isKept) return this.bytes.subarray(start, end);
    this.#views ??= [];
    return (this.#views[end] ??= this.bytes.subarray(0, end));
  }

  /** One more holder, who must {@link release} it. */
  retain(): this {
    this.#holders++;
    return this;
  }

  release(): void {
    assert(this.#holders > 0, "a slab is released as often as it was held");
    if (--this.#holders === 0) this.#pool.takeBack(this);
  }
}

export class BufferPool {
  readonly #free: Slab[][] = SLAB_SIZES.map(() => []);
  #leased: number = 0;
  #leasedBytes: number = 0;
  #freeBytes: number = 0;

  /** Slabs that somebody holds. */
  get leased(): number {
    return this.#leased;
  }

  get leasedBytes(): number {
    return this.#leasedBytes;
  }

  /** Bytes kept for the next lease. */
  get freeBytes(): number {
    return this.#freeBytes;
  }

  /** Bytes of the slab that {@link lease} would give for `bytesMin`. */
  static sizeFor(bytesMin: number): number {
    for (const size of SLAB_SIZES) if (size >= bytesMin) return size;
    return bytesMin;
  }

  /** A slab of at least `bytesMin` bytes with one holder: the caller. Its content is undefined. */
  lease(bytesMin: number): Slab {
    const sizeClass = classOf(bytesMin);
    let slab: Slab;
    if (sizeClass === -1) {
      slab = new Slab(this, allocate(bytesMin), -1);
    } else {
      const free = this.#free[sizeClass]!;
      if (free.length === 0) this.#refill(sizeClass);
      slab = free.pop()!;
      this.#freeBytes -= slab.bytes.length;
    }
    this.#leased++;
    this.#leasedBytes += slab.bytes.length;
    slab.lease++;
    return slab.retain();
  }

  /** Called by the last {@link Slab.release}, by nobody else. */
  takeBack(slab: Slab): void {
    this.#leased--;
    this.#leasedBytes -= slab.bytes.length;
    if (slab.sizeClass === -1) return;
    const free = this.#free[slab.sizeClass]!;
    if ((free.length + 1) * slab.bytes.length > FREE_BYTES_MAX) return;
    free.push(slab);
    this.#freeBytes += slab.bytes.length;
  }

  #refill(sizeClass: number): void {
    const size = SLAB_SIZES[sizeClass]!;
    const free = this.#free[sizeClass]!;
    const count = Math.max(1, Math.floor(CHUNK_BYTES / size));
    const chunk = allocate(size * count);
    for (let index = 0; index < count; index++) {
      free.push(new Slab(this, chunk.subarray(index * size, (index + 1) * size), sizeClass));
    }
    this.#freeBytes += size * count;
  }
}

function classOf(bytes: number): number {
  if (bytes > SLAB_BYTES_MAX) return -1;
  let sizeClass = 0;
  while (SLAB_SIZES[sizeClass]! < bytes) sizeClass++;
  return sizeClass;
}

/** Node's Buffer where there is one: its string methods work on a range without a new view. */
function allocate(size: number): Bytes {
  return typeof Buffer === "undefined" ? new Uint8Array(size) : Buffer.allocUnsafeSlow(size);
}
