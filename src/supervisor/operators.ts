// What operators are answered for all workers together. Each answer is asked for when it is wanted;
// a worker that does not give one is named and left out, but for its counters, which never fall.

import { versions } from "node:process";
import type { Clock } from "../base/clock.ts";
import { GcWatch } from "../observe/gc-watch.ts";
import { mergedMetrics, type MetricJson, Metrics } from "../observe/metrics.ts";
import { packageVersion } from "../observe/package-version.ts";
import { ProcessReader } from "../observe/process-reading.ts";
import {
  type AdminSource,
  type ReadyReport,
  type ReloadState,
  type Scrape,
} from "../server/admin-source.ts";
import type { ConnectionQuery } from "../server/inspect.ts";
import type { ClosedConnections, ClosedQuery, TopConnections } from "../server/operator.ts";
import { READINESS, type Readiness } from "../server/readiness.ts";
import type { ServerState } from "../server/server.ts";
import { STATS_SCHEMA } from "../server/stats.ts";
import { mergedClosed, mergedTop, workerOfId } from "./merged-connections.ts";
import { remainsOf } from "./merged-metrics.ts";
import { addCounters, countersOf, mergedStats, type OwnStats } from "./merged-stats.ts";
import {
  SUPERVISOR_METRICS,
  SUPERVISOR_PROCESS_METRICS,
  type SupervisorSource,
} from "./supervisor-metrics.ts";
import {
  answersOf,
  type Asked,
  type Known,
  missingOf,
  WorkerPoll,
  type WorkerView,
} from "./worker-poll.ts";

/** What the supervisor knows by itself, at this moment. */
export interface SupervisorFacts {
  readonly state: ServerState;
  readonly node: string;
  readonly uptimeMs: number;
  readonly fileLimit: number | null;
  /** That somebody subscribes to, on any worker. */
  readonly topics: number;
  /** connection.max; null: as many as all workers can hold. */
  readonly connectionsMax: number | null;
  readonly slots: number;
  /** By slot: "serving", "waiting" for its next worker... */
  readonly slotStates: readonly string[];
  /** Slots whose workers crash too often. */
  readonly breakersOpen: readonly number[];
  /** Workers that ended unasked, and how many were started for it. */
  readonly crashes: number;
  readonly restarts: number;
  readonly config: {
    /** Of the options in force. */
    readonly hash: string;
    /** Options that wait for a rolling restart or a new start. */
    readonly pending: {
      readonly rolling: readonly string[];
      readonly supervisor: readonly string[];
    };
    /** Changes of the file, since the start. */
    readonly taken: number;
    readonly refused: number;
    /** Why the newest content of the file is not in force; null: it is, or waits. */
    readonly problem: string | null;
  };
  readonly reload: ReloadState;
  /** Since the start. */
  readonly bus: { readonly frames: number; readonly bytes: number; readonly dropped: number };
}

export interface OperatorsParts {
  readonly clock: Clock;
  /** Every worker that has not ended. */
  readonly workers: () => readonly WorkerView[];
  readonly facts: () => SupervisorFacts;
}

export class Operators implements AdminSource {
  readonly #facts: () => SupervisorFacts;
  readonly #poll: WorkerPoll;
  readonly #version: string = packageVersion();
  readonly #process: ProcessReader;
  readonly #gc: GcWatch = new GcWatch();
  readonly #processMetrics: Metrics<SupervisorSource>;
  readonly #ownMetrics: Metrics<SupervisorSource>;
  /** What the newest scrape reads. */
  #source: SupervisorSource | null = null;

  constructor(parts: OperatorsParts) {
    this.#facts = parts.facts;
    this.#poll = new WorkerPoll(parts.clock, parts.workers);
    this.#process = new ProcessReader(parts.clock);
    this.#processMetrics = new Metrics(SUPERVISOR_PROCESS_METRICS, () => this.#source!);
    this.#ownMetrics = new Metrics(SUPERVISOR_METRICS, () => this.#source!);
  }

  start(): void {
    this.#gc.start();
    this.#poll.start();
  }

  stop(): void {
    this.#gc.stop();
    this.#poll.stop();
  }

  /**
   * A worker has ended: what it counted is kept. Call it when `workers()` names it no more.
   * @param last what it told at its end; null: the last that was heard counts.
   */
  retire(worker: number, last: Partial<Known> | null = null): void {
    this.#poll.retire(worker, last);
  }

  about(): ReturnType<AdminSource["about"]> {
    const { node, state } = this.#facts();
    return { version: this.#version, node, state };
  }

  async ready(): Promise<ReadyReport> {
    return this.#readiness(await this.#poll.askAll({ what: "readiness" }));
  }

  async stats(worker: number | null): Promise<object | null> {
    if (worker !== null) return await this.#poll.askOne(worker, { what: "stats" });
    const [asked, ready, reading] = await Promise.all([
      this.#poll.askAll({ what: "stats" }),
      this.ready(),
      this.#process.read(),
    ]);
    const facts = this.#facts();
    const own: OwnStats = {
      schema: STATS_SCHEMA,
      pid: process.pid,
      version: this.#version,
      node: facts.node,
      nodeVersion: versions.node,
      state: facts.state,
      readiness: ready.word as Readiness,
      uptimeMs: Math.round(facts.uptimeMs),
      rssBytes: reading.memory.rss,
      heapUsedBytes: reading.memory.heapUsed,
      externalBytes: reading.memory.external,
      arrayBuffersBytes: reading.memory.arrayBuffers,
      cpuMicros: reading.cpuMicros,
      fds: reading.fds,
      fdLimit: facts.fileLimit,
    };
    const { live, others } = this.#poll.settled(asked, "stats");
    const counters = others.map(countersOf);
    const merged = mergedStats(own, live, counters.reduce(addCounters, this.#poll.goneStats));
    // Shares that are on their way from one worker to another are in no sum.
    const max = facts.connectionsMax ?? merged.connections.max;
    return {
      ...merged,
      connections: { ...merged.connections, max },
      topics: { ...merged.topics, count: facts.topics },
      workers: this.#poll.workers
        .toSorted((a, b) => a.slot - b.slot || a.worker - b.worker)
        .map((view) => workerRow(view, asked)),
      missing: missingOf(asked),
      supervisor: {
        ...facts,
        pid: own.pid,
        rssBytes: own.rssBytes,
        cpuMicros: own.cpuMicros,
        fds: own.fds,
      },
    };
  }

  async metrics(worker: number | null): Promise<Scrape | null> {
    if (worker !== null) {
      const found = await this.#poll.askOne(worker, { what: "metrics" });
      return found === null ? null : await mergedMetrics([perWorker(found)]);
    }
    const [asked, ready, reading] = await Promise.all([
      this.#poll.askAll({ what: "metrics" }),
      this.ready(),
      this.#process.read(),
    ]);
    const facts = this.#facts();
    this.#source = {
      facts,
      process: reading,
      gc: this.#gc,
      build: { version: this.#version, node: versions.node, uws: "none" },
      fileLimit: facts.fileLimit,
      isReady: ready.isReady,
      serving: asked.filter(({ view }) => view.state === "serving").length,
      missing: missingOf(asked).length,
    };
    const [ownProcess, own] = [await this.#processMetrics.json(), await this.#ownMetrics.json()];
    await this.#poll.foldGone();
    // From here on nothing is waited for until all are chosen: who retires meanwhile counts once.
    const { live, others } = this.#poll.settled(asked, "metrics");
    const all = [
      ...live,
      ...others.map(remainsOf),
      ...this.#poll.goneMetrics,
      ownProcess.filter(({ name }) => live.length === 0 || name !== "holdfast_build_info"),
    ];
    return await mergedMetrics([...all.map(mergeable), own]);
  }

  async connections(query: ConnectionQuery): Promise<TopConnections> {
    const asked = await this.#poll.askAll({ what: "connections", query });
    const merged = mergedTop(answersOf(asked), query.sort, query.limit);
    return { ...merged, ...{ missing: missingOf(asked) } };
  }

  async closed(query: ClosedQuery): Promise<ClosedConnections> {
    const asked = await this.#poll.askAll({ what: "closed", query });
    return { ...mergedClosed(answersOf(asked), query.limit), ...{ missing: missingOf(asked) } };
  }

  async connection(id: string): Promise<object | null> {
    const worker = workerOfId(id);
    if (worker === null) return null;
    return (await this.#poll.askOne(worker, { what: "connection", id }))?.connection ?? null;
  }

  async kick(id: string): Promise<boolean> {
    const worker = workerOfId(id);
    if (worker === null) return false;
    return (await this.#poll.askOne(worker, { what: "kick", id }))?.kicked ?? false;
  }

  #readiness(asked: readonly Asked<{ what: "readiness" }>[]): ReadyReport {
    const { state, breakersOpen } = this.#facts();
    if (state === "draining" || state === "stopped") return notReady("draining");
    if (breakersOpen.length > 0) {
      return { ...notReady("breaker_open"), text: breakerText(breakersOpen) };
    }
    const found = answersOf(asked).map(({ readiness }) => readiness);
    if (found.includes("ready")) return { isReady: true, word: "ready", text: READINESS.ready };
    return notReady(found.find((word) => word !== "not_serving") ?? found[0] ?? "no_worker");
  }
}

function workerRow(view: WorkerView, asked: readonly Asked<{ readonly what: "stats" }>[]): object {
  const { slot, worker, pid, state, report } = view;
  const answer = asked.find((one) => one.view.worker === worker)?.answer;
  return {
    slot,
    worker,
    pid,
    state,
    readiness: answer?.readiness ?? null,
    configHash: report?.configHash ?? null,
    admission: { accepting: answer?.admission.accepting ?? null },
    connections: answer?.connections.total ?? null,
    connectionsMax: answer?.connections.max ?? null,
    queueBytes: answer?.queue.bytes ?? null,
    rssBytes: answer?.rssBytes ?? null,
    cpuMicros: answer?.cpuMicros ?? null,
    fds: answer?.fds ?? null,
    fdLimit: answer?.fdLimit ?? null,
    uptimeMs: answer?.uptimeMs ?? null,
    lagP99Ms: answer?.loop.lagP99Ms ?? null,
    framesInRate: answer?.rates.framesIn ?? null,
    framesOutRate: answer?.rates.framesOut ?? null,
  };
}

/** Rows that say nothing of several together are said by the supervisor, or by nobody. */
function mergeable(metrics: readonly MetricJson[]): readonly MetricJson[] {
  return metrics.filter(({ aggregator }) => aggregator !== "omit");
}

/** Every row as it is. */
function perWorker(metrics: readonly MetricJson[]): readonly MetricJson[] {
  return metrics.map((metric) => ({ ...metric, aggregator: "sum" }));
}

function notReady(word: Readiness): ReadyReport {
  return { isReady: false, word, text: READINESS[word] };
}

function breakerText(slots: readonly number[]): string {
  return `${READINESS.breaker_open} Slots: ${slots.join(", ")}.`;
}
