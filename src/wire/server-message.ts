// Server messages from their bytes, by protobufjs' static code.

import type { Bytes } from "../base/buffer-pool.ts";
import { holdfast } from "./generated/messages.js";
import type { ServerMessage } from "./messages.ts";

/** The generated class would set `body` through a setter that deletes its other members. */
class DecodedMessage {
  id: number = 0;
  body: ServerMessage["body"] = undefined;
  welcome: ServerMessage["welcome"] = null;
  result: ServerMessage["result"] = null;
  failure: ServerMessage["failure"] = null;
  event: ServerMessage["event"] = null;
  gap: ServerMessage["gap"] = null;
  goAway: ServerMessage["goAway"] = null;
}

/** The last four parameters are not in the generated declarations. */
const generated = holdfast.v1.ServerMessage as unknown as {
  decode(
    body: Bytes,
    length: undefined,
    endGroup: undefined,
    depth: number,
    target: object,
  ): unknown;
};

/**
 * The message in these bytes; its payloads are views into them.
 * Throws what protobufjs throws (Error, RangeError, TypeError) where they are none.
 */
export function decodeServerMessage(body: Bytes): ServerMessage {
  const message = new DecodedMessage();
  generated.decode(body, undefined, undefined, 0, message);
  // The generated code deletes a field whose value on the wire is its default.
  if (message.id === undefined) message.id = 0;
  return message as ServerMessage;
}
