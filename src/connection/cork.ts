// Frames for one connection that are encoded one after another into a shared slab and written at
// once: at the end of the received chunk that caused them, when another connection has something to
// say, or at the end of the turn. One cork per process; only one connection is corked at a time.
// A transport that gathers writes keeps the slab until it has asked the kernel: until then the
// frames of other connections follow in the same slab.

import { assert } from "../base/assert.ts";
import type { BufferPool, Slab } from "../base/buffer-pool.ts";

/** A slab's size: what one write carries at most, unless a single frame is longer. */
export const CORK_BYTES = 65_536;

export interface Corked {
  /** Writes slab.bytes[start..end]; the cork keeps the slab. */
  writeCorked(slab: Slab, start: number, end: number): void;
}

export class Cork {
  #slab: Slab | null = null;
  #owner: Corked | null = null;
  /** Offset of the owner's first frame, and of the next one. */
  #start: number = 0;
  at: number = 0;
  /** What was written last, and when it was leased: it may be another's by now. */
  #written: Slab | null = null;
  #writtenLease: number = 0;
  /** Receive callbacks under way; the outermost flushes. */
  #depth: number = 0;
  #isScheduled: boolean = false;
  readonly #pool: BufferPool;

  constructor(pool: BufferPool) {
    this.#pool = pool;
  }

  /** The memory for `owner`'s next frame, from `at` on; `bytesMax` of it are free. */
  open(owner: Corked, bytesMax: number): Slab["bytes"] {
    assert(bytesMax <= CORK_BYTES, "a longer frame is written by itself");
    if (this.#owner !== owner || (this.#slab !== null && this.at + bytesMax > CORK_BYTES)) {
      this.flush();
      this.#owner = owner;
    }
    this.#slab ??= this.#nextSlab(bytesMax);
    return this.#slab.bytes;
  }

  /** The frame that was begun with {@link open} ends here. */
  commit(end: number): void {
    this.at = end;
    if (this.#depth > 0 || this.#isScheduled) return;
    this.#isScheduled = true;
    queueMicrotask(() => {
      this.#isScheduled = false;
      this.flush();
    });
  }

  /** Holds frames back until the matching {@link leave}. */
  enter(): void {
    this.#depth++;
  }

  leave(): void {
    if (--this.#depth === 0) this.flush();
  }

  /** Writes what `owner` has corked, so that something else may follow it. */
  flushFor(owner: Corked): void {
    if (this.#owner === owner) this.flush();
  }

  /** Forgets what `owner` has corked: it has ended. */
  discardFor(owner: Corked): number {
    if (this.#owner !== owner) return 0;
    const discarded = this.at - this.#start;
    this.#slab?.release();
    this.#slab = null;
    this.#owner = null;
    return discarded;
  }

  flush(): void {
    const owner = this.#owner;
    const slab = this.#slab;
    if (owner === null || slab === null) return;
    const start = this.#start;
    const end = this.at;
    // Cleared first: writing may end this connection or make another one speak.
    this.#owner = null;
    this.#slab = null;
    this.#written = slab;
    this.#writtenLease = slab.lease;
    if (end > start) owner.writeCorked(slab, start, end);
    slab.release();
  }

  /** The slab that was written last, behind what it holds, where it is still held; or a new one. */
  #nextSlab(bytesMax: number): Slab {
    const slab = this.#written;
    const isHeld = slab !== null && slab.holders > 0 && slab.lease === this.#writtenLease;
    if (isHeld && this.at + bytesMax <= CORK_BYTES) {
      this.#start = this.at;
      return slab.retain();
    }
    // Offsets are the new slab's from here on.
    this.#written = null;
    this.#start = 0;
    this.at = 0;
    return this.#pool.lease(CORK_BYTES);
  }
}
