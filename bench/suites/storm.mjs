// What does a new connection cost until it is ready for use: accepted, and where that is the
// protocol's way upgraded and greeted? CPU time of the server's process per connection. Prints a
// table; the exit code is 1 where a target was missed.
//   npm run bench:storm -- --connections 12000 --rounds 5
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { KEEP, progress, readFlags, refuse } from "../command-line.mjs";
import { generatorNote, startLives } from "../load/load-client.mjs";
import { watchCores } from "../machine.mjs";
import { fileLimit } from "../processes.mjs";
import { Result } from "../result.mjs";
import { runRounds } from "../rounds.mjs";
import { comparePairs, present, SIDES, startSide } from "../sides.mjs";

const here = dirname(dirname(fileURLToPath(import.meta.url)));

/** Of those that echo, in the order of a round. */
const NAMES = Object.keys(SIDES).filter((name) => SIDES[name].program === undefined);
/** What a connect may cost of another's, at most. */
const TARGETS = [{ side: "tcp-epoll bare", against: "node:net", max: 0.666 }];
/** Of fewer rounds, or connections, a ratio is shown and not judged. */
const ROUNDS_JUDGED = 3;
const CONNECTIONS_JUDGED = 5_000;
/** Connections that come and go before the clock is read: the server's code is compiled then. */
const WARMUP = 3_000;

const flags = readFlags({
  connections: { default: "12000", range: [100, 100_000] },
  rounds: { default: "5", range: [1, 50] },
  only: { default: NAMES.join(","), list: true, words: NAMES },
  dist: { default: join(dirname(here), "dist") },
  keep: KEEP,
});
const { connections, rounds } = flags;
const dist = resolve(flags.dist);
if (connections > fileLimit() - 100) {
  refuse(`${connections} connections do not fit the file limit of ${fileLimit()}`);
}

const result = new Result("storm", flags);
const sides = present(
  NAMES.filter((name) => flags.only.includes(name)),
  result,
);

async function measure(name) {
  const { server, port, transport, protocol } = await startSide(name, { dist });
  const lives = startLives({ transport, protocol, port, pid: server.pid, "source-base": 3 });
  try {
    await lives.ask(`hold ${WARMUP}`);
    const conditions = watchCores([server.pid, lives.pid]);
    const { held, seconds, cpuMicros, errors } = await lives.ask(`hold ${connections}`);
    if (errors > 0) throw new Error(`${name}: ${errors} errors`);
    const figures = { cpuPerConnect: cpuMicros / held, connectsPerSecond: held / seconds };
    return { figures, conditions: conditions(), note: generatorNote(cpuMicros, seconds) };
  } finally {
    await lives.stop();
    await server.stop();
  }
}

const load = { connections };
await runRounds(result, { rounds, sides, load, measure });
const isJudged = rounds >= ROUNDS_JUDGED && connections >= CONNECTIONS_JUDGED;
comparePairs(result, load, "cpuPerConnect", isJudged ? TARGETS : [], ROUNDS_JUDGED);
progress("");
result.finish();
