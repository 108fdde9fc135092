// CPU time of an echo: Holdfast's call of method `echo`, full stack, against the bare echo of the
// library under it. Prints a table; the exit code is 1 where a target was missed.
//   npm run bench:echo -- --connections 200,5000 --in-flight 1,16 --seconds 3 --rounds 5
import { loadavg } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { progress, readFlags } from "./command-line.mjs";
import { loadClientName, runEcho } from "./load/load-client.mjs";
import { fileLimit, startServer } from "./processes.mjs";

const here = dirname(fileURLToPath(import.meta.url));

const flags = readFlags({
  connections: { default: "200,5000", list: true, range: [1, 19_000] },
  "in-flight": { default: "1,16", list: true, range: [1, 127] },
  seconds: { default: "3", range: [0.1, 60] },
  warmup: { default: "1", range: [0, 60] },
  rounds: { default: "5", range: [1, 50] },
  dist: { default: join(dirname(here), "dist") },
});
const dist = resolve(flags.dist);

/**
 * What is measured, in the order of a round. `against` names the peer of a ratio; `target` is the
 * most that it may be, which is promised for one call in flight.
 */
const contestants = [
  { name: "node:net", transport: "tcp", script: "peers/net.mjs", protocol: "raw" },
  {
    name: "holdfast tcp-net",
    transport: "tcp",
    script: "holdfast-server.mjs",
    protocol: "holdfast",
    against: "node:net",
    target: 1.3,
  },
  { name: "uWebSockets.js", transport: "websocket", script: "peers/uws.mjs", protocol: "raw" },
  {
    name: "holdfast websocket",
    transport: "websocket",
    script: "holdfast-server.mjs",
    protocol: "holdfast",
    against: "uWebSockets.js",
    target: 1.35,
  },
  { name: "ws", transport: "websocket", script: "peers/ws.mjs", protocol: "raw" },
];

/** CPU microseconds of a server of its own, per message. */
async function measure({ name, script, transport, protocol }, connections, inFlight) {
  const { server, ports } = await startServer(join(here, script), [dist]);
  try {
    const result = await runEcho({
      port: ports[transport],
      pid: server.pid,
      transport,
      protocol,
      connections,
      "in-flight": inFlight,
      warmup: flags.warmup,
      seconds: flags.seconds,
    });
    if (result.errors > 0 || result.lost > 0 || result.messages === 0) {
      throw new Error(`${name}: ${JSON.stringify(result)}`);
    }
    return result;
  } finally {
    await server.stop();
  }
}

/** @returns the middle, and the least and the most */
function spread(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  return { median, min: sorted[0], max: sorted.at(-1) };
}

/** All rounds of one load; contestants take turns, so that a noisy minute is everybody's. */
async function runLoad(connections, inFlight) {
  const micros = new Map(contestants.map(({ name }) => [name, []]));
  const rates = new Map(contestants.map(({ name }) => [name, []]));
  for (let round = 1; round <= flags.rounds; round++) {
    for (const contestant of contestants) {
      const { messages, seconds, cpuMicros } = await measure(contestant, connections, inFlight);
      micros.get(contestant.name).push(cpuMicros / messages);
      rates.get(contestant.name).push(messages / seconds);
      const figure = `${(cpuMicros / messages).toFixed(3)} us/message`;
      const load = `${connections} connections, ${inFlight} in flight`;
      progress(`${load}, round ${round}/${flags.rounds}: ${contestant.name} ${figure}`);
    }
  }
  return contestants.map(({ name, against, target }) => {
    const row = { connections, inFlight, name, micros: spread(micros.get(name)) };
    row.messagesPerSecond = Math.round(spread(rates.get(name)).median);
    if (against === undefined) return row;
    // Pairs of one round: they saw the same machine.
    row.ratio = spread(micros.get(name).map((own, round) => own / micros.get(against)[round]));
    row.against = against;
    if (inFlight === 1) {
      row.target = target;
      row.passed = row.ratio.median <= target;
    }
    return row;
  });
}

function line(row) {
  const range = ({ min, max }, digits) => `${min.toFixed(digits)}..${max.toFixed(digits)}`;
  const verdict = row.passed ? "pass" : "FAIL";
  return [
    String(row.connections).padStart(11),
    String(row.inFlight).padStart(9),
    `  ${row.name.padEnd(18)}`,
    row.micros.median.toFixed(3).padStart(10),
    range(row.micros, 2).padStart(13),
    String(row.messagesPerSecond).padStart(9),
    row.ratio === undefined ? "" : `${row.ratio.median.toFixed(3)}x`.padStart(8),
    row.ratio === undefined ? "" : range(row.ratio, 2).padStart(11),
    row.target === undefined ? "" : `  <= ${row.target}x ${verdict}`,
  ].join(" ");
}

const most = Math.max(...flags.connections);
if (most > fileLimit() - 100) {
  progress(`${most} connections do not fit the file limit of ${fileLimit()}`);
  process.exit(2);
}
progress(`load client: ${loadClientName()}; Node ${process.version}`);
const loads = flags.connections.length * flags["in-flight"].length;
const each = flags.warmup + flags.seconds + 1;
const minutes = (loads * flags.rounds * contestants.length * each) / 60;
progress(`load average ${loadavg()[0].toFixed(1)}; this takes about ${Math.ceil(minutes)} min`);
const rows = [];
for (const connections of flags.connections) {
  for (const inFlight of flags["in-flight"]) rows.push(...(await runLoad(connections, inFlight)));
}
const passed = rows.every((row) => row.passed !== false);
if (flags.json) {
  console.log(JSON.stringify({ node: process.version, client: loadClientName(), passed, rows }));
} else {
  const head = "connections in flight   server                CPU us  min..max       per s   ratio";
  console.log(`${head}    min..max    target`);
  for (const row of rows) console.log(line(row).trimEnd());
}
process.exit(passed ? 0 : 1);
