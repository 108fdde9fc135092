// Sides take turns: A B C A B C, so that a noisy minute is everybody's. A measurement that somebody
// else spoilt is thrown away and made again.
import { progress } from "./command-line.mjs";

/** Cores that others may use, or that the host may take, while a figure is measured. */
const STEAL_MAX = 0.05;
const FOREIGN_MAX = 0.15;
/** So often is a spoilt measurement made again in its round. */
const REPEATS = 2;
/** In the note of what was kept all the same. */
const DISTURBED = "disturbed";

/** @returns why these conditions spoil what was measured under them; "": they do not. */
function spoiltBy({ steal, foreign }) {
  if (steal > STEAL_MAX) return `the host took ${steal.toFixed(2)} cores (at most ${STEAL_MAX})`;
  if (foreign > FOREIGN_MAX) {
    return `others used ${foreign.toFixed(2)} cores (at most ${FOREIGN_MAX})`;
  }
  return "";
}

/**
 * All rounds of one load; adds a row for every side and figure.
 * @param {import("./result.mjs").Result} result
 * @param {{rounds: number, sides: string[], load: import("./result.mjs").Load,
 *   measure: (side: string, round: number) => Promise<{figures: Record<string, number | null>,
 *   conditions: {steal: number, foreign: number}, note?: string}>,
 *   targetOf?: (side: string, figure: string) => import("./result.mjs").Target | null}} plan
 */
export async function runRounds(result, { rounds, sides, load, measure, targetOf = () => null }) {
  const values = new Map(sides.map((side) => [side, new Map()]));
  const notes = new Map();
  for (let round = 0; round < rounds; round++) {
    for (const side of sides) {
      const { figures, note } = await fairly(result, side, load, () => measure(side, round));
      const isDisturbed = notes.get(side)?.includes(DISTURBED) ?? false;
      if (note !== "" && !isDisturbed) notes.set(side, note);
      for (const [figure, value] of Object.entries(figures)) {
        const all = values.get(side);
        if (!all.has(figure)) all.set(figure, new Array(rounds).fill(null));
        all.get(figure)[round] = value;
      }
      const shown = Object.entries(figures).map(([name, value]) => `${name} ${brief(value)}`);
      const what = shown.length === 0 ? "not measured" : shown.join(", ");
      progress(`${words(load)}, round ${round + 1}/${rounds}: ${side}: ${what}`);
    }
  }
  for (const [side, all] of values) {
    if (all.size === 0) result.unmeasured(side, load);
    for (const [figure, list] of all) {
      const target = targetOf(side, figure);
      result.add({ side, load, figure, values: list, target, note: notes.get(side) ?? "" });
    }
  }
}

/** @returns what nobody disturbed, or was to be kept; nothing where every attempt was spoilt. */
async function fairly(result, side, load, measure) {
  for (let attempt = 0; attempt <= REPEATS; attempt++) {
    const { figures, conditions, note = "" } = await measure();
    const why = spoiltBy(conditions);
    if (why === "") return { figures, note };
    if (result.keepsAll) {
      const disturbed = `${DISTURBED}: ${why}`;
      return { figures, note: note === "" ? disturbed : `${note}; ${disturbed}` };
    }
    result.discard(side, load, why);
  }
  return { figures: {}, note: "" };
}

function brief(value) {
  return value === null ? "-" : String(Number(value.toPrecision(4)));
}

/** A load in words: `200 connections, 1 in flight, 32 bytes`. */
export function words(load) {
  return Object.entries(load)
    .map(
      ([name, value]) =>
        `${value} ${name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)}`,
    )
    .join(", ");
}
