// What operators are answered for all workers together. Each answer is asked for when it is wanted;
// a worker that does not give one is named and left out, but for its counters, which never fall.

import { versions } from "node:process";
import type { Clock, Scheduled } from "../base/clock.ts";
import { GcWatch } from "../observe/gc-watch.ts";
import { mergedMetrics, type MetricJson, Metrics } from "../observe/metrics.ts";
import { packageVersion } from "../observe/package-version.ts";
import { ProcessReader } from "../observe/process-reading.ts";
import {
  type AdminSource,
  type ReadyReport,
  type ReloadState,
  type Scrape,
  WorkerSilent,
} from "../server/admin-source.ts";
import type { ConnectionQuery } from "../server/inspect.ts";
import type {
  AnswerTo,
  ClosedConnections,
  ClosedQuery,
  OperatorAnswer,
  OperatorRequest,
  TopConnections,
} from "../server/operator.ts";
import { READINESS, type Readiness } from "../server/readiness.ts";
import type { ServerState } from "../server/server.ts";
import { STATS_SCHEMA, type StatsReport } from "../server/stats.ts";
import { mergedClosed, mergedTop, workerOfId } from "./merged-connections.ts";
import { addRemains, remainsOf } from "./merged-metrics.ts";
import {
  addCounters,
  countersOf,
  mergedStats,
  NO_COUNTERS,
  type OwnStats,
  type StatsCounters,
} from "./merged-stats.ts";
import {
  SUPERVISOR_METRICS,
  SUPERVISOR_PROCESS_METRICS,
  type SupervisorSource,
} from "./supervisor-metrics.ts";

/**
 * A worker that needs longer is in trouble, and whoever asks wants to know of the others: the probe
 * waits 2 s for /stats.
 */
export const ANSWER_TIMEOUT_MS = 1_500;
/** How often counters are asked for although nobody wants them: a crash loses as much of them. */
export const SAMPLE_MS = 5_000;

export interface WorkerView {
  readonly slot: number;
  /** Counts all workers since the supervisor began. */
  readonly worker: number;
  readonly pid: number;
  readonly state: string;
  /** What it told last; null: nothing yet. */
  readonly report: { readonly configHash: string } | null;
  /** Null where it does not answer in time. */
  ask(request: OperatorRequest, timeoutMs: number): Promise<OperatorAnswer | null>;
}

/** What the supervisor knows by itself, at this moment. */
export interface SupervisorFacts {
  readonly state: ServerState;
  readonly node: string;
  readonly uptimeMs: number;
  readonly fileLimit: number | null;
  readonly slots: number;
  /** Slots whose workers crash too often. */
  readonly breakersOpen: readonly number[];
  /** Workers that ended unasked, and how many were started for it. */
  readonly crashes: number;
  readonly restarts: number;
  readonly config: {
    /** Of the options in force. */
    readonly hash: string;
    /** Options that wait for a rolling restart or a new start. */
    readonly pending: readonly string[];
    /** Changes of the file, since the start. */
    readonly taken: number;
    readonly refused: number;
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

/** The last that is known of a worker. */
interface Known {
  stats: StatsReport | null;
  metrics: readonly MetricJson[] | null;
}

interface Asked<Request extends OperatorRequest> {
  readonly view: WorkerView;
  readonly answer: AnswerTo<Request> | null;
}

export class Operators implements AdminSource {
  readonly #parts: OperatorsParts;
  readonly #version: string = packageVersion();
  readonly #process: ProcessReader;
  readonly #gc: GcWatch = new GcWatch();
  readonly #processMetrics: Metrics<SupervisorSource>;
  readonly #ownMetrics: Metrics<SupervisorSource>;
  /** What the newest scrape reads. */
  #source: SupervisorSource | null = null;
  /** By worker. */
  readonly #known: Map<number, Known> = new Map();
  /** Of workers that have gone. */
  #goneStats: StatsCounters = NO_COUNTERS;
  readonly #goneMetrics: (readonly MetricJson[])[] = [];
  #timer: Scheduled | null = null;

  constructor(parts: OperatorsParts) {
    this.#parts = parts;
    this.#process = new ProcessReader(parts.clock);
    this.#processMetrics = new Metrics(SUPERVISOR_PROCESS_METRICS, () => this.#source!);
    this.#ownMetrics = new Metrics(SUPERVISOR_METRICS, () => this.#source!);
  }

  start(): void {
    this.#gc.start();
    this.#schedule();
  }

  stop(): void {
    this.#gc.stop();
    this.#timer?.cancel();
    this.#timer = null;
  }

  /**
   * A worker has ended: what it counted is kept. Call it when `workers()` names it no more; one
   * that is never retired is as soon as somebody asks.
   * @param last what it told at its end; null: the last that was heard counts.
   */
  retire(worker: number, last: Partial<Known> | null = null): void {
    const known = this.#known.get(worker);
    this.#known.delete(worker);
    const stats = last?.stats ?? known?.stats ?? null;
    const metrics = last?.metrics ?? known?.metrics ?? null;
    if (stats !== null) this.#goneStats = addCounters(this.#goneStats, countersOf(stats));
    if (metrics !== null) this.#goneMetrics.push(remainsOf(metrics));
  }

  about(): ReturnType<AdminSource["about"]> {
    const { node, state } = this.#parts.facts();
    return { version: this.#version, node, state };
  }

  async ready(): Promise<ReadyReport> {
    return this.#readiness(await this.#askAll({ what: "readiness" }));
  }

  async stats(worker: number | null): Promise<object | null> {
    if (worker !== null) return await this.#askOne(worker, { what: "stats" });
    const [asked, ready, reading] = await Promise.all([
      this.#askAll({ what: "stats" }),
      this.ready(),
      this.#process.read(),
    ]);
    const facts = this.#parts.facts();
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
    const { live, others } = this.#settled(asked, "stats");
    const counters = others.map(countersOf);
    return {
      ...mergedStats(own, live, counters.reduce(addCounters, this.#goneStats)),
      workers: this.#parts
        .workers()
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
      const found = await this.#askOne(worker, { what: "metrics" });
      return found === null ? null : await mergedMetrics([perWorker(found)]);
    }
    const [asked, ready, reading] = await Promise.all([
      this.#askAll({ what: "metrics" }),
      this.ready(),
      this.#process.read(),
    ]);
    const facts = this.#parts.facts();
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
    await this.#foldGone();
    // From here on nothing is waited for until all are chosen: who retires meanwhile counts once.
    const { live, others } = this.#settled(asked, "metrics");
    const all = [
      ...live,
      ...others.map(remainsOf),
      ...this.#goneMetrics,
      ownProcess.filter(({ name }) => live.length === 0 || name !== "holdfast_build_info"),
    ];
    return await mergedMetrics([...all.map(mergeable), own]);
  }

  async connections(query: ConnectionQuery): Promise<TopConnections> {
    const asked = await this.#askAll({ what: "connections", query });
    const merged = mergedTop(answersOf(asked), query.sort, query.limit);
    return { ...merged, ...{ missing: missingOf(asked) } };
  }

  async closed(query: ClosedQuery): Promise<ClosedConnections> {
    const asked = await this.#askAll({ what: "closed", query });
    return { ...mergedClosed(answersOf(asked), query.limit), ...{ missing: missingOf(asked) } };
  }

  async connection(id: string): Promise<object | null> {
    const worker = workerOfId(id);
    if (worker === null) return null;
    return (await this.#askOne(worker, { what: "connection", id }))?.connection ?? null;
  }

  async kick(id: string): Promise<boolean> {
    const worker = workerOfId(id);
    if (worker === null) return false;
    return (await this.#askOne(worker, { what: "kick", id }))?.kicked ?? false;
  }

  #readiness(asked: readonly Asked<{ what: "readiness" }>[]): ReadyReport {
    const { state, breakersOpen } = this.#parts.facts();
    if (state === "draining" || state === "stopped") return notReady("draining");
    if (breakersOpen.length > 0) {
      return { ...notReady("breaker_open"), text: breakerText(breakersOpen) };
    }
    const found = answersOf(asked).map(({ readiness }) => readiness);
    if (found.includes("ready")) return { isReady: true, word: "ready", text: READINESS.ready };
    return notReady(found.find((word) => word !== "not_serving") ?? found[0] ?? "no_worker");
  }

  /** Null where there is no such worker. Throws {@link WorkerSilent}. */
  async #askOne<Request extends OperatorRequest>(
    worker: number,
    request: Request,
  ): Promise<AnswerTo<Request> | null> {
    const view = this.#parts.workers().find((each) => each.worker === worker);
    if (view === undefined) return null;
    const { answer } = await this.#ask(view, request);
    if (answer === null) throw new WorkerSilent(worker);
    return answer;
  }

  #askAll<Request extends OperatorRequest>(request: Request): Promise<Asked<Request>[]> {
    // One that is starting has nothing to tell yet, and is not missed.
    const begun = this.#parts.workers().filter(({ state }) => state !== "starting");
    return Promise.all(begun.map((view) => this.#ask(view, request)));
  }

  async #ask<Request extends OperatorRequest>(
    view: WorkerView,
    request: Request,
  ): Promise<Asked<Request>> {
    if (!this.#known.has(view.worker)) this.#known.set(view.worker, { stats: null, metrics: null });
    const answer = (await view.ask(request, ANSWER_TIMEOUT_MS)) as AnswerTo<Request> | null;
    // Gone where it was retired meanwhile: what came too late is in no sum.
    const known = this.#known.get(view.worker);
    if (answer !== null && known !== undefined) {
      if (request.what === "stats") known.stats = answer as StatsReport;
      if (request.what === "metrics") known.metrics = answer as readonly MetricJson[];
    }
    return { view, answer };
  }

  /**
   * The answers of workers that are still there, and the last that is known of those that did not
   * answer. Whoever has ended without having been retired is now.
   */
  #settled<What extends keyof Known>(
    asked: readonly Asked<{ readonly what: What }>[],
    what: What,
  ): { readonly live: NonNullable<Known[What]>[]; readonly others: NonNullable<Known[What]>[] } {
    const there = new Set(this.#parts.workers().map(({ worker }) => worker));
    for (const worker of [...this.#known.keys()]) if (!there.has(worker)) this.retire(worker);
    const missing = new Set(missingOf(asked));
    const live: NonNullable<Known[What]>[] = [];
    const others: NonNullable<Known[What]>[] = [];
    for (const [worker, { [what]: newest }] of this.#known) {
      if (newest !== null) (missing.has(worker) ? others : live).push(newest);
    }
    return { live, others };
  }

  /** One sum for all that have gone. */
  async #foldGone(): Promise<void> {
    while (this.#goneMetrics.length > 1) {
      const [a, b] = [this.#goneMetrics[0]!, this.#goneMetrics[1]!];
      const sum = await addRemains(a, b);
      // Another scrape may have done it meanwhile.
      if (this.#goneMetrics[0] === a && this.#goneMetrics[1] === b) {
        this.#goneMetrics.splice(0, 2, sum);
      }
    }
  }

  #schedule(): void {
    this.#timer = this.#parts.clock.after(SAMPLE_MS, () => {
      const asked = [this.#askAll({ what: "stats" }), this.#askAll({ what: "metrics" })];
      void Promise.all(asked).then(() => {
        if (this.#timer !== null) this.#schedule();
      });
    });
  }
}

function answersOf<Request extends OperatorRequest>(
  asked: readonly Asked<Request>[],
): NonNullable<AnswerTo<Request>>[] {
  return asked.flatMap(({ answer }) => (answer === null ? [] : [answer]));
}

function missingOf(asked: readonly Asked<OperatorRequest>[]): number[] {
  return asked.filter(({ answer }) => answer === null).map(({ view }) => view.worker);
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
