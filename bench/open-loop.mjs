// The open loop: echo calls at a fixed rate from one core against a server on another, by
// `holdfast-probe load`. Prints what the probe measured beside the targets; the exit code is 1
// where one was missed, and says so where the probe itself could not keep its schedule.
//   npm run bench:load -- --rate 50000 --connections 200 --transport tcp|websocket
import { once } from "node:events";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { progress, readFlags } from "./command-line.mjs";
import { LOAD_CORE, SERVER_CORE, startPinned } from "./processes.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const program = (name) => join(root, "dist", "cli", name);

const LATENESS_MS_MAX = 2;

const flags = readFlags({
  rate: { default: "50000", range: [1, 1_000_000] },
  connections: { default: "200", range: [1, 15_000] },
  seconds: { default: "20", range: [1, 3_600] },
  transport: { default: "tcp", words: ["tcp", "websocket"] },
});

async function startServer() {
  const ports = ["--tcp-port", "0", "--websocket-port", "0", "--admin-port", "0"];
  const log = ["--log-pretty", "false", "--log-level", "info"];
  const args = [program("holdfast.js"), "serve", ...ports, ...log];
  const stdio = ["ignore", "pipe", "inherit"];
  const server = startPinned(SERVER_CORE, process.execPath, args, stdio);
  const endpoints = {};
  for await (const line of createInterface({ input: server.stdout })) {
    const entry = JSON.parse(line);
    if (entry.listener !== undefined) endpoints[entry.listener] = entry.endpoint;
    if (endpoints.tcp && endpoints.websocket && endpoints.admin) return { server, endpoints };
  }
  throw new Error("the server ended before it listened");
}

const { server, endpoints } = await startServer();
const args = [
  ...["load", endpoints[flags.transport].replace("0.0.0.0", "127.0.0.1")],
  ...["--server-stats", endpoints.admin, "-c", String(flags.connections)],
  ...["-R", String(flags.rate), "-d", `${flags.seconds}s`],
  ...["--threshold", `lateness:p(99)<=${LATENESS_MS_MAX}ms`, "--json"],
];
progress(`holdfast-probe ${args.join(" ")}`);
const stdio = ["ignore", "pipe", "inherit"];
const probe = startPinned(
  LOAD_CORE,
  process.execPath,
  [program("holdfast-probe.js"), ...args],
  stdio,
);
const chunks = [];
probe.stdout.on("data", (chunk) => chunks.push(chunk));
const [code] = await once(probe, "close");
server.kill("SIGTERM");
if (chunks.length === 0) {
  progress(`holdfast-probe ended with ${code} and no report`);
  process.exit(1);
}
const report = JSON.parse(Buffer.concat(chunks).toString());
const stage = report.stages.find(({ kind }) => kind === "load");
const { lateness, service, response } = stage.latencies;
const ms = (value) => Number(value.toFixed(2));
const rows = [
  { what: "echoes scheduled per second", value: stage.operations.echo.intendedPerSecond },
  {
    what: "echoes answered per second",
    value: stage.operations.echo.achievedPerSecond,
    min: flags.rate * 0.99,
  },
  { what: "lateness p99, ms", value: ms(lateness.p99), max: LATENESS_MS_MAX },
  { what: "service p50, ms", value: ms(service.p50) },
  { what: "service p99, ms", value: ms(service.p99) },
  { what: "response p50, ms", value: ms(response.p50) },
  { what: "response p99, ms", value: ms(response.p99) },
  { what: "probe's loop in use, %", value: ms(stage.generator.loopUtilisation * 100), max: 80 },
  { what: "probe's cores", value: ms(stage.generator.cpuCores) },
  { what: "server's cores", value: ms(stage.server?.cpuCores ?? 0) },
].map((row) => ({
  ...row,
  passed: row.value >= (row.min ?? -Infinity) && row.value <= (row.max ?? Infinity),
}));
const passed = rows.every((row) => row.passed);
if (flags.json) {
  console.log(JSON.stringify({ passed, rows, report }));
} else {
  for (const { what, value, min, max, passed: held } of rows) {
    const bound = min !== undefined ? `>= ${min}` : max !== undefined ? `<= ${max}` : "";
    const verdict = bound === "" ? "" : held ? "pass" : "FAIL";
    console.log(`${what.padEnd(30)} ${String(value).padStart(10)}  ${bound.padEnd(10)} ${verdict}`);
  }
  console.log(report.sentence);
}
process.exit(passed ? 0 : 1);
