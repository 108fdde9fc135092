// `holdfast-probe load` against a Holdfast server and others: what was scheduled is what was sent,
// what came back is counted, and faults, thresholds and baselines do what they say.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Arrivals } from "../../src/probe/arrivals.ts";
import { LatencyHistogram } from "../../src/probe/histogram.ts";
import type { Report, StageReport } from "../../src/probe/report.ts";
import { EchoProcess } from "../support/echo-process.ts";
import { ProbeProcess, type Reported } from "../support/probe-process.ts";
import { startEcho, startWebSocketEcho } from "../support/probe-target.ts";
import { ServerProcess } from "../support/server-process.ts";
import { LOADABLE_TRANSPORTS } from "../support/native.ts";

type AtEnd = (stop: () => void) => void;

const RAW = ["--protocol", "raw"];
/** Some run beside each other: that the probe may then be late is no concern of theirs. */
const LOOSE = ["--threshold", "response:p(99)<10s"];
const TRIES_MAX = 3;
const ends: (() => unknown)[] = [];
let server: ServerProcess;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-probe-"));
  // Small queues, so that a slow reader is found out within a second.
  server = await ServerProcess.start(2_000, (stop) => ends.push(stop), [
    ...["--send-high-bytes", "65536", "--send-low-bytes", "16384"],
    ...["--send-queue-bytes-max", "262144", "--send-stall-timeout-ms", "500"],
  ]);
});

afterAll(async () => {
  for (const end of ends) await end();
  rmSync(folder, { recursive: true });
});

function tcp(): string {
  return `tcp://127.0.0.1:${server.ports.get("tcp")}`;
}

function webSocket(): string {
  return `ws://127.0.0.1:${server.ports.get("websocket")}/any`;
}

/** Where the probe says that it was the limit itself, there is no result: it is asked again. */
async function load(atEnd: AtEnd, ...args: readonly string[]): Promise<Reported> {
  for (let tries = 1; ; tries++) {
    const end = await new ProbeProcess(["load", ...args, "--json"], atEnd).reported();
    if (end.code !== 90 || tries === TRIES_MAX) return end;
  }
}

/** The stage in which operations were scheduled. */
function loaded({ stages }: Report): StageReport {
  const found = stages.filter(({ kind }) => kind === "load");
  expect(found).toHaveLength(1);
  return found[0]!;
}

describe("echoes", () => {
  it("are scheduled to the last one, and all come back", async ({ onTestFinished }) => {
    const { code, report } = await load(onTestFinished, tcp(), "-c", "50", "-R", "2k", "-d", "3s");
    expect([code, report.outcome]).toEqual([0, "passed"]);
    const { operations, latencies, failures, connections } = loaded(report);
    expect(operations.echo).toMatchObject({
      scheduled: 6_000,
      started: 6_000,
      succeeded: 6_000,
      failed: 0,
    });
    expect(operations.echo!.intendedPerSecond).toBeCloseTo(2_000, -1);
    for (const name of ["lateness", "service", "response"] as const) {
      expect(latencies[name]!.count).toBeGreaterThanOrEqual(6_000);
    }
    expect(failures).toEqual([]);
    expect(connections).toEqual({ intended: 50, held: 50, deaths: 0 });
    expect(report.sentence).toMatch(/^6,000 of 6,000 echoes answered over 50 of 50 connections/);
  });
});

describe.concurrent("the schedule", () => {
  const poisson = ["-c", "5", "-R", "300", "-d", "1s", "--arrival", "poisson", ...LOOSE];
  const scheduled = ({ report }: Reported): number => loaded(report).operations.echo!.scheduled;

  /** How many the schedule has, as one process computes it without a clock. */
  function arrivalsOf(seed: number): number {
    const arrivals = new Arrivals(seed);
    arrivals.add({
      kind: "echo",
      arrival: "poisson",
      segments: [{ durationMs: 1_000, fromPerSecond: 300, toPerSecond: 300 }],
      startAtMs: 0,
      countMax: Infinity,
      stripe: { index: 0, count: 1 },
    });
    let count = 0;
    while (arrivals.nextMs !== Infinity) arrivals.run(60_000, () => count++);
    return count;
  }

  it("of one seed is the same in every run, and of another seed another", async ({
    onTestFinished,
  }) => {
    const seeds = ["42", "42", "43", "44"];
    const runs = seeds.map((seed) => load(onTestFinished, tcp(), ...poisson, "--seed", seed));
    const runsEnded = await Promise.all(runs);
    expect(runsEnded.map(({ report }) => String(report.environment.seed))).toEqual(seeds);
    const counts = runsEnded.map(scheduled);
    expect(counts).toEqual(seeds.map((seed) => arrivalsOf(Number(seed))));
    expect(new Set(counts).size).toBeGreaterThan(1);
  });

  it("is the same over three generator processes as over one", async ({ onTestFinished }) => {
    const args = [tcp(), ...poisson, "--seed", "42"];
    const one = await load(onTestFinished, ...args);
    const three = await load(onTestFinished, ...args, "--generators", "3");
    expect(three.report.environment.generatorProcesses).toBe(3);
    expect(scheduled(three)).toBe(scheduled(one));
  });

  it("follows the stages, each with its own report", async ({ onTestFinished }) => {
    const stages = ["--stages", "1s:200,0s:50,1s:50"];
    const { report } = await load(onTestFinished, tcp(), "-c", "5", ...stages, ...LOOSE);
    const counts = report.stages
      .filter(({ kind }) => kind === "load")
      .map(({ name, operations }) => [name, operations.echo!.scheduled] as const);
    expect(counts.map(([name]) => name)).toEqual(["1s to 200/s", "1s at 50/s"]);
    // What is due right at the border may count to either side.
    expect(Math.abs(counts[0]![1] - 100)).toBeLessThanOrEqual(20);
    expect(counts[0]![1] + counts[1]![1]).toBe(150);
  });
});

describe.concurrent("publishes", () => {
  it("reach every subscriber of their topic once, and none is missed", async ({
    onTestFinished,
  }) => {
    const { code, report } = await load(
      ...[onTestFinished, tcp(), "--traffic", "publish", "-c", "20", "--topics", "2"],
      ...["-R", "200", "-d", "2s", ...LOOSE],
    );
    expect(code).toBe(0);
    const { operations, deliveries, latencies } = loaded(report);
    expect(operations.publish).toMatchObject({ scheduled: 400, succeeded: 400, failed: 0 });
    expect(deliveries).toEqual({
      expected: 4_000,
      received: 4_000,
      missed: 0,
      announced: 0,
      duplicates: 0,
    });
    expect(latencies.delivery!.count).toBe(4_000);
  });

  it("reach subscribers in other generator processes and over WebSocket", async ({
    onTestFinished,
  }) => {
    const { report } = await load(
      ...[onTestFinished, webSocket(), "--traffic", "publish", "-c", "12", "--topics", "3"],
      ...["-R", "90", "-d", "1s", "--generators", "2"],
    );
    const { deliveries } = loaded(report);
    expect(deliveries).toMatchObject({ expected: 360, received: 360, missed: 0, duplicates: 0 });
  });
});

describe.concurrent("faults", () => {
  it("churn closes connections and opens as many, on schedule", async ({ onTestFinished }) => {
    const { code, report } = await load(
      ...[onTestFinished, tcp(), "-c", "30", "-R", "100", "-d", "2s", "--fault", "churn=40/s"],
      ...LOOSE,
    );
    expect(code).toBe(0);
    const { operations, connections } = loaded(report);
    expect(operations.connect).toMatchObject({ scheduled: 80, started: 80, succeeded: 80 });
    expect(operations.echo).toMatchObject({ scheduled: 200, succeeded: 200 });
    // We ended them: nobody died.
    expect(connections).toEqual({ intended: 30, held: 30, deaths: 0 });
  });

  it("slow readers are dropped by the server, and the others miss nothing", async ({
    onTestFinished,
  }) => {
    const { report } = await load(
      ...[onTestFinished, tcp(), "--traffic", "publish", "-c", "20", "--payload", "16384"],
      ...["-R", "200", "-d", "3s", "--fault", "slow-reader=30%", "--seed", "3", ...LOOSE],
    );
    const { operations, deliveries, connections, failures, deaths } = loaded(report);
    expect(operations.publish).toMatchObject({ scheduled: 600, succeeded: 600, failed: 0 });
    expect(deliveries).toMatchObject({ missed: 0, announced: 0, duplicates: 0 });
    const well = deliveries!.received / 600;
    expect(Number.isInteger(well)).toBe(true);
    expect(well).toBeGreaterThan(5);
    expect(well).toBeLessThan(20);
    // They were closed for it, which is no death that anybody has to explain.
    expect([connections.deaths, failures, deaths]).toEqual([0, [], []]);
    const stats = await fetch(`http://127.0.0.1:${server.ports.get("admin")}/stats`);
    const { closedByReason } = (await stats.json()) as {
      closedByReason: Record<string, number>;
    };
    expect(closedByReason["slow_consumer"]).toBe(20 - well);
  });

  it("half-open connections are timed out, and no error of the others", async ({
    onTestFinished,
  }) => {
    const { report } = await load(
      ...[onTestFinished, tcp(), "-c", "20", "-R", "100", "-d", "2s", "--fault", "half-open=50%"],
    );
    const { operations, connections, failures } = loaded(report);
    expect(operations.echo).toMatchObject({ scheduled: 200, succeeded: 200, failed: 0 });
    expect([connections.deaths, failures]).toEqual([0, []]);
  });
});

describe.concurrent("thresholds", () => {
  const base = ["-c", "5", "-R", "200", "-d", "2s"];
  const stalling = { stallMs: 500, stallEveryMs: 1_000 };

  it("that hold pass, with what was measured", async ({ onTestFinished }) => {
    const { code, report } = await load(
      ...[onTestFinished, tcp(), ...base, "--threshold", "response:p(99)<5s"],
      ...["--threshold", "errors<1%", "--threshold", "rate>150", "--threshold", "held>=5"],
    );
    expect(code).toBe(0);
    expect(report.load!.thresholds.map(({ text, passed }) => [text, passed])).toEqual([
      ["response:p(99)<5s", true],
      ["errors<1%", true],
      ["rate>150", true],
      ["held>=5", true],
    ]);
    expect(report.sentence).toMatch(/all 4 thresholds hold/);
  });

  it("that are missed fail the command, and are named", async ({ onTestFinished }) => {
    const target = await EchoProcess.start(stalling, onTestFinished);
    const { code, report } = await load(
      ...[onTestFinished, target.endpoint, ...RAW, ...base],
      ...["--threshold", "response:p(95)<300ms over 1s", "--threshold", "errors<1%"],
    );
    expect([code, report.outcome]).toEqual([99, "failed"]);
    const [missed, held] = report.load!.thresholds;
    expect(missed).toMatchObject({ passed: false, unit: "ms" });
    expect(missed!.worstAtMs).toBeGreaterThanOrEqual(0);
    expect(held).toMatchObject({ passed: true, actual: 0 });
    expect(report.sentence).toMatch(/missed: response:p\(95\)<300ms over 1s\.$/);
  });

  it("with abort end the run as soon as they are missed", async ({ onTestFinished }) => {
    const target = await EchoProcess.start(stalling, onTestFinished);
    const { code, report, durationMs } = await load(
      ...[onTestFinished, target.endpoint, ...RAW, "-c", "5", "-R", "200", "-d", "60s"],
      ...["--threshold", "response:p(95)<300ms abort after 1s"],
    );
    expect(code).toBe(99);
    expect(durationMs).toBeLessThan(15_000);
    expect(loaded(report).operations.echo!.scheduled).toBeLessThan(2_500);
  });

  it("for which nothing was measured are not met", async ({ onTestFinished }) => {
    const { code, report } = await load(
      ...[onTestFinished, tcp(), ...base, "--threshold", "delivery:p(99)<10s"],
    );
    expect(code).toBe(99);
    expect(report.load!.thresholds[0]).toMatchObject({ passed: false, actual: null });
  });
});

describe.concurrent("a baseline", () => {
  // A percentile 99 is compared from 1,000 samples on.
  const args = ["-c", "5", "-R", "1k", "-d", "2s", "--seed", "1", ...LOOSE];

  function keep(name: string, report: Report): string {
    const file = join(folder, name);
    writeFileSync(file, JSON.stringify(report));
    return file;
  }

  it("that was much faster makes a regression of this run, and names the rows", async ({
    onTestFinished,
  }) => {
    const first = await load(onTestFinished, tcp(), ...args);
    const same = keep("same.json", slower(first.report, 2_000_000));
    const fast = keep("fast.json", slower(first.report, 1));
    const alike = await load(onTestFinished, tcp(), ...args, "--baseline", same);
    expect([alike.code, alike.report.outcome]).toEqual([0, "passed"]);
    expect(alike.report.sentence).toMatch(/no worse than the baseline/);
    const worse = await load(onTestFinished, tcp(), ...args, "--baseline", fast);
    // Growth by less than a millisecond is noise: the sockets' own time alone may be less.
    const rows = worse.report.load!.baseline!.rows.filter(({ isRegression }) => isRegression);
    expect([worse.code, worse.report.outcome]).toEqual([93, "regression"]);
    expect(rows.map(({ metric }) => metric)).toContain("response p99 ms");
    expect(worse.report.sentence).toMatch(/worse than the baseline: .*response p99 ms/);
  });

  it("that is none is told before anything runs", async ({ onTestFinished }) => {
    const file = join(folder, "none.json");
    writeFileSync(file, readFileSync(new URL(import.meta.url)));
    const { code, stderr } = await new ProbeProcess(
      ["load", "tcp://127.0.0.1:1", "--baseline", file],
      onTestFinished,
    ).ended;
    expect(code).toBe(104);
    expect(stderr).toMatch(/none\.json is no JSON/);
  });

  /** The report with histograms in which everything took so many microseconds. */
  function slower(report: Report, microseconds: number): Report {
    const histogram = new LatencyHistogram();
    histogram.addPairs(new Float64Array([microseconds, 2_000]));
    const summary = histogram.summary();
    const stages = report.stages.map((stage) => ({
      ...stage,
      latencies: { response: summary, service: summary, connect: summary },
    }));
    return { ...report, stages };
  }
});

describe.concurrent("targets", () => {
  const args = ["-c", "10", "-R", "100", "-d", "1s", ...LOOSE];

  function expectEchoes({ code, report, stderr }: Reported): void {
    expect([code, stderr]).toEqual([0, expect.any(String)]);
    expect(loaded(report).operations.echo).toMatchObject({ scheduled: 100, succeeded: 100 });
  }

  it.each(LOADABLE_TRANSPORTS)("may be a Unix socket, by %s", async (transport) => {
    const ends: (() => void)[] = [];
    const path = join(folder, `${transport}.sock`);
    const target = await startEcho({ path }, (end) => ends.push(end));
    const by = ["--transport", transport];
    expectEchoes(await load((end) => ends.push(end), `unix:${path}`, ...RAW, ...args, ...by));
    expect(target.accepted % 10).toBe(0);
    for (const end of ends) end();
  });

  it("may speak TLS, whoever signed", async ({ onTestFinished }) => {
    const target = await startEcho({ isTls: true }, onTestFinished);
    const text = `tls://localhost:${target.port}`;
    expectEchoes(await load(onTestFinished, text, ...RAW, ...args, "--insecure"));
    expect(target.accepted % 10).toBe(0);
  });

  it("may be WebSockets, with TLS as well", async ({ onTestFinished }) => {
    const plain = await startWebSocketEcho({}, onTestFinished);
    const secure = await startWebSocketEcho({ isTls: true }, onTestFinished);
    expectEchoes(
      await load(
        ...[onTestFinished, `ws://127.0.0.1:${plain.port}/a?b=c`, ...RAW, ...args],
        `wss://127.0.0.1:${secure.port}`,
        "--insecure",
      ),
    );
    // In turn: each gets half.
    expect(plain.accepted % 5).toBe(0);
    expect(secure.accepted).toBe(plain.accepted);
    expect(plain.requests[0]).toMatch(/^GET \/a\?b=c HTTP\/1\.1\r\nHost: 127\.0\.0\.1:\d+\r\n/);
    expect(new Set(plain.requests.map((head) => /key: (.*)/i.exec(head)![1])).size).toBe(
      plain.accepted,
    );
  });

  it("may be on IPv6", async ({ onTestFinished, skip }) => {
    const target = await startEcho({ host: "::1" }, onTestFinished).catch(() => null);
    if (target === null) return skip();
    expectEchoes(await load(onTestFinished, `tcp://[::1]:${target.port}`, ...RAW, ...args));
  });

  it.each(LOADABLE_TRANSPORTS)(
    "get half of the connections each where there are two, and Holdfast speaks both, by %s",
    async (transport) => {
      const ends: (() => void)[] = [];
      const by = ["--transport", transport];
      const end = await load((stop) => ends.push(stop), tcp(), webSocket(), ...args, ...by);
      expectEchoes(end);
      expect(end.report.environment.transport).toBe(transport);
      for (const stop of ends) stop();
    },
  );
});
