// What a run of scenarios came to, as one JSON document: a verdict for each, with the objectives
// that it was judged by and the whole report of its run. Text, Markdown and HTML render it. The
// schema's name changes when a field changes its meaning or goes; new fields do not change it.

import type { Outcome, Report, ThresholdResult } from "./report.ts";

export const SCENARIOS_SCHEMA = "holdfast-probe.scenarios/1";

export interface ScenariosReport {
  readonly schema: typeof SCENARIOS_SCHEMA;
  /** The result in one sentence. */
  readonly sentence: string;
  readonly outcome: Outcome;
  /** What the command exits with. */
  readonly exitCode: number;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly durationMs: number;
  readonly argv: readonly string[];
  /** What was probed, for people: targets, or how the server was started. */
  readonly server: string;
  /** Connections and rates: times what the scenarios say. */
  readonly scale: number;
  /** Durations of holds and faults: times what the scenarios say. */
  readonly timeScale: number;
  /** In the order in which they ran. */
  readonly scenarios: readonly ScenarioResult[];
}

/**
 * `skipped`: it needs what is not there, such as a server that the probe may restart.
 * `generator-bound`: the probe was the limit, so there is no verdict on the server.
 */
export const SCENARIO_VERDICTS = [
  "passed",
  "failed",
  "generator-bound",
  "skipped",
  "aborted",
] as const;
export type ScenarioVerdict = (typeof SCENARIO_VERDICTS)[number];

export interface ScenarioResult {
  /** As it is named on the command line, such as `echo-steady`. */
  readonly name: string;
  /** Such as `Echo, steady`. */
  readonly title: string;
  readonly question: string;
  /** The plan in words, such as `ramp to 1,000 at 2k/s, then 30 s at 5k/s`. */
  readonly plan: string;
  readonly verdict: ScenarioVerdict;
  /** Why it is not `passed`; "" where it is. */
  readonly reason: string;
  readonly objectives: readonly ObjectiveResult[];
  /** Its stages are the scenario's phases; null where nothing ran. */
  readonly report: Report | null;
}

/** One demand on one phase. */
export interface ObjectiveResult extends ThresholdResult {
  /** The name of the phase, which is that of a stage of the report. */
  readonly phase: string;
}
