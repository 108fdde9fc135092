// The open loop: echo calls at a fixed rate from one core against a server on another, by
// `holdfast-probe load`. Prints what the probe measured beside the targets; the exit code is 1
// where one was missed, and the verdict says so where the probe itself could not keep its schedule.
//   npm run bench:load -- --rate 50000 --connections 200 --transport tcp|websocket
import { readFlags } from "../command-line.mjs";
import { runProbe, startHoldfast, stopHoldfast } from "../probe-run.mjs";
import { LOAD_CORE, SERVER_CORE } from "../processes.mjs";
import { Result } from "../result.mjs";

const LATENESS_MS_MAX = 2;
const LOOP_PERCENT_MAX = 80;
/** In less time, what compiling its code delays the probe is more than the rest. */
const SECONDS_JUDGED = 10;

const flags = readFlags({
  rate: { default: "50000", range: [1, 1_000_000] },
  connections: { default: "200", range: [1, 15_000] },
  seconds: { default: "20", range: [1, 3_600] },
  transport: { default: "tcp", words: ["tcp", "websocket"] },
});

/** Figures and targets by figure; a value of null is not known. */
function figuresOf({ latencies, operations, generator, server }) {
  const { lateness, service, response } = latencies;
  const { echo } = operations;
  const figures = {
    scheduledPerSecond: echo.intendedPerSecond,
    messagesPerSecond: echo.achievedPerSecond,
    unanswered: echo.scheduled - echo.succeeded,
    latenessP50: lateness.p50,
    latenessP99: lateness.p99,
    serviceP50: service.p50,
    serviceP99: service.p99,
    responseP50: response.p50,
    responseP99: response.p99,
    generatorLoop: generator.loopUtilisation * 100,
    generatorCores: generator.cpuCores,
    serverCores: server?.cpuCores ?? null,
  };
  const targets = {
    messagesPerSecond: { min: flags.rate * 0.99 },
    unanswered: { max: 0 },
    ...(flags.seconds < SECONDS_JUDGED
      ? {}
      : { latenessP99: { max: LATENESS_MS_MAX }, generatorLoop: { max: LOOP_PERCENT_MAX } }),
  };
  return { figures, targets };
}

const result = new Result("load", flags);
const { server, endpoints } = await startHoldfast(SERVER_CORE);
const { report } = await runProbe(LOAD_CORE, [
  ...["load", endpoints[flags.transport]],
  ...["--server-stats", endpoints.admin, "-c", String(flags.connections)],
  ...["-R", String(flags.rate), "-d", `${flags.seconds}s`],
  ...["--threshold", `lateness:p(99)<=${LATENESS_MS_MAX}ms`],
]).finally(() => stopHoldfast(server));
const stage = report.stages.find(({ kind }) => kind === "load");
if (stage?.operations.echo === undefined) throw new Error(`nothing was loaded: ${report.sentence}`);
const { figures, targets } = figuresOf(stage);
const side = `holdfast ${flags.transport}`;
const load = { connections: flags.connections, perSecond: flags.rate };
for (const [figure, value] of Object.entries(figures)) {
  const note = report.sentence;
  result.add({ side, load, figure, values: [value], target: targets[figure] ?? null, note });
}
result.finish();
