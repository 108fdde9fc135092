// Messages to frames: into memory that is there already, and several into one write.
import protobuf from "protobufjs/minimal.js";
import { built, OURS, someBytes } from "./work.mjs";

const TOPIC = "news";
const MESSAGES = 16;

async function peerMessages(dist) {
  const { holdfast } = await built(dist, "wire/generated/messages.js", "holdfast");
  return holdfast.v1.ServerMessage;
}

async function ourWriter(dist) {
  const { FrameWriter } = await built(dist, "wire/frame-writer.js", "FrameWriter");
  const { uint32Framing } = await built(dist, "wire/framing.js", "uint32Framing");
  return new FrameWriter(uint32Framing);
}

/** Bytes that the messages take without their frames' lengths, by protobufjs. */
async function bodyBytes(dist, messageOf) {
  const ServerMessage = await peerMessages(dist);
  let bytes = 0;
  for (let id = 1; id <= MESSAGES; id++)
    bytes += ServerMessage.encode(messageOf(id)).finish().length;
  return bytes;
}

const resultOf = (payload) => (id) => ({ id, result: { payload } });
const eventOf = (payload) => (id) => ({ event: { topic: TOPIC, payload, offset: id } });

/** @param encode (target, at, id) => the offset after the frame */
async function intoMemory(dist, messageOf, payload, encode) {
  const target = Buffer.alloc(payload.length + 256);
  return {
    operations: MESSAGES,
    expected: (await bodyBytes(dist, messageOf)) + 4 * MESSAGES,
    run() {
      let bytes = 0;
      for (let id = 1; id <= MESSAGES; id++) bytes += encode(target, id);
      return bytes;
    },
  };
}

async function ourResults({ dist, load }) {
  const writer = await ourWriter(dist);
  const payload = someBytes(load.bytes);
  const encode = (target, id) => writer.result(target, 0, id, payload);
  return await intoMemory(dist, resultOf(payload), payload, encode);
}

async function ourEvents({ dist, load }) {
  const writer = await ourWriter(dist);
  const payload = someBytes(load.bytes);
  const message = eventOf(payload);
  const encode = (target, id) => writer.message(target, 0, message(id));
  return await intoMemory(dist, message, payload, encode);
}

/** protobufjs puts its own length, a varint, before each: nothing has to be copied for a frame. */
function encodeDelimited(ServerMessage, message, writer = protobuf.Writer.create()) {
  return ServerMessage.encode(message, writer.fork()).ldelim();
}

async function delimited(dist, messageOf) {
  const ServerMessage = await peerMessages(dist);
  const frame = (id) => encodeDelimited(ServerMessage, messageOf(id)).finish().length;
  let expected = 0;
  for (let id = 1; id <= MESSAGES; id++) {
    const { length } = ServerMessage.encode(messageOf(id)).finish();
    expected += length + (length < 0x80 ? 1 : length < 0x4000 ? 2 : 3);
  }
  return {
    operations: MESSAGES,
    expected,
    run() {
      let bytes = 0;
      for (let id = 1; id <= MESSAGES; id++) bytes += frame(id);
      return bytes;
    },
  };
}

const peerOf =
  (messageOf) =>
  ({ dist, load }) =>
    delimited(dist, messageOf(someBytes(load.bytes)));

/** Answers of one received chunk, in one write. */
async function ourCork({ dist, load }) {
  const { Cork } = await built(dist, "connection/cork.js", "Cork");
  const { BufferPool } = await built(dist, "base/buffer-pool.js", "BufferPool");
  const writer = await ourWriter(dist);
  const cork = new Cork(new BufferPool());
  const payload = someBytes(load.bytes);
  const bytesMax = writer.resultBytesMax(payload.length);
  let written = 0;
  const owner = {
    writeCorked(_slab, start, end) {
      written += end - start;
    },
  };
  return {
    operations: MESSAGES,
    expected: (await bodyBytes(dist, resultOf(payload))) + 4 * MESSAGES,
    run() {
      written = 0;
      cork.enter();
      for (let id = 1; id <= MESSAGES; id++) {
        const target = cork.open(owner, bytesMax);
        cork.commit(writer.result(target, cork.at, id, payload));
      }
      cork.leave();
      return written;
    },
  };
}

/** One writer for all of them: what protobufjs does best. */
async function peerCork({ dist, load }) {
  const ServerMessage = await peerMessages(dist);
  const messageOf = resultOf(someBytes(load.bytes));
  const { expected } = await delimited(dist, messageOf);
  return {
    operations: MESSAGES,
    expected,
    run() {
      let writer;
      for (let id = 1; id <= MESSAGES; id++) {
        writer = encodeDelimited(ServerMessage, messageOf(id), writer);
      }
      return writer.finish().length;
    },
  };
}

/** @type {import("./work.mjs").Case[]} */
export const WRITER_CASES = [
  ...[32, 16_384].map((bytes) => ({
    group: "writer",
    load: { results: "encoded", bytes },
    sides: { [OURS]: ourResults, protobufjs: peerOf(resultOf) },
  })),
  {
    group: "writer",
    load: { events: "encoded", bytes: 32 },
    sides: { [OURS]: ourEvents, protobufjs: peerOf(eventOf) },
  },
  {
    group: "writer",
    load: { results: "corked", inOneWrite: MESSAGES, bytes: 32 },
    sides: { [OURS]: ourCork, protobufjs: peerCork },
  },
];
