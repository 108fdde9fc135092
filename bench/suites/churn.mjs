// Connections that come and go by the million: does the server's memory stay where it is, and is
// everything of theirs given back? A quarter of them end in order and the others are reset: after
// an answer, with the answer unread, and with nothing said. Prints a table; the exit code is 1
// where a target was missed.
//   npm run bench:churn -- --cycles 1000000 --server bare
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { progress, readFlags } from "../command-line.mjs";
import { startLives } from "../load/load-client.mjs";
import { startServer } from "../processes.mjs";

const here = dirname(dirname(fileURLToPath(import.meta.url)));

const STEPS = 10;
/** From the first step to the last. */
const GROWTH_BYTES_MAX = 2_000_000;
/** As in bench:hold, a young generation that does not change with use. */
const NODE_FLAGS = ["--expose-gc", "--min-semi-space-size=16", "--max-semi-space-size=16"];
const GONE_MS_MAX = 15_000;
const SERVERS = {
  bare: { script: "peers/tcp-epoll.mjs", args: [], protocol: "raw" },
  holdfast: { script: "holdfast-server.mjs", args: ["null", "tcp-epoll"], protocol: "holdfast" },
};

const flags = readFlags({
  cycles: { default: "1000000", range: [1_000, 100_000_000] },
  held: { default: "200", range: [1, 10_000] },
  server: { default: "bare,holdfast", list: true, words: Object.keys(SERVERS) },
  dist: { default: join(dirname(here), "dist") },
});
const dist = resolve(flags.dist);

/** What the server holds once its connections have left, or when that takes too long. */
async function factsWhenGone(server) {
  const limit = performance.now() + GONE_MS_MAX;
  for (;;) {
    const { memory, files, leases, native, served = 0, timers = 0 } = await server.ask("facts");
    const { sockets, queues, queueBytes } = native;
    const left = { files, leases, served, timers, sockets, queues, queueBytes };
    if ((served === 0 && sockets === 0) || performance.now() > limit) {
      return { rss: memory.rss, left, native };
    }
    await new Promise((done) => setTimeout(done, 200));
  }
}

async function measure(name) {
  const { script, args, protocol } = SERVERS[name];
  const { server, ports } = await startServer(join(here, script), [dist, ...args], NODE_FLAGS);
  const lives = startLives({ protocol, port: ports.tcp, pid: server.pid, "source-base": 4 });
  const step = Math.ceil(flags.cycles / STEPS);
  const cycle = () => lives.ask(`cycle ${step} ${flags.held}`);
  try {
    const baseline = await factsWhenGone(server);
    const steps = [];
    for (let index = 1; index <= STEPS; index++) {
      const { cpuMicros, errors } = await cycle();
      const facts = await factsWhenGone(server);
      steps.push({ ...facts, cpuMicros, errors });
      const megabytes = (facts.rss / 1e6).toFixed(1);
      const micros = (cpuMicros / step).toFixed(1);
      progress(`${name}: ${index * step} cycles, ${megabytes} MB, ${micros} us of CPU each`);
    }
    return rowsOf(name, step, baseline, steps);
  } finally {
    await lives.stop();
    await server.stop();
  }
}

function rowsOf(server, step, baseline, steps) {
  const row = (what, value, unit = "", max = null) => {
    const passed = max === null ? null : value <= max;
    return { server, what, value, unit, max, passed };
  };
  const first = steps[0];
  const last = steps.at(-1);
  const cpuMicros = steps.reduce((sum, each) => sum + each.cpuMicros, 0);
  return [
    row("cycles", step * STEPS),
    row("errors", last.errors, "", 0),
    row("CPU per cycle", cpuMicros / (step * STEPS), "us"),
    row("resident before", baseline.rss, "B"),
    row(`resident after ${step}`, first.rss, "B"),
    row(`resident after ${step * STEPS}`, last.rss, "B"),
    row("  growth between the two", last.rss - first.rss, "B", GROWTH_BYTES_MAX),
    row("accepted", last.native.accepted),
    row("stale events, dropped", last.native.staleEvents),
    row("operations that made no sense", last.native.invalidOperations, "", 0),
    ...Object.entries(last.left).map(([what, value]) =>
      row(`left of them: ${what}`, value - baseline.left[what], "", 0),
    ),
  ];
}

function line({ server, what, value, unit, max, passed }) {
  const shown = Number.isInteger(value) ? String(value) : value.toFixed(2);
  const bound = max === null ? "" : `<= ${max}`;
  const verdict = passed === null ? "" : passed ? "pass" : "FAIL";
  const words = [server.padEnd(10), what.padEnd(36), `${shown} ${unit}`.padStart(14)];
  return `${words.join("")}  ${bound.padEnd(10)} ${verdict}`.trimEnd();
}

const rows = [];
for (const server of flags.server) rows.push(...(await measure(server)));
const passed = rows.every((row) => row.passed !== false);
if (flags.json) {
  console.log(JSON.stringify({ node: process.version, passed, rows }));
} else {
  for (const row of rows) console.log(line(row));
}
process.exit(passed ? 0 : 1);
