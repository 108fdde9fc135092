// Finds the frames in received bytes, whatever way they were split. Whole frames are handed over
// where they lie; what is left of a chunk goes to Unread, a leased slab that grows with the bytes
// that come, never with the length that a peer merely announced.

import { assert } from "../base/assert.ts";
import { type BufferPool, type Bytes, type Slab, SLAB_BYTES_MAX } from "../base/buffer-pool.ts";
import { FRAME_MALFORMED, FRAME_TOO_LARGE, FRAME_UNKNOWN, type Framing } from "./framing.ts";

export { FRAME_MALFORMED, FRAME_TOO_LARGE };
/** {@link readFrames}: a user's framing pointed before its own frame. */
export const FRAME_FRAMING_BROKEN = -3;

export interface FrameSink {
  /**
   * One whole frame's body; the bytes are valid until this returns.
   * @returns false: stop here, hand over no more.
   */
  onFrame(bytes: Bytes, bodyStart: number, bodyEnd: number): boolean;
}

/**
 * Hands every whole frame in start..end to the sink.
 * @returns the offset of the first byte that was not consumed, or a negative FRAME_ fault.
 */
export function readFrames(
  framing: Framing,
  bodyBytesMax: number,
  bytes: Bytes,
  start: number,
  end: number,
  scanned: number,
  sink: FrameSink,
): number {
  let at = start;
  let seen = scanned;
  while (end - at >= framing.bytesMin) {
    const frameEnd = framing.frameEnd(bytes, at, end, seen, bodyBytesMax);
    if (frameEnd === FRAME_UNKNOWN) break;
    if (frameEnd < 0) return frameEnd >= FRAME_MALFORMED ? frameEnd : FRAME_FRAMING_BROKEN;
    // Written so that NaN from a user's framing is caught too.
    if (!(frameEnd > at && frameEnd - at <= bodyBytesMax + framing.overheadMax)) {
      return FRAME_FRAMING_BROKEN;
    }
    if (frameEnd > end) break;
    const bodyStart = framing.bodyStart(bytes, at, frameEnd);
    const goOn = sink.onFrame(bytes, bodyStart, framing.bodyEnd(bytes, at, frameEnd));
    at = frameEnd;
    seen = frameEnd;
    if (!goOn) break;
  }
  return at;
}

/** Received bytes that no frame has been made of yet: a half frame, or what a pause held back. */
export class Unread {
  #slab: Slab;
  #start: number = 0;
  #end: number = 0;
  /** Bytes that the framing has seen without finding an end. */
  #scanned: number = 0;
  readonly #pool: BufferPool;

  constructor(pool: BufferPool, bytesMin: number) {
    this.#pool = pool;
    this.#slab = pool.lease(bytesMin);
  }

  get length(): number {
    return this.#end - this.#start;
  }

  /** The memory, and where in it the first frame begins. */
  get bytes(): Bytes {
    return this.#slab.bytes;
  }

  get start(): number {
    return this.#start;
  }

  append(bytes: Bytes, start: number, end: number): void {
    const added = end - start;
    if (this.#end + added > this.#slab.bytes.length) this.#makeRoom(added);
    copyBytes(bytes, start, end, this.#slab.bytes, this.#end);
    this.#end += added;
  }

  /**
   * Bytes that complete the first frame: how many at least, when that is known; 0 when it is not.
   * Lets a long chunk be read where it lies as soon as the frame that began earlier is whole.
   */
  missing(framing: Framing, bodyBytesMax: number): number {
    if (this.length < framing.bytesMin) return framing.bytesMin - this.length;
    const frameEnd = framing.frameEnd(
      this.#slab.bytes,
      this.#start,
      this.#end,
      this.#start + this.#scanned,
      bodyBytesMax,
    );
    return frameEnd > this.#end ? frameEnd - this.#end : 0;
  }

  /** {@link readFrames} over these bytes; they stay valid while the sink runs, come what may. */
  read(framing: Framing, bodyBytesMax: number, sink: FrameSink): number {
    const slab = this.#slab.retain();
    const start = this.#start;
    const scanned = start + this.#scanned;
    const at = readFrames(framing, bodyBytesMax, slab.bytes, start, this.#end, scanned, sink);
    if (at >= 0) {
      this.#start = at;
      // After a frame the sink may have stopped: then the framing has not seen what follows.
      this.#scanned = at === start ? this.#end - at : 0;
    }
    slab.release();
    return at;
  }

  release(): void {
    this.#slab.release();
  }

  #makeRoom(added: number): void {
    const length = this.length;
    const wanted = length + added;
    if (wanted <= this.#slab.bytes.length && this.#slab.holders === 1) {
      this.#slab.bytes.copyWithin(0, this.#start, this.#end);
    } else {
      // Above the largest class there is no next size to grow into: then twice as much.
      const larger = this.#pool.lease(wanted > SLAB_BYTES_MAX ? 2 * wanted : wanted);
      copyBytes(this.#slab.bytes, this.#start, this.#end, larger.bytes, 0);
      this.#slab.release();
      this.#slab = larger;
    }
    this.#start = 0;
    this.#end = length;
    assert(this.#end + added <= this.#slab.bytes.length, "there is room for what was asked");
  }
}

/** Bytes from which on a view costs less than it spares. */
const COPY_BY_VIEW_MIN = 65;

/**
 * Copies without making a view for short ranges, which is what most are. Eight bytes at a time:
 * most of what one byte costs is its turn of the loop.
 */
export function copyBytes(from: Bytes, start: number, end: number, to: Bytes, at: number): void {
  if (end - start >= COPY_BY_VIEW_MIN) {
    to.set(from.subarray(start, end), at);
    return;
  }
  let index = start;
  let target = at;
  for (; index + 8 <= end; index += 8, target += 8) {
    to[target] = from[index]!;
    to[target + 1] = from[index + 1]!;
    to[target + 2] = from[index + 2]!;
    to[target + 3] = from[index + 3]!;
    to[target + 4] = from[index + 4]!;
    to[target + 5] = from[index + 5]!;
    to[target + 6] = from[index + 6]!;
    to[target + 7] = from[index + 7]!;
  }
  for (; index < end; index++, target++) to[target] = from[index]!;
}
