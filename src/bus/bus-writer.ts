// What goes out over one socket of the bus, gathered into blocks: one write for all that came
// together in a turn, and memory that is the bytes that wait, whatever the size of the frames.

import type { Duplex } from "node:stream";
import { type BusFrameInit, busFrameBytes, writeBusFrame } from "./bus-frame.ts";

const BLOCK_BYTES = 65_536;

export class BusWriter {
  readonly #socket: Duplex;
  /** Full blocks, oldest first. */
  readonly #full: Buffer[] = [];
  #fullBytes: number = 0;
  /** What waits of the newest block is [start..end]; the socket may be reading what is before. */
  #block: Buffer = Buffer.alloc(0);
  #start: number = 0;
  #end: number = 0;
  #isWriting: boolean = false;

  constructor(socket: Duplex) {
    this.#socket = socket;
  }

  /** Bytes that wait, here and in the socket. */
  get queuedBytes(): number {
    return this.#fullBytes + this.#end - this.#start + this.#socket.writableLength;
  }

  /** @returns the bytes that it added. Throws HOLDFAST_FRAME_TOO_LARGE. */
  frame(frame: BusFrameInit): number {
    const length = busFrameBytes(frame);
    const at = this.#reserve(length);
    writeBusFrame(this.#block, at, length, frame);
    return length;
  }

  /** Frames as they came, bytes[start..end]. */
  copy(bytes: Buffer, start: number, end: number): void {
    const at = this.#reserve(end - start);
    bytes.copy(this.#block, at, start, end);
  }

  /** Hands over what waits; where the socket is busy, as soon as it is not. */
  flush(): void {
    const socket = this.#socket;
    if (this.#isWriting || socket.destroyed || this.#fullBytes + this.#end === this.#start) return;
    this.#isWriting = true;
    socket.cork();
    for (const block of this.#full) socket.write(block);
    this.#full.length = 0;
    this.#fullBytes = 0;
    socket.write(this.#block.subarray(this.#start, this.#end), () => {
      this.#isWriting = false;
      this.flush();
    });
    this.#start = this.#end;
    socket.uncork();
    // The kernel has all of it: the block is ours again.
    if (socket.writableLength === 0) this.#start = this.#end = 0;
  }

  #reserve(length: number): number {
    if (this.#end + length > this.#block.length) {
      const waits = this.#end - this.#start;
      if (waits > 0) this.#full.push(this.#block.subarray(this.#start, this.#end));
      this.#fullBytes += waits;
      this.#block = Buffer.allocUnsafeSlow(Math.max(BLOCK_BYTES, length));
      this.#start = this.#end = 0;
    }
    const at = this.#end;
    this.#end += length;
    return at;
  }
}
