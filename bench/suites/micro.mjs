// What do the parts cost, alone? Frames and messages in and out, queues, buffers, and a million
// deadlines: CPU time and memory per operation, beside the smallest honest way without Holdfast.
//   npm run bench:micro -- --only parser,timers --rounds 5
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { KEEP, progress, readFlags } from "../command-line.mjs";
import { watchCores } from "../machine.mjs";
import { casesWith, GROUPS } from "../micro/cases.mjs";
import { OURS } from "../micro/work.mjs";
import { ANY_CORE, Answering, SERVER_CORE } from "../processes.mjs";
import { Result } from "../result.mjs";
import { runRounds, words } from "../rounds.mjs";

const here = dirname(dirname(fileURLToPath(import.meta.url)));
const PROGRAM = join(here, "micro", "measure.mjs");
/**
 * V8's young generation has a constant size: by default it grows while a process runs, and what is
 * measured late would be collected less often.
 */
const NODE_FLAGS = ["--expose-gc", "--min-semi-space-size=16", "--max-semi-space-size=16"];
const QUICK_DEADLINES = 20_000;
const FIGURE_NAMES = ["time", "allocatedPerOperation", "heldPerDeadline"];

const flags = readFlags({
  only: { default: GROUPS.join(","), list: true, words: GROUPS },
  sides: { default: "all", words: ["all", OURS] },
  rounds: { default: "5", range: [1, 50] },
  deadlines: { default: "1000000", range: [1_000, 10_000_000] },
  dist: { default: join(dirname(here), "dist") },
  keep: KEEP,
  quick: {
    isSwitch: true,
    means: "one short round that shows that all of it runs; its figures are worth little",
  },
});
const dist = resolve(flags.dist);
const deadlines = flags.quick ? Math.min(flags.deadlines, QUICK_DEADLINES) : flags.deadlines;
const rounds = flags.quick ? 1 : flags.rounds;

const result = new Result("micro", flags);

const QUIET = { steal: 0, foreign: 0 };

async function measure(index, side, load) {
  const argv = [...NODE_FLAGS, PROGRAM, dist, String(deadlines), String(index), side];
  const quick = flags.quick ? ["quick"] : [];
  const core = flags.quick ? ANY_CORE : SERVER_CORE;
  const child = new Answering(core, process.execPath, [...argv, ...quick], side);
  try {
    const { missing } = await child.next();
    if (missing !== undefined) {
      // An older build may lack what a case is about.
      result.skip(`${side}: ${words(load)}`, missing);
      return { figures: {}, conditions: QUIET };
    }
    const endWatch = watchCores([child.pid]);
    const figures = await child.ask("measure");
    const conditions = endWatch();
    // A short round is too short to be judged, and nobody goes by its figures.
    return { figures, conditions: flags.quick ? QUIET : conditions };
  } finally {
    await child.stop();
  }
}

for (const [index, { group, load, sides: all }] of casesWith(deadlines).entries()) {
  if (!flags.only.includes(group)) continue;
  const sides = Object.keys(all).filter((name) => flags.sides === "all" || name === OURS);
  const measureSide = (side) => measure(index, side, load);
  await runRounds(result, { rounds, sides, load, measure: measureSide });
  for (const against of sides.filter((name) => name !== OURS)) {
    for (const figure of FIGURE_NAMES) result.compare({ side: OURS, against, load, figure });
  }
}
progress("");
result.finish();
