// Rows 22 to 34 of the fault catalogue: upgrades and WebSocket frames. uWebSockets.js is not a
// strict server of RFC 6455; where a row cannot be kept with it, the test says what happens
// instead.

import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import type { PartialOptions } from "../../src/config/options.ts";
import { hasWebSocket, Oracle } from "../support/oracle.ts";
import { httpAnswer, type RawClient, rawSocket } from "../support/raw-client.ts";
import { call, frame, HEARTBEAT } from "../support/raw-message.ts";
import {
  closeFrame,
  OPCODE,
  upgradeRequest,
  type WebSocketFrameInit,
  webSocketFrame,
} from "../support/raw-websocket.ts";

/** Dead peers are found within two heartbeats. */
const LIVELY: PartialOptions = {
  connection: { heartbeatMs: 200, heartbeatJitter: 0, idleTimeoutMs: 400, closeTimeoutMs: 400 },
};

/** Sends a request and gives the status of the answer; 0: the connection was closed without. */
async function statusOf(oracle: Oracle, request: string): Promise<number> {
  const socket = await rawSocket(oracle.port("websocket"));
  socket.write(request);
  const status = await httpAnswer(socket).then(
    ({ head }) => head.status,
    () => 0,
  );
  socket.destroy();
  return status;
}

describe.skipIf(!hasWebSocket())("upgrades", () => {
  test.each<[string, Record<string, string | null>, number, string]>([
    ["row 22: version 12", { "Sec-WebSocket-Version": "12" }, 426, "bad_version"],
    ["row 22: version 8", { "Sec-WebSocket-Version": "8" }, 426, "bad_version"],
    ["row 22: no version", { "Sec-WebSocket-Version": null }, 426, "bad_version"],
    ["row 23: an Upgrade to something else", { Upgrade: "h2c" }, 426, "not_websocket"],
    ["row 23: no Upgrade", { Upgrade: null }, 426, "not_websocket"],
    [
      "row 23: a Connection that does not upgrade",
      { Connection: "keep-alive" },
      400,
      "bad_connection",
    ],
    ["row 23: no key", { "Sec-WebSocket-Key": null }, 400, "bad_key"],
    ["row 23: an empty key", { "Sec-WebSocket-Key": "" }, 400, "bad_key"],
    ["row 23: a key of the wrong length", { "Sec-WebSocket-Key": "c2hvcnQ=" }, 400, "bad_key"],
    [
      "row 23: a key that is no base64",
      { "Sec-WebSocket-Key": "!!!!!!!!!!!!!!!!!!!!!!==" },
      400,
      "bad_key",
    ],
    ["row 24: an origin that is not listed", { Origin: "https://evil.example" }, 403, "bad_origin"],
    [
      "row 24: a listed origin with a suffix",
      { Origin: "https://good.example.evil.example" },
      403,
      "bad_origin",
    ],
    [
      "row 24: a listed origin on another port",
      { Origin: "https://good.example:444" },
      403,
      "bad_origin",
    ],
    ["row 24: the opaque origin", { Origin: "null" }, 403, "bad_origin"],
    ["row 25: no subprotocol", { "Sec-WebSocket-Protocol": null }, 400, "bad_subprotocol"],
    [
      "row 25: another subprotocol",
      { "Sec-WebSocket-Protocol": "mqtt, chat" },
      400,
      "bad_subprotocol",
    ],
    [
      "row 25: a subprotocol that only begins alike",
      { "Sec-WebSocket-Protocol": "holdfast.v10" },
      400,
      "bad_subprotocol",
    ],
  ])("%s is refused", async (_, headers, status, cause) => {
    const oracle = await Oracle.watch({ websocket: { origins: ["https://good.example"] } });
    expect(await statusOf(oracle, upgradeRequest(headers))).toBe(status);
    expect(oracle.server.upgradesRefused).toMatchObject({ [cause]: 1 });
    expect(oracle.log.of("upgrade_refused")).toEqual([
      { listener: "websocket", cause, status: expect.any(String) },
    ]);
    await oracle.verdict({});
  });

  test.each<[string, Record<string, string | null>]>([
    ["row 24: a listed origin", { Origin: "https://good.example" }],
    ["row 24: no origin, which no browser sends,", {}],
    ["row 25: our subprotocol among others", { "Sec-WebSocket-Protocol": "mqtt, holdfast.v1" }],
    ["row 23: Connection as a list, in any case,", { Connection: "keep-alive, UPGRADE" }],
  ])("%s is welcome", async (_, headers) => {
    const oracle = await Oracle.watch({ websocket: { origins: ["https://good.example"] } });
    const client = await oracle.active("websocket", { headers });
    await client.echo();
    await client.leave();
    await oracle.verdict({ peer_closed: 1 });
  });

  test.each([
    ["a plain request", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 426],
    ["a POST that asks for an upgrade", upgradeRequest({}, "POST / HTTP/1.1"), 426],
    ["HTTP/1.0", upgradeRequest({}, "GET / HTTP/1.0"), 505],
  ])("row 23: %s is refused", async (_, request, status) => {
    const oracle = await Oracle.watch();
    expect(await statusOf(oracle, request)).toBe(status);
    await oracle.verdict({});
  });

  test("row 31: compression is offered by the client and not agreed to", async () => {
    const oracle = await Oracle.watch();
    const socket = await rawSocket(oracle.port("websocket"));
    const offer = "permessage-deflate; client_max_window_bits, x-webkit-deflate-frame";
    socket.write(upgradeRequest({ "Sec-WebSocket-Extensions": offer }));
    const { head } = await httpAnswer(socket);
    expect(head.status).toBe(101);
    expect(head.headers.get("sec-websocket-extensions")).toBeUndefined();
    expect(head.headers.get("sec-websocket-protocol")).toBe("holdfast.v1");
    socket.destroy();
    await oracle.verdict({ peer_closed: 1 });
  });

  test.each([
    ["150 headers", Object.fromEntries(Array.from({ length: 150 }, (_, i) => [`X-H${i}`, "1"]))],
    ["a header of 20 KiB", { "X-Long": "a".repeat(20_480) }],
    [
      "5 KiB of headers",
      Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`X-H${i}`, "a".repeat(100)])),
    ],
  ])("row 34: an upgrade with %s is refused", async (_, headers) => {
    const oracle = await Oracle.watch();
    expect(await statusOf(oracle, upgradeRequest(headers))).not.toBe(101);
    await oracle.verdict({});
  });

  test.each([
    ["a TLS hello", Buffer.from("16030102000100", "hex")],
    ["bytes that are no HTTP", Buffer.alloc(100, 0xff)],
    ["a frame of the TCP protocol", frame(call(1, "echo"))],
    ["a header with a bare line feed", Buffer.from("GET / HTTP/1.1\nHost: x\n\n")],
    [
      "a request of two lengths",
      Buffer.from(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n" +
          "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      ),
    ],
  ])("row 3: %s in place of an upgrade opens no connection", async (_, bytes) => {
    const oracle = await Oracle.watch();
    const socket = await rawSocket(oracle.port("websocket"));
    socket.write(bytes);
    await delay(50);
    socket.destroy();
    expect(oracle.server.shared.counters.opened).toBe(2);
    await oracle.verdict({});
  });
});

/** Sends frames that RFC 6455 forbids. @returns the client, at its end. */
async function violate(
  oracle: Oracle,
  ...frames: readonly WebSocketFrameInit[]
): Promise<RawClient> {
  const client = await oracle.active("websocket");
  client.write(Buffer.concat(frames.map((init) => webSocketFrame(init))));
  await client.ending();
  return client;
}

describe.skipIf(!hasWebSocket())("frames", () => {
  // The recorded deviation: uWebSockets.js never looks at the mask bit. It takes four bytes of the
  // payload for a mask, and what comes out is no message of ours.
  test("row 26: an unmasked frame is misread and refused as malformed", async () => {
    const oracle = await Oracle.watch(LIVELY);
    const client = await oracle.active("websocket");
    const unmasked = {
      opcode: OPCODE.BINARY,
      payload: frame(call(2, "echo", "x".repeat(40))),
      mask: null,
    };
    client.write(webSocketFrame(unmasked));
    // The server's heartbeat is answered, and that answer completes what is misread.
    expect((await client.ending()).goAway?.code).toBe(3501);
    expect(client.messages.filter(({ id }) => id === 2)).toEqual([]);
    await oracle.verdict({ frame_too_large: 1 });
  });

  test("row 26: an unmasked frame too short to hold a mask dies of silence", async () => {
    const oracle = await Oracle.watch(LIVELY);
    const client = await oracle.active("websocket", { answersHeartbeats: false });
    client.write(webSocketFrame({ opcode: OPCODE.BINARY, payload: "ab", mask: null }));
    expect((await client.ending()).goAway?.code).toBe(3001);
    await oracle.verdict({ silent: 1 });
  });

  // uWebSockets.js cuts those off without a close frame: the client sees 1006, we count a cause.
  test.each<[string, WebSocketFrameInit[]]>([
    ["a ping of 126 bytes", [{ opcode: OPCODE.PING, payload: "p".repeat(126) }]],
    ["a fragmented ping", [{ opcode: OPCODE.PING, payload: "p", fin: false }]],
    ["a fragmented close", [{ opcode: OPCODE.CLOSE, fin: false }]],
    ["the reserved opcode 3", [{ opcode: 3, payload: "x" }]],
    ["the reserved opcode 11", [{ opcode: 11, payload: "x" }]],
    ["RSV1 without an extension", [{ opcode: OPCODE.BINARY, payload: HEARTBEAT, rsv: 4 }]],
    ["RSV2", [{ opcode: OPCODE.BINARY, payload: HEARTBEAT, rsv: 2 }]],
    ["RSV3", [{ opcode: OPCODE.BINARY, payload: HEARTBEAT, rsv: 1 }]],
    ["a continuation of nothing", [{ opcode: OPCODE.CONTINUATION, payload: HEARTBEAT }]],
    [
      "a text message inside a fragmented one",
      [
        { opcode: OPCODE.BINARY, payload: HEARTBEAT, fin: false },
        { opcode: OPCODE.TEXT, payload: "x" },
      ],
    ],
    [
      "a third message inside two fragmented ones",
      [
        { opcode: OPCODE.BINARY, payload: HEARTBEAT, fin: false },
        { opcode: OPCODE.BINARY, payload: HEARTBEAT, fin: false },
        { opcode: OPCODE.BINARY, payload: HEARTBEAT, fin: false },
      ],
    ],
    ["text that is no UTF-8", [{ opcode: OPCODE.TEXT, payload: Buffer.from([0xc0, 0xaf]) }]],
  ])("row 27: %s ends the connection as malformed", async (_, frames) => {
    const oracle = await Oracle.watch(LIVELY);
    const client = await violate(oracle, ...frames);
    expect(client.messages.map(({ body }) => body)).toEqual(["welcome"]);
    await oracle.verdict({ malformed_websocket: 1 });
  });

  // The recorded deviation: it should be refused; uWebSockets.js takes it for a continuation.
  test("row 27: a binary message inside a fragmented one is taken to continue it", async () => {
    const oracle = await Oracle.watch(LIVELY);
    const client = await oracle.active("websocket");
    const bytes = frame(call(2, "echo", "in two"));
    client.write(
      webSocketFrame({ opcode: OPCODE.BINARY, payload: bytes.subarray(0, 7), fin: false }),
    );
    client.write(webSocketFrame({ opcode: OPCODE.BINARY, payload: bytes.subarray(7) }));
    const answer = await client.answer(2);
    expect(answer.body === "result" && answer.payload.toString()).toBe("in two");
    await client.leave();
    await oracle.verdict({ peer_closed: 1 });
  });

  test("row 28: a message a little too large is refused with a code of ours", async () => {
    const oracle = await Oracle.watch();
    const client = await oracle.active("websocket");
    const header = Buffer.alloc(4);
    header.writeUInt32BE(70_000);
    client.writeFrames(Buffer.concat([header, Buffer.alloc(70_000)]));
    const { goAway, closeCode } = await client.ending();
    expect({ code: goAway?.code, closeCode }).toEqual({ code: 3501, closeCode: 3501 });
    await oracle.verdict({ frame_too_large: 1 });
  });

  // A WebSocket frame's length is checked by uWebSockets.js before its bytes come.
  test.each([
    ["300 KB", 300_000],
    ["2 GiB", 0x8000_0000],
    ["2^62 bytes", 2 ** 62],
  ])("row 28: a WebSocket frame of %s is cut on sight of its header", async (_, length) => {
    const oracle = await Oracle.watch();
    const client = await oracle.active("websocket");
    const header = Buffer.alloc(14);
    header[0] = 0x80 | OPCODE.BINARY;
    header[1] = 0x80 | 127;
    header.writeBigUInt64BE(BigInt(length), 2);
    client.write(header);
    await client.ending();
    expect(client.goAway).toBeNull();
    await oracle.verdict({ malformed_websocket: 1 });
  });

  test("row 28: fragments that add up to too much are cut", async () => {
    const oracle = await Oracle.watch();
    const client = await oracle.active("websocket");
    client.write(
      webSocketFrame({ opcode: OPCODE.BINARY, payload: Buffer.alloc(60_000), fin: false }),
    );
    for (let count = 0; count < 4; count++) {
      const payload = Buffer.alloc(60_000);
      client.write(webSocketFrame({ opcode: OPCODE.CONTINUATION, payload, fin: false }));
    }
    await client.ending();
    await oracle.verdict({ malformed_websocket: 1 });
  });

  test.each([
    ["a text message", OPCODE.TEXT, "{}", "text_message" as const],
    ["an empty text message", OPCODE.TEXT, "", "text_message" as const],
    ["an empty message", OPCODE.BINARY, "", "empty_message" as const],
  ])("row 29: %s closes with 3500", async (_, opcode, payload, cause) => {
    const oracle = await Oracle.watch();
    const client = await violate(oracle, { opcode, payload });
    expect({ code: client.goAway?.code, closeCode: client.closeCode }).toEqual({
      code: 3500,
      closeCode: 3500,
    });
    await oracle.verdict({ [cause]: 1 });
  });

  test.each([
    ["in a frame's header", frame(call(2, "count")).subarray(0, 2)],
    ["in a frame's payload", frame(call(2, "count")).subarray(0, 9)],
    [
      "in its second frame",
      Buffer.concat([frame(call(2, "echo")), frame(call(3, "count")).subarray(0, 7)]),
    ],
  ])("row 4: a message that ends %s closes with 3500", async (_, payload) => {
    let calls = 0;
    const oracle = await Oracle.watch(
      {},
      { methods: (server) => server.method("count", () => void calls++) },
    );
    const client = await violate(oracle, { opcode: OPCODE.BINARY, payload });
    expect({ code: client.goAway?.code, closeCode: client.closeCode }).toEqual({
      code: 3500,
      closeCode: 3500,
    });
    expect(calls).toBe(0);
    await oracle.verdict({ truncated_frame: 1 });
  });

  test.each([
    ["1000", closeFrame(1000)],
    ["1001, with a reason", closeFrame(1001, "bye")],
    ["4999", closeFrame(4999)],
    ["none at all", webSocketFrame({ opcode: OPCODE.CLOSE })],
    // Codes that must not be sent, or that uWebSockets.js takes for such.
    ["1005, which may not be sent", closeFrame(1005)],
    ["999, which is none", closeFrame(999)],
    ["3000, which uWebSockets.js does not know", closeFrame(3000)],
    ["one byte of a code", webSocketFrame({ opcode: OPCODE.CLOSE, payload: "x" })],
  ])("row 30: a close with code %s is a departure, not an attack", async (_, bytes) => {
    const oracle = await Oracle.watch();
    const client = await oracle.active("websocket");
    client.write(bytes);
    await client.ending();
    await oracle.verdict({ peer_closed: 1 });
  });

  test("row 30: a close whose reason is no UTF-8 is a departure too", async () => {
    const oracle = await Oracle.watch();
    const client = await oracle.active("websocket");
    const payload = Buffer.from([0x03, 0xe8, 0xff, 0xfe]);
    client.write(webSocketFrame({ opcode: OPCODE.CLOSE, payload }));
    await client.ending();
    await oracle.verdict({ peer_closed: 1 });
  });

  test("row 30: a connection that ends without a close frame is a departure", async () => {
    const oracle = await Oracle.watch();
    const client = await oracle.active("websocket");
    client.end();
    await client.ending();
    await oracle.verdict({ peer_closed: 1 });
  });
});

describe.skipIf(!hasWebSocket())("liveness", () => {
  test("row 32: a flood of empty fragments is no sign of life", async () => {
    const oracle = await Oracle.watch(LIVELY);
    const client = await oracle.active("websocket", { answersHeartbeats: false });
    client.write(webSocketFrame({ opcode: OPCODE.BINARY, fin: false }));
    const fragment = webSocketFrame({ opcode: OPCODE.CONTINUATION, fin: false });
    const burst = Buffer.concat(Array.from({ length: 1_000 }, () => fragment));
    const start = performance.now();
    while (!client.hasEnded && performance.now() - start < 3_000) {
      client.write(burst);
      await delay(10);
    }
    expect((await client.ending()).goAway?.code).toBe(3001);
    expect(performance.now() - start).toBeLessThan(1_200);
    await oracle.verdict({ silent: 1 });
  });

  test("row 32: a message that drips in below the frames is no sign of life", async () => {
    const oracle = await Oracle.watch(LIVELY);
    const client = await oracle.active("websocket", { answersHeartbeats: false });
    const bytes = webSocketFrame({
      opcode: OPCODE.BINARY,
      payload: frame(call(2, "echo", Buffer.alloc(600))),
    });
    const start = performance.now();
    for (const byte of bytes) {
      if (client.hasEnded) break;
      client.write(Buffer.from([byte]));
      await delay(15);
    }
    expect((await client.ending()).goAway?.code).toBe(3001);
    expect(performance.now() - start).toBeLessThan(1_200);
    await oracle.verdict({ silent: 1 });
  });

  test("row 32: a Hello that drips in below the frames is cut at its deadline", async () => {
    const oracle = await Oracle.watch({ connection: { handshakeTimeoutMs: 300 } });
    const client = await oracle.client("websocket");
    client.write(webSocketFrame({ opcode: OPCODE.BINARY, payload: "abc", fin: false }));
    const start = performance.now();
    while (!client.hasEnded && performance.now() - start < 3_000) {
      client.write(webSocketFrame({ opcode: OPCODE.CONTINUATION, payload: "d", fin: false }));
      await delay(20);
    }
    expect((await client.ending()).goAway?.code).toBe(3002);
    expect(performance.now() - start).toBeLessThan(900);
    await oracle.verdict({ no_hello: 1 });
  });

  test("row 32: pongs and pings, behind which a drip could hide, keep nobody", async () => {
    const oracle = await Oracle.watch(LIVELY);
    const client = await oracle.active("websocket", { answersHeartbeats: false });
    for (let round = 0; round < 8; round++) {
      client.write(webSocketFrame({ opcode: round % 2 === 0 ? OPCODE.PONG : OPCODE.PING }));
      await delay(100);
    }
    expect((await client.ending()).goAway?.code).toBe(3001);
    await oracle.verdict({ silent: 1 });
  });

  test("row 32: a client that pings and answers heartbeats stays", async () => {
    const oracle = await Oracle.watch(LIVELY);
    const client = await oracle.active("websocket");
    for (let round = 0; round < 8; round++) {
      client.write(webSocketFrame({ opcode: OPCODE.PING }));
      await delay(100);
    }
    await client.echo();
    expect(client.pongs).toBe(8);
    await client.leave();
    await oracle.verdict({ peer_closed: 1 });
  });

  test("row 33: pings are answered, and a flood of them ends with 3006", async () => {
    const oracle = await Oracle.watch();
    const client = await oracle.active("websocket");
    const ping = webSocketFrame({ opcode: OPCODE.PING, payload: "p".repeat(125) });
    for (let round = 0; round < 3; round++) {
      client.write(Buffer.concat(Array.from({ length: 30 }, () => ping)));
      await client.until(() => client.pongs === 30 * (round + 1), "the pongs");
      await client.echo();
    }
    client.write(Buffer.concat(Array.from({ length: 200 }, () => ping)));
    expect((await client.ending()).goAway?.code).toBe(3006);
    expect(client.closeCode).toBe(3006);
    await oracle.verdict({ ping_flood: 1 });
  });

  test("row 33: pings of a peer that reads no pongs are bounded", async () => {
    const oracle = await Oracle.watch();
    const client = await oracle.active("websocket");
    client.stopReading();
    const ping = webSocketFrame({ opcode: OPCODE.PING, payload: "p".repeat(125) });
    client.write(Buffer.concat(Array.from({ length: 50_000 }, () => ping)));
    await oracle.until(() => oracle.log.of("connection_note").length > 0, "the flood is seen");
    client.readOn();
    await client.ending();
    expect(client.pongs).toBeLessThan(110);
    await oracle.verdict({ ping_flood: 1 });
  });
});
