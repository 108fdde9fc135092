// When is one build slower than another? The rule of `bench:compare`, as a function of what was
// measured in pairs: the first of a pair is the base, the second the head.
import { spread } from "./spread.mjs";

/** Fewer pairs show no spread. */
export const PAIRS_MIN = 3;

/**
 * @typedef {"slower" | "same" | "faster" | "unclear"} Verdict
 * @param {{better: "less" | "more", base: (number | null)[], head: (number | null)[],
 *   margin: number, grain?: number}} measured margin: 0.05 are 5%; grain: of values below it none
 *   is better than another
 * @returns {{verdict: Verdict, why: string}} Worse by the margin is a median ratio above 1 + margin
 *   (where more is better: of the inverse). The spread supports it where not one pair says the
 *   opposite, that is where the least ratio is above 1. Where it does not, it is unclear, and so
 *   are fewer than three pairs.
 */
export function judge({ better, base, head, margin, grain = 0 }) {
  const pairs = base
    .map((value, round) => [value, head[round] ?? null])
    .filter(([before, after]) => before !== null && after !== null);
  if (pairs.length < PAIRS_MIN) {
    return { verdict: "unclear", why: `${pairs.length} pairs, ${PAIRS_MIN} are needed` };
  }
  // What is below the grain counts as the grain: 0 B and 0.2 B are the same, 0 B and 50 B are not.
  const worse = pairs.map((pair) => {
    const [before, after] = pair.map((value) => Math.max(value, grain));
    if (before === after) return 1;
    return better === "less" ? after / before : before / after;
  });
  const { median, min, max } = spread(worse);
  if (median > 1 + margin) {
    if (min > 1) return { verdict: "slower", why: "" };
    return { verdict: "unclear", why: "beyond the margin, but not every pair agrees" };
  }
  if (median < 1 / (1 + margin) && max < 1) return { verdict: "faster", why: "" };
  return { verdict: "same", why: "" };
}
