// What operators see of the native transport: counts of its loop, and what the kernel says of
// single connections.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { connect } from "node:net";
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from "vitest";
import type { PartialOptions } from "../../src/config/options.ts";
import type { Connection } from "../../src/connection/connection.ts";
import { Server, type ServerParts } from "../../src/server/server.ts";
import type { StatsReport } from "../../src/server/stats.ts";
import { loadNative } from "../../src/transport/native.ts";
import { readPrometheus } from "../support/prometheus-text.ts";
import { RawClient } from "../support/raw-client.ts";
import { subscribe } from "../support/raw-message.ts";

const LOOPBACK = "127.0.0.1";

function hasAddon(): boolean {
  try {
    return loadNative().version > 0;
  } catch {
    return false;
  }
}

const servers: Server[] = [];

async function started(tcp: PartialOptions["tcp"] = {}, parts: ServerParts = {}): Promise<Server> {
  const server = new Server(
    {
      tcp: { host: LOOPBACK, port: 0, transport: "tcp-epoll", ...tcp },
      websocket: { enabled: false },
      admin: { port: 0 },
    },
    parts,
  );
  server.method("echo", (request) => request.payload);
  servers.push(server);
  await server.start();
  return server;
}

afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop({ hasten: true });
});

async function get(server: Server, path: string): Promise<string> {
  const url = `http://${LOOPBACK}:${server.addresses()["admin"]!.port}${path}`;
  const response = await fetch(url, { signal: AbortSignal.timeout(5_000) });
  return await response.text();
}

async function stats(server: Server): Promise<StatsReport> {
  return JSON.parse(await get(server, "/stats")) as StatsReport;
}

async function detail(server: Server, { id }: Connection): Promise<Record<string, unknown>> {
  return JSON.parse(await get(server, `/connections/${id}`)) as Record<string, unknown>;
}

type Value = (name: string, labels?: Record<string, string>) => number | undefined;

async function metrics(server: Server): Promise<Value> {
  const { samples } = readPrometheus(await get(server, "/metrics"));
  return (name, labels = {}) =>
    samples.find(
      (sample) =>
        sample.name === name &&
        Object.entries(labels).every(([key, text]) => sample.labels[key] === text),
    )?.value;
}

const client = (server: Server): Promise<RawClient> =>
  RawClient.active({ port: server.addresses()["tcp"]!.port, transport: "tcp" });

const onlyConnection = (server: Server): Connection => [...server.registry.all()][0]!;

/** A subscriber that has stopped reading, and has as much waiting as native code is given. */
async function slowClient(server: Server): Promise<RawClient> {
  const slow = await client(server);
  slow.send(subscribe(2, "news"));
  await slow.answer(2);
  slow.stopReading();
  const connection = [...server.registry.all()].at(-1)!;
  while (connection.backlogBytes < 100_000) {
    server.publish("news", Buffer.alloc(16_384));
    await delay(0);
  }
  return slow;
}

describe.skipIf(!hasAddon())("on tcp-epoll", () => {
  let server: Server;
  beforeEach(async () => {
    server = await started();
  });

  it("what the loop does is counted, in /stats and in /metrics alike", async () => {
    const each = await client(server);
    await each.echo("x".repeat(1_000));
    const { native, listeners, connections } = await stats(server);
    expect(listeners).toMatchObject([{ name: "tcp", transport: "tcp-epoll" }]);
    expect(connections.byTransport).toEqual({ "tcp-epoll": 1 });
    expect(native).toMatchObject({
      accepted: 1,
      sockets: 1,
      queueBytes: 0,
      queues: 0,
      acceptRefused: 0,
      acceptErrors: 0,
      connects: 0,
      staleEvents: 0,
      invalidOperations: 0,
    });
    expect(native!.bytesIn).toBe(server.shared.counters.bytesIn);
    expect(native!.bytesOut).toBe(server.shared.counters.bytesOut);
    expect(native!.batches).toBeGreaterThanOrEqual(3);
    expect(native!.events).toBeGreaterThanOrEqual(native!.batches);
    const value = await metrics(server);
    expect(value("holdfast_listeners", { transport: "tcp-epoll" })).toBe(1);
    expect(value("holdfast_listeners", { transport: "tcp-net" })).toBe(0);
    expect(value("holdfast_connections", { transport: "tcp-epoll", state: "active" })).toBe(1);
    expect(value("holdfast_native_bytes_total", { direction: "in" })).toBe(native!.bytesIn);
    expect(value("holdfast_native_system_calls_total", { call: "write" })).toBe(native!.writes);
    expect(value("holdfast_native_again_total", { call: "read" })).toBe(native!.readAgain);
    expect(value("holdfast_native_accepted_total")).toBe(1);
    expect(value("holdfast_native_invalid_operations_total")).toBe(0);
    expect(value("holdfast_native_batch_events_count")).toBe(native!.batches);
    expect(value("holdfast_native_batch_events_sum")).toBe(native!.events);
    expect(value("holdfast_native_batch_events_bucket", { le: "512" })).toBe(native!.batches);
    await each.leave();
  });

  it("what the kernel does not take is a queue, until its reader has gone", async () => {
    const slow = await slowClient(server);
    const { native } = await stats(server);
    expect(native).toMatchObject({ queues: 1 });
    expect(native!.queueBytes).toBeGreaterThan(0);
    const value = await metrics(server);
    expect(value("holdfast_native_queue_bytes")).toBe(native!.queueBytes);
    slow.reset();
    await expect
      .poll(async () => (await stats(server)).native)
      .toMatchObject({
        queues: 0,
        queueBytes: 0,
        sockets: 0,
      });
  });

  it("a connection in detail shows what the kernel says of it", async () => {
    const each = await client(server);
    await each.echo();
    const { tcp } = await detail(server, onlyConnection(server));
    expect(tcp).toEqual({
      rttMs: expect.any(Number),
      rttVarianceMs: expect.any(Number),
      retransmits: expect.any(Number),
      unackedBytes: expect.any(Number),
      unsentBytes: 0,
    });
    const { rttMs } = tcp as { rttMs: number };
    expect(rttMs).toBeGreaterThan(0);
    expect(rttMs).toBeLessThan(1_000);
    await each.leave();
  });

  it("bytes that a peer does not take show as unsent or not acknowledged", async () => {
    const slow = await slowClient(server);
    const { tcp } = await detail(server, onlyConnection(server));
    const { unackedBytes, unsentBytes } = tcp as { unackedBytes: number; unsentBytes: number };
    expect(unackedBytes + unsentBytes).toBeGreaterThan(10_000);
    slow.reset();
  });

  it("one that has closed has nothing of the kind", async () => {
    const each = await client(server);
    const connection = onlyConnection(server);
    each.reset();
    await expect.poll(() => server.registry.byId(connection.id)).toBeNull();
    const closed = await detail(server, connection);
    expect(closed).toMatchObject({ closed: true });
    expect(closed).not.toHaveProperty("tcp");
  });

  it("once a second the slowest are asked, and some others", async () => {
    const usual = await client(server);
    const slow = await slowClient(server);
    const key = "holdfast_tcp_rtt_seconds_count";
    const counted = async (): Promise<(number | undefined)[]> => {
      const value = await metrics(server);
      return ["slowest", "usual"].map((sample) => value(key, { sample }));
    };
    await expect.poll(counted, { timeout: 5_000, interval: 50 }).toEqual([1, 2]);
    const value = await metrics(server);
    const slowest = { sample: "slowest" };
    expect(value("holdfast_tcp_under_way_bytes_sum", slowest)).toBeGreaterThan(10_000);
    expect(value("holdfast_tcp_retransmits_count", slowest)).toBe(1);
    slow.reset();
    await usual.leave();
  });
});

it.skipIf(!hasAddon())("a Unix socket has no such facts, and is not counted", async () => {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "socket");
  const server = await started(
    { enabled: false },
    { listeners: [{ name: "unix", transport: { kind: "tcp", transport: "tcp-epoll", path } }] },
  );
  const socket = connect(path);
  onTestFinished(() => void socket.destroy());
  await expect.poll(() => [...server.registry.all()].length).toBe(1);
  expect((await detail(server, onlyConnection(server)))["tcp"]).toBeNull();
  await delay(1_200);
  const value = await metrics(server);
  expect(value("holdfast_tcp_rtt_seconds_count", { sample: "usual" })).toBe(0);
});

describe("on tcp-net", () => {
  it("nothing is native: no counts, and nothing is known of a connection's TCP", async () => {
    const server = await started({ transport: "tcp-net" });
    const each = await client(server);
    await each.echo();
    const { native, listeners } = await stats(server);
    expect(native).toBeNull();
    expect(listeners).toMatchObject([{ name: "tcp", transport: "tcp-net" }]);
    expect((await detail(server, onlyConnection(server)))["tcp"]).toBeNull();
    const value = await metrics(server);
    expect(value("holdfast_listeners", { transport: "tcp-net" })).toBe(1);
    expect(value("holdfast_native_batch_events_count")).toBe(0);
    expect(value("holdfast_native_sockets")).toBe(0);
    await each.leave();
  });
});
