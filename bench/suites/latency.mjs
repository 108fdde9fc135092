// Does an answer take longer because many others are connected? The same echo calls per second over
// a few connections and over very many, in turns, against one `holdfast serve` with its workers.
// Prints both beside each other; the exit code is 1 where the many cost too much.
//   npm run bench:latency -- --connections 300000 --few 1000 --rate 1000 --rounds 3
import { progress, readFlags } from "../command-line.mjs";
import { finish, runProbe, startHoldfast, stopHoldfast } from "../probe-run.mjs";
import { ANY_CORE } from "../processes.mjs";
import { spread } from "../spread.mjs";

const RATIO_MAX = 3;
/** Connections that one generator process holds: the same number of processes for both. */
const PER_GENERATOR = 19_000;

const flags = readFlags({
  connections: { default: "300000", range: [1_000, 1_000_000] },
  few: { default: "1000", range: [1, 100_000] },
  rate: { default: "1000", range: [1, 100_000] },
  rounds: { default: "3", range: [1, 20] },
  // Heartbeats of all connections are under way by then: the default is 25 s and its jitter.
  warmup: { default: "28", range: [1, 600] },
  seconds: { default: "20", range: [1, 600] },
  "connect-rate": { default: "8000", range: [1, 1_000_000] },
  transport: { default: "tcp", words: ["tcp", "websocket"] },
});
const generators = Math.ceil(flags.connections / PER_GENERATOR);

const { server, endpoints, limits } = await startHoldfast(ANY_CORE, [
  ...["--workers", "auto", "--connection-max", String(Math.ceil(flags.connections * 1.05))],
]);
progress(`${limits.workers} workers, at most ${limits.connectionsMax} connections`);

async function measure(connections) {
  const { report } = await runProbe(ANY_CORE, [
    ...["load", endpoints[flags.transport], "--server-stats", endpoints.admin],
    ...["-c", String(connections), "--connect-rate", String(flags["connect-rate"])],
    ...["--generators", String(generators)],
    ...[
      "--stages",
      `0s:${flags.rate},${flags.warmup}s:${flags.rate},${flags.seconds}s:${flags.rate}`,
    ],
    // The probe's own delay is shown, not judged: the ratio is what counts.
    ...["--threshold", "response:p(99)<1s"],
  ]);
  const stage = report.stages.filter(({ kind }) => kind === "load").at(-1);
  if (stage?.latencies.response === undefined) throw new Error(report.sentence);
  const { service, response, lateness } = stage.latencies;
  const figures = {
    connections: stage.connections.held,
    deaths: report.deaths.reduce((total, { count }) => total + count, 0),
    servicep50: service.p50,
    service: service.p99,
    response: response.p99,
    lateness: lateness.p99,
    perSecond: stage.operations.echo.achievedPerSecond,
    cores: stage.server?.cpuCores ?? null,
  };
  progress(JSON.stringify(figures));
  return { figures, report };
}

const few = [];
const many = [];
let last = null;
for (let round = 0; round < flags.rounds; round++) {
  few.push((await measure(flags.few)).figures);
  const { figures, report } = await measure(flags.connections);
  many.push(figures);
  last = report;
}
await stopHoldfast(server);

const middle = (runs, name) => spread(runs.map((run) => run[name])).median;
const ratio = (name) => spread(many.map((run, round) => run[name] / few[round][name])).median;
const both = (what, name) => [
  { what: `${what}, ${flags.few} connections`, value: middle(few, name) },
  { what: `${what}, ${flags.connections} connections`, value: middle(many, name) },
];
finish(
  [
    { what: "connections held", value: middle(many, "connections"), min: flags.connections },
    { what: "ended by themselves", value: middle(many, "deaths"), max: 0 },
    ...both("echoes answered per second", "perSecond"),
    ...both("service p50, ms", "servicep50"),
    ...both("service p99, ms", "service"),
    ...both("response p99, ms", "response"),
    ...both("the probe's lateness p99, ms", "lateness"),
    { what: "service p99, times", value: ratio("service") },
    { what: "response p99, times", value: ratio("response"), max: RATIO_MAX },
  ],
  last,
  flags.json,
);
