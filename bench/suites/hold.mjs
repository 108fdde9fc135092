// Holding connections: does one process keep them all, what does an idle one cost in CPU and in
// memory, and is everything given back when they leave? Prints a table; the exit code is 1 where a
// target was missed.
//   npm run bench:hold -- --connections 19000 --seconds 120 --transport tcp-epoll
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { progress, readFlags } from "../command-line.mjs";
import { runEcho, startHolder } from "../load/load-client.mjs";
import { MEMORY_NODE_FLAGS, settledResidentBytes } from "../process-memory.mjs";
import { fileLimit, startServer } from "../processes.mjs";
import { Result } from "../result.mjs";

const here = dirname(dirname(fileURLToPath(import.meta.url)));

/** Port of a server to load, and the most that an idle connection may cost. */
const TRANSPORTS = {
  "tcp-epoll": { port: "tcp", idleMicrosMax: 1, bytesMax: 450 },
  "tcp-net": { port: "tcp", idleMicrosMax: 2, bytesMax: 5_000 },
  websocket: { port: "websocket", idleMicrosMax: 2, bytesMax: 1_500 },
};
/** A holder has files for its own connections alone, so there are two, each for half of them. */
const HOLDERS = 2;
/** Connections that come and go before anything is measured, and an echo of so many seconds. */
const WARMUP_CONNECTIONS = 500;
const WARMUP_SECONDS = 2;
/** With fewer, or in less time, what the server does anyway is not small beside what they cost. */
const CONNECTIONS_JUDGED = 5_000;
const SECONDS_JUDGED = 10;
/** Every connection has had a heartbeat by then: the defaults are 25 s and a tenth of jitter. */
const HEARTBEAT_SECONDS = 28;
const STEPS = 4;
const GONE_MS_MAX = 15_000;

const flags = readFlags({
  connections: { default: "19000", range: [WARMUP_CONNECTIONS, 1_000_000] },
  seconds: { default: "120", range: [1, 3_600] },
  // Until every connection has had a heartbeat.
  settle: { default: "30", range: [0, 600] },
  transport: {
    default: Object.keys(TRANSPORTS).join(","),
    list: true,
    words: Object.keys(TRANSPORTS),
  },
  dist: { default: join(dirname(here), "dist") },
});
const dist = resolve(flags.dist);

function wait(ms) {
  return new Promise((done) => setTimeout(done, ms));
}

class Holders {
  #holders;

  constructor(transport, port, pid) {
    this.#holders = Array.from({ length: HOLDERS }, (_, index) =>
      startHolder({ transport, protocol: "holdfast", port, pid, "source-base": index + 1 }),
    );
  }

  /** @returns the sums of what the holders have; CPU time and time of day are the last one's */
  async #ask(lineFor) {
    const answers = [];
    for (const [index, holder] of this.#holders.entries()) {
      answers.push(await holder.ask(lineFor(index)));
    }
    const sum = (name) => answers.reduce((total, answer) => total + answer[name], 0);
    const { seconds, cpuMicros } = answers.at(-1);
    return { open: sum("open"), lost: sum("lost"), errors: sum("errors"), seconds, cpuMicros };
  }

  open(count) {
    const share = Math.floor(count / HOLDERS);
    return this.#ask((index) => `open ${index === 0 ? count - share * (HOLDERS - 1) : share}`);
  }

  stat() {
    return this.#ask(() => "stat");
  }

  close() {
    return this.#ask(() => "close");
  }

  async stop() {
    for (const holder of this.#holders) await holder.stop();
  }
}

/** The server's facts once nothing of the connections is left, or when that takes too long. */
async function factsWhenGone(server, files) {
  const limit = performance.now() + GONE_MS_MAX;
  for (;;) {
    const facts = await server.ask("facts");
    const isGone = facts.served === 0 && facts.timers === 0 && facts.files <= files;
    if (isGone || performance.now() > limit) return facts;
    await wait(200);
  }
}

/** How large it is with so many open. */
async function pointOf({ pid }, open, { memory: { heapUsed } }) {
  return { open, heapUsed, resident: await settledResidentBytes(pid, true) };
}

async function openInSteps(server, holders, connections) {
  const baseline = await server.ask("facts");
  const points = [await pointOf(server, 0, baseline)];
  for (let step = 1; step <= STEPS; step++) {
    const target = Math.round((connections * step) / STEPS);
    const { open } = await holders.open(target - points.at(-1).open);
    // Half a second after the last came, so that what opening left behind is collected too.
    await wait(500);
    const facts = await server.ask("facts");
    points.push(await pointOf(server, open, facts));
    const megabytes = (points.at(-1).resident / 1e6).toFixed(1);
    progress(`  ${open} open, ${facts.states.active} active, ${megabytes} MB`);
  }
  return { baseline, points };
}

async function holdFor(seconds, holders) {
  const before = await holders.stat();
  for (let left = seconds; left > 0; left -= 10) {
    await wait(Math.min(left, 10) * 1000);
    const done = Math.round(seconds - left + Math.min(left, 10));
    if (done % 30 === 0 || done === seconds) progress(`  held for ${done} s`);
  }
  const after = await holders.stat();
  const connectionSeconds = after.open * (after.seconds - before.seconds);
  return { after, micros: (after.cpuMicros - before.cpuMicros) / connectionSeconds };
}

/** Afterwards its code is compiled and its heap is as large as work makes it. */
async function warmUp(server, port, transport, holders) {
  await runEcho({
    transport,
    protocol: "holdfast",
    port,
    pid: server.pid,
    connections: 100,
    "in-flight": 1,
    warmup: 0,
    seconds: WARMUP_SECONDS,
  });
  await holders.open(WARMUP_CONNECTIONS);
  await holders.close();
  await factsWhenGone(server, Infinity);
}

async function measure(result, transport, connections) {
  progress(`${transport}: ${connections} connections for ${flags.seconds} s`);
  const script = join(here, "holdfast-server.mjs");
  const { port: name } = TRANSPORTS[transport];
  const args = [dist, connections, ...(name === "tcp" ? [transport] : [])];
  const { server, ports } = await startServer(script, args, MEMORY_NODE_FLAGS);
  const holders = new Holders(name, ports[name], server.pid);
  try {
    await warmUp(server, ports[name], name, holders);
    const { baseline, points } = await openInSteps(server, holders, connections);
    const from = await server.ask("facts");
    progress(`  waiting ${flags.settle} s until all have had a heartbeat`);
    await wait(flags.settle * 1000);
    const { after, micros } = await holdFor(flags.seconds, holders);
    const held = await server.ask("facts");
    await holders.close();
    const gone = await factsWhenGone(server, baseline.files);
    const facts = { baseline, points, from, held, after, micros, gone };
    addRows(result, transport, connections, facts);
  } finally {
    await holders.stop();
    await server.stop();
  }
}

/** What each connection between two points added. */
function perConnection(to, since, what = "resident") {
  return (to[what] - since[what]) / (to.open - since.open);
}

/** @returns {[string, number][]} what is still there of connections that have left, and how many */
function leftBehind(gone, baseline) {
  const counted = ["served", "registry", "labels", "leases", "timers", "queueBytes"];
  return [...counted.map((what) => [what, gone[what]]), ["files", gone.files - baseline.files]];
}

function addRows(result, transport, connections, facts) {
  const { baseline, points, from, held, after, micros, gone } = facts;
  const { idleMicrosMax, bytesMax } = TRANSPORTS[transport];
  const side = `holdfast ${transport}`;
  const row = (figure, value, target = null, note = "", load = { connections }) =>
    result.add({ side, load, figure, values: [value], target, note });
  const first = points[0];
  const last = points.at(-1);
  const left = leftBehind(gone, baseline).filter(([, count]) => count > 0);
  row("connectionsHeld", held.states.active + held.states.idle, { min: connections });
  row("deathsHeld", after.lost, { max: 0 });
  row("wrongAnswers", after.errors, { max: 0 });
  const seconds = flags.settle + flags.seconds;
  const least = seconds >= HEARTBEAT_SECONDS ? { min: 1 } : null;
  row("heartbeats", held.heartbeatsOut - from.heartbeatsOut, least);
  const isJudged = connections >= CONNECTIONS_JUDGED && flags.seconds >= SECONDS_JUDGED;
  row("idleCpuPerConnection", micros, isJudged ? { max: idleMicrosMax } : null);
  row("residentPerConnection", perConnection(last, first), isJudged ? { max: bytesMax } : null);
  row("heapPerConnection", perConnection(last, first, "heapUsed"));
  row(
    "leftBehind",
    left.reduce((sum, [, count]) => sum + count, 0),
    { max: 0 },
    left.length === 0 ? "" : `left: ${left.map(([what, count]) => `${count} ${what}`).join(", ")}`,
  );
  row("resident", last.resident);
  row("resident", first.resident, null, "", { connections: 0 });
  for (const [index, point] of points.slice(1).entries()) {
    const load = { from: points[index].open, connections: point.open };
    row("residentPerConnection", perConnection(point, points[index]), null, "", load);
  }
}

// The server needs some files of its own: listeners, its log, libuv's.
const fitting = fileLimit() - 100;
const connections = Math.min(flags.connections, fitting);
if (connections < flags.connections) {
  progress(`only ${fitting} connections fit the file limit of ${fileLimit()}`);
}
const result = new Result("hold", flags);
for (const transport of flags.transport) await measure(result, transport, connections);
progress("");
result.finish();
