// What a report says as a whole, for those who show it: the stage that stands for the result, how
// the generator did, and whether it was the limit.

import type { GeneratorFigures, Report, StageReport } from "./report.ts";

/**
 * The stage that the headline figures come from. Of a search, the confirmation or the last level
 * that held; of a load, the last part that counts, whatever came of it; of a scenario, the last
 * phase that does and is not there to open connections.
 */
export function mainStage({
  stages,
  command,
}: Pick<Report, "stages" | "command">): StageReport | null {
  const counted = stages.filter(({ verdict }) => verdict !== "generator-bound");
  return wantedStage(counted, command) ?? counted.at(-1) ?? stages.at(-1) ?? null;
}

function wantedStage(
  stages: readonly StageReport[],
  command: Report["command"],
): StageReport | undefined {
  switch (command) {
    case "load":
      return stages.findLast(({ kind }) => kind === "load");
    case "scenario":
      return stages.findLast(({ kind }) => kind !== "ramp");
    case "capacity":
      return (
        stages.findLast(({ verdict, kind }) => verdict === "ok" && kind === "confirm") ??
        stages.findLast(({ verdict }) => verdict === "ok")
      );
  }
}

/** Failed attempts and operations, and connections that ended without our doing. */
export function errorCount({ failures, deaths }: Pick<Report, "failures" | "deaths">): number {
  let total = 0;
  for (const { count } of failures) total += count;
  for (const { count } of deaths) total += count;
  return total;
}

export interface GeneratorSummary extends GeneratorFigures {
  /** `not the limit`, or in how many stages it was. */
  readonly verdict: string;
  readonly isLimit: boolean;
}

/** The worst of the stages that count; null where there are no stages. */
export function generatorSummary(
  report: Pick<Report, "stages" | "outcome" | "limit">,
): GeneratorSummary | null {
  const { stages } = report;
  const bound = stages.filter(({ verdict }) => verdict === "generator-bound");
  const counted = stages.filter(({ verdict }) => verdict !== "generator-bound");
  const isLimit = report.outcome === "generator-bound" || report.limit?.party === "prober";
  // What the verdict rests on: the stages that count, or those that it spoilt.
  const shown = isLimit || counted.length === 0 ? stages : counted;
  const all = shown.map(({ generator }) => generator);
  const last = all.at(-1);
  if (last === undefined) return null;
  const most = (figure: (one: GeneratorFigures) => number): number => Math.max(...all.map(figure));
  const late = all.reduce((worst, one) => (lateShare(one) > lateShare(worst) ? one : worst));
  const stageText = `${bound.length} of ${stages.length} stages`;
  return {
    ...last,
    processes: most((one) => one.processes),
    loopUtilisation: most((one) => one.loopUtilisation),
    latenessP99Ms: late.latenessP99Ms,
    latenessLimitMs: late.latenessLimitMs,
    startedShare: -most((one) => -one.startedShare),
    cpuCores: most((one) => one.cpuCores),
    rssBytes: most((one) => one.rssBytes),
    isLimit,
    verdict: isLimit
      ? "THE LIMIT"
      : bound.length > 0
        ? `the limit in ${stageText}, which count neither way`
        : "not the limit",
  };
}

function lateShare({ latenessP99Ms, latenessLimitMs }: GeneratorFigures): number {
  return latenessLimitMs > 0 ? latenessP99Ms / latenessLimitMs : 0;
}
