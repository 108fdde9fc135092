// `npm run bench`: every suite, one after another, each with a result of its own in one folder, and
// a summary. A suite that misses a target or breaks does not keep the others from running.
//   npm run bench -- --only echo,memory --out bench/results/reference
import { once } from "node:events";
import { readFileSync, renameSync, rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { progress, readFlags, refuse } from "./command-line.mjs";
import { startSuite } from "./processes.mjs";
import { makeFolder } from "./result.mjs";
import { SUITES } from "./suite-list.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const NAMES = SUITES.map(({ name }) => name);

const flags = readFlags({
  only: { default: NAMES.join(","), list: true, words: NAMES },
  out: { default: join(here, "results", "latest") },
  quick: {
    isSwitch: true,
    means: "the shortest run of each that still measures, disturbed or not",
  },
  list: { isSwitch: true, means: "what there is, and about how long each takes; runs nothing" },
});
const folder = resolve(flags.out);
const chosen = SUITES.filter(({ name }) => flags.only.includes(name));

/** A suite that takes so many times as long as it should hangs. */
const PATIENCE = 4;
const PATIENCE_MS_MIN = 180_000;

const wordsOf = (text) => text.split(" ").filter((word) => word !== "");
const flagsOf = (suite) => (flags.quick ? suite.quick : suite.flags);

if (flags.list) {
  for (const suite of chosen) {
    const minutes = `${flags.quick ? "<1" : suite.minutes} min`.padStart(7);
    const command = `${suite.script} ${flagsOf(suite)}`;
    console.log(`${suite.name.padEnd(16)} ${minutes}  ${command}`.trimEnd());
  }
  process.exit(0);
}

function documentIn(file) {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch {
    return null;
  }
}

/** Runs a suite. It passed where it says so and ends with 0; one without a result failed. */
async function run(suite) {
  const file = join(folder, `${suite.name}.json`);
  // What an earlier run left stays until there is a result of this one.
  const part = `${file}.part`;
  rmSync(part, { force: true });
  progress(`\n== ${suite.name}`);
  const from = performance.now();
  const nodeFlags = wordsOf(suite.nodeFlags ?? "");
  const script = join(here, "suites", suite.script);
  const argv = [...nodeFlags, script, ...wordsOf(flagsOf(suite)), "--out", part];
  const child = startSuite(argv, "inherit");
  const ms = Math.max(PATIENCE_MS_MIN, PATIENCE * suite.minutes * 60_000);
  const timer = setTimeout(() => child.kill("SIGTERM"), ms);
  const [code, signal] = await once(child, "exit");
  clearTimeout(timer);
  const document = documentIn(part);
  if (document === null) rmSync(part, { force: true });
  else renameSync(part, file);
  const why = document === null ? `no result, it ended with ${code ?? signal}` : missedIn(document);
  return {
    name: suite.name,
    passed: code === 0 && document?.passed === true,
    seconds: Math.round((performance.now() - from) / 1_000),
    rows: document?.rows.length ?? 0,
    skipped: document?.skipped.length ?? 0,
    discarded: document?.discarded.length ?? 0,
    why,
  };
}

function missedIn({ rows, unmeasured, failures }) {
  const verdicts = rows.flatMap((row) => [row, ...row.ratios]).filter(({ target }) => target);
  const missed = verdicts.filter(({ passed }) => passed === false).length;
  const spoilt =
    unmeasured.length === 0 ? "" : `, ${unmeasured.length} not measured (all thrown away)`;
  const met =
    verdicts.length === 0
      ? "no targets"
      : `${verdicts.length - missed} of ${verdicts.length} targets met`;
  return [`${met}${spoilt}`, ...failures].join("; ");
}

function summary(outcomes) {
  const head = ["suite", "", "seconds", "rows", "skipped", "thrown away", "why"];
  const lines = outcomes.map(({ name, passed, seconds, rows, skipped, discarded, why }) =>
    [name, passed ? "passed" : "FAILED", seconds, rows, skipped, discarded, why].map(String),
  );
  const widths = head.map((_, at) => Math.max(...[head, ...lines].map((line) => line[at].length)));
  const text = (line) =>
    line
      .map((word, at) => word.padEnd(widths[at]))
      .join("  ")
      .trimEnd();
  return [head, ...lines].map(text).join("\n");
}

try {
  makeFolder(folder);
} catch (error) {
  refuse(`--out ${folder} cannot be made (${error.code})`);
}
const outcomes = [];
for (const suite of chosen) outcomes.push(await run(suite));
const failed = outcomes.filter(({ passed }) => !passed).length;
progress("");
if (flags.json) console.log(JSON.stringify({ folder, outcomes }, null, 2));
else console.log(`${summary(outcomes)}\n\n${outcomes.length - failed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
