// Orders over the operators' HTTP: who may give them, what they do, and how they are refused.
import { request } from "node:http";
import { networkInterfaces } from "node:os";
import { afterEach, describe, expect, it } from "vitest";
import type { PartialOptions } from "../../src/config/options.ts";
import { Server, type ServerParts } from "../../src/server/server.ts";
import { RawClient } from "../support/raw-client.ts";

const LOOPBACK = "127.0.0.1";
const CONTROL = { "x-holdfast-control": "1" } as const;
const servers: Server[] = [];

async function started(options: PartialOptions = {}, parts: ServerParts = {}): Promise<Server> {
  const server = new Server(
    {
      ...options,
      tcp: { host: LOOPBACK, port: 0, ...options.tcp },
      websocket: { enabled: false },
      admin: { port: 0, ...options.admin },
    },
    parts,
  );
  servers.push(server);
  await server.start();
  return server;
}

afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop({ hasten: true });
});

interface Told {
  readonly status: number;
  readonly allow: string | undefined;
  readonly json: Record<string, unknown>;
}

interface Order {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly host?: string;
  readonly body?: string;
}

/** Not fetch: it would not send another Host. */
function order(server: Server, path: string, given: Order = {}): Promise<Told> {
  const { method = "POST", headers = CONTROL, host = LOOPBACK, body } = given;
  const { port } = server.addresses()["admin"]!;
  return new Promise((resolve, reject) => {
    const asked = request({ host, port, path, method, headers, timeout: 5_000 }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (part: string) => (text += part));
      response.on("end", () => {
        const { statusCode: status = 0, headers: answered } = response;
        resolve({ status, allow: answered["allow"], json: text === "" ? {} : JSON.parse(text) });
      });
    });
    asked.on("error", reject).end(body);
  });
}

const tcpClient = (server: Server): Promise<RawClient> =>
  RawClient.active({ port: server.addresses()["tcp"]!.port, transport: "tcp" });

const ORDERS = ["/drain", "/reload", "/kick/1-0"] as const;

describe("an order", () => {
  it.each(ORDERS)("%s needs its header", async (path) => {
    const server = await started();
    for (const headers of [{}, { "x-holdfast-control": "0" }, { "x-holdfast-control": "1, 1" }]) {
      const { status, json } = await order(server, path, { headers });
      expect({ status, error: json["error"] }).toEqual({
        status: 403,
        error: "control_header_missing",
      });
    }
    expect(server.state).toBe("serving");
  });

  it.each([
    ["evil.example", "forbidden_host"],
    ["127.0.0.1.evil.example", "forbidden_host"],
    ["localhost.evil.example:80", "forbidden_host"],
    ["128.0.0.1", "forbidden_host"],
    ["user@localhost", "forbidden_host"],
    ["[", "forbidden_host"],
  ])("to the host %j is none, also where admin listens on every address", async (host, error) => {
    for (const admin of [{ host: LOOPBACK }, { host: "0.0.0.0" }]) {
      const server = await started({ admin });
      const told = await order(server, "/drain", { headers: { ...CONTROL, host } });
      expect({ status: told.status, error: told.json["error"] }).toEqual({ status: 403, error });
      expect(server.state).toBe("serving");
    }
  });

  it("from a peer that is not on loopback is none", async (context) => {
    const outer = Object.values(networkInterfaces())
      .flat()
      .find((each) => each?.family === "IPv4" && !each.internal);
    if (outer === undefined) return context.skip("this machine has loopback alone");
    const server = await started({ admin: { host: "0.0.0.0" } });
    const headers = { ...CONTROL, host: "localhost" };
    const told = await order(server, "/drain", { host: outer.address, headers });
    expect(told).toMatchObject({ status: 403, json: { error: "forbidden_peer" } });
    expect(server.state).toBe("serving");
  });

  it("is none where admin.control is false, and looking is still possible", async () => {
    const server = await started({ admin: { control: false } });
    for (const path of ORDERS) {
      expect(await order(server, path)).toMatchObject({
        status: 403,
        json: { error: "control_disabled" },
      });
    }
    expect((await order(server, "/stats", { method: "GET", headers: {} })).status).toBe(200);
  });

  it.each(["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])(
    "is not given by %s",
    async (method) => {
      const server = await started();
      const told = await order(server, "/drain", { method });
      expect(told).toMatchObject({ status: 405, allow: "POST" });
      if (method !== "GET" && method !== "HEAD") {
        expect((await order(server, "/reload", { method })).allow).toBe("GET, HEAD, POST");
      }
      expect(server.state).toBe("serving");
    },
  );

  it.each([
    ["/drain?now=yes", "now"],
    ["/drain?now=true&now=true", "now"],
    ["/drain?force=1", "force"],
    ["/reload?now=true", "now"],
    ["/kick/1-0?code=1", "code"],
  ])("with the query of %s is refused", async (path, key) => {
    const server = await started();
    const { status, json } = await order(server, path);
    expect({ status, error: json["error"], key: json["key"] }).toEqual({
      status: 400,
      error: "bad_query",
      key,
    });
    expect(server.state).toBe("serving");
  });

  it.each(["/Drain", "/drain/", "/kick", "/kick2/1-0", "/shutdown", "/%64rain"])(
    "that nobody knows (%s) is not found",
    async (path) => {
      const server = await started();
      expect(await order(server, path)).toMatchObject({
        status: 404,
        json: { error: "not_found" },
      });
    },
  );
});

describe("kick", () => {
  it.each([
    "",
    "-",
    "1-0",
    "0-0",
    "1-0/..",
    "..%2f..%2fdrain",
    "%00",
    "__proto__",
    `${"z".repeat(500)}-0`,
    "1e9-0",
    "-1-0",
    "NaN-NaN",
    "1-0'--",
  ])("finds nobody by %j", async (id) => {
    const server = await started();
    expect(await order(server, `/kick/${id}`)).toMatchObject({
      status: 404,
      json: { error: "not_found" },
    });
  });

  it("disconnects the one it names, who is told to come back, and nobody else", async () => {
    const server = await started();
    const clients = [await tcpClient(server), await tcpClient(server)];
    const ids = [...server.registry.all()].map(({ id }) => id);
    // A body is not read, and does no harm.
    const body = "x".repeat(1_000);
    expect(await order(server, `/kick/${ids[0]}`, { body })).toMatchObject({
      status: 200,
      json: { kicked: ids[0] },
    });
    await expect.poll(() => server.registry.byId(ids[0]!)).toBeNull();
    expect(server.registry.byId(ids[1]!)).not.toBeNull();
    expect(server.closedRing.byId(ids[0]!)).toMatchObject({ reason: "rebalance", cause: "server" });
    expect(await order(server, `/kick/${ids[0]}`)).toMatchObject({ status: 404 });
    await Promise.all(clients.map((client) => client.leave().catch(() => {})));
  });
});

describe("drain", () => {
  it("stops the server, and answers before the admin listener goes with it", async () => {
    const server = await started();
    expect(await order(server, "/drain")).toMatchObject({
      status: 202,
      json: { order: "drain", outcome: "started" },
    });
    await expect.poll(() => server.state).toBe("stopped");
  });

  it("may come twice, and the second with now=true ends it at once", async () => {
    const server = await started({ drain: { graceMs: 60_000 } });
    const client = await tcpClient(server);
    expect((await order(server, "/drain")).json["outcome"]).toBe("started");
    expect((await order(server, "/drain")).json["outcome"]).toBe("running");
    expect(server.state).toBe("draining");
    expect((await order(server, "/drain?now=true")).json["outcome"]).toBe("running");
    await expect.poll(() => server.state).toBe("stopped");
    await client.leave().catch(() => {});
  });

  it("does what the program that runs the server wants, where that says so", async () => {
    const asked: boolean[] = [];
    const server = await started({}, { drain: (hasten) => void asked.push(hasten) });
    await order(server, "/drain");
    await order(server, "/drain?now=true");
    expect(asked).toEqual([false, true]);
    expect(server.state).toBe("serving");
  });
});

describe("reload", () => {
  it("makes no sense for one process, and says why", async () => {
    const server = await started();
    const { status, json } = await order(server, "/reload");
    expect({ status, error: json["error"] }).toEqual({ status: 409, error: "reload_refused" });
    expect(json["message"]).toContain("workers.count");
    expect(await order(server, "/reload", { method: "GET", headers: {} })).toMatchObject({
      status: 200,
      json: { state: "idle", completed: 0 },
    });
  });
});

describe("one process", () => {
  it.each(["/stats?worker=1", "/metrics?worker=7"])("has no workers: %s", async (path) => {
    const server = await started();
    expect((await order(server, path, { method: "GET" })).status).toBe(404);
  });

  it.each(["0", "-1", "1.5", "x", "", "9999999999"])("no worker is called %j", async (worker) => {
    const server = await started();
    const told = await order(server, `/stats?worker=${worker}`, { method: "GET" });
    expect(told).toMatchObject({ status: 400, json: { key: "worker" } });
  });
});
