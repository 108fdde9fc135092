// Connections that come and go by the million: does the server's memory stay where it is, and is
// everything of theirs given back? A quarter of them end in order and the others are reset: after
// an answer, with the answer unread, and with nothing said. Prints a table; the exit code is 1
// where a target was missed.
//   npm run bench:churn -- --cycles 1000000 --only "tcp-epoll bare"
import { readdirSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { progress, readFlags } from "../command-line.mjs";
import { startLives } from "../load/load-client.mjs";
import { MEMORY_NODE_FLAGS, settledResidentBytes } from "../process-memory.mjs";
import { Result } from "../result.mjs";
import { isNode, present, SIDES, startSide } from "../sides.mjs";

const here = dirname(dirname(fileURLToPath(import.meta.url)));

const STEPS = 10;
/** From the first step to the last. */
const GROWTH_BYTES_MAX = 2_000_000;
/** With fewer, code is still being compiled after the first step. */
const CYCLES_JUDGED = 100_000;
const GONE_MS_MAX = 15_000;
/** Those whose connections come and go in the four ways: over TCP, with an answer to each. */
const NAMES = Object.keys(SIDES).filter(
  (name) => SIDES[name].transport === "tcp" && SIDES[name].program === undefined,
);
/** The one that the project is built on, and its bare transport. */
const BOUNDED = ["tcp-epoll bare", "holdfast tcp-epoll"];
/** They say what they hold, and it is to be nothing in the end. */
const TELLING = NAMES.filter((name) => SIDES[name].isOurs || name === "tcp-epoll bare");

const flags = readFlags({
  cycles: { default: "1000000", range: [1_000, 100_000_000] },
  held: { default: "200", range: [1, 10_000] },
  only: { default: NAMES.join(","), list: true, words: NAMES },
  dist: { default: join(dirname(here), "dist") },
});
const dist = resolve(flags.dist);
const step = Math.ceil(flags.cycles / STEPS);
const load = { cycles: step * STEPS, held: flags.held };

/** What it holds by its own account, and the files that it has open by the kernel's. */
async function holdingsOf(name, server) {
  const files = readdirSync(`/proc/${server.pid}/fd`).length;
  if (!TELLING.includes(name)) return { files, invalidOperations: null };
  const { leases, native, served = 0, timers = 0, queueBytes = 0 } = await server.ask("facts");
  const counted = { files, leases, served, timers, queueBytes };
  if (native === null) return { ...counted, invalidOperations: null };
  const { sockets, queues, queueBytes: nativeQueueBytes, invalidOperations } = native;
  return { ...counted, sockets, queues, nativeQueueBytes, invalidOperations };
}

/** What is left of its connections once they have gone, or when that takes too long. */
async function leftOf(name, server, baseline) {
  const limit = performance.now() + GONE_MS_MAX;
  for (;;) {
    const { invalidOperations, ...holdings } = await holdingsOf(name, server);
    const left = Object.entries(holdings)
      .map(([what, count]) => ({ what, count: count - (baseline[what] ?? 0) }))
      .filter(({ count }) => count > 0);
    if (left.length === 0 || performance.now() > limit) return { left, invalidOperations };
    await wait(200);
  }
}

async function measure(name) {
  const nodeFlags = isNode(name) ? MEMORY_NODE_FLAGS : [];
  const { server, port, transport, protocol } = await startSide(name, { dist, nodeFlags });
  const { pid } = server;
  const lives = startLives({ transport, protocol, port, pid, "source-base": 4 });
  try {
    const baseline = await holdingsOf(name, server);
    const before = await settledResidentBytes(pid, isNode(name));
    const residents = [];
    let [micros, last] = [0, null];
    for (let index = 1; index <= STEPS; index++) {
      const { cpuMicros, errors } = await lives.ask(`cycle ${step} ${flags.held}`);
      if (errors > 0) throw new Error(`${name}: ${errors} errors`);
      micros += cpuMicros;
      last = await leftOf(name, server, baseline);
      residents.push(await settledResidentBytes(pid, isNode(name)));
      const micro = (cpuMicros / step).toFixed(1);
      const shown = `${megabytes(residents.at(-1))}, ${micro} us of CPU each`;
      progress(`${name}: ${index * step} cycles, ${shown}`);
    }
    return { before, residents, micros, ...last };
  } finally {
    await lives.stop();
    await server.stop();
  }
}

function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

function addRows(side, { before, residents, micros, left, invalidOperations }) {
  const add = (figure, value, { sides = [], max } = {}, note = "") => {
    const target = sides.includes(side) ? { max } : null;
    result.add({ side, load, figure, values: [value], target, note });
  };
  const growth = residents.at(-1) - residents[0];
  const from = `resident before ${megabytes(before)}, then ${residents.map(megabytes).join(", ")}`;
  const bounded = load.cycles >= CYCLES_JUDGED ? BOUNDED : [];
  add("residentGrowth", growth, { sides: bounded, max: GROWTH_BYTES_MAX }, from);
  add("cpuPerCycle", micros / load.cycles);
  const what = left.map((one) => `${one.what} ${one.count}`).join(", ");
  const sum = left.reduce((total, { count }) => total + count, 0);
  add("leftBehind", sum, { sides: TELLING, max: 0 }, what === "" ? "" : `left behind: ${what}`);
  if (invalidOperations === null) return;
  add("invalidOperations", invalidOperations, { sides: TELLING, max: 0 });
}

const result = new Result("churn", flags);
// Nothing is thrown away: what others do on this machine changes nothing of what a server keeps.
for (const side of present(flags.only, result)) addRows(side, await measure(side));
progress("");
result.finish();
