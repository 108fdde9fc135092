// Some subscribers stop reading: do the others still get everything on time, and what does the
// server keep for those that do not? Publishes come at a fixed rate, whoever is late. Prints a
// table; a delivery that is missing at those who read fails the run.
//   npm run bench:slow-readers -- --subscribers 1000 --stalled 10 --rate 40 --seconds 20
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { KEEP, progress, readFlags, refuse } from "../command-line.mjs";
import { PAYLOAD_BYTES_MIN } from "../load/client-frames.mjs";
import { assertDelivered, FILES_RESERVED, Subscribers } from "../load/subscribers.mjs";
import { watchCores } from "../machine.mjs";
import {
  beginResidentPeak,
  MEMORY_NODE_FLAGS,
  residentPeakBytes,
  settledResidentBytes,
} from "../process-memory.mjs";
import { fileLimit } from "../processes.mjs";
import { Result } from "../result.mjs";
import { runRounds } from "../rounds.mjs";
import { comparePairs, isNode, PUBLISHING, present, SIDES, startSide } from "../sides.mjs";

const here = dirname(dirname(fileURLToPath(import.meta.url)));

/** A server may keep everything for those who do not read: the machine has to survive that. */
const KEPT_BYTES_MAX = 300_000_000;

const flags = readFlags({
  subscribers: { default: "1000", range: [2, 100_000] },
  stalled: { default: "10", range: [1, 10_000] },
  bytes: { default: "1024", range: [PAYLOAD_BYTES_MIN, 8_000] },
  rate: { default: "40", range: [1, 10_000] },
  seconds: { default: "20", range: [0.5, 120] },
  warmup: { default: "1", range: [0.1, 60] },
  rounds: { default: "3", range: [1, 50] },
  only: { default: PUBLISHING.join(","), list: true, words: PUBLISHING },
  dist: { default: join(dirname(here), "dist") },
  keep: KEEP,
});
const dist = resolve(flags.dist);
const { subscribers: count, bytes, rate, seconds } = flags;
if (count > fileLimit() - FILES_RESERVED || flags.stalled >= count) {
  refuse("--subscribers: more than are stalled, and no more than files may be open");
}
if (flags.stalled * rate * seconds * bytes > KEPT_BYTES_MAX) {
  refuse(`stalled x rate x seconds x bytes may be ${KEPT_BYTES_MAX}: that much may be kept`);
}

const result = new Result("slow-readers", flags);
const sides = present(flags.only, result);

function megabytes(value) {
  return `${(value / 1e6).toFixed(1)} MB`;
}

/** What became of them, in the words of whoever knows. */
async function fateOf(name, server, { stalled, stalledLost, gaps }, peakBytes) {
  const left = `${stalledLost} of ${stalled + stalledLost} stalled were closed, ${gaps} gaps`;
  const peak = `resident at most ${megabytes(peakBytes)} more`;
  if (!SIDES[name].isOurs) return `${left}; ${peak}`;
  const { closedByCause, states, queueBytes } = await server.ask("facts");
  // Closing: told so, what waited for it dropped, and not yet gone, because it does not read that.
  const causes = Object.entries({ closing: states.closing, ...closedByCause })
    .filter(([, closed]) => closed > 0)
    .map(([cause, closed]) => `${closed} ${cause}`);
  const says = causes.length === 0 ? "all still open" : causes.join(", ");
  return `${left}; ${peak}; by its own count: ${says}, ${megabytes(queueBytes)} queued`;
}

async function measure(name, { stalled }) {
  const nodeFlags = isNode(name) ? MEMORY_NODE_FLAGS : [];
  const started = await startSide(name, { dist, purpose: "publish", nodeFlags });
  const { server, port, transport, protocol } = started;
  const { pid } = server;
  const subscribers = new Subscribers({ transport, protocol, port, bytes, pid, stalled });
  try {
    await subscribers.open(count);
    assertDelivered(name, await subscribers.publishAtRate(rate, flags.warmup));
    const before = await settledResidentBytes(pid, isNode(name));
    beginResidentPeak(pid);
    const conditions = watchCores([pid, subscribers.pid]);
    const answer = await subscribers.publishAtRate(rate, seconds);
    const spoilt = conditions();
    const peakBytes = Math.max(0, residentPeakBytes(pid) - before);
    assertDelivered(name, answer);
    const after = await settledResidentBytes(pid, isNode(name));
    const fate = stalled === 0 ? "" : await fateOf(name, server, answer, peakBytes);
    const figures = {
      p99: answer.p99,
      cpuPerDelivery: answer.cpuMicros / answer.received,
      generatorCpuPerDelivery:
        answer.generatorMicros === null ? null : answer.generatorMicros / answer.received,
      residentGrowth: after - before,
    };
    const late = `the publisher was late by ${answer.lateMs.toFixed(1)} ms at most`;
    return { figures, conditions: spoilt, note: fate === "" ? late : `${fate}; ${late}` };
  } finally {
    await subscribers.stop();
    await server.stop();
  }
}

for (const stalled of [0, flags.stalled]) {
  const load = { stalled, subscribers: count, bytes, publishesPerSecond: rate, seconds };
  const { rounds } = flags;
  await runRounds(result, { rounds, sides, load, measure: (name) => measure(name, load) });
  comparePairs(result, load, "p99");
}
progress("");
result.finish();
