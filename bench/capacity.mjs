// Holding connections in numbers that no single process can: as many servers as the file limit asks
// for, and one `holdfast-probe capacity` command with all of them as targets. Prints what the probe
// found beside the targets; the exit code is 1 where one was missed.
//   npm run bench:capacity -- --connections 100000 --transport tcp|websocket
import { once } from "node:events";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { progress, readFlags } from "./command-line.mjs";
import { ANY_CORE, fileLimit, startPinned } from "./processes.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const program = (name) => join(root, "dist", "cli", name);

/** Files of a server that are no connections. */
const FILES_RESERVED = 1_000;
const CONNECTS_PER_SECOND_MIN = 10_000;
const GENERATOR_BYTES_MAX = 6 * 1_024;

const flags = readFlags({
  connections: { default: "100000", range: [1_000, 1_000_000] },
  "connect-rate": { default: "12000", range: [1, 1_000_000] },
  start: { default: "20000", range: [1, 1_000_000] },
  hold: { default: "30", range: [1, 3_600] },
  transport: { default: "tcp", words: ["tcp", "websocket"] },
  // What must hold at every level. A tenth of it is what the probe itself may be late.
  slo: { default: "connect:p(99)<2s,echo:p(99)<1s,errors<0.1%" },
  html: { default: "" },
});

/** @returns where it listens and what it counts, as the probe is told */
async function startServer(connectionsMax) {
  const ports = ["--tcp-port", "0", "--websocket-port", "0", "--admin-port", "0"];
  const host = ["--tcp-host", "127.0.0.1", "--websocket-host", "127.0.0.1"];
  const log = ["--log-pretty", "false", "--log-level", "info"];
  const limit = ["--connection-max", String(connectionsMax)];
  const args = [program("holdfast.js"), "serve", ...ports, ...host, ...log, ...limit];
  const server = startPinned(ANY_CORE, process.execPath, args, ["ignore", "pipe", "inherit"]);
  const endpoints = {};
  for await (const line of createInterface({ input: server.stdout })) {
    const entry = JSON.parse(line);
    if (entry.listener !== undefined) endpoints[entry.listener] = entry.endpoint;
    if (endpoints.tcp && endpoints.websocket && endpoints.admin) return endpoints;
  }
  throw new Error("a server ended before it listened");
}

async function runProbe(args) {
  const argv = [program("holdfast-probe.js"), ...args];
  const probe = startPinned(ANY_CORE, process.execPath, argv, ["ignore", "pipe", "inherit"]);
  const chunks = [];
  probe.stdout.on("data", (chunk) => chunks.push(chunk));
  const [code] = await once(probe, "close");
  return { code, text: Buffer.concat(chunks).toString() };
}

function rowsOf(report) {
  const { capacity, stages } = report;
  const ramped = stages.filter(({ operations }) => (operations.connect?.succeeded ?? 0) > 5_000);
  const rates = ramped.map(({ operations }) => operations.connect.achievedPerSecond);
  const last = stages.at(-1);
  return [
    { what: "connections held", value: capacity.connections, min: flags.connections },
    {
      what: "connects per second, the fastest ramp",
      value: Math.round(Math.max(...rates)),
      min: CONNECTS_PER_SECOND_MIN,
    },
    { what: "connects per second, the slowest ramp", value: Math.round(Math.min(...rates)) },
    {
      what: "generator bytes per connection",
      value: last.generator.bytesPerConnection,
      max: GENERATOR_BYTES_MAX,
    },
    { what: "server bytes per connection", value: last.server?.bytesPerConnection ?? null },
    { what: "connections that ended by themselves", value: last.connections.deaths, max: 0 },
  ].map((row) => ({
    ...row,
    passed:
      row.value === null || (row.value >= (row.min ?? 0) && row.value <= (row.max ?? Infinity)),
  }));
}

const perServer = Math.max(1_000, fileLimit() - FILES_RESERVED);
const serverCount = Math.ceil(flags.connections / perServer);
progress(`starting ${serverCount} servers for ${flags.connections} connections`);
const endpoints = [];
for (let index = 0; index < serverCount; index++) endpoints.push(await startServer(perServer));

const args = [
  "capacity",
  ...endpoints.map((endpoint) => endpoint[flags.transport]),
  ...["--server-stats", endpoints.map((endpoint) => endpoint.admin).join(",")],
  ...["--start", String(Math.min(flags.start, flags.connections))],
  ...["--max", String(flags.connections)],
  ...["--connect-rate", String(flags["connect-rate"]), "--ping-rate", "0.02"],
  ...["--hold", `${flags.hold}s`, "--slo", flags.slo],
  ...(flags.html === "" ? [] : ["--html", flags.html]),
  "--json",
];
progress(`holdfast-probe ${args.join(" ")}`);
const { code, text } = await runProbe(args);
if (text === "") {
  progress(`holdfast-probe ended with ${code} and no report`);
  process.exit(1);
}
const report = JSON.parse(text);
const rows = rowsOf(report);
const passed = code === 0 && rows.every((row) => row.passed);
if (flags.json) {
  console.log(JSON.stringify({ passed, rows, report }));
} else {
  for (const { what, value, min, max, passed: held } of rows) {
    const bound = min !== undefined ? `>= ${min}` : max !== undefined ? `<= ${max}` : "";
    const verdict = bound === "" ? "" : held ? "pass" : "FAIL";
    console.log(`${what.padEnd(40)} ${String(value).padStart(10)}  ${bound.padEnd(10)} ${verdict}`);
  }
  console.log(report.sentence);
}
process.exit(passed ? 0 : 1);
