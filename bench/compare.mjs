// `npm run bench:compare -- BASE HEAD`: is HEAD slower than BASE? Builds both, has the suite of
// this checkout measure them in turns (A B A B), and ends with 1 where a claim got worse by more
// than the margin and every pair says so. The rule is in regression.mjs.
//   npm run bench:compare -- main . --suite micro --margin 5% --rounds 5
import { once } from "node:events";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildOf } from "./build-of.mjs";
import { KEEP, progress, readFlags, refuse } from "./command-line.mjs";
import { FIGURES } from "./figures.mjs";
import { startSuite } from "./processes.mjs";
import { judge, PAIRS_MIN } from "./regression.mjs";
import { Result } from "./result.mjs";
import { words } from "./rounds.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const OURS = ["tcp-epoll bare", "holdfast tcp-epoll", "holdfast tcp-net", "holdfast websocket"];
const ECHO_LOADS = ["--connections", "200", "--in-flight", "1,16", "--bytes", "32"];

/**
 * What a suite is given, and which of its sides are made of the build.
 * @type {Record<string, {script: string, flags: string[], quick: string[], sides: string[],
 *   needsNative?: boolean}>}
 */
const COMPARABLE = {
  micro: {
    script: "micro.mjs",
    flags: ["--sides", "holdfast", "--rounds", "1"],
    quick: ["--quick"],
    sides: ["holdfast"],
  },
  echo: {
    script: "echo.mjs",
    flags: ["--only", OURS.join(","), ...ECHO_LOADS, "--rounds", "1", "--seconds", "1"],
    quick: ["--seconds", "0.3", "--warmup", "0.2", "--keep"],
    sides: OURS,
    needsNative: true,
  },
};

const flags = readFlags(
  {
    suite: { default: "micro", words: Object.keys(COMPARABLE) },
    only: { default: "", means: "as the suite takes it; without it all of the build's" },
    margin: { default: "5%" },
    rounds: { default: "5", range: [PAIRS_MIN, 50] },
    keep: KEEP,
    quick: { isSwitch: true, means: "short rounds, of which none is thrown away" },
  },
  {
    BASE: "what it is compared with: a revision, a folder with a build, or . for the working tree",
    HEAD: "what is compared: likewise",
  },
);
const suite = COMPARABLE[flags.suite];
const margin = marginOf(flags.margin);

function marginOf(text) {
  const percent = Number(/^(\d+(?:\.\d+)?)%$/.exec(text)?.[1] ?? NaN);
  if (percent > 0 && percent <= 1_000) return percent / 100;
  return refuse(`--margin is a percentage above 0, such as 5%: not ${text}`);
}

/** Everything of this run, the builds among it; gone when it ends, however that is. */
const folder = join(dirname(here), ".cache", "bench", "compare", String(process.pid));
mkdirSync(folder, { recursive: true });
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));

/** @returns the suite's document for a build: one round. */
async function measure(build) {
  const out = join(folder, "round.json");
  rmSync(out, { force: true });
  const only = flags.only === "" ? [] : ["--only", flags.only];
  const quick = flags.quick ? suite.quick : [];
  const keep = flags.keep ? ["--keep"] : [];
  const argv = [...suite.flags, ...only, ...quick, ...keep, "--dist", build.dist, "--out", out];
  const child = startSuite([join(here, "suites", suite.script), ...argv], "pipe");
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text) => {
    said += text;
  });
  const [code] = await once(child, "close");
  if (code === 2) refuse(said.trim());
  // Its own targets are not the question: 1 is as good as 0 where there is a result.
  try {
    if (code === 0 || code === 1) return JSON.parse(readFileSync(out, "utf8"));
  } catch {
    // What it said tells why.
  }
  throw new Error(`${build.name}: suite ${flags.suite} ended with ${code}:\n${said}`);
}

/** The claims of a document about the build itself, by what they are about. */
function claimsOf({ rows }) {
  const own = rows.filter(({ isClaim, side }) => isClaim && suite.sides.includes(side));
  return new Map(
    own.map((row) => {
      const load = suite.sides.length > 1 ? { side: row.side, ...row.load } : row.load;
      return [`${row.figure} ${JSON.stringify(load)}`, { ...row, load }];
    }),
  );
}

/** @returns by claim: what it is about, and both sides' values by round. */
function paired(documents) {
  const claims = new Map();
  for (const side of ["base", "head"]) {
    for (const [round, document] of documents[side].entries()) {
      for (const [key, { load, figure, values }] of claimsOf(document)) {
        if (!claims.has(key)) {
          const empty = () => new Array(flags.rounds).fill(null);
          claims.set(key, { load, figure, base: empty(), head: empty() });
        }
        claims.get(key)[side][round] = values[0];
      }
    }
  }
  return [...claims.values()];
}

/** Adds a claim's rows. @returns how it is judged. */
function addClaim(result, { load, figure, base, head }, [baseSide, headSide]) {
  const { better, grain } = FIGURES[figure];
  const { verdict, why } = judge({ better, base, head, margin, grain });
  const isMet = verdict !== "slower";
  const limit = better === "less" ? { max: 1 + margin } : { min: 1 / (1 + margin) };
  // Where there was nothing before there is no ratio, and the head is held to next to nothing.
  const hasRatio = base.some((value, round) => value > 0 && head[round] !== null);
  const note = why === "" ? verdict : `${verdict}: ${why}`;
  result.add({ side: baseSide, load, figure, values: base });
  result.add({
    ...{ side: headSide, load, figure, values: head, note: `${FIGURES[figure].title} ${note}` },
    ...(hasRatio || verdict === "unclear" ? {} : { target: { max: grain ?? 0 }, isMet }),
  });
  const target = verdict === "unclear" ? null : limit;
  result.compare({ side: headSide, against: baseSide, load, figure, target, isMet });
  if (verdict === "slower") progress(`slower: ${words(load)}, ${FIGURES[figure].title}`);
  return verdict;
}

const result = new Result("compare", flags);
const builds = ["BASE", "HEAD"].map((which) => buildOf(flags[which], which, { folder, ...suite }));
const names = builds.map(({ name }, index) => `${["base", "head"][index]} ${name}`);
const documents = { base: [], head: [] };
for (let round = 0; round < flags.rounds; round++) {
  for (const [index, side] of ["base", "head"].entries()) {
    progress(`round ${round + 1}/${flags.rounds}: ${names[index]}`);
    const document = await measure(builds[index]);
    documents[side].push(document);
    for (const { side: what, why } of document.skipped) {
      result.skip(`${names[index]}: ${what}`, why);
    }
    for (const { side: what, load, why } of document.discarded) {
      result.discard(`${names[index]}: ${what}`, load, why);
    }
  }
}
const verdicts = paired(documents).map((claim) => addClaim(result, claim, names));
if (verdicts.every((verdict) => verdict === "unclear")) {
  result.fail("nothing is clear: too little could be measured; try it on a quieter machine");
}
progress("");
result.finish();
