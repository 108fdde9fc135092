// Scenarios one after the other, each against a server that somebody provides, and the document
// that they end in.

import type { Clock } from "../base/clock.ts";
import { HoldfastError } from "../base/errors.ts";
import type { Endpoint } from "../transport/endpoint.ts";
import type { ClientOptions } from "./probe-options.ts";
import { exitCodeOf, type Outcome } from "./report.ts";
import type { RunContext } from "./run.ts";
import { planText } from "./scenario-plan.ts";
import {
  SCENARIOS_SCHEMA,
  type ScenarioResult,
  type ScenariosReport,
  type ScenarioVerdict,
} from "./scenario-report.ts";
import {
  runScenario,
  scenarioLacks,
  type ScenarioOptions,
  type ServerControl,
} from "./scenario-run.ts";
import type { Scenario } from "./scenarios.ts";
import type { ServerSource } from "./server-watch.ts";

/** A server for one scenario. */
export interface ScenarioServer {
  readonly targets: readonly Endpoint[];
  readonly serverSources: readonly ServerSource[];
  readonly control: ServerControl | null;
  stop(): Promise<void>;
}

export interface ScenarioServers {
  /** What is probed, for people. */
  readonly text: string;
  /** Whether the servers are its own, to be restarted as a scenario wants it. */
  readonly isOwn: boolean;
  /** Whether there are figures of their own (/stats). */
  readonly isWatched: boolean;
  start(scenario: Scenario): Promise<ScenarioServer>;
}

export interface SeriesOptions {
  /** At the size that is wanted. */
  readonly scenarios: readonly Scenario[];
  /** Factors, for the report: {@link scenarios} have been scaled. */
  readonly scale: number;
  readonly timeScale: number;
  readonly probe: ClientOptions;
}

/** What the series shows beside what a run does. */
export interface SeriesView {
  began(scenario: Scenario, index: number, of: number): void;
  ended(result: ScenarioResult): void;
}

/** A scenario that the probe itself has spoilt is tried again: machines have bad moments. */
const TRIES = 3;

export async function runSeries(
  options: SeriesOptions,
  servers: ScenarioServers,
  context: RunContext,
  view: SeriesView,
): Promise<ScenariosReport> {
  const { clock, signal } = context;
  const startedMs = clock.now();
  const startedAt = new Date(clock.wall()).toISOString();
  const results: ScenarioResult[] = [];
  for (const [index, scenario] of options.scenarios.entries()) {
    view.began(scenario, index, options.scenarios.length);
    const isReached = !results.some(({ report: ran }) => ran?.outcome === "unreachable");
    const result = signal.aborted
      ? withoutRun(scenario, "aborted", "the series was interrupted before it")
      : isReached
        ? await conduct(scenario, options, servers, context, index === 0)
        : withoutRun(scenario, "skipped", "the server was not reached");
    results.push(result);
    view.ended(result);
  }
  return report(results, { options, servers, clock, startedMs, startedAt });
}

async function conduct(
  scenario: Scenario,
  { probe }: SeriesOptions,
  servers: ScenarioServers,
  context: RunContext,
  isFirst: boolean,
): Promise<ScenarioResult> {
  const lack = scenarioLacks(scenario, servers, probe.protocol);
  if (lack !== "") return withoutRun(scenario, "skipped", lack);
  for (let attempt = 1; ; attempt++) {
    let server: ScenarioServer | null = null;
    try {
      server = await servers.start(scenario);
      const { traffic, payloadBytes } = scenario;
      const { targets, serverSources, control } = server;
      const run: ScenarioOptions = {
        ...{ ...probe, traffic, payloadBytes, connectPerSecond: fastestRamp(scenario) },
        ...{ targets, serverSources, control, scenario },
      };
      const result = await runScenario(run, context);
      if (result.verdict !== "generator-bound" || attempt === TRIES) return result;
      context.view.note(`${scenario.name}: GENERATOR-BOUND, ${result.reason}; it is tried again`);
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      // A server of ours that does not start, or does not do as it is told, has failed. So has one
      // that was there before; that it never was is said by what it is an error of.
      if (isFirst && error.code !== "HOLDFAST_WORKER_FAILED") throw error;
      return withoutRun(scenario, "failed", error.message);
    } finally {
      await server?.stop();
    }
  }
}

/** What the generator processes have to manage. */
function fastestRamp({ phases }: Scenario): number {
  return Math.max(...phases.map((phase) => (phase.kind === "ramp" ? phase.connectPerSecond : 0)));
}

function withoutRun(scenario: Scenario, verdict: ScenarioVerdict, reason: string): ScenarioResult {
  const { name, title, question } = scenario;
  const plan = planText(scenario);
  return { name, title, question, plan, verdict, reason, objectives: [], report: null };
}

interface SeriesFacts {
  readonly options: SeriesOptions;
  readonly servers: ScenarioServers;
  readonly clock: Clock;
  readonly startedMs: number;
  readonly startedAt: string;
}

function report(scenarios: readonly ScenarioResult[], facts: SeriesFacts): ScenariosReport {
  const { options, servers, clock, startedMs, startedAt } = facts;
  const { scale, timeScale, probe } = options;
  const outcome = outcomeOf(scenarios);
  return {
    ...{ schema: SCENARIOS_SCHEMA, sentence: sentenceOf(scenarios), outcome },
    ...{ exitCode: exitCodeOf(outcome), startedAt, server: servers.text, scale, timeScale },
    durationMs: Math.round(clock.now() - startedMs),
    argv: probe.argv,
    scenarios,
  };
}

/** What was skipped says nothing; where all were, nothing was shown. */
function outcomeOf(results: readonly ScenarioResult[]): Outcome {
  const has = (verdict: ScenarioVerdict): boolean =>
    results.some((result) => result.verdict === verdict);
  if (results.some(({ report: ran }) => ran?.outcome === "unreachable")) return "unreachable";
  if (has("failed")) return "failed";
  if (has("aborted")) return "aborted";
  if (has("generator-bound")) return "generator-bound";
  return has("passed") ? "passed" : "failed";
}

function sentenceOf(results: readonly ScenarioResult[]): string {
  const named = (verdict: ScenarioVerdict): readonly string[] =>
    results.filter((result) => result.verdict === verdict).map(({ name }) => name);
  const passed = named("passed");
  const rest = (["failed", "generator-bound", "aborted", "skipped"] as const)
    .map((verdict) => ({ verdict, names: named(verdict) }))
    .filter(({ names }) => names.length > 0)
    .map(({ verdict, names }) => `; ${VERDICT_WORDS[verdict]}: ${names.join(", ")}`);
  return `${passed.length} of ${results.length} scenarios passed${rest.join("")}.`;
}

const VERDICT_WORDS: Readonly<Record<Exclude<ScenarioVerdict, "passed">, string>> = {
  failed: "failed",
  "generator-bound": "without a verdict, GENERATOR-BOUND",
  aborted: "interrupted",
  skipped: "skipped",
};
