// Decodes client messages in place: protobufjs' static code runs over one reader that is set to
// each frame in turn, bytes come out as Payloads, and names that are seen again and again (methods,
// topics) are not decoded again.

import protobuf from "protobufjs/minimal.js";
import type { Bytes } from "../base/buffer-pool.ts";
import { holdfast } from "./generated/messages.js";
import type { ClientMessage } from "./messages.ts";
import { Payload, type PayloadScope } from "./payload.ts";

/**
 * What the generated code decodes into. Its own class would set `body` through a setter that
 * deletes the other members one by one, which costs more than all the rest of decoding.
 */
class DecodedMessage {
  id: number = 0;
  body: ClientMessage["body"] = undefined;
  hello: ClientMessage["hello"] = null;
  call: ClientMessage["call"] = null;
  publish: ClientMessage["publish"] = null;
  subscribe: ClientMessage["subscribe"] = null;
  unsubscribe: ClientMessage["unsubscribe"] = null;
  goodbye: ClientMessage["goodbye"] = null;
}

/** The last three parameters are not in the generated declarations. */
const generated = holdfast.v1.ClientMessage as unknown as {
  decode(
    reader: protobuf.Reader,
    length: undefined,
    endGroup: undefined,
    depth: number,
    target: object,
  ): unknown;
};

/** Power of two: a slot is a mask of the hash. */
const NAME_SLOTS = 512;
const NAME_BYTES_MAX = 48;

/** Tags of ClientMessage.id and call; of Call.method, payload and timeout_ms. */
const ID_TAG = 0x08;
const CALL_TAG = 0x1a;
const METHOD_TAG = 0x0a;
const PAYLOAD_TAG = 0x12;
const TIMEOUT_TAG = 0x18;
const NO_METADATA: Readonly<Record<string, string>> = Object.freeze({});

export class MessageReader extends protobuf.Reader {
  readonly #scope: PayloadScope;
  readonly #names: string[] = new Array<string>(NAME_SLOTS).fill("");

  constructor(scope: PayloadScope) {
    super(new Uint8Array(0));
    this.#scope = scope;
    this.discardUnknown = true;
  }

  /**
   * The message in bytes[start..end].
   * Throws whatever protobufjs throws (Error, RangeError, TypeError) where they are none.
   */
  decode(bytes: Bytes, start: number, end: number): ClientMessage {
    this.buf = bytes;
    this.pos = start;
    this.len = end;
    const message = new DecodedMessage();
    if (this.#decodeCall(message)) return message as ClientMessage;
    this.pos = start;
    generated.decode(this, undefined, undefined, 0, message);
    // The generated code deletes a field whose value on the wire is its default.
    if (message.id === undefined) message.id = 0;
    return message as ClientMessage;
  }

  /**
   * A call as nearly every client writes it: the id, then method, payload and perhaps a timeout, in
   * the order of their numbers and nothing else. The generated code decodes the same from the same
   * bytes in twice the time.
   * @returns false: it is something else, and the generated code's.
   */
  #decodeCall(message: DecodedMessage): boolean {
    if (!this.#takes(ID_TAG)) return false;
    const id = this.uint32();
    if (id === 0 || !this.#takes(CALL_TAG)) return false;
    const length = this.size();
    if (this.pos + length !== this.len || !this.#takes(METHOD_TAG)) return false;
    const method = this.stringVerify();
    if (method === "" || !this.#takes(PAYLOAD_TAG)) return false;
    const payload = this.bytes() as unknown as Payload;
    if (payload.length === 0) return false;
    const timeoutMs = this.#takes(TIMEOUT_TAG) ? this.uint32() : 0;
    if (this.pos !== this.len) return false;
    message.id = id;
    message.body = "call";
    message.call = { method, payload, timeoutMs, metadata: NO_METADATA };
    return true;
  }

  /** Goes past this byte, if it is the next one. */
  #takes(tag: number): boolean {
    if (this.pos >= this.len || this.buf[this.pos] !== tag) return false;
    this.pos++;
    return true;
  }

  // protobufjs declares Uint8Array here; the generated code only asks for `length`.
  override bytes(): Bytes {
    const length = this.size();
    const start = this.pos;
    const end = start + length;
    if (end > this.len) throw new RangeError(`index out of range: ${end} > ${this.len}`);
    this.pos = end;
    return new Payload(this.#scope, this.buf, start, end) as unknown as Bytes;
  }

  override stringVerify(): string {
    const buf = this.buf;
    const before = this.pos;
    const length = this.size();
    const start = this.pos;
    const end = start + length;
    if (length <= NAME_BYTES_MAX && end <= this.len) {
      let hash = length;
      let bits = 0;
      for (let index = start; index < end; index++) {
        const byte = buf[index]!;
        bits |= byte;
        hash = Math.imul(hash ^ byte, 0x01000193);
      }
      if (bits < 0x80) {
        this.pos = end;
        return this.#name(buf, start, length, (hash ^ (hash >>> 15)) & (NAME_SLOTS - 1));
      }
    }
    this.pos = before;
    return super.stringVerify();
  }

  /** ASCII only: one byte is one UTF-16 unit, so the cached string compares byte by byte. */
  #name(buf: Bytes, start: number, length: number, slot: number): string {
    const known = this.#names[slot]!;
    if (known.length === length) {
      let index = 0;
      while (index < length && known.charCodeAt(index) === buf[start + index]) index++;
      if (index === length) return known;
    }
    // In one go: a string that grows by characters is a tree of them until it is read.
    const name = String.fromCharCode(...buf.subarray(start, start + length));
    this.#names[slot] = name;
    return name;
  }
}
