// The client library and the server, over every kind of connection that they share.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Client } from "../../src/client/client.ts";
import type { ClientOptions } from "../../src/client/client-options.ts";
import { connect } from "../../src/client/node.ts";
import type { PartialOptions } from "../../src/config/options.ts";
import { StatusError } from "../../src/server/router.ts";
import { Server, type ServerHooks } from "../../src/server/server.ts";
import { STATUS } from "../../src/wire/messages.ts";
import { Collected, watch } from "../support/client-stage.ts";

const text = (payload: Uint8Array): string => new TextDecoder().decode(payload);
const FAST: ClientOptions = { reconnect: { baseMs: 10, maxMs: 50 }, callTimeoutMs: 5_000 };
const KINDS = ["tcp", "unix", "ws"] as const;
type Kind = (typeof KINDS)[number];

let folder: string;
let servers: Server[];
let clients: Client[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-pair-"));
  servers = [];
  clients = [];
});

afterEach(async () => {
  await Promise.all(clients.map((client) => client.close()));
  await Promise.all(servers.map((server) => server.stop({ hasten: true })));
  rmSync(folder, { recursive: true, force: true });
});

interface Ports {
  readonly tcp?: number;
  readonly websocket?: number;
}

async function serve(
  options: PartialOptions = {},
  hooks: ServerHooks = {},
  ports: Ports = {},
): Promise<Server> {
  const path = join(folder, `${servers.length}.sock`);
  const local = { host: "127.0.0.1" };
  const server = new Server(
    {
      ...options,
      tcp: { ...local, port: ports.tcp ?? 0 },
      websocket: { ...local, port: ports.websocket ?? 0 },
      admin: { enabled: false },
      node: { name: `node-${servers.length}` },
    },
    { hooks, listeners: [{ name: "unix", transport: { kind: "tcp", path } }], seed: 1 },
  );
  server.method("echo", (call) => call.payload);
  server.method("slow", () => new Promise((resolve) => setTimeout(() => resolve("late"), 150)));
  servers.push(server);
  await server.start();
  return server;
}

function endpointOf(server: Server, kind: Kind): string {
  const { tcp, websocket, unix } = server.addresses();
  if (kind === "tcp") return `tcp://127.0.0.1:${tcp!.port}`;
  if (kind === "ws") return `ws://127.0.0.1:${websocket!.port}/`;
  return `unix:${unix!.path}`;
}

function open(endpoint: string | string[], options: ClientOptions = FAST): Client {
  const client = connect(endpoint, options);
  clients.push(client);
  return client;
}

async function until(condition: () => boolean): Promise<void> {
  await vi.waitFor(() => expect(condition()).toBe(true), { timeout: 5_000, interval: 5 });
}

describe.each(KINDS)("client and server over %s", (kind) => {
  it("agree on who they are", async () => {
    const server = await serve();
    const client = open(endpointOf(server, kind), {
      ...FAST,
      name: "test/1",
      labels: { device: "7" },
    });
    await client.ready();
    const connection = server.connection(client.connectionId!)!;
    expect(connection.clientName).toBe("test/1");
    expect([...server.find("device", "7")]).toEqual([connection]);
    expect(client.node).toBe(server.node);
    expect(client.serverInfo).toMatchObject({ heartbeatMs: 25_000, maxFrameBytes: 65_536 });
  });

  it("exchange calls of every size, in any order, with metadata and deadlines", async () => {
    const server = await serve();
    server.method("about", (call) => {
      return JSON.stringify({ timeoutMs: call.timeoutMs, meta: call.metadata.get("trace") });
    });
    const client = open(endpointOf(server, kind));
    const sizes = [0, 1, 63, 64, 65, 1_000, 16_383, 16_384, 40_000, 65_000];
    const slow = client.call("slow");
    const answers = await Promise.all(
      sizes.map((size) => client.call("echo", new Uint8Array(size).fill(size))),
    );
    expect(answers.map(({ length }) => length)).toEqual(sizes);
    for (const [index, answer] of answers.entries()) {
      expect(answer.every((byte) => byte === (sizes[index]! & 0xff))).toBe(true);
    }
    expect(text(await slow)).toBe("late");
    const about = await client.call("about", "", { timeoutMs: 2_000, metadata: { trace: "x" } });
    expect(JSON.parse(text(about))).toEqual({ timeoutMs: 2_000, meta: "x" });
  });

  it("exchange thousands of calls", async () => {
    const client = open(endpointOf(await serve(), kind));
    for (let round = 0; round < 10; round++) {
      const calls = Array.from({ length: 500 }, (_, index) => client.call("echo", `${index}`));
      const answers = (await Promise.all(calls)).map(text);
      expect(answers).toEqual(Array.from({ length: 500 }, (_, index) => `${index}`));
    }
  });

  it("agree on failures", async () => {
    const server = await serve();
    server.method("refuse", () => {
      const options = { retryable: true, retryAfterMs: 70 };
      throw new StatusError(STATUS.FAILED_PRECONDITION, "not now", options);
    });
    server.method("never", () => new Promise(() => {}));
    const client = open(endpointOf(server, kind));
    await expect(client.call("nothing")).rejects.toMatchObject({ statusName: "UNIMPLEMENTED" });
    await expect(client.call("refuse")).rejects.toMatchObject({
      statusName: "FAILED_PRECONDITION",
      message: 'call "refuse": FAILED_PRECONDITION: not now',
      retryable: true,
      retryAfterMs: 70,
    });
    const late = await client
      .call("never", "", { timeoutMs: 100 })
      .catch((error: unknown) => error);
    const { code, status } = late as { code: string; status?: number };
    expect(code === "HOLDFAST_CALL_TIMEOUT" || status === STATUS.DEADLINE_EXCEEDED).toBe(true);
    await expect(client.call("echo", new Uint8Array(70_000))).rejects.toMatchObject({
      code: "HOLDFAST_FRAME_TOO_LARGE",
    });
    await expect(client.subscribe("t".repeat(300))).rejects.toMatchObject({
      statusName: "INVALID_ARGUMENT",
    });
    expect(text(await client.call("echo", "unharmed"))).toBe("unharmed");
  });

  it("publish and subscribe in order, the publisher included", async () => {
    const server = await serve();
    const [a, b] = [open(endpointOf(server, kind)), open(endpointOf(server, kind))];
    const collected = [
      new Collected(await a.subscribe("t")),
      new Collected(await b.subscribe("t")),
      new Collected(await b.subscribe("t")),
    ];
    expect(server.topics.subscribersOf("t")).toBe(2);
    for (let count = 1; count <= 100; count++) void a.publish("t", `${count}`);
    const expected = Array.from({ length: 100 }, (_, index) => `${index + 1}@${index + 1}`);
    await until(() => collected.every(({ items }) => items.length === 100));
    for (const { items } of collected) expect(items).toEqual(expected);
    await Promise.all([a.close(), b.close()]);
    await until(() => server.topics.subscriptionCount === 0);
  });

  it("end a subscription on the server when its last reader has left", async () => {
    const server = await serve();
    const client = open(endpointOf(server, kind));
    const [first, second] = [await client.subscribe("t"), await client.subscribe("t")];
    first.unsubscribe();
    await client.call("echo");
    expect(server.topics.subscribersOf("t")).toBe(1);
    second.unsubscribe();
    await until(() => server.topics.subscribersOf("t") === 0);
  });

  it("push to one connection", async () => {
    const server = await serve();
    const client = open(endpointOf(server, kind));
    await client.ready();
    const pushes: string[] = [];
    client.onPush(({ topic, payload }) => pushes.push(`${topic} ${text(payload)}`));
    server.connection(client.connectionId!)!.send("command", "cool");
    await until(() => pushes.length === 1);
    expect(pushes).toEqual(["command cool"]);
  });

  it("part in order: the server counts a goodbye", async () => {
    const server = await serve();
    const client = open(endpointOf(server, kind));
    await client.ready();
    await client.close();
    await until(() => server.closedByReason.normal === 1);
    expect(server.closedByCause.goodbye).toBe(1);
    expect(server.shared.pool.leased).toBe(0);
  });

  it.each([
    [3505, false],
    [4001, true],
    [4999, false],
    [3005, true],
    [1000, false],
  ])("agree on close code %i: does the client come back? %s", async (code, comesBack) => {
    const server = await serve();
    const client = open(endpointOf(server, kind));
    await client.ready();
    const id = client.connectionId!;
    server.connection(id)!.disconnect({ code, text: "because" });
    if (comesBack) {
      await until(() => client.connectionId !== null && client.connectionId !== id);
    } else {
      expect(await client.closed).toEqual({ code, reason: "because" });
    }
  });

  it("survive a restart: calls wait, subscriptions come back with a gap", async () => {
    const first = await serve({ drain: { reconnectSpreadMs: 50 } });
    const second = await serve();
    const client = open([endpointOf(first, kind), endpointOf(second, kind)]);
    const collected = new Collected(await client.subscribe("t"));
    await client.publish("t", "before");
    const slow = client.call("slow");
    await client.call("echo");
    const stopping = first.stop();
    await until(() => first.state === "draining");
    // It was asked before the drain: it is answered, there.
    expect(text(await slow)).toBe("late");
    expect(text(await client.call("echo", "elsewhere"))).toBe("elsewhere");
    expect(client.node).toBe(second.node);
    await stopping;
    await client.publish("t", "after");
    await until(() => collected.items.length === 3);
    expect(collected.items).toEqual(["before@1", "gap null", "after@1"]);
  });
});

describe("the server as the client sees it", () => {
  it("keeps idle connections of every kind alive by heartbeats", async () => {
    const server = await serve({ connection: { heartbeatMs: 1_000, idleTimeoutMs: 2_100 } });
    const idle = KINDS.map((kind) => open(endpointOf(server, kind)));
    await Promise.all(idle.map((client) => client.ready()));
    const ids = idle.map(({ connectionId }) => connectionId);
    await new Promise((resolve) => setTimeout(resolve, 3_500));
    expect(idle.map(({ connectionId }) => connectionId)).toEqual(ids);
    expect(server.shared.counters.heartbeatsIn).toBeGreaterThanOrEqual(KINDS.length);
  });

  it("refuses when it is full, and takes the client when there is room", async () => {
    const server = await serve({ connection: { max: 1 }, overload: { retryAfterMs: 1_000 } });
    const first = open(endpointOf(server, "tcp"));
    await first.ready();
    const losses: Error[] = [];
    const second = open(endpointOf(server, "ws"));
    second.onState((_, error) => void (error !== null && losses.push(error)));
    await until(() => losses.length === 1);
    expect(losses[0]!.message).toMatch(/code 3004/);
    const since = performance.now();
    await first.close();
    await second.ready();
    expect(performance.now() - since).toBeGreaterThan(800);
  });

  it("drops events of a slow reader and says exactly how many", async () => {
    const server = await serve({ send: { policy: "drop-oldest", queueBytesMax: 262_144 } });
    const endpoint = endpointOf(server, "tcp");
    const client = open(endpoint);
    const subscription = await client.subscribe("t");
    const payload = new Uint8Array(30_000);
    // In one turn: neither side gets to read or write in between.
    for (let count = 0; count < 2_000; count++) server.publish("t", payload);
    server.publish("t", "the last");
    let accounted = 0;
    let gaps = 0;
    for await (const message of subscription) {
      if (message.type === "gap") {
        gaps++;
        accounted += message.missed!;
        continue;
      }
      accounted++;
      expect(message.offset).toBe(accounted);
      if (message.payload.length < 30_000) break;
    }
    expect(accounted).toBe(2_001);
    expect(gaps).toBeGreaterThan(0);
  });

  it("that dies without a word is replaced by the next endpoint", async () => {
    const [first, second] = [await serve(), await serve()];
    const client = open([endpointOf(first, "tcp"), endpointOf(second, "ws")]);
    await client.ready();
    expect(client.node).toBe(first.node);
    const call = watch(client.call("slow"));
    await until(() => first.shared.counters.framesIn >= 2);
    const connection = first.connection(client.connectionId!)!;
    const { context, channel } = connection as unknown as {
      context: { transport: { reset(channel: number): void } };
      channel: number;
    };
    context.transport.reset(channel);
    await until(() => call.outcome !== "pending");
    expect(call.outcome).toMatchObject({ code: "HOLDFAST_DISCONNECTED" });
    expect(text(await client.call("echo", "x"))).toBe("x");
    expect(second.registry.all().next().done).toBe(false);
  });

  it("that gave back everything once its clients are gone", async () => {
    const server = await serve();
    const all = KINDS.flatMap((kind) =>
      Array.from({ length: 20 }, () => open(endpointOf(server, kind))),
    );
    await Promise.all(all.map((client) => client.subscribe("t")));
    await Promise.all(all.map((client, index) => client.publish("t", `${index}`)));
    await Promise.all(all.map((client) => client.close()));
    await until(() => server.closedByReason.normal === 60);
    expect(server.shared.pool.leased).toBe(0);
    expect(server.topics.count).toBe(0);
    expect(server.registry.all().next().done).toBe(true);
  });
});
