// What does an echo cost? Holdfast's call of method `echo` through the whole stack, the bare
// libraries under it, plain C, and what people would use instead: CPU time of the server's process
// per message. Prints a table; the exit code is 1 where a target was missed.
//   npm run bench:echo -- --connections 200,5000 --in-flight 1,16 --bytes 32,1024,16384
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { KEEP, progress, readFlags, refuse } from "../command-line.mjs";
import { generatorNote, runEcho, UNDER_WAY_BYTES_MAX } from "../load/load-client.mjs";
import { fileLimit } from "../processes.mjs";
import { Result } from "../result.mjs";
import { runRounds, words } from "../rounds.mjs";
import { comparePairs, present, SIDES, startSide } from "../sides.mjs";

const here = dirname(dirname(fileURLToPath(import.meta.url)));

/** Of those that echo, in the order of a round. */
const NAMES = Object.keys(SIDES).filter((name) => SIDES[name].program === undefined);
/**
 * How much CPU time per message a side may use of another's: with any number in flight, or by how
 * many there are. Targets are for small messages: with large ones everybody copies bytes.
 */
const TARGETS = [
  { side: "tcp-epoll bare", against: "C epoll", max: { 1: 1.2, 16: 1.6 } },
  { side: "tcp-epoll bare", against: "node:net", max: 0.6 },
  { side: "tcp-epoll bare", against: "uWebSockets.js", max: 0.8 },
  { side: "holdfast tcp-epoll", against: "uWebSockets.js", max: { 1: 1 } },
  { side: "holdfast tcp-net", against: "node:net", max: { 1: 1.3 } },
  { side: "holdfast websocket", against: "uWebSockets.js", max: { 1: 1.35 } },
];
const TARGET_BYTES = 32;
/** Of fewer rounds a ratio is shown and not judged. */
const ROUNDS_JUDGED = 3;

const flags = readFlags({
  connections: { default: "200,5000", list: true, range: [1, 19_000] },
  "in-flight": { default: "1,16", list: true, range: [1, 127] },
  bytes: { default: "32,1024,16384", list: true, range: [32, 60_000] },
  seconds: { default: "3", range: [0.1, 60] },
  warmup: { default: "1", range: [0.1, 60] },
  rounds: { default: "5", range: [1, 50] },
  only: { default: NAMES.join(","), list: true, words: NAMES },
  dist: { default: join(dirname(here), "dist") },
  keep: KEEP,
});
const dist = resolve(flags.dist);
if (Math.max(...flags.connections) > fileLimit() - 100) {
  refuse(`${flags.connections} connections do not fit the file limit of ${fileLimit()}`);
}

const result = new Result("echo", flags);
const sides = present(
  NAMES.filter((name) => flags.only.includes(name)),
  result,
);

async function measure(name, { connections, inFlight, bytes }) {
  const { server, port, transport, protocol } = await startSide(name, { dist });
  try {
    const { messages, seconds, cpuMicros, errors, lost, conditions, ...others } = await runEcho({
      ...{ port, transport, protocol, connections, bytes, "in-flight": inFlight },
      ...{ pid: server.pid, warmup: flags.warmup, seconds: flags.seconds },
    });
    if (errors > 0 || lost > 0 || messages === 0) {
      throw new Error(`${name}: ${messages} messages, ${errors} errors, ${lost} lost`);
    }
    const figures = { cpuPerMessage: cpuMicros / messages, messagesPerSecond: messages / seconds };
    const note = generatorNote(cpuMicros, seconds);
    return { figures: { ...figures, ...others }, conditions, note };
  } finally {
    await server.stop();
  }
}

function targetsOf({ inFlight, bytes }) {
  if (bytes !== TARGET_BYTES || flags.rounds < ROUNDS_JUDGED) return [];
  return TARGETS.map(({ max, ...pair }) => ({
    ...pair,
    max: typeof max === "number" ? max : max[inFlight],
  })).filter(({ max }) => max !== undefined);
}

async function run(load) {
  const underWay = load.connections * load.inFlight * load.bytes;
  if (underWay > UNDER_WAY_BYTES_MAX) {
    const megabytes = Math.round(underWay / 1e6);
    result.skip(words(load), `${megabytes} MB would be under way at once, more than is sensible`);
    return;
  }
  const { rounds } = flags;
  await runRounds(result, { rounds, sides, load, measure: (name) => measure(name, load) });
  comparePairs(result, load, "cpuPerMessage", targetsOf(load), ROUNDS_JUDGED);
}

for (const bytes of flags.bytes) {
  for (const connections of flags.connections) {
    for (const inFlight of flags["in-flight"]) await run({ connections, inFlight, bytes });
  }
}
progress("");
result.finish();
