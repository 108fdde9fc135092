// `load`: an open loop. Connections are opened first; then echoes or publishes arrive by a schedule
// that does not wait for the server, stage by stage, while thresholds are watched.

import { HoldfastError } from "../base/errors.ts";
import { compareBaseline, readBaseline } from "./baseline.ts";
import { drain } from "./drain.ts";
import { levelLimit, unreachableLimit } from "./level-limit.ts";
import { loadSentence } from "./load-sentence.ts";
import type { LoadOptions } from "./probe-options.ts";
import {
  type BaselineResult,
  exitCodeOf,
  type FaultFigures,
  type Limit,
  type Outcome,
  type Report,
  type StageReport,
  type StageVerdict,
  type ThresholdResult,
} from "./report.ts";
import { LEAD_MS, Run, type RunContext, RunEnded, type Stage } from "./run.ts";
import { assembleReport, faultFigures } from "./run-report.ts";
import type { Second } from "./run-tally.ts";
import type { RateSegment } from "./schedule.ts";
import { formatCount, formatDuration, formatRate } from "./quantity.ts";
import { generatorReasons, stageReport } from "./stage-report.ts";
import { judge, type Sample, type Threshold } from "./threshold.ts";

/** Operations per second that one generator process drives without being late. */
const OPERATIONS_PER_GENERATOR = 60_000;
/** Connections that fail before the load begins, as a share of those wanted: more, and it ends. */
const MISSING_SHARE_MAX = 0.01;

export async function runLoad(options: LoadOptions, context: RunContext): Promise<Report> {
  const before = options.baselineFile === null ? null : readBaseline(options.baselineFile);
  if (before !== null) checkComparable(before, options);
  const peak = Math.max(...options.segments.map((s) => Math.max(s.fromPerSecond, s.toPerSecond)));
  const wanted = Math.max(options.generators, Math.ceil(peak / OPERATIONS_PER_GENERATOR));
  // One without a connection would have nothing to send over.
  const generators = Math.min(wanted, options.connections);
  const { faults, topics, connections } = options;
  const job = {
    ...({ command: "load", isReturning: false } as const),
    ...{ faults, topics, connectionsMax: connections },
  };
  return Run.conduct({ ...options, generators }, job, context, (run) =>
    new LoadRun(run, options, before).run(),
  );
}

class LoadRun {
  readonly #run: Run;
  readonly #options: LoadOptions;
  readonly #before: Report | null;
  readonly #stages: StageReport[] = [];
  /** When the schedule begins and ends, by the run's clock; 0 before. */
  #fromMs: number = 0;
  #toMs: number = 0;
  /** Why connections were missing in the first stage in which they were. */
  #wall: Limit | null = null;
  /** The threshold that ended the run by being missed, or "". */
  #ended: string = "";

  constructor(run: Run, options: LoadOptions, before: Report | null) {
    this.#run = run;
    this.#options = options;
    this.#before = before;
  }

  async run(): Promise<Report> {
    try {
      const early = await this.#connect();
      if (early !== null) return this.#report(early);
      await this.#drive();
      return this.#report(this.#judgement());
    } catch (error) {
      if (!(error instanceof RunEnded)) throw error;
      const outcome = error.kind === "aborted" ? "aborted" : "generator-bound";
      return this.#report(outcome, error.message);
    }
  }

  /** @returns why there is nothing to load; null: the connections are there. */
  async #connect(): Promise<Outcome | null> {
    const { connections, connectPerSecond } = this.#options;
    const run = this.#run;
    if (connections > run.connectionsMax) return "generator-bound";
    await run.grow(connections);
    const name = `connect ${formatCount(connections)}`;
    const stage = await run.beginStage("connect", name, connections);
    const startMs = run.context.clock.now() + LEAD_MS;
    stage.connectPerSecond = connectPerSecond;
    const opening = run.connect(connections, startMs);
    const counts = stage.tally.counts.connect;
    await this.#within(stage, () => counts.succeeded + counts.failed >= opening);
    stage.connectMs = run.connectingMs(startMs);
    await run.endStage();
    const isShort = run.held < connections * (1 - MISSING_SHARE_MAX);
    const report = this.#endStage(stage, isShort ? "wall" : "ok");
    if (this.#wall?.party === "prober") return "generator-bound";
    if (counts.succeeded === 0) {
      const { protocol } = this.#options;
      this.#wall = unreachableLimit(report, protocol, run.targets, run.targets.length);
      return this.#wall.party === "prober" ? "generator-bound" : "unreachable";
    }
    // That the probe was late with them does not matter once they are there.
    if (isShort && report.verdict === "generator-bound") return "generator-bound";
    return isShort ? "failed" : null;
  }

  async #drive(): Promise<void> {
    const { segments, arrival, traffic, faults, connections } = this.#options;
    const run = this.#run;
    // A step has no length of its own.
    const parts = segments.filter((segment) => segment.durationMs > 0);
    const first = await run.beginStage("load", segmentName(parts[0]!), connections);
    run.phase("waiting", null);
    // At the beginning of a second of the run, so that no second is half load and half not.
    const soonMs = run.context.clock.now() + 2 * LEAD_MS - run.startMs;
    const startAtMs = run.startMs + Math.ceil(soonMs / 1_000) * 1_000;
    const durationMs = segments.reduce((sum, segment) => sum + segment.durationMs, 0);
    this.#fromMs = startAtMs - run.startMs;
    this.#toMs = this.#fromMs + durationMs;
    if (traffic !== "none") run.schedule({ kind: traffic, arrival, segments, startAtMs });
    if (faults.churnPerSecond > 0) {
      const { churnPerSecond: rate } = faults;
      const churn = [{ durationMs, fromPerSecond: rate, toPerSecond: rate }];
      run.schedule({ kind: "churn", arrival, segments: churn, startAtMs });
    }
    await this.#within(first, () => run.context.clock.now() >= startAtMs);
    await this.#follow(parts, first, startAtMs);
  }

  /** Stage by stage, without a gap between them. */
  async #follow(parts: readonly RateSegment[], first: Stage, startAtMs: number): Promise<void> {
    const run = this.#run;
    const { clock } = run.context;
    const { connections, faults } = this.#options;
    let stage = first;
    let fromMs = startAtMs;
    for (const [index, segment] of parts.entries()) {
      if (index > 0) {
        const next = await run.beginStage("load", segmentName(segment), connections);
        this.#endLoad(stage);
        stage = next;
      }
      const endMs = fromMs + segment.durationMs;
      stage.connectPerSecond = faults.churnPerSecond;
      run.phase("loading", segment.durationMs);
      await this.#within(stage, () => clock.now() >= endMs || this.#mustEnd());
      stage.operateMs = Math.min(segment.durationMs, clock.now() - fromMs);
      stage.connectMs = stage.operateMs;
      fromMs = endMs;
      if (this.#ended !== "") break;
    }
    await drain(run, (isDone) => this.#within(stage, isDone));
    await run.endStage();
    this.#endLoad(stage);
  }

  #endLoad(stage: Stage): void {
    const isShort = this.#run.accountedFor < stage.intended * (1 - MISSING_SHARE_MAX);
    this.#endStage(stage, isShort ? "wall" : "ok");
  }

  /** Waits; what interrupts it ends the stage with what there is. */
  async #within(stage: Stage, isDone: () => boolean): Promise<void> {
    try {
      await this.#run.waitFor(isDone);
    } catch (error) {
      if (!(error instanceof RunEnded)) throw error;
      const now = this.#run.context.clock.now();
      stage.operateMs = now - stage.startMs;
      stage.connectMs = stage.operateMs;
      await this.#run.endStage();
      this.#endStage(stage, "aborted");
      throw error;
    }
  }

  #endStage(stage: Stage, verdict: StageVerdict): StageReport {
    // Echoes have no part in connecting.
    const thresholds = this.#options.thresholds.filter(
      ({ metric }) => stage.kind !== "connect" || metric.startsWith("connect"),
    );
    const bound = verdict === "aborted" ? [] : generatorReasons(stage.tally, thresholds);
    const final = bound.length > 0 ? "generator-bound" : verdict;
    const missing = stage.intended - this.#run.accountedFor;
    const reasons = final === "wall" ? [`${formatCount(missing)} connections are missing`] : bound;
    const report = stageReport(this.#run, stage, final, reasons, thresholds);
    if (final === "wall") this.#wall ??= levelLimit(this.#run, stage, report, []);
    this.#stages.push(report);
    this.#run.context.view.stage(report);
    return report;
  }

  #mustEnd(): boolean {
    const nowMs = this.#run.context.clock.now() - this.#run.startMs;
    const isDue = this.#options.thresholds.filter(
      ({ abort, afterMs }) => abort && nowMs - this.#fromMs >= Math.max(1_000, afterMs),
    );
    if (isDue.length === 0) return false;
    const missed = isDue.find((threshold) => {
      const { passed, actual } = this.#judge(threshold, nowMs);
      return !passed && actual !== null;
    });
    this.#ended = missed?.text ?? "";
    if (this.#ended !== "") this.#toMs = nowMs;
    return this.#ended !== "";
  }

  /** The seconds from this one on, without those of stages that count neither way. */
  #samples(fromMs: number): Sample[] {
    const bound = this.#stages
      .filter(({ verdict }) => verdict === "generator-bound")
      .map(({ index }) => index);
    const samples: Sample[] = [];
    const held = new Map<number, number>();
    for (const [index, second] of this.#run.seconds.seconds.entries()) {
      const atMs = index * 1_000;
      for (const [generator, count] of second.held) held.set(generator, count);
      // What came after the last stage is the closing.
      const isOver = atMs >= this.#toMs && second.stage < 0;
      if (atMs < fromMs || isOver || bound.includes(second.stage)) continue;
      samples.push(secondSample(atMs, second, held));
    }
    return samples;
  }

  /** Connecting, and what failed at it, counts from the first attempt; the rest from the load. */
  #judge(threshold: Threshold, toMs: number): ThresholdResult {
    const isConnecting = threshold.metric.startsWith("connect") || threshold.metric === "errors";
    const fromMs = isConnecting ? 0 : this.#fromMs;
    return judge(threshold, this.#samples(fromMs), fromMs, toMs);
  }

  #thresholds(): ThresholdResult[] {
    return this.#options.thresholds.map((threshold) => this.#judge(threshold, this.#toMs));
  }

  #judgement(): Outcome {
    const loads = this.#stages.filter(({ kind }) => kind === "load");
    const bound = loads.filter(({ verdict }) => verdict === "generator-bound");
    if (bound.length === loads.length) return "generator-bound";
    const missed = this.#thresholds().filter(({ passed }) => !passed);
    // Without a sample because the stage that has them does not count: no verdict either.
    const isSpoilt = this.#stages.some(({ verdict }) => verdict === "generator-bound");
    if (isSpoilt && missed.length > 0 && missed.every(({ actual }) => actual === null)) {
      return "generator-bound";
    }
    if (missed.length > 0 || loads.some(({ verdict }) => verdict === "wall")) return "failed";
    if (bound.length > 0) return "generator-bound";
    return loads.some(hasAnswers) ? "passed" : "failed";
  }

  #report(outcome: Outcome, why: string = ""): Report {
    const thresholds = this.#toMs === 0 ? [] : this.#thresholds();
    const report = assembleReport(this.#run, {
      command: "load",
      ...this.#verdict(outcome, thresholds, null, why),
      limit: this.#limit(),
      capacity: null,
      load: { faults: this.#faults(), thresholds, baseline: null },
      stages: this.#stages,
    });
    if (this.#before === null || outcome !== "passed") return report;
    const baseline = compareBaseline(this.#before, report, this.#options.baselineFile!);
    const isWorse = baseline.rows.some(({ isRegression }) => isRegression);
    const compared = this.#verdict(isWorse ? "regression" : outcome, thresholds, baseline, why);
    return { ...report, ...compared, load: { ...report.load!, baseline } };
  }

  #verdict(
    outcome: Outcome,
    thresholds: readonly ThresholdResult[],
    baseline: BaselineResult | null,
    why: string,
  ): Pick<Report, "outcome" | "exitCode" | "sentence"> {
    const about = { stages: this.#stages, ended: this.#ended, limit: this.#limit() };
    const options = this.#options;
    const sentence = loadSentence({ ...about, outcome, thresholds, baseline, why, options });
    return { outcome, exitCode: exitCodeOf(outcome), sentence };
  }

  #faults(): FaultFigures | null {
    const { slowReader, halfOpen, churnPerSecond } = this.#options.faults;
    if (slowReader + halfOpen + churnPerSecond === 0) return null;
    return faultFigures(this.#run);
  }

  #limit(): Limit | null {
    // A connect stage that was late does not matter where a load came after it.
    const loads = this.#stages.filter(({ kind }) => kind === "load");
    const deciding = loads.length > 0 ? loads : this.#stages;
    const bound = deciding.find(({ verdict }) => verdict === "generator-bound");
    if (this.#options.connections > this.#run.connectionsMax) return this.#run.ownLimit();
    if (bound === undefined) return this.#wall;
    return {
      kind: "generator",
      party: "prober",
      confidence: "certain",
      text: bound.reasons[0] ?? "the probe itself",
      evidence: bound.reasons.slice(1),
      advice: "ask for less, use fewer connections, or --generators with a free core for each",
    };
  }
}

/** Whether something came back, where something was sent. */
function hasAnswers({ operations }: StageReport): boolean {
  const { echo, publish } = operations;
  const started = (echo?.started ?? 0) + (publish?.started ?? 0);
  return started === 0 || (echo?.succeeded ?? 0) + (publish?.succeeded ?? 0) > 0;
}

/** A baseline with other stages is found out before the run, not after. */
function checkComparable(before: Report, options: LoadOptions): void {
  const names = options.segments.map(segmentName);
  const known = before.stages.filter(({ kind, verdict }) => kind === "load" && isJudged(verdict));
  if (known.some(({ name }) => names.includes(name))) return;
  const had = known.map(({ name }) => `"${name}"`).join(", ");
  throw new HoldfastError(
    "HOLDFAST_OPTIONS_INVALID",
    `--baseline: ${options.baselineFile!} has no stage that this run has: it has ` +
      `${had === "" ? "none that counts" : had}; this run has "${names.join('", "')}"`,
  );
}

function isJudged(verdict: StageVerdict): boolean {
  return verdict === "ok" || verdict === "missed";
}

/** @param held by generator, as each said last. */
function secondSample(atMs: number, second: Second, held: ReadonlyMap<number, number>): Sample {
  const { counts, deliveries, deaths } = second;
  const { connect, echo, publish } = counts;
  const latencies: Sample["latencies"] = {};
  for (const [name, parts] of second.latencies) latencies[name] = parts;
  return {
    fromMs: atMs,
    toMs: atMs + 1_000,
    latencies,
    errors: { bad: echo.failed + publish.failed, all: echo.started + publish.started },
    connectionErrors: { bad: connect.failed + deaths, started: connect.started },
    loss: { bad: deliveries.missed, all: deliveries.received + deliveries.missed },
    operations: echo.succeeded + publish.succeeded,
    held: [...held.values()].reduce((sum, count) => sum + count, 0),
  };
}

/** Such as `1m to 10k/s`, or `30s at 5k/s`. */
function segmentName({ durationMs, fromPerSecond, toPerSecond }: RateSegment): string {
  const way = fromPerSecond === toPerSecond ? "at" : "to";
  return `${formatDuration(durationMs)} ${way} ${formatRate(toPerSecond)}`;
}
