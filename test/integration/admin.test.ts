// The operators' HTTP over real sockets: what it answers, and what it refuses.
import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { PartialOptions } from "../../src/config/options.ts";
import { METRICS } from "../../src/server/metric-table.ts";
import { Server, type ServerParts } from "../../src/server/server.ts";
import type { StatsReport } from "../../src/server/stats.ts";
import { metricOf, readPrometheus } from "../support/prometheus-text.ts";
import { RawClient } from "../support/raw-client.ts";
import { call, subscribe } from "../support/raw-message.ts";

const LOOPBACK = "127.0.0.1";
const servers: Server[] = [];

// On tcp-net, so that what is shown names the same transport everywhere.
async function started(options: PartialOptions = {}, parts: ServerParts = {}): Promise<Server> {
  const server = new Server(
    {
      ...options,
      tcp: { host: LOOPBACK, port: 0, transport: "tcp-net", ...options.tcp },
      websocket: { host: LOOPBACK, port: 0, enabled: false, ...options.websocket },
      admin: { port: 0, ...options.admin },
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

const adminPort = (server: Server): number => server.addresses()["admin"]!.port;

interface Got {
  readonly status: number;
  readonly type: string;
  readonly text: string;
  readonly json: Record<string, unknown>;
}

async function get(server: Server, path: string, init: RequestInit = {}): Promise<Got> {
  const url = `http://${LOOPBACK}:${adminPort(server)}${path}`;
  const response = await fetch(url, { ...init, signal: AbortSignal.timeout(5_000) });
  const text = await response.text();
  const type = response.headers.get("content-type") ?? "";
  const json = type.startsWith("application/json")
    ? (JSON.parse(text) as Record<string, unknown>)
    : {};
  return { status: response.status, type, text, json };
}

/** Sends bytes as they are and gives all that comes back until the server closes. */
async function raw(port: number, bytes: string, waitMs = 5_000): Promise<string> {
  const socket = connect(port, LOOPBACK);
  let answer = "";
  socket.setEncoding("latin1").on("data", (text: string) => (answer += text));
  const closed = new Promise<void>((resolve) => {
    socket.on("close", () => resolve());
    socket.on("error", () => resolve());
  });
  socket.write(bytes, "latin1");
  await Promise.race([closed, delay(waitMs)]);
  socket.destroy();
  return answer;
}

const tcpClient = (server: Server): Promise<RawClient> =>
  RawClient.active({ port: server.addresses()["tcp"]!.port, transport: "tcp" });

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 5_000;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error("it did not come true");
    await delay(5);
  }
}

describe("health and readiness", () => {
  it("is alive and ready while it serves", async () => {
    const server = await started();
    expect(await get(server, "/healthz")).toMatchObject({ status: 200, text: "ok\n" });
    expect(await get(server, "/readyz")).toMatchObject({ status: 200, text: "ready\n" });
  });

  it("is alive and not ready while it drains, until the last client has gone", async () => {
    const server = await started({ drain: { graceMs: 20_000 } });
    server.method("slow", () => new Promise(() => {}));
    const client = await tcpClient(server);
    client.send(call(2, "slow", ""));
    await until(() => [...server.registry.all()][0]?.calls === 1);
    const stopped = server.stop();
    const answer = await get(server, "/readyz");
    expect(answer.status).toBe(503);
    expect(answer.text).toMatch(/^draining: /);
    expect((await get(server, "/healthz")).status).toBe(200);
    expect((await get(server, "/stats")).json["state"]).toBe("draining");
    const url = `http://${LOOPBACK}:${adminPort(server)}/healthz`;
    client.reset();
    await stopped;
    expect(server.addresses()).toEqual({ tcp: expect.anything() });
    await expect(fetch(url)).rejects.toThrow("fetch failed");
  });

  it("is not ready while it is full, and again when somebody has left", async () => {
    const server = await started({ connection: { max: 1 } });
    const client = await tcpClient(server);
    const answer = await get(server, "/readyz");
    expect(answer.status).toBe(503);
    expect(answer.text).toMatch(/^full: /);
    expect((await get(server, "/metrics")).text).toContain("holdfast_ready 0\n");
    await client.leave();
    await until(async () => (await get(server, "/readyz")).status === 200);
  });

  it("is not ready while it does not accept or holds more than its budget", async () => {
    const server = await started({ send: { budgetBytes: 2_000_000 } });
    server.shared.budget.change(2_000_001);
    expect((await get(server, "/readyz")).text).toMatch(/^over_budget: /);
    server.shared.budget.change(-2_000_001);
    Object.defineProperty(server.admission, "isAccepting", { value: false });
    expect((await get(server, "/readyz")).text).toMatch(/^no_files: /);
  });
});

describe("/metrics", () => {
  it("has samples of known metrics and label values only, of every metric", async () => {
    const server = await started({ websocket: { enabled: true } });
    const tcp = await tcpClient(server);
    const ws = await RawClient.active({
      port: server.addresses()["websocket"]!.port,
      transport: "websocket",
    });
    await tcp.echo();
    await ws.echo();
    tcp.send(call(7, "no such method", ""));
    await tcp.answer(7);
    tcp.reset();
    await until(() => server.closedByReason.connection_lost === 1);
    const answer = await get(server, "/metrics");
    expect(answer.type).toBe("text/plain; version=0.0.4; charset=utf-8");
    const read = readPrometheus(answer.text);
    const rows = new Map(METRICS.map((row) => [row.name, row]));
    for (const { name, labels } of read.samples) {
      const { le: _le, ...own } = labels;
      const row = rows.get(metricOf(read, name));
      expect(row, name).toBeDefined();
      expect(Object.keys(own).sort()).toEqual(Object.keys(row!.labels).sort());
      for (const [label, value] of Object.entries(own)) {
        const list = row!.labels[label];
        if (list !== null) expect(list, `${name} ${label}`).toContain(value);
      }
    }
    expect([...read.types]).toEqual(METRICS.map(({ name, type }) => [name, type]));
    expect([...read.helps]).toEqual(METRICS.map(({ name, help }) => [name, help]));
    const sampled = new Set(read.samples.map(({ name }) => metricOf(read, name)));
    expect([...sampled]).toEqual(METRICS.map(({ name }) => name));
    const value = (name: string, labels: Record<string, string> = {}): number | undefined =>
      read.samples.find(
        (sample) =>
          sample.name === name &&
          Object.entries(labels).every(([key, text]) => sample.labels[key] === text),
      )?.value;
    expect(value("holdfast_connections", { state: "active", transport: "websocket" })).toBe(1);
    expect(value("holdfast_connections", { state: "active", transport: "tcp-net" })).toBe(0);
    expect(value("holdfast_connections_opened_total")).toBe(2);
    expect(value("holdfast_connections_closed_total", { reason: "connection_lost" })).toBe(1);
    expect(value("holdfast_connections_closed_cause_total", { cause: "peer_reset" })).toBe(1);
    expect(value("holdfast_calls_total", { status: "ok" })).toBe(2);
    expect(value("holdfast_calls_total", { status: "unimplemented" })).toBe(1);
    // Of synchronous calls one in sixteen is timed, the first among them.
    expect(value("holdfast_call_duration_seconds_count")).toBe(1);
    expect(value("holdfast_frames_total", { direction: "in" })).toBe(5);
    expect(value("holdfast_build_info")).toBe(1);
    expect(value("process_open_fds")).toBeGreaterThan(5);
    expect(value("process_start_time_seconds")).toBeCloseTo(
      Date.now() / 1_000 - process.uptime(),
      -1,
    );
    await ws.leave();
  });

  it("counts garbage collections while the server runs", async () => {
    const server = await started();
    const collections = async (): Promise<number> => {
      const { samples } = readPrometheus((await get(server, "/metrics")).text);
      return samples
        .filter(({ name }) => name === "nodejs_gc_duration_seconds_count")
        .reduce((sum, { value }) => sum + value, 0);
    };
    const before = await collections();
    await until(async () => {
      const garbage = Array.from({ length: 200_000 }, (_, index) => ({ index }));
      return garbage.length > 0 && (await collections()) > before;
    });
    expect(await collections()).toBeGreaterThan(before);
  });
});

describe("/stats", () => {
  it("counts connections, traffic and what the process uses", async () => {
    const server = await started({ connection: { max: 100 } });
    const clients = await Promise.all([tcpClient(server), tcpClient(server), tcpClient(server)]);
    await clients[0].echo();
    clients[0].send(subscribe(9, "news"));
    await clients[0].answer(9);
    await clients[2].leave();
    await until(() => server.closedByReason.normal === 1);
    const stats = (await get(server, "/stats")).json as unknown as StatsReport;
    expect(stats).toMatchObject({
      schema: "holdfast.stats/1",
      pid: process.pid,
      node: server.node,
      nodeVersion: process.versions.node,
      state: "serving",
      connections: { total: 2, max: 100, byTransport: { "tcp-net": 2 } },
      closedByReason: { normal: 1, idle_timeout: 0 },
      admission: { accepting: true, served: 2, turnedAway: 0 },
      topics: { count: 1, subscriptions: 1, backlog: 0 },
      memory: { timers: 2, leases: 0 },
      queue: { bytes: 0, backlogged: 0 },
      totals: { opens: 3, closes: 1, calls: 1 },
    });
    expect(stats.connections.byState).toEqual({
      accepted: 0,
      handshaking: 0,
      active: 2,
      idle: 0,
      closing: 0,
    });
    expect(stats.rates.opens).toBeGreaterThan(0);
    expect(stats.totals.framesIn).toBeGreaterThanOrEqual(5);
    expect(stats.rssBytes).toBeGreaterThan(stats.heapUsedBytes);
    expect(stats.fds).toBeGreaterThan(5);
    expect(stats.uptimeMs).toBeLessThan(60_000);
    const { port } = server.addresses()["tcp"]!;
    expect(stats.listeners).toEqual([
      { name: "tcp", transport: "tcp-net", address: `${LOOPBACK}:${port}`, library: null },
    ]);
    await Promise.all([clients[0].leave(), clients[1].leave()]);
  });

  it("has the fields of the example in docs/admin.md, no more and no fewer", async () => {
    const server = await started({ tcp: { transport: "auto" }, websocket: { enabled: true } });
    const page = readFileSync(new URL("../../docs/admin.md", import.meta.url), "utf8");
    const example = /```json\n(\{\n {2}"schema"[^`]*)```/.exec(page)?.[1];
    const stats = (await get(server, "/stats")).json;
    const expected = JSON.parse(example!) as Record<string, unknown>;
    // Where the addon could not be built.
    if (server.epollLoop === null) expected["native"] = null;
    expect(shapeOf(expected)).toEqual(shapeOf(stats));
  });
});

/** The same value with the type of each leaf in its place; arrays by their first entry. */
function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.slice(0, 1).map(shapeOf);
  if (typeof value !== "object" || value === null) return value === null ? "null" : typeof value;
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, shapeOf(entry)]));
}

interface Listed {
  readonly matching: number;
  readonly connections: readonly Record<string, unknown>[];
}

async function list(server: Server, query: string): Promise<Listed> {
  const answer = await get(server, `/connections${query}`);
  expect(answer.status).toBe(200);
  return answer.json as unknown as Listed;
}

describe("/connections", () => {
  it("shows what stands out first, and only as many as asked for", async () => {
    const server = await started();
    const clients: RawClient[] = [];
    for (const text of ["a", "b".repeat(3_000), "c".repeat(300)]) {
      const client = await tcpClient(server);
      await client.echo(text);
      clients.push(client);
    }
    const ids = [...server.registry.all()].map(({ id }) => id);
    const bytes = await list(server, "?sort=bytes&limit=2");
    expect(bytes.matching).toBe(3);
    expect(bytes.connections.map(({ id }) => id)).toEqual([ids[1], ids[2]]);
    const age = await list(server, "?sort=age");
    expect(age.connections.map(({ id }) => id)).toEqual(ids);
    expect((await list(server, "?state=idle")).matching).toBe(0);
    expect((await list(server, "?state=active&transport=tcp-net")).matching).toBe(3);
    expect((await list(server, "?transport=websocket")).connections).toEqual([]);
    await Promise.all(clients.map((client) => client.leave()));
  });

  it("shows the longest queue first, and why a connection is not read", async () => {
    const server = await started({ send: { highBytes: 50_000, lowBytes: 1_000 } });
    const [quick, slow] = [await tcpClient(server), await tcpClient(server)];
    slow.stopReading();
    const { id } = [...server.registry.all()][1]!;
    const big = Buffer.alloc(60_000);
    await until(() => {
      server.send(id, "t", big);
      return server.registry.byId(id)!.backlogBytes > 100_000;
    });
    const { connections } = await list(server, "?limit=1");
    expect(connections[0]).toMatchObject({ id, pausedBy: ["queue"], state: "active" });
    expect(connections[0]!["queueBytes"]).toBeGreaterThan(100_000);
    expect(connections[0]!["queueFrames"]).toBeGreaterThan(0);
    const detail = (await get(server, `/connections/${id}`)).json;
    expect(detail["notes"]).toEqual([
      { msBefore: expect.any(Number), text: "send queue above its high watermark" },
    ]);
    slow.reset();
    await quick.leave();
  });

  it("describes one connection while it is open and after it has closed", async () => {
    const server = await started();
    const client = await RawClient.active({
      port: server.addresses()["tcp"]!.port,
      transport: "tcp",
      labels: { fleet: "blue", __proto__x: "1" },
    });
    await client.echo("12345");
    const { id } = [...server.registry.all()][0]!;
    const open = (await get(server, `/connections/${id}`)).json;
    expect(open).toMatchObject({
      closed: false,
      id,
      state: "active",
      listener: "tcp",
      transport: "tcp-net",
      address: `${LOOPBACK}:${client.socket.localPort}`,
      labels: { fleet: "blue", __proto__x: "1" },
      framesIn: 2,
      queueBytes: 0,
      queueFrames: 0,
      pausedBy: [],
      calls: 0,
      subscriptions: 0,
      notes: [],
    });
    client.reset();
    await until(() => server.registry.byId(id) === null);
    const closed = (await get(server, `/connections/${id}`)).json;
    expect(closed).toMatchObject({
      closed: true,
      id,
      reason: "connection_lost",
      cause: "peer_reset",
      framesIn: 2,
      bytesDiscarded: 0,
    });
    const lately = (await get(server, "/closed?cause=peer_reset&limit=1")).json;
    expect(lately).toMatchObject({ matching: 1, connections: [{ id }] });
    expect((await get(server, "/closed?reason=banned")).json).toMatchObject({ matching: 0 });
  });

  it.each([
    "nobody",
    "zz-zz",
    "1-0%00",
    "%2e%2e%2fetc%2fpasswd",
    "..%5c",
    "1-0/",
    "",
    "__proto__",
    "-1--1",
  ])("knows no connection called %j", async (id) => {
    const server = await started();
    expect(await get(server, `/connections/${id}`)).toMatchObject({
      status: 404,
      json: { error: "not_found" },
    });
  });
});

describe("a request that cannot be answered", () => {
  it.each([
    ["limit=0", "limit", "0", "an integer from 1 to 1000"],
    ["limit=1001", "limit", "1001", "an integer from 1 to 1000"],
    ["limit=-1", "limit", "-1", "an integer from 1 to 1000"],
    ["limit=1e2", "limit", "1e2", "an integer from 1 to 1000"],
    ["limit=5.5", "limit", "5.5", "an integer from 1 to 1000"],
    ["limit=", "limit", "", "an integer from 1 to 1000"],
    ["limit=99999999999999999999", "limit", "99999999999999999999", "an integer from 1 to 1000"],
    ["limit=5&limit=6", "limit", "6", "an integer from 1 to 1000"],
    ["sort=size", "sort", "size", "one of queue, age, bytes"],
    ["sort=QUEUE", "sort", "QUEUE", "one of queue, age, bytes"],
    ["state=closed", "state", "closed", "one of accepted, handshaking, active, idle, closing"],
    ["transport=tcp", "transport", "tcp", "one of tcp-net, tcp-epoll, websocket, memory"],
    ["colour=red", "colour", "red", "the keys sort, limit, state, transport"],
    ["__proto__=1", "__proto__", "1", "the keys sort, limit, state, transport"],
    ["constructor", "constructor", "", "the keys sort, limit, state, transport"],
    ["=", "", "", "the keys sort, limit, state, transport"],
    ["limit=5?sort=age", "limit", "5?sort=age", "an integer from 1 to 1000"],
    ["limit=%00", "limit", "\u0000", "an integer from 1 to 1000"],
  ])("names what is wrong with /connections?%s", async (query, key, value, allowed) => {
    const answer = await get(await started(), `/connections?${query}`);
    expect(answer.status).toBe(400);
    expect(answer.json).toMatchObject({ error: "bad_query", key, value, allowed });
  });

  it.each(["/", "/healthz", "/readyz", "/reload", "/connections/1-0"])(
    "has a query where %s takes none",
    async (path) => {
      const answer = await get(await started(), `${path}?x=1`);
      expect(answer).toMatchObject({ status: 400, json: { key: "x", allowed: "no keys" } });
    },
  );

  it.each(["/stats/", "//stats", "/STATS", "/admin", "/metrics.json", "/%2fstats", "/./x"])(
    "asks for %s, which is not there",
    async (path) => {
      const { status, json } = await get(await started(), path);
      expect({ status, error: json["error"] }).toEqual({ status: 404, error: "not_found" });
    },
  );

  it.each(["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])("uses %s", async (method) => {
    const server = await started();
    const url = `http://${LOOPBACK}:${adminPort(server)}/stats`;
    const response = await fetch(url, { method });
    expect(response.status).toBe(405);
    expect(response.headers.get("allow")).toBe("GET, HEAD");
    expect(await response.json()).toMatchObject({ error: "method_not_allowed" });
  });

  it("gets no body to HEAD, and the length that GET would have", async () => {
    const server = await started();
    const url = `http://${LOOPBACK}:${adminPort(server)}/healthz`;
    const response = await fetch(url, { method: "HEAD" });
    expect(response.status).toBe(200);
    expect(response.headers.get("content-length")).toBe("3");
    expect(await response.text()).toBe("");
  });

  const host = "Host: localhost\r\n";
  it.each([
    ["an absolute target", `GET http://localhost/metrics HTTP/1.1\r\n${host}`, 400],
    ["another machine's absolute target", `GET http://example.com/ HTTP/1.1\r\n${host}`, 400],
    ["an asterisk", `OPTIONS * HTTP/1.1\r\n${host}`, 405],
    ["a target that is too long", `GET /${"a".repeat(3_000)} HTTP/1.1\r\n${host}`, 414],
    ["a header that is too long", `GET / HTTP/1.1\r\n${host}X: ${"a".repeat(9_000)}\r\n`, 431],
    ["no Host", "GET / HTTP/1.1\r\n", 400],
    ["no HTTP at all", "holdfast\r\n", 400],
    ["TLS", "\u0016\u0003\u0001\u0002\u0000", 400],
    ["a header without a name", `GET / HTTP/1.1\r\n${host}: x\r\n`, 400],
    ["two lengths", `GET / HTTP/1.1\r\n${host}Content-Length: 1\r\nContent-Length: 2\r\n`, 400],
    [
      "a length and chunks",
      `GET / HTTP/1.1\r\n${host}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n`,
      400,
    ],
  ])("is refused with its status when it has %s", async (_what, head, status) => {
    const server = await started();
    const answer = await raw(adminPort(server), `${head}Connection: close\r\n\r\n`);
    expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    expect((await get(server, "/healthz")).status).toBe(200);
  });

  it("may ask for a tunnel or an upgrade and gets neither", async () => {
    const server = await started();
    const tunnel = await raw(adminPort(server), `CONNECT example.com:443 HTTP/1.1\r\n${host}\r\n`);
    expect(tunnel).not.toContain(" 200 ");
    const headers = "Connection: Upgrade, close\r\nUpgrade: websocket\r\n";
    const upgrade = await raw(adminPort(server), `GET /healthz HTTP/1.1\r\n${host}${headers}\r\n`);
    expect(upgrade).toMatch(/^HTTP\/1\.1 200 /);
    expect((await get(server, "/healthz")).status).toBe(200);
  });

  it("is not waited for when it announces a body", async () => {
    const server = await started();
    const head = `GET /healthz HTTP/1.1\r\n${host}Content-Length: 1000000000\r\n\r\n`;
    const answer = await raw(adminPort(server), head, 2_000);
    expect(answer).toMatch(/^HTTP\/1\.1 200 [^]*connection: close/i);
  });

  it("costs an answer of 500, not the process, when answering it throws", async () => {
    const errors: string[] = [];
    const server = await started(
      {},
      {
        log: {
          debug() {},
          info() {},
          warn() {},
          error: ({ err }) => errors.push((err as Error).message),
          event() {},
        },
      },
    );
    Object.defineProperty(server.topics, "count", {
      get() {
        throw new Error("a secret defect");
      },
    });
    for (const path of ["/stats", "/metrics"]) {
      const answer = await get(server, path);
      expect(answer).toMatchObject({ status: 500, json: { error: "internal" } });
      expect(answer.text).not.toContain("secret");
    }
    expect(errors).toEqual(["a secret defect", "a secret defect"]);
    expect((await get(server, "/healthz")).status).toBe(200);
  });
});

describe("a request under a foreign name", () => {
  const named = (server: Server, name: string): Promise<string> =>
    raw(adminPort(server), `GET /stats HTTP/1.1\r\nHost: ${name}\r\nConnection: close\r\n\r\n`);

  it.each(["evil.example", "evil.example:7402", "127.0.0.1.evil.example", "10.0.0.1", "[fe80::1]"])(
    "is refused on loopback, as a page that rebinds %s would send it",
    async (name) => {
      const answer = await named(await started(), name);
      expect(answer).toMatch(/^HTTP\/1\.1 403 /);
      expect(answer).toContain("forbidden_host");
      expect(answer).not.toContain("rssBytes");
    },
  );

  it.each(["localhost", "LOCALHOST:1", "127.0.0.1:7402", "127.9.9.9", "[::1]:80"])(
    "is answered when it is one of loopback's own: %s",
    async (name) => {
      expect(await named(await started(), name)).toMatch(/^HTTP\/1\.1 200 /);
    },
  );

  it("is answered on an address that others can reach anyway", async () => {
    const server = await started({ admin: { host: "0.0.0.0" } });
    expect(await named(server, "holdfast.internal:7402")).toMatch(/^HTTP\/1\.1 200 /);
  });
});

describe("somebody who holds on to admin sockets", () => {
  const sockets: Socket[] = [];
  afterEach(() => {
    for (const socket of sockets.splice(0)) socket.destroy();
  });

  async function open(port: number): Promise<Socket> {
    const socket = connect(port, LOOPBACK);
    socket.on("error", () => {});
    sockets.push(socket);
    await new Promise((resolve) => socket.once("connect", resolve));
    return socket;
  }

  it("gets a bounded number of them, and clients' connections do not suffer", async () => {
    const server = await started();
    let closed = 0;
    for (let count = 0; count < 100; count++) {
      const socket = await open(adminPort(server));
      socket.on("close", () => closed++).resume();
    }
    await until(() => closed >= 68);
    await delay(100);
    expect(closed).toBe(68);
    const client = await tcpClient(server);
    await client.echo();
    await client.leave();
  });

  it("is cut off when its headers drip in", async () => {
    const server = await started();
    const socket = await open(adminPort(server));
    let answer = "";
    socket.setEncoding("latin1").on("data", (text: string) => (answer += text));
    const closed = new Promise((resolve) => socket.once("close", resolve));
    const start = Date.now();
    socket.write("GET / HTTP/1.1\r\n");
    const drip = setInterval(() => socket.write("X: y\r\n"), 200);
    await closed;
    clearInterval(drip);
    expect(Date.now() - start).toBeLessThan(9_000);
    expect(answer).toMatch(/^HTTP\/1\.1 408 /);
  });

  it("does not keep the server from stopping", async () => {
    const server = await started();
    const socket = await open(adminPort(server));
    socket.write("GET /stats HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await new Promise((resolve) => socket.once("data", resolve));
    await open(adminPort(server));
    const start = Date.now();
    await server.stop();
    expect(Date.now() - start).toBeLessThan(1_000);
  });
});

describe("starting", () => {
  let taken: Server;
  beforeAll(async () => {
    taken = new Server({
      tcp: { enabled: false },
      websocket: { enabled: false },
      admin: { port: 0 },
    });
    await taken.start();
  });
  afterAll(() => taken.stop());

  it("fails with nothing left open when the admin port is taken", async () => {
    const server = new Server({
      tcp: { host: LOOPBACK, port: 0 },
      websocket: { enabled: false },
      admin: { port: adminPort(taken) },
    });
    await expect(server.start()).rejects.toMatchObject({
      code: "HOLDFAST_LISTEN_FAILED",
      message: expect.stringMatching(
        /admin HTTP on 127\.0\.0\.1:\d+: EADDRINUSE: .*choose another/,
      ),
    });
    expect(server.state).toBe("stopped");
    expect(server.addresses()).not.toHaveProperty("admin");
    await server.stop();
  });

  it("closes the admin listener when another listener fails", async () => {
    const blocked = await started();
    const { port } = blocked.addresses()["tcp"]!;
    const server = new Server({
      tcp: { host: LOOPBACK, port },
      websocket: { enabled: false },
      admin: { port: 0 },
    });
    await expect(server.start()).rejects.toMatchObject({ code: "HOLDFAST_LISTEN_FAILED" });
    expect(server.addresses()).not.toHaveProperty("admin");
  });

  it("opens no admin listener where it is not enabled", async () => {
    const server = await started({ admin: { enabled: false } });
    expect(Object.keys(server.addresses())).toEqual(["tcp"]);
  });

  it("refuses a listener that is called admin", () => {
    const listeners = [{ name: "admin", transport: { kind: "memory" } }] as const;
    expect(() => new Server({}, { listeners })).toThrow(/"admin" is no name/);
  });
});
