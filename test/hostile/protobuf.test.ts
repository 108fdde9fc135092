// Rows 13 to 21 of the fault catalogue: what a client can do to protobuf inside a whole frame.

import { performance } from "node:perf_hooks";
import { describe, expect, test } from "vitest";
import type { CallContext } from "../../src/server/router.ts";
import type { Server } from "../../src/server/server.ts";
import { Oracle, RAW_TRANSPORTS } from "../support/oracle.ts";
import type { RawClient } from "../support/raw-client.ts";
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

const HELLO = 2;
const CALL = 3;

function join(...parts: Uint8Array[]): Buffer {
  return Buffer.concat(parts);
}

/** `depth` groups in one another, of a field that nobody knows. */
function groups(depth: number): Buffer {
  const starts = Array.from({ length: depth }, () => tag(20, WIRE.START));
  const ends = Array.from({ length: depth }, () => tag(20, WIRE.END));
  return join(...starts, ...ends);
}

/** The tenth byte of a varint may be 1 at most and no eleventh may follow. */
const ELEVEN_BYTES = Buffer.from("80808080808080808080" + "01", "hex");

const ACCEPTED: readonly (readonly [string, Buffer])[] = [
  ["row 13: an unknown varint field is skipped", join(numberField(99, 7), call(2, "echo", "x"))],
  ["row 13: an unknown bytes field is skipped", join(bytesField(99, "?"), call(2, "echo", "x"))],
  [
    "row 13: unknown fixed32 and fixed64 fields are skipped",
    join(
      tag(99, WIRE.FIXED32),
      Buffer.alloc(4),
      tag(98, WIRE.FIXED64),
      Buffer.alloc(8),
      call(2, "echo", "x"),
    ),
  ],
  [
    "row 13: an unknown field inside the body is skipped",
    clientMessage(2, "call", bytesField(1, "echo"), numberField(77, 1), bytesField(2, "x")),
  ],
  [
    "row 13: the highest field number there is is skipped",
    join(numberField(536_870_911, 1), call(2, "echo", "x")),
  ],
  ["row 15: of a repeated scalar the last counts", join(numberField(1, 9), call(2, "echo", "x"))],
  [
    "row 15: of a repeated field in a body the last counts",
    clientMessage(2, "call", bytesField(1, "nobody"), bytesField(1, "echo"), bytesField(2, "x")),
  ],
  ["row 16: unknown groups in a few levels are skipped", join(groups(10), call(2, "echo", "x"))],
];

const REFUSED: readonly (readonly [string, Buffer])[] = [
  ["row 16: unknown groups in 200 levels", join(groups(200), call(2, "echo"))],
  ["row 16: unknown groups in 30,000 levels", groups(30_000).subarray(0, 60_000)],
  ["row 16: an unknown group that never ends", join(call(2, "echo"), tag(20, WIRE.START))],
  [
    "row 17: a method that is no UTF-8",
    clientMessage(2, "call", bytesField(1, Buffer.from([0xff, 0xfe]))),
  ],
  [
    "row 17: a topic with half a surrogate pair",
    clientMessage(2, "subscribe", bytesField(1, Buffer.from("eda080", "hex"))),
  ],
  [
    "row 17: an overlong UTF-8 sequence",
    clientMessage(2, "subscribe", bytesField(1, Buffer.from("c0af", "hex"))),
  ],
  [
    "row 17: a body that ends inside a field",
    join(numberField(1, 2), tag(CALL, WIRE.BYTES), varint(3), tag(1, WIRE.BYTES)),
  ],
  [
    "row 17: a length beyond the frame's end",
    join(tag(CALL, WIRE.BYTES), varint(1_000), Buffer.from("x")),
  ],
  ["row 17: a length of 4 GiB", join(tag(CALL, WIRE.BYTES), varint(0xffff_ffff))],
  ["row 17: a length of 2^63", join(tag(CALL, WIRE.BYTES), varint(1n << 63n))],
  ["row 17: a varint of eleven bytes", join(tag(1, WIRE.VARINT), ELEVEN_BYTES)],
  ["row 17: a varint that the frame's end cuts", join(tag(1, WIRE.VARINT), Buffer.from([0x80]))],
  ["row 17: field number 0", join(Buffer.from([0x00, 0x01]), call(2, "echo"))],
  ["row 17: wire type 6", join(tag(9, 6), call(2, "echo"))],
  ["row 17: wire type 7", join(tag(9, 7), call(2, "echo"))],
  ["row 17: the end of a group that never began", join(tag(9, WIRE.END), call(2, "echo"))],
  [
    "row 17: groups that end in the wrong order",
    join(tag(8, WIRE.START), tag(9, WIRE.START), tag(8, WIRE.END), tag(9, WIRE.END)),
  ],
  ["row 17: one byte of nothing", Buffer.from([0xff])],
];

describe.each(RAW_TRANSPORTS)("over %s", (transport) => {
  test.each(ACCEPTED)("%s, and the message answered once", async (_, body) => {
    const oracle = await Oracle.watch();
    const client = await oracle.active(transport);
    client.send(body);
    const answer = await client.answer(2);
    expect(answer.body === "result" && answer.payload.toString()).toBe("x");
    await client.echo();
    expect(client.messages.filter(({ body: name }) => name !== "welcome").length).toBe(1);
    await client.leave();
    await oracle.verdict({ peer_closed: 1 });
  });

  test.each(REFUSED)(
    "%s closes with 3500, and nothing of the message has an effect",
    async (_, body) => {
      let calls = 0;
      const methods = (server: Server): void => void server.method("*", () => void calls++);
      const oracle = await Oracle.watch({}, { methods });
      const client = await oracle.active(transport);
      const echoes = oracle.echoes;
      client.send(body, call(3, "count"));
      const { goAway, closeCode, how } = await client.ending();
      expect({ code: goAway?.code, closeCode, how }).toEqual({
        code: 3500,
        closeCode: transport === "websocket" ? 3500 : null,
        how: "fin",
      });
      expect(client.messages.map(({ body: name }) => name)).toEqual(["welcome", "goAway"]);
      expect(calls).toBe(0);
      expect(oracle.server.topics.count).toBe(0);
      expect(oracle.echoes).toBeGreaterThanOrEqual(echoes);
      await oracle.verdict({ bad_message: 1 });
    },
  );

  const helloSized = REFUSED.filter(([, body]) => body.length <= 16_384);
  test.each(helloSized)("%s in place of Hello closes with 3500", async (_, body) => {
    const oracle = await Oracle.watch();
    const client = await oracle.client(transport);
    client.send(body);
    expect((await client.ending()).goAway?.code).toBe(3500);
    expect(client.messages.map(({ body: name }) => name)).toEqual(["goAway"]);
    await oracle.verdict({ bad_message: 1 });
  });

  test("row 13: an unknown body closes with 3500", async () => {
    const oracle = await Oracle.watch();
    const client = await oracle.active(transport);
    client.send(join(numberField(1, 2), bytesField(15, "from the future")));
    expect((await client.ending()).goAway?.code).toBe(3500);
    await oracle.verdict({ unknown_body: 1 });
  });

  test("row 13: a message with an id and nothing else closes with 3500", async () => {
    const oracle = await Oracle.watch();
    const client = await oracle.active(transport);
    client.send(numberField(1, 2));
    expect((await client.ending()).goAway?.code).toBe(3500);
    await oracle.verdict({ unknown_body: 1 });
  });

  // protobufjs skips a field of a wrong wire type; what is then missing is what gets refused.
  test("row 14: a Hello whose version has the wrong wire type is of no version: 3502", async () => {
    const oracle = await Oracle.watch();
    const client = await oracle.client(transport);
    client.send(clientMessage(1, "hello", bytesField(1, "\u0001")));
    expect((await client.ending()).goAway?.code).toBe(3502);
    expect(client.messages.map(({ body }) => body)).toEqual(["failure", "goAway"]);
    await oracle.verdict({ bad_version: 1 });
  });

  test("row 14: a Hello whose id has the wrong wire type has none: 3500", async () => {
    const oracle = await Oracle.watch();
    const client = await oracle.client(transport);
    client.send(join(bytesField(1, "\u0001"), hello(0)));
    expect((await client.ending()).goAway?.code).toBe(3500);
    await oracle.verdict({ bad_hello: 1 });
  });

  test("row 14: a body of the wrong wire type is no body: 3500", async () => {
    const oracle = await Oracle.watch();
    const client = await oracle.client(transport);
    client.send(join(numberField(1, 1), numberField(HELLO, 1)));
    expect((await client.ending()).goAway?.code).toBe(3500);
    await oracle.verdict({ unknown_body: 1 });
  });

  test("row 14: a method or topic of the wrong wire type is empty, and fails as such", async () => {
    const oracle = await Oracle.watch();
    const client = await oracle.active(transport);
    client.send(clientMessage(2, "call", numberField(1, 5)));
    client.send(clientMessage(3, "subscribe", numberField(1, 5)));
    client.send(clientMessage(4, "publish", numberField(1, 5)));
    expect([await failure(client, 2), await failure(client, 3), await failure(client, 4)]).toEqual([
      12, 3, 3,
    ]);
    await client.leave();
    await oracle.verdict({ peer_closed: 1 });
  });

  test("row 15: of two bodies the last counts, with one effect and one answer", async () => {
    const methods: string[] = [];
    const oracle = await Oracle.watch(
      {},
      { methods: (server) => server.method("*", ({ method }) => void methods.push(method)) },
    );
    const client = await oracle.active(transport);
    client.send(join(call(2, "first"), subscribe(2, "t"), call(2, "second")));
    await client.answer(2);
    await client.echo();
    expect(methods).toEqual(["second"]);
    expect(oracle.server.topics.subscriptionCount).toBe(0);
    expect(client.messages.length).toBe(2);
    await client.leave();
    await oracle.verdict({ peer_closed: 1 });
  });

  // protobuf says that a uint32 is the low 32 bits of its varint, whatever stands above them.
  test("row 18: an over-range varint counts modulo 2^32, as protobuf has it", async () => {
    const oracle = await Oracle.watch();
    for (const version of [1n << 32n, (1n << 32n) + 2n, 0n, 2n, 0xffff_ffffn, (1n << 64n) - 1n]) {
      const client = await oracle.client(transport);
      client.send(clientMessage(1, "hello", numberField(1, version)));
      expect((await client.ending()).goAway?.code, `version ${version}`).toBe(3502);
    }
    const client = await oracle.client(transport);
    client.send(clientMessage(1, "hello", numberField(1, (1n << 32n) + 1n)));
    await client.answer(1);
    client.send(join(numberField(1, (1n << 32n) + 7n), call(0, "echo", "x")));
    await client.answer(7);
    client.send(call(0xffff_ffff, "echo", "x"));
    await client.answer(0xffff_ffff);
    await client.leave();
    await oracle.verdict({ bad_version: 6, peer_closed: 1 });
  });

  test("row 18: a timeout beyond any range is cut down to the longest allowed", async () => {
    const seen: number[] = [];
    const oracle = await Oracle.watch(
      { call: { timeoutMs: 1_000, timeoutMsMax: 2_000 } },
      { methods: (server) => server.method("t", ({ timeoutMs }) => void seen.push(timeoutMs)) },
    );
    const client = await oracle.active(transport);
    for (const [index, timeout] of [0xffff_ffffn, 1n << 40n, (1n << 64n) - 1n].entries()) {
      client.send(clientMessage(2 + index, "call", bytesField(1, "t"), numberField(3, timeout)));
      await client.answer(2 + index);
    }
    expect(
      seen.every((timeoutMs) => timeoutMs >= 1_000 && timeoutMs <= 2_000),
      seen.join(),
    ).toBe(true);
    await client.leave();
    await oracle.verdict({ peer_closed: 1 });
  });

  test("row 19: a Hello full of labels is refused with 3500 and holds up nobody", async () => {
    const oracle = await Oracle.watch();
    const client = await oracle.client(transport);
    const entries = Array.from({ length: 1_300 }, (_, index) => entryField(6, `k${index}`, ""));
    client.send(clientMessage(1, "hello", numberField(1, 1), ...entries));
    const start = performance.now();
    expect((await client.ending()).goAway?.code).toBe(3500);
    expect(performance.now() - start).toBeLessThan(300);
    await oracle.verdict({ bad_hello: 1 });
  });

  test("row 19: a frame full of metadata or of packed junk holds up nobody", async () => {
    const oracle = await Oracle.watch();
    const client = await oracle.active(transport);
    const entries = Array.from({ length: 6_000 }, (_, index) => entryField(4, `k${index}`, ""));
    client.send(clientMessage(2, "call", bytesField(1, "echo"), ...entries));
    client.send(join(bytesField(50, Buffer.alloc(60_000, 1)), call(3, "echo")));
    client.send(join(...Array.from({ length: 20_000 }, () => numberField(9, 1)), call(4, "echo")));
    await client.answer(4);
    await client.leave();
    await oracle.verdict({ peer_closed: 1 });
  });

  test("row 20: labels and metadata named like object members are plain entries", async () => {
    const seen: CallContext["metadata"][] = [];
    const oracle = await Oracle.watch(
      {},
      { methods: (server) => server.method("meta", ({ metadata }) => void seen.push(metadata)) },
    );
    const client = await oracle.client(transport);
    const names = ["__proto__", "constructor", "toString", "hasOwnProperty", "prototype"];
    await client.hello(Object.fromEntries(names.map((name) => [name, "polluted"])));
    for (const name of names.slice(1)) {
      expect(oracle.server.find(name, "polluted").size, name).toBe(1);
    }
    const entries = names.map((name) => entryField(4, name, "polluted"));
    client.send(clientMessage(2, "call", bytesField(1, "meta"), ...entries));
    await client.answer(2);
    expect([...seen[0]!.keys()].sort()).toEqual([...names].sort());
    expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
    expect(Object.getPrototypeOf({})).toBe(Object.prototype);
    await client.leave();
    await oracle.verdict({ peer_closed: 1 });
  });

  test("row 20: a label named __proto__ is found like any other", async () => {
    const oracle = await Oracle.watch();
    const client = await oracle.client(transport);
    client.send(clientMessage(1, "hello", numberField(1, 1), entryField(6, "__proto__", "x")));
    await client.answer(1);
    expect(oracle.server.find("__proto__", "x").size).toBe(1);
    await client.leave();
    await oracle.verdict({ peer_closed: 1 });
  });

  test("row 21: a schema sent by a peer is bytes like any other and is never loaded", async () => {
    const oracle = await Oracle.watch();
    const client = await oracle.active(transport);
    // A FileDescriptorProto: name, package, a message type with an evil name, an option.
    const type = bytesField(1, "constructor;process.exit(3)//");
    const file = join(
      bytesField(1, "evil.proto"),
      bytesField(2, "holdfast.v1"),
      bytesField(4, type),
    );
    client.send(call(2, "echo", file), publish(3, "t", file));
    client.send(join(bytesField(100, file), call(4, "echo", "alive")));
    const answer = await client.answer(2);
    expect(answer.body === "result" && answer.payload.equals(file)).toBe(true);
    await client.answer(4);
    client.send(join(numberField(1, 5), bytesField(15, file)));
    expect((await client.ending()).goAway?.code).toBe(3500);
    await oracle.verdict({ unknown_body: 1 });
  });
});

async function failure(client: RawClient, id: number): Promise<number> {
  const answer = await client.answer(id);
  return answer.body === "failure" ? answer.failure.code : -1;
}
