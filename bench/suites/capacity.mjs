// Holding connections in numbers that no single process can: one `holdfast serve` with as many
// workers as they need, its options as in production, and one `holdfast-probe capacity` command,
// which forks its own generators. Prints what the probe found beside the targets, and who held the
// machine's memory; the exit code is 1 where a target was missed.
//   npm run capacity -- --connections 300000 --hold 5m
//   npm run capacity -- --connections max --hold 5m
import { progress, readFlags, refuse } from "../command-line.mjs";
import { finish, runProbe, startHoldfast, stopHoldfast } from "../probe-run.mjs";
import { ANY_CORE } from "../processes.mjs";

/** What `max` tries; less is what the machine has room for. */
const CONNECTIONS_MOST = 1_000_000;
/** The probe holds this share of what it climbed to for `--hold`. */
const CONFIRM_SHARE = 0.95;
const CONNECTS_PER_SECOND_MIN = 20_000;
/** Ramps of fewer connections are over before a rate shows. */
const RAMP_MIN = 5_000;
/** Connections that a generator process holds. All are there from the first level, and warm. */
const PER_GENERATOR = 19_000;
/** New processes are slow; each has so many before anything is measured. */
const WARM_UP_PER_GENERATOR = 2_500;
const GENERATOR_BYTES_MAX = 6 * 1_024;
/** Memory per connection is the same from the first level to the last. */
const FIT_MIN = 0.99;
const MIB = 1_048_576;

const flags = readFlags({
  connections: { default: "100000" },
  "connect-rate": { default: "22000", range: [1, 1_000_000] },
  // Echoes per second and connection: with 300,000 as many as bench:latency sends. Heartbeats are
  // the server's affair, and under way whatever this is.
  "ping-rate": { default: "0.003", range: [0, 10] },
  start: { default: "10000", range: [1, 1_000_000] },
  hold: { default: "30s" },
  transport: { default: "tcp", words: ["tcp", "websocket"] },
  workers: { default: "auto" },
  // What must hold at every level. How long answers take while clients come as fast as can be is
  // no question here (bench:latency has it), so these are wide; the rate has a row of its own.
  slo: { default: "connect:p(99)<100s,echo:p(99)<100s,errors<0.1%" },
  // Half of V8's young generation in MiB; left to itself (0) it grows with use up to 16.
  "semi-space": { default: "2", range: [0, 64] },
  html: { default: "" },
});

const wanted = flags.connections === "max" ? CONNECTIONS_MOST : Number(flags.connections);
/** So many that the confirmation is of what was asked for. */
const climbed = Math.ceil(wanted / CONFIRM_SHARE);
if (!Number.isInteger(wanted) || wanted < 1_000 || wanted > CONNECTIONS_MOST) {
  refuse(`--connections is 1000 to ${CONNECTIONS_MOST}, or max: not ${flags.connections}`);
}
/** Ramps that the generators spoilt are no figures of the server's, and are left out. */
function rampRows(stages) {
  const ramps = stages
    .filter(({ verdict }) => verdict === "ok")
    .map(({ operations }) => operations.connect)
    .filter((connect) => connect !== undefined && connect.succeeded >= RAMP_MIN)
    .map(({ succeeded, achievedPerSecond }) => ({ succeeded, achievedPerSecond }));
  const rates = ramps.map(({ achievedPerSecond }) => achievedPerSecond);
  const longest = ramps.toSorted((a, b) => b.succeeded - a.succeeded)[0];
  return [
    {
      what: `connects per second, ramp of ${longest?.succeeded ?? 0}`,
      value: longest?.achievedPerSecond ?? null,
      min: CONNECTS_PER_SECOND_MIN,
    },
    { what: "connects per second, fastest ramp", value: most(rates) },
    { what: "connects per second, slowest ramp", value: rates.length ? Math.min(...rates) : null },
    { what: "ramps", value: rates.length },
    {
      what: "ramps tried again: the probe was late",
      value: stages.filter(({ verdict }) => verdict === "generator-bound").length,
    },
  ];
}

function most(numbers) {
  return numbers.length === 0 ? null : Math.max(...numbers);
}

function memoryRows({ memory, stages, server }) {
  const largest = stages
    .filter(({ memory: figures }) => figures !== null)
    .toSorted((a, b) => b.connections.held - a.connections.held)[0];
  if (memory === null || largest === undefined) return [];
  const { kernel, server: workers, probe } = largest.memory;
  const held = `at ${largest.connections.held}, MiB`;
  const line = (name, fit, limits = {}) => [
    { what: `${name}, bytes per connection`, value: fit?.slope ?? null },
    { what: `${name}, R2 of that line`, value: fit?.r2 ?? null, ...limits },
  ];
  return [
    { what: `kernel ${held}`, value: (kernel.bytes - memory.before.kernel.bytes) / MIB },
    { what: `supervisor and workers ${held}`, value: (workers?.pssBytes ?? NaN) / MIB },
    { what: `probe ${held}`, value: probe.pssBytes / MIB },
    ...line("kernel", memory.kernel),
    ...line("server (PSS)", memory.server, { min: FIT_MIN }),
    ...line("server (RSS)", server?.bytesPerConnection ?? null),
    ...line("probe with its processes", memory.probe),
  ];
}

function rowsOf(report) {
  const { capacity, stages } = report;
  const last = stages.at(-1);
  const least = flags.connections === "max" ? {} : { min: wanted };
  return [
    { what: "connections reached", value: capacity.connections },
    { what: `held for ${flags.hold}`, value: capacity.confirmed?.connections ?? null, ...least },
    {
      what: "ended by themselves while held",
      value: last.kind === "confirm" ? last.connections.deaths : null,
      max: 0,
    },
    {
      what: "ended by themselves in the whole run",
      value: report.deaths.reduce((total, { count }) => total + count, 0),
    },
    ...rampRows(stages),
    ...memoryRows(report),
    {
      what: "generator bytes per connection",
      value: last.generator.bytesPerConnection,
      max: GENERATOR_BYTES_MAX,
    },
  ];
}

const semiSpace = flags["semi-space"];
const nodeFlags = semiSpace === 0 ? [] : [`--max-semi-space-size=${semiSpace}`];
const started = await startHoldfast(
  ANY_CORE,
  [
    // Workers fill unevenly, and their shares of the maximum follow: room for a second more.
    ...["--workers", flags.workers],
    ...["--connection-max", String(climbed + flags["connect-rate"])],
  ],
  nodeFlags,
);
const { server, endpoints, limits } = started;
progress(`${limits.workers} workers, at most ${limits.connectionsMax} connections`);
const generators = Math.ceil(climbed / PER_GENERATOR);
const { report } = await runProbe(ANY_CORE, [
  ...["capacity", endpoints[flags.transport], "--server-stats", endpoints.admin],
  ...["--start", String(Math.min(flags.start, climbed)), "--max", String(climbed)],
  ...["--connect-rate", String(flags["connect-rate"]), "--ping-rate", String(flags["ping-rate"])],
  ...["--generators", String(generators)],
  ...["--warm-up", String(Math.min(climbed, generators * WARM_UP_PER_GENERATOR))],
  ...["--precision", "5%", "--hold", flags.hold, "--slo", flags.slo],
  ...(flags.html === "" ? [] : ["--html", flags.html]),
]);
await stopHoldfast(server);
finish(rowsOf(report), report, flags.json);
