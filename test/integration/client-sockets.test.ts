// The client over real sockets against a server that misbehaves as real ones do.

import { Buffer } from "node:buffer";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { WebSocket } from "ws";
import { connect as connectBrowser } from "../../src/client/browser.ts";
import type { Client } from "../../src/client/client.ts";
import type { ClientOptions } from "../../src/client/client-options.ts";
import { type ClientTransport, connect } from "../../src/client/node.ts";
import { Collected, watch } from "../support/client-stage.ts";
import { FakeServer, frames, honest, type Script, silent } from "../support/fake-server.ts";
import { LOADABLE_TRANSPORTS } from "../support/native.ts";

const text = (payload: Uint8Array): string => new TextDecoder().decode(payload);
const FAST: ClientOptions = { reconnect: { baseMs: 5, maxMs: 20 }, callTimeoutMs: 5_000 };

type Kind = "tcp" | "unix" | "ws";
let folder: string;
let servers: FakeServer[];
let clients: Client[];
let transport: ClientTransport;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-client-"));
  servers = [];
  clients = [];
  transport = "auto";
});

afterEach(async () => {
  await Promise.all(clients.map((client) => client.close()));
  for (const server of servers) server.close();
  rmSync(folder, { recursive: true, force: true });
});

async function serve(kind: Kind, script: Script = honest): Promise<FakeServer> {
  const server = new FakeServer(script);
  servers.push(server);
  if (kind === "ws") return server.listenWebSocket();
  return server.listenTcp(kind === "unix" ? join(folder, "holdfast.sock") : undefined);
}

function open(endpoint: string | string[], options: ClientOptions = FAST): Client {
  const client = connect(endpoint, options, { transport });
  clients.push(client);
  return client;
}

/** Resolves with what the client lost its next connection to. */
function loss(client: Client): Promise<Error> {
  return new Promise((resolve) => {
    const stop = client.onState((_, error) => {
      if (error === null) return;
      stop();
      resolve(error);
    });
  });
}

async function until(condition: () => boolean): Promise<void> {
  await vi.waitFor(() => expect(condition()).toBe(true), { timeout: 5_000, interval: 5 });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

describe.each([
  ["tcp", "tcp-net"],
  ["tcp", "tcp-epoll"],
  ["unix", "tcp-net"],
  ["unix", "tcp-epoll"],
  ["ws", "auto"],
] as const)("over %s by %s", (kind, by) => {
  beforeEach(() => {
    transport = by;
  });

  it("calls, publishes, subscribes, hears pushes and closes in order", async () => {
    const server = await serve(kind);
    const client = open(server.endpoint);
    await client.ready();
    expect(text(await client.call("echo", "hello"))).toBe("hello");
    const big = Uint8Array.from({ length: 60_000 }, (_, index) => index);
    expect(await client.call("echo", big)).toEqual(big);
    await client.publish("t", "x");
    const collected = new Collected(await client.subscribe("t"));
    const pushes: string[] = [];
    client.onPush(({ topic, payload }) => pushes.push(`${topic} ${text(payload)}`));
    server.peer.send(frames.event("t", "a", 1), frames.event("me", "b", 0), frames.heartbeat);
    await until(() => server.peer.heartbeats === 1);
    expect([collected.items, pushes]).toEqual([["a@1"], ["me b"]]);
    await client.close();
    await until(() => server.peer.left !== null);
    expect(server.peer.left).toBe("closed");
    expect(server.peer.messages.at(-1)!.body).toBe("goodbye");
    if (kind === "ws") expect(server.peer.leftCode).toBe(1000);
  });

  it("survives a reset with calls in flight", async () => {
    const server = await serve(kind, silent);
    const client = open(server.endpoint);
    await client.ready();
    const lost = loss(client);
    const call = watch(client.call("m"));
    await until(() => server.peer.of("call").length === 1);
    server.script = honest;
    server.peer.reset();
    expect(await lost).toMatchObject({ code: "HOLDFAST_DISCONNECTED" });
    await until(() => call.outcome !== "pending");
    expect(call.outcome).toMatchObject({ code: "HOLDFAST_DISCONNECTED" });
    expect(text(await client.call("echo", "again"))).toBe("again");
    expect(server.peers.length).toBe(2);
  });

  it("survives a close inside a frame", async () => {
    const server = await serve(kind);
    const client = open(server.endpoint);
    await client.ready();
    const lost = loss(client);
    server.peer.send(frames.event("t", "x", 1).subarray(0, 7));
    server.peer.end(3008);
    await lost;
    expect(text(await client.call("echo", "again"))).toBe("again");
  });

  it("drops a server that sends what is no frame", async () => {
    const server = await serve(kind);
    const client = open(server.endpoint);
    await client.ready();
    const lost = loss(client);
    server.peer.send(Buffer.from("HTTP/1.1 200 OK\r\n\r\n"));
    expect(await lost).toMatchObject({ code: "HOLDFAST_PROTOCOL" });
    await until(() => server.peers[0]!.left === "cut" || kind !== "ws");
    expect(text(await client.call("echo", "again"))).toBe("again");
  });

  it("takes frames that come a byte at a time", async () => {
    const server = await serve(kind);
    const client = open(server.endpoint);
    await client.ready();
    const collected = new Collected(await client.subscribe("t"));
    const bytes = Buffer.concat([frames.event("t", "slow", 1), frames.event("t", "er", 2)]);
    if (kind === "ws") {
      server.peer.send(bytes);
    } else {
      for (const byte of bytes) {
        server.peer.send(Buffer.from([byte]));
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
    await until(() => collected.items.length === 2);
    expect(collected.items).toEqual(["slow@1", "er@2"]);
  });

  it("gives up on a server that accepts and stays silent", async () => {
    const server = await serve(kind, () => {});
    const client = open(server.endpoint, { ...FAST, handshakeTimeoutMs: 50 });
    expect((await loss(client)).message).toMatch(/no Welcome within 50 ms/);
    await until(() => server.peers.length > 1);
  });

  it("notices a server that falls silent", async () => {
    const server = await serve(kind, (peer, { id }) =>
      peer.send(frames.welcome(id, { heartbeatMs: 40 })),
    );
    const client = open(server.endpoint);
    expect((await loss(client)).message).toMatch(/nothing was heard for \d+ ms/);
  });

  it("does not come back where it was closed for good", async () => {
    const server = await serve(kind);
    const client = open(server.endpoint);
    await client.ready();
    server.peer.send(frames.goAway(3505, "replaced"));
    server.peer.end(3505, "replaced");
    expect(await client.closed).toEqual({ code: 3505, reason: "replaced" });
    await expect(client.call("m")).rejects.toThrow(/code 3505: replaced/);
    expect(server.peers.length).toBe(1);
  });

  it("aborts a connection when the client is closed while it is handshaking", async () => {
    const server = await serve(kind, () => {});
    const client = open(server.endpoint);
    await until(() => client.state === "handshaking" && server.peers.length === 1);
    await client.close();
    expect(client.state).toBe("closed");
    await until(() => server.peer.left !== null);
  });

  it("refuses calls while the server reads nothing, and holds no more than it may", async () => {
    const server = await serve(kind, (peer, message) => {
      honest(peer, message);
      if (message.body === "hello") peer.pause();
    });
    const client = open(server.endpoint, { ...FAST, sendBytesMax: 200_000 });
    await client.ready();
    let refused: unknown = null;
    const payload = new Uint8Array(50_000);
    for (let count = 0; count < 2_000 && refused === null; count++) {
      client.call("m", payload).catch((error: { status?: number }) => {
        if (error.status === 8) refused ??= error;
      });
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(refused).toMatchObject({ code: "HOLDFAST_CALL_FAILED", retryable: true });
    server.peer.resume();
    await until(() => server.peer.of("call").length > 1);
  });
});

describe("over a WebSocket", () => {
  it("a text message is a breach", async () => {
    const server = await serve("ws");
    const client = open(server.endpoint);
    await client.ready();
    const lost = loss(client);
    server.peer.sendText("hello");
    expect((await lost).message).toMatch(/a text message/);
  });

  it.each([1001, 3000, 3003])("close code %i lets it come back", async (code) => {
    const server = await serve("ws");
    const client = open(server.endpoint);
    await client.ready();
    const lost = loss(client);
    server.peer.end(code, "because");
    expect((await lost).message).toMatch(new RegExp(`because \\(code ${code}\\)$`));
    await client.ready();
    expect(server.peers.length).toBe(2);
  });

  it.each([
    ["chooses another subprotocol", "other.v1"],
    ["chooses none", false],
  ] as const)("a server that %s is not spoken to", async (_, subprotocol) => {
    const server = new FakeServer();
    servers.push(server);
    await server.listenWebSocket(subprotocol);
    const client = open(server.endpoint);
    expect((await loss(client)).message).toMatch(/subprotocol/i);
    expect(server.peers.flatMap(({ messages }) => messages)).toEqual([]);
  });

  it("an upgrade that is refused is a failed attempt", async () => {
    const http = createServer((socket) => {
      socket.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    });
    await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
    const { port } = http.address() as { port: number };
    const client = open(`ws://127.0.0.1:${port}`);
    expect(await loss(client)).toMatchObject({
      code: "HOLDFAST_CONNECT_FAILED",
      message: expect.stringMatching(/403/) as string,
    });
    http.close();
  });

  it("a message larger than anything honest is a lost connection, not lost memory", async () => {
    const server = await serve("ws");
    const client = open(server.endpoint);
    await client.ready();
    const lost = loss(client);
    server.peer.send(Buffer.alloc(5 * 1_048_576));
    expect((await lost).message).toMatch(/max payload size exceeded/i);
    await client.ready();
    expect(server.peers.length).toBe(2);
  });
});

describe.each(LOADABLE_TRANSPORTS)("a host that is not there, by %s", (by) => {
  beforeEach(() => {
    transport = by;
  });

  it.each([
    ["tcp", (port: number) => `tcp://127.0.0.1:${port}`],
    ["tls", (port: number) => `tls://127.0.0.1:${port}`],
    ["ws", (port: number) => `ws://127.0.0.1:${port}/`],
    ["wss", (port: number) => `wss://127.0.0.1:${port}/`],
    ["unix", () => `unix:${join(folder, "nothing.sock")}`],
    ["unix, with a name that is too long", () => `unix:/${"x".repeat(500)}`],
  ])("is an attempt that failed, over %s", async (_, endpoint) => {
    const client = open(endpoint(await freePort()), { reconnect: false });
    await expect(client.ready()).rejects.toMatchObject({ code: "HOLDFAST_CONNECT_FAILED" });
    expect(client.state).toBe("closed");
  });

  it("is left for the next endpoint, whatever its kind", async () => {
    const [unix, ws] = [await serve("unix"), await serve("ws")];
    const gone = `tcp://127.0.0.1:${await freePort()}`;
    const client = open([gone, unix.endpoint, ws.endpoint]);
    await client.ready();
    expect([unix.peers.length, ws.peers.length]).toEqual([1, 0]);
    unix.close();
    unix.peer.reset();
    await until(() => ws.peers.length === 1);
    expect(text(await client.call("echo", "moved"))).toBe("moved");
  });

  it("does not speak TLS: the attempt fails", async () => {
    const server = await serve("tcp");
    const client = open(server.endpoint.replace("tcp:", "tls:"), {
      reconnect: false,
      connectTimeoutMs: 100,
    });
    await expect(client.ready()).rejects.toMatchObject({ code: "HOLDFAST_CONNECT_FAILED" });
  });
});

describe("the browser's entry", () => {
  afterEach(() => vi.unstubAllGlobals());

  it("works over the standard WebSocket", async () => {
    vi.stubGlobal("WebSocket", WebSocket);
    const server = await serve("ws");
    const client = connectBrowser(server.endpoint, FAST);
    clients.push(client);
    await client.ready();
    expect(text(await client.call("echo", "from a page"))).toBe("from a page");
    const collected = new Collected(await client.subscribe("t"));
    server.peer.send(frames.event("t", "x", 1));
    await until(() => collected.items.length === 1);
    await client.close();
    expect(await client.closed).toEqual({ code: 1000, reason: "closed by the user" });
  });

  it("cuts a connection although the standard has no way to, and comes back", async () => {
    class Standard extends WebSocket {}
    Object.defineProperty(Standard.prototype, "terminate", { value: undefined });
    vi.stubGlobal("WebSocket", Standard);
    const server = await serve("ws");
    const client = connectBrowser(server.endpoint, FAST);
    clients.push(client);
    await client.ready();
    const lost = loss(client);
    server.peer.send(frames.garbage());
    expect(await lost).toMatchObject({ code: "HOLDFAST_PROTOCOL" });
    await client.ready();
    expect(server.peers.length).toBe(2);
  });

  it.each(["tcp://127.0.0.1:1", "tls://127.0.0.1:1", "unix:/x", "http://127.0.0.1:1"])(
    "refuses %s",
    (endpoint) => {
      expect(() => connectBrowser(endpoint)).toThrow(/needs one of the schemes ws, wss/);
    },
  );

  it("drops a server that ignores the subprotocol, which the standard allows", async () => {
    class Standard extends WebSocket {}
    Object.defineProperty(Standard.prototype, "protocol", { get: () => "" });
    vi.stubGlobal("WebSocket", Standard);
    const server = await serve("ws");
    const client = connectBrowser(server.endpoint, FAST);
    clients.push(client);
    expect(await loss(client)).toMatchObject({ code: "HOLDFAST_PROTOCOL" });
    expect(server.peers.flatMap(({ messages }) => messages)).toEqual([]);
  });

  it("can be closed before the platform has refused", async () => {
    vi.stubGlobal("WebSocket", undefined);
    const client = connectBrowser("ws://127.0.0.1:1");
    await client.close();
    await new Promise((resolve) => setImmediate(resolve));
    expect(await client.closed).toEqual({ code: 1000, reason: "closed by the user" });
  });

  it("says so where there is no WebSocket at all", async () => {
    vi.stubGlobal("WebSocket", undefined);
    const client = connectBrowser("ws://127.0.0.1:1", { reconnect: false });
    await expect(client.ready()).rejects.toThrow(/there is no global WebSocket here/);
  });

  it("takes a URL that the platform refuses for a failed attempt", async () => {
    vi.stubGlobal(
      "WebSocket",
      class {
        constructor() {
          throw new SyntaxError("insecure");
        }
      },
    );
    const client = connectBrowser("ws://127.0.0.1:1", { reconnect: false });
    await expect(client.ready()).rejects.toMatchObject({
      code: "HOLDFAST_CONNECT_FAILED",
      message: expect.stringMatching(/insecure/) as string,
    });
  });
});
