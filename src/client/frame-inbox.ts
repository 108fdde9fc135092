// Frames from what a server sends, whatever way it was split. Whole frames are handed over where
// they lie; between chunks it owns memory only while a frame is incomplete.

import type { BufferPool, Bytes } from "../base/buffer-pool.ts";
import { FRAME_TOO_LARGE, type FrameSink, readFrames, Unread } from "../wire/frame-reader.ts";
import { uint32Framing } from "../wire/framing.ts";

/** Longest body that is taken from a server. */
export const MESSAGE_BYTES_MAX: number = 2 * 1_048_576;

/** Who takes the frames; `onFrame` gives false to stop. */
export interface FrameTaker extends FrameSink {
  readonly isReading: boolean;
}

export class FrameInbox {
  readonly #pool: BufferPool;
  readonly #taker: FrameTaker;
  #unread: Unread | null = null;

  constructor(pool: BufferPool, taker: FrameTaker) {
    this.#pool = pool;
    this.#taker = taker;
  }

  /** Whether the bytes so far end inside a frame. */
  get isPartial(): boolean {
    return this.#unread !== null;
  }

  /** @returns what is wrong with the bytes, or null. */
  receive(bytes: Bytes): string | null {
    const end = bytes.length;
    let at = 0;
    while (this.#unread !== null && at < end) {
      const missing = this.#unread.missing(uint32Framing, MESSAGE_BYTES_MAX);
      const taken = missing === 0 ? end : Math.min(end, at + missing);
      this.#unread.append(bytes, at, taken);
      at = taken;
      const fault = this.#readUnread(this.#unread);
      if (fault !== null) return fault;
    }
    if (at === end || !this.#taker.isReading) return null;
    const next = readFrames(uint32Framing, MESSAGE_BYTES_MAX, bytes, at, end, at, this.#taker);
    if (next < 0) return describe(next);
    if (next < end && this.#taker.isReading) {
      this.#unread = new Unread(this.#pool, end - next);
      this.#unread.append(bytes, next, end);
    }
    return null;
  }

  /** Gives back what it owns. */
  release(): void {
    this.#unread?.release();
    this.#unread = null;
  }

  #readUnread(unread: Unread): string | null {
    const next = unread.read(uint32Framing, MESSAGE_BYTES_MAX, this.#taker);
    if (next < 0) return describe(next);
    // The taker may have let go of everything.
    if (unread.length === 0 && this.#unread === unread) this.release();
    return null;
  }
}

function describe(fault: number): string {
  if (fault === FRAME_TOO_LARGE) return `a frame longer than ${MESSAGE_BYTES_MAX} bytes`;
  return "a malformed frame";
}
