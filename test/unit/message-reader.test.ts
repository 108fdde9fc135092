import { describe, expect, it } from "vitest";
import { holdfast } from "../../src/wire/generated/messages.js";
import { MessageReader } from "../../src/wire/message-reader.ts";
import type { ClientMessage } from "../../src/wire/messages.ts";
import { Payload, PayloadScope } from "../../src/wire/payload.ts";
import {
  bytesField,
  call,
  clientMessage,
  entryField,
  hello,
  numberField,
  publish,
  subscribe,
  tag,
  varint,
  WIRE,
} from "../support/raw-message.ts";

const scope = new PayloadScope();

/** Decodes from the middle of a buffer whose other bytes are a message as well. */
function decode(message: Buffer, reader: MessageReader = new MessageReader(scope)): ClientMessage {
  const around = call(77, "other", "bytes of somebody else");
  const bytes = Buffer.concat([around, message, around]);
  return reader.decode(bytes, around.length, around.length + message.length);
}

function hex(text: string): Buffer {
  return Buffer.from(text.replaceAll(" ", ""), "hex");
}

function textOf(payload: Payload | Uint8Array): string {
  expect(payload).toBeInstanceOf(Payload);
  return (payload as Payload).text();
}

describe("a well-formed message", () => {
  it("is read with every field of every body", () => {
    const fields = [bytesField(2, "t"), bytesField(3, "cli"), numberField(4, 2 ** 53 - 1)];
    const labels = [entryField(6, "a", "1"), entryField(6, "b", "")];
    const full = [numberField(1, 1), ...fields, bytesField(5, "r"), ...labels];
    const read = decode(clientMessage(9, "hello", ...full));
    expect([read.id, read.body]).toEqual([9, "hello"]);
    expect(read.hello).toMatchObject({
      version: 1,
      token: "t",
      client: "cli",
      features: 2 ** 53 - 1,
      resume: "r",
      labels: { a: "1", b: "" },
    });
    const metadata = entryField(4, "trace", "x");
    const aCall = clientMessage(
      1,
      "call",
      bytesField(1, "m"),
      bytesField(2, "p"),
      numberField(3, 250),
      metadata,
    );
    const calling = decode(aCall).call!;
    expect([calling.method, calling.timeoutMs, calling.metadata]).toEqual([
      "m",
      250,
      { trace: "x" },
    ]);
    expect(textOf(calling.payload)).toBe("p");
    const publishing = decode(publish(2, "topic", "data")).publish!;
    expect([publishing.topic, textOf(publishing.payload)]).toEqual(["topic", "data"]);
    const recover = [bytesField(2, "e"), numberField(3, 7), numberField(4, 1)];
    expect(
      decode(clientMessage(3, "subscribe", bytesField(1, "t"), ...recover)).subscribe,
    ).toMatchObject({ topic: "t", epoch: "e", offset: 7, recover: true });
    expect(decode(clientMessage(4, "unsubscribe", bytesField(1, "t"))).unsubscribe).toMatchObject({
      topic: "t",
    });
    const bye = decode(clientMessage(0, "goodbye", numberField(1, 1000), bytesField(2, "bye")));
    expect(bye.goodbye).toMatchObject({ code: 1000, reason: "bye" });
  });

  it("without any field has the defaults, and an empty payload", () => {
    const empty = decode(clientMessage(0, "call"));
    expect([empty.id, empty.body]).toEqual([0, "call"]);
    expect([empty.call!.method, empty.call!.timeoutMs]).toEqual(["", 0]);
    expect(empty.call!.payload.length).toBe(0);
    expect(decode(clientMessage(0, "hello")).hello).toMatchObject({ version: 0, labels: {} });
  });

  it.each(["0800 3a00", "0805 0800 3a00", "3a00 0800", "08808080808010 3a00"])(
    "whose id is zero on the wire (%s) has id 0",
    (bytes) => {
      const message = decode(hex(bytes));
      expect([message.id, message.body]).toEqual([0, "goodbye"]);
    },
  );

  it("keeps no field of the message before it", () => {
    const reader = new MessageReader(scope);
    decode(call(5, "method", "payload", 100), reader);
    const next = decode(clientMessage(0, "call"), reader);
    expect([next.id, next.call!.method, next.call!.timeoutMs]).toEqual([0, "", 0]);
    const subscribing = decode(subscribe(1, "t"), reader);
    expect([subscribing.call, subscribing.hello, subscribing.publish]).toEqual([null, null, null]);
  });

  it("is what protobufjs itself reads", () => {
    for (const message of [hello(1, { a: "b" }), call(2, "m", "p", 5), publish(3, "t", "x")]) {
      const theirs = holdfast.v1.ClientMessage.decode(message);
      const ours = decode(message);
      expect([ours.id, ours.body]).toEqual([theirs.id, theirs.body]);
      expect(ours.hello?.labels).toEqual(theirs.hello?.labels);
      expect(ours.call?.method).toBe(theirs.call?.method);
      expect(ours.publish?.topic).toBe(theirs.publish?.topic);
    }
  });
});

describe("what protobuf allows is taken", () => {
  it("row 13: unknown fields of every wire type, and groups, are skipped", () => {
    const unknown = [
      numberField(100, 2 ** 53 - 1),
      Buffer.concat([tag(101, WIRE.FIXED64), Buffer.alloc(8, 0xff)]),
      bytesField(102, Buffer.alloc(300, 0xff)),
      Buffer.concat([tag(103, WIRE.START), numberField(1, 5), tag(103, WIRE.END)]),
      Buffer.concat([tag(104, WIRE.FIXED32), Buffer.alloc(4, 0xff)]),
      bytesField(2 ** 29 - 1, "x"),
    ];
    for (const field of unknown) {
      const around = decode(Buffer.concat([field, call(5, "m", "p"), field]));
      expect([around.id, around.body, around.call!.method]).toEqual([5, "call", "m"]);
      const inside = decode(clientMessage(6, "call", field, bytesField(1, "m"), field));
      expect([inside.id, inside.call!.method]).toEqual([6, "m"]);
    }
  });

  it("row 16: unknown groups that are nested 100 deep", () => {
    const message = decode(Buffer.concat([groups(100), call(5, "m")]));
    expect([message.id, message.call!.method]).toEqual([5, "m"]);
  });

  it("row 15: a field that comes twice counts once, with its last value", () => {
    const twice = [bytesField(1, "first"), bytesField(1, "second")];
    expect(decode(clientMessage(1, "call", ...twice)).call!.method).toBe("second");
    const ids = Buffer.concat([numberField(1, 5), numberField(1, 6), clientMessage(0, "goodbye")]);
    expect(decode(ids).id).toBe(6);
  });

  it("row 15: of two bodies the last one counts, and only that", () => {
    const message = decode(Buffer.concat([hello(5), publish(0, "t", "x")]));
    expect(message.body).toBe("publish");
  });

  it("row 15: a body in two parts is one body", () => {
    const parts = [clientMessage(5, "call", bytesField(1, "m")), clientMessage(0, "call")];
    const message = decode(Buffer.concat([...parts, clientMessage(0, "call", bytesField(2, "p"))]));
    expect([message.id, message.call!.method, textOf(message.call!.payload)]).toEqual([
      5,
      "m",
      "p",
    ]);
  });

  it("row 18: numbers above 2^32 - 1 are cut to their low 32 bits, as protobuf has it", () => {
    const withId = (id: bigint): Buffer =>
      Buffer.concat([numberField(1, id), clientMessage(0, "goodbye")]);
    expect(decode(withId(2n ** 32n)).id).toBe(0);
    expect(decode(withId(2n ** 32n + 5n)).id).toBe(5);
    expect(decode(withId(2n ** 64n - 1n)).id).toBe(0xffff_ffff);
    const offset = clientMessage(0, "subscribe", numberField(3, 2n ** 64n - 1n));
    expect(decode(offset).subscribe!.offset).toBe(2 ** 64);
  });

  it("row 18: varints longer than they need be", () => {
    expect(decode(hex("08 8580808000 3a 00")).id).toBe(5);
    expect(decode(hex("08 85808080808080808000 3a 00")).id).toBe(5);
    expect(decode(hex("8880808000 05 3a 00")).id).toBe(5);
  });

  it("row 20: a key named __proto__ is a key, and pollutes nothing", () => {
    for (const key of ["__proto__", "constructor", "hasOwnProperty", "toString", ""]) {
      const labels = decode(hello(1, Object.fromEntries([[key, "evil"]]))).hello!.labels;
      expect(Object.entries(labels)).toEqual([[key, "evil"]]);
      expect(Object.getPrototypeOf(labels)).toBe(Object.prototype);
      const metadata = entryField(4, key, "evil");
      const read = decode(clientMessage(1, "call", metadata)).call!.metadata;
      expect(Object.entries(read)).toEqual([[key, "evil"]]);
    }
    expect(({} as Record<string, unknown>)["evil"]).toBeUndefined();
    expect(Object.keys(decode(hello(1)).hello!.labels)).toEqual([]);
  });
});

describe("row 14: a known field of the wrong wire type counts as missing", () => {
  it.each([
    ["an id as bytes", Buffer.concat([bytesField(1, "5"), clientMessage(0, "goodbye")])],
    ["an id as fixed32", hex("0d 05000000 3a00")],
    ["an id as fixed64", hex("09 0500000000000000 3a00")],
    ["an id as a group", hex("0b 0c 3a00")],
  ])("%s", (_what, bytes) => {
    const message = decode(bytes);
    expect([message.id, message.body]).toEqual([0, "goodbye"]);
  });

  it.each([
    ["a Hello as varint", numberField(2, 1)],
    ["a Call as fixed32", hex("1d 00000000")],
    ["a Publish as a group", hex("23 24")],
    ["nothing but an id", numberField(1, 5)],
    ["nothing at all", Buffer.alloc(0)],
    ["a body that is not known", bytesField(8, "new")],
    ["only an unknown group", hex("4b 4c")],
  ])("%s leaves no body", (_what, bytes) => {
    expect(decode(bytes).body).toBeUndefined();
  });

  it("a method as varint leaves none", () => {
    expect(decode(clientMessage(1, "call", numberField(1, 5))).call!.method).toBe("");
  });
});

/** Groups inside each other, which belong to no field that we know. */
function groups(depth: number): Buffer {
  const start = Buffer.concat(Array.from({ length: depth }, () => tag(9, WIRE.START)));
  const end = Buffer.concat(Array.from({ length: depth }, () => tag(9, WIRE.END)));
  return Buffer.concat([start, end]);
}

const LONG = Buffer.concat([Buffer.alloc(100, "a"), hex("ff")]);

const MALFORMED: [what: string, bytes: Buffer][] = [
  ["row 16: groups nested 102 deep", groups(102)],
  ["row 16: groups nested 20,000 deep", groups(20_000)],
  ["row 16: a group that does not end", hex("4b 0801")],
  ["row 16: a group that another one ends", hex("4b 54")],
  ["row 17: a name that is no UTF-8", clientMessage(1, "call", bytesField(1, hex("fffe")))],
  ["row 17: half of a surrogate pair", clientMessage(1, "call", bytesField(1, hex("eda080")))],
  ["row 17: a name that ends inside a letter", clientMessage(1, "call", bytesField(1, hex("c3")))],
  ["row 17: an overlong letter", clientMessage(1, "publish", bytesField(1, hex("c080")))],
  ["row 17: a long token that is no UTF-8", clientMessage(1, "hello", bytesField(2, LONG))],
  ["row 17: a body longer than the message", hex("1a 05 0a01")],
  ["row 17: a name longer than its body", hex("1a 03 0a 05 61")],
  ["row 17: a payload longer than its body", hex("1a 03 12 05 61")],
  ["row 17: a name that would reach into the next message", hex("22 02 0a 08")],
  ["row 17: a payload that would reach into the next message", hex("22 02 12 08")],
  ["row 17: a length of 4 GiB", hex("1a ffffffff0f")],
  ["row 17: a length above 32 bits", hex("1a 8080808010")],
  ["row 17: a map entry that is cut off", hex("12 04 32 08 0a 04")],
  ["row 17: a tag that is cut off", hex("08 05 9a")],
  ["row 17: a number that is cut off", hex("08")],
  ["row 17: a number that is cut off after five bytes", hex("08 8080808080")],
  ["row 17: a number of 11 bytes", hex("08 ffffffffffffffffffff01 3a00")],
  ["row 17: a 64-bit number of 11 bytes", hex("2a 0c 18 ffffffffffffffffffff01")],
  ["row 17: a bool of 11 bytes", hex("2a 0c 20 8080808080808080808001")],
  ["row 17: a tag above 32 bits", hex("f8ffffff1f 00")],
  ["row 17: field number 0", hex("00 00")],
  ["row 17: field number 0 with bytes", hex("02 00")],
  ["row 17: field number 0 inside a body", hex("1a 02 0000")],
  ["row 17: wire type 6", hex("0e 00")],
  ["row 17: wire type 7", hex("0f 00")],
  ["row 17: an end of a group that never began", hex("4c")],
  ["row 17: an end of a group inside a body", hex("1a 01 0c")],
  ["row 17: a fixed64 that is cut off", hex("49 00000000")],
  ["row 17: a fixed32 that is cut off", hex("4d 000000")],
  ["row 17: unknown bytes that are cut off", hex("4a 05 00")],
  ["row 3: the first line of an HTTP request", Buffer.from("GET / HTTP/1.1\r\nHost: a\r\n\r\n")],
];

describe("malformed bytes throw", () => {
  it.each(MALFORMED)("%s", (_what, bytes) => {
    expect(() => decode(bytes)).toThrow(Error);
  });

  it("and leave the reader as good as new", () => {
    const reader = new MessageReader(scope);
    for (const [, bytes] of MALFORMED) {
      expect(() => decode(bytes, reader)).toThrow(Error);
      const next = decode(call(5, "echo", "x", 7), reader);
      expect([next.id, next.body, next.call!.method]).toEqual([5, "call", "echo"]);
      expect(textOf(next.call!.payload)).toBe("x");
    }
  });

  it("at once, though a name may be as long as a frame", () => {
    const bytes = clientMessage(1, "call", bytesField(1, Buffer.alloc(65_000, 0xff)));
    const before = performance.now();
    expect(() => decode(bytes)).toThrow(TypeError);
    expect(performance.now() - before).toBeLessThan(100);
  });

  it("or are read without reading one byte beyond the message, cut at every byte", () => {
    const whole = Buffer.concat([
      hello(300, { key: "värde" }),
      call(1, "method", "payload", 1_000),
      subscribe(2, "topic"),
    ]);
    for (let cut = 0; cut < whole.length; cut++) {
      const reader = new MessageReader(scope);
      let message: ClientMessage;
      try {
        // What follows would complete the message: it must not be looked at.
        message = reader.decode(whole, 0, cut);
      } catch {
        continue;
      }
      expect(reader.pos).toBe(cut);
      expect([0, 1, 2, 300]).toContain(message.id);
    }
  });
});

describe("a name that repeats", () => {
  it("is the right one though its slot in the cache is fought over", () => {
    const reader = new MessageReader(scope);
    const names = Array.from({ length: 5_000 }, (_, index) => `name-${(index * 7919) % 1_700}`);
    for (const name of names) {
      expect(decode(publish(1, name, "x"), reader).publish!.topic).toBe(name);
      expect(decode(call(1, name, "x"), reader).call!.method).toBe(name);
    }
  });

  it.each([
    "",
    "a",
    "x".repeat(48),
    "x".repeat(49),
    "x".repeat(5_000),
    "ä",
    "日本",
    "😀",
    "\0",
    "\u007f",
  ])("is read the same the second time: %j", (name) => {
    const reader = new MessageReader(scope);
    for (let round = 0; round < 3; round++) {
      expect(decode(subscribe(1, name), reader).subscribe!.topic).toBe(name);
    }
  });

  it("is told from one that begins with it", () => {
    const reader = new MessageReader(scope);
    for (const name of ["abc", "ab", "abcd", "a", "abc", "", "abcd"]) {
      expect(decode(subscribe(1, name), reader).subscribe!.topic).toBe(name);
    }
  });

  it("is refused as before where its bytes are no UTF-8, cached or not", () => {
    const reader = new MessageReader(scope);
    decode(subscribe(1, "abc"), reader);
    const bad = clientMessage(1, "subscribe", bytesField(1, Buffer.from([0x61, 0xe2, 0x63])));
    expect(() => decode(bad, reader)).toThrow(TypeError);
  });
});

describe("payloads", () => {
  it("point into the received bytes and expire with their scope", () => {
    const own = new PayloadScope();
    const reader = new MessageReader(own);
    const bytes = publish(1, "t", "data");
    const payload = reader.decode(bytes, 0, bytes.length).publish!.payload as Payload;
    bytes[bytes.length - 1] = 0x58;
    expect(payload.text()).toBe("datX");
    own.end();
    expect(() => payload.text()).toThrow("valid only until the handler returns");
  });

  it("row 19: as long as the frame allows are taken without being looked at", () => {
    const payload = Buffer.alloc(60_000, varint(300));
    expect(decode(publish(1, "t", payload)).publish!.payload.length).toBe(60_000);
  });
});
