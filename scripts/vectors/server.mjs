// Single messages of servers, at every boundary of every field.
import { base64, bytesOf, encode, frame } from "./encoder.mjs";

function canonical(name, description, message) {
  const hex = frame(encode("ServerMessage", message)).toString("hex");
  const direction = "server_to_client";
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

const uint64Max = "9007199254740991";

export const serverVectors = [
  canonical("welcome-minimal", "The least that a server of ours says.", {
    id: 1,
    welcome: { connectionId: "1-0", heartbeatMs: 25000, maxFrameBytes: 65536, version: 1 },
  }),
  canonical("welcome-full", "Every field of Welcome.", {
    id: 1,
    welcome: {
      connectionId: "2s-1f",
      heartbeatMs: 25000,
      maxFrameBytes: 65536,
      features: uint64Max,
      node: "knoten-ä",
      version: 1,
      resume: "resume",
    },
  }),
  canonical("result-empty", "The answer to a Subscribe, an Unsubscribe and a Publish.", {
    id: 2,
    result: {},
  }),
  canonical("result-payload", "The answer to a call.", {
    id: 2,
    result: { payload: base64("pong") },
  }),
  canonical("result-id-max", "The answer to the largest id, 2^32 - 1.", {
    id: 4294967295,
    result: { payload: base64("x") },
  }),
  canonical("result-payload-125", "A payload in a body of 127 bytes: lengths of one byte.", {
    id: 2,
    result: { payload: base64(bytesOf(125)) },
  }),
  canonical(
    "result-payload-127",
    "A payload of 127 bytes in a body that needs two for its length.",
    {
      id: 2,
      result: { payload: base64(bytesOf(127)) },
    },
  ),
  canonical("result-payload-128", "A payload of 128 bytes: all lengths have two bytes.", {
    id: 2,
    result: { payload: base64(bytesOf(128)) },
  }),
  canonical("failure-minimal", "A status without a word.", { id: 3, failure: { code: 13 } }),
  canonical("failure-full", "Every field of Failure.", {
    id: 3,
    failure: { code: 14, reason: "busy", retryable: true, retryAfterMs: 250 },
  }),
  canonical("failure-retry-max", "The longest wait, 2^32 - 1 ms.", {
    id: 3,
    failure: { code: 8, reason: "später", retryAfterMs: 4294967295 },
  }),
  canonical("event-minimal", "A push that belongs to no subscription: offset 0, not written.", {
    event: { topic: "news" },
  }),
  canonical("event-first", "The first event of a topic.", {
    event: { topic: "t", payload: base64("hello"), offset: "1" },
  }),
  canonical("event-offset-max", "The largest offset that JavaScript holds exactly, 2^53 - 1.", {
    event: { topic: "t", payload: base64("x"), offset: uint64Max },
  }),
  canonical("event-offset-32-bits", "The first offset that 32 bits cannot hold.", {
    event: { topic: "t", offset: "4294967296" },
  }),
  canonical("event-topic-utf8", "A topic of letters of three bytes.", {
    event: { topic: "日本語", payload: base64("x"), offset: "7" },
  }),
  canonical("gap-minimal", "One event was missed.", { gap: { topic: "t", missed: "1" } }),
  canonical("gap-max", "As many as can be counted.", { gap: { topic: "t", missed: uint64Max } }),
  canonical("goaway-minimal", "A code and its name.", {
    goAway: { code: 3500, reason: "protocol_error" },
  }),
  canonical("goaway-full", "Every field of GoAway.", {
    goAway: {
      code: 3000,
      reason: "shutdown",
      reconnectAfterMs: 4711,
      endpoints: ["tcp://a.example:7400", "wss://b.example/", ""],
    },
  }),
];
