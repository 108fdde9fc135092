// What a scenario comes to in one row, for all who show it: the phase that stands for it, the
// latency that it is about, and the objective that was nearest to its limit.

import { latencyFigure, UNKNOWN, unitFigure } from "./report-figures.ts";
import type { LatencyName, LatencySummary, OperationFigures, StageReport } from "./report.ts";
import { errorCount, mainStage } from "./report-summary.ts";
import type { ObjectiveResult, ScenarioResult, ScenarioVerdict } from "./scenario-report.ts";
import { isConnecting } from "./stage-line.ts";

/** As it is shown: what calls for a look is in capitals. */
export const SCENARIO_WORDS: Readonly<Record<ScenarioVerdict, string>> = {
  passed: "pass",
  failed: "FAIL",
  "generator-bound": "GENERATOR-BOUND",
  skipped: "skipped",
  aborted: "ABORTED",
};

/** Figures of one phase, so that each is to be seen beside the others. */
export interface PhaseFigures {
  readonly stage: StageReport;
  /** Echoes or publishes; connects where there are no others, or the phase is there for those. */
  readonly rate: OperationFigures | null;
  /** The one that the phase is about. */
  readonly latency: { readonly name: PhaseLatency; readonly summary: LatencySummary } | null;
  readonly errors: number;
}

/** What a phase can be about, the first that is asked for or that there is. */
export type PhaseLatency = "delivery" | "response" | "connect";
const LATENCIES = ["delivery", "response", "connect"] as const satisfies readonly LatencyName[];

/** Figures of the phase that stands for a scenario; null where nothing ran. */
export function scenarioFigures(result: ScenarioResult): PhaseFigures | null {
  const stage = scenarioStage(result);
  return stage === null ? null : phaseFigures(stage, result.objectives);
}

export function phaseFigures(
  stage: StageReport,
  objectives: readonly ObjectiveResult[],
): PhaseFigures {
  const { connect, echo, publish } = stage.operations;
  const rate = isConnecting(stage) ? connect : (echo ?? publish ?? connect);
  const asked = objectives.filter(({ phase }) => phase === stage.name);
  const has = (name: LatencyName): boolean => (stage.latencies[name]?.count ?? 0) > 0;
  const name =
    LATENCIES.find((one) => has(one) && asked.some(({ metric }) => metric === one)) ??
    LATENCIES.find(has);
  return {
    stage,
    rate: rate ?? null,
    latency: name === undefined ? null : { name, summary: stage.latencies[name]! },
    errors: errorCount(stage),
  };
}

/**
 * The phase that stands for a scenario: the last fault that something is demanded of, else the last
 * phase that is, and is not there to open connections.
 */
function scenarioStage({ report, objectives }: ScenarioResult): StageReport | null {
  if (report === null) return null;
  // How long something took is no phase's figure that could be beside those of others.
  const measured = objectives.filter(({ metric }) => metric !== "recovery");
  const demanded = new Set(measured.map(({ phase }) => phase));
  const judged = report.stages.filter(({ name, kind }) => kind !== "ramp" && demanded.has(name));
  return judged.findLast(({ kind }) => kind === "fault") ?? judged.at(-1) ?? mainStage(report);
}

/** An objective, and how much of its limit was used: 1 is all of it; null: it was not measured. */
export interface UsedObjective {
  readonly objective: ObjectiveResult;
  readonly share: number | null;
}

/**
 * The objective that was nearest to its limit, or furthest beyond. What is to be complete, such as
 * `errors:count==0` or `held>=1000`, is at its limit when all is well: it is meant only where it
 * was missed, or where nothing else is asked for.
 */
export function nearestObjective({ objectives }: ScenarioResult): UsedObjective | null {
  const used = objectives.map((objective) => ({ objective, share: shareOfLimit(objective) }));
  const missed = used.filter(({ objective }) => !objective.passed);
  const scaled = used.filter(({ objective }) => isScaled(objective));
  const candidates = missed.length > 0 ? missed : scaled.length > 0 ? scaled : used;
  const size = ({ share }: UsedObjective): number => share ?? Infinity;
  return candidates.toSorted((a, b) => size(b) - size(a))[0] ?? null;
}

/** Whether less is better, as of a time that something took, and there is more to it than none. */
function isScaled({ text, limit }: ObjectiveResult): boolean {
  const operator = operatorOf(text);
  return (operator === "" || operator.startsWith("<")) && limit > 0;
}

/**
 * Of its limit, whichever way is better. Without a limit to divide by, or with nothing where there
 * must be something, it is 0 where the objective held and infinite where not.
 */
function shareOfLimit({ text, actual, limit, passed }: ObjectiveResult): number | null {
  if (actual === null) return null;
  const isLeast = operatorOf(text).startsWith(">");
  const [part, whole] = isLeast ? [limit, actual] : [actual, limit];
  return whole > 0 ? part / whole : passed ? 0 : Infinity;
}

function operatorOf(text: string): string {
  return /[<>]=?|[=!]=/.exec(text)?.[0] ?? "";
}

/** `response:p(99)<50ms: 31.2 ms (hold)`. */
export function objectiveText(objective: ObjectiveResult): string {
  return `${measuredText(objective)} (${objective.phase})`;
}

/** `response:p(99)<50ms: 31.2 ms`. */
export function measuredText({ text, actual, unit }: ObjectiveResult): string {
  return `${text}: ${actual === null ? "no samples" : unitFigure(actual, unit)}`;
}

/** `81%` of a limit; a dash where there is nothing to divide. */
export function usedFigure(share: number | null): string {
  return share === null || !Number.isFinite(share) ? UNKNOWN : `${Math.round(share * 100)}%`;
}

/** What the latency's 99th percentile is, with what it is of: `31.2 ms response`. */
export function latencyText({ latency }: PhaseFigures): string {
  return latency === null ? UNKNOWN : `${latencyFigure(latency.summary.p99)} ${latency.name}`;
}
