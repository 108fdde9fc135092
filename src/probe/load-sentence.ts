// The verdict of `load` in one sentence.

import { formatCount } from "./quantity.ts";
import type { LoadOptions } from "./probe-options.ts";
import type { BaselineResult, Limit, Outcome, StageReport, ThresholdResult } from "./report.ts";

interface Facts {
  readonly outcome: Outcome;
  readonly stages: readonly StageReport[];
  readonly thresholds: readonly ThresholdResult[];
  readonly baseline: BaselineResult | null;
  /** Why the run ended before its time; "" where it did not. */
  readonly why: string;
  /** The threshold that ended the run by being missed; "" where none did. */
  readonly ended: string;
  readonly limit: Limit | null;
  readonly options: Pick<LoadOptions, "traffic" | "connections">;
}

export function loadSentence(facts: Facts): string {
  const { outcome } = facts;
  switch (outcome) {
    case "passed":
      return `${achieved(facts)}${demands(facts)}.`;
    case "failed":
      return `${achieved(facts)}; ${failures(facts)}${limitOf(facts)}.`;
    case "generator-bound":
      return `GENERATOR-BOUND, no verdict on the server: ${bound(facts)}; ${achieved(facts)}.`;
    case "unreachable":
      return `Unreachable: ${facts.limit?.text ?? "not one connection came to be"}.`;
    case "regression":
      return `${achieved(facts)}; worse than the baseline: ${regressions(facts)}.`;
    case "aborted":
      return `Interrupted: ${achieved(facts)}.`;
    case "no-convergence":
    case "error":
      return `The probe failed: ${facts.why}.`;
  }
}

/** Operations of all stages of the load, beside what was scheduled. */
function achieved({ stages, options, ended }: Facts): string {
  const loads = stages.filter(({ kind }) => kind === "load");
  const kind = options.traffic;
  const last = stages.at(-1);
  const held = formatCount(last?.connections.held ?? 0);
  const over = `${held} of ${formatCount(options.connections)} connections`;
  if (kind === "none" || loads.length === 0) return `${over} held`;
  let succeeded = 0;
  let scheduled = 0;
  let slowest = 0;
  for (const { operations, latencies } of loads) {
    succeeded += operations[kind]?.succeeded ?? 0;
    scheduled += operations[kind]?.scheduled ?? 0;
    slowest = Math.max(slowest, latencies.response?.p99 ?? 0);
  }
  const noun = kind === "echo" ? "echoes" : "publishes";
  const answered =
    `${formatCount(succeeded)} of ${formatCount(scheduled)} ${noun} ` + `answered over ${over}`;
  const when = ended === "" ? "" : ` until ${ended} ended it`;
  const timed = slowest === 0 ? answered : `${answered}, response p99 ${slowest.toFixed(1)} ms`;
  return `${timed}${delivered(loads)}${when}`;
}

/** Events at subscribers: what publishing is for. */
function delivered(loads: readonly StageReport[]): string {
  let received = 0;
  let expected = 0;
  let slowest = 0;
  for (const { deliveries, latencies } of loads) {
    received += deliveries?.received ?? 0;
    expected += deliveries?.expected ?? 0;
    slowest = Math.max(slowest, latencies.delivery?.p99 ?? 0);
  }
  if (expected === 0) return "";
  const events = `${formatCount(received)} of ${formatCount(expected)} events`;
  return `; ${events} delivered, p99 ${slowest.toFixed(1)} ms`;
}

function demands({ thresholds, baseline }: Facts): string {
  const held =
    thresholds.length === 0
      ? ""
      : thresholds.length === 1
        ? "; the threshold holds"
        : `; all ${thresholds.length} thresholds hold`;
  return baseline === null ? held : `${held}; no worse than the baseline`;
}

function failures({ thresholds, stages }: Facts): string {
  const missed = thresholds.filter(({ passed }) => !passed).map(({ text }) => text);
  if (missed.length > 0) return `missed: ${missed.join(", ")}`;
  const wall = stages.find(({ verdict }) => verdict === "wall");
  if (wall !== undefined) return wall.reasons[0] ?? "connections are missing";
  const top = stages.flatMap((stage) => stage.failures)[0];
  return top === undefined ? "nothing came back" : `nothing came back: ${top.code}`;
}

function limitOf({ limit }: Facts): string {
  return limit === null ? "" : `; limit: ${limit.text}`;
}

function bound({ stages, why, limit }: Facts): string {
  if (why !== "") return why;
  if (limit?.kind === "ports" || limit?.kind === "generator-files") return limit.text;
  return stages.find(({ verdict }) => verdict === "generator-bound")?.reasons[0] ?? "it was late";
}

function regressions({ baseline }: Facts): string {
  return (baseline?.rows ?? [])
    .filter(({ isRegression }) => isRegression)
    .map(({ metric, before, now }) => `${metric} ${before.toFixed(2)} -> ${now.toFixed(2)}`)
    .join(", ");
}
