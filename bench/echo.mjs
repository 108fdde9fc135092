// CPU time of an echo: Holdfast's call of method `echo`, full stack, against the bare echo of the
// library under it, and the native transport's bare echo against plain C and other libraries.
// Prints a table; the exit code is 1 where a target was missed.
//   npm run bench:echo -- --connections 200,5000 --in-flight 1,16 --seconds 3 --rounds 5
import { loadavg } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { progress, readFlags } from "./command-line.mjs";
import { loadClientName, runEcho } from "./load/load-client.mjs";
import { fileLimit, startServer } from "./processes.mjs";
import { spread } from "./spread.mjs";

const here = dirname(fileURLToPath(import.meta.url));

/**
 * What is measured, in the order of a round. A ratio is to the peer `against` in the same round; it
 * may be `max` at most, with any number in flight where `inFlight` is not given.
 */
const contestants = [
  { name: "C epoll", transport: "tcp", script: "peers/epoll.c", protocol: "raw" },
  {
    name: "tcp-epoll bare",
    transport: "tcp",
    script: "peers/tcp-epoll.mjs",
    protocol: "raw",
    ratios: [
      { against: "C epoll", inFlight: 1, max: 1.2 },
      { against: "C epoll", inFlight: 16, max: 1.6 },
      { against: "node:net", max: 0.6 },
      { against: "uWebSockets.js", max: 0.8 },
    ],
  },
  { name: "node:net", transport: "tcp", script: "peers/net.mjs", protocol: "raw" },
  {
    name: "holdfast tcp-epoll",
    transport: "tcp",
    script: "holdfast-server.mjs",
    args: ["null", "tcp-epoll"],
    protocol: "holdfast",
    ratios: [{ against: "uWebSockets.js", inFlight: 1, max: 1 }],
  },
  { name: "uWebSockets.js", transport: "websocket", script: "peers/uws.mjs", protocol: "raw" },
  {
    name: "holdfast tcp-net",
    transport: "tcp",
    script: "holdfast-server.mjs",
    args: ["null", "tcp-net"],
    protocol: "holdfast",
    ratios: [{ against: "node:net", inFlight: 1, max: 1.3 }],
  },
  {
    name: "holdfast websocket",
    transport: "websocket",
    script: "holdfast-server.mjs",
    protocol: "holdfast",
    ratios: [{ against: "uWebSockets.js", inFlight: 1, max: 1.35 }],
  },
  { name: "ws", transport: "websocket", script: "peers/ws.mjs", protocol: "raw" },
];
const names = contestants.map(({ name }) => name);

const flags = readFlags({
  connections: { default: "200,5000", list: true, range: [1, 19_000] },
  "in-flight": { default: "1,16", list: true, range: [1, 127] },
  seconds: { default: "3", range: [0.1, 60] },
  warmup: { default: "1", range: [0, 60] },
  rounds: { default: "5", range: [1, 50] },
  // Those that they are compared with come along.
  only: { default: names.join(","), list: true, words: names },
  dist: { default: join(dirname(here), "dist") },
});
const dist = resolve(flags.dist);

const wanted = contestants.filter(({ name }) => flags.only.includes(name));
const peers = new Set(wanted.flatMap(({ ratios = [] }) => ratios.map(({ against }) => against)));
const measured = contestants.filter((one) => wanted.includes(one) || peers.has(one.name));

/** CPU microseconds of a server of its own, per message. */
async function measure({ name, script, args = [], ...contestant }, connections, inFlight) {
  const { server, ports } = await startServer(join(here, script), [dist, ...args]);
  const { transport, protocol } = contestant;
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

/** All rounds of one load; contestants take turns, so that a noisy minute is everybody's. */
async function runLoad(connections, inFlight) {
  const micros = new Map(measured.map(({ name }) => [name, []]));
  const rates = new Map(measured.map(({ name }) => [name, []]));
  for (let round = 1; round <= flags.rounds; round++) {
    for (const contestant of measured) {
      const { messages, seconds, cpuMicros } = await measure(contestant, connections, inFlight);
      micros.get(contestant.name).push(cpuMicros / messages);
      rates.get(contestant.name).push(messages / seconds);
      const figure = `${(cpuMicros / messages).toFixed(3)} us/message`;
      const load = `${connections} connections, ${inFlight} in flight`;
      progress(`${load}, round ${round}/${flags.rounds}: ${contestant.name} ${figure}`);
    }
  }
  return measured.map(({ name, ratios = [] }) => {
    const row = { connections, inFlight, name, micros: spread(micros.get(name)) };
    row.messagesPerSecond = Math.round(spread(rates.get(name)).median);
    row.ratios = ratios
      .filter((ratio) => ratio.inFlight === undefined || ratio.inFlight === inFlight)
      .map(({ against, max }) => {
        // Pairs of one round: they saw the same machine.
        const pairs = micros.get(name).map((own, round) => own / micros.get(against)[round]);
        const ratio = spread(pairs);
        return { against, ...ratio, target: max, passed: ratio.median <= max };
      });
    row.passed = row.ratios.every(({ passed }) => passed);
    return row;
  });
}

function range({ min, max }, digits) {
  return `${min.toFixed(digits)}..${max.toFixed(digits)}`;
}

/** A row of the table, and one below it for every further ratio. */
function lines({ connections, inFlight, name, micros, messagesPerSecond, ratios }) {
  const words = [
    String(connections).padStart(11),
    String(inFlight).padStart(9),
    `  ${name.padEnd(18)}`,
    micros.median.toFixed(3).padStart(10),
    range(micros, 2).padStart(13),
    String(messagesPerSecond).padStart(9),
  ].join(" ");
  const shown = ratios.map((ratio) => {
    const verdict = ratio.passed ? "pass" : "FAIL";
    const bound = `<= ${ratio.target}x ${ratio.against}`.padEnd(22);
    const figure = `${ratio.median.toFixed(3)}x`.padStart(8);
    return `${figure} ${range(ratio, 2).padStart(11)}  ${bound} ${verdict}`;
  });
  if (shown.length === 0) return [words];
  return shown.map((text, index) => `${index === 0 ? words : " ".repeat(words.length)} ${text}`);
}

const most = Math.max(...flags.connections);
if (most > fileLimit() - 100) {
  progress(`${most} connections do not fit the file limit of ${fileLimit()}`);
  process.exit(2);
}
progress(`load client: ${loadClientName()}; Node ${process.version}`);
const loads = flags.connections.length * flags["in-flight"].length;
const each = flags.warmup + flags.seconds + 1;
const minutes = (loads * flags.rounds * measured.length * each) / 60;
progress(`load average ${loadavg()[0].toFixed(1)}; this takes about ${Math.ceil(minutes)} min`);
const rows = [];
for (const connections of flags.connections) {
  for (const inFlight of flags["in-flight"]) rows.push(...(await runLoad(connections, inFlight)));
}
const passed = rows.every((row) => row.passed);
if (flags.json) {
  console.log(JSON.stringify({ node: process.version, client: loadClientName(), passed, rows }));
} else {
  const head = "connections in flight   server                CPU us  min..max       per s   ratio";
  console.log(`${head}    min..max    target`);
  for (const row of rows) for (const line of lines(row)) console.log(line);
}
process.exit(passed ? 0 : 1);
