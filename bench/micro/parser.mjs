// Received bytes to frames, and frames to messages.
import { built, OURS, someBytes } from "./work.mjs";

const CHUNK_BYTES = 65_536;
const BODY_BYTES_MAX = 1_048_576;
const HEADER_BYTES = 4;

/** As many frames as a full read has, one after another. */
function frames(bodyBytes) {
  const count = Math.max(4, Math.floor(CHUNK_BYTES / (HEADER_BYTES + bodyBytes)));
  const stream = Buffer.alloc(count * (HEADER_BYTES + bodyBytes));
  for (let index = 0, at = 0; index < count; index++, at += HEADER_BYTES + bodyBytes) {
    stream.writeUInt32BE(bodyBytes, at);
    stream.set(someBytes(bodyBytes), at + HEADER_BYTES);
  }
  return { stream, count };
}

/** Offsets where the chunks of a stream end: with its frames, or each in the middle of a frame. */
function chunkEnds({ stream, count }, bodyBytes, split) {
  if (split === "whole") return [stream.length];
  const frameBytes = HEADER_BYTES + bodyBytes;
  const middles = Array.from({ length: count }, (_, index) => (index + 0.5) * frameBytes);
  return [...middles.map(Math.floor), stream.length];
}

/** What every sink counts of a frame: enough to tell that it is the right one. */
function expectedOf({ stream, count }, bodyBytes) {
  return count * (bodyBytes + stream[HEADER_BYTES] + stream[HEADER_BYTES + bodyBytes - 1]);
}

async function ourFrames({ dist, load: { frames: split, bytes } }) {
  const { readFrames, Unread } = await built(
    ...[dist, "wire/frame-reader.js", "readFrames", "Unread"],
  );
  const { uint32Framing } = await built(dist, "wire/framing.js", "uint32Framing");
  const { BufferPool } = await built(dist, "base/buffer-pool.js", "BufferPool");
  const pool = new BufferPool();
  const input = frames(bytes);
  const ends = chunkEnds(input, bytes, split);
  const { stream } = input;
  let unread = null;
  let sum = 0;
  const sink = {
    onFrame(from, start, end) {
      sum += end - start + from[start] + from[end - 1];
      return true;
    },
  };

  /** As connection/receive.ts does it. */
  function receive(start, end) {
    let at = start;
    while (unread !== null && at < end) {
      const missing = unread.missing(uint32Framing, BODY_BYTES_MAX);
      const taken = missing === 0 ? end : Math.min(end, at + missing);
      unread.append(stream, at, taken);
      unread.read(uint32Framing, BODY_BYTES_MAX, sink);
      if (unread.length === 0) {
        unread.release();
        unread = null;
      }
      at = taken;
    }
    if (at < end) at = readFrames(uint32Framing, BODY_BYTES_MAX, stream, at, end, at, sink);
    if (at === end) return;
    unread ??= new Unread(pool, end - at);
    unread.append(stream, at, end);
  }

  return {
    operations: input.count,
    expected: expectedOf(input, bytes),
    run() {
      sum = 0;
      let start = 0;
      for (const end of ends) {
        receive(start, end);
        start = end;
      }
      return sum;
    },
  };
}

/** What most servers do: what is left over goes before the next chunk, and bodies are views. */
function concatFrames({ load: { frames: split, bytes } }) {
  const input = frames(bytes);
  const ends = chunkEnds(input, bytes, split);
  const chunks = ends.map((end, index) => input.stream.subarray(ends[index - 1] ?? 0, end));
  const nothing = Buffer.alloc(0);
  let rest = nothing;
  let sum = 0;

  function onFrame(body) {
    sum += body.length + body[0] + body[body.length - 1];
  }

  function receive(chunk) {
    const received = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let at = 0;
    while (received.length - at >= HEADER_BYTES) {
      const end = at + HEADER_BYTES + received.readUInt32BE(at);
      if (end > received.length) break;
      onFrame(received.subarray(at + HEADER_BYTES, end));
      at = end;
    }
    rest = at === received.length ? nothing : received.subarray(at);
  }

  return {
    operations: input.count,
    expected: expectedOf(input, bytes),
    run() {
      sum = 0;
      for (const chunk of chunks) receive(chunk);
      return sum;
    },
  };
}

const METHOD = "echo";
const MESSAGES = 64;

/** Calls one after another without frames; every one has an id of its own. */
async function calls(dist, payloadBytes) {
  const { holdfast } = await built(dist, "wire/generated/messages.js", "holdfast");
  const { ClientMessage } = holdfast.v1;
  const call = { method: METHOD, payload: someBytes(payloadBytes) };
  const bodies = Array.from({ length: MESSAGES }, (_, index) =>
    ClientMessage.encode({ id: 1 + index, call }).finish(),
  );
  const bytes = Buffer.concat(bodies);
  const ends = [];
  for (const { length } of bodies) ends.push((ends.at(-1) ?? 0) + length);
  const ids = (MESSAGES * (MESSAGES + 1)) / 2;
  return { ClientMessage, bytes, ends, expected: ids + MESSAGES * (payloadBytes + METHOD.length) };
}

/** @param decode (bytes, start, end) => message */
function decoding({ bytes, ends, expected }, decode) {
  return {
    operations: MESSAGES,
    expected,
    run() {
      let sum = 0;
      let start = 0;
      for (const end of ends) {
        const { id, call } = decode(bytes, start, end);
        sum += id + call.method.length + call.payload.length;
        start = end;
      }
      return sum;
    },
  };
}

async function ourMessages({ dist, load }) {
  const { MessageReader } = await built(dist, "wire/message-reader.js", "MessageReader");
  const { PayloadScope } = await built(dist, "wire/payload.js", "PayloadScope");
  const reader = new MessageReader(new PayloadScope());
  const input = await calls(dist, load.bytes);
  return decoding(input, (bytes, start, end) => reader.decode(bytes, start, end));
}

/** The same generated code as it is meant to be used. */
async function protobufMessages({ dist, load }) {
  const { ClientMessage, ...input } = await calls(dist, load.bytes);
  return decoding(input, (bytes, start, end) => ClientMessage.decode(bytes.subarray(start, end)));
}

const frameSides = { [OURS]: ourFrames, "Buffer.concat": concatFrames };
const messageSides = { [OURS]: ourMessages, protobufjs: protobufMessages };

/** @type {import("./work.mjs").Case[]} */
export const PARSER_CASES = [
  ...["whole", "split"].flatMap((split) =>
    [32, 16_384].map((bytes) => ({
      group: "parser",
      load: { frames: split, bytes },
      sides: frameSides,
    })),
  ),
  ...[32, 16_384].map((bytes) => ({
    group: "parser",
    load: { calls: "decoded", bytes },
    sides: messageSides,
  })),
];
