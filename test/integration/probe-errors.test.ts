// What the probe says of servers that are none, of upgrades that fail, and of command lines that
// make no sense.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { runProbeCommandLine } from "../../src/cli/probe-command-line.ts";
import { ProbeProcess, type Reported } from "../support/probe-process.ts";
import { closedPort, startEcho, startUpgrade, switching } from "../support/probe-target.ts";
import { acceptFor } from "../support/raw-websocket.ts";

type AtEnd = (stop: () => void) => void;

const FEW = ["-c", "5", "-R", "10", "-d", "1s"];

function load(atEnd: AtEnd, ...args: readonly string[]): Promise<Reported> {
  return new ProbeProcess(["load", ...args, "--json"], atEnd).reported();
}

/** Not one connection came to be, and every attempt says why. */
function expectUnreachable({ code, report }: Reported, failure: string): void {
  expect([code, report.outcome]).toEqual([92, "unreachable"]);
  expect(report.failures.map(({ code: name, count }) => [name, count])).toEqual([[failure, 5]]);
  expect(report.stages).toHaveLength(1);
  const [{ connections, operations, latencies }] = report.stages as [
    Reported["report"]["stages"][0],
  ];
  expect(connections).toEqual({ intended: 5, held: 0, deaths: 0 });
  expect(operations.connect).toMatchObject({ scheduled: 5, started: 5, succeeded: 0, failed: 5 });
  expect([latencies.connect, operations.echo]).toEqual([undefined, undefined]);
  expect(report.sentence).toMatch(/^Unreachable: \S+: [A-Z0-9][^\n]* \([a-z_.0-9]+\)\.$/);
}

// Several probes at a time on few cores: one that is late itself says so, and is run again.
describe.concurrent("a WebSocket server", { retry: 3 }, () => {
  const holdfast = "holdfast.v1";
  const accepted = (key: string, more: Record<string, string | null> = {}): string =>
    switching({ "Sec-WebSocket-Accept": acceptFor(key), ...more });
  const answers: Record<string, [string, (key: string) => string | Buffer | null, string[]?]> = {
    "that answers 403": [
      "upgrade.status.403",
      () => "HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n\r\nnot me",
    ],
    "that answers 200, as a web site does": [
      "upgrade.status.200",
      () => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    ],
    "that answers 101 with the Accept of another key": [
      "upgrade.bad_accept",
      () => accepted("AAAAAAAAAAAAAAAAAAAAAA==", { "Sec-WebSocket-Protocol": holdfast }),
    ],
    "that answers 101 without an Accept": [
      "upgrade.bad_accept",
      () => switching({ "Sec-WebSocket-Protocol": holdfast }),
    ],
    "that answers 101 without the subprotocol": ["upgrade.bad_accept", (key) => accepted(key)],
    "that answers 101 with a subprotocol that was not offered": [
      "upgrade.bad_accept",
      (key) => accepted(key, { "Sec-WebSocket-Protocol": "chat" }),
      ["--protocol", "raw"],
    ],
    "that answers 101 with an extension that was not offered": [
      "upgrade.bad_accept",
      (key) =>
        accepted(key, {
          "Sec-WebSocket-Protocol": holdfast,
          "Sec-WebSocket-Extensions": "permessage-deflate",
        }),
    ],
    "that never answers": ["upgrade.timeout", () => null, ["--connect-timeout", "300ms"]],
    "that answers with garbage": ["upgrade.bad_response", () => "SSH-2.0-OpenSSH_9.2\r\n\r\n"],
    "whose head never ends": ["upgrade.bad_response", () => `HTTP/1.1 101 ${"x".repeat(20_000)}`],
    "that upgrades and never welcomes": [
      "hello.timeout",
      (key) => accepted(key, { "Sec-WebSocket-Protocol": holdfast }),
      ["--connect-timeout", "300ms"],
    ],
    "that upgrades and sends what is no frame": [
      "hello.malformed",
      (key) => `${accepted(key, { "Sec-WebSocket-Protocol": holdfast })}\xff\xff\xff\xff`,
    ],
  };

  it.each(Object.entries(answers))(
    "%s is no server to hold",
    async (_, [failure, answer, more]) => {
      const ends: (() => void)[] = [];
      const atEnd: AtEnd = (end) => ends.push(end);
      const target = await startUpgrade(answer, atEnd);
      const text = `ws://127.0.0.1:${target.port}/chat`;
      expectUnreachable(await load(atEnd, text, ...FEW, ...(more ?? [])), failure);
      expect(target.requests).toHaveLength(5);
      expect(target.requests[0]).toMatch(/^GET \/chat HTTP\/1\.1\r\n/);
      for (const end of ends) end();
    },
  );
});

describe.concurrent("a target", { retry: 3 }, () => {
  it("on which nothing listens is unreachable: connect.refused", async ({ onTestFinished }) => {
    const port = await closedPort();
    expectUnreachable(
      await load(onTestFinished, `tcp://127.0.0.1:${port}`, ...FEW),
      "connect.refused",
    );
  });

  it("that is a Unix socket nobody made is unreachable too", async ({ onTestFinished }) => {
    expectUnreachable(
      await load(onTestFinished, "unix:/nowhere/at/all.sock", ...FEW),
      "connect.refused",
    );
  });

  it("that ends a capacity search at its first level is unreachable", async ({
    onTestFinished,
  }) => {
    const port = await closedPort();
    const { code, report } = await new ProbeProcess(
      ["capacity", `tcp://127.0.0.1:${port}`, "--start", "20", "--json"],
      onTestFinished,
    ).reported();
    expect([code, report.outcome]).toEqual([92, "unreachable"]);
    expect(report.capacity).toMatchObject({ connections: 0, confirmed: null });
    expect(report.sentence).toMatch(
      /^Unreachable: tcp:\S+: Nothing listens there.* \(connect\.refused\)\.$/,
    );
    const failed = report.failures.filter(({ phase }) => phase !== "echo");
    expect(failed.map(({ code: failure }) => failure)).toEqual(["connect.refused"]);
  });

  it("whose name is not known is told at once", async ({ onTestFinished }) => {
    const { code, stderr, stdout, durationMs } = await new ProbeProcess(
      ["load", "tcp://no-such-host.invalid:7400", "--json"],
      onTestFinished,
    ).ended;
    expect([code, stdout]).toEqual([92, ""]);
    expect(stderr).toMatch(/tcp:\/\/no-such-host\.invalid:7400: the name .* was not resolved/);
    expect(durationMs).toBeLessThan(10_000);
  });

  it("whose certificate nobody vouches for is refused without --insecure", async ({
    onTestFinished,
  }) => {
    const target = await startEcho({ isTls: true }, onTestFinished);
    const text = `tls://localhost:${target.port}`;
    expectUnreachable(await load(onTestFinished, text, "--protocol", "raw", ...FEW), "tls.verify");
  });

  it("that does not speak TLS fails in the TLS handshake", async ({ onTestFinished }) => {
    const target = await startEcho({}, onTestFinished);
    const { code, report } = await load(
      ...[onTestFinished, `tls://127.0.0.1:${target.port}`, "--protocol", "raw", ...FEW],
    );
    expect(code).toBe(92);
    expect(report.failures.every(({ phase }) => phase === "tls")).toBe(true);
  });

  it("that closes at once is no server of ours: hello.closed", async ({ onTestFinished }) => {
    const target = await startEcho({ answer: null }, onTestFinished);
    expectUnreachable(
      await load(onTestFinished, `tcp://127.0.0.1:${target.port}`, ...FEW),
      "hello.closed",
    );
  });

  it("whose first bytes are no Welcome is no server of ours: hello.malformed", async ({
    onTestFinished,
  }) => {
    // An echo sends our Hello back.
    const target = await startEcho({}, onTestFinished);
    expectUnreachable(
      await load(onTestFinished, `tcp://127.0.0.1:${target.port}`, ...FEW),
      "hello.malformed",
    );
  });

  it("that sends back other bytes is counted by app.mismatch", async ({ onTestFinished }) => {
    const answer = (bytes: Buffer): Buffer => {
      const wrong = Buffer.from(bytes);
      wrong[wrong.length - 1]! ^= 1;
      return wrong;
    };
    const target = await startEcho({ answer }, onTestFinished);
    const { report } = await load(
      ...[onTestFinished, `tcp://127.0.0.1:${target.port}`, "--protocol", "raw", ...FEW],
    );
    const { operations } = report.stages.at(-1)!;
    expect(operations.echo).toMatchObject({ scheduled: 10, succeeded: 0, failed: 10 });
    expect(report.failures.map(({ code, count }) => [code, count])).toEqual([["app.mismatch", 10]]);
  });
});

describe("a command line", () => {
  let folder: string;
  const tcp = "tcp://127.0.0.1:1";

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "holdfast-probe-"));
    writeFileSync(join(folder, "empty.json"), "{}");
  });

  afterAll(() => rmSync(folder, { recursive: true }));

  async function said(...args: readonly string[]): Promise<{ code: number; error: string }> {
    let error = "";
    const code = await runProbeCommandLine(args, {
      env: {},
      isInteractive: false,
      isErrorInteractive: false,
      columns: 100,
      write: () => {},
      writeError: (text) => {
        error += text;
      },
    });
    return { code, error };
  }

  it.each([
    [],
    ["capacity"],
    ["load"],
    ["scan", tcp],
    ["capacity", tcp, "--no-such-flag"],
    ["capacity", tcp, "--search", "random"],
    ["capacity", tcp, "--start"],
    ["load", tcp, "--arrival", "uniform"],
    ["load", tcp, "--traffic", "chat"],
    ["load", tcp, "--protocol", "mqtt"],
    ["load", tcp, "--transport", "epoll"],
    ["doctor", "--as", "spectator"],
  ])("of no meaning ends with 2: %j", async (...args) => {
    const { code, error } = await said(...args);
    expect(code).toBe(2);
    expect(error).not.toBe("");
  });

  it.each([
    ["--start", "many", ["capacity", tcp, "--start", "many"]],
    ["--start", "0", ["capacity", tcp, "--start", "0"]],
    ["--start", "1.5", ["capacity", tcp, "--start", "1.5"]],
    ["--max", "10", ["capacity", tcp, "--start", "20", "--max", "10"]],
    ["--precision", "0", ["capacity", tcp, "--precision", "0"]],
    ["--precision", "90%", ["capacity", tcp, "--precision", "90%"]],
    ["--hold", "30", ["capacity", tcp, "--hold", "30"]],
    ["--level-hold", "0s", ["capacity", tcp, "--level-hold", "0s"]],
    ["--ping-rate", "often", ["capacity", tcp, "--ping-rate", "often"]],
    ["--slo", "echo<50ms", ["capacity", tcp, "--slo", "echo<50ms"]],
    ["--slo", "errors<1% over 5s", ["capacity", tcp, "--slo", "errors<1% over 5s"]],
    ["--at-least", "-1", ["capacity", tcp, "--at-least=-1"]],
    ["--warm-up", "some", ["capacity", tcp, "--warm-up", "some"]],
    ["--warm-up", "0", ["capacity", tcp, "--warm-up", "0"]],
    ["--step", "0", ["capacity", tcp, "--step", "0"]],
    ["--connect-rate", "0", ["capacity", tcp, "--connect-rate", "0"]],
    ["--connect-rate", "5k/d", ["load", tcp, "--connect-rate", "5k/d"]],
    ["--connections", "11m", ["load", tcp, "-c", "11m"]],
    ["--rate", "fast", ["load", tcp, "-R", "fast"]],
    ["--duration", "5", ["load", tcp, "-d", "5"]],
    ["--duration", "5s", ["load", tcp, "--stages", "1s:5", "-d", "5s"]],
    ["--stages", "1m", ["load", tcp, "--stages", "1m"]],
    ["--stages", "0s:10", ["load", tcp, "--stages", "0s:10"]],
    ["--payload", "15", ["load", tcp, "--payload", "15"]],
    ["--payload", "1m", ["load", tcp, "--payload", "1m"]],
    ["--connect-timeout", "soon", ["load", tcp, "--connect-timeout", "soon"]],
    ["--echo-timeout", "0ms", ["load", tcp, "--echo-timeout", "0ms"]],
    ["--topics", "0", ["load", tcp, "--topics", "0"]],
    ["--fault", "sloth=1%", ["load", tcp, "--fault", "sloth=1%"]],
    ["--fault", "200%", ["load", tcp, "--fault", "slow-reader=200%"]],
    ["--fault", "60%", ["load", tcp, "--fault", "slow-reader=60%,half-open=60%"]],
    ["--threshold", "p99<5", ["load", tcp, "--threshold", "p99<5"]],
    ["--seed", "-1", ["load", tcp, "--seed=-1"]],
    ["--seed", "4294967296", ["load", tcp, "--seed", "4294967296"]],
    ["--generators", "0", ["load", tcp, "--generators", "0"]],
    ["--local-ports", "60000-50000", ["load", tcp, "--local-ports", "60000-50000"]],
    ["--local-ips", "here", ["load", tcp, "--local-ips", "here"]],
    ["--server-stats", "ftp://x", ["load", tcp, "--server-stats", "ftp://x"]],
    ["--traffic", "publish", ["load", tcp, "--traffic", "publish", "--protocol", "raw"]],
    ["http://127.0.0.1", "schemes", ["load", "http://127.0.0.1"]],
    ["tcp://127.0.0.1:0", "port", ["load", "tcp://127.0.0.1:0"]],
  ])("with %s %s ends with 104, and both are named", async (flag, value, args) => {
    const { code, error } = await said(...args);
    expect(code).toBe(104);
    expect(error).toContain(flag);
    expect(error).toContain(value);
    // One line, for people: no stack.
    expect(error).toMatch(/^holdfast-probe: [^\n]+\n$/);
  });

  it.each(["--html", "--csv"])(
    "with a place for %s that cannot be written is told before anything runs",
    async (flag) => {
      const ends: (() => void)[] = [];
      const target = await startEcho({}, (end) => ends.push(end));
      const file = join(folder, "no", "such", "folder", "report");
      const { code, error } = await said("load", `tcp://127.0.0.1:${target.port}`, flag, file);
      expect(code).toBe(104);
      expect(error).toContain(`${file} cannot be written (ENOENT)`);
      expect(target.accepted).toBe(0);
      for (const end of ends) end();
    },
  );

  it("with a --baseline that is no report is told before anything runs", async () => {
    const file = join(folder, "empty.json");
    const { code, error } = await said("load", tcp, "--baseline", file);
    expect(code).toBe(104);
    expect(error).toContain(file);
  });

  it("with a --transport that is not to be had is told before anything runs", async () => {
    vi.stubEnv("HOLDFAST_NATIVE_ADDON", "/no/such/addon.node");
    const ends: (() => void)[] = [];
    const atEnd = (end: () => void): void => void ends.push(end);
    const target = await startEcho({}, atEnd);
    const args = [`tcp://127.0.0.1:${target.port}`, "--protocol", "raw", ...FEW];
    const forced = ["load", ...args, "--transport", "tcp-epoll"];
    const { code, stderr } = await new ProbeProcess(forced, atEnd).ended;
    expect([code, target.accepted]).toEqual([104, 0]);
    expect(stderr).toMatch(/^holdfast-probe: tcp-epoll cannot be used: .*addon\.node/);
    const { report } = await load(atEnd, ...args);
    expect(report.environment.transport).toBe("tcp-net");
    vi.unstubAllEnvs();
    for (const end of ends) end();
  });

  it("with --server-stats that cannot be read is told before anything is connected", async () => {
    const port = await closedPort();
    const { code, error } = await said("load", tcp, "--server-stats", `http://127.0.0.1:${port}`);
    expect(code).toBe(104);
    expect(error).toMatch(/--server-stats cannot be read: http:.*nothing listens there/);
  });
});
