// Rows 1 to 12 of the fault catalogue: what a client can do to the framing.

import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { Prng } from "../../src/base/prng.ts";
import type { PartialOptions } from "../../src/config/options.ts";
import { Oracle, RAW_TRANSPORTS } from "../support/oracle.ts";
import type { RawClient } from "../support/raw-client.ts";
import {
  call,
  frame,
  HEARTBEAT,
  hello,
  publish,
  type ServerMessageRead,
  subscribe,
} from "../support/raw-message.ts";
import { OPCODE, webSocketFrame } from "../support/raw-websocket.ts";

const FRAME_BYTES_MAX = 65_536;
const QUICK: PartialOptions = {
  connection: { handshakeTimeoutMs: 1_500, frameTimeoutMs: 300, closeTimeoutMs: 400 },
};

describe.each(RAW_TRANSPORTS)("over %s", (transport) => {
  test("row 1: a frame of length 0 is a heartbeat at any time, never answered", async () => {
    const oracle = await Oracle.watch(QUICK);
    const client = await oracle.client(transport);
    client.writeFrames(Buffer.concat([HEARTBEAT, HEARTBEAT, frame(hello(1))]));
    await client.answer(1);
    client.writeFrames(Buffer.concat(Array.from({ length: 50 }, () => HEARTBEAT)));
    await client.echo();
    expect(client.heartbeatsAfter).toEqual([]);
    expect(oracle.server.shared.counters.heartbeatsIn).toBe(52);
    await client.leave();
    await oracle.verdict({ peer_closed: 1 });
  });

  test("a large call in the same chunk as the Hello is answered", async () => {
    const oracle = await Oracle.watch(QUICK);
    const client = await oracle.client(transport);
    const payload = "x".repeat(20_000);
    client.writeFrames(Buffer.concat([frame(hello(1)), frame(call(2, "echo", payload))]));
    await client.answer(2);
    await client.leave();
    await oracle.verdict({ peer_closed: 1 });
  });

  test("a Hello of more than 16 KiB is refused on sight of its length", async () => {
    const oracle = await Oracle.watch(QUICK);
    const client = await oracle.client(transport);
    client.writeFrames(frame(Buffer.alloc(16_385, 0)));
    expect((await client.ending()).goAway?.code).toBe(3501);
    await oracle.verdict({ frame_too_large: 1 });
  });

  test.each([
    ["one byte too long", FRAME_BYTES_MAX + 1],
    ["2 GiB long", 0x8000_0000],
    ["4 GiB long", 0xffff_ffff],
  ])(
    "row 2: a frame that is %s is refused on sight of its four length bytes",
    async (_, length) => {
      const oracle = await Oracle.watch(QUICK);
      const client = await oracle.active(transport);
      const { pool } = oracle.server.shared;
      const freeBytes = pool.freeBytes + pool.leasedBytes;
      const header = Buffer.alloc(4);
      header.writeUInt32BE(length);
      client.writeFrames(header);
      const { goAway, closeCode, how } = await client.ending();
      expect({ code: goAway?.code, closeCode, how }).toEqual({
        code: 3501,
        closeCode: transport === "websocket" ? 3501 : null,
        how: "fin",
      });
      expect(goAway!.reconnectAfterMs).toBe(0);
      expect(pool.freeBytes + pool.leasedBytes, "memory taken").toBe(freeBytes);
      await oracle.verdict({ frame_too_large: 1 });
    },
  );

  test("row 2: before Hello is accepted a frame of 16 KiB is the largest", async () => {
    const oracle = await Oracle.watch(QUICK);
    const client = await oracle.client(transport);
    client.send(hello(1, { key: "v".repeat(16_384) }));
    expect((await client.ending()).goAway?.code).toBe(3501);
    await oracle.verdict({ frame_too_large: 1 });
  });

  test("row 2: a frame of exactly the largest length is taken", async () => {
    const oracle = await Oracle.watch(QUICK);
    const client = await oracle.active(transport);
    const overhead = call(9, "echo", Buffer.alloc(FRAME_BYTES_MAX - 100)).length - FRAME_BYTES_MAX;
    const largest = call(9, "echo", Buffer.alloc(FRAME_BYTES_MAX - 100 - overhead, 7));
    expect(largest.length).toBe(FRAME_BYTES_MAX);
    client.send(largest);
    const answer = await client.answer(9);
    expect(answer.body === "result" && answer.payload.length).toBe(
      FRAME_BYTES_MAX - 100 - overhead,
    );
    await client.leave();
    await oracle.verdict({ peer_closed: 1 });
  });

  test("row 6: 10,000 coalesced frames are answered in order, in turns with others", async () => {
    const oracle = await Oracle.watch(QUICK);
    const client = await oracle.active(transport);
    const bodies = Array.from({ length: 10_000 }, (_, index) =>
      call(index + 2, "echo", `${index}`),
    );
    if (transport === "tcp") client.send(...bodies);
    // A message is one chunk, and what waits of chunks is bounded: see row 12.
    else
      for (let at = 0; at < bodies.length; at += 4_000)
        client.send(...bodies.slice(at, at + 4_000));
    await client.until(() => client.messages.length === 10_001, "10,000 answers");
    const wrong = client.messages.slice(1).findIndex((message, index) => {
      const text = message.body === "result" ? message.payload.toString() : message.body;
      return message.id !== index + 2 || text !== `${index}`;
    });
    expect(wrong).toBe(-1);
    expect(oracle.server.shared.counters.yields).toBeGreaterThanOrEqual(150);
    await client.leave();
    await oracle.verdict({ peer_closed: 1 });
  });

  test("row 11: a message before Hello closes with 3500", async () => {
    const oracle = await Oracle.watch(QUICK);
    for (const early of [call(1, "echo"), publish(2, "t", "x"), subscribe(3, "t")]) {
      const client = await oracle.client(transport);
      client.send(early, hello(4));
      const { goAway } = await client.ending();
      expect(goAway?.code).toBe(3500);
      expect(client.messages.map(({ body }) => body)).toEqual(["goAway"]);
    }
    await oracle.verdict({ bad_state: 3 });
  });

  test("row 11: a second Hello closes with 3500", async () => {
    const oracle = await Oracle.watch(QUICK);
    const client = await oracle.active(transport);
    client.send(hello(2));
    const { goAway } = await client.ending();
    expect(goAway?.code).toBe(3500);
    expect(client.messages.map(({ body }) => body)).toEqual(["welcome", "goAway"]);
    await oracle.verdict({ bad_state: 1 });
  });

  test("row 11: a Hello with id 0 closes with 3500", async () => {
    const oracle = await Oracle.watch(QUICK);
    const client = await oracle.client(transport);
    client.send(hello(0));
    expect((await client.ending()).goAway?.code).toBe(3500);
    await oracle.verdict({ bad_hello: 1 });
  });
});

describe("over tcp", () => {
  test.each([
    ["an HTTP request", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"],
    ["an HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
    ["a TLS hello", Buffer.from("160301020001", "hex")],
    ["an SSH banner", "SSH-2.0-OpenSSH_9.2\r\n"],
  ])("row 3: %s on the plain port is told apart as another protocol", async (_, bytes) => {
    const oracle = await Oracle.watch(QUICK);
    const client = await oracle.client("tcp");
    client.write(Buffer.from(bytes));
    const { goAway, how } = await client.ending();
    expect({ code: goAway?.code, how }).toEqual({ code: 3501, how: "fin" });
    await oracle.verdict({ wrong_protocol: 1 });
  });

  test.each([
    ["its header", Buffer.from([0, 0])],
    ["its payload", frame(call(2, "count")).subarray(0, 9)],
  ])("row 4: a frame that FIN truncates in %s is not delivered", async (_, half) => {
    let calls = 0;
    const methods = {
      methods: (server: Oracle["server"]) => server.method("count", () => void calls++),
    };
    const oracle = await Oracle.watch(QUICK, methods);
    const client = await oracle.active("tcp");
    client.write(half);
    client.end();
    const { goAway } = await client.ending();
    expect(goAway?.code).toBe(3500);
    expect(calls).toBe(0);
    await oracle.verdict({ truncated_frame: 1 });
  });

  test("row 4: FIN before a single byte is an orderly end", async () => {
    const oracle = await Oracle.watch(QUICK);
    const client = await oracle.client("tcp");
    client.end();
    const { goAway, how } = await client.ending();
    expect({ code: goAway?.code, how }).toEqual({ code: 1000, how: "fin" });
    await oracle.verdict({ peer_closed: 1 });
  });

  test("row 5: a frame that drips in is cut at its absolute deadline", async () => {
    const oracle = await Oracle.watch(QUICK);
    const client = await oracle.active("tcp");
    const elapsedMs = await drip(client, frame(call(2, "echo", Buffer.alloc(200))));
    expect((await client.ending()).goAway?.code).toBe(3500);
    expect(elapsedMs).toBeGreaterThanOrEqual(300);
    expect(elapsedMs).toBeLessThan(900);
    await oracle.verdict({ slow_frame: 1 });
  });

  test("row 5: whole frames before the drip do not extend its deadline", async () => {
    const oracle = await Oracle.watch(QUICK);
    const client = await oracle.active("tcp");
    const half = frame(call(2, "echo", Buffer.alloc(200)));
    client.write(Buffer.concat([frame(call(3, "echo")), HEARTBEAT, half.subarray(0, 6)]));
    const elapsedMs = await drip(client, half.subarray(6));
    expect((await client.ending()).goAway?.code).toBe(3500);
    expect(elapsedMs).toBeLessThan(900);
    await oracle.verdict({ slow_frame: 1 });
  });

  test("row 5: frames that are each in time may drip for ever", async () => {
    const oracle = await Oracle.watch(QUICK);
    const client = await oracle.active("tcp");
    for (let id = 2; id < 8; id++) {
      const bytes = frame(call(id, "echo"));
      client.write(bytes.subarray(0, 5));
      await delay(100);
      client.write(bytes.subarray(5));
    }
    await client.answer(7);
    await client.leave();
    await oracle.verdict({ peer_closed: 1 });
  });

  test("row 5: a Hello that drips in is cut at the handshake's deadline", async () => {
    const oracle = await Oracle.watch({
      connection: { handshakeTimeoutMs: 400, frameTimeoutMs: 5_000 },
    });
    const client = await oracle.client("tcp");
    const elapsedMs = await drip(client, frame(hello(1, { key: "v".repeat(100) })));
    expect((await client.ending()).goAway?.code).toBe(3002);
    expect(elapsedMs).toBeGreaterThanOrEqual(350);
    expect(elapsedMs).toBeLessThan(1_000);
    await oracle.verdict({ no_hello: 1 });
  });
});

/** A byte every 20 ms until the server ends it. @returns how long that took, in milliseconds. */
async function drip(client: RawClient, bytes: Buffer): Promise<number> {
  const start = performance.now();
  for (const byte of bytes) {
    client.write(Buffer.from([byte]));
    await delay(20);
    if (client.hasEnded) break;
  }
  return performance.now() - start;
}

/** A session that touches everything, as frames; its answers are the same on every run. */
function script(): Buffer {
  const bodies = [
    hello(1, { room: "a", kind: "probe" }),
    subscribe(2, "news"),
    publish(3, "news", "x"),
  ];
  for (let id = 4; id < 12; id++) bodies.push(call(id, "echo", `payload ${id}`.repeat(id)));
  bodies.push(call(12, "no such method"), publish(13, "news", "y".repeat(300)), Buffer.alloc(0));
  bodies.push(call(14, "echo", "last"));
  return Buffer.concat(bodies.map((body) => frame(body)));
}

/** The answers and events, without what differs from connection to connection. */
function transcript(client: RawClient): string[] {
  const said = client.messages.filter(({ body }) => body !== "goAway");
  return said.map((message: ServerMessageRead) => {
    if (message.body === "welcome") return `${message.id} welcome`;
    if (message.body === "result") return `${message.id} ${message.payload.toString()}`;
    return JSON.stringify(message);
  });
}

const SPLITS: readonly (readonly [string, (bytes: Buffer) => Buffer[]])[] = [
  ["byte by byte", (bytes) => [...bytes].map((byte) => Buffer.from([byte]))],
  ["in pieces of three", (bytes) => pieces(bytes, () => 3)],
  ["at random, seed 7", (bytes) => pieces(bytes, seeded(7))],
  ["at random, seed 8", (bytes) => pieces(bytes, seeded(8))],
];

function pieces(bytes: Buffer, lengthOf: () => number): Buffer[] {
  const parts: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = lengthOf();
    parts.push(bytes.subarray(at, at + length));
    at += length;
  }
  return parts;
}

function seeded(seed: number): () => number {
  const prng = new Prng(seed);
  return () => prng.int(1, 40);
}

async function whole(oracle: Oracle): Promise<string[]> {
  const client = await oracle.client("tcp");
  client.write(script());
  await client.answer(14);
  await client.leave();
  return transcript(client);
}

describe("row 7: any segmentation gives the same answers", () => {
  test.each(SPLITS)("row 7: over tcp %s", async (_, split) => {
    const oracle = await Oracle.watch();
    const expected = await whole(oracle);
    const client = await oracle.client("tcp");
    for (const part of split(script())) {
      client.write(part);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await client.answer(14);
    await client.leave();
    expect(transcript(client)).toEqual(expected);
    expect(expected.length).toBe(16);
    await oracle.verdict({ peer_closed: 2 });
  });

  test.skipIf(RAW_TRANSPORTS.length < 2).each(SPLITS)(
    "row 7: over websocket, one message fragmented %s",
    async (_, split) => {
      const oracle = await Oracle.watch();
      const expected = await whole(oracle);
      const client = await oracle.client("websocket");
      const parts = split(script());
      for (const [index, payload] of parts.entries()) {
        const opcode = index === 0 ? OPCODE.BINARY : OPCODE.CONTINUATION;
        client.write(webSocketFrame({ opcode, payload, fin: index === parts.length - 1 }));
      }
      await client.answer(14);
      await client.leave();
      expect(transcript(client)).toEqual(expected);
      await oracle.verdict({ peer_closed: 2 });
    },
  );

  test.skipIf(RAW_TRANSPORTS.length < 2).each(SPLITS)(
    "row 7: over websocket, the stream below the messages cut %s",
    async (_, split) => {
      const oracle = await Oracle.watch();
      const expected = await whole(oracle);
      const client = await oracle.client("websocket");
      for (const part of split(webSocketFrame({ opcode: OPCODE.BINARY, payload: script() }))) {
        client.write(part);
        await new Promise((resolve) => setImmediate(resolve));
      }
      await client.answer(14);
      await client.leave();
      expect(transcript(client)).toEqual(expected);
      await oracle.verdict({ peer_closed: 2 });
    },
  );
});
