// Key figures of a run of scenarios: what became of them, and the most that any of them reached.

import type { Markup } from "./markup.ts";
import { formatCount } from "./quantity.ts";
import { UNKNOWN } from "./report-figures.ts";
import { type Tile, tileList } from "./report-tiles.ts";
import {
  nearestObjective,
  type PhaseFigures,
  scenarioFigures,
  usedFigure,
} from "./scenario-figures.ts";
import type { ScenarioResult, ScenarioVerdict } from "./scenario-report.ts";

export function scenarioTiles(scenarios: readonly ScenarioResult[]): Markup {
  const ended = scenarios.flatMap((result) => {
    const figures = scenarioFigures(result);
    return figures === null ? [] : [{ result, figures }];
  });
  return tileList([
    ...verdictTiles(scenarios),
    mostTile("Connections", ended, ({ stage }) => stage.connections.held),
    mostTile("Operations/s", ended, ({ stage: { operations } }) => {
      return (operations.echo ?? operations.publish)?.achievedPerSecond ?? 0;
    }),
    nearestTile(scenarios),
  ]);
}

function verdictTiles(scenarios: readonly ScenarioResult[]): Tile[] {
  const named = (...verdicts: readonly ScenarioVerdict[]): string[] =>
    scenarios.filter(({ verdict }) => verdicts.includes(verdict)).map(({ name }) => name);
  const passed = named("passed");
  const failed = named("failed");
  const unjudged = named("generator-bound", "aborted");
  const skipped = named("skipped");
  return [
    { name: "Passed", value: String(passed.length), about: `of ${scenarios.length} scenarios` },
    {
      name: "Failed",
      value: String(failed.length),
      about: failed.join(", ") || "none",
      isBad: failed.length > 0,
    },
    { name: "No verdict", value: String(unjudged.length), about: unjudged.join(", ") || "none" },
    { name: "Skipped", value: String(skipped.length), about: skipped.join(", ") || "none" },
  ];
}

interface Ended {
  readonly result: ScenarioResult;
  readonly figures: PhaseFigures;
}

/** The most of all, and whose it was. */
function mostTile(
  name: string,
  ended: readonly Ended[],
  figure: (figures: PhaseFigures) => number,
): Tile {
  let most = 0;
  let whose = "";
  for (const { result, figures } of ended) {
    if (figure(figures) <= most) continue;
    most = figure(figures);
    whose = result.name;
  }
  if (whose === "") return { name, value: UNKNOWN, about: "none" };
  return { name, value: formatCount(most), about: `the most: ${whose}` };
}

/** Of those that passed: which was closest to failing. */
function nearestTile(scenarios: readonly ScenarioResult[]): Tile {
  let most = -1;
  let whose = "no scenario passed";
  for (const result of scenarios) {
    const share = result.verdict === "passed" ? nearestObjective(result)?.share : null;
    if (share == null || share <= most) continue;
    most = share;
    whose = result.name;
  }
  const value = usedFigure(most < 0 ? null : most);
  return { name: "Nearest to its limit", value, about: whose };
}
