// `holdfast-probe scenario` as its users run it: servers that it starts, crashes and restarts, and
// servers of others; what fails says why, and nothing is left behind.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ScenarioResult, ScenariosReport } from "../../src/probe/scenario-report.ts";
import { type ProbeEnd, ProbeProcess } from "../support/probe-process.ts";
import { closedPort } from "../support/probe-target.ts";
import { ServerProcess } from "../support/server-process.ts";

type AtEnd = (stop: () => void) => void;

/** A hundredth of the clients, for a second or two. */
const TINY = ["--scale", "0.01", "--time-scale", "0.05"];
const TRIES_MAX = 2;
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-scenario-"));
});

afterAll(() => rmSync(folder, { recursive: true }));

interface Ended extends ProbeEnd {
  readonly report: ScenariosReport;
}

/** Where the probe says that it was the limit itself, it is asked once more. */
async function scenario(atEnd: AtEnd, ...args: readonly string[]): Promise<Ended> {
  for (let tries = 1; ; tries++) {
    const end = await new ProbeProcess(["scenario", ...args, "--json"], atEnd).ended;
    expect(end.stdout, end.stderr).not.toBe("");
    if (end.code === 90 && tries < TRIES_MAX) continue;
    return { ...end, report: JSON.parse(end.stdout) as ScenariosReport };
  }
}

function stage({ report }: ScenarioResult, name: string) {
  const found = report?.stages.find((one) => one.name === name);
  if (found === undefined) throw new Error(`there is no stage ${name}`);
  return found;
}

async function isListening(target: string): Promise<boolean> {
  const { hostname, port } = new URL(target);
  return await new Promise((resolve) => {
    const socket = connect(Number(port), hostname);
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}

describe("against a server of its own", () => {
  it("a crash costs every connection, and all clients find back", async ({ onTestFinished }) => {
    const { report, code } = await scenario(onTestFinished, "reconnect-stampede", ...TINY);
    const [result] = report.scenarios as [ScenarioResult];
    expect([code, result.verdict], result.reason).toEqual([0, "passed"]);
    expect(stage(result, "crash").connections.deaths).toBe(100);
    expect(stage(result, "hold again").connections.held).toBe(100);
    const timed = result.objectives.filter(({ metric }) => metric === "recovery");
    expect(timed.map(({ phase, passed }) => [phase, passed])).toEqual([
      ["crash", true],
      ["stampede", true],
    ]);
    expect(await isListening(result.report!.environment.targets[0]!)).toBe(false);
  });

  it("a rolling restart costs nothing, though every client is told to go", async ({
    onTestFinished,
  }) => {
    const args = ["rolling-restart", "--over", "websocket", "--workers", "2", ...TINY];
    const { report, code } = await scenario(onTestFinished, ...args);
    const [result] = report.scenarios as [ScenarioResult];
    expect([code, result.verdict], result.reason).toEqual([0, "passed"]);
    const restart = stage(result, "rolling restart");
    expect(restart.connections).toMatchObject({ held: 20, deaths: 0 });
    // All of them had to come again.
    expect(restart.operations.connect!.succeeded).toBeGreaterThanOrEqual(20);
    expect(restart.operations.echo!.succeeded).toBe(restart.operations.echo!.scheduled);
  });

  it("those that fall silent are noticed, and those that come and go are served", async ({
    onTestFinished,
  }) => {
    const args = ["churn-half-open", "--workers", "0", "--scale", "0.05", "--time-scale", "0.15"];
    const { report, code } = await scenario(onTestFinished, ...args);
    const [result] = report.scenarios as [ScenarioResult];
    expect([code, result.verdict], result.reason).toEqual([0, "passed"]);
    const { faults } = result.report!.load!;
    expect(faults!.halfOpen).toBeGreaterThan(0);
    expect(faults!.ended).toBe(faults!.halfOpen);
    expect(faults!.churned).toBeGreaterThan(5);
  });

  it("ends in one page and in Markdown, with every scenario in them", {
    timeout: 90_000,
  }, async ({ onTestFinished }) => {
    const files = { html: join(folder, "report.html"), markdown: join(folder, "report.md") };
    const names = ["echo-steady", "fan-out"];
    const to = ["--html", files.html, "--markdown", files.markdown];
    const { report } = await scenario(onTestFinished, ...names, ...to, ...TINY);
    expect(report.scenarios.map(({ name }) => name)).toEqual(names);
    for (const file of Object.values(files)) {
      const text = readFileSync(file, "utf8");
      for (const { title, question } of report.scenarios) {
        expect(text).toContain(title);
        expect(text).toContain(question);
      }
    }
  });

  it("is stopped with it when it is interrupted", async ({ onTestFinished }) => {
    const probe = new ProbeProcess(["scenario", "steady-idle", "--scale", "0.01"], onTestFinished);
    const shown = await probe.wrote(/ramp +200\/200/);
    const target = /scenario (tcp:\S+)/.exec(shown)![1]!;
    expect(await isListening(target)).toBe(true);
    process.kill(probe.pid, "SIGINT");
    const { code, stdout } = await probe.ended;
    expect(code).toBe(105);
    expect(stdout).toMatch(/interrupted: steady-idle/);
    for (let tries = 0; tries < 50 && (await isListening(target)); tries++) await delay(100);
    expect(await isListening(target)).toBe(false);
  });
});

describe("interrupted while its server is down,", () => {
  it.each([0, 150, 400])("%i ms after it was crashed, it ends, and nothing is left", async (ms) => {
    const ends: (() => void)[] = [];
    const args = ["scenario", "reconnect-stampede", "--scale", "0.01", "--time-scale", "0.05"];
    const probe = new ProbeProcess(args, (end) => ends.push(end));
    const shown = await probe.wrote(/hold +100\/100/);
    const target = /scenario (tcp:\S+)/.exec(shown)![1]!;
    for (let tries = 0; tries < 200 && (await isListening(target)); tries++) await delay(10);
    await delay(ms);
    probe.signal("SIGINT");
    const { code } = await probe.ended;
    for (const end of ends) end();
    expect(code).toBe(105);
    expect(await isListening(target)).toBe(false);
  });
});

describe("against a server of somebody else", () => {
  let server: ServerProcess;
  const ends: (() => unknown)[] = [];

  beforeAll(async () => {
    const flags = ["--connection-max", "50"];
    server = await ServerProcess.start(2_000, (stop) => ends.push(stop), flags);
  });

  afterAll(async () => {
    for (const end of ends) await end();
  });

  function target(): readonly string[] {
    return ["--target", `tcp://127.0.0.1:${server.ports.get("tcp")}`];
  }

  it("what it cannot hold is missing, by number, and fails", async ({ onTestFinished }) => {
    const args = ["connect-storm", ...target(), ...TINY];
    const { report, code } = await scenario(onTestFinished, ...args);
    const [result] = report.scenarios as [ScenarioResult];
    expect([code, report.outcome, result.verdict]).toEqual([99, "failed", "failed"]);
    expect(result.reason).toBe("110 connections are missing: hello.refused.3004");
    // What comes after would be about another load.
    expect(result.report!.stages.map(({ name }) => name)).toEqual(["storm"]);
    expect(report.sentence).toBe("0 of 1 scenarios passed; failed: connect-storm.");
  });

  it("that is not there is named by what connecting to it comes to", async ({ onTestFinished }) => {
    const endpoint = `tcp://127.0.0.1:${await closedPort()}`;
    const args = ["fan-out", "echo-steady", "--target", endpoint, ...TINY];
    const { report, code } = await scenario(onTestFinished, ...args);
    expect([code, report.outcome]).toEqual([92, "unreachable"]);
    const reasons = report.scenarios.map(({ reason }) => reason);
    // The others are not tried in vain.
    expect(reasons).toEqual([
      "10 connections are missing: connect.refused",
      "the server was not reached",
    ]);
  });

  it("what would restart it is left out and said so, and the rest is run", async ({
    onTestFinished,
  }) => {
    const args = ["rolling-restart", "echo-steady", ...target(), ...TINY];
    const { report, code } = await scenario(onTestFinished, ...args);
    const verdicts = report.scenarios.map(({ verdict }) => verdict);
    expect([code, ...verdicts]).toEqual([0, "skipped", "passed"]);
    expect(report.scenarios[0]!.reason).toMatch(/restarts the server/);
  });

  it("a series in which nothing was run has shown nothing, and fails", async ({
    onTestFinished,
  }) => {
    const { report, code } = await scenario(onTestFinished, "rolling-restart", ...target());
    expect([code, report.outcome]).toEqual([99, "failed"]);
    expect(report.sentence).toBe("0 of 1 scenarios passed; skipped: rolling-restart.");
  });
});

describe("what is wrong with the command line is said before anything starts", () => {
  it.each([
    [[], 104, /no scenario is named: see --list/],
    [["echo"], 104, /there is no scenario "echo".*echo-steady/],
    [["all", "--scale", "0"], 104, /--scale: "0"/],
    [["all", "--scale", "1e9"], 104, /--scale/],
    [["all", "--time-scale", "-1"], 104, /--time-scale/],
    [["all", "--over", "udp"], 2, /tcp, websocket/],
    [["all", "--server-stats", "http://127.0.0.1:1"], 104, /belongs to --target/],
    [["all", "--target", "127.0.0.1"], 104, /127\.0\.0\.1/],
    [["all", "--workers", "many"], 104, /workers/],
    [["all", "--workers", "2", "--target", "tcp://127.0.0.1:1"], 104, /--workers is of a server/],
    [["all", "--protocol", "raw"], 104, /--protocol raw needs --target/],
    [["all", "--html", "/nonexistent/a.html"], 104, /cannot be written/],
    [["all", "--html", "/dev/null", "--markdown", "/dev/null"], 104, /are both/],
    [["echo-steady", "--html"], 2, /argument missing/],
  ] as const)("%j", async (args, code, complaint) => {
    const end = await new ProbeProcess(["scenario", ...args], () => {}).ended;
    expect(end.stderr).toMatch(complaint);
    expect([end.code, end.stdout]).toEqual([code, ""]);
  });

  it("and what there is, is listed", async () => {
    const { code, stdout } = await new ProbeProcess(["scenario", "--list"], () => {}).ended;
    expect(code).toBe(0);
    expect(stdout.match(/^[a-z-]+ /gm)).toHaveLength(12);
  });
});
