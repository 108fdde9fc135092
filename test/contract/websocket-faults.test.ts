// What only the WebSocket transport has: upgrades, messages of the wrong kind, pings, violations.

import { connect, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { UpgradeRefusal } from "../../src/transport/upgrade-check.ts";
import type { WebSocketTransport } from "../../src/transport/websocket.ts";
import { closeFrame, OPCODE, webSocketFrame } from "../support/raw-websocket.ts";
import { pass, Recorder, until } from "../support/transport-bench.ts";
import { ACCEPTED_BY, openWebSocket, uwsIfAny, WebSocketPeer } from "./websocket-harness.ts";

const loaded = uwsIfAny();

const UPGRADE = {
  Host: "localhost",
  Upgrade: "websocket",
  Connection: "Upgrade",
  "Sec-WebSocket-Version": "13",
  "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
  "Sec-WebSocket-Protocol": "holdfast.v1",
};

const ways = loaded === null ? [] : ACCEPTED_BY;

describe.each(ways)("the WebSocket transport, accepted by %s", (by) => {
  let handler: Recorder;
  let transport: WebSocketTransport;
  let port: number;
  let refusals: UpgradeRefusal[];
  let sockets: Socket[];

  beforeEach(async () => {
    handler = new Recorder();
    refusals = [];
    sockets = [];
    const opened = await openWebSocket(loaded!, by, handler, (refusal) => refusals.push(refusal));
    ({ transport, port } = opened);
  });

  afterEach(async () => {
    transport.destroy();
    for (const socket of sockets) socket.destroy();
    await until(() => handler.closed.length === handler.opened.length, "all are closed");
    if (handler.breaches.length > 0) throw new Error(handler.breaches.join("; "));
  });

  /** A bare TCP connection; `text()` is what came back so far. */
  function raw(): { socket: Socket; text: () => string } {
    const socket = connect(port, "127.0.0.1");
    let text = "";
    socket.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
    socket.on("error", () => {});
    sockets.push(socket);
    return { socket, text: () => text };
  }

  function request(headers: Readonly<Record<string, string>>, method: string = "GET"): string {
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    return `${method} /any/path HTTP/1.1\r\n${lines.join("")}\r\n`;
  }

  /** An upgraded connection whose frames are written by hand. */
  async function upgraded(): Promise<{ socket: Socket; text: () => string; channel: number }> {
    const connection = raw();
    connection.socket.write(request(UPGRADE));
    await until(() => connection.text().includes("\r\n\r\n"), "the upgrade is answered");
    await until(() => handler.opened.length > 0, "the connection opens");
    return { ...connection, channel: handler.opened.at(-1)! };
  }

  it("agrees on the subprotocol, and on no extension that was offered", async () => {
    const { socket, text } = raw();
    const offered = "permessage-deflate; client_max_window_bits";
    socket.write(request({ ...UPGRADE, "Sec-WebSocket-Extensions": offered }));
    await until(() => text().includes("\r\n\r\n"), "the upgrade is answered");
    expect(text()).toMatch(/^HTTP\/1\.1 101 /);
    expect(text().toLowerCase()).toContain("sec-websocket-protocol: holdfast.v1");
    expect(text().toLowerCase()).not.toContain("permessage-deflate");
  });

  it.each([
    ["a wrong version", { "Sec-WebSocket-Version": "8" }, "426", "bad_version"],
    ["another protocol", { Upgrade: "foo" }, "426", "not_websocket"],
    ["no subprotocol", { "Sec-WebSocket-Protocol": "mqtt" }, "400", "bad_subprotocol"],
    ["a key that is none", { "Sec-WebSocket-Key": "short" }, "400", "bad_key"],
    ["no connection upgrade", { Connection: "close" }, "400", "bad_connection"],
  ])("answers %s with a status, tells the cause, and opens nothing", async (...cell) => {
    const [, change, status, cause] = cell;
    const { socket, text } = raw();
    socket.write(request({ ...UPGRADE, ...change }));
    await until(() => socket.destroyed || socket.readableEnded, "the socket is closed");
    expect(text()).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    expect(refusals.map((refusal) => refusal.cause)).toEqual([cause]);
    expect(handler.opened).toEqual([]);
    await until(() => transport.pendingFiles === 0, "no file is pending");
  });

  it.each(["GET", "POST", "HEAD"])("answers a plain %s with 426", async (method) => {
    const { socket, text } = raw();
    socket.write(request({ Host: "localhost" }, method));
    await until(() => socket.destroyed || socket.readableEnded, "the socket is closed");
    expect(text()).toMatch(/^HTTP\/1\.1 426 /);
    expect(refusals[0]!.cause).toBe("not_websocket");
  });

  it("counts a socket as a pending file until it has upgraded", async () => {
    const silent = raw();
    await until(() => transport.pendingFiles === 1, "it is pending");
    silent.socket.destroy();
    await until(() => transport.pendingFiles === 0, "it has gone");
    const { socket } = await upgraded();
    expect(transport.pendingFiles).toBe(0);
    socket.destroy();
    await until(() => handler.closed.length === 1, "it is closed");
    expect(transport.pendingFiles).toBe(0);
  });

  it("counts no file twice for a socket that asks again, in order, behind a refusal", async () => {
    const { socket } = raw();
    socket.write(request({ ...UPGRADE, Upgrade: "foo" }) + request(UPGRADE));
    // uWebSockets.js serves what was already sent behind a request whose answer closes.
    await until(() => handler.opened.length === 1, "the second request is served");
    expect([refusals.length, transport.pendingFiles]).toEqual([1, 0]);
    socket.destroy();
    await until(() => handler.closed.length === 1, "it is closed");
    expect(transport.pendingFiles).toBe(0);
  });

  it("row 29: tells a text message as a fault and hands over none of it", async () => {
    const peer = await WebSocketPeer.connect(`ws://127.0.0.1:${port}/`);
    peer.sendText("text");
    await until(() => handler.faults.length === 1, "the fault is told");
    expect(handler.faults[0]!.fault).toBe("text_message");
    expect(handler.chunks(handler.opened[0]!)).toEqual([]);
    peer.destroy();
  });

  it("tells an empty message as a fault, whether text or not", async () => {
    const peer = await WebSocketPeer.connect(`ws://127.0.0.1:${port}/`);
    peer.send(Buffer.alloc(0));
    peer.sendText("");
    await until(() => handler.faults.length === 2, "the faults are told");
    expect(handler.faults.map(({ fault }) => fault)).toEqual(["empty_message", "text_message"]);
    peer.destroy();
  });

  it("tells a ping and a pong as signs, which are no bytes", async () => {
    const { socket, channel } = await upgraded();
    socket.write(webSocketFrame({ opcode: OPCODE.PING, payload: "p" }));
    socket.write(webSocketFrame({ opcode: OPCODE.PONG }));
    await until(() => handler.signs === 2, "both are told");
    expect(handler.receivedBytes(channel)).toBe(0);
  });

  const violations: [string, Buffer][] = [
    ["a fragmented ping", webSocketFrame({ opcode: OPCODE.PING, fin: false })],
    ["a ping of 126 bytes", webSocketFrame({ opcode: OPCODE.PING, payload: "x".repeat(126) })],
    ["opcode 3", webSocketFrame({ opcode: 3, payload: "x" })],
    ["RSV1 without an extension", webSocketFrame({ opcode: OPCODE.BINARY, payload: "x", rsv: 4 })],
    ["a continuation of nothing", webSocketFrame({ opcode: OPCODE.CONTINUATION, payload: "x" })],
    ["text that is no UTF-8", webSocketFrame({ opcode: OPCODE.TEXT, payload: Buffer.from([255]) })],
  ];

  it.each(violations)("row 27: ends the connection as malformed after %s", async (_what, frame) => {
    const { socket, channel } = await upgraded();
    socket.write(frame);
    await until(() => handler.closed.length === 1, "it is closed");
    expect(handler.endOf(channel)).toBe("malformed");
    expect(handler.closed[0]!.detail).not.toBe("");
    expect(handler.receivedBytes(channel)).toBe(0);
  });

  it("row 28: ends the connection as malformed at a message above its limit", async () => {
    const { socket, channel } = await upgraded();
    const payload = Buffer.alloc(1_048_577);
    socket.write(webSocketFrame({ opcode: OPCODE.BINARY, payload }).subarray(0, 100));
    await until(() => handler.closed.length === 1, "it is closed");
    expect(handler.endOf(channel)).toBe("malformed");
  });

  it.each([1000, 1001, 1011, 3000, 3999, 4000, 4999])(
    "ends in order at close code %i",
    async (code) => {
      const { socket, channel } = await upgraded();
      socket.write(closeFrame(code));
      await until(() => handler.closed.length === 1, "it is closed");
      expect(handler.endOf(channel)).toBe("closed");
    },
  );

  it.each([0, 1, 999, 1005, 1006, 1015, 2999, 5000, 65_535])(
    "row 30: ends without an attack being seen at close code %i, which none may send",
    async (code) => {
      const { socket, channel } = await upgraded();
      socket.write(closeFrame(code));
      await until(() => handler.closed.length === 1, "it is closed");
      expect(handler.endOf(channel)).toBe("closed");
    },
  );

  it("ends in order when the peer closes its side without a close frame", async () => {
    const { socket, channel } = await upgraded();
    socket.end();
    await until(() => handler.closed.length === 1, "it is closed");
    expect(handler.endOf(channel)).toBe("closed");
  });

  it("hands over nothing that comes after it was asked to close", async () => {
    const { socket, channel } = await upgraded();
    handler.on.onChunk = () => transport.close(channel, 1000, "");
    const message = webSocketFrame({ opcode: OPCODE.BINARY, payload: "m" });
    socket.write(Buffer.concat([message, message, message]));
    await until(() => handler.closed.length === 1, "it is closed");
    await pass(20);
    expect(handler.receivedBytes(channel)).toBe(1);
  });

  it("names the library that it uses", () => {
    expect(transport.library).toMatch(/^\S+ \d+\.\d+\.\d+$/);
  });
});
