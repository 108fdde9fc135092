// What the probe must never do: bill its own trouble to the server, or the server's to itself.
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import type { Report } from "../../src/probe/report.ts";
import { EchoProcess } from "../support/echo-process.ts";
import { isRunning, ProbeProcess } from "../support/probe-process.ts";
import { startEcho } from "../support/probe-target.ts";

const RAW = ["--protocol", "raw"];
const STOP_MS = 1_500;

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 15_000;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error("it did not come true");
    await delay(20);
  }
}

/** Stops a generator for a while, as a hypervisor or a debugger does. */
async function standStill(pid: number): Promise<void> {
  process.kill(pid, "SIGSTOP");
  await delay(STOP_MS);
  process.kill(pid, "SIGCONT");
}

/** What was said about the server: verdicts of stages, without those that count neither way. */
function verdicts({ stages }: Report): string[] {
  return stages.map(({ verdict }) => verdict).filter((verdict) => verdict !== "generator-bound");
}

describe("a server that stalls for 200 ms now and then", () => {
  it("shows in the response's p99; the median does not move, the lateness stays clean", async ({
    onTestFinished,
  }) => {
    const server = await EchoProcess.start({ stallMs: 200, stallEveryMs: 2_000 }, onTestFinished);
    const { code, report } = await new ProbeProcess(
      ["load", server.endpoint, ...RAW, "-c", "50", "-R", "1k", "-d", "5s", "--json"],
      onTestFinished,
    ).reported();
    expect([code, report.outcome, report.limit]).toEqual([0, "passed", null]);
    const stage = report.stages.at(-1)!;
    const { response, service, lateness } = stage.latencies;
    expect(response!.p99).toBeGreaterThan(100);
    expect(response!.max).toBeLessThan(2_000);
    expect(service!.p50).toBeLessThan(20);
    expect(response!.p50).toBeLessThan(20);
    expect(lateness!.p99).toBeLessThan(25);
    expect(stage.operations.echo).toMatchObject({ scheduled: 5_000, succeeded: 5_000 });
    // The stall is the server's: the loop that sends did not wait for it.
    expect(report.series.some(({ responseP99Ms }) => (responseP99Ms ?? 0) > 100)).toBe(true);
  }, 30_000);
});

describe("a generator that is stopped for a while", () => {
  it("spoils the level of a capacity search, which is tried again: nothing else happens", async ({
    onTestFinished,
  }) => {
    const target = await startEcho({}, onTestFinished);
    const probe = new ProbeProcess(
      [
        ...["capacity", `tcp://127.0.0.1:${target.port}`, ...RAW, "--ping-rate", "1"],
        ...["--start", "300", "--max", "300", "--level-hold", "1500ms", "--hold", "500ms"],
        ...["--connect-rate", "5k", "--json"],
      ],
      onTestFinished,
    );
    await until(() => target.open >= 300);
    await standStill(probe.generatorPids[0]!);
    const { code, report } = await probe.reported();
    expect(report.stages[0]).toMatchObject({
      kind: "climb",
      name: "300",
      verdict: "generator-bound",
    });
    expect(report.stages[0]!.reasons.join()).toMatch(/the probe was late: lateness p99 [\d.]+ ms/);
    expect(report.stages[1]).toMatchObject({ kind: "climb", name: "300" });
    expect(verdicts(report).every((verdict) => verdict === "ok")).toBe(true);
    expect([code, report.outcome, report.limit]).toEqual([0, "passed", null]);
    expect(report.capacity).toMatchObject({ connections: 300, failedAt: null });
    // Answers that lay in its sockets meanwhile had come in time.
    expect([report.failures, report.deaths]).toEqual([[], []]);
  }, 40_000);

  it("leaves a load without a verdict", async ({ onTestFinished }) => {
    const target = await startEcho({}, onTestFinished);
    const probe = new ProbeProcess(
      [
        ...["load", `tcp://127.0.0.1:${target.port}`, ...RAW, "-c", "20", "-R", "500", "-d", "4s"],
        ...["--echo-timeout", "1s", "--threshold", "response:p(99)<200ms", "--json"],
      ],
      onTestFinished,
    );
    await until(() => target.open >= 20);
    await delay(1_000);
    await standStill(probe.generatorPids[0]!);
    const { code, report } = await probe.reported();
    expect([code, report.outcome]).toEqual([90, "generator-bound"]);
    expect(report.limit).toMatchObject({ kind: "generator", party: "prober" });
    expect(report.sentence).toMatch(
      /^GENERATOR-BOUND, no verdict on the server: the probe was late/,
    );
    expect(verdicts(report)).toEqual(["ok"]);
    const { operations, latencies } = report.stages.at(-1)!;
    // Latecomers are kept, and measured from when they should have begun.
    expect(operations.echo).toMatchObject({ scheduled: 2_000, started: 2_000 });
    expect(latencies.response!.max).toBeGreaterThan(STOP_MS * 0.8);
    expect(latencies.lateness!.max).toBeGreaterThan(STOP_MS * 0.8);
    expect(latencies.service!.p50).toBeLessThan(100);
    // Echoes under way when it stopped were back within their second: nobody read them.
    expect(report.failures).toEqual([]);
  }, 30_000);
});

describe("a generator that is killed", () => {
  it("is said to be lost, and the server is not judged", async ({ onTestFinished }) => {
    const target = await startEcho({}, onTestFinished);
    const probe = new ProbeProcess(
      [
        ...["capacity", `tcp://127.0.0.1:${target.port}`, ...RAW, "--start", "100"],
        ...["--level-hold", "20s", "--generators", "2", "--json"],
      ],
      onTestFinished,
    );
    await until(() => target.open >= 100);
    const [first, second] = probe.generatorPids;
    process.kill(first!, "SIGKILL");
    const { code, report } = await probe.reported();
    expect([code, report.outcome]).toEqual([90, "generator-bound"]);
    expect(report.sentence).toMatch(
      /no verdict on the server: generator process \d was lost: it was ended by SIGKILL/,
    );
    expect(verdicts(report).filter((verdict) => verdict !== "aborted")).toEqual([]);
    expect(report.limit?.party ?? "prober").toBe("prober");
    await until(() => target.open === 0);
    expect(isRunning(second!)).toBe(false);
  }, 30_000);
});

describe("Ctrl-C", () => {
  const commands = {
    capacity: ["--start", "200", "--level-hold", "20s", "--generators", "2"],
    load: ["-c", "200", "-R", "500", "-d", "20s", "--generators", "2"],
  };

  it.each(["capacity", "load"] as const)(
    "ends %s with a report of what there is, closes everything and leaves nothing behind",
    async (command) => {
      const ends: (() => void)[] = [];
      const target = await startEcho({}, (end) => ends.push(end));
      const probe = new ProbeProcess(
        [command, `tcp://127.0.0.1:${target.port}`, ...RAW, ...commands[command], "--json"],
        (end) => ends.push(end),
      );
      await until(() => target.open >= 200);
      await delay(700);
      const generators = probe.generatorPids;
      expect(generators).toHaveLength(2);
      probe.signal("SIGINT");
      const { code, report, durationMs } = await probe.reported();
      expect([code, report.outcome]).toEqual([105, "aborted"]);
      expect(report.sentence).toMatch(/^Interrupted: /);
      const last = report.stages.at(-1)!;
      expect(last).toMatchObject({ verdict: "aborted", connections: { intended: 200 } });
      expect(last.connections.held).toBe(200);
      expect(report.deaths).toEqual([]);
      expect(durationMs).toBeLessThan(15_000);
      await until(() => target.open === 0);
      expect(generators.filter(isRunning)).toEqual([]);
      for (const end of ends) end();
    },
    30_000,
  );

  it("twice ends it at once, and its generators with it", async ({ onTestFinished }) => {
    const target = await startEcho({}, onTestFinished);
    const probe = new ProbeProcess(
      ["capacity", `tcp://127.0.0.1:${target.port}`, ...RAW, "--start", "50", "--hold", "20s"],
      onTestFinished,
    );
    await until(() => target.open >= 50);
    const generators = probe.generatorPids;
    // Stopped, it cannot say goodbye: the first signal waits for it.
    for (const pid of generators) process.kill(pid, "SIGSTOP");
    probe.signal("SIGINT");
    await probe.wrote(/interrupted: closing/);
    probe.signal("SIGINT");
    await until(() => !isRunning(probe.pid));
    for (const pid of generators) process.kill(pid, "SIGCONT");
    expect((await probe.ended).code).toBe(105);
    await until(() => !generators.some(isRunning) && target.open === 0);
  }, 30_000);
});
