// Frames between a worker and the hub. Integers are little-endian.
//
//   0 u32 bytes after this field     12 u32 number   what it is depends on the kind
//   4 u8  kind, then a zero          16 f64 value    likewise; an integer
//   6 u16 bytes of the topic         24 target, topic (UTF-8 both), payload
//   8 u16 bytes of the target, then two zeros
//
// The hub forwards frames as they came: it writes the kind and the value into them, and no more.

import type { Bytes } from "../base/buffer-pool.ts";
import { HoldfastError } from "../base/errors.ts";

export const BUS_FRAME = {
  /** To the hub: number = the worker's token, which JOINED repeats. */
  JOIN: 1,
  /** To the hub. */
  LEAVE: 2,
  /** To the hub, which makes it an EVENT. */
  PUBLISH: 3,
  /** To a worker: value = offset. */
  EVENT: 4,
  /** To a worker: number = token of its JOIN, value = offset of the newest event. */
  JOINED: 5,
  /** Both ways: number = the member that holds the connection, target = its id. */
  SEND: 6,
  /** Both ways: value = request, target = "key=value" of a label, or "" for all. */
  REACH: 7,
  /** Both ways: value = request, number = connections reached. */
  REACHED: 8,
} as const;

export type BusFrameKind = (typeof BUS_FRAME)[keyof typeof BUS_FRAME];

export const BUS_HEADER_BYTES = 24;
/** Larger than any frame of the wire (frame.bytesMax ends at 1 MiB): for what code publishes. */
export const BUS_FRAME_BYTES_MAX: number = 8 * 1_048_576;

const KIND_MAX = BUS_FRAME.REACHED;
const NAME_BYTES_MAX = 0xffff;
const NUMBER_MAX = 0xffff_ffff;

export interface BusFrameInit {
  readonly kind: BusFrameKind;
  /** 0 .. 2^32 - 1; more is written as that. */
  readonly number?: number;
  readonly value?: number;
  readonly target?: string;
  readonly topic?: string;
  readonly payload?: Bytes;
}

/** Bytes of the frame. Throws HOLDFAST_FRAME_TOO_LARGE. */
export function busFrameBytes({ target = "", topic = "", payload }: BusFrameInit): number {
  const targetBytes = Buffer.byteLength(target);
  const topicBytes = Buffer.byteLength(topic);
  const bytes = BUS_HEADER_BYTES + targetBytes + topicBytes + (payload?.length ?? 0);
  const isNamed = Math.max(targetBytes, topicBytes) <= NAME_BYTES_MAX;
  if (isNamed && bytes <= BUS_FRAME_BYTES_MAX) return bytes;
  if (!isNamed) {
    const text = `a topic or id of more than ${NAME_BYTES_MAX} bytes cannot go to other workers`;
    throw new HoldfastError("HOLDFAST_FRAME_TOO_LARGE", text);
  }
  const text = `${bytes} bytes are more than the ${BUS_FRAME_BYTES_MAX} that go to other workers`;
  throw new HoldfastError("HOLDFAST_FRAME_TOO_LARGE", text);
}

/** Writes the frame of `length` bytes, which busFrameBytes() gave. */
export function writeBusFrame(
  bytes: Buffer,
  at: number,
  length: number,
  { kind, number = 0, value = 0, target = "", topic = "", payload }: BusFrameInit,
): void {
  const targetBytes = bytes.write(target, at + BUS_HEADER_BYTES);
  const topicBytes = bytes.write(topic, at + BUS_HEADER_BYTES + targetBytes);
  bytes.writeUInt32LE(length - 4, at);
  bytes.writeUInt16LE(kind, at + 4);
  bytes.writeUInt16LE(topicBytes, at + 6);
  bytes.writeUInt32LE(targetBytes, at + 8);
  bytes.writeUInt32LE(Math.min(number, NUMBER_MAX), at + 12);
  bytes.writeDoubleLE(value, at + 16);
  if (payload !== undefined) bytes.set(payload, at + length - payload.length);
}

/**
 * Cuts what a socket brings into frames. The fields show the frame that next() found, until it is
 * asked again; the bytes under it stay as they are for as long as somebody holds them.
 */
export class BusReader {
  bytes: Buffer = NOTHING;
  start: number = 0;
  end: number = 0;
  #chunk: Buffer = NOTHING;
  #at: number = 0;
  /** A frame that began in an earlier chunk: first its header, then all of it. */
  #partial: Buffer | null = null;
  #filled: number = 0;

  /** next() must have said that there is no more. */
  add(chunk: Buffer): void {
    this.#chunk = chunk;
    this.#at = 0;
  }

  /** @returns false: no whole frame is left. Throws HOLDFAST_BUS_BROKEN. */
  next(): boolean {
    if (this.#partial !== null) return this.#fill(this.#partial);
    const left = this.#chunk.length - this.#at;
    if (left >= BUS_HEADER_BYTES) {
      const length = checkedLength(this.#chunk, this.#at);
      if (length <= left) {
        this.#found(this.#chunk, this.#at, this.#at + length);
        this.#at += length;
        return true;
      }
      return this.#begin(length);
    }
    return left > 0 && this.#begin(BUS_HEADER_BYTES);
  }

  get kind(): number {
    return this.bytes[this.start + 4]!;
  }

  get number(): number {
    return this.bytes.readUInt32LE(this.start + 12);
  }

  get value(): number {
    return this.bytes.readDoubleLE(this.start + 16);
  }

  get target(): string {
    const at = this.start + BUS_HEADER_BYTES;
    return this.bytes.toString("utf8", at, at + this.#targetBytes);
  }

  get topic(): string {
    return this.#topicAs("utf8");
  }

  /** Not the name, but as good for telling topics apart, and cheaper. */
  get topicKey(): string {
    return this.#topicAs("latin1");
  }

  get payload(): Buffer {
    const names = this.#targetBytes + this.#topicBytes;
    return this.bytes.subarray(this.start + BUS_HEADER_BYTES + names, this.end);
  }

  /** Makes another frame of it, in place. */
  rewrite(kind: BusFrameKind, value: number): void {
    this.bytes[this.start + 4] = kind;
    this.bytes.writeDoubleLE(value, this.start + 16);
  }

  get #topicBytes(): number {
    return this.bytes.readUInt16LE(this.start + 6);
  }

  get #targetBytes(): number {
    return this.bytes.readUInt16LE(this.start + 8);
  }

  #topicAs(encoding: "utf8" | "latin1"): string {
    const at = this.start + BUS_HEADER_BYTES + this.#targetBytes;
    return this.bytes.toString(encoding, at, at + this.#topicBytes);
  }

  #found(bytes: Buffer, start: number, end: number): void {
    this.bytes = bytes;
    this.start = start;
    this.end = end;
  }

  #begin(length: number): false {
    this.#partial = Buffer.allocUnsafeSlow(length);
    this.#filled = this.#chunk.copy(this.#partial, 0, this.#at);
    this.#at = this.#chunk.length;
    return false;
  }

  #fill(partial: Buffer): boolean {
    const copied = this.#chunk.copy(partial, this.#filled, this.#at);
    this.#at += copied;
    this.#filled += copied;
    if (this.#filled < partial.length) return false;
    const length = checkedLength(partial, 0);
    if (length > partial.length) {
      this.#partial = Buffer.allocUnsafeSlow(length);
      partial.copy(this.#partial);
      return this.#fill(this.#partial);
    }
    this.#partial = null;
    this.#found(partial, 0, length);
    return true;
  }
}

const NOTHING: Buffer = Buffer.alloc(0);

function checkedLength(bytes: Buffer, at: number): number {
  const length = bytes.readUInt32LE(at) + 4;
  const names = bytes.readUInt16LE(at + 6) + bytes.readUInt16LE(at + 8);
  const kind = bytes.readUInt16LE(at + 4);
  if (length > BUS_FRAME_BYTES_MAX) broken(`a frame of ${length} bytes`);
  if (length < BUS_HEADER_BYTES + names)
    broken(`a frame of ${length} bytes with ${names} of names`);
  if (kind === 0 || kind > KIND_MAX) broken(`a frame of kind ${kind}`);
  return length;
}

/** The sender is not to be followed any further: it has lost its place. */
export function broken(what: string): never {
  throw new HoldfastError("HOLDFAST_BUS_BROKEN", `${what} came over the bus: restart its sender`);
}

export function isBroken(error: unknown): error is HoldfastError {
  return error instanceof HoldfastError && error.code === "HOLDFAST_BUS_BROKEN";
}
