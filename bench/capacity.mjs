// Holding connections in numbers that no single process can: as many servers as the file limit asks
// for, and one `holdfast-probe capacity` command with all of them as targets. Prints what the probe
// found beside the targets; the exit code is 1 where one was missed.
//   npm run bench:capacity -- --connections 100000 --transport tcp|websocket
import { progress, readFlags } from "./command-line.mjs";
import { finish, runProbe, startHoldfast } from "./probe-run.mjs";
import { ANY_CORE, fileLimit } from "./processes.mjs";

/** Files of a server that are no connections. */
const FILES_RESERVED = 1_000;
const CONNECTS_PER_SECOND_MIN = 10_000;
const GENERATOR_BYTES_MAX = 6 * 1_024;
/** Ramps of fewer connections are over before a rate shows. */
const RAMP_MIN = 5_000;

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

/** Ramps that the generators spoilt are no figures of the server's, and are left out. */
function rowsOf({ capacity, stages }) {
  const rates = stages
    .filter(({ verdict }) => verdict === "ok")
    .map(({ operations }) => operations.connect)
    .filter((connect) => connect !== undefined && connect.succeeded >= RAMP_MIN)
    .map(({ achievedPerSecond }) => achievedPerSecond);
  const last = stages.at(-1);
  const fastest = rates.length === 0 ? null : Math.max(...rates);
  const slowest = rates.length === 0 ? null : Math.min(...rates);
  return [
    { what: "connections held", value: capacity.connections, min: flags.connections },
    { what: "connects per second, fastest ramp", value: fastest, min: CONNECTS_PER_SECOND_MIN },
    { what: "connects per second, slowest ramp", value: slowest },
    { what: "ramps", value: rates.length },
    {
      what: "ramps tried again: the probe was late",
      value: stages.filter(({ verdict }) => verdict === "generator-bound").length,
    },
    {
      what: "generator bytes per connection",
      value: last.generator.bytesPerConnection,
      max: GENERATOR_BYTES_MAX,
    },
    { what: "server bytes per connection", value: last.server?.bytesPerConnection ?? null },
    { what: "ended by themselves while confirmed", value: last.connections.deaths, max: 0 },
  ];
}

const perServer = Math.max(1_000, fileLimit() - FILES_RESERVED);
const serverCount = Math.ceil(flags.connections / perServer);
progress(`starting ${serverCount} servers for ${flags.connections} connections`);
const servers = [];
for (let index = 0; index < serverCount; index++) {
  servers.push(await startHoldfast(ANY_CORE, ["--connection-max", String(perServer)]));
}
const { report } = await runProbe(ANY_CORE, [
  "capacity",
  ...servers.map(({ endpoints }) => endpoints[flags.transport]),
  ...["--server-stats", servers.map(({ endpoints }) => endpoints.admin).join(",")],
  ...["--start", String(Math.min(flags.start, flags.connections))],
  ...["--max", String(flags.connections)],
  ...["--connect-rate", String(flags["connect-rate"]), "--ping-rate", "0.02"],
  ...["--hold", `${flags.hold}s`, "--slo", flags.slo],
  ...(flags.html === "" ? [] : ["--html", flags.html]),
]);
finish(rowsOf(report), report, flags.json);
