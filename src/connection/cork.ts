// Frames for one connection that are encoded one after another into a shared slab and written at
// once: at the end of the received chunk that caused them, when another connection has something to
// say, or at the end of the turn. One cork per process; only one connection is corked at a time.

import { assert } from "../base/assert.ts";
import type { BufferPool, Slab } from "../base/buffer-pool.ts";

/** A slab's size: what one write carries at most, unless a single frame is longer. */
export const CORK_BYTES = 65_536;

export interface Corked {
  /** Writes slab.bytes[0..end]; the cork keeps the slab. */
  writeCorked(slab: Slab, end: number): void;
}

export class Cork {
  #slab: Slab | null = null;
  #owner: Corked | null = null;
  /** Offset of the next frame. */
  at: number = 0;
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
    if (this.#owner !== owner || this.at + bytesMax > CORK_BYTES) {
      this.flush();
      this.#owner = owner;
    }
    this.#slab ??= this.#pool.lease(CORK_BYTES);
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
    const discarded = this.at;
    this.#slab?.release();
    this.#slab = null;
    this.#owner = null;
    this.at = 0;
    return discarded;
  }

  flush(): void {
    const owner = this.#owner;
    const slab = this.#slab;
    if (owner === null || slab === null) return;
    const end = this.at;
    // Cleared first: writing may end this connection or make another one speak.
    this.#owner = null;
    this.#slab = null;
    this.at = 0;
    if (end > 0) owner.writeCorked(slab, end);
    slab.release();
  }
}
