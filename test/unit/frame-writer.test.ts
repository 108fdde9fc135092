import { describe, expect, it } from "vitest";
import type { Bytes } from "../../src/base/buffer-pool.ts";
import { readFrames } from "../../src/wire/frame-reader.ts";
import { FrameWriter } from "../../src/wire/frame-writer.ts";
import {
  type Framing,
  newlineFraming,
  uint32Framing,
  varintFraming,
} from "../../src/wire/framing.ts";
import { holdfast } from "../../src/wire/generated/messages.js";
import type { ServerMessageInit } from "../../src/wire/messages.ts";
import { Payload, PayloadScope } from "../../src/wire/payload.ts";

const { ServerMessage } = holdfast.v1;
const GUARD = 0xee;

/** What `write` puts at offset 5 of a slab of `room` bytes, which it must not leave. */
function written(room: number, write: (target: Bytes, at: number) => number): Buffer {
  const target = Buffer.alloc(5 + room + 5, GUARD);
  const end = write(target, 5);
  expect(end).toBeLessThanOrEqual(5 + room);
  expect(target.subarray(0, 5).every((byte) => byte === GUARD)).toBe(true);
  expect(target.subarray(5 + room).every((byte) => byte === GUARD)).toBe(true);
  return target.subarray(5, end);
}

/** The bodies of the frames in `bytes`, which must be whole. */
function bodies(framing: Framing, bytes: Buffer): Buffer[] {
  const found: Buffer[] = [];
  const at = readFrames(framing, 2 ** 32, bytes, 0, bytes.length, 0, {
    onFrame(from, start, end) {
      found.push(Buffer.from(from.subarray(start, end)));
      return true;
    },
  });
  expect(at).toBe(bytes.length);
  return found;
}

const MESSAGES: Readonly<Record<string, ServerMessageInit>> = {
  "a full Welcome": {
    id: 1,
    welcome: {
      connectionId: "1-a",
      heartbeatMs: 25_000,
      maxFrameBytes: 65_536,
      features: Number.MAX_SAFE_INTEGER,
      node: "knöt-1",
      version: 1,
      resume: "r",
    },
  },
  "an empty Welcome": { id: 1, welcome: {} },
  "a Failure": {
    id: 0xffff_ffff,
    failure: { code: 14, reason: "日本".repeat(50), retryable: true, retryAfterMs: 0xffff_ffff },
  },
  "an Event": { event: { topic: "t", payload: Buffer.alloc(300, 1), offset: 2 ** 53 - 1 } },
  "an Event without anything": { event: {} },
  "a Gap": { gap: { topic: "t".repeat(255), missed: 2 ** 53 - 1 } },
  "a GoAway with endpoints": {
    goAway: {
      code: 3000,
      reason: "x",
      reconnectAfterMs: 5,
      endpoints: ["a:1", "", "ü".repeat(99)],
    },
  },
  "a message with nothing in it": {},
  "a message of 126 bytes": { event: { payload: Buffer.alloc(122) } },
  "a message of 128 bytes": { event: { payload: Buffer.alloc(124) } },
  "a message of 16,383 bytes": { event: { payload: Buffer.alloc(16_375) } },
  "a message of 16,384 bytes": { event: { payload: Buffer.alloc(16_376) } },
  "a message of 100,000 bytes": { id: 9, result: { payload: Buffer.alloc(100_000, 3) } },
};

describe.each([uint32Framing, varintFraming])("in $name frames", (framing) => {
  const writer = new FrameWriter(framing);

  it.each(Object.entries(MESSAGES))("%s is one frame of what protobufjs encodes", (_name, init) => {
    const room = writer.messageBytesMax(init);
    const frame = written(room, (target, at) => writer.message(target, at, init));
    const expected = ServerMessage.encode(init as holdfast.v1.ServerMessage.$Properties).finish();
    expect(bodies(framing, frame)).toEqual([Buffer.from(expected)]);
  });

  it.each([0, 1, 63, 64, 126, 127, 128, 16_383, 16_384, 100_000])(
    "a Result of %i bytes is what the general encoder makes of it",
    (length) => {
      const payload = Buffer.alloc(length, 0x5a);
      for (const id of [0, 1, 127, 128, 0x7fff_ffff, 0xffff_ffff]) {
        const room = writer.resultBytesMax(length);
        const frame = written(room, (target, at) => writer.result(target, at, id, payload));
        const message: ServerMessageInit = { id, result: length === 0 ? {} : { payload } };
        const max = writer.messageBytesMax(message);
        expect(frame).toEqual(written(max, (target, at) => writer.message(target, at, message)));
      }
    },
  );

  it("a heartbeat is an empty frame", () => {
    const frame = written(framing.overheadMax, (target, at) =>
      writer.frame(target, at, new Uint8Array(0)),
    );
    expect(frame.toString("hex")).toBe(framing === uint32Framing ? "00000000" : "00");
  });

  it("messages stand one after another without a byte between them", () => {
    const all = Object.values(MESSAGES);
    const target = Buffer.alloc(400_000);
    let at = 0;
    for (const message of all) at = writer.message(target, at, message);
    expect(bodies(framing, target.subarray(0, at)).length).toBe(all.length);
  });

  it("a payload that was received is answered from where it lies", () => {
    const received = Buffer.from("xxhello worldxx");
    const payload = new Payload(new PayloadScope(), received, 2, 13);
    const frame = written(100, (target, at) => writer.result(target, at, 7, payload));
    const [body] = bodies(framing, frame);
    expect(Buffer.from(ServerMessage.decode(body!).result!.payload!).toString()).toBe(
      "hello world",
    );
  });

  it("a payload that has expired writes no answer", () => {
    const scope = new PayloadScope();
    const payload = new Payload(scope, Buffer.from("secret"), 0, 6);
    scope.end();
    expect(() => writer.result(Buffer.alloc(100), 0, 7, payload)).toThrow(
      expect.objectContaining({ code: "HOLDFAST_PAYLOAD_EXPIRED" }) as Error,
    );
  });
});

describe("in newline frames", () => {
  const writer = new FrameWriter(newlineFraming);

  it.each(["", "a", "x".repeat(70)])("the body %j is a line", (text) => {
    const frame = written(text.length + newlineFraming.overheadMax, (target, at) =>
      writer.frame(target, at, Buffer.from(text)),
    );
    expect(frame.toString()).toBe(`${text}\n`);
  });

  it("a payload is a line as well", () => {
    const payload = new Payload(new PayloadScope(), Buffer.from("abcdef"), 1, 4);
    expect(written(8, (target, at) => writer.frame(target, at, payload)).toString()).toBe("bcd\n");
  });
});

describe("numbers that no uint32 holds", () => {
  it.each([-1, 2 ** 32, 1.5, Number.NaN, Infinity])(
    "such as %d still make a message that can be read",
    (retryAfterMs) => {
      const writer = new FrameWriter(uint32Framing);
      const init: ServerMessageInit = { id: 3, failure: { code: 14, reason: "r", retryAfterMs } };
      const frame = written(writer.messageBytesMax(init), (target, at) =>
        writer.message(target, at, init),
      );
      const read = ServerMessage.decode(bodies(uint32Framing, frame)[0]!);
      expect([read.id, read.failure!.reason]).toEqual([3, "r"]);
      expect(read.failure!.retryAfterMs).toBe(retryAfterMs >>> 0);
    },
  );
});
