// `holdfast-probe capacity` against real servers with real limits: how many it finds, and what it
// says the limit was.
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import type { Report, StageReport } from "../../src/probe/report.ts";
import { EchoProcess } from "../support/echo-process.ts";
import { ProbeProcess, type Reported } from "../support/probe-process.ts";
import { startEcho, startStats } from "../support/probe-target.ts";
import { ServerProcess } from "../support/server-process.ts";
import { LOADABLE_TRANSPORTS } from "../support/native.ts";

const CONNECTIONS_MAX = 3_000;
const QUICK = ["--connect-rate", "5k", "--level-hold", "500ms", "--hold", "1s"];
const RAW = ["--protocol", "raw"];

type AtEnd = (stop: () => void) => void;

function probe(atEnd: AtEnd, ...args: readonly string[]): ProbeProcess {
  return new ProbeProcess(["capacity", ...args, "--json"], atEnd);
}

function capacity(atEnd: AtEnd, ...args: readonly string[]): Promise<Reported> {
  return probe(atEnd, ...args).reported();
}

function verdicts({ stages }: Report): string[] {
  return stages.map(({ kind, name, verdict }) => `${kind} ${name}: ${verdict}`);
}

/** What levels came to that are about the server. */
function judged({ stages }: Report): StageReport[] {
  return stages.filter(({ verdict }) => verdict !== "generator-bound");
}

describe.concurrent("a server that refuses beyond 3,000 by policy", () => {
  const flags = ["--connection-max", String(CONNECTIONS_MAX)];

  function expectPolicy({ code, report }: Reported): void {
    expect([code, report.outcome], verdicts(report).join("; ")).toEqual([0, "passed"]);
    const { connections } = report.capacity!;
    expect(Math.abs(connections - CONNECTIONS_MAX)).toBeLessThanOrEqual(CONNECTIONS_MAX * 0.01);
    expect(report.limit).toMatchObject({ kind: "policy", party: "server", confidence: "certain" });
    expect(report.sentence).toMatch(/3004/);
    expect(report.failures.map(({ code: failure }) => failure)).toContain("hello.refused.3004");
  }

  it.each(LOADABLE_TRANSPORTS)(
    "is named so by %s, its own figures beside it",
    async (transport) => {
      const ends: (() => unknown)[] = [];
      const server = await ServerProcess.start(10_000, (stop) => ends.push(stop), flags);
      const end = await capacity(
        (stop) => ends.push(stop),
        `tcp://127.0.0.1:${server.ports.get("tcp")}`,
        ...["--server-stats", `http://127.0.0.1:${server.ports.get("admin")}`],
        ...["--start", "2k", "--transport", transport, ...QUICK],
      );
      for (const stop of ends) await stop();
      expectPolicy(end);
      const held = judged(end.report).filter(({ verdict }) => verdict === "ok");
      for (const { connections, server: figures } of held) {
        expect(connections.held).toBe(connections.intended);
        expect(figures!.connections).toBe(connections.held);
      }
    },
    60_000,
  );

  it("is named so over WebSocket, by what the client hears alone", async ({ onTestFinished }) => {
    const server = await ServerProcess.start(10_000, onTestFinished, flags);
    expectPolicy(
      await capacity(
        onTestFinished,
        `ws://127.0.0.1:${server.ports.get("websocket")}/any`,
        ...["--start", "2k", "--no-scram", ...QUICK],
      ),
    );
  }, 60_000);
});

// By itself: the largest of all, and a boundary between those that run beside each other.
describe("a server limited to 5,000 files", () => {
  it("holds as many as it has files left, and its file limit is named", async ({
    onTestFinished,
  }) => {
    const server = await EchoProcess.start({ files: 5_000 }, onTestFinished);
    const expected = 5_000 - server.ownFiles;
    const { code, report } = await capacity(
      onTestFinished,
      ...[server.endpoint, ...RAW, "--ping-rate", "0.1", "--server-stats", String(server.pid)],
      ...["--start", "4k", ...QUICK],
    );
    expect([code, report.outcome]).toEqual([0, "passed"]);
    const { connections, failedAt, confirmed } = report.capacity!;
    expect(Math.abs(connections - expected)).toBeLessThanOrEqual(expected * 0.01);
    expect(failedAt).toBeGreaterThan(connections);
    expect(failedAt! - connections).toBeLessThanOrEqual(connections * 0.01 + 1);
    expect(confirmed).toEqual({ connections: Math.floor(connections * 0.95), holdMs: 1_000 });
    expect(report.limit).toMatchObject({
      kind: "server-files",
      party: "server",
      confidence: "certain",
    });
    expect(report.sentence).toMatch(/limit: the server's file limit: 5,000 of 5,000 files in use/);
    // The wall hurts nobody who was there before.
    expect(report.stages.filter(({ verdict }) => verdict === "wall").length).toBeGreaterThan(0);
    expect(report.deaths.every(({ byAge }) => byAge.slice(2).every((count) => count === 0))).toBe(
      true,
    );
    for (const { verdict, server: figures } of report.stages) {
      if (verdict === "ok") expect(figures!.bytesPerConnection).toBeGreaterThan(500);
    }
  }, 60_000);
});

describe.concurrent("a server that accepts slowly", () => {
  it("is said to: neither policy nor files are blamed", async ({ onTestFinished }) => {
    const server = await EchoProcess.start({ acceptsPerSecond: 200 }, onTestFinished);
    const { report } = await capacity(
      onTestFinished,
      ...[server.endpoint, ...RAW, "--ping-rate", "0.1", "--start", "25", "--precision", "50%"],
      ...["--connect-rate", "2k", "--level-hold", "500ms", "--hold", "500ms"],
    );
    expect(report.limit).toMatchObject({ kind: "accept-rate", party: "server" });
    expect(report.sentence).toMatch(/accepted \d+ connects\/s of 2,000\/s asked/);
    // What it holds is echoed in good time all the while.
    expect(report.stages[0]!.latencies.service!.p50).toBeLessThan(100);
  }, 60_000);
});

describe.concurrent("a server without a limit", () => {
  it("holds all that may be asked for, by doubling", async ({ onTestFinished }) => {
    const target = await startEcho({}, onTestFinished);
    const { code, report } = await capacity(
      onTestFinished,
      ...[`tcp://127.0.0.1:${target.port}`, ...RAW, "--start", "100", "--max", "300", ...QUICK],
    );
    expect(code).toBe(0);
    expect(report.capacity).toMatchObject({ connections: 300, failedAt: null, maxReached: true });
    expect(report.limit).toBeNull();
    expect(report.sentence).toMatch(/At least 300 connections \(285 held for 1 s to confirm\)/);
    expect(judged(report).map(({ kind, name }) => `${kind} ${name}`)).toEqual([
      "climb 100",
      "climb 200",
      "climb 300",
      "confirm 285",
    ]);
    // Levels are climbed on the connections of the level before.
    expect(target.accepted).toBe(300);
  }, 60_000);

  it("is climbed by equal steps with --search stairs", async ({ onTestFinished }) => {
    const target = await startEcho({}, onTestFinished);
    const { report } = await capacity(
      onTestFinished,
      ...[`tcp://127.0.0.1:${target.port}`, ...RAW, "--search", "stairs", "--start", "50"],
      ...["--step", "30", "--max", "120", ...QUICK],
    );
    expect(judged(report).map(({ kind, name }) => `${kind} ${name}`)).toEqual([
      "stairs 50",
      "stairs 80",
      "stairs 110",
      "stairs 120",
      "confirm 114",
    ]);
  }, 60_000);

  it("that holds fewer than --at-least fails the command", async ({ onTestFinished }) => {
    const server = await ServerProcess.start(1_000, onTestFinished, ["--connection-max", "50"]);
    const { code, report } = await capacity(
      onTestFinished,
      ...[`tcp://127.0.0.1:${server.ports.get("tcp")}`, "--start", "25", "--max", "100"],
      ...["--at-least", "60", ...QUICK],
    );
    expect([code, report.outcome]).toEqual([99, "failed"]);
    expect(report.sentence).toMatch(/^50 connections.*fewer than the 60 asked for; limit: refused/);
  }, 60_000);
});

describe.concurrent("the scram", () => {
  /** A server that says, with more than 50 connections, so often that its loop is 1.5 s late. */
  async function lateServer(atEnd: AtEnd, times: number): Promise<string[]> {
    const target = await startEcho({}, atEnd);
    let left = times;
    const url = await startStats(
      () => ({
        connections: { total: target.open, max: 18_000 },
        loop: { lagP99Ms: target.open > 50 && left-- > 0 ? 1_500 : 1 },
      }),
      atEnd,
    );
    return [
      ...[`tcp://127.0.0.1:${target.port}`, ...RAW, "--server-stats", url, "--start", "50"],
      ...["--max", "100", "--connect-rate", "5k", "--level-hold", "2s", "--hold", "1s"],
      ...["--precision", "50%"],
    ];
  }

  it("ends a level at once when the server's loop is late, backs off, and tries again", async ({
    onTestFinished,
  }) => {
    const { report } = await capacity(onTestFinished, ...(await lateServer(onTestFinished, 2)));
    const scrams = report.stages.filter(({ verdict }) => verdict === "scram");
    expect(verdicts(report)[0]).toBe("climb 50: ok");
    expect(scrams.map(({ name }) => name)).toEqual(["100"]);
    const [scram] = scrams as [StageReport];
    expect(scram.reasons.join()).toMatch(/the server's event loop is 1.5s late/);
    expect(scram.toMs - scram.fromMs).toBeLessThan(2_500);
    // It is not asked again while the trouble lasts, and was given back what was too much.
    const next = report.stages[scram.index + 1 - report.stages[0]!.index]!;
    expect(next.fromMs - scram.toMs).toBeGreaterThan(2_000);
    const between = report.series.filter(({ atMs }) => atMs > scram.toMs && atMs <= next.fromMs);
    expect(between.at(-1)!.held).toBe(50);
    expect([next.name, next.verdict]).toEqual(["100", "ok"]);
    expect([report.outcome, report.capacity!.connections]).toEqual(["passed", 100]);
  }, 60_000);

  it("is the limit where it comes again, and names what was short", async ({ onTestFinished }) => {
    const { report } = await capacity(onTestFinished, ...(await lateServer(onTestFinished, 1e6)));
    expect(report.capacity!.connections).toBe(50);
    expect(report.stages.filter(({ verdict }) => verdict === "scram")).toHaveLength(4);
    expect(report.limit).toMatchObject({ kind: "server-cpu", party: "server" });
    expect(report.sentence).toMatch(
      /^50 connections .*limit: the server's event loop is 1.5s late/,
    );
  }, 60_000);

  it("ends a level at once when the server dies under it", async ({ onTestFinished }) => {
    const server = await EchoProcess.start({}, onTestFinished);
    const running = probe(
      onTestFinished,
      ...[server.endpoint, ...RAW, "--ping-rate", "1", "--server-stats", String(server.pid)],
      ...["--start", "200", "--connect-rate", "5k", "--level-hold", "30s", "--hold", "1s"],
    );
    while ((await server.connections()) < 200) await delay(50);
    // What ends within its first second was never really taken, and would be a wall.
    await delay(1_500);
    server.kill();
    const killedMs = performance.now();
    await running.wrote(/SCRAM/i);
    expect(performance.now() - killedMs).toBeLessThan(8_000);
    const { code, report } = await running.reported();
    expect([code, report.outcome]).toEqual([99, "failed"]);
    // What is dead is not knocked at any further.
    expect(report.stages).toHaveLength(1);
    expect(report.stages[0]).toMatchObject({ verdict: "scram", connections: { held: 0 } });
    expect(report.limit).toMatchObject({ kind: "server-died", confidence: "certain" });
  }, 60_000);
});
