// Encodes server messages as whole frames straight into leased memory. One per framing and process:
// it holds scratch state between calls, none between messages.

import type { Bytes } from "../base/buffer-pool.ts";
import type { Writer } from "protobufjs/minimal.js";
import { copyBytes } from "./frame-reader.ts";
import { type Framing, varintBytes, writeVarint } from "./framing.ts";
import { holdfast } from "./generated/messages.js";
import type { ServerMessageInit } from "./messages.ts";
import { Payload } from "./payload.ts";
import { SlabWriter } from "./slab-writer.ts";

/** Bytes of a Result frame beside its payload and the framing: two tags, an id, three lengths. */
const RESULT_OVERHEAD_MAX = 24;

export class FrameWriter {
  readonly framing: Framing;
  readonly #writer: SlabWriter = new SlabWriter();

  constructor(framing: Framing) {
    this.framing = framing;
  }

  /** Most bytes that {@link result} writes for a payload of this length. */
  resultBytesMax(payloadLength: number): number {
    return payloadLength + RESULT_OVERHEAD_MAX + this.framing.overheadMax;
  }

  /** Most bytes that {@link message} writes for a message with this much text and payload in it. */
  messageBytesMax(message: ServerMessageInit): number {
    return contentBytesMax(message) + this.framing.overheadMax;
  }

  /** Writes a Result frame at `at` and returns the offset after it. The answer to every call. */
  result(target: Bytes, at: number, id: number, payload: Payload | Bytes): number {
    const { framing } = this;
    const { length } = payload;
    const inner = length === 0 ? 0 : 1 + varintBytes(length) + length;
    const body = (id === 0 ? 0 : 1 + varintBytes(id)) + 1 + varintBytes(inner) + inner;
    framing.writeHeader(target, at, body);
    let next = at + framing.headerBytes(body);
    if (id !== 0) {
      target[next] = 0x08;
      next = writeVarint(target, next + 1, id);
    }
    target[next] = 0x1a;
    next = writeVarint(target, next + 1, inner);
    if (length !== 0) {
      target[next] = 0x0a;
      next = writeVarint(target, next + 1, length);
      next = appendBytes(target, next, payload);
    }
    return this.#trailer(target, next);
  }

  /** Writes any message as a frame at `at` and returns the offset after it. */
  message(target: Bytes, at: number, message: ServerMessageInit): number {
    const { framing } = this;
    // The length is known afterwards: a header that turns out shorter lets the body move down.
    const bodyAt = at + framing.headerBytes(0);
    const writer = this.#writer;
    writer.reset(target, bodyAt);
    holdfast.v1.ServerMessage.encode(
      message as holdfast.v1.ServerMessage.$Properties,
      writer as unknown as Writer,
    );
    const length = writer.at - bodyAt;
    const extra = framing.headerBytes(length) - (bodyAt - at);
    if (extra > 0) target.copyWithin(bodyAt + extra, bodyAt, writer.at);
    framing.writeHeader(target, at, length);
    return this.#trailer(target, bodyAt + extra + length);
  }

  /** Frames bytes as they are: for raw listeners and for heartbeats (no bytes at all). */
  frame(target: Bytes, at: number, body: Payload | Bytes): number {
    const { framing } = this;
    framing.writeHeader(target, at, body.length);
    const next = appendBytes(target, at + framing.headerBytes(body.length), body);
    return this.#trailer(target, next);
  }

  #trailer(target: Bytes, at: number): number {
    if (this.framing.trailerBytes > 0) this.framing.writeTrailer(target, at);
    return at + this.framing.trailerBytes;
  }
}

function appendBytes(target: Bytes, at: number, payload: Payload | Bytes): number {
  if (payload instanceof Payload) return payload.copyTo(target, at);
  copyBytes(payload, 0, payload.length, target, at);
  return at + payload.length;
}

/** Bytes per field beside its content (tag, length or number), and room for the outer message. */
const FIELD_BYTES = 12;

function contentBytesMax(value: object): number {
  let bytes = 16;
  for (const field of Object.values(value) as unknown[]) {
    bytes += FIELD_BYTES;
    if (typeof field === "string") bytes += 3 * field.length;
    else if (field instanceof Payload || field instanceof Uint8Array) bytes += field.length;
    else if (typeof field === "object" && field !== null) bytes += contentBytesMax(field);
  }
  return bytes;
}
