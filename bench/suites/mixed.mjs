// What do many idle connections cost the few that are busy? Some connections ask at a steady rate,
// with nobody else connected and with many that do nothing: latency of the answers, counted from
// when each question was due, and CPU time of the server's process per message.
//   npm run bench:mixed -- --idle 0,10000 --busy 100 --rate 2000
import { dirname, join, resolve } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { KEEP, progress, readFlags, refuse } from "../command-line.mjs";
import { runEcho, startHolder } from "../load/load-client.mjs";
import { fileLimit } from "../processes.mjs";
import { Result } from "../result.mjs";
import { runRounds } from "../rounds.mjs";
import { comparePairs, present, SIDES, startSide } from "../sides.mjs";
import { ratiosByRound } from "../spread.mjs";

const here = dirname(dirname(fileURLToPath(import.meta.url)));

/** Of those that echo, in the order of a round. */
const NAMES = Object.keys(SIDES).filter((name) => SIDES[name].program === undefined);
/** A server that leaves more than this share unanswered in the end did not keep up. */
const BEHIND_SHARE_MAX = 0.01;
/** Once the idle ones are there, what their coming left behind is done with. */
const SETTLE_MS = 1_000;

const flags = readFlags({
  idle: { default: "0,10000", list: true, range: [0, 100_000] },
  busy: { default: "100", range: [1, 10_000] },
  rate: { default: "2000", range: [1, 200_000] },
  seconds: { default: "5", range: [0.1, 60] },
  warmup: { default: "1", range: [0.1, 60] },
  rounds: { default: "5", range: [1, 50] },
  only: { default: NAMES.join(","), list: true, words: NAMES },
  dist: { default: join(dirname(here), "dist") },
  keep: KEEP,
});
const { busy, rate, rounds } = flags;
const dist = resolve(flags.dist);
if (Math.max(...flags.idle) + busy > fileLimit() - 100) {
  refuse(`--idle ${flags.idle} and --busy ${busy} do not fit the file limit of ${fileLimit()}`);
}

const result = new Result("mixed", flags);
const sides = present(
  NAMES.filter((name) => flags.only.includes(name)),
  result,
);

async function measure(name, { idle }) {
  const { server, port, transport, protocol } = await startSide(name, { dist });
  const to = { port, transport, protocol, pid: server.pid };
  const holder = startHolder({ ...to, "source-base": 5 });
  try {
    if (idle > 0) await holder.ask(`open ${idle}`);
    await wait(SETTLE_MS);
    const { messages, seconds, cpuMicros, errors, lost, behind, conditions, ...others } =
      await runEcho({
        ...{ ...to, connections: busy, rate, "in-flight": 1 },
        ...{ warmup: flags.warmup, seconds: flags.seconds },
      });
    const { open, lost: gone, errors: wrong } = await holder.ask("stat");
    if (errors + wrong + lost + gone > 0 || messages === 0 || open !== idle) {
      throw new Error(
        `${name}: ${messages} messages, ${errors + wrong} errors, ${lost + gone} lost, ` +
          `${open} of ${idle} idle connections left`,
      );
    }
    const isBehind = behind > rate * seconds * BEHIND_SHARE_MAX;
    const note = isBehind ? `it did not keep up: ${behind} were unanswered in the end` : "";
    const figures = { cpuPerMessage: cpuMicros / messages, ...others };
    return { figures, conditions, note };
  } finally {
    await holder.stop();
    await server.stop();
  }
}

/** What many idle ones cost: the figures beside those of the same side with none, by round. */
function besideNone(rows) {
  const figures = { p99: "p99BesideNone", cpuPerMessage: "cpuBesideNone" };
  for (const row of rows) {
    const figure = figures[row.figure];
    const none = rows.find(
      ({ side, figure, load }) => side === row.side && figure === row.figure && load.idle === 0,
    );
    if (figure === undefined || none === undefined || row.load.idle === 0) continue;
    const values = ratiosByRound(row.values, none.values);
    result.add({ side: row.side, load: row.load, figure, values });
  }
}

for (const idle of flags.idle) {
  const load = { idle, busy, perSecond: rate };
  await runRounds(result, { rounds, sides, load, measure: (name) => measure(name, load) });
  for (const figure of ["p99", "cpuPerMessage"]) comparePairs(result, load, figure);
}
besideNone(result.rows);
progress("");
result.finish();
