import protobuf from "protobufjs/minimal.js";
import { describe, expect, it } from "vitest";
import { Payload, PayloadScope } from "../../src/wire/payload.ts";
import { SlabWriter } from "../../src/wire/slab-writer.ts";

type Write = (writer: protobuf.Writer) => unknown;

/** What the same calls make of protobufjs' writer and of ours, ours in the middle of a slab. */
function both(write: Write): [theirs: string, ours: string] {
  const theirs = new protobuf.Writer();
  write(theirs);
  const target = Buffer.alloc(200_000, 0xee);
  const ours = new SlabWriter();
  ours.reset(target, 13);
  write(ours as unknown as protobuf.Writer);
  const untouched = [target.subarray(0, 13), target.subarray(ours.at)];
  for (const part of untouched) expect(part.every((byte) => byte === 0xee)).toBe(true);
  return [
    Buffer.from(theirs.finish()).toString("hex"),
    target.subarray(13, ours.at).toString("hex"),
  ];
}

function expectSame(write: Write): void {
  const [theirs, ours] = both(write);
  expect(ours).toBe(theirs);
}

describe("the slab writer writes just what protobufjs' own writer does", () => {
  it.each([0, 1, 127, 128, 16_383, 16_384, 2 ** 21, 2 ** 28 - 1, 2 ** 28, 2 ** 31, 2 ** 32 - 1])(
    "for the uint32 %i",
    (value) => expectSame((writer) => writer.uint32(value)),
  );

  it.each([-1, -2_147_483_648, 2 ** 32, 2 ** 40 + 5, 1.5, 127.9, 128.5, Number.NaN, Infinity])(
    "for %d, which is no uint32",
    (value) => expectSame((writer) => writer.uint32(value)),
  );

  it.each([0, 1, 127, 128, 2 ** 32 - 1, 2 ** 32, 2 ** 49, Number.MAX_SAFE_INTEGER])(
    "for the uint64 %i",
    (value) => expectSame((writer) => writer.uint64(value)),
  );

  it.each([true, false])("for the bool %s", (value) => expectSame((writer) => writer.bool(value)));

  it.each([
    ["nothing", ""],
    ["one letter", "a"],
    ["63 letters", "a".repeat(63)],
    ["64 letters", "a".repeat(64)],
    ["127 letters", "a".repeat(127)],
    ["128 letters", "a".repeat(128)],
    ["20,000 letters", "a".repeat(20_000)],
    ["a letter of two bytes at the end", `${"a".repeat(62)}é`],
    ["a letter of two bytes at the start", `é${"a".repeat(62)}`],
    ["letters of three bytes", "日本語".repeat(20)],
    ["letters of four bytes", "😀".repeat(31)],
    ["NUL and DEL", "\0\u007f"],
    ["the first character beyond ASCII", "\u0080"],
    ["the last of the basic plane", "\uffff"],
    ["42 letters of three bytes, 126 in all", "日".repeat(42)],
    ["43 letters of three bytes, 129 in all", "日".repeat(43)],
  ])("for a string: %s", (_what, text) => expectSame((writer) => writer.string(text)));

  it.each([0, 1, 64, 65, 127, 128, 16_384, 70_000])("for %i bytes", (length) => {
    const bytes = Buffer.from(Array.from({ length }, (_, index) => index % 256));
    expectSame((writer) => writer.bytes(bytes));
  });

  it.each([0, 1, 126, 127, 128, 16_382, 16_383, 16_384, 70_000])(
    "for a message of %i bytes inside a message inside a message",
    (length) => {
      const bytes = Buffer.alloc(length, 7);
      expectSame((writer) => {
        writer.uint32(10).fork().uint32(18).fork();
        writer.uint32(26).bytes(bytes).ldelim();
        writer.uint32(32).uint32(300).ldelim().uint32(40).uint32(1);
      });
    },
  );

  it("for messages beside each other", () => {
    expectSame((writer) => {
      for (let index = 0; index < 100; index++) writer.uint32(10).fork().uint32(index).ldelim();
    });
  });
});

describe("the slab writer", () => {
  it("replaces half of a surrogate pair, so that what it sends is always UTF-8", () => {
    const writer = new SlabWriter();
    for (const half of ["\ud800", "a\udfffb", `${"a".repeat(70)}\ud83d`]) {
      const target = Buffer.alloc(256);
      writer.reset(target, 0);
      writer.string(half);
      const written = target.subarray(1, writer.at);
      const read = new TextDecoder("utf-8", { fatal: true }).decode(written);
      expect(read).toBe(half.replace(/[\ud800-\udfff]/, "\ufffd"));
    }
  });

  it("copies a payload from where it lies", () => {
    const scope = new PayloadScope();
    for (const length of [0, 1, 64, 65, 300]) {
      const source = Buffer.from(Array.from({ length: 400 }, (_, index) => index % 256));
      const target = Buffer.alloc(400);
      const writer = new SlabWriter();
      writer.reset(target, 0);
      writer.bytes(new Payload(scope, source, 50, 50 + length));
      const expected = new protobuf.Writer().bytes(source.subarray(50, 50 + length)).finish();
      expect(target.subarray(0, writer.at)).toEqual(Buffer.from(expected));
    }
  });

  it("forgets a nesting that was not ended when it is set to another target", () => {
    const writer = new SlabWriter();
    writer.reset(Buffer.alloc(16), 0);
    writer.fork().uint32(5);
    const target = Buffer.alloc(16);
    writer.reset(target, 4);
    writer.fork().uint32(5).ldelim();
    expect(target.toString("hex")).toBe(`00000000${"0105"}${"00".repeat(10)}`);
  });
});
