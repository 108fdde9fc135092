// `capacity`: finds the most connections that hold while the objectives hold, and says what the
// limit was. Levels are climbed on the connections of the level before; a level that fails gives
// way at once, so that the server is in trouble no longer than it takes to see it.

import { formatCount } from "./quantity.ts";
import { CapacitySearch, type Level } from "./capacity-search.ts";
import { capacitySentence } from "./capacity-sentence.ts";
import { levelLimit, unacceptedLimit, unreachableLimit } from "./level-limit.ts";
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
import { assembleReport } from "./run-report.ts";
import { LEAD_MS, Run, type RunContext, RunEnded, type Stage, TIMEOUT_SLACK_MS } from "./run.ts";
import { Scram, type ScramReason } from "./scram.ts";
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
/** What closing left behind is garbage: V8 collects it when it has been idle for 8 s. */
const WARM_UP_REST_MS = 10_000;
/** Calm is waited for this long after trouble; then the search ends with what it knows. */
const RECOVERY_MS_MAX = 30_000;
/** Once attempts are over, connections that are closed at once have this long to show. */
const SETTLE_MS = 500;

/** How a level went. */
interface LevelResult {
  readonly stage: StageReport;
  readonly limit: Limit | null;
}

export function runCapacity(options: CapacityOptions, context: RunContext): Promise<Report> {
  const faults = { slowReader: 0, halfOpen: 0, churnPerSecond: 0 };
  const job = {
    ...({ command: "capacity", isReturning: false } as const),
    ...{ faults, topics: 0, connectionsMax: options.max },
  };
  return Run.conduct(options, job, context, (run) => new CapacityRun(run, options).run());
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
    const unfit = await this.#preflight();
    if (unfit !== null) return unfit;
    await this.#warmUp();
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
        // What was believed before it was lowered has never been seen to hold.
        if (confirmations > 0) this.#search.best = connections;
        return this.#judgement();
      }
      if (hasDied(result.limit, result.stage.connections.held)) return "failed";
      await this.#coolDown(Math.floor(connections * LOWER_SHARE));
      this.#search.lower(Math.floor(best * LOWER_SHARE), connections);
    }
    return "no-convergence";
  }

  /**
   * One connection to each target, before any search: what is wrong with all connections is wrong
   * with one. @returns null where all targets answer.
   */
  async #preflight(): Promise<Outcome | null> {
    const run = this.#run;
    const count = run.targets.length;
    if (count > this.#max) return null;
    await run.grow(count);
    const stage = await run.beginStage("preflight", `preflight ${count}`, count);
    const alarm = await this.#climb(stage, 0);
    await run.endStage();
    const { succeeded, failed } = stage.tally.counts.connect;
    if (succeeded > 0) this.#hasConnected = true;
    if (succeeded === count && run.held === count) return null;
    const report = stageReport(run, stage, alarm === null ? "wall" : "scram", [], []);
    this.#stages.push(report);
    run.context.view.stage(report);
    const limit = unreachableLimit(report, this.#options.protocol, run.targets, failed);
    this.#limits.push({ connections: count, limit });
    return limit.party === "prober" ? "generator-bound" : "unreachable";
  }

  /**
   * Code that has not run yet is slow, in the generators and at the server, and the more processes
   * there are the longer each of them stays new. What this comes to counts nowhere.
   */
  async #warmUp(): Promise<void> {
    const run = this.#run;
    const count = Math.min(this.#options.warmUp, this.#max);
    if (count === 0) return;
    await run.grow(count);
    const stage = await run.beginStage("warm-up", `warm-up ${formatCount(count)}`, count);
    await this.#climb(stage, 0);
    await run.endStage();
    await this.#coolDown(0);
    await run.waitMs(WARM_UP_REST_MS);
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
      if (hasDied(limit, stage.connections.held)) return "failed";
      if (!(await this.#coolDown(this.#search.best))) return "failed";
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
      const { verdict, connections } = result.stage;
      // Trouble may pass; what comes again is the server's.
      const isAgain = verdict === "generator-bound" || (verdict === "scram" && tries === 1);
      const isOver = !isAgain || hasDied(result.limit, connections.held);
      // What did not come to be is opened anew, and measured.
      if (!isOver && (await this.#coolDown(this.#search.best))) continue;
      if (verdict === "generator-bound") continue;
      if (result.limit !== null) {
        this.#limits.push({ connections: level.connections, limit: result.limit });
      }
      return result;
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
    const name = formatCount(connections);
    const stage = await run.beginStage(level.kind, name, connections);
    let alarm: ScramReason | null = null;
    try {
      alarm = await this.#climb(stage, holdMs);
    } catch (error) {
      if (error instanceof RunEnded) await this.#endAborted(stage);
      throw error;
    }
    await run.endStage();
    if (stage.tally.counts.connect.succeeded > 0) this.#hasConnected = true;
    return this.#judge(stage, alarm);
  }

  /** Opens what is missing, and holds. @returns why the scram ended it, or null. */
  async #climb(stage: Stage, holdMs: number): Promise<ScramReason | null> {
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

  async #open(stage: Stage, opening: number, startMs: number): Promise<ScramReason | null> {
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
  async #watch(isDone: () => boolean): Promise<ScramReason | null> {
    let alarm: ScramReason | null = null;
    await this.#run.waitFor(() => {
      alarm ??= this.#scram?.observe(this.#run.vitals()) ?? null;
      return alarm !== null || isDone();
    });
    return alarm;
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

  #judge(stage: Stage, alarm: ScramReason | null): LevelResult {
    const { objectives } = this.#options;
    const run = this.#run;
    const sample = stageSample(run, stage);
    const missed = objectives
      .map((objective) => judge(objective, [sample], sample.fromMs, sample.toMs))
      .filter((result) => !result.passed && (result.actual !== null || isOwed(result, stage)));
    const bound = generatorReasons(stage.tally, objectives);
    const unaccepted = unacceptedLimit(run, stage);
    const isShort = run.held < this.#enough(stage) || unaccepted !== null;
    const isMissed = missed.length > 0 || alarm !== null;
    const verdict = verdictOf(bound.length > 0, alarm?.kind === "trouble", isShort, isMissed);
    const reasons = [
      ...bound,
      ...(alarm === null ? [] : [alarm.reason]),
      ...missed.map((objective) => `${objective.text}: ${actualText(objective)}`),
      ...(unaccepted === null ? [] : [unaccepted.text]),
    ];
    const report = stageReport(run, stage, verdict, reasons, objectives);
    const hasFailed = verdict !== "ok" && verdict !== "generator-bound";
    const limit = hasFailed
      ? (unaccepted ?? alarmLimit(alarm, levelLimit(run, stage, report, missed)))
      : null;
    return { stage: report, limit };
  }

  async #endAborted(stage: Stage): Promise<void> {
    const lastedMs = this.#run.context.clock.now() - stage.startMs;
    if (stage.connectMs === 0) stage.connectMs = lastedMs;
    if (stage.operateMs === 0) stage.operateMs = lastedMs;
    await this.#run.endStage();
    const report = stageReport(this.#run, stage, "aborted", [], this.#options.objectives);
    this.#stages.push(report);
    this.#run.context.view.stage(report);
  }

  /** Back to what is known to hold, and until the server is calm. @returns whether it became so. */
  async #coolDown(connections: number): Promise<boolean> {
    const run = this.#run;
    await run.shrinkTo(connections, this.#options.connectPerSecond);
    await run.waitMs(COOL_DOWN_MS);
    const scram = this.#scram;
    if (scram === null) return true;
    const since = run.context.clock.now();
    let isCalm = false;
    await run.waitFor(() => {
      isCalm = scram.hasRecovered(run.vitals());
      return isCalm || run.context.clock.now() - since > RECOVERY_MS_MAX;
    });
    return isCalm;
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
    // That an objective was missed is certain, and explains nothing.
    const causes = byNearness.filter(({ limit }) => limit.kind !== "objective");
    const certain = causes.find(({ limit }) => limit.confidence === "certain");
    return (certain ?? causes[0] ?? byNearness[0])?.limit ?? null;
  }
}

const ERRORS_DEFAULT = 0.001;

/** The order in which a level is judged. */
function verdictOf(
  isBound: boolean,
  isScrammed: boolean,
  isShort: boolean,
  isMissed: boolean,
): StageVerdict {
  if (isBound) return "generator-bound";
  if (isScrammed) return "scram";
  if (isShort) return "wall";
  return isMissed ? "missed" : "ok";
}

/** What the scram saw, where the level's evidence has no better explanation. */
function alarmLimit(alarm: ScramReason | null, found: Limit): Limit {
  const isVague = found.kind === "unknown" || found.kind === "objective";
  if (alarm === null || alarm.limit === null || !isVague) return found;
  return { ...found, kind: alarm.limit, party: "server", confidence: "likely", text: alarm.reason };
}

/** A level that began what an objective is about, and has no sample of it, has missed it. */
function isOwed({ metric }: ThresholdResult, { tally }: Stage): boolean {
  if (metric === "response" || metric === "service") return tally.counts.echo.started > 0;
  return metric.startsWith("connect") && tally.counts.connect.started > 0;
}

/** Nobody is there to be asked any more. */
function hasDied(limit: Limit | null, held: number = 0): boolean {
  return limit?.kind === "server-died" && (limit.confidence === "certain" || held === 0);
}

function isRateLimit({ kind }: Limit): boolean {
  return kind === "accept-rate" || kind === "backlog";
}
