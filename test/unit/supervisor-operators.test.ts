// What operators are told of many workers together: sums that lose nothing and never fall,
// whoever ends or does not answer.
import { afterEach, describe, expect, it } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { Prng } from "../../src/base/prng.ts";
import { CONNECTION_SORTS, type ConnectionReport } from "../../src/server/inspect.ts";
import type { TopConnections } from "../../src/server/operator.ts";
import type { ServerStats } from "../../src/cli/operator-tables.ts";
import { workerOfId } from "../../src/supervisor/merged-connections.ts";
import { Operators, type SupervisorFacts } from "../../src/supervisor/operators.ts";
import { metricOf, type PrometheusText, readPrometheus } from "../support/prometheus-text.ts";
import { FakeWorker } from "../support/worker-view.ts";

const FACTS: SupervisorFacts = {
  state: "serving",
  node: "edge",
  uptimeMs: 1_234.5,
  fileLimit: 20_000,
  slots: 3,
  breakersOpen: [],
  crashes: 0,
  restarts: 0,
  config: {
    hash: "0123456789ab",
    pending: { rolling: [], supervisor: [] },
    taken: 0,
    refused: 0,
    problem: null,
  },
  topics: 0,
  connectionsMax: null,
  slotStates: [],
  reload: {
    state: "idle",
    completed: 0,
    failed: 0,
    slotsDone: 0,
    slots: 3,
    problem: null,
    past: [],
  },
  bus: { frames: 0, bytes: 0, dropped: 0 },
};

class Scene {
  readonly workers: FakeWorker[] = [];
  facts: SupervisorFacts = FACTS;
  readonly operators: Operators = new Operators({
    clock: systemClock,
    workers: () => this.workers,
    facts: () => this.facts,
  });
  #last: number = 0;

  async start(count: number): Promise<FakeWorker[]> {
    const added: FakeWorker[] = [];
    for (let index = 0; index < count; index++) {
      const worker = await FakeWorker.start(this.workers.length, ++this.#last, systemClock);
      scenes.push(worker);
      added.push(worker);
      this.workers.push(worker);
    }
    return added;
  }

  /** As the supervisor does when the process has gone. */
  async end(worker: FakeWorker, isRetired: boolean = true): Promise<void> {
    this.workers.splice(this.workers.indexOf(worker), 1);
    if (isRetired) this.operators.retire(worker.worker);
    await worker.stop();
  }

  async stats(): Promise<ServerStats> {
    return (await this.operators.stats(null)) as ServerStats;
  }

  async metrics(): Promise<PrometheusText> {
    return readPrometheus((await this.operators.metrics(null))!.text);
  }
}

const scenes: FakeWorker[] = [];
afterEach(async () => {
  for (const worker of scenes.splice(0)) await worker.stop();
});

async function scene(count: number): Promise<Scene> {
  const made = new Scene();
  await made.start(count);
  return made;
}

function valueOf(text: PrometheusText, name: string): number | undefined {
  const found = text.samples.filter((sample) => sample.name === name);
  return found.length === 0 ? undefined : found.reduce((sum, { value }) => sum + value, 0);
}

describe("/stats of many workers", () => {
  it("adds up what can be added, and tells of each worker", async () => {
    const all = await scene(3);
    all.workers[0]!.connect(5);
    all.workers[2]!.connect(2);
    const stats = await all.stats();
    expect(stats).toMatchObject({
      schema: "holdfast.stats/1",
      pid: process.pid,
      node: "edge",
      state: "serving",
      readiness: "ready",
      uptimeMs: 1_235,
      connections: { total: 7, max: 300, byTransport: { memory: 7 } },
      totals: { opens: 7 },
      admission: { accepting: true, served: 7 },
      missing: [],
      supervisor: { slots: 3, config: { hash: "0123456789ab" } },
    });
    expect(stats.connections.byState["handshaking"]).toBe(7);
    expect(
      stats.workers!.map(({ slot, worker, connections }) => [slot, worker, connections]),
    ).toEqual([
      [0, 1, 5],
      [1, 2, 0],
      [2, 3, 2],
    ]);
    // Each lists its own; together they are one.
    expect(stats.listeners).toHaveLength(1);
    // All are this one process: four times its memory.
    expect(stats.rssBytes / process.memoryUsage().rss).toBeCloseTo(4, 0);
    expect(stats.fds).toBeLessThan(1_000);
  });

  it("has every field that one worker's own has, of the same type", async () => {
    const all = await scene(2);
    const one = (await all.operators.stats(1)) as Record<string, unknown>;
    const merged = (await all.stats()) as unknown as Record<string, unknown>;
    const shapeOf = (value: unknown): unknown => {
      if (Array.isArray(value)) return value.map(shapeOf);
      if (typeof value !== "object" || value === null) return typeof value;
      return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, shapeOf(each)]));
    };
    for (const [key, value] of Object.entries(one)) {
      expect(shapeOf(merged[key]), key).toEqual(shapeOf(value));
    }
  });

  it("names a worker that is silent, and leaves out all but its counters", async () => {
    const all = await scene(2);
    all.workers[1]!.connect(3);
    await all.stats();
    all.workers[1]!.isSilent = true;
    const stats = await all.stats();
    expect(stats).toMatchObject({ missing: [2], connections: { total: 0 }, totals: { opens: 3 } });
    expect(stats.workers![1]).toMatchObject({ worker: 2, connections: null, rssBytes: null });
  });

  it("asks nothing of a worker that is starting, and does not miss it", async () => {
    const all = await scene(2);
    all.workers[1]!.state = "starting";
    all.workers[1]!.isSilent = true;
    expect(await all.stats()).toMatchObject({ missing: [], connections: { max: 100 } });
  });

  it("is there when nobody answers at all", async () => {
    const all = await scene(0);
    const stats = await all.stats();
    expect(stats).toMatchObject({
      readiness: "no_worker",
      connections: { total: 0 },
      admission: { accepting: false },
      workers: [],
    });
    expect(stats.rssBytes).toBeGreaterThan(1_000_000);
    expect(JSON.stringify(stats)).not.toContain("null,null");
  });
});

describe("counters", () => {
  it("never fall, and nothing shown is lost, whoever comes, goes or is silent", async () => {
    const all = await scene(2);
    const prng = new Prng(7);
    let opened = 0;
    let statsBefore: ServerStats | null = null;
    const seen = new Map<string, number>();
    for (let step = 0; step < 60; step++) {
      const any = all.workers[prng.int(0, Math.max(0, all.workers.length - 1))];
      if (any !== undefined && !any.isSilent) {
        const count = prng.int(0, 3);
        any.connect(count);
        opened += count;
      }
      // What a worker did after it was asked last is lost with it: so it is asked first.
      const stats = await all.stats();
      const text = await all.metrics();
      const silent = all.workers.filter(({ isSilent }) => isSilent).length;
      if (silent === 0) expect(stats.totals.opens).toBe(opened);
      for (const [name, value] of Object.entries(statsBefore?.totals ?? {})) {
        expect(stats.totals[name as "opens"], name).toBeGreaterThanOrEqual(value);
      }
      statsBefore = stats;
      const now = new Set<string>();
      for (const { name, labels, value } of text.samples) {
        const key = `${name}${JSON.stringify(labels)}`;
        now.add(key);
        if (text.types.get(metricOf(text, name)) === "gauge") continue;
        expect(value, key).toBeGreaterThanOrEqual((seen.get(key) ?? 0) - 1e-9);
        seen.set(key, value);
      }
      for (const key of seen.keys()) expect(now.has(key), `lost: ${key}`).toBe(true);
      expect(valueOf(text, "holdfast_connections_opened_total")).toBe(stats.totals.opens);
      const move = prng.int(0, 5);
      if (move === 0) await all.start(1);
      else if (any !== undefined && move === 1) await all.end(any, prng.int(0, 1) === 1);
      else if (any !== undefined && move === 2) any.isSilent = !any.isSilent;
    }
    expect(opened).toBeGreaterThan(30);
  });

  it("of a worker that tells its last before it ends are counted whole", async () => {
    const all = await scene(2);
    const [worker] = all.workers;
    await all.stats();
    worker!.connect(4);
    const last = {
      stats: (await worker!.ask({ what: "stats" })) as never,
      metrics: (await worker!.ask({ what: "metrics" })) as never,
    };
    all.workers.splice(0, 1);
    all.operators.retire(1, last);
    expect((await all.stats()).totals.opens).toBe(4);
    expect(valueOf(await all.metrics(), "holdfast_connections_opened_total")).toBe(4);
    expect((await all.stats()).connections.total).toBe(0);
  });

  it("of a worker count once when it is retired while it is being asked", async () => {
    const all = await scene(2);
    const [worker] = all.workers;
    worker!.connect(3);
    await all.stats();
    await all.metrics();
    const asking = all.stats();
    const scraping = all.metrics();
    all.workers.splice(0, 1);
    all.operators.retire(1);
    expect((await asking).totals.opens).toBe(3);
    expect(valueOf(await scraping, "holdfast_connections_opened_total")).toBe(3);
    expect((await all.stats()).totals.opens).toBe(3);
  });
});

describe("/metrics of many workers", () => {
  it("are sums without a label for the worker, and rows of the supervisor", async () => {
    const all = await scene(3);
    for (const worker of all.workers) worker.connect(2);
    const text = await all.metrics();
    expect(text.samples.some(({ labels }) => "worker" in labels || "slot" in labels)).toBe(false);
    expect(valueOf(text, "holdfast_connections")).toBe(6);
    expect(valueOf(text, "holdfast_connections_max")).toBe(300);
    expect(valueOf(text, "holdfast_listeners")).toBe(1);
    expect(valueOf(text, "holdfast_build_info")).toBe(1);
    expect(valueOf(text, "holdfast_ready")).toBe(1);
    expect(valueOf(text, "holdfast_workers_serving")).toBe(3);
    expect(valueOf(text, "process_max_fds")).toBeLessThanOrEqual(20_000);
    const own = await all.operators.metrics(2);
    expect(valueOf(readPrometheus(own!.text), "holdfast_connections")).toBe(2);
    expect(valueOf(readPrometheus(own!.text), "holdfast_ready")).toBe(1);
    expect(await all.operators.metrics(9)).toBeNull();
  });
});

describe("connections of many workers", () => {
  it("come in the order that one list of all would have", async () => {
    const all = await scene(3);
    const prng = new Prng(3);
    for (const worker of all.workers) {
      for (const connection of worker.connect(40)) {
        connection.bytesIn = prng.int(0, 1_000_000);
        Object.assign(connection, { openedTick: -prng.int(0, 1_000_000) });
      }
    }
    const keys = {
      queue: (each: ConnectionReport) => each.queueBytes,
      age: (each: ConnectionReport) => each.ageMs,
      bytes: (each: ConnectionReport) => each.bytesIn + each.bytesOut,
    };
    for (const sort of CONNECTION_SORTS) {
      const query = { sort, state: null, transport: null } as const;
      const whole = await all.operators.connections({ ...query, limit: 1_000 });
      expect(whole.connections).toHaveLength(120);
      for (const limit of [1, 7, 50]) {
        const found: TopConnections = await all.operators.connections({ ...query, limit });
        expect(found.matching).toBe(120);
        const sorted = whole.connections.map(keys[sort]).sort((a, b) => b - a);
        expect(found.connections.map(keys[sort])).toEqual(sorted.slice(0, limit));
      }
    }
  });

  it("are found by the id that tells their worker, and kicked there alone", async () => {
    const all = await scene(3);
    const [connection] = all.workers[1]!.connect(1);
    const { id } = connection!;
    expect(workerOfId(id)).toBe(2);
    expect(await all.operators.connection(id)).toMatchObject({ closed: false, id });
    expect(await all.operators.kick(id)).toBe(true);
    await expect.poll(() => all.operators.connection(id)).toMatchObject({ closed: true, id });
    const closed = await all.operators.closed({ limit: 10, reason: null, cause: null });
    expect(closed).toMatchObject({ matching: 1, connections: [{ id }], missing: [] });
    expect(await all.operators.kick(id)).toBe(false);
  });

  it("are not looked for in a worker that does not answer: that is said", async () => {
    const all = await scene(2);
    const { id } = all.workers[1]!.connect(1)[0]!;
    all.workers[1]!.isSilent = true;
    await expect(all.operators.connection(id)).rejects.toThrow(/worker 2 does not answer/);
    await expect(all.operators.kick(id)).rejects.toThrow(/worker 2 does not answer/);
    const query = { sort: "age", limit: 5, state: null, transport: null } as const;
    expect(await all.operators.connections(query)).toMatchObject({ missing: [2], matching: 0 });
  });

  it.each([
    "",
    "-",
    "1-0",
    "zzzzzz-0",
    "1z141z4-",
    "-0",
    "1e99-0",
    `${"z".repeat(12)}-0`,
    "é-1",
    "__proto__",
  ])("are nobody's by the id %j", async (id) => {
    const all = await scene(1);
    expect(workerOfId(id)).toBeNull();
    expect(await all.operators.connection(id)).toBeNull();
    expect(await all.operators.kick(id)).toBe(false);
  });
});

describe("readiness of many workers", () => {
  it("is there while one of them is ready", async () => {
    const all = await scene(2);
    all.workers[0]!.isSilent = true;
    expect(await all.operators.ready()).toMatchObject({ isReady: true, word: "ready" });
    all.workers[1]!.isSilent = true;
    expect(await all.operators.ready()).toMatchObject({ isReady: false, word: "no_worker" });
  });

  it("is not there while a breaker is open, which says where, though others serve on", async () => {
    const all = await scene(2);
    all.facts = { ...FACTS, breakersOpen: [0, 2] };
    const ready = await all.operators.ready();
    expect(ready).toMatchObject({ isReady: false, word: "breaker_open" });
    expect(ready.text).toContain("Slots: 0, 2");
    expect(valueOf(await all.metrics(), "holdfast_ready")).toBe(0);
    expect(valueOf(await all.metrics(), "holdfast_worker_breakers_open")).toBe(2);
  });

  it("is not there while the server drains, whatever workers say", async () => {
    const all = await scene(1);
    all.facts = { ...FACTS, state: "draining", breakersOpen: [1] };
    expect(await all.operators.ready()).toMatchObject({ isReady: false, word: "draining" });
  });

  it("says what its workers say where none is ready", async () => {
    const all = await scene(1);
    all.workers[0]!.connect(100);
    expect(await all.operators.ready()).toMatchObject({ isReady: false, word: "full" });
  });
});
