// Holding connections in numbers that no single process can: one `holdfast serve` with as many
// workers as they need, its options as in production, and one `holdfast-probe capacity` command,
// which forks its own generators. Prints what the probe found beside the targets, and who held the
// machine's memory; the exit code is 1 where a target was missed.
//   npm run capacity -- --connections 300000 --hold 5m
//   npm run capacity -- --connections max --hold 5m
import { progress, readFlags, refuse } from "../command-line.mjs";
import { runProbe, startHoldfast, stopHoldfast } from "../probe-run.mjs";
import { ANY_CORE } from "../processes.mjs";
import { Result } from "../result.mjs";

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
/** With fewer, neither ramps nor memory show what each connection costs: held is what is judged. */
const CONNECTIONS_JUDGED = 20_000;
/** Memory per connection is the same from the first level to the last. */
const FIT_MIN = 0.99;
const MIB = 1_048_576;
const SERVER = "holdfast serve";

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

const isJudged = wanted >= CONNECTIONS_JUDGED;
const result = new Result("capacity", flags);
const load = { connections: flags.connections, transport: flags.transport };

/** A value of null is not known: it has no row, and where there is a target that is a fault. */
function add(side, figure, value, target = null, note = "") {
  if (value === null && target !== null) throw new Error(`${side}: ${figure} is not known`);
  result.add({ side, load, figure, values: [value], target, note });
}

/** Ramps that the generators spoilt are no figures of the server's, and are left out. */
function addRamps(stages) {
  const ramps = stages
    .filter(({ verdict }) => verdict === "ok")
    .map(({ operations }) => operations.connect)
    .filter((connect) => connect !== undefined && connect.succeeded >= RAMP_MIN)
    .map(({ succeeded, achievedPerSecond }) => ({ succeeded, achievedPerSecond }));
  const rates = ramps.map(({ achievedPerSecond }) => achievedPerSecond);
  const longest = ramps.toSorted((a, b) => b.succeeded - a.succeeded)[0];
  const spoilt = stages.filter(({ verdict }) => verdict === "generator-bound").length;
  const note =
    `connects: the longest of ${ramps.length} ramps (${longest?.succeeded ?? 0} connections); ` +
    `${spoilt} more were tried again because the probe was late`;
  if (isJudged) {
    // Without a ramp there were none.
    const target = { min: CONNECTS_PER_SECOND_MIN };
    add(SERVER, "connectsPerSecond", longest?.achievedPerSecond ?? 0, target, note);
  } else {
    add(SERVER, "connectsPerSecond", longest?.achievedPerSecond ?? null, null, note);
  }
  add(SERVER, "connectsFastest", rates.length === 0 ? null : Math.max(...rates));
  add(SERVER, "connectsSlowest", rates.length === 0 ? null : Math.min(...rates));
}

function addMemory({ memory, stages, server }) {
  const largest = stages
    .filter(({ memory: figures }) => figures !== null)
    .toSorted((a, b) => b.connections.held - a.connections.held)[0];
  if (memory === null || largest === undefined) return;
  const { kernel, server: workers, probe } = largest.memory;
  const note = `memory: with ${largest.connections.held} connections`;
  const line = (side, fit, target = null) => {
    add(side, "slopePerConnection", fit?.slope ?? null);
    add(side, "slopeFit", fit?.r2 ?? (target === null ? null : 0), target);
  };
  add("kernel", "memory", (kernel.bytes - memory.before.kernel.bytes) / MIB, null, note);
  line("kernel", memory.kernel);
  add(`${SERVER} (PSS)`, "memory", workers === null ? null : workers.pssBytes / MIB, null, note);
  line(`${SERVER} (PSS)`, memory.server, isJudged ? { min: FIT_MIN } : null);
  line(`${SERVER} (RSS)`, server?.bytesPerConnection ?? null);
  add("probe", "memory", probe.pssBytes / MIB, null, note);
  line("probe", memory.probe);
}

function addAll(report) {
  const { capacity, stages, deaths } = report;
  const last = stages.at(-1);
  const least = flags.connections === "max" ? null : { min: wanted };
  add(SERVER, "connectionsReached", capacity.connections, null, report.sentence);
  // What was never confirmed was not held.
  add(SERVER, "connectionsHeld", capacity.confirmed?.connections ?? 0, least);
  if (last.kind === "confirm") add(SERVER, "deathsHeld", last.connections.deaths, { max: 0 });
  const died = deaths.reduce((total, { count }) => total + count, 0);
  add(SERVER, "deaths", died);
  addRamps(stages);
  addMemory(report);
  const perConnection = last.generator.bytesPerConnection;
  const most = isJudged ? { max: GENERATOR_BYTES_MAX } : null;
  add("probe", "generatorPerConnection", perConnection, most);
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
]).finally(() => stopHoldfast(server));
addAll(report);
result.finish();
