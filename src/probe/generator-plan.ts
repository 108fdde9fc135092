// How many generator processes a run may come to, what each may hold, and from where it connects.

import type { Host } from "./host.ts";
import type { ProbeOptions } from "./probe-options.ts";
import { formatCount } from "./quantity.ts";
import type { Limit } from "./report.ts";
import { planSources, type SourceRange, sourceTuples } from "./source-addresses.ts";
import type { SourceFacts } from "./source-facts.ts";
import type { Target } from "./target.ts";

/** Files of a generator process that are no connections; of a low limit a quarter. */
const FILES_RESERVED = 100;
const FILES_RESERVED_SHARE = 0.25;
/** More processes than this would cost more memory than their connections. */
const GENERATORS_MAX = 128;
/** Connects per second that one generator process does without being late. */
export const CONNECTS_PER_GENERATOR = 8_000;

/** How many generator processes a run may come to, and what each may hold. */
export interface GeneratorPlan {
  readonly generatorsMax: number;
  readonly connectionsPerGenerator: number;
  /** By process; null where the kernel chooses. */
  readonly sources: readonly (readonly SourceRange[])[] | null;
  /** What there would have to be more of for more connections. */
  readonly bound: "ports" | "generator-files";
}

export function planGenerators(
  options: ProbeOptions,
  connectionsMax: number,
  targets: readonly Target[],
  host: Host,
  facts: SourceFacts,
): GeneratorPlan {
  const limit = host.fileLimit?.soft ?? 1_024;
  const reserved = Math.min(FILES_RESERVED, Math.ceil(limit * FILES_RESERVED_SHARE));
  const files = Math.max(1, limit - reserved);
  const { localIps, localPorts: ports } = options;
  const plan = (generators: number, connectionsPerGenerator: number): GeneratorPlan["sources"] =>
    planSources({ targets, localIps, ports, generators, connectionsPerGenerator }, facts);
  // Where addresses are few, more processes would only cut them into smaller pieces.
  const all = plan(1, connectionsMax);
  const pairs = all === null ? Infinity : sourceTuples(all) * targets.length;
  const reachable = Math.min(connectionsMax, pairs);
  const generatorsMax = generatorsFor(reachable, options, { connectionsPerGenerator: files });
  const sources = plan(generatorsMax, files);
  const each = sources === null ? Infinity : sourceTuples([sources[0]!]) * targets.length;
  return {
    generatorsMax,
    connectionsPerGenerator: Math.max(1, Math.min(files, each)),
    sources,
    bound: pairs < connectionsMax || each < files ? "ports" : "generator-files",
  };
}

/** Most connections that the probe's own files and addresses allow. */
export function planConnectionsMax(plan: GeneratorPlan): number {
  return plan.generatorsMax * plan.connectionsPerGenerator;
}

/** What the probe's own means come to, as a limit. */
export function planLimit(plan: GeneratorPlan, host: Host): Limit {
  const { generatorsMax, sources, bound } = plan;
  const most = `${formatCount(planConnectionsMax(plan))} connections`;
  const own = { kind: bound, party: "prober", confidence: "certain" } as const;
  if (bound === "generator-files") {
    return {
      ...own,
      text: `the probe's own files: ${most} over ${generatorsMax} processes`,
      evidence: [`${host.fileLimit?.soft ?? 0} files for each process`],
      advice: "raise `ulimit -n` for the probe",
    };
  }
  const pairs = sources === null ? 0 : sourceTuples(sources);
  return {
    ...own,
    text: `the probe's own addresses and ports: ${most}`,
    evidence: [`${formatCount(pairs)} pairs of local address and port`],
    advice: "give more local addresses with --local-ips, or more ports with --local-ports",
  };
}

export function generatorsFor(
  connections: number,
  { generators, connectPerSecond }: Pick<ProbeOptions, "generators" | "connectPerSecond">,
  plan: { readonly connectionsPerGenerator: number; readonly generatorsMax?: number },
): number {
  const wanted = Math.max(
    generators,
    Math.ceil(connections / plan.connectionsPerGenerator),
    Math.ceil(connectPerSecond / CONNECTS_PER_GENERATOR),
  );
  return Math.min(wanted, plan.generatorsMax ?? GENERATORS_MAX);
}
