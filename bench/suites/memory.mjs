// What does an idle connection cost in memory? Connections are opened in steps, each ready for use
// and then silent; the figure is the slope of the line through what was resident at each step, so
// that what a server has anyway is not in it. Beside it, what the kernel holds for both ends.
//   npm run bench:memory -- --connections 10000,19000
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { KEEP, progress, readFlags, refuse } from "../command-line.mjs";
import { FILES_RESERVED, Subscribers } from "../load/subscribers.mjs";
import { watchCores } from "../machine.mjs";
import { MEMORY_NODE_FLAGS, settledResidentBytes } from "../process-memory.mjs";
import { fileLimit } from "../processes.mjs";
import { Result } from "../result.mjs";
import { runRounds } from "../rounds.mjs";
import { comparePairs, isNode, present, SIDES, startSide } from "../sides.mjs";

const here = dirname(dirname(fileURLToPath(import.meta.url)));

const NAMES = Object.keys(SIDES);
/** Connections that come and go before the first look: code is compiled and pools are filled. */
const WARMUP = 500;
/** What a server that echoes is sent once by each, so that it has used the connection. */
const BYTES = 32;

const flags = readFlags({
  connections: { default: "10000,19000", list: true, range: [100, 90_000] },
  rounds: { default: "3", range: [1, 50] },
  only: { default: NAMES.join(","), list: true, words: NAMES },
  dist: { default: join(dirname(here), "dist") },
  keep: KEEP,
});
const dist = resolve(flags.dist);
const steps = [...new Set(flags.connections)].sort((a, b) => a - b);
if (steps.length < 2) refuse("--connections takes two or more, of which the slope is made");
if (steps.at(-1) > fileLimit() - FILES_RESERVED) {
  refuse(`--connections: at most ${fileLimit() - FILES_RESERVED}, by the limit of open files`);
}
const load = (module) => import(pathToFileURL(join(dist, module)).href);
const { readMachineMemory } = await load("probe/machine-memory.js");
const { bytesPerConnection } = await load("probe/server-watch.js");

const result = new Result("memory", flags);
const sides = present(flags.only, result);

/** Resident bytes of the server, and the kernel's own, with so many connections. */
async function look(name, pid, held) {
  const resident = await settledResidentBytes(pid, isNode(name));
  const { kernel } = await readMachineMemory({ server: null, probe: [] });
  progress(`  ${name}: ${held} held, ${(resident / 1e6).toFixed(1)} MB resident`);
  return { held, resident, kernel: kernel.bytes };
}

async function measure(name) {
  const nodeFlags = isNode(name) ? MEMORY_NODE_FLAGS : [];
  const { server, port, transport, protocol } = await startSide(name, { dist, nodeFlags });
  const { pid } = server;
  const clients = new Subscribers({ transport, protocol, port, bytes: BYTES, purpose: "idle" });
  try {
    await clients.open(WARMUP);
    await clients.close();
    const conditions = watchCores([pid, clients.pid]);
    const points = [await look(name, pid, 0)];
    for (const step of steps) {
      const { open, lost } = await clients.open(step - points.at(-1).held);
      if (open !== step || lost > 0) throw new Error(`${name}: ${open} of ${step}, ${lost} lost`);
      points.push(await look(name, pid, step));
    }
    const { lost } = await clients.stat();
    if (lost > 0) throw new Error(`${name}: ${lost} connections were closed`);
    return { ...figuresOf(points), conditions: conditions() };
  } finally {
    await clients.stop();
    await server.stop();
  }
}

function figuresOf(points) {
  const line = (what) =>
    bytesPerConnection(points.map((point) => ({ held: point.held, rssBytes: point[what] })));
  const resident = line("resident");
  const kernel = line("kernel");
  const first = (points[0].resident / 1e6).toFixed(1);
  const note = `R2 ${resident.r2.toFixed(4)}, the kernel's ${kernel.r2.toFixed(4)}`;
  return {
    figures: { residentPerConnection: resident.slope, kernelPerConnection: kernel.slope },
    note: `${note}; ${first} MB without connections`,
  };
}

const idle = { connections: steps.at(-1) };
await runRounds(result, { rounds: flags.rounds, sides, load: idle, measure });
comparePairs(result, idle, "residentPerConnection");
progress("");
result.finish();
