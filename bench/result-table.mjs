// A result as text for a terminal: a block for every load, a line for every side.
import { FIGURES } from "./figures.mjs";
import { words } from "./rounds.mjs";

/** @returns {Map<string, import("./result.mjs").Row[]>} rows by load, in words */
function byLoad(rows) {
  const blocks = new Map();
  for (const row of rows) {
    const key = words(row.load);
    if (!blocks.has(key)) blocks.set(key, []);
    blocks.get(key).push(row);
  }
  return blocks;
}

/** Four digits that count. */
export function shown(value) {
  const magnitude = Math.abs(value);
  if (magnitude >= 1_000) return Math.round(value).toLocaleString("en-US");
  return String(Number(value.toPrecision(3)));
}

function bound({ min, max }, unit) {
  return max !== undefined ? `<= ${max}${unit}` : `>= ${min}${unit}`;
}

function cell({ median, min, max, values, target, passed }) {
  const range = values.length > 1 ? ` (${shown(min)}..${shown(max)})` : "";
  if (target === null) return `${shown(median)}${range}`;
  return `${shown(median)}${range} ${bound(target, "")} ${passed ? "pass" : "FAIL"}`;
}

/** Two digits after the point, or as many that count. */
function times(ratio) {
  return ratio >= 0.1 || ratio === 0 ? ratio.toFixed(2) : ratio.toPrecision(2);
}

function ratioText({ against, median, min, max, target, passed }, title) {
  const range = `${times(min)}..${times(max)}`;
  const verdict = target === null ? "" : `  ${bound(target, "x")} ${passed ? "pass" : "FAIL"}`;
  return `    ${title}: ${times(median)}x of ${against} (${range})${verdict}`;
}

function block(load, rows) {
  const sides = [...new Set(rows.map(({ side }) => side))];
  const figures = [...new Set(rows.map(({ figure }) => figure))];
  const head = ["", ...figures.map((name) => `${FIGURES[name].title}, ${FIGURES[name].unit}`)];
  const lines = sides.map((side) => [
    side,
    ...figures.map((figure) => {
      const row = rows.find((one) => one.side === side && one.figure === figure);
      return row === undefined ? "-" : cell(row);
    }),
  ]);
  const widths = head.map((_, column) =>
    Math.max(...[head, ...lines].map((line) => line[column].length)),
  );
  const text = (line) =>
    line
      .map((word, at) => (at === 0 ? word.padEnd(widths[at]) : word.padStart(widths[at])))
      .join("  ");
  const body = sides.flatMap((side, index) => {
    const own = rows.filter((row) => row.side === side);
    const notes = [...new Set(own.map(({ note }) => note))].filter((note) => note !== "");
    return [
      text(lines[index]),
      ...own.flatMap(({ ratios, figure }) =>
        ratios.map((ratio) => ratioText(ratio, FIGURES[figure].title)),
      ),
      ...notes.map((note) => `    ${note}`),
    ];
  });
  return [load, text(head), ...body].join("\n");
}

const REMEDY =
  "What was thrown away was disturbed: stop what else runs on this machine and try again, or " +
  "have it count all the same, with a note (--keep).";

/** @returns the whole result; what was left out and thrown away stands at its end */
export function resultTable(document) {
  const { rows, skipped, discarded, unmeasured, failures, passed, seconds } = document;
  const blocks = [...byLoad(rows)].map(([load, own]) => block(load, own));
  const left = skipped.map(({ side, why }) => `skipped: ${side} (${why})`);
  const busy = unmeasured.map(
    ({ side, load }) => `not measured: ${side}, ${words(load)} (every attempt was thrown away)`,
  );
  const remedy = discarded.length === 0 ? [] : [REMEDY];
  const verdicts = rows.flatMap((row) => [row, ...row.ratios]).filter((one) => one.target !== null);
  const missed = verdicts.filter((one) => one.passed === false).length;
  const verdict =
    rows.length === 0
      ? "nothing was measured"
      : verdicts.length === 0
        ? "no targets"
        : `${verdicts.length - missed} of ${verdicts.length} targets met`;
  const thrown = discarded.length === 0 ? "" : `; ${discarded.length} measurements thrown away`;
  const end = `${passed ? "PASSED" : "FAILED"} in ${seconds} s: ${verdict}${thrown}`;
  return [...blocks, ...left, ...busy, ...remedy, ...failures, end].join("\n\n");
}
