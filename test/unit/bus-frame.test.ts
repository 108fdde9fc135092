import { describe, expect, it } from "vitest";
import {
  BUS_FRAME,
  BUS_FRAME_BYTES_MAX,
  BUS_HEADER_BYTES,
  type BusFrameInit,
  busFrameBytes,
  BusReader,
  writeBusFrame,
} from "../../src/bus/bus-frame.ts";

function encoded(frame: BusFrameInit): Buffer {
  const bytes = Buffer.alloc(busFrameBytes(frame), 0xee);
  writeBusFrame(bytes, 0, bytes.length, frame);
  return bytes;
}

function read(reader: BusReader, chunks: readonly Buffer[]): BusFrameInit[] {
  const frames: BusFrameInit[] = [];
  for (const chunk of chunks) {
    reader.add(Buffer.from(chunk));
    while (reader.next()) {
      const { kind, number, value, target, topic, payload } = reader;
      const copy = Buffer.from(payload);
      frames.push({
        kind: kind as BusFrameInit["kind"],
        number,
        value,
        target,
        topic,
        payload: copy,
      });
    }
  }
  return frames;
}

const FRAMES: BusFrameInit[] = [
  { kind: BUS_FRAME.JOIN, number: 2 ** 32 - 1, topic: "t" },
  { kind: BUS_FRAME.PUBLISH, topic: "täglich ✓", payload: Buffer.from("payload") },
  { kind: BUS_FRAME.EVENT, value: Number.MAX_SAFE_INTEGER, topic: "", payload: Buffer.alloc(0) },
  {
    kind: BUS_FRAME.SEND,
    number: 3,
    target: "3jk-4",
    topic: "news",
    payload: Buffer.alloc(300, 7),
  },
  {
    kind: BUS_FRAME.REACH,
    value: 9,
    target: "room=größe=x",
    topic: "n",
    payload: Buffer.from("x"),
  },
  { kind: BUS_FRAME.REACHED, value: 9, number: 12 },
];
const WHOLE = FRAMES.map((frame) => ({
  number: 0,
  value: 0,
  target: "",
  topic: "",
  payload: Buffer.alloc(0),
  ...frame,
}));

describe("what was written is read", () => {
  const stream = Buffer.concat(FRAMES.map(encoded));

  it("from one chunk", () => {
    expect(read(new BusReader(), [stream])).toEqual(WHOLE);
  });

  it.each([1, 2, 3, 5, 7, 23, 24, 25, 29, 60, 333])("from chunks of %i bytes", (size) => {
    const chunks: Buffer[] = [];
    for (let at = 0; at < stream.length; at += size) chunks.push(stream.subarray(at, at + size));
    expect(read(new BusReader(), chunks)).toEqual(WHOLE);
  });

  it("from two chunks, wherever the cut is", () => {
    for (let cut = 0; cut <= stream.length; cut++) {
      const chunks = [stream.subarray(0, cut), stream.subarray(cut)];
      expect(read(new BusReader(), chunks)).toEqual(WHOLE);
    }
  });

  it("when it is as large as a frame may be", () => {
    const payload = Buffer.alloc(BUS_FRAME_BYTES_MAX - BUS_HEADER_BYTES - 1, 0x5a);
    const bytes = encoded({ kind: BUS_FRAME.PUBLISH, topic: "t", payload });
    const chunks = [bytes.subarray(0, 30), bytes.subarray(30, 70_000), bytes.subarray(70_000)];
    expect(Buffer.compare(read(new BusReader(), chunks)[0]!.payload!, payload)).toBe(0);
  });
});

it("a frame is made another in place, and its names and payload stay", () => {
  const reader = new BusReader();
  reader.add(encoded({ kind: BUS_FRAME.PUBLISH, topic: "t", payload: Buffer.from("x") }));
  expect(reader.next()).toBe(true);
  reader.rewrite(BUS_FRAME.EVENT, 41);
  const again = Buffer.from(reader.bytes.subarray(reader.start, reader.end));
  const payload = Buffer.from("x");
  expect(read(new BusReader(), [again])).toMatchObject([
    { kind: 4, value: 41, topic: "t", payload },
  ]);
});

it("a key tells any two names apart", () => {
  const names = ["a", "b", "ä", "Ã¤", "✓", "", "a\u0000", "A"];
  const keys = names.map((topic) => {
    const reader = new BusReader();
    reader.add(encoded({ kind: BUS_FRAME.LEAVE, topic }));
    reader.next();
    return reader.topicKey;
  });
  expect(new Set(keys).size).toBe(names.length);
});

describe("a frame is refused before it is written", () => {
  it.each([
    ["a payload", { payload: Buffer.alloc(BUS_FRAME_BYTES_MAX - BUS_HEADER_BYTES) }],
    ["a topic", { payload: Buffer.alloc(0), topic: "x".repeat(65_536) }],
    ["a topic of long characters", { payload: Buffer.alloc(0), topic: "✓".repeat(21_846) }],
    ["a target", { payload: Buffer.alloc(0), target: "x".repeat(65_536) }],
  ])("that has %s which is too long", (_what, parts) => {
    const frame = { kind: BUS_FRAME.PUBLISH, topic: "t", ...parts };
    expect(() => busFrameBytes(frame)).toThrow(
      expect.objectContaining({ code: "HOLDFAST_FRAME_TOO_LARGE" }),
    );
  });
});

describe("what is no frame is told", () => {
  const good = encoded({ kind: BUS_FRAME.JOIN, topic: "topic" });
  it.each<[string, (bytes: Buffer) => unknown]>([
    ["no length", (bytes) => bytes.writeUInt32LE(0, 0)],
    ["a length shorter than a header", (bytes) => bytes.writeUInt32LE(BUS_HEADER_BYTES - 5, 0)],
    ["a length shorter than its names", (bytes) => bytes.writeUInt32LE(BUS_HEADER_BYTES, 0)],
    ["a topic longer than the frame", (bytes) => bytes.writeUInt16LE(500, 6)],
    ["a target longer than the frame", (bytes) => bytes.writeUInt16LE(65_535, 8)],
    ["a length beyond the largest", (bytes) => bytes.writeUInt32LE(BUS_FRAME_BYTES_MAX, 0)],
    ["an impossible length", (bytes) => bytes.writeUInt32LE(0xffff_ffff, 0)],
    ["kind 0", (bytes) => bytes.writeUInt8(0, 4)],
    ["an unknown kind", (bytes) => bytes.writeUInt8(9, 4)],
    ["something after its kind", (bytes) => bytes.writeUInt8(1, 5)],
  ])("%s", (_what, spoil) => {
    const bytes = Buffer.from(good);
    spoil(bytes);
    for (const size of [bytes.length, 7]) {
      const chunks: Buffer[] = [];
      for (let at = 0; at < bytes.length; at += size) chunks.push(bytes.subarray(at, at + size));
      expect(() => read(new BusReader(), chunks)).toThrow(
        expect.objectContaining({ code: "HOLDFAST_BUS_BROKEN" }),
      );
    }
  });
});
