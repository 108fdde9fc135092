// The open loop: echo calls at a fixed rate from one core against a server on another, by
// `holdfast-probe load`. Prints what the probe measured beside the targets; the exit code is 1
// where one was missed, and the verdict says so where the probe itself could not keep its schedule.
//   npm run bench:load -- --rate 50000 --connections 200 --transport tcp|websocket
import { readFlags } from "../command-line.mjs";
import { finish, runProbe, startHoldfast } from "../probe-run.mjs";
import { LOAD_CORE, SERVER_CORE } from "../processes.mjs";

const LATENESS_MS_MAX = 2;

const flags = readFlags({
  rate: { default: "50000", range: [1, 1_000_000] },
  connections: { default: "200", range: [1, 15_000] },
  seconds: { default: "20", range: [1, 3_600] },
  transport: { default: "tcp", words: ["tcp", "websocket"] },
});

function rowsOf(stage) {
  const { lateness, service, response } = stage.latencies;
  const { echo } = stage.operations;
  return [
    { what: "echoes scheduled per second", value: echo.intendedPerSecond },
    { what: "echoes answered per second", value: echo.achievedPerSecond, min: flags.rate * 0.99 },
    { what: "lateness p50, ms", value: lateness.p50 },
    { what: "lateness p99, ms", value: lateness.p99, max: LATENESS_MS_MAX },
    { what: "service p50, ms", value: service.p50 },
    { what: "service p99, ms", value: service.p99 },
    { what: "response p50, ms", value: response.p50 },
    { what: "response p99, ms", value: response.p99 },
    { what: "probe's loop in use, %", value: stage.generator.loopUtilisation * 100, max: 80 },
    { what: "probe's cores", value: stage.generator.cpuCores },
    { what: "server's cores", value: stage.server?.cpuCores ?? null },
  ];
}

const { endpoints } = await startHoldfast(SERVER_CORE);
const { report } = await runProbe(LOAD_CORE, [
  ...["load", endpoints[flags.transport]],
  ...["--server-stats", endpoints.admin, "-c", String(flags.connections)],
  ...["-R", String(flags.rate), "-d", `${flags.seconds}s`],
  ...["--threshold", `lateness:p(99)<=${LATENESS_MS_MAX}ms`],
]);
const stage = report.stages.find(({ kind }) => kind === "load");
const hasRun = stage?.operations.echo !== undefined;
finish(hasRun ? rowsOf(stage) : [{ what: "loads", value: 0, min: 1 }], report, flags.json);
