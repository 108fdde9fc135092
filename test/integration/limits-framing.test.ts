// Listeners that do not speak the default: other framings, and raw ones without the session
// protocol.

import { once } from "node:events";
import type { Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import type { PartialOptions } from "../../src/config/options.ts";
import type { ClientConnection } from "../../src/connection/client-connection.ts";
import type { RawHandler } from "../../src/connection/connection-context.ts";
import type { ListenerSpec } from "../../src/server/listener-spec.ts";
import {
  type Framing,
  FRAME_MALFORMED,
  FRAME_TOO_LARGE,
  FRAME_UNKNOWN,
} from "../../src/wire/framing.ts";
import { hasWebSocket, Oracle } from "../support/oracle.ts";
import { httpAnswer, rawSocket } from "../support/raw-client.ts";
import { call, hello, publish, subscribe, varintFrame } from "../support/raw-message.ts";
import { binaryMessage, upgradeRequest } from "../support/raw-websocket.ts";

const TCP = { kind: "tcp", host: "127.0.0.1", port: 0 } as const;

/** Collects what a socket receives. */
class Reading {
  readonly socket: Socket;
  text: string = "";
  readonly ended: Promise<unknown>;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (chunk) => {
      this.text += chunk.toString("latin1");
    });
    this.ended = Promise.race([once(socket, "end"), once(socket, "close")]);
  }

  static async at(oracle: Oracle, listener: string): Promise<Reading> {
    return new Reading(await rawSocket(oracle.port(listener)));
  }

  async until(text: string): Promise<void> {
    const deadline = performance.now() + 5_000;
    while (this.text !== text) {
      if (performance.now() > deadline) throw new Error(`it read ${JSON.stringify(this.text)}`);
      await delay(2);
    }
  }
}

describe("a listener with varint framing", () => {
  test("serves the session protocol beside the default one, in any segmentation", async () => {
    const spec: ListenerSpec = { name: "varint", transport: TCP, framing: "varint" };
    const oracle = await Oracle.watch({}, { listeners: [spec] });
    const client = await oracle.client("tcp", { port: oracle.port("varint"), framing: "varint" });
    const bodies = [
      hello(1),
      subscribe(2, "t"),
      call(3, "echo", "x".repeat(300)),
      publish(4, "t", "y"),
    ];
    for (const byte of Buffer.concat(bodies.map((body) => varintFrame(body)))) {
      client.write(Buffer.from([byte]));
      if (byte % 16 === 0) await delay(1);
    }
    await client.answer(4);
    const echo = await client.answer(3);
    expect(echo.body === "result" && echo.payload.toString()).toBe("x".repeat(300));
    // One event, encoded for both framings.
    const other = await oracle.active("tcp");
    other.send(subscribe(2, "t"));
    await other.answer(2);
    oracle.server.publish("t", "z".repeat(200));
    await client.until(() => client.events.length === 2, "both events");
    await other.until(() => other.events.length === 1, "the event");
    expect(other.events[0]).toEqual(client.events[1]);
    await client.leave();
    await other.leave();
    await oracle.verdict({ peer_closed: 2 });
  });

  test("refuses a length of six bytes as malformed and one too large on sight", async () => {
    const spec: ListenerSpec = { name: "varint", transport: TCP, framing: "varint" };
    const oracle = await Oracle.watch({ frame: { bytesMax: 1_048_576 } }, { listeners: [spec] });
    const at = { port: oracle.port("varint"), framing: "varint" } as const;
    const malformed = await oracle.active("tcp", at);
    malformed.write(Buffer.from("808080808001", "hex"));
    expect((await malformed.ending()).goAway?.code).toBe(3500);
    const large = await oracle.active("tcp", at);
    large.write(Buffer.from("ffffffff0f", "hex"));
    expect((await large.ending()).goAway?.code).toBe(3501);
    await oracle.verdict({ malformed_frame: 1, frame_too_large: 1 });
  });
});

/** Says back what it hears, and remembers whom it met. */
class Parrot implements RawHandler {
  readonly log: string[] = [];
  onOpen({ id }: ClientConnection): void {
    this.log.push(id === "" ? "nobody" : "open");
  }
  onFrame(connection: ClientConnection, payload: Parameters<RawHandler["onFrame"]>[1]): void {
    const text = payload.text();
    if (text === "throw") throw new Error("as it was told");
    if (text === "leave") connection.disconnect();
    else connection.sendFrame(payload);
  }
  onClose(): void {
    this.log.push("close");
  }
}

function rawLine(parrot: RawHandler): ListenerSpec {
  return { name: "line", transport: TCP, framing: "newline", raw: parrot };
}

describe("a raw listener of lines", () => {
  test("gives the application whole lines and sends what it answers, at every split", async () => {
    const parrot = new Parrot();
    const oracle = await Oracle.watch({}, { listeners: [rawLine(parrot)] });
    const text = "first\r\n\nthird line\n";
    for (let split = 0; split <= text.length; split += 3) {
      const client = await Reading.at(oracle, "line");
      client.socket.write(text.slice(0, split));
      await delay(2);
      client.socket.write(text.slice(split));
      await client.until("first\n\nthird line\n");
      client.socket.end();
      await client.ended;
    }
    const count = Math.floor(text.length / 3) + 1;
    await oracle.verdict({ peer_closed: count });
    expect(parrot.log.toSorted()).toEqual([
      ...Array<string>(count).fill("close"),
      ...Array<string>(count).fill("open"),
    ]);
  });

  test("sends no byte of its own: no Welcome, no heartbeat, no GoAway", async () => {
    const connection = { heartbeatMs: 150, heartbeatJitter: 0, idleTimeoutMs: 300 };
    const oracle = await Oracle.watch({ connection }, { listeners: [rawLine(new Parrot())] });
    const silent = await Reading.at(oracle, "line");
    const start = performance.now();
    await silent.ended;
    expect(performance.now() - start).toBeGreaterThan(240);
    expect(performance.now() - start).toBeLessThan(800);
    silent.socket.destroy();
    const leaving = await Reading.at(oracle, "line");
    leaving.socket.write("leave\n");
    await leaving.ended;
    leaving.socket.end();
    expect([silent.text, leaving.text]).toEqual(["", ""]);
    await oracle.verdict({ silent: 1, server: 1 });
  });

  test("ends the connection whose line is too long or whose handler throws", async () => {
    const parrot = new Parrot();
    const options: PartialOptions = { frame: { bytesMax: 1_000 } };
    const oracle = await Oracle.watch(options, { listeners: [rawLine(parrot)] });
    const [long, thrown, other] = [
      await Reading.at(oracle, "line"),
      await Reading.at(oracle, "line"),
      await Reading.at(oracle, "line"),
    ];
    long.socket.write("x".repeat(1_002));
    await long.ended;
    thrown.socket.write("one\nthrow\ntwo\n");
    await thrown.ended;
    other.socket.write(`${"y".repeat(1_000)}\r\n`);
    await other.until(`${"y".repeat(1_000)}\n`);
    expect([long.text, thrown.text]).toEqual(["", "one\n"]);
    for (const { socket } of [long, thrown, other]) socket.end();
    await oracle.verdict({ frame_too_large: 1, handler_error: 1, peer_closed: 1 });
    expect(oracle.log.of("handler_failed").length).toBe(1);
  });

  test("does not take a line with a line feed in it, and says so to the application", async () => {
    const errors: unknown[] = [];
    const raw: RawHandler = {
      onFrame(connection) {
        try {
          connection.sendFrame("two\nlines");
        } catch (error) {
          errors.push(error);
        }
      },
    };
    const oracle = await Oracle.watch({}, { listeners: [rawLine(raw)] });
    const client = await Reading.at(oracle, "line");
    client.socket.write("go\n");
    await oracle.until(() => errors.length === 1, "the error");
    expect(errors).toMatchObject([{ code: "HOLDFAST_FRAMING_INVALID" }]);
    client.socket.end();
    await client.ended;
    expect(client.text).toBe("");
    await oracle.verdict({ peer_closed: 1 });
  });

  test("a slow reader of raw frames is cut off at the cap, without a word", async () => {
    const outcomes = new Set<string>();
    const raw: RawHandler = {
      onFrame(connection) {
        for (let count = 0; connection.isOpen && count < 4_000; count++) {
          outcomes.add(connection.sendFrame(Buffer.alloc(16_384, "x")));
        }
      },
    };
    const oracle = await Oracle.watch({}, { listeners: [rawLine(raw)] });
    const client = await Reading.at(oracle, "line");
    client.socket.pause();
    client.socket.write("go\n");
    await oracle.until(() => outcomes.has("closed"), "the cut");
    expect([...outcomes]).toEqual(["sent", "queued", "full", "closed"]);
    client.socket.resume();
    await client.ended;
    client.socket.end();
    await oracle.verdict({ queue_full: 1 });
  });

  test.skipIf(!hasWebSocket())("works over websocket, with no subprotocol asked for", async () => {
    const oracle = await Oracle.watch(
      {},
      {
        listeners: [
          {
            name: "raw-ws",
            transport: { kind: "websocket", host: "127.0.0.1", port: 0 },
            framing: "newline",
            raw: new Parrot(),
          },
        ],
      },
    );
    const socket = await rawSocket(oracle.port("raw-ws"));
    socket.write(upgradeRequest({ "Sec-WebSocket-Protocol": null }));
    expect((await httpAnswer(socket)).head.status).toBe(101);
    const client = new Reading(socket);
    socket.resume();
    socket.write(binaryMessage(Buffer.from("one\ntwo\n")));
    await client.until("\x82\x08one\ntwo\n");
    socket.destroy();
    await oracle.verdict({ peer_closed: 1 });
  });
});

/** A byte 0xAA, a little-endian uint16, the body: as a device might speak. */
const deviceFraming: Framing = {
  name: "device",
  bytesMin: 3,
  overheadMax: 3,
  frameEnd(bytes, start, end, _scanned, bodyBytesMax) {
    if (end - start < 3) return FRAME_UNKNOWN;
    if (bytes[start] !== 0xaa) return FRAME_MALFORMED;
    const length = bytes[start + 1]! + 256 * bytes[start + 2]!;
    return length > bodyBytesMax ? FRAME_TOO_LARGE : start + 3 + length;
  },
  bodyStart: (_bytes, start) => start + 3,
  bodyEnd: (_bytes, _start, frameEnd) => frameEnd,
  headerBytes: () => 3,
  writeHeader(bytes, offset, length) {
    bytes[offset] = 0xaa;
    bytes[offset + 1] = length & 0xff;
    bytes[offset + 2] = length >> 8;
  },
  trailerBytes: 0,
  writeTrailer() {},
  canCarry: (_bytes, start, end) => end - start < 65_536,
};

function device(text: string): Buffer {
  const body = Buffer.from(text);
  return Buffer.concat([Buffer.from([0xaa, body.length & 0xff, body.length >> 8]), body]);
}

describe("a framing of the user's own", () => {
  test("carries a raw protocol in any segmentation", async () => {
    const spec: ListenerSpec = {
      name: "dev",
      transport: TCP,
      framing: deviceFraming,
      raw: new Parrot(),
    };
    const oracle = await Oracle.watch({}, { listeners: [spec] });
    const client = await Reading.at(oracle, "dev");
    const sent = Buffer.concat([device("one"), device(""), device("three".repeat(100))]);
    for (const byte of sent) {
      client.socket.write(Buffer.from([byte]));
      if (byte % 32 === 0) await delay(1);
    }
    await client.until(sent.toString("latin1"));
    client.socket.end();
    await client.ended;
    await oracle.verdict({ peer_closed: 1 });
  });

  test("refuses what it calls malformed or too large", async () => {
    const spec: ListenerSpec = {
      name: "dev",
      transport: TCP,
      framing: deviceFraming,
      raw: new Parrot(),
    };
    const oracle = await Oracle.watch({ frame: { bytesMax: 1_000 } }, { listeners: [spec] });
    const [wrong, large] = [await Reading.at(oracle, "dev"), await Reading.at(oracle, "dev")];
    wrong.socket.write("GET / HTTP/1.1\r\n\r\n");
    large.socket.write(Buffer.from([0xaa, 0xff, 0xff]));
    await Promise.all([wrong.ended, large.ended]);
    for (const { socket } of [wrong, large]) socket.end();
    await oracle.verdict({ malformed_frame: 1, frame_too_large: 1 });
  });

  test.each<[string, Partial<Framing>]>([
    ["points before its own frame", { frameEnd: (_bytes, start) => start - 7 }],
    ["points at its own beginning for ever", { frameEnd: (_bytes, start) => start || -9 }],
    ["gives no number", { frameEnd: () => Number.NaN }],
    ["promises more than is allowed", { frameEnd: (_bytes, start) => start + 1e9 }],
  ])("that %s costs its connection 3008 and nobody else", async (_, broken) => {
    const framing = { ...deviceFraming, ...broken };
    const spec: ListenerSpec = { name: "dev", transport: TCP, framing, raw: new Parrot() };
    const oracle = await Oracle.watch({}, { listeners: [spec] });
    const client = await Reading.at(oracle, "dev");
    client.socket.write(device("x"));
    await client.ended;
    client.socket.end();
    await oracle.verdict({ framing_broken: 1 });
    expect(oracle.server.closedByReason.internal_error).toBe(1);
  });

  test("that throws costs its connection 3008 and nobody else", async () => {
    const framing: Framing = {
      ...deviceFraming,
      frameEnd() {
        throw new Error("a framing that throws");
      },
    };
    const spec: ListenerSpec = { name: "dev", transport: TCP, framing, raw: new Parrot() };
    const oracle = await Oracle.watch({}, { listeners: [spec] });
    const client = await Reading.at(oracle, "dev");
    client.socket.write(device("x"));
    await client.ended;
    client.socket.end();
    await oracle.verdict({ framing_broken: 1 });
  });
});
