// Single messages of clients, at every boundary of every field, and in encodings that no encoder of
// ours makes but every decoder must take.
import { Buffer } from "node:buffer";
import { base64, bytesField, bytesOf, encode, frame, key, numberField } from "./encoder.mjs";

function canonical(name, description, message) {
  const hex = frame(encode("ClientMessage", message)).toString("hex");
  const direction = "client_to_server";
  return {
    name,
    description,
    direction,
    framing: "uint32",
    canonical: true,
    hex,
    messages: [message],
  };
}

/** Bytes by hand, which mean the same as `message`. */
function unusual(name, description, parts, message) {
  const hex = frame(Buffer.concat(parts)).toString("hex");
  const direction = "client_to_server";
  return {
    name,
    description,
    direction,
    framing: "uint32",
    canonical: false,
    hex,
    messages: [message],
  };
}

const callM = encode("ClientMessage", { id: 5, call: { method: "m" } });
const callMMessage = { id: 5, call: { method: "m" } };
const uint64Max = "9007199254740991";

const messages = [
  canonical("hello-minimal", "Version 1 and an id: all that a Hello must have.", {
    id: 1,
    hello: { version: 1 },
  }),
  canonical("hello-full", "Every field of Hello.", {
    id: 1,
    hello: {
      version: 1,
      token: "token",
      client: "vectors/1.0",
      features: "5",
      resume: "resume",
      labels: { role: "admin", user: "42" },
    },
  }),
  canonical("hello-features-max", "The largest number that JavaScript holds exactly, 2^53 - 1.", {
    id: 1,
    hello: { version: 1, features: uint64Max },
  }),
  canonical("hello-label-prototype", "A label whose name means something to JavaScript.", {
    id: 1,
    hello: { version: 1, labels: Object.fromEntries([["__proto__", "x"]]) },
  }),
  canonical("hello-label-empty-value", "An entry of a map has its empty value written out.", {
    id: 1,
    hello: { version: 1, labels: { beta: "" } },
  }),
  canonical("call-minimal", "A method and nothing else.", { id: 2, call: { method: "echo" } }),
  canonical("call-full", "Every field of Call.", {
    id: 2,
    call: {
      method: "orders.new",
      payload: base64("payload"),
      timeoutMs: 1500,
      metadata: { trace: "00-4bf9" },
    },
  }),
  canonical("call-empty", "A body without fields: the method's name is empty.", {
    id: 2,
    call: {},
  }),
  canonical("call-no-answer", "Without an id nothing is answered.", { call: { method: "log" } }),
  canonical("call-id-127", "The largest id of one byte.", { id: 127, call: { method: "m" } }),
  canonical("call-id-128", "The smallest id of two bytes.", { id: 128, call: { method: "m" } }),
  canonical("call-id-max", "The largest id, 2^32 - 1.", { id: 4294967295, call: { method: "m" } }),
  canonical("call-timeout-max", "The longest timeout that can be asked for, 2^32 - 1 ms.", {
    id: 2,
    call: { method: "m", timeoutMs: 4294967295 },
  }),
  canonical("call-method-utf8", "Letters of two, three and four bytes.", {
    id: 2,
    call: { method: "größe.日本.😀" },
  }),
  canonical("call-method-127", "A name of 127 bytes: a length of one byte.", {
    id: 2,
    call: { method: "m".repeat(127) },
  }),
  canonical("call-method-128", "A name of 128 bytes: a length of two bytes.", {
    id: 2,
    call: { method: "m".repeat(128) },
  }),
  canonical("call-payload-256", "A payload with every byte that there is.", {
    id: 2,
    call: { method: "m", payload: base64(bytesOf(256)) },
  }),
  canonical("call-body-127", "A body of 127 bytes.", {
    id: 2,
    call: { method: "m", payload: base64(bytesOf(122)) },
  }),
  canonical("call-body-128", "A body of 128 bytes.", {
    id: 2,
    call: { method: "m", payload: base64(bytesOf(123)) },
  }),
  canonical("publish-minimal", "An event without payload.", { id: 3, publish: { topic: "t" } }),
  canonical("publish-full", "Every field of Publish.", {
    id: 3,
    publish: { topic: "room/1", payload: base64("hello") },
  }),
  canonical("publish-no-answer", "Without an id a publish is not acknowledged.", {
    publish: { topic: "t", payload: base64("x") },
  }),
  canonical("publish-topic-255", "The longest topic, 255 bytes.", {
    id: 3,
    publish: { topic: "t".repeat(255), payload: base64("x") },
  }),
  canonical("subscribe-minimal", "A topic.", { id: 4, subscribe: { topic: "t" } }),
  canonical("subscribe-full", "Every field of Subscribe.", {
    id: 4,
    subscribe: { topic: "t", epoch: "e1", offset: uint64Max, recover: true },
  }),
  canonical("subscribe-topic-utf8", "A topic of 255 bytes in 85 letters.", {
    id: 4,
    subscribe: { topic: "日".repeat(85) },
  }),
  canonical("unsubscribe", "Every field of Unsubscribe.", { id: 5, unsubscribe: { topic: "t" } }),
  canonical("goodbye-minimal", "A body without fields.", { goodbye: {} }),
  canonical("goodbye-full", "Every field of Goodbye.", { goodbye: { code: 1000, reason: "bye" } }),
];

const encodings = [
  unusual(
    "unusual-id-zero",
    "An id of 0 that is written out is the same as none.",
    [numberField(1, 0), bytesField(7, "")],
    { goodbye: {} },
  ),
  unusual(
    "unusual-order",
    "The id behind the body.",
    [encode("ClientMessage", { call: { method: "m" } }), numberField(1, 5)],
    callMMessage,
  ),
  unusual(
    "unusual-default-fields",
    "Fields that hold their defaults are written out.",
    [
      numberField(1, 5),
      bytesField(3, Buffer.concat([bytesField(1, "m"), bytesField(2, ""), numberField(3, 0)])),
    ],
    callMMessage,
  ),
  unusual(
    "unusual-long-varint",
    "An id of one byte in ten.",
    [numberField(1, 5, 10), bytesField(3, bytesField(1, "m"))],
    callMMessage,
  ),
  unusual(
    "unusual-id-33-bits",
    "Of a number above 32 bits the low 32 count: 2^32 + 5.",
    [numberField(1, 4294967301n), bytesField(3, bytesField(1, "m"))],
    callMMessage,
  ),
  unusual(
    "unusual-twice",
    "A field that comes twice has its last value.",
    [
      numberField(1, 9),
      numberField(1, 5),
      bytesField(3, [...bytesField(1, "x"), ...bytesField(1, "m")]),
    ],
    callMMessage,
  ),
  unusual(
    "unusual-two-bodies",
    "Of two bodies the last one counts.",
    [numberField(1, 5), bytesField(5, bytesField(1, "t")), bytesField(3, bytesField(1, "m"))],
    callMMessage,
  ),
  unusual(
    "unusual-split-body",
    "A body that comes in two parts is one.",
    [numberField(1, 5), bytesField(3, numberField(3, 70)), bytesField(3, bytesField(1, "m"))],
    { id: 5, call: { method: "m", timeoutMs: 70 } },
  ),
  unusual(
    "unusual-unknown-varint",
    "A field that nobody knows is skipped: a number.",
    [numberField(100, 18446744073709551615n), callM],
    callMMessage,
  ),
  unusual(
    "unusual-unknown-fixed64",
    "A field that nobody knows is skipped: eight bytes.",
    [key(101, 1), Buffer.alloc(8, 255), callM],
    callMMessage,
  ),
  unusual(
    "unusual-unknown-bytes",
    "A field that nobody knows is skipped: bytes.",
    [bytesField(102, bytesOf(200)), callM],
    callMMessage,
  ),
  unusual(
    "unusual-unknown-group",
    "A field that nobody knows is skipped: a group.",
    [key(103, 3), numberField(1, 7), bytesField(2, "x"), key(103, 4), callM],
    callMMessage,
  ),
  unusual(
    "unusual-unknown-fixed32",
    "A field that nobody knows is skipped: four bytes.",
    [key(104, 5), Buffer.alloc(4, 255), callM],
    callMMessage,
  ),
  unusual(
    "unusual-unknown-inside",
    "A field that nobody knows is skipped inside a body.",
    [numberField(1, 5), bytesField(3, [...bytesField(1, "m"), ...numberField(536870911, 1)])],
    callMMessage,
  ),
  unusual(
    "unusual-wire-type",
    "A known field of another wire type is skipped: the method's name is missing.",
    [numberField(1, 5), bytesField(3, numberField(1, 7))],
    { id: 5, call: {} },
  ),
];

export const clientVectors = [...messages, ...encodings];
