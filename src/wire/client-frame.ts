// Client messages as whole frames of the wire contract. One writer serves a process: it holds
// scratch state while it encodes, none between messages.

import { assert } from "../base/assert.ts";
import type { Bytes } from "../base/buffer-pool.ts";
import { uint32Framing } from "./framing.ts";
import { holdfast } from "./generated/messages.js";
import type { ClientMessageInit } from "./messages.ts";
import { SlabWriter } from "./slab-writer.ts";

/** An empty frame. */
export const HEARTBEAT: Bytes = new Uint8Array(4);
export const HEADER_BYTES = 4;

type EncodeArguments = Parameters<typeof holdfast.v1.ClientMessage.encode>;

export class ClientFrameWriter {
  readonly #writer: SlabWriter = new SlabWriter();

  /** A frame in memory of its own. */
  frame(message: ClientMessageInit): Bytes {
    const target = new Uint8Array(frameBytesMax(message));
    const writer = this.#writer;
    writer.reset(target, HEADER_BYTES);
    holdfast.v1.ClientMessage.encode(
      message as EncodeArguments[0],
      writer as unknown as NonNullable<EncodeArguments[1]>,
    );
    const end = writer.at;
    assert(end <= target.length, "a frame fits the memory that was reckoned for it");
    writer.reset(NOTHING, 0);
    uint32Framing.writeHeader(target, 0, end - HEADER_BYTES);
    return target.subarray(0, end);
  }
}

const NOTHING: Bytes = new Uint8Array(0);
/** Bytes per field beside its content: a tag, and a length or a number. */
const FIELD_BYTES = 16;

/** Most bytes that the frame of this message takes: what it counts for while it waits. */
export function frameBytesMax(message: ClientMessageInit): number {
  let bytes = HEADER_BYTES + FIELD_BYTES;
  for (const body of Object.values(message) as unknown[]) {
    if (typeof body !== "object" || body === null) continue;
    bytes += FIELD_BYTES;
    for (const field of Object.values(body) as unknown[]) bytes += fieldBytesMax(field);
  }
  return bytes;
}

function fieldBytesMax(field: unknown): number {
  // A UTF-16 unit takes at most three bytes.
  if (typeof field === "string") return FIELD_BYTES + 3 * field.length;
  if (field instanceof Uint8Array) return FIELD_BYTES + field.length;
  if (typeof field !== "object" || field === null) return FIELD_BYTES;
  let bytes = FIELD_BYTES;
  for (const [key, value] of Object.entries(field as Readonly<Record<string, string>>)) {
    bytes += 3 * FIELD_BYTES + 3 * (key.length + value.length);
  }
  return bytes;
}
