// One admin listener for a supervisor and its workers, which are real processes: what operators see
// and order while workers are replaced, stopped and killed.
import { kill } from "node:process";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, it, onTestFinished } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { runCommandLine } from "../../src/cli/command-line.ts";
import type { ServerStats } from "../../src/cli/operator-tables.ts";
import { StatsSource } from "../../src/probe/stats-source.ts";
import type { TopConnections } from "../../src/server/operator.ts";
import { workerOfId } from "../../src/supervisor/merged-connections.ts";
import { type PrometheusText, readPrometheus } from "../support/prometheus-text.ts";
import { RawClient } from "../support/raw-client.ts";
import { ServerProcess } from "../support/server-process.ts";

const FILES = 1_000;
const FLAGS = ["--workers", "2", "--drain-grace-ms", "300", "--drain-close-spread-ms", "200"];

interface Stage {
  readonly server: ServerProcess;
  readonly admin: string;
}

async function started(...flags: readonly string[]): Promise<Stage> {
  const server = await ServerProcess.start(FILES, onTestFinished, [...FLAGS, ...flags]);
  return { server, admin: `http://127.0.0.1:${server.ports.get("admin")}` };
}

async function run({ admin }: Stage, ...args: readonly string[]): Promise<string> {
  let [out, error] = ["", ""];
  const code = await runCommandLine([...args, "--admin", admin], {
    env: {},
    isInteractive: false,
    columns: 100,
    write: (text) => void (out += text),
    writeError: (text) => void (error += text),
  });
  expect({ code, error }).toEqual({ code: 0, error: "" });
  return out;
}

async function get({ admin }: Stage, path: string): Promise<{ status: number; text: string }> {
  const response = await fetch(`${admin}${path}`, { signal: AbortSignal.timeout(5_000) });
  return { status: response.status, text: await response.text() };
}

const json = async <T>(stage: Stage, path: string): Promise<T> =>
  JSON.parse((await get(stage, path)).text) as T;
const stats = (stage: Stage): Promise<ServerStats> => json(stage, "/stats");

async function clients({ server }: Stage, count: number): Promise<RawClient[]> {
  const port = server.ports.get("tcp")!;
  return await Promise.all(
    Array.from({ length: count }, () => RawClient.active({ port, transport: "tcp" })),
  );
}

function counters(text: PrometheusText): Map<string, number> {
  const entries = text.samples
    .filter(({ name }) => name.endsWith("_total") || /_(count|sum|bucket)$/.test(name))
    .map(({ name, labels, value }) => [`${name}${JSON.stringify(labels)}`, value] as const);
  return new Map(entries);
}

async function scrape(stage: Stage): Promise<Map<string, number>> {
  return counters(readPrometheus((await get(stage, "/metrics")).text));
}

function expectNoFall(before: Map<string, number>, after: Map<string, number>): void {
  for (const [key, value] of before) {
    expect(after.get(key) ?? -1, key).toBeGreaterThanOrEqual(value - 1e-6);
  }
}

describe("a supervisor with two workers", () => {
  it("is one server to operators: sums, connections by id, each worker's own view", async () => {
    const stage = await started();
    const held = await clients(stage, 24);
    const whole = await stats(stage);
    expect(whole).toMatchObject({
      state: "serving",
      readiness: "ready",
      pid: stage.server.pid,
      connections: { total: 24 },
      totals: { opens: 24 },
      missing: [],
    });
    expect(whole.listeners.map(({ name }) => name)).toContain("tcp");
    expect(new Set(whole.listeners.map(({ name }) => name)).size).toBe(whole.listeners.length);
    const workers = whole.workers!;
    expect(workers.map(({ slot, worker }) => [slot, worker])).toEqual([
      [0, 1],
      [1, 2],
    ]);
    for (const { worker, connections, configHash } of workers) {
      expect(configHash).toBe(whole.supervisor!.config.hash);
      const own = await json<ServerStats>(stage, `/stats?worker=${worker}`);
      expect(own.connections.total).toBe(connections);
    }
    const top = await json<TopConnections>(stage, "/connections?sort=age");
    expect(top).toMatchObject({ matching: 24, missing: [] });
    for (const { worker, connections } of workers) {
      const here = top.connections.filter(({ id }) => workerOfId(id) === worker);
      expect(here).toHaveLength(connections!);
    }
    for (const { id } of top.connections.slice(0, 4)) {
      expect(await run(stage, "kick", id)).toBe(`${id} is disconnected\n`);
    }
    await expect.poll(async () => (await stats(stage)).connections.total).toBe(20);
    expect(await json(stage, "/closed?reason=rebalance")).toMatchObject({ matching: 4 });
    expect((await get(stage, "/stats?worker=3")).status).toBe(404);
    for (const client of held) client.reset();
  });

  it("is watched by the probe as three processes, none twice", async () => {
    const stage = await started();
    const source = new StatsSource(`${stage.admin}/stats`, systemClock);
    onTestFinished(() => source.close());
    const readings = await source.read();
    expect(new Set(readings.map(({ pid }) => pid)).size).toBe(3);
    const { rssBytes } = await stats(stage);
    const sum = readings.reduce((total, reading) => total + reading.rssBytes!, 0);
    expect(sum / rssBytes).toBeGreaterThan(0.8);
    expect(sum / rssBytes).toBeLessThan(1.25);
    for (const { fds } of readings) expect(fds).toBeLessThan(200);
  });

  it("never counts backwards: through a rolling restart, and when a worker is killed", async () => {
    const stage = await started();
    const held = await clients(stage, 10);
    let before = await scrape(stage);
    expect(before.get("holdfast_connections_opened_total{}")).toBe(10);
    expect(await run(stage, "reload", "--wait")).toBe("2 of 2 workers replaced\n");
    let after = await scrape(stage);
    expectNoFall(before, after);
    // Workers that have gone handed in all they counted, to the last connection.
    const { totals, connections } = await stats(stage);
    expect(totals).toMatchObject({ opens: 10, closes: 10 });
    expect(connections.total).toBe(0);
    expect((await stats(stage)).workers!.map(({ worker }) => worker)).toEqual([3, 4]);
    expect(after.get('holdfast_rolling_restarts_total{"outcome":"completed"}')).toBe(1);
    before = after;
    const again = await clients(stage, 6);
    await delay(50);
    before = await scrape(stage);
    kill((await stats(stage)).workers![0]!.pid, "SIGKILL");
    await expect
      .poll(async () => (await stats(stage)).workers!.map(({ worker }) => worker).sort(), {
        timeout: 10_000,
      })
      .toEqual([4, 5]);
    after = await scrape(stage);
    expectNoFall(before, after);
    expect(after.get("holdfast_worker_crashes_total{}")).toBe(1);
    for (const client of [...held, ...again]) client.reset();
  });

  it("answers without a worker that stands still, and names it", async () => {
    const stage = await started();
    const { workers } = await stats(stage);
    kill(workers![1]!.pid, "SIGSTOP");
    const start = performance.now();
    expect(await stats(stage)).toMatchObject({ missing: [2], readiness: "ready" });
    // The probe and most scrapers wait for so long.
    expect(performance.now() - start).toBeLessThan(2_000);
    expect((await get(stage, "/readyz")).status).toBe(200);
    expect(readPrometheus((await get(stage, "/metrics")).text).samples).toContainEqual({
      name: "holdfast_workers_missing",
      labels: {},
      value: 1,
    });
    kill(workers![1]!.pid, "SIGCONT");
    await expect.poll(async () => (await stats(stage)).missing).toEqual([]);
  });

  it("stops in order when an operator says so", async () => {
    const stage = await started();
    const held = await clients(stage, 5);
    expect(await run(stage, "drain")).toBe("the server drains\n");
    await expect.poll(() => stage.server.isAlive, { timeout: 10_000 }).toBe(false);
    for (const client of held) client.reset();
  });
});
