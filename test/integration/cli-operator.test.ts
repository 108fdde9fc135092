// The commands of operators against a real server of one process: what a person reads, what a
// program reads, and what is said when it does not work.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server as HttpServer } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it, onTestFinished } from "vitest";
import { runCommandLine } from "../../src/cli/command-line.ts";
import type { PartialOptions } from "../../src/config/options.ts";
import { Server } from "../../src/server/server.ts";
import { RawClient } from "../support/raw-client.ts";

const LOOPBACK = "127.0.0.1";
const servers: Server[] = [];

async function started(options: PartialOptions = {}): Promise<Server> {
  const server = new Server({
    tcp: { host: LOOPBACK, port: 0 },
    websocket: { enabled: false },
    admin: { port: 0 },
    ...options,
  });
  server.method("echo", (request) => request.payload);
  servers.push(server);
  await server.start();
  return server;
}

afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop({ hasten: true });
});

interface Run {
  readonly code: number;
  readonly out: string;
  readonly error: string;
}

async function run(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  isInteractive: boolean = false,
): Promise<Run> {
  let [out, error] = ["", ""];
  const code = await runCommandLine(args, {
    env,
    isInteractive,
    columns: 100,
    write: (text) => void (out += text),
    writeError: (text) => void (error += text),
  });
  return { code, out, error };
}

const urlOf = (server: Server): string => `http://${LOOPBACK}:${server.addresses()["admin"]!.port}`;

/** @param name what it calls itself. */
async function tcpClient(server: Server, name: string = "test"): Promise<RawClient> {
  const { port } = server.addresses()["tcp"]!;
  const client = await RawClient.active({ port, transport: "tcp" });
  Object.defineProperty([...server.registry.all()].at(-1)!, "clientName", { value: name });
  return client;
}

/** Something that is no Holdfast server. */
async function other(answer: (http: HttpServer) => void): Promise<string> {
  const http = createServer();
  answer(http);
  await new Promise<void>((resolve) => http.listen(0, LOOPBACK, resolve));
  onTestFinished(() => {
    http.closeAllConnections();
    http.close();
  });
  return `http://${LOOPBACK}:${(http.address() as AddressInfo).port}`;
}

describe("holdfast stats", () => {
  it("is a short page for people", async () => {
    const server = await started();
    const client = await tcpClient(server);
    const { code, out, error } = await run(["stats", "--admin", urlOf(server)], {}, true);
    expect({ code, error }).toEqual({ code: 0, error: "" });
    expect(out).toMatch(/Holdfast \d+\.\d+\.\d+, serving, up /);
    expect(out).toMatch(/^connections +1 of [\d,]+; /m);
    expect(out).toContain("0 stalls");
    const lines = out.split("\n");
    expect(lines.length).toBeLessThan(15);
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(100);
    await client.leave();
  });

  it("is the answer as it is with --json", async () => {
    const server = await started();
    const { code, out } = await run(["stats", "--json", "--admin", urlOf(server)]);
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ schema: "holdfast.stats/1", node: server.node });
  });

  it("finds the server by its options: flags, environment, file", async () => {
    const server = await started();
    const { port } = server.addresses()["admin"]!;
    expect((await run(["stats", "--admin-port", `${port}`])).code).toBe(0);
    expect((await run(["stats"], { HOLDFAST_ADMIN_PORT: `${port}` })).code).toBe(0);
    const folder = mkdtempSync(join(tmpdir(), "holdfast-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const file = join(folder, "holdfast.yaml");
    // It listens everywhere and is asked on loopback.
    writeFileSync(file, `admin:\n  host: 0.0.0.0\n  port: ${port}\n`);
    expect((await run(["stats", "--config", file])).code).toBe(0);
    writeFileSync(file, "admin:\n  prot: 1\n");
    expect(await run(["stats", "--config", file])).toMatchObject({ code: 2, out: "" });
    // Whoever says where needs no file that is in order.
    expect((await run(["stats", "--config", file, "--admin", urlOf(server)])).code).toBe(0);
  });
});

describe("holdfast connections", () => {
  it("is a table, in which no client's name drives the terminal", async () => {
    const server = await started();
    const client = await tcpClient(server, "\u001b[2Jboo\u009b31m");
    const { code, out } = await run(["connections", "--admin", urlOf(server)], {}, true);
    expect(code).toBe(0);
    expect(out).toMatch(/^id +state +transport/);
    expect(out).toContain("?[2Jboo?31m");
    expect(out).toContain("1 of 1\n");
    expect(out).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
    await client.leave();
  });

  it("shows one by its id, and says when there is none", async () => {
    const server = await started();
    const client = await tcpClient(server, "one\u009b");
    const [{ id } = { id: "" }] = [...server.registry.all()];
    const found = await run(["connections", id, "--admin", urlOf(server)]);
    expect(JSON.parse(found.out)).toMatchObject({ id, closed: false, client: "one\u009b" });
    expect(found.out).not.toContain("\u009b");
    const none = await run(["connections", "zz-0", "--admin", urlOf(server)]);
    expect(none).toMatchObject({ code: 1, out: "" });
    expect(none.error).toContain("no open connection has this id");
    await client.leave();
  });

  it.each([
    [["--sort", "size"], "sort is"],
    [["--limit", "0"], "limit is"],
    [["--limit", "many"], "limit is"],
    [["--state", "flying"], "state is"],
    [["--transport", "udp"], "transport is"],
  ])("refuses %j as the server does", async (flags, text) => {
    const server = await started();
    const { code, out, error } = await run(["connections", ...flags, "--admin", urlOf(server)]);
    expect({ code, out }).toEqual({ code: 2, out: "" });
    expect(error).toContain(text);
  });
});

describe("holdfast kick", () => {
  it("disconnects the one it names", async () => {
    const server = await started();
    const client = await tcpClient(server);
    const { id } = [...server.registry.all()][0]!;
    const { code, out } = await run(["kick", id, "--admin", urlOf(server)]);
    expect({ code, out }).toEqual({ code: 0, out: `${id} is disconnected\n` });
    await expect.poll(() => server.registry.byId(id)).toBeNull();
    await client.leave().catch(() => {});
  });

  it.each(["1-0", "../drain", "a/b", "?now=true", "%2e%2e", "\u0000"])(
    "finds nobody by %j, and does nothing else",
    async (id) => {
      const server = await started();
      const { code, out } = await run(["kick", id, "--admin", urlOf(server)]);
      expect({ code, out }).toEqual({ code: 1, out: "" });
      expect(server.state).toBe("serving");
    },
  );

  it("needs an id", async () => {
    expect(await run(["kick"])).toMatchObject({ code: 2, out: "" });
  });
});

describe("holdfast drain", () => {
  it("stops the server", async () => {
    const server = await started();
    const { code, out } = await run(["drain", "--admin", urlOf(server)]);
    expect({ code, out }).toEqual({ code: 0, out: "the server drains\n" });
    await expect.poll(() => server.state).toBe("stopped");
  });

  it("is refused where admin.control is false", async () => {
    const server = await started({ admin: { port: 0, control: false } });
    const { code, error } = await run(["drain", "--now", "--admin", urlOf(server)]);
    expect(code).toBe(1);
    expect(error).toContain("admin.control is false");
    expect(server.state).toBe("serving");
  });
});

describe("holdfast reload", () => {
  it.each([[[]], [["--wait"]], [["--json"]]])(
    "%j says that one process has no workers",
    async (flags) => {
      const server = await started();
      const { code, out, error } = await run(["reload", ...flags, "--admin", urlOf(server)]);
      expect({ code, out }).toEqual({ code: 1, out: "" });
      expect(error).toContain("workers.count");
    },
  );

  const state = {
    completed: 1,
    failed: 1,
    slots: 2,
    slotsDone: 1,
    state: "running",
    problem: null,
    past: [{ run: 2, slotsDone: 0, problem: "an earlier one" }],
  };
  const well = (run: number): object => ({ past: [{ run, slotsDone: 2, problem: null }] });
  const ill = (run: number, problem: string): object => ({
    past: [{ run, slotsDone: 0, problem }],
  });
  /** A server whose rolling restart ends as given, at the second look. */
  const restarting = (outcome: string, ends: readonly object[]): Promise<string> => {
    let looks = 0;
    return other((http) =>
      http.on("request", ({ method }, response) => {
        const isOrder = method === "POST";
        const now = isOrder ? state : { ...state, ...ends[Math.min(looks++, ends.length - 1)] };
        response.statusCode = isOrder ? 202 : 200;
        response.end(JSON.stringify(isOrder ? { order: "reload", outcome, reload: now } : now));
      }),
    );
  };

  it("--wait ends when it is over", async () => {
    const admin = await restarting("started", [{}, well(3)]);
    const { code, out } = await run(["reload", "--wait", "--admin", admin]);
    expect({ code, out }).toEqual({ code: 0, out: "2 of 2 workers replaced\n" });
  });

  it("--wait fails when it failed, and says why", async () => {
    const admin = await restarting("started", [{}, ill(3, "slot 1: no")]);
    const { code, error } = await run(["reload", "--wait", "--admin", admin]);
    expect(code).toBe(1);
    expect(error).toContain("slot 1: no");
  });

  it("--wait waits for the one after the one that was under way", async () => {
    const admin = await restarting("running", [ill(3, "too early"), well(4)]);
    expect(await run(["reload", "--wait", "--admin", admin])).toMatchObject({
      code: 0,
      out: "2 of 2 workers replaced\n",
    });
  });
});

describe("a command of operators", () => {
  it("says what to do where nobody listens", async () => {
    const probe = createTcpServer().listen(0, LOOPBACK);
    await new Promise((resolve) => probe.once("listening", resolve));
    const { port } = probe.address() as AddressInfo;
    await new Promise((resolve) => probe.close(resolve));
    const { code, out, error } = await run(["stats", "--admin-port", `${port}`]);
    expect({ code, out }).toEqual({ code: 1, out: "" });
    expect(error).toContain(`nobody listens at http://${LOOPBACK}:${port}`);
    expect(error).toContain("--admin");
  });

  it.each([
    ["a web page", "<html>"],
    ["a list", "[]"],
    ["nothing", ""],
    ["a number", "7"],
  ])("says that %s is no Holdfast server", async (_what, body) => {
    const admin = await other((http) => http.on("request", (_, response) => response.end(body)));
    const { code, error } = await run(["stats", "--admin", admin]);
    expect(code).toBe(1);
    expect(error).toContain("no Holdfast server");
  });

  it("does not take another program's JSON for statistics", async () => {
    const admin = await other((http) =>
      http.on("request", (_, response) => response.end('{"schema":"other/1"}')),
    );
    expect(await run(["stats", "--admin", admin])).toMatchObject({ code: 1, out: "" });
  });

  it("says so where the connection is cut", async () => {
    const admin = await other((http) =>
      http.on("request", (_, response) => {
        response.writeHead(200, { "content-length": "100" });
        response.write("{", () => response.destroy());
      }),
    );
    const { code, error } = await run(["stats", "--admin", admin]);
    expect(code).toBe(1);
    expect(error).toContain("gave no answer");
  });

  it.each(["", "ftp://x", "https://x", "http://x/stats", "http://", "7402"])(
    "refuses the address %j",
    async (admin) => {
      const { code, error } = await run(["stats", "--admin", admin]);
      expect(code).toBe(2);
      expect(error).toContain("--admin");
    },
  );

  it.each([
    [["--admin-port", "0"], "takes any port"],
    [["--admin-port", "seven"], "admin.port must be"],
    [["--admin-port", "70000"], "admin.port must be"],
  ])("cannot be asked with %j", async (flags, text) => {
    const { code, error } = await run(["stats", ...flags]);
    expect(code).toBe(2);
    expect(error).toContain(text);
  });

  it.each([
    ["stats", "--nope"],
    ["drain", "now"],
    ["kick", "1-0", "2-0"],
    ["stats", "--limit", "1"],
  ])("refuses what it does not know: %s %s", async (...args) => {
    expect(await run(args)).toMatchObject({ code: 2, out: "" });
  });

  it.each(["stats", "connections", "drain", "kick", "reload"])("%s has help", async (name) => {
    const { code, out } = await run([name, "--help"]);
    expect(code).toBe(0);
    expect(out).toContain("--admin <address>");
    expect(out).toContain("--json");
  });
});
