// The bytes of a message where they lie in the receive buffer. Making one costs a small object and
// no copy; it is valid while the handler runs synchronously, and throws afterwards instead of
// showing another connection's bytes.

import { HoldfastError } from "../base/errors.ts";
import type { Bytes } from "../base/buffer-pool.ts";
import { copyBytes } from "./frame-reader.ts";

/** Ends the life of every payload made in it when the receive callback returns. */
export class PayloadScope {
  epoch: number = 0;

  end(): void {
    this.epoch++;
  }
}

const NO_BYTES: Bytes = new Uint8Array(0);
const decoder = new TextDecoder("utf-8", { fatal: true });

export class Payload {
  /** Bytes in it. Readable for ever. */
  readonly length: number;
  readonly #bytes: Bytes;
  readonly #start: number;
  readonly #scope: PayloadScope;
  readonly #epoch: number;

  constructor(scope: PayloadScope, bytes: Bytes, start: number, end: number) {
    this.length = end - start;
    this.#bytes = bytes;
    this.#start = start;
    this.#scope = scope;
    this.#epoch = scope.epoch;
  }

  static empty(scope: PayloadScope): Payload {
    return new Payload(scope, NO_BYTES, 0, 0);
  }

  /**
   * The bytes without a copy. They change once the handler has returned or awaited: do not keep.
   */
  view(): Bytes {
    this.#check();
    return this.#bytes.subarray(this.#start, this.#start + this.length);
  }

  /** The caller's own copy. */
  copy(): Uint8Array<ArrayBuffer> {
    this.#check();
    return new Uint8Array(this.view());
  }

  /** As UTF-8 text. Throws TypeError where it is none. */
  text(): string {
    return decoder.decode(this.view());
  }

  /** As JSON. Throws SyntaxError where it is none. */
  json(): unknown {
    return JSON.parse(this.text());
  }

  /** Copies the bytes into `target` and returns the offset after them. */
  copyTo(target: Bytes, offset: number): number {
    this.#check();
    copyBytes(this.#bytes, this.#start, this.#start + this.length, target, offset);
    return offset + this.length;
  }

  #check(): void {
    if (this.#epoch === this.#scope.epoch) return;
    throw new HoldfastError(
      "HOLDFAST_PAYLOAD_EXPIRED",
      "the payload is valid only until the handler returns or awaits: take payload.copy() before",
    );
  }
}
