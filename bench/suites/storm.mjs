// What accepting costs: connects per second of CPU time of the server, tcp-epoll against node:net
// and beside plain C. Prints a table; the exit code is 1 where a target was missed.
//   npm run bench:accept -- --connections 12000 --rounds 5
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { progress, readFlags } from "../command-line.mjs";
import { startLives } from "../load/load-client.mjs";
import { fileLimit, startServer } from "../processes.mjs";
import { spread } from "../spread.mjs";

const here = dirname(dirname(fileURLToPath(import.meta.url)));

/** Connections that come and go before the clock is read: the server's code is compiled then. */
const WARMUP = 3_000;

const flags = readFlags({
  connections: { default: "12000", range: [100, 100_000] },
  rounds: { default: "5", range: [1, 50] },
  dist: { default: join(dirname(here), "dist") },
});
const dist = resolve(flags.dist);

/** `target`: the least that the ratio to `against` may be. */
const contestants = [
  { name: "C epoll", script: "peers/epoll.c" },
  { name: "node:net", script: "peers/net.mjs" },
  { name: "tcp-epoll bare", script: "peers/tcp-epoll.mjs", against: "node:net", target: 1.5 },
];

/** Connects per second of CPU time of a server of its own. */
async function measure({ name, script }) {
  const { server, ports } = await startServer(join(here, script), [dist]);
  const lives = startLives({ protocol: "raw", port: ports.tcp, pid: server.pid, "source-base": 3 });
  try {
    await lives.ask(`hold ${WARMUP}`);
    const { held, cpuMicros, errors } = await lives.ask(`hold ${flags.connections}`);
    if (errors > 0) throw new Error(`${name}: ${errors} errors`);
    return held / (cpuMicros / 1e6);
  } finally {
    await lives.stop();
    await server.stop();
  }
}

if (flags.connections > fileLimit() - 100) {
  progress(`${flags.connections} connections do not fit the file limit of ${fileLimit()}`);
  process.exit(2);
}
const rates = new Map(contestants.map(({ name }) => [name, []]));
for (let round = 1; round <= flags.rounds; round++) {
  for (const contestant of contestants) {
    const rate = await measure(contestant);
    rates.get(contestant.name).push(rate);
    const micros = (1e6 / rate).toFixed(2);
    progress(`round ${round}/${flags.rounds}: ${contestant.name} ${micros} us/connect`);
  }
}
const rows = contestants.map(({ name, against, target }) => {
  const row = { name, connectsPerCpuSecond: spread(rates.get(name)) };
  if (against === undefined) return row;
  // Pairs of one round: they saw the same machine.
  row.ratio = spread(rates.get(name).map((own, round) => own / rates.get(against)[round]));
  return { ...row, against, target, passed: row.ratio.median >= target };
});

function line({
  name,
  connectsPerCpuSecond: { median, min, max },
  ratio,
  against,
  target,
  passed,
}) {
  const words = [name.padEnd(16), median.toFixed(0).padStart(24)];
  words.push(`${min.toFixed(0)}..${max.toFixed(0)}`.padStart(16));
  if (target !== undefined) {
    const range = `${ratio.min.toFixed(2)}..${ratio.max.toFixed(2)}`;
    const verdict = passed ? "pass" : "FAIL";
    words.push(`  ${ratio.median.toFixed(2)}x of ${against} (${range}), >= ${target}x ${verdict}`);
  }
  return words.join(" ");
}

const passed = rows.every((row) => row.passed !== false);
if (flags.json) {
  console.log(JSON.stringify({ node: process.version, passed, rows }));
} else {
  console.log("server            connects per CPU second         min..max");
  for (const row of rows) console.log(line(row).trimEnd());
}
process.exit(passed ? 0 : 1);
