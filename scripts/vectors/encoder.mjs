// Protobuf and frames by hand, for the golden vectors. Messages are given in protobuf's own JSON
// form: 64-bit numbers as decimal text, bytes as base64, lowerCamelCase names, defaults left out.
import { Buffer } from "node:buffer";

const map = { labels: true, metadata: true };
const schema = {
  ClientMessage: {
    id: [1, "uint32"],
    hello: [2, "Hello"],
    call: [3, "Call"],
    publish: [4, "Publish"],
    subscribe: [5, "Subscribe"],
    unsubscribe: [6, "Unsubscribe"],
    goodbye: [7, "Goodbye"],
  },
  ServerMessage: {
    id: [1, "uint32"],
    welcome: [2, "Welcome"],
    result: [3, "Result"],
    failure: [4, "Failure"],
    event: [5, "Event"],
    gap: [6, "Gap"],
    goAway: [7, "GoAway"],
  },
  Hello: {
    version: [1, "uint32"],
    token: [2, "string"],
    client: [3, "string"],
    features: [4, "uint64"],
    resume: [5, "string"],
    labels: [6, "string"],
  },
  Welcome: {
    connectionId: [1, "string"],
    heartbeatMs: [2, "uint32"],
    maxFrameBytes: [3, "uint32"],
    features: [4, "uint64"],
    node: [5, "string"],
    version: [6, "uint32"],
    resume: [7, "string"],
  },
  Call: {
    method: [1, "string"],
    payload: [2, "bytes"],
    timeoutMs: [3, "uint32"],
    metadata: [4, "string"],
  },
  Result: { payload: [1, "bytes"] },
  Failure: {
    code: [1, "uint32"],
    reason: [2, "string"],
    retryable: [3, "bool"],
    retryAfterMs: [4, "uint32"],
  },
  Publish: { topic: [1, "string"], payload: [2, "bytes"] },
  Subscribe: {
    topic: [1, "string"],
    epoch: [2, "string"],
    offset: [3, "uint64"],
    recover: [4, "bool"],
  },
  Unsubscribe: { topic: [1, "string"] },
  Event: { topic: [1, "string"], payload: [2, "bytes"], offset: [3, "uint64"] },
  Gap: { topic: [1, "string"], missed: [2, "uint64"] },
  GoAway: {
    code: [1, "uint32"],
    reason: [2, "string"],
    reconnectAfterMs: [3, "uint32"],
    endpoints: [4, "string"],
  },
  Goodbye: { code: [1, "uint32"], reason: [2, "string"] },
};

/** A number of any size as a varint; `bytesMin` pads it with bytes that add nothing. */
export function varint(value, bytesMin = 1) {
  const bytes = [];
  let rest = BigInt(value);
  while (rest >= 128n || bytes.length + 1 < bytesMin) {
    bytes.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Buffer.from(bytes);
}

export function key(field, wireType) {
  return varint(field * 8 + wireType);
}

export function numberField(field, value, bytesMin = 1) {
  return Buffer.concat([key(field, 0), varint(value, bytesMin)]);
}

export function bytesField(field, content) {
  const bytes = Buffer.from(content);
  return Buffer.concat([key(field, 2), varint(bytes.length), bytes]);
}

export function entryField(field, name, value) {
  return bytesField(field, Buffer.concat([bytesField(1, name), bytesField(2, value)]));
}

function fieldBytes(number, type, value) {
  if (type === "uint32" || type === "uint64") return numberField(number, value);
  if (type === "bool") return numberField(number, value ? 1 : 0);
  if (type === "string") return bytesField(number, value);
  if (type === "bytes") return bytesField(number, Buffer.from(value, "base64"));
  return bytesField(number, encode(type, value));
}

/** The canonical encoding: fields in the order of their numbers, defaults left out. */
export function encode(type, message) {
  const parts = [];
  for (const [name, [number, kind]] of Object.entries(schema[type])) {
    const value = message[name];
    if (value === undefined) continue;
    if (map[name]) {
      for (const [entry, text] of Object.entries(value))
        parts.push(entryField(number, entry, text));
    } else if (Array.isArray(value)) {
      for (const item of value) parts.push(fieldBytes(number, kind, item));
    } else {
      parts.push(fieldBytes(number, kind, value));
    }
  }
  const unknown = Object.keys(message).find((name) => schema[type][name] === undefined);
  if (unknown !== undefined) throw new Error(`${type} has no field ${unknown}`);
  return Buffer.concat(parts);
}

/** A body as a frame; no bytes are a heartbeat. */
export function frame(body, framing = "uint32") {
  if (framing === "varint") return Buffer.concat([varint(body.length), body]);
  const { length } = body;
  const header = [length >>> 24, (length >>> 16) & 255, (length >>> 8) & 255, length & 255];
  return Buffer.concat([Buffer.from(header), body]);
}

export const heartbeat = Buffer.alloc(0);

export function base64(content) {
  return Buffer.from(content).toString("base64");
}

/** `length` bytes that differ from their neighbours. */
export function bytesOf(length) {
  return Buffer.from(Array.from({ length }, (_, index) => index % 256));
}
