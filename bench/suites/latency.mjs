// Does an answer take longer because many others are connected? The same echo calls per second over
// a few connections and over very many, in turns, against one `holdfast serve` with its workers.
// Prints both beside each other; the exit code is 1 where the many cost too much.
//   npm run bench:latency -- --connections 300000 --few 1000 --rate 1000 --rounds 3
import { progress, readFlags } from "../command-line.mjs";
import { runProbe, startHoldfast, stopHoldfast } from "../probe-run.mjs";
import { ANY_CORE } from "../processes.mjs";
import { isWithin, Result } from "../result.mjs";

const RATIO_MAX = 3;
/** Fewer of the many, or less time, show no difference that is theirs: it is not judged. */
const TIMES_JUDGED = 10;
const SECONDS_JUDGED = 10;
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

const result = new Result("latency", flags);
// Workers fill unevenly, and their shares of the maximum follow: room for a second more.
const connectionMax = flags.connections + flags["connect-rate"];
const { server, endpoints, limits } = await startHoldfast(ANY_CORE, [
  ...["--workers", "auto", "--connection-max", String(connectionMax)],
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
    connectionsHeld: stage.connections.held,
    deaths: report.deaths.reduce((total, { count }) => total + count, 0),
    unanswered: stage.operations.echo.scheduled - stage.operations.echo.succeeded,
    messagesPerSecond: stage.operations.echo.achievedPerSecond,
    serviceP50: service.p50,
    serviceP99: service.p99,
    responseP99: response.p99,
    latenessP99: lateness.p99,
    serverCores: stage.server?.cpuCores ?? null,
  };
  progress(JSON.stringify(figures));
  return figures;
}

const few = [];
const many = [];
try {
  for (let round = 0; round < flags.rounds; round++) {
    few.push(await measure(flags.few));
    many.push(await measure(flags.connections));
  }
} finally {
  await stopHoldfast(server);
}

const load = { callsPerSecond: flags.rate };
const nameOf = (connections) => `${connections} connections`;
function add(connections, runs, targets) {
  for (const figure of Object.keys(runs[0])) {
    const values = runs.map((run) => run[figure]);
    const target = targets[figure] ?? null;
    // What may not be lost may not be lost in any round.
    const isMet = values.every((value) => isWithin(value, target ?? {}));
    result.add({ side: nameOf(connections), load, figure, values, target, isMet });
  }
}
const nothingLost = { deaths: { max: 0 }, unanswered: { max: 0 } };
add(flags.few, few, { ...nothingLost, connectionsHeld: { min: flags.few } });
add(flags.connections, many, { ...nothingLost, connectionsHeld: { min: flags.connections } });
const sides = { side: nameOf(flags.connections), against: nameOf(flags.few), load };
result.compare({ ...sides, figure: "serviceP99" });
const isJudged = flags.connections >= TIMES_JUDGED * flags.few && flags.seconds >= SECONDS_JUDGED;
const target = isJudged ? { max: RATIO_MAX } : null;
result.compare({ ...sides, figure: "responseP99", target });
result.finish();
