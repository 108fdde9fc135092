// What protobufjs' generated code writes to: the methods of its Writer that proto3 messages of our
// kind need, going straight into a slab instead of a list of operations and a new buffer.

import type { Bytes } from "../base/buffer-pool.ts";
import { copyBytes } from "./frame-reader.ts";
import { varintBytes, writeVarint } from "./framing.ts";
import { Payload } from "./payload.ts";

const encoder = new TextEncoder();

export class SlabWriter {
  target: Bytes = new Uint8Array(0);
  /** Offset of the next byte. */
  at: number = 0;
  /** Where the lengths of the messages that are being nested go. */
  readonly #forks: number[] = [];

  reset(target: Bytes, at: number): void {
    this.target = target;
    this.at = at;
    this.#forks.length = 0;
  }

  /** A number out of range is cut to 32 bits: what an application gives must not break a frame. */
  uint32(value: number): this {
    if (value >= 0 && value < 0x80) this.target[this.at++] = value;
    else this.at = writeVarint(this.target, this.at, value >>> 0);
    return this;
  }

  /** Whole numbers up to 2^53-1. */
  uint64(value: number): this {
    this.at = writeVarint(this.target, this.at, value);
    return this;
  }

  bool(value: boolean): this {
    this.target[this.at++] = value ? 1 : 0;
    return this;
  }

  string(value: string): this {
    // Most names are short ASCII, for which a loop beats the encoder by far.
    const { target } = this;
    const { length } = value;
    if (length < 64) {
      const start = this.at;
      let at = start + 1;
      let index = 0;
      for (; index < length; index++) {
        const unit = value.charCodeAt(index);
        if (unit >= 0x80) break;
        target[at++] = unit;
      }
      if (index === length) {
        target[start] = length;
        this.at = at;
        return this;
      }
    }
    const encoded = encoder.encode(value);
    return this.#delimited(encoded);
  }

  /** Accepts a {@link Payload} as well as bytes. */
  bytes(value: Bytes | Payload): this {
    if (!(value instanceof Payload)) return this.#delimited(value);
    this.uint32(value.length);
    this.at = value.copyTo(this.target, this.at);
    return this;
  }

  /** Begins a nested message. */
  fork(): this {
    this.#forks.push(this.at);
    this.at++;
    return this;
  }

  /** Ends it and writes its length before it, moving it where one byte was too few. */
  ldelim(): this {
    const start = this.#forks.pop()!;
    const length = this.at - start - 1;
    const extra = varintBytes(length) - 1;
    if (extra > 0) {
      this.target.copyWithin(start + 1 + extra, start + 1, this.at);
      this.at += extra;
    }
    writeVarint(this.target, start, length);
    return this;
  }

  #delimited(value: Bytes): this {
    this.uint32(value.length);
    copyBytes(value, 0, value.length, this.target, this.at);
    this.at += value.length;
    return this;
  }
}
