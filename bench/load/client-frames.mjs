// What a client of Holdfast says, in frames and those in WebSocket messages: for load clients that
// know neither.
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const dist = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), "dist");
const { holdfast } = await import(join(dist, "wire/generated/messages.js"));

/** A WebSocket message of one frame; its mask is zero, so that it is sent as it is. */
export function encodeClientMessage(message) {
  const body = holdfast.v1.ClientMessage.encode(message).finish();
  const header = Buffer.alloc(4);
  header.writeUInt32BE(body.length);
  const frame = Buffer.concat([header, body]);
  if (frame.length > 125) throw new Error("it does not fit a short WebSocket message");
  return Buffer.concat([Buffer.from([0x82, 0x80 | frame.length, 0, 0, 0, 0]), frame]);
}
