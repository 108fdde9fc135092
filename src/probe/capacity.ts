// `capacity`: finds the most connections that hold while the objectives hold, and says what the
// limit was. Levels are climbed on the connections of the level before; a level that fails gives
// way at once, so that the server is in trouble no longer than it takes to see it.

import { CapacitySearch, type Level } from "./capacity-search.ts";
import { levelLimit, unacceptedLimit } from "./level-limit.ts";
import { actualText } from "./limit-words.ts";
import type { CapacityOptions } from "./probe-options.ts";
import {
  type CapacityResult,
  exitCodeOf,
  type Limit,
  type Outcome,
  type Report,
  type StageReport,
  type StageVerdict,
  type ThresholdResult,
} from "./report.ts";
import { capacitySentence } from "./capacity-sentence.ts";
import { assembleReport } from "./run-report.ts";
import { LEAD_MS, Run, type RunContext, RunEnded, type Stage } from "./run.ts";
import { Scram } from "./scram.ts";
import { generatorReasons, stageReport, stageSample } from "./stage-report.ts";
import { judge } from "./threshold.ts";

/** The result is confirmed at this share of what was found. */
const CONFIRM_SHARE = 0.95;
/** Confirmations that are tried, each a tenth lower, before the search is given up. */
const CONFIRMATIONS_MAX = 3;
const LOWER_SHARE = 0.9;
/** A level that the generator spoilt is tried so often. */
const TRIES_MAX = 3;
/** After a level that failed, the server has this long to put things in order. */
const COOL_DOWN_MS = 1_000;
/** Calm is waited for this long after trouble; then the search goes on carefully anyway. */
const RECOVERY_MS_MAX = 30_000;
/** Timeouts are noticed, and reported, so much later at most. */
const TIMEOUT_SLACK_MS = 500;
/** Once attempts are over, connections that are closed at once have this long to show. */
const SETTLE_MS = 500;

/** How a level went. */
interface LevelResult {
  readonly stage: StageReport;
  readonly limit: Limit | null;
  readonly missed: readonly ThresholdResult[];
}

export async function runCapacity(options: CapacityOptions, context: RunContext): Promise<Report> {
  const extra = {
    faults: { slowReader: 0, halfOpen: 0, churnPerSecond: 0 },
    topics: 0,
    title: `capacity ${options.targets.map(({ text }) => text).join(" ")}`,
    connectionsMax: options.max,
  };
  const run = await Run.start(options, extra, context);
  const capacity = new CapacityRun(run, options);
  try {
    return await capacity.run();
  } finally {
    await run.stop();
  }
}

class CapacityRun {
  readonly #run: Run;
  readonly #options: CapacityOptions;
  readonly #search: CapacitySearch;
  readonly #max: number;
  readonly #scram: Scram | null;
  readonly #stages: StageReport[] = [];
  /** Of levels that failed, by their connections. */
  readonly #limits: { connections: number; limit: Limit }[] = [];
  #confirmed: CapacityResult["confirmed"] = null;
  #hasConnected: boolean = false;

  constructor(run: Run, options: CapacityOptions) {
    this.#run = run;
    this.#options = options;
    this.#max = Math.min(options.max, run.connectionsMax);
    this.#search = new CapacitySearch({
      search: options.search,
      start: Math.min(options.start, this.#max),
      max: this.#max,
      step: options.step,
      precision: options.precision,
    });
    this.#scram = options.isScramArmed ? new Scram() : null;
  }

  async run(): Promise<Report> {
    try {
      return this.#report(await this.#findAndConfirm());
    } catch (error) {
      if (!(error instanceof RunEnded)) throw error;
      const outcome = error.kind === "aborted" ? "aborted" : "generator-bound";
      return this.#report(outcome, error.message);
    }
  }

  async #findAndConfirm(): Promise<Outcome> {
    const found = await this.#find();
    if (found !== null) return found;
    for (let confirmations = 0; confirmations < CONFIRMATIONS_MAX; confirmations++) {
      const { best } = this.#search;
      if (best === 0) return this.#hasConnected ? "failed" : "unreachable";
      const connections = Math.max(1, Math.floor(best * CONFIRM_SHARE));
      const { holdMs } = this.#options;
      const result = await this.#tryLevel({ kind: "confirm", connections }, holdMs);
      if (result === null) return "generator-bound";
      if (result.stage.verdict === "ok") {
        this.#confirmed = { connections, holdMs };
        return this.#judgement();
      }
      if (hasDied(result.limit)) return "failed";
      await this.#coolDown(Math.floor(connections * LOWER_SHARE));
      this.#search.lower(Math.floor(best * LOWER_SHARE), connections);
    }
    return "no-convergence";
  }

  /** @returns null where the search came to its end. */
  async #find(): Promise<Outcome | null> {
    for (let level = this.#search.next(); level !== null; level = this.#search.next()) {
      const result = await this.#tryLevel(level, this.#options.levelHoldMs);
      if (result === null) return "generator-bound";
      const { stage, limit } = result;
      if (stage.verdict === "ok") {
        this.#search.record(level.connections, true, null);
        continue;
      }
      const isWall = stage.verdict === "wall";
      this.#search.record(level.connections, false, isWall ? stage.connections.held : null);
      if (!this.#hasConnected) return limit?.party === "prober" ? "generator-bound" : "unreachable";
      // Nobody is there to be asked any more.
      if (hasDied(limit)) return "failed";
      await this.#coolDown(this.#search.best);
      // How many connections fit is another question than how fast they are taken.
      if (limit !== null && isRateLimit(limit) && this.#search.best > 0) return null;
    }
    return null;
  }

  #judgement(): Outcome {
    const { atLeast } = this.#options;
    if (atLeast !== null && this.#search.best < atLeast) return "failed";
    const isOwnLimit = this.#max < this.#options.max && this.#search.best >= this.#max;
    return isOwnLimit ? "generator-bound" : "passed";
  }

  /** A level until it has a verdict about the server; null: the generator spoilt every try. */
  async #tryLevel(
    level: Level | { kind: "confirm"; connections: number },
    holdMs: number,
  ): Promise<LevelResult | null> {
    for (let tries = 1; tries <= TRIES_MAX; tries++) {
      const result = await this.#runLevel(level, holdMs);
      this.#stages.push(result.stage);
      this.#run.context.view.stage(result.stage);
      if (result.stage.verdict !== "generator-bound") {
        if (result.limit !== null) {
          this.#limits.push({ connections: level.connections, limit: result.limit });
        }
        return result;
      }
      // What did not come to be is opened anew, and measured.
      await this.#coolDown(this.#search.best);
    }
    return null;
  }

  async #runLevel(
    level: { readonly kind: string; readonly connections: number },
    holdMs: number,
  ): Promise<LevelResult> {
    const run = this.#run;
    const { connections } = level;
    await run.grow(connections);
    await run.shrinkTo(connections, this.#options.connectPerSecond);
    const name = connections.toLocaleString("en-US");
    const stage = await run.beginStage(level.kind, name, connections);
    let trouble: string | null = null;
    try {
      trouble = await this.#climb(stage, holdMs);
    } catch (error) {
      if (error instanceof RunEnded) await this.#endAborted(stage);
      throw error;
    }
    await run.endStage();
    if (stage.tally.counts.connect.succeeded > 0) this.#hasConnected = true;
    return this.#judge(stage, trouble);
  }

  /** Opens what is missing, and holds. @returns why the scram ended it, or null. */
  async #climb(stage: Stage, holdMs: number): Promise<string | null> {
    const run = this.#run;
    const { clock } = run.context;
    const missing = stage.intended - run.held;
    const rampMs = (missing / this.#options.connectPerSecond) * 1_000;
    const startMs = clock.now() + LEAD_MS;
    const opening = run.connect(Math.max(0, missing), startMs);
    this.#ping(stage, startMs, rampMs, holdMs);
    let ended = await this.#open(stage, opening, startMs);
    if (ended === null) {
      run.phase("settling", SETTLE_MS);
      ended = await this.#watch(() => clock.now() - stage.phaseStartMs >= SETTLE_MS);
    }
    if (ended === null && run.held >= this.#enough(stage)) {
      run.phase("holding", holdMs);
      ended = await this.#watch(() => clock.now() - stage.phaseStartMs >= holdMs);
    }
    run.generators.halt("echo");
    stage.operateMs = clock.now() - startMs;
    // Every echo of a level is answered or overdue before the level is judged.
    const drainMs = this.#options.operationTimeoutMs + TIMEOUT_SLACK_MS;
    run.phase("draining", drainMs);
    await run.waitFor(
      () => run.operationsUnderWay === 0 || clock.now() - stage.phaseStartMs >= drainMs,
    );
    return ended;
  }

  async #open(stage: Stage, opening: number, startMs: number): Promise<string | null> {
    if (opening === 0) return null;
    const run = this.#run;
    stage.connectPerSecond = this.#options.connectPerSecond;
    run.phase("connecting", null);
    const counts = stage.tally.counts.connect;
    const isOver = (): boolean => counts.succeeded + counts.failed >= opening;
    const ended = await this.#watch(isOver);
    run.generators.halt("connect");
    stage.connectMs = run.connectingMs(startMs);
    if (ended !== null) {
      // Attempts that are under way end one way or the other.
      const { connectTimeoutMs } = this.#options;
      const since = run.context.clock.now();
      await run.waitFor(
        () => run.connecting === 0 || run.context.clock.now() - since > connectTimeoutMs + 1_000,
      );
    }
    return ended;
  }

  /** Watches until `isDone`. @returns why the scram ended it, or null. */
  async #watch(isDone: () => boolean): Promise<string | null> {
    let trouble: string | null = null;
    await this.#run.waitFor(() => {
      if (this.#scram !== null) {
        const alarm = this.#scram.observe(this.#run.vitals());
        if (alarm !== null) trouble = `${alarm.kind}: ${alarm.reason}`;
      }
      return trouble !== null || isDone();
    });
    return trouble;
  }

  #ping(stage: Stage, startMs: number, rampMs: number, holdMs: number): void {
    const { pingPerSecond, traffic, connectTimeoutMs } = this.#options;
    if (traffic !== "echo" || pingPerSecond === 0) return;
    const from = this.#run.held * pingPerSecond;
    const to = stage.intended * pingPerSecond;
    // Attempts may take longer than the ramp; the level's end halts what is left.
    const restMs = connectTimeoutMs + SETTLE_MS + holdMs + 60_000;
    this.#run.schedule({
      kind: "echo",
      arrival: "constant",
      segments: [
        { durationMs: Math.max(0, rampMs), fromPerSecond: from, toPerSecond: to },
        { durationMs: restMs, fromPerSecond: to, toPerSecond: to },
      ],
      startAtMs: startMs,
    });
  }

  /** Connections without which a level is not worth holding. */
  #enough(stage: Stage): number {
    const errors = this.#options.objectives.find(({ metric }) => metric === "errors");
    return Math.ceil(stage.intended * (1 - Math.min(1, errors?.limit ?? ERRORS_DEFAULT)));
  }

  #judge(stage: Stage, trouble: string | null): LevelResult {
    const { objectives } = this.#options;
    const run = this.#run;
    const sample = stageSample(run, stage);
    const missed = objectives
      .map((objective) => judge(objective, [sample], sample.fromMs, sample.toMs))
      .filter((result) => !result.passed && (result.actual !== null || isOwed(result, stage)));
    const bound = generatorReasons(stage.tally, objectives);
    const unaccepted = unacceptedLimit(run, stage);
    const isShort = run.held < this.#enough(stage) || unaccepted !== null;
    const verdict: StageVerdict =
      bound.length > 0
        ? "generator-bound"
        : trouble !== null && !trouble.startsWith("wall")
          ? "scram"
          : isShort
            ? "wall"
            : missed.length > 0 || trouble !== null
              ? "missed"
              : "ok";
    const reasons = [
      ...bound,
      ...(trouble === null ? [] : [trouble]),
      ...missed.map((objective) => `${objective.text}: ${actualText(objective)}`),
      ...(unaccepted === null ? [] : [unaccepted.text]),
    ];
    const report = stageReport(run, stage, verdict, reasons, objectives);
    const hasFailed = verdict !== "ok" && verdict !== "generator-bound";
    return {
      stage: report,
      missed,
      limit: hasFailed ? (unaccepted ?? levelLimit(run, stage, report, missed)) : null,
    };
  }

  async #endAborted(stage: Stage): Promise<void> {
    await this.#run.endStage();
    const report = stageReport(this.#run, stage, "aborted", [], this.#options.objectives);
    this.#stages.push(report);
    this.#run.context.view.stage(report);
  }

  /** Back to what is known to hold, and until the server is calm. */
  async #coolDown(connections: number): Promise<void> {
    const run = this.#run;
    await run.shrinkTo(connections, this.#options.connectPerSecond);
    await run.waitMs(COOL_DOWN_MS);
    const scram = this.#scram;
    if (scram === null) return;
    const since = run.context.clock.now();
    await run.waitFor(
      () => scram.hasRecovered(run.vitals()) || run.context.clock.now() - since > RECOVERY_MS_MAX,
    );
  }

  #report(outcome: Outcome, why: string = ""): Report {
    const { best, failedAt } = this.#search;
    const capacity: CapacityResult = {
      connections: best,
      failedAt: failedAt === Infinity ? null : failedAt,
      confirmed: this.#confirmed,
      search: this.#options.search,
      maxReached: best >= this.#options.max,
    };
    const limit = this.#limit(capacity);
    const last = this.#stages.at(-1) ?? null;
    const sentence = capacitySentence({
      outcome,
      capacity,
      limit,
      last,
      why,
      options: this.#options,
    });
    return assembleReport(this.#run, {
      command: "capacity",
      outcome,
      exitCode: exitCodeOf(outcome),
      sentence,
      limit,
      capacity,
      load: null,
      stages: this.#stages,
    });
  }

  /** Of the failed level that is nearest to what held; what is certain comes before a guess. */
  #limit(capacity: CapacityResult): Limit | null {
    if (capacity.connections >= this.#max && this.#max < this.#options.max) {
      return this.#run.ownLimit();
    }
    const byNearness = this.#limits.toSorted((a, b) => a.connections - b.connections);
    const certain = byNearness.find(({ limit }) => limit.confidence === "certain");
    return (certain ?? byNearness[0])?.limit ?? null;
  }
}

const ERRORS_DEFAULT = 0.001;

/** A level that began what an objective is about, and has no sample of it, has missed it. */
function isOwed({ metric }: ThresholdResult, { tally }: Stage): boolean {
  if (metric === "response" || metric === "service") return tally.counts.echo.started > 0;
  return metric.startsWith("connect") && tally.counts.connect.started > 0;
}

function hasDied(limit: Limit | null): boolean {
  return limit?.kind === "server-died" && limit.confidence === "certain";
}

function isRateLimit({ kind }: Limit): boolean {
  return kind === "accept-rate" || kind === "backlog";
}
