// One publish to many subscribers: what does a delivery cost the server, and when has the last of
// them its message? Holdfast in one process, the bare libraries, and the brokers that people would
// use instead. Prints a table; a delivery that is missing fails the run.
//   npm run bench:fanout -- --subscribers 1,10,100,1000,10000
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { KEEP, progress, readFlags, refuse } from "../command-line.mjs";
import { PAYLOAD_BYTES_MIN } from "../load/client-frames.mjs";
import { generatorNote } from "../load/load-client.mjs";
import { assertDelivered, FILES_RESERVED, Subscribers } from "../load/subscribers.mjs";
import { watchCores } from "../machine.mjs";
import { fileLimit } from "../processes.mjs";
import { Result } from "../result.mjs";
import { runRounds } from "../rounds.mjs";
import { comparePairs, PUBLISHING, present, startSide } from "../sides.mjs";

const here = dirname(dirname(fileURLToPath(import.meta.url)));

/** However slow: a figure of fewer would be one publish's luck. */
const PUBLISHES_MIN = 10;

const flags = readFlags({
  subscribers: { default: "1,10,100,1000,10000", list: true, range: [1, 100_000] },
  bytes: { default: "64", range: [PAYLOAD_BYTES_MIN, 8_000] },
  seconds: { default: "2", range: [0.1, 60] },
  warmup: { default: "1", range: [0.1, 60] },
  rounds: { default: "5", range: [1, 50] },
  only: { default: PUBLISHING.join(","), list: true, words: PUBLISHING },
  dist: { default: join(dirname(here), "dist") },
  keep: KEEP,
});
const dist = resolve(flags.dist);
const largest = fileLimit() - FILES_RESERVED;
if (Math.max(...flags.subscribers) > largest) {
  refuse(`--subscribers: at most ${largest}, by the file limit of ${fileLimit()}`);
}

const result = new Result("fanout", flags);
const sides = present(flags.only, result);

async function measure(name, { subscribers: count, bytes }) {
  const { server, port, transport, protocol } = await startSide(name, { dist, purpose: "publish" });
  const subscribers = new Subscribers({ transport, protocol, port, bytes, pid: server.pid });
  try {
    await subscribers.open(count);
    assertDelivered(name, await subscribers.publish(flags.warmup, PUBLISHES_MIN));
    const conditions = watchCores([server.pid, subscribers.pid]);
    const answer = await subscribers.publish(flags.seconds, PUBLISHES_MIN);
    const spoilt = conditions();
    assertDelivered(name, answer);
    const { received, cpuMicros, generatorMicros, seconds, lastMs, p99 } = answer;
    const figures = {
      cpuPerDelivery: cpuMicros / received,
      lastDelivery: lastMs,
      p99,
      messagesPerSecond: received / seconds,
      generatorCpuPerDelivery: generatorMicros === null ? null : generatorMicros / received,
    };
    return { figures, conditions: spoilt, note: generatorNote(cpuMicros, seconds) };
  } finally {
    await subscribers.stop();
    await server.stop();
  }
}

for (const subscribers of flags.subscribers) {
  const load = { subscribers, bytes: flags.bytes };
  const { rounds } = flags;
  await runRounds(result, { rounds, sides, load, measure: (name) => measure(name, load) });
  comparePairs(result, load, "cpuPerDelivery");
}
progress("");
result.finish();
