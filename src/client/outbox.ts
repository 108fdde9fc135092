// Frames that were sent in one turn of the event loop leave it in one piece: one system call, and
// one WebSocket message. It owns them until the turn ends.

import type { Bytes } from "../base/buffer-pool.ts";

/** Longer pieces are not put together: copying them would cost more than it spares. */
const PIECE_BYTES_MAX = 16_384;

export class Outbox {
  readonly #send: (piece: Bytes) => void;
  readonly #frames: Bytes[] = [];
  #bytes: number = 0;
  #pieceBytesMax: number = 0;

  constructor(send: (piece: Bytes) => void) {
    this.#send = send;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** What one message may hold at least; before it is known every frame goes alone. */
  setMessageBytesMax(bytes: number): void {
    this.#pieceBytesMax = Math.min(PIECE_BYTES_MAX, bytes);
  }

  put(frame: Bytes): void {
    if (this.#bytes + frame.length > this.#pieceBytesMax) this.flush();
    this.#bytes += frame.length;
    if (this.#frames.push(frame) === 1) queueMicrotask(() => this.flush());
  }

  flush(): void {
    const frames = this.#frames;
    if (frames.length === 0) return;
    const piece = frames.length === 1 ? frames[0]! : concatenate(frames, this.#bytes);
    frames.length = 0;
    this.#bytes = 0;
    this.#send(piece);
  }
}

function concatenate(frames: readonly Bytes[], length: number): Bytes {
  const piece = new Uint8Array(length);
  let at = 0;
  for (const frame of frames) {
    piece.set(frame, at);
    at += frame.length;
  }
  return piece;
}
