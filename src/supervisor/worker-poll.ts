// Asks workers for operators. The last that each has told of its counters is kept: where it does
// not answer that counts for it, and when it has ended it is added to what all others left.

import type { Clock, Scheduled } from "../base/clock.ts";
import type { MetricJson } from "../observe/metrics.ts";
import { WorkerSilent } from "../server/admin-source.ts";
import type { AnswerTo, OperatorAnswer, OperatorRequest } from "../server/operator.ts";
import type { StatsReport } from "../server/stats.ts";
import { addRemains, remainsOf } from "./merged-metrics.ts";
import { addCounters, countersOf, NO_COUNTERS, type StatsCounters } from "./merged-stats.ts";

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

/** The last that is known of a worker. */
export interface Known {
  stats: StatsReport | null;
  metrics: readonly MetricJson[] | null;
}

export interface Asked<Request extends OperatorRequest> {
  readonly view: WorkerView;
  readonly answer: AnswerTo<Request> | null;
}

/** What is to be added up, without waiting: who ends meanwhile is counted once. */
export interface Settled<Told> {
  /** Of workers that answered. */
  readonly live: readonly Told[];
  /** The last of those that did not. */
  readonly others: readonly Told[];
}

export class WorkerPoll {
  readonly #clock: Clock;
  readonly #workers: () => readonly WorkerView[];
  /** By worker. */
  readonly #known: Map<number, Known> = new Map();
  #goneStats: StatsCounters = NO_COUNTERS;
  readonly #goneMetrics: (readonly MetricJson[])[] = [];
  #timer: Scheduled | null = null;

  /** @param workers every one that has not ended. */
  constructor(clock: Clock, workers: () => readonly WorkerView[]) {
    this.#clock = clock;
    this.#workers = workers;
  }

  get workers(): readonly WorkerView[] {
    return this.#workers();
  }

  /** Of workers that have gone. Read it after {@link settled}. */
  get goneStats(): StatsCounters {
    return this.#goneStats;
  }

  /** As {@link goneStats}. */
  get goneMetrics(): readonly (readonly MetricJson[])[] {
    return this.#goneMetrics;
  }

  start(): void {
    this.#schedule();
  }

  stop(): void {
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

  /** Null where there is no such worker. Throws {@link WorkerSilent}. */
  async askOne<Request extends OperatorRequest>(
    worker: number,
    request: Request,
  ): Promise<AnswerTo<Request> | null> {
    const view = this.#workers().find((each) => each.worker === worker);
    if (view === undefined) return null;
    const { answer } = await this.#ask(view, request);
    if (answer === null) throw new WorkerSilent(worker);
    return answer;
  }

  /** Of each that has begun. */
  askAll<Request extends OperatorRequest>(request: Request): Promise<Asked<Request>[]> {
    // One that is starting has nothing to tell yet, and is not missed.
    const begun = this.#workers().filter(({ state }) => state !== "starting");
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
  settled<What extends keyof Known>(
    asked: readonly Asked<{ readonly what: What }>[],
    what: What,
  ): Settled<NonNullable<Known[What]>> {
    const there = new Set(this.#workers().map(({ worker }) => worker));
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
  async foldGone(): Promise<void> {
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
    this.#timer = this.#clock.after(SAMPLE_MS, () => {
      const asked = [this.askAll({ what: "stats" }), this.askAll({ what: "metrics" })];
      void Promise.all(asked)
        .then(() => this.foldGone())
        // Figures of newer code that cannot be added up: whoever asks is told so.
        .catch(() => undefined)
        .then(() => {
          if (this.#timer !== null) this.#schedule();
        });
    });
  }
}

export function answersOf<Request extends OperatorRequest>(
  asked: readonly Asked<Request>[],
): NonNullable<AnswerTo<Request>>[] {
  return asked.flatMap(({ answer }) => (answer === null ? [] : [answer]));
}

export function missingOf(asked: readonly Asked<OperatorRequest>[]): number[] {
  return asked.filter(({ answer }) => answer === null).map(({ view }) => view.worker);
}
