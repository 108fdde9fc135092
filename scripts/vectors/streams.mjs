// Frames after each other. In `messages` a heartbeat is null.
import { Buffer } from "node:buffer";
import { base64, bytesOf, encode, frame, heartbeat } from "./encoder.mjs";

function stream(name, description, direction, framing, messages) {
  const type = direction === "client_to_server" ? "ClientMessage" : "ServerMessage";
  const frames = messages.map((message) =>
    frame(message === null ? heartbeat : encode(type, message), framing),
  );
  const hex = Buffer.concat(frames).toString("hex");
  return { name, description, direction, framing, canonical: true, hex, messages };
}

const fromClient = [
  { id: 1, hello: { version: 1 } },
  null,
  { id: 2, subscribe: { topic: "t" } },
  { id: 3, publish: { topic: "t", payload: base64("hello") } },
  { id: 4, call: { method: "echo", payload: base64(bytesOf(200)) } },
  null,
  null,
  { id: 5, unsubscribe: { topic: "t" } },
  { goodbye: {} },
];

const fromServer = [
  { id: 1, welcome: { connectionId: "1-0", heartbeatMs: 25000, maxFrameBytes: 65536, version: 1 } },
  { id: 2, result: {} },
  { event: { topic: "t", payload: base64("1"), offset: "1" } },
  null,
  { gap: { topic: "t", missed: "3" } },
  { event: { topic: "t", payload: base64("5"), offset: "5" } },
  { id: 3, failure: { code: 12, reason: "no such method: x" } },
  { goAway: { code: 1000, reason: "normal" } },
];

export const streamVectors = [
  stream("heartbeat", "Four zero bytes.", "client_to_server", "uint32", [null]),
  stream("heartbeats", "Three heartbeats.", "server_to_client", "uint32", [null, null, null]),
  stream(
    "session-client",
    "What a client says in a short session.",
    "client_to_server",
    "uint32",
    fromClient,
  ),
  stream(
    "session-server",
    "What a server says in a short session.",
    "server_to_client",
    "uint32",
    fromServer,
  ),
  stream("varint-heartbeat", "One zero byte.", "client_to_server", "varint", [null]),
  stream(
    "varint-session-client",
    "The same session, varint-delimited.",
    "client_to_server",
    "varint",
    fromClient,
  ),
  stream(
    "varint-session-server",
    "The same session, varint-delimited.",
    "server_to_client",
    "varint",
    fromServer,
  ),
  stream("varint-length-127", "A frame whose length has one byte.", "client_to_server", "varint", [
    { id: 2, call: { method: "m", payload: base64(bytesOf(118)) } },
  ]),
  stream("varint-length-128", "A frame whose length has two bytes.", "client_to_server", "varint", [
    { id: 2, call: { method: "m", payload: base64(bytesOf(119)) } },
  ]),
];
