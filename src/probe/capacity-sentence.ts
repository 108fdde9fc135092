// The verdict of `capacity` in one sentence.

import { formatCount } from "./quantity.ts";
import type { CapacityOptions } from "./probe-options.ts";
import type { CapacityResult, Limit, Outcome, StageReport } from "./report.ts";

interface Facts {
  readonly outcome: Outcome;
  readonly capacity: CapacityResult;
  readonly limit: Limit | null;
  /** The stage that came last. */
  readonly last: StageReport | null;
  /** Why the run ended before its time; "" where it did not. */
  readonly why: string;
  readonly options: Pick<CapacityOptions, "max" | "atLeast">;
}

export function capacitySentence(facts: Facts): string {
  const { outcome, limit } = facts;
  switch (outcome) {
    case "passed":
    case "failed":
      return verdict(facts);
    case "generator-bound":
      return generatorBound(facts);
    case "no-convergence":
      return `No result: what held in the search did not hold when it was confirmed${why(limit)}.`;
    case "unreachable":
      return `Unreachable: ${limit?.text ?? "nothing could be connected"}.`;
    case "aborted":
      return `Interrupted: ${heldAtLeast(facts)}.`;
    case "error":
    case "regression":
      return `The probe failed: ${facts.why}.`;
  }
}

function verdict(facts: Facts): string {
  const { capacity, limit, options } = facts;
  const { connections, failedAt } = capacity;
  const found = formatCount(connections);
  if (connections === 0) return `Not even one connection met the objectives${why(limit)}.`;
  const demand =
    options.atLeast !== null && connections < options.atLeast
      ? `, fewer than the ${formatCount(options.atLeast)} asked for`
      : "";
  if (capacity.maxReached || failedAt === null) {
    return `At least ${found} connections${confirmation(facts)}: no limit up to --max${demand}.`;
  }
  return `${found} connections${confirmation(facts)}${demand}; limit: ${limit?.text ?? "unknown"}.`;
}

function confirmation({ capacity }: Facts): string {
  if (capacity.confirmed === null) return "";
  const { connections, holdMs } = capacity.confirmed;
  const seconds = Number((holdMs / 1_000).toFixed(1));
  return ` (${formatCount(connections)} held for ${seconds} s to confirm)`;
}

function generatorBound(facts: Facts): string {
  const { limit, last } = facts;
  const reason =
    facts.why !== ""
      ? facts.why
      : limit?.party === "prober"
        ? limit.text
        : (last?.reasons[0] ?? "it was the limit itself");
  return `GENERATOR-BOUND, no verdict on the server: ${reason}; ${heldAtLeast(facts)}.`;
}

function heldAtLeast({ capacity }: Facts): string {
  return capacity.connections === 0
    ? "no level had held by then"
    : `${formatCount(capacity.connections)} connections had held`;
}

function why(limit: Limit | null): string {
  return limit === null ? "" : `; limit: ${limit.text}`;
}
