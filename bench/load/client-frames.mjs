// What subscribers and publishers say, by protocol: for a load client that knows no more of it than
// where messages end (subscribers.c).
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const dist = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), "dist");
const { holdfast } = await import(join(dist, "wire/generated/messages.js"));

const TEXT = 0x81;
const BINARY = 0x82;
/** Time that a payload carries; the client fills in its digits. */
const STAMP = `T=${"0".repeat(16)}`;
export const PAYLOAD_BYTES_MIN = STAMP.length;

/** A payload that says when it was sent, by CLOCK_MONOTONIC, or has room for that. */
export function stamped(bytes, ns = 0n) {
  return `T=${ns.toString(16).padStart(16, "0")}`.padEnd(bytes, "x");
}

/** A WebSocket message of a client; its mask is zero, so that it is sent as it is. */
function webSocketMessage(opcode, body) {
  const bytes = Buffer.from(body);
  const length = bytes.length < 126 ? [bytes.length] : [126, bytes.length >> 8, bytes.length & 255];
  return Buffer.concat([
    Buffer.from([opcode, 0x80 | length[0], ...length.slice(1), 0, 0, 0, 0]),
    bytes,
  ]);
}

function holdfastFrame(message) {
  const body = holdfast.v1.ClientMessage.encode(message).finish();
  const header = Buffer.alloc(4);
  header.writeUInt32BE(body.length);
  return Buffer.concat([header, body]);
}

/** MQTT 3.1.1: a type, the length as a varint, and the rest. */
function mqttPacket(type, ...parts) {
  const rest = Buffer.concat(parts.map((part) => Buffer.from(part)));
  const length = [];
  for (let left = rest.length; ; left >>= 7) {
    length.push(left > 127 ? (left & 127) | 128 : left);
    if (left <= 127) break;
  }
  return Buffer.concat([Buffer.from([type, ...length]), rest]);
}

/**
 * Of every dialect: what makes a connection ready for use and how often it is answered, what
 * subscribes it to `t`, and a publish to `t`. Where everybody is subscribed there is no more to
 * say.
 */
const SAID = {
  raw: {
    hello: [],
    subscribe: [],
    publish: (payload) => payload,
  },
  holdfast: {
    hello: [holdfastFrame({ id: 1, hello: { version: 1, client: "subscriber" } })],
    subscribe: [holdfastFrame({ id: 2, subscribe: { topic: "t" } })],
    // Without an id there is no answer, as there is none in the other dialects.
    publish: (payload) => holdfastFrame({ publish: { topic: "t", payload: Buffer.from(payload) } }),
  },
  "socket.io": {
    hello: ["40"],
    subscribe: [],
    publish: (payload) => `42["publish","${payload}"]`,
  },
  nats: {
    hello: ['CONNECT {"verbose":false,"pedantic":false,"echo":false}\r\nPING\r\n'],
    subscribe: ["SUB t 1\r\nPING\r\n"],
    publish: (payload) => `PUB t ${payload.length}\r\n${payload}\r\n`,
  },
  mqtt: {
    // A clean session, no keep-alive, and an identity that the broker makes up.
    hello: [mqttPacket(0x10, "\0\x04MQTT\x04\x02\0\0\0\0")],
    subscribe: [mqttPacket(0x82, "\0\x01\0\x01t\0")],
    publish: (payload) => mqttPacket(0x30, "\0\x01t", payload),
  },
};

function upgrade(port, protocol) {
  const path = protocol === "socket.io" ? "/socket.io/?EIO=4&transport=websocket" : "/";
  const lines = [
    `GET ${path} HTTP/1.1`,
    `Host: 127.0.0.1:${port}`,
    ...["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"],
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ...(protocol === "holdfast" ? ["Sec-WebSocket-Protocol: holdfast.v1"] : []),
  ];
  return `${lines.join("\r\n")}\r\n\r\n`;
}

/** Their names in subscribers.c, by transport and protocol. */
const DIALECTS = {
  tcp: { raw: "raw", holdfast: "holdfast", nats: "nats", mqtt: "mqtt" },
  websocket: { raw: "websocket", holdfast: "holdfast-websocket", "socket.io": "socket.io" },
};

/**
 * What subscribers.c is told of a side.
 * @param {{transport: string, protocol: string, port: number, bytes: number,
 *   purpose: "subscribe" | "idle"}} how `idle` ones are ready for use and subscribed to nothing;
 *   a server of raw bytes echoes to them
 * @returns flags, by name
 */
export function scriptFor({ transport, protocol, port, bytes, purpose }) {
  const { hello, subscribe, publish } = SAID[protocol];
  const opcode = protocol === "socket.io" ? TEXT : BINARY;
  const wrap = (part) => (transport === "tcp" ? part : webSocketMessage(opcode, part));
  const hex = (parts) =>
    Buffer.concat(parts.map((part) => Buffer.from(wrap(part)))).toString("hex");
  const payload = stamped(bytes);
  const echoed = protocol === "raw" ? [payload] : [];
  const greeting = [...hello, ...(purpose === "idle" ? echoed : subscribe)];
  return {
    dialect: DIALECTS[transport][protocol],
    bytes,
    ...(transport === "websocket"
      ? { request: Buffer.from(upgrade(port, protocol)).toString("hex") }
      : {}),
    greeting: hex(greeting),
    answers: greeting.length,
    "publisher-greeting": hex(hello),
    "publisher-answers": hello.length,
    message: hex([publish(payload)]),
  };
}
