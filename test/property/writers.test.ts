// Whatever a server says is one frame that protobufjs reads back, in no more room than reckoned.

import fc from "fast-check";
import protobuf from "protobufjs/minimal.js";
import { describe, expect, it } from "vitest";
import { readFrames } from "../../src/wire/frame-reader.ts";
import { FrameWriter } from "../../src/wire/frame-writer.ts";
import { uint32Framing, varintFraming } from "../../src/wire/framing.ts";
import { holdfast } from "../../src/wire/generated/messages.js";
import type { ServerMessageInit } from "../../src/wire/messages.ts";
import { Payload, PayloadScope } from "../../src/wire/payload.ts";
import { SlabWriter } from "../../src/wire/slab-writer.ts";
import { taggedFraming } from "../support/tagged-framing.ts";

const { ServerMessage } = holdfast.v1;
type Properties = holdfast.v1.ServerMessage.$Properties;

const GUARD = 0xee;
const uint32 = fc.oneof(
  fc.integer({ min: 0, max: 300 }),
  fc.integer({ min: 0, max: 0xffff_ffff }),
  fc.constantFrom(0x7f, 0x80, 0x3fff, 0x4000, 0xffff_ffff),
);
const uint64 = fc.oneof(uint32, fc.maxSafeNat());
const text = fc.oneof(
  fc.string({ maxLength: 80, size: "max" }),
  fc.string({ unit: "binary", maxLength: 80, size: "max" }),
  fc.string({ minLength: 120, maxLength: 300, size: "max" }),
);
const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 70, size: "max" }),
  fc.uint8Array({ minLength: 110, maxLength: 140, size: "max" }),
  fc.uint8Array({ minLength: 16_370, maxLength: 16_400, size: "max" }),
);

const optional = { requiredKeys: [] };
const body: fc.Arbitrary<ServerMessageInit> = fc.oneof(
  fc.record({
    welcome: fc.record(
      {
        connectionId: text,
        heartbeatMs: uint32,
        maxFrameBytes: uint32,
        features: uint64,
        node: text,
        version: uint32,
        resume: text,
      },
      optional,
    ),
  }),
  fc.record({ result: fc.record({ payload: bytes }, optional) }),
  fc.record({
    failure: fc.record(
      { code: uint32, reason: text, retryable: fc.boolean(), retryAfterMs: uint32 },
      optional,
    ),
  }),
  fc.record({ event: fc.record({ topic: text, payload: bytes, offset: uint64 }, optional) }),
  fc.record({ gap: fc.record({ topic: text, missed: uint64 }, optional) }),
  fc.record({
    goAway: fc.record(
      {
        code: uint32,
        reason: text,
        reconnectAfterMs: uint32,
        endpoints: fc.array(text, { maxLength: 4 }),
      },
      optional,
    ),
  }),
);
const message = fc.tuple(uint32, body).map(([id, rest]): ServerMessageInit => ({ ...rest, id }));

describe.each([uint32Framing, varintFraming, taggedFraming])("in $name frames", (framing) => {
  const writer = new FrameWriter(framing);
  const at = 11;

  /** What was written at `at` into a slab of `room` bytes there, none outside of it. */
  function written(room: number, write: (target: Buffer) => number): Buffer {
    const target = Buffer.alloc(at + room + 16, GUARD);
    const end = write(target);
    expect(end - at).toBeLessThanOrEqual(room);
    expect(target.subarray(0, at).every((byte) => byte === GUARD)).toBe(true);
    expect(target.subarray(at + room).every((byte) => byte === GUARD)).toBe(true);
    return target.subarray(at, end);
  }

  function bodyOf(frame: Buffer): Buffer {
    const found: Buffer[] = [];
    const next = readFrames(framing, 1_000_000, frame, 0, frame.length, 0, {
      onFrame(from, start, end) {
        found.push(Buffer.from(from.subarray(start, end)));
        return true;
      },
    });
    expect([next, found.length]).toEqual([frame.length, 1]);
    return found[0]!;
  }

  it("every message is just what protobufjs encodes, in no more room than reckoned", () => {
    fc.assert(
      fc.property(message, (init) => {
        const room = writer.messageBytesMax(init);
        const frame = written(room, (target) => writer.message(target, at, init));
        const expected = ServerMessage.encode(init as Properties).finish();
        expect(bodyOf(frame).equals(Buffer.from(expected))).toBe(true);
      }),
      { numRuns: 200 },
    );
  });

  it("every Result is what the general encoder makes of it, from bytes or from a payload", () => {
    fc.assert(
      fc.property(uint32, bytes, (id, payload) => {
        const room = writer.resultBytesMax(payload.length);
        const frame = written(room, (target) => writer.result(target, at, id, payload));
        const init = { id, result: payload.length === 0 ? {} : { payload } };
        const expected = ServerMessage.encode(init).finish();
        expect(bodyOf(frame).equals(Buffer.from(expected))).toBe(true);
        const source = Buffer.concat([Buffer.from("before"), payload, Buffer.from("after")]);
        const lying = new Payload(new PayloadScope(), source, 6, 6 + payload.length);
        const again = written(room, (target) => writer.result(target, at, id, lying));
        expect(again.equals(frame)).toBe(true);
      }),
      { numRuns: 200 },
    );
  });
});

type Operation = (writer: protobuf.Writer) => unknown;

/** Nested messages with fields of every kind, as generated code writes them. */
const operations: fc.Memo<Operation[]> = fc.memo((depth) => {
  const leaf: fc.Arbitrary<Operation> = fc.oneof(
    uint32.map(
      (value): Operation =>
        (writer) =>
          writer.uint32(8).uint32(value),
    ),
    uint64.map(
      (value): Operation =>
        (writer) =>
          writer.uint32(16).uint64(value),
    ),
    fc.boolean().map(
      (value): Operation =>
        (writer) =>
          writer.uint32(24).bool(value),
    ),
    text.map(
      (value): Operation =>
        (writer) =>
          writer.uint32(34).string(value.toString()),
    ),
    bytes.map(
      (value): Operation =>
        (writer) =>
          writer.uint32(42).bytes(value),
    ),
  );
  if (depth <= 1) return fc.array(leaf, { maxLength: 4 });
  const nested = operations(depth - 1).map(
    (inner): Operation =>
      (writer) => {
        writer.uint32(50).fork();
        for (const operation of inner) operation(writer);
        writer.ldelim();
      },
  );
  return fc.array(fc.oneof(leaf, nested), { maxLength: 4 });
});

describe("the slab writer", () => {
  it("writes what protobufjs' own writer does, at any nesting", () => {
    fc.assert(
      fc.property(operations(4), fc.nat(50), (all, offset) => {
        const theirs = new protobuf.Writer();
        for (const operation of all) operation(theirs);
        const expected = Buffer.from(theirs.finish());
        const target = Buffer.alloc(offset + expected.length + 16, GUARD);
        const ours = new SlabWriter();
        ours.reset(target, offset);
        for (const operation of all) operation(ours as unknown as protobuf.Writer);
        expect(ours.at).toBe(offset + expected.length);
        expect(target.subarray(offset, ours.at).equals(expected)).toBe(true);
        expect(target.subarray(0, offset).every((byte) => byte === GUARD)).toBe(true);
      }),
      { numRuns: 200 },
    );
  });
});
