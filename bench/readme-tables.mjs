// Markdown tables of what a reference run found, for the README and docs/. Pure: documents in,
// text out. A page marks where a table goes, and everything between the marks is made:
//   <!-- figures: comparison --> ... <!-- /figures -->
// Named tables are in TABLES; `SUITE.FIGURE` is every side of that suite by every load.
import { FIGURES } from "./figures.mjs";
import { shown } from "./result-table.mjs";
import { words } from "./rounds.mjs";
import { PAIRS, SIDES } from "./sides.mjs";
import { ratiosByRound, spread } from "./spread.mjs";

/** @typedef {ReturnType<import("./result.mjs").Result["document"]>} Document */
/** @typedef {Record<string, Document>} Documents by name, which the result's file has */
/** @typedef {{name: string, figure: string, title: string,
 *   load: import("./result.mjs").Load}} Column `load`: what a row's load has to agree with */

const NAMES = Object.keys(SIDES);

function echoColumn(name, connections, inFlight, bytes) {
  const size = bytes < 1_024 ? `${bytes} B` : `${bytes / 1_024} KB`;
  const title =
    `CPU per message, us: ${connections.toLocaleString("en-US")} connections, ` +
    `${inFlight} in flight, ${size}`;
  const load = { connections, inFlight, bytes };
  return { name, figure: "cpuPerMessage", title, load };
}

const echoColumns = (name, bytes) =>
  [200, 5_000].flatMap((connections) =>
    [1, 16].map((inFlight) => echoColumn(name, connections, inFlight, bytes)),
  );

/** @type {Record<string, Column[]>} */
export const TABLES = {
  comparison: [
    ...echoColumns("echo", 32),
    {
      ...{ name: "memory", figure: "residentPerConnection", load: {} },
      title: "resident bytes per idle connection",
    },
    {
      ...{ name: "memory", figure: "kernelPerConnection", load: {} },
      title: "kernel bytes per idle connection, both ends",
    },
    { name: "storm", figure: "cpuPerConnect", load: {}, title: "CPU per connect, us" },
    {
      ...{ name: "fanout", figure: "cpuPerDelivery", load: { subscribers: 1_000 } },
      title: "CPU per delivery, us: 1,000 subscribers",
    },
  ],
  "large messages": [...echoColumns("echo-large", 1_024), ...echoColumns("echo-large", 16_384)],
};

const MARK = /^<!-- figures: (.+) -->$/;
const END = "<!-- /figures -->";
const NOTHING =
  "There is no reference run yet: `npm run bench -- --out bench/results/reference` makes one, " +
  "and `npm run generate` this table of it.";

/**
 * @param {string} text a page
 * @param {Documents} documents
 * @returns {string} the page with its tables as the documents have them
 */
export function withTables(text, documents) {
  const made = [];
  let name = null;
  for (const line of text.split("\n")) {
    const begins = MARK.exec(line);
    if (begins !== null) {
      if (name !== null) throw new Error(`figures ${begins[1]} begin inside of ${name}`);
      [, name] = begins;
      made.push(line, "", ...tableText(name, documents), "");
    } else if (line === END) {
      name = null;
    }
    if (name === null) made.push(line);
  }
  if (name !== null) throw new Error(`figures ${name} have no end: ${END}`);
  return made.join("\n");
}

/** @returns {string[]} the lines of a table, its ratios, and how it was measured */
function tableText(name, documents) {
  const columns = TABLES[name] ?? suiteColumns(name, documents);
  const used = [...new Set(columns.map((column) => column.name))];
  const kept = columns.filter((column) => rowsOf(column, documents).length > 0);
  if (kept.length === 0) return [NOTHING];
  const present = used.filter((suite) => kept.some((column) => column.name === suite));
  const absent = used.filter((suite) => !present.includes(suite));
  const missing =
    absent.length === 0 ? [] : ["", `Not in the reference run: ${absent.join(", ")}.`];
  const values = markdown(
    ["", ...kept.map(({ title }) => title)],
    sidesIn(kept, documents).map((side) => [
      SIDES[side]?.isOurs ? `**${side}**` : side,
      ...kept.map((column) => valueCell(rowsOf(column, documents), side)),
    ]),
  );
  return [
    ...values,
    ...ratioTable(kept, documents),
    ...missing,
    "",
    ...sources(present, documents),
  ];
}

/** Columns of `SUITE.FIGURE`: one for every load that was measured. */
function suiteColumns(name, documents) {
  const [suite = "", figure = ""] = name.split(".");
  if (FIGURES[figure] === undefined) {
    throw new Error(`there is no table "${name}": ${Object.keys(TABLES).join(", ")}, SUITE.FIGURE`);
  }
  const rows = documents[suite]?.rows.filter((row) => row.figure === figure) ?? [];
  const loads = [...new Map(rows.map(({ load }) => [JSON.stringify(load), load])).values()];
  const { title, unit } = FIGURES[figure];
  if (loads.length === 0) return [{ name: suite, figure, title, load: {} }];
  return loads.map((load) => ({
    ...{ name: suite, figure, load },
    title: `${title}, ${unit}: ${words(load)}`,
  }));
}

function rowsOf({ name, figure, load }, documents) {
  const rows = documents[name]?.rows ?? [];
  return rows.filter(
    (row) =>
      row.figure === figure && Object.entries(load).every(([key, is]) => row.load[key] === is),
  );
}

/** In the order of the sides; others, such as a case's own peers, as they come. */
function sidesIn(columns, documents) {
  const rows = columns.flatMap((column) => rowsOf(column, documents));
  const found = [...new Set(rows.map(({ side }) => side))];
  const known = NAMES.filter((side) => found.includes(side));
  return [...known, ...found.filter((side) => !known.includes(side))];
}

function valueCell(rows, side) {
  const row = rows.find((one) => one.side === side);
  if (row === undefined) return "";
  const range = row.values.length > 1 ? ` (${shown(row.min)}..${shown(row.max)})` : "";
  return `${shown(row.median)}${range}`;
}

/** Each of Holdfast's rows beside its peers; where it costs more, the cell says so in words. */
function ratioTable(columns, documents) {
  const lines = PAIRS.map(({ side, against }) => [
    `**${side}** against ${against}`,
    ...columns.map((column) => ratioCell(column, documents, side, against)),
  ]).filter(([, ...cells]) => cells.some((cell) => cell !== ""));
  if (lines.length === 0) return [];
  return ["", ...markdown(["ratio", ...columns.map(({ title }) => title)], lines)];
}

function ratioCell(column, documents, side, against) {
  const rows = rowsOf(column, documents);
  const own = rows.find((row) => row.side === side);
  const other = rows.find((row) => row.side === against);
  if (own === undefined || other === undefined) return "";
  const ratios = ratiosByRound(own.values, other.values).filter((ratio) => ratio !== null);
  if (ratios.length === 0) return "";
  const { median, min, max } = spread(ratios);
  const shownRatio = `${median.toFixed(2)}x`;
  // Rounds that disagree about who is ahead say that neither is.
  if (ratios.length > 1 && min <= 1 && max >= 1) return `${shownRatio}, the same`;
  const isBehind = own.better === "less" ? median > 1 : median < 1;
  return isBehind ? `${shownRatio}, behind` : `**${shownRatio}**`;
}

/** The command of each result, and what it ran on: a list. */
function sources(names, documents) {
  return names.map((name) => {
    const { suite, argv, startedAt, machine, versions } = documents[name];
    const flags = argv.map((word) => (/^[\w.,:%=-]+$/.test(word) ? word : `"${word}"`));
    const script = suite === "capacity" ? suite : `bench:${suite}`;
    const command = [`npm run ${script}`, ...(flags.length === 0 ? [] : ["--", ...flags])];
    // The hash's beginning; that something was changed is said.
    const commit = versions.commit?.replace(/^(\w{12})\w*/, "$1") ?? "unknown";
    return (
      `- \`${command.join(" ")}\`: ${startedAt.slice(0, 10)}, commit ${commit}, ` +
      `${machine.cores} cores (${machine.cpu}), Linux ${machine.kernel}, Node ${versions.node}`
    );
  });
}

function markdown(head, lines) {
  const text = (cells) => `| ${cells.join(" | ")} |`;
  return [text(head), text(head.map((_, at) => (at === 0 ? "---" : "---:"))), ...lines.map(text)];
}
