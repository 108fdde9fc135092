// What do messages leave for the garbage collector, and how long does it stop the server? Servers
// in Node under the load of bench:echo, with V8 as it comes: pauses and bytes allocated.
//   npm run bench:gc -- --connections 200 --in-flight 16 --bytes 32,1024
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { KEEP, progress, readFlags } from "../command-line.mjs";
import { generatorNote, runEcho } from "../load/load-client.mjs";
import { Result } from "../result.mjs";
import { runRounds } from "../rounds.mjs";
import { comparePairs, present, SIDES, startSide } from "../sides.mjs";

const here = dirname(dirname(fileURLToPath(import.meta.url)));

/** Those in Node: only they have a heap. */
const NAMES = Object.keys(SIDES).filter((name) => SIDES[name].script?.endsWith(".mjs"));
const MILLION = 1e6;
const NODE_FLAGS = ["--import", join(here, "gc-watch.mjs")];

const flags = readFlags({
  connections: { default: "200", range: [1, 10_000] },
  "in-flight": { default: "16", range: [1, 127] },
  bytes: { default: "32,1024", list: true, range: [32, 16_384] },
  // Long enough for many collections, and for some of the old generation.
  seconds: { default: "10", range: [0.1, 60] },
  warmup: { default: "2", range: [0.1, 60] },
  rounds: { default: "3", range: [1, 50] },
  only: { default: NAMES.join(","), list: true, words: NAMES },
  dist: { default: join(dirname(here), "dist") },
  keep: KEEP,
});
const { connections, rounds } = flags;
const dist = resolve(flags.dist);
const result = new Result("gc", flags);
const sides = present(
  NAMES.filter((name) => flags.only.includes(name)),
  result,
);

async function measure(name, { inFlight, bytes }) {
  const { server, port, transport, protocol } = await startSide(name, {
    dist,
    nodeFlags: NODE_FLAGS,
  });
  try {
    const { messages, seconds, cpuMicros, errors, lost, conditions, ...others } = await runEcho({
      ...{ port, transport, protocol, connections, bytes, "in-flight": inFlight },
      // The server is told the moments that begin and end the measurement.
      ...{ pid: server.pid, mark: 1, warmup: flags.warmup, seconds: flags.seconds },
    });
    if (errors > 0 || lost > 0 || messages === 0) {
      throw new Error(`${name}: ${messages} messages, ${errors} errors, ${lost} lost`);
    }
    const { count, totalMs, maxMs, allocatedBytes } = await server.next();
    const figures = {
      pauseTotal: (totalMs / messages) * MILLION,
      pauseMax: maxMs,
      collections: (count / messages) * MILLION,
      allocated: allocatedBytes / messages,
      generatorCpuPerMessage: others.generatorCpuPerMessage,
    };
    const note = count === 0 ? "nothing was collected" : generatorNote(cpuMicros, seconds);
    return { figures, conditions, note };
  } finally {
    await server.stop();
  }
}

for (const bytes of flags.bytes) {
  const load = { connections, inFlight: flags["in-flight"], bytes };
  await runRounds(result, { rounds, sides, load, measure: (name) => measure(name, load) });
  comparePairs(result, load, "allocated");
}
progress("");
result.finish();
