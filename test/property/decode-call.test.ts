// A call is decoded by hand where it is laid out as clients lay it out. Whatever the bytes: it is
// what protobufjs' own code makes of them, or both refuse.

import fc from "fast-check";
import { expect, it } from "vitest";
import { holdfast } from "../../src/wire/generated/messages.js";
import { MessageReader } from "../../src/wire/message-reader.ts";
import type { Call } from "../../src/wire/messages.ts";
import { type Payload, PayloadScope } from "../../src/wire/payload.ts";

interface Read {
  readonly id: number;
  readonly body: string | undefined;
  readonly call: object | null;
}

/** Null where the message says that it is something else: then nobody looks at its call. */
function shown(
  { body, call }: { readonly body?: string | undefined; readonly call?: Call | null | undefined },
  bytesOf: (call: Call) => Uint8Array,
): object | null {
  if (body !== "call" || call === null || call === undefined) return null;
  const { method, timeoutMs, metadata } = call;
  return { method, timeoutMs, metadata: { ...metadata }, payload: [...bytesOf(call)] };
}

/** Null: it is refused. */
function read(decode: () => Read): Read | null {
  try {
    return decode();
  } catch {
    return null;
  }
}

function ours(reader: MessageReader, bytes: Uint8Array): Read | null {
  // What stands around a message in the receive buffer is a message as well.
  const whole = Buffer.concat([bytes, bytes, bytes]);
  return read(() => {
    const message = reader.decode(whole, bytes.length, 2 * bytes.length);
    const payload = (call: Call): Uint8Array =>
      call.payload.length === 0 ? new Uint8Array(0) : (call.payload as Payload).copy();
    return { id: message.id, body: message.body, call: shown(message, payload) };
  });
}

function theirs(bytes: Uint8Array): Read | null {
  return read(() => {
    const message = holdfast.v1.ClientMessage.decode(bytes);
    const call = message.call as Call | null | undefined;
    const payload = (given: Call): Uint8Array => given.payload as Uint8Array;
    const { body } = message;
    return { id: message.id ?? 0, body, call: shown({ body, call }, payload) };
  });
}

const number = fc.oneof(fc.nat(200), fc.integer({ min: 0, max: 2 ** 32 - 1 }));
const call = fc.record({
  id: number,
  call: fc.record({
    method: fc.string({ unit: "binary", maxLength: 60 }),
    payload: fc.uint8Array({ maxLength: 200 }),
    timeoutMs: number,
    metadata: fc.oneof(fc.constant({}), fc.dictionary(fc.string(), fc.string(), { maxKeys: 2 })),
  }),
});
/** Where and how the bytes are spoilt; most lengths and tags are among the first. */
const damage = fc.record({
  at: fc.oneof(fc.nat(16), fc.nat(300)),
  byte: fc.oneof(fc.nat(255), fc.constantFrom(0x08, 0x1a, 0x0a, 0x12, 0x18, 0x22, 0x80)),
  way: fc.constantFrom("set", "insert", "remove", "cut"),
});

function spoilt(
  bytes: Uint8Array,
  { at, byte, way }: { at: number; byte: number; way: string },
): Uint8Array {
  const place = Math.min(at, bytes.length);
  const before = [...bytes.subarray(0, place)];
  if (way === "cut") return Uint8Array.from(before);
  if (way === "insert") return Uint8Array.from([...before, byte, ...bytes.subarray(place)]);
  const rest = bytes.subarray(place + 1);
  return Uint8Array.from(way === "set" ? [...before, byte, ...rest] : [...before, ...rest]);
}

it("a call is what protobufjs makes of its bytes, whole or damaged", () => {
  const reader = new MessageReader(new PayloadScope());
  let taken = 0;
  fc.assert(
    fc.property(call, fc.array(damage, { maxLength: 3 }), (message, damages) => {
      const bytes = damages.reduce<Uint8Array>(
        spoilt,
        holdfast.v1.ClientMessage.encode(message).finish(),
      );
      const expected = theirs(bytes);
      expect(ours(reader, bytes)).toEqual(expected);
      if (expected?.call !== null && expected !== null) taken++;
    }),
    { numRuns: 5_000 },
  );
  expect(taken).toBeGreaterThan(500);
});
