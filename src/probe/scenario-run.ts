// One scenario: a run of the probe whose stages are the scenario's phases, each judged by its own
// objectives. Between phases everything that was asked is answered, so that each has its own.

import { drain } from "./drain.ts";
import type { Faults } from "./generator-messages.ts";
import type { ProbeOptions } from "./probe-options.ts";
import { formatCount, formatDuration } from "./quantity.ts";
import {
  exitCodeOf,
  type FaultFigures,
  type Outcome,
  type Report,
  type StageReport,
  type StageVerdict,
  type ThresholdResult,
} from "./report.ts";
import { LEAD_MS, Run, type RunContext, RunEnded, type Stage } from "./run.ts";
import { assembleReport, faultFigures } from "./run-report.ts";
import { failureCounts } from "./run-tally.ts";
import { planText } from "./scenario-plan.ts";
import type { ObjectiveResult, ScenarioResult, ScenarioVerdict } from "./scenario-report.ts";
import {
  type DisruptionPhase,
  type FaultPhase,
  type HoldPhase,
  NO_FAULTS,
  type Phase,
  type RampPhase,
  type RecoverPhase,
  type Scenario,
} from "./scenarios.ts";
import type { RateSegment } from "./schedule.ts";
import { generatorReasons, stageReport, stageSample } from "./stage-report.ts";
import { judge, parseThreshold, type Threshold } from "./threshold.ts";

/** What a scenario may do to the server beside being its client. */
export interface ServerControl {
  /** Ends it as a crash does, and starts it at the same addresses; resolves when it serves. */
  crash(): Promise<void>;
  /** Replaces all its workers, one by one; resolves when all are new. */
  replaceWorkers(): Promise<void>;
}

export interface ScenarioOptions extends ProbeOptions {
  readonly scenario: Scenario;
  /** null: it is a server of which the probe is only a client. */
  readonly control: ServerControl | null;
}

/** A schedule without an end, which is ended by hand. */
const ENDLESS_MS = 3_600_000;

/**
 * @param server isOwn: it may be restarted; isWatched: there are figures of its own (/stats)
 * @returns why it cannot be run; "": it can
 */
export function scenarioLacks(
  { phases, traffic }: Scenario,
  { isOwn, isWatched }: { readonly isOwn: boolean; readonly isWatched: boolean },
  protocol: ProbeOptions["protocol"],
): string {
  const faults = phases.map((phase) => (phase.kind === "fault" ? phase.fault : ""));
  const isSlow = phases.some((phase) => "faults" in phase && phase.faults.slowReader > 0);
  if (!isOwn && (faults.includes("crash") || faults.includes("rolling-restart"))) {
    return "it restarts the server: leave --target away, and one is started for it";
  }
  if (protocol === "raw" && traffic === "publish") return "publishing needs --protocol holdfast";
  if (isSlow && !isWatched) {
    return "only the server knows whether anybody was slow: give --server-stats URL";
  }
  return "";
}

export async function runScenario(
  options: ScenarioOptions,
  context: RunContext,
): Promise<ScenarioResult> {
  const { connections, topics, isReturning } = options.scenario;
  const job = {
    ...({ command: "scenario", faults: NO_FAULTS } as const),
    ...{ topics, isReturning, connectionsMax: connections },
  };
  return await Run.conduct(options, job, context, (run) => new ScenarioRun(run, options).run());
}

class ScenarioRun {
  readonly #run: Run;
  readonly #options: ScenarioOptions;
  readonly #scenario: Scenario;
  readonly #stages: StageReport[] = [];
  readonly #objectives: ObjectiveResult[] = [];
  /** Connections that are wanted now. */
  #intended: number = 0;
  /** When what was done to the server was over, by the run's clock; 0: nothing was. */
  #restoredMs: number = 0;

  constructor(run: Run, options: ScenarioOptions) {
    this.#run = run;
    this.#options = options;
    this.#scenario = options.scenario;
  }

  async run(): Promise<ScenarioResult> {
    try {
      const { connections, phases } = this.#scenario;
      if (connections > this.#run.connectionsMax) {
        return this.#result("generator-bound", this.#run.ownLimit().text);
      }
      await this.#run.grow(connections);
      for (const phase of phases) {
        const report = await this.#phase(phase);
        // What follows would be about another load.
        if (report.verdict === "wall" || report.verdict === "generator-bound") break;
      }
      return this.#judgement();
    } catch (error) {
      if (!(error instanceof RunEnded)) throw error;
      return this.#result(error.kind === "aborted" ? "aborted" : "generator-bound", error.message);
    }
  }

  #judgement(): ScenarioResult {
    const bound = this.#stages.find(({ verdict }) => verdict === "generator-bound");
    if (bound !== undefined) return this.#result("generator-bound", bound.reasons[0]!);
    const wall = this.#stages.find(({ verdict }) => verdict === "wall");
    if (wall?.operations.connect?.succeeded === 0) {
      return this.#result("failed", wall.reasons[0]!, "unreachable");
    }
    const missed = this.#objectives.filter(({ passed }) => !passed);
    if (wall === undefined && missed.length === 0) return this.#result("passed", "");
    const reason = wall?.reasons[0] ?? missed.map(missedText).join("; ");
    return this.#result("failed", reason);
  }

  // Phases.

  async #phase(phase: Phase): Promise<StageReport> {
    switch (phase.kind) {
      case "ramp":
        return await this.#ramp(phase);
      case "hold":
        return await this.#load(phase, NO_FAULTS);
      case "fault":
        return "faults" in phase
          ? await this.#load(phase, phase.faults)
          : await this.#disrupt(phase);
      case "recover":
        return await this.#recover(phase);
    }
  }

  async #ramp(phase: RampPhase): Promise<StageReport> {
    const run = this.#run;
    this.#intended = Math.max(1, Math.round(this.#scenario.connections * phase.share));
    const stage = await this.#begin(phase, "connecting", null);
    const startMs = run.context.clock.now() + LEAD_MS;
    stage.connectPerSecond = phase.connectPerSecond;
    const opening = run.connect(this.#intended - run.held, startMs, phase.connectPerSecond);
    const { connect } = stage.tally.counts;
    await this.#within(stage, phase, () => connect.succeeded + connect.failed >= opening);
    stage.connectMs = run.connectingMs(startMs);
    return await this.#end(stage, phase);
  }

  async #load(phase: HoldPhase | FaultPhase, faults: Faults): Promise<StageReport> {
    const run = this.#run;
    const { durationMs, perSecond } = phase;
    const stage = await this.#begin(phase, phase.kind, durationMs);
    const startAtMs = run.context.clock.now() + LEAD_MS;
    if (faults.slowReader + faults.halfOpen > 0) {
      run.generators.tellAll({ type: "misbehave", faults });
    }
    this.#schedule(startAtMs, durationMs, perSecond);
    if (faults.churnPerSecond > 0) {
      const segments = constant(durationMs, faults.churnPerSecond);
      run.schedule({ kind: "churn", arrival: "constant", segments, startAtMs });
      stage.connectPerSecond = faults.churnPerSecond;
    }
    await this.#within(stage, phase, () => run.context.clock.now() >= startAtMs + durationMs);
    stage.operateMs = durationMs;
    stage.connectMs = durationMs;
    await drain(run, (isDone) => this.#within(stage, phase, isDone));
    if (faults.slowReader > 0) this.#seeBacklog(stage, phase);
    return await this.#end(stage, phase);
  }

  /** Who stops reading is slow only when the kernel has taken what it takes. */
  #seeBacklog({ serverSamples }: Stage, phase: Phase): void {
    const counts = serverSamples.map(({ processes }) =>
      processes.reduce((sum, { backlogged }) => sum + (backlogged ?? 0), 0),
    );
    const most = Math.max(0, ...counts);
    this.#objectives.push({
      ...{ phase: phase.name, text: "slow readers seen >= 1", metric: "backlogged" },
      ...{ actual: most, limit: 1, unit: "count", passed: most >= 1, worstAtMs: null },
    });
  }

  async #disrupt(phase: DisruptionPhase): Promise<StageReport> {
    const run = this.#run;
    const { clock } = run.context;
    const { fault, withinMs } = phase;
    const control = this.#options.control!;
    const stage = await this.#begin(phase, fault, null);
    const startAtMs = clock.now() + LEAD_MS;
    this.#schedule(startAtMs, ENDLESS_MS, phase.perSecond);
    let failure: Error | null = null;
    this.#restoredMs = 0;
    const done = fault === "crash" ? control.crash() : control.replaceWorkers();
    done.then(
      () => {
        this.#restoredMs = clock.now();
      },
      (error: Error) => {
        failure = error;
      },
    );
    const isOver = (): boolean => this.#restoredMs > 0 && (fault === "crash" || this.#isAllHeld());
    const isDue = (): boolean => isOver() || failure !== null || clock.now() - startAtMs > withinMs;
    await this.#within(stage, phase, isDue);
    if (failure !== null) throw failure as Error;
    stage.operateMs = clock.now() - startAtMs;
    stage.connectMs = stage.operateMs;
    const text = fault === "crash" ? "serves again" : "all workers new";
    this.#timed(phase, text, isOver() ? stage.operateMs : null, withinMs);
    // After a crash clients are about to come back: that is the next phase's.
    if (phase.perSecond > 0) await drain(run, (isDone) => this.#within(stage, phase, isDone));
    return await this.#end(stage, phase);
  }

  async #recover(phase: RecoverPhase): Promise<StageReport> {
    const run = this.#run;
    const { clock } = run.context;
    const stage = await this.#begin(phase, "recovering", phase.withinMs);
    const startMs = this.#restoredMs === 0 ? clock.now() : this.#restoredMs;
    const isWell = (): boolean =>
      phase.until === "held" ? this.#isAllHeld() : this.#areFaultyEnded();
    await this.#within(stage, phase, () => isWell() || clock.now() - startMs > phase.withinMs);
    const text = phase.until === "held" ? "all are back" : "all noticed";
    this.#timed(phase, text, isWell() ? clock.now() - startMs : null, phase.withinMs);
    stage.connectMs = clock.now() - stage.startMs;
    return await this.#end(stage, phase);
  }

  /** @param ms how long it took; null: it did not come about */
  #timed(phase: Phase, text: string, ms: number | null, limitMs: number): void {
    const passed = ms !== null && ms <= limitMs;
    this.#objectives.push({
      ...{ phase: phase.name, text, metric: "recovery", actual: ms, limit: limitMs },
      ...{ unit: "ms", passed, worstAtMs: null },
    });
  }

  #isAllHeld(): boolean {
    const run = this.#run;
    const returning = run.generators.sum((state) => state.returning + state.connecting);
    return returning === 0 && run.accountedFor >= this.#intended;
  }

  #areFaultyEnded(): boolean {
    const { generators } = this.#run;
    const faulty = generators.sum((state) => state.halfOpen + state.slowReaders);
    // Where nobody fell silent, nobody was noticed.
    return faulty > 0 && generators.sum((state) => state.faultyEnded) >= faulty;
  }

  #schedule(startAtMs: number, durationMs: number, perSecond: number): void {
    const { traffic } = this.#scenario;
    if (traffic === "none" || perSecond === 0) return;
    const segments = constant(durationMs, perSecond);
    this.#run.schedule({ kind: traffic, arrival: "constant", segments, startAtMs });
  }

  // Stages.

  async #begin(phase: Phase, word: string, ofMs: number | null): Promise<Stage> {
    const stage = await this.#run.beginStage(phase.kind, phase.name, this.#intended);
    this.#run.phase(word, ofMs);
    return stage;
  }

  /** Waits; what interrupts it ends the phase with what there is. */
  async #within(stage: Stage, phase: Phase, isDone: () => boolean): Promise<void> {
    try {
      await this.#run.waitFor(isDone);
    } catch (error) {
      if (!(error instanceof RunEnded)) throw error;
      stage.operateMs = this.#run.context.clock.now() - stage.startMs;
      stage.connectMs = stage.operateMs;
      await this.#end(stage, phase, "aborted");
      throw error;
    }
  }

  async #end(stage: Stage, phase: Phase, forced: StageVerdict | null = null): Promise<StageReport> {
    const run = this.#run;
    await run.endStage();
    const thresholds = phase.objectives.map(parseThreshold);
    if (forced === null) this.#judge(stage, phase, thresholds);
    const bound = forced === null ? this.#boundReasons(stage, phase, thresholds) : [];
    const { verdict, reasons } = this.#verdictOf(stage, phase, bound);
    const report = stageReport(run, stage, forced ?? verdict, reasons, thresholds);
    this.#stages.push(report);
    run.context.view.stage(report);
    return report;
  }

  #judge(stage: Stage, phase: Phase, thresholds: readonly Threshold[]): void {
    const sample = stageSample(this.#run, stage);
    for (const threshold of thresholds) {
      const result = judge(threshold, [sample], sample.fromMs, sample.toMs);
      this.#objectives.push({ phase: phase.name, ...result });
    }
  }

  /** That the probe was late counts where something is demanded. */
  #boundReasons(stage: Stage, phase: Phase, thresholds: readonly Threshold[]): string[] {
    return phase.objectives.length === 0 ? [] : generatorReasons(stage.tally, thresholds);
  }

  #verdictOf(
    stage: Stage,
    phase: Phase,
    bound: readonly string[],
  ): { verdict: StageVerdict; reasons: readonly string[] } {
    if (bound.length > 0) return { verdict: "generator-bound", reasons: bound };
    const missed = this.#objectives.filter((one) => one.phase === phase.name && !one.passed);
    const missing = stage.intended - this.#run.accountedFor;
    if (phase.kind === "ramp" && missed.length > 0 && missing > 0) {
      const [most] = failureCounts(stage.tally.failures);
      const why = most === undefined ? "" : `: ${most.code}`;
      return {
        verdict: "wall",
        reasons: [`${formatCount(missing)} connections are missing${why}`],
      };
    }
    return { verdict: missed.length > 0 ? "missed" : "ok", reasons: missed.map(missedText) };
  }

  // Reports.

  #result(
    verdict: Exclude<ScenarioVerdict, "skipped">,
    reason: string,
    outcome: Outcome = verdict,
  ): ScenarioResult {
    const { name, title, question } = this.#scenario;
    return {
      ...{ name, title, question, plan: planText(this.#scenario) },
      ...{ verdict, reason, objectives: this.#objectives },
      report: this.#report(outcome, reason),
    };
  }

  #report(outcome: Outcome, reason: string): Report {
    const { title } = this.#scenario;
    const sentence =
      outcome === "passed" ? `${title}: every objective holds.` : `${title}: ${reason}.`;
    return assembleReport(this.#run, {
      ...({ command: "scenario", capacity: null, limit: null } as const),
      ...{ outcome, exitCode: exitCodeOf(outcome), sentence },
      load: { faults: this.#faults(), thresholds: this.#thresholds(), baseline: null },
      stages: this.#stages,
    });
  }

  /** As reports have them: of which phase each is, its own document says. */
  #thresholds(): ThresholdResult[] {
    return this.#objectives.map((objective) => {
      const { text, metric, actual, limit, unit, passed, worstAtMs } = objective;
      return { text, metric, actual, limit, unit, passed, worstAtMs };
    });
  }

  #faults(): FaultFigures | null {
    const figures = faultFigures(this.#run);
    return Object.values(figures).some((count) => count > 0) ? figures : null;
  }
}

function constant(durationMs: number, perSecond: number): readonly RateSegment[] {
  return [{ durationMs, fromPerSecond: perSecond, toPerSecond: perSecond }];
}

function missedText({ phase, text, actual, unit }: ObjectiveResult): string {
  const was =
    actual === null ? "no sample" : unit === "ms" ? formatDuration(Math.round(actual)) : actual;
  return `${phase}: ${text} (was ${was})`;
}
