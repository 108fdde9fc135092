// The JSON Schema of a report (report.ts), with what every field means. docs/probe-report.md is
// made from it; test/unit/probe-report-schema.test.ts holds it against reports.

import { PHASES } from "./failure.ts";
import {
  count,
  flag,
  type JsonSchema,
  list,
  number,
  object,
  oneOf,
  orNull,
  reference,
  share,
  text,
} from "./json-schema.ts";
import { PROBE_TRANSPORTS } from "./probe-network.ts";
import {
  DEATH_AGES_MS,
  LATENCY_NAMES,
  type LatencyName,
  LIMIT_KINDS,
  OPERATION_KINDS,
  OUTCOMES,
  REPORT_SCHEMA,
  STAGE_VERDICTS,
} from "./report.ts";

const PARTIES = ["client", "network", "server", "prober"];

const LATENCY_MEANINGS: Readonly<Record<LatencyName, string>> = {
  connect: "From the intended start of an attempt to a connection that is ready for use.",
  connectService: "From the real start of an attempt to a connection that is ready for use.",
  connectLateness: "How late attempts were started: the probe's own doing.",
  lateness: "How late echoes and publishes were started: the probe's own doing.",
  service: "From the real start of an echo or publish to its answer.",
  response: "From the intended start of an echo or publish to its answer.",
  delivery: "From the intended start of a publish to the event at one subscriber.",
};

const failureProperties = {
  code: text("`phase.cause`, as in `connect.refused` or `upgrade.status.403`."),
  phase: oneOf(PHASES, "Where on the way of a connection it happened."),
  cause: text("The code without its phase."),
  party: oneOf(PARTIES, "Whose doing it is, as far as it can be told from here."),
  count: count("How often."),
};

const REPORT_DEFINITIONS: Readonly<Record<string, JsonSchema>> = {
  Limit: object("What limited the run.", {
    kind: oneOf(LIMIT_KINDS, "Which limit it is."),
    party: oneOf(PARTIES, "Whose limit it is. With `prober` nothing is said about the server."),
    confidence: oneOf(
      ["certain", "likely"],
      "`certain`: a figure shows it. `likely`: it fits what was seen from outside.",
    ),
    text: text(
      "A clause for people, as in `the server's file limit: 5,000 of 5,000 files in use`.",
    ),
    evidence: list({ type: "string" }, "What was looked at, for people."),
    advice: text("What to do about it, or to learn more; empty where there is nothing."),
  }),
  CapacityResult: object("What `capacity` found.", {
    connections: count("Most connections at which every objective held; 0 where none did."),
    failedAt: orNull(
      count("Fewest connections at which they did not; null where no level failed."),
    ),
    confirmed: orNull(
      object("The confirmation at 0.95 of the capacity; null where there was none.", {
        connections: count("Connections held."),
        holdMs: number("For how long, in milliseconds."),
      }),
    ),
    search: oneOf(["exp", "stairs"], "How it was searched for."),
    maxReached: flag("All that `--max` allows held: the capacity may be higher."),
  }),
  LoadResult: object("What `load` or a scenario found.", {
    faults: orNull(
      object("What was done to connections on purpose; null: nothing was.", {
        slowReaders: count("Connections that stopped reading."),
        halfOpen: count("Connections that fell silent."),
        ended: count("Of both: ended by the server, as far as the probe saw."),
        churned: count("Closed by the probe, each with a new one in its place."),
      }),
    ),
    thresholds: list(
      reference("ThresholdResult", "One threshold."),
      "Thresholds, in the order in which they were given.",
    ),
    baseline: orNull(
      reference("BaselineResult", "Comparison with an earlier report; null where none was asked."),
    ),
  }),
  ThresholdResult: object("A threshold beside what was measured.", {
    text: text("As it was written."),
    metric: text("What it is about, as in `response` or `errors`."),
    actual: orNull(number("What was measured, in `unit`; null where there are no samples.")),
    limit: number("What is allowed, in `unit`."),
    unit: oneOf(["ms", "ratio", "per_second", "count"], "Unit of `actual` and `limit`."),
    passed: flag("Whether it held. What was not measured did not."),
    worstAtMs: orNull(number("Start of the worst window; null for thresholds without `over`.")),
  }),
  BaselineResult: object("A comparison with an earlier report.", {
    file: text("Where the earlier report was read from."),
    rows: list(
      object("One metric.", {
        metric: text("What is compared; the name ends with its unit."),
        before: number("In the earlier report."),
        now: number("In this one."),
        ratio: orNull(number("`now` divided by `before`; null: from nothing to something.")),
        isRegression: flag("It got worse by more than is allowed."),
      }),
      "One row for each metric that both reports have.",
    ),
  }),
  Environment: object("With what and on what the report was made.", {
    probeVersion: text("Version of the probe."),
    nodeVersion: text("Version of Node.js."),
    kernel: text("Release of the kernel that the probe ran on."),
    cpus: count("Cores that the probe could use."),
    memoryBytes: count("Memory of the probe's machine, in bytes."),
    startedAt: { ...text("Start of the run, ISO 8601 in UTC."), format: "date-time" },
    durationMs: number("Length of the run, in milliseconds."),
    argv: list({ type: "string" }, "The command line, without the program's name."),
    seed: count("Seed of every schedule and of every fault that is drawn."),
    targets: list({ type: "string" }, "What was connected to, as it was written."),
    protocol: oneOf(["holdfast", "raw"], "What was spoken on the connections."),
    transport: oneOf(PROBE_TRANSPORTS, "What carried the connections, but for TLS."),
    sysctls: {
      type: "object",
      description: "Kernel settings of the probe's machine that bear on the result, by name.",
      additionalProperties: { type: "string" },
    },
    generatorProcesses: count("Generator processes at the end."),
    generatorFileLimit: orNull(
      count("Files that one generator process may have open; null: not known."),
    ),
    sourceTuples: orNull(
      count("Local address and port pairs to one target; null: the kernel chose them."),
    ),
  }),
  StageReport: object("One stage: a level of the search, or a part of the load.", {
    index: count("Which stage, from 0."),
    kind: text(
      "`climb`, `verify`, `bisect`, `stairs` or `confirm`; with load `connect` or `load`; with a " +
        "scenario `ramp`, `hold`, `fault` or `recover`.",
    ),
    name: text("As in `4,000`, `confirm 4,718` or `1m to 10k/s`."),
    fromMs: number("When it began."),
    toMs: number("When it ended."),
    verdict: oneOf(
      STAGE_VERDICTS,
      "`ok`: all held. `missed`: an objective did not. `wall`: connections are missing. `scram`: " +
        "the probe backed off. `generator-bound` and `aborted` count neither way.",
    ),
    reasons: list({ type: "string" }, "Why it is not `ok`, for people."),
    connections: object("Connections.", {
      intended: count("How many there should have been at the end."),
      held: count("How many there were."),
      deaths: count("Ended within the stage although the probe did not end them."),
    }),
    operations: {
      type: "object",
      description: "By kind of operation; a kind that was not scheduled is not there.",
      properties: Object.fromEntries(
        OPERATION_KINDS.map((kind) => [kind, reference("OperationFigures", `Every ${kind}.`)]),
      ),
      additionalProperties: true,
    },
    deliveries: orNull(
      reference("DeliveryFigures", "Events at subscribers; null where nothing was published."),
    ),
    latencies: {
      type: "object",
      description: "By name; a latency without samples is not there.",
      properties: Object.fromEntries(
        LATENCY_NAMES.map((name) => [name, reference("LatencySummary", LATENCY_MEANINGS[name])]),
      ),
      additionalProperties: true,
    },
    failures: list(reference("FailureCount", "One code."), "Failures within the stage."),
    deaths: list(reference("DeathCount", "One code."), "Deaths within the stage."),
    generator: reference("GeneratorFigures", "How the probe itself did."),
    server: orNull(reference("ServerFigures", "The server at the end; null: not watched.")),
    memory: orNull(
      reference("MemoryFigures", "Memory at the end; null: the server is elsewhere, or not known."),
    ),
  }),
  OperationFigures: object("Operations of one kind, beside what was due.", {
    scheduled: count("Due by the schedule."),
    started: count("Of these, started."),
    succeeded: count("Of these, ended well."),
    failed: count("Of these, failed."),
    intendedPerSecond: number("Scheduled per second, while any were."),
    achievedPerSecond: number("Succeeded per second, from the first start to the last end."),
  }),
  DeliveryFigures: object("Events published, at their subscribers.", {
    expected: count("Events times the subscribers of their topic."),
    received: count("Of these, received."),
    missed: count("Of these, never received."),
    announced: count("Of those missed, announced by the server with `Gap`."),
    duplicates: count("Received more than once, or out of order."),
  }),
  LatencySummary: object("A latency's distribution, in milliseconds.", {
    count: count("Samples."),
    min: number("The least."),
    mean: number("The arithmetic mean."),
    p50: number("The median."),
    p90: number("90th percentile."),
    p99: number("99th percentile."),
    p999: number("99.9th percentile."),
    max: number("The greatest."),
    hdr: text(
      "All of it: HdrHistogram V2, compressed, base64, in microseconds with three significant " +
        "digits. Histograms of several stages or reports can be added up.",
    ),
  }),
  FailureCount: object("Failures with one code.", failureProperties),
  DeathCount: object("Connections that ended with one code although the probe did not end them.", {
    code: failureProperties.code,
    party: failureProperties.party,
    count: count("How many."),
    byAge: list(
      { type: "integer", minimum: 0 },
      `How many by age; the ages end at ${DEATH_AGES_MS.slice(0, -1).join(", ")} and ` +
        `${DEATH_AGES_MS.at(-1)} ms, and the last entry counts what was older.`,
    ),
  }),
  GeneratorFigures: object("How the probe itself did, over all its processes.", {
    processes: count("Generator processes."),
    loopUtilisation: share("How busy the event loop of the busiest process was; 0.8 is allowed."),
    latenessP99Ms: number("99th percentile of how late it was, where that was worst."),
    latenessLimitMs: number("What is allowed of it: a tenth of the objective that it could spoil."),
    startedShare: share("Started of what was scheduled; 0.99 is asked for."),
    cpuCores: number("Cores in use."),
    rssBytes: count("Resident memory, in bytes."),
    bytesPerConnection: orNull(
      number("Growth of resident memory per connection; null below 5,000 connections."),
    ),
    fds: orNull(count("Files open; null: not known.")),
  }),
  ServerFigures: object("The server's own figures, summed over the processes that are watched.", {
    processes: count("Processes that answered."),
    rssBytes: orNull(count("Resident memory, in bytes.")),
    cpuCores: orNull(number("Cores in use since the sample before.")),
    fds: orNull(count("Files open.")),
    fdLimit: orNull(count("Files that may be open.")),
    connections: orNull(count("Connections, as the server counts them.")),
    loopLagP99Ms: orNull(number("99th percentile of the event loop's lag, in the worst process.")),
    bytesPerConnection: orNull(
      number("Growth of resident memory since before the first connection, per connection held."),
    ),
  }),
  SeriesPoint: object("One second of the run.", {
    atMs: number("End of the second."),
    stage: { type: "integer", description: "Index of its stage; -1 between stages." },
    intended: count("Connections that there should be."),
    held: count("Connections that there are."),
    connectsPerSecond: number("Connections opened."),
    operationsScheduledPerSecond: number("Echoes and publishes that were due."),
    operationsPerSecond: number("Echoes and publishes that succeeded."),
    failures: count("Attempts and operations that failed."),
    deaths: count("Connections that ended although the probe did not end them."),
    responseP50Ms: orNull(number("Median of `response` in this second; null: no samples.")),
    responseP99Ms: orNull(number("99th percentile of `response`.")),
    serviceP50Ms: orNull(number("Median of `service`.")),
    connectP99Ms: orNull(number("99th percentile of `connect`.")),
    latenessP99Ms: orNull(number("99th percentile of `lateness`.")),
    generatorLoopUtilisation: share("How busy the busiest generator process was."),
    generatorRssBytes: count("Resident memory of all generator processes, in bytes."),
    server: orNull(reference("ServerFigures", "The server in this second; null: not known.")),
  }),
  ServerSummary: object("The server over the whole run.", {
    sources: list({ type: "string" }, "What was asked: URLs and process ids."),
    baselineRssBytes: orNull(count("Resident memory before the first connection, in bytes.")),
    bytesPerConnection: orNull(
      reference("MemoryLine", "Resident memory of the stages that held; null below three of them."),
    ),
  }),
  MemoryLine: object("A line through connections held and memory, by least squares.", {
    slope: { type: "number", description: "Bytes per connection." },
    r2: share("How well the line fits: 1 is exact."),
  }),
  MemoryFigures: object("Memory of this machine, by who holds it.", {
    kernel: object("What belongs neither to a process nor to a file.", {
      bytes: count("All of it."),
      slabBytes: orNull(count("Of these: the kernel's own objects, as sockets and files.")),
      tcpBufferBytes: orNull(count("Of these: what TCP has and nobody has taken yet.")),
      tcpSockets: orNull(count("TCP sockets of this machine; a connection within it has two.")),
    }),
    server: orNull(reference("ProcessMemory", "The server's processes; null: not watched.")),
    probe: reference("ProcessMemory", "The probe's controller and generators."),
  }),
  ProcessMemory: object("Memory of several processes.", {
    processes: count("How many there are."),
    rssBytes: count("Resident, with what they share counted in each."),
    pssBytes: count("Resident, with what they share divided among them."),
  }),
  MemorySummary: object("Memory over the whole run, by who holds it.", {
    before: reference("MemoryFigures", "Before the first connection."),
    kernel: orNull(
      reference("MemoryLine", "Over the stages that held; null: below three of them."),
    ),
    server: orNull(reference("MemoryLine", "The same of the server, by PSS.")),
    probe: orNull(reference("MemoryLine", "The same of the probe; new processes are part of it.")),
  }),
};

const REPORT_OBJECT: JsonSchema = object("What a run of `holdfast-probe` found out.", {
  schema: {
    type: "string",
    const: REPORT_SCHEMA,
    description: "Name and version of this document.",
  },
  command: oneOf(["capacity", "load", "scenario"], "What was run."),
  sentence: text("The result in one sentence, for people."),
  outcome: oneOf(OUTCOMES, "How the run ended."),
  exitCode: count("What the command exits with; it follows from `outcome`."),
  limit: orNull(reference("Limit", "What limited the run; null where nothing did.")),
  capacity: orNull(reference("CapacityResult", "Only with `capacity`.")),
  load: orNull(reference("LoadResult", "Only with `load` and with scenarios.")),
  environment: reference("Environment", "With what and on what it was made."),
  stages: list(reference("StageReport", "One stage."), "Stages, in order."),
  series: list(reference("SeriesPoint", "One second."), "The run second by second."),
  failures: list(reference("FailureCount", "One code."), "Failures of the run, most first."),
  deaths: list(reference("DeathCount", "One code."), "Deaths of the run, most first."),
  server: orNull(
    reference("ServerSummary", "The server over the run; null where it was not watched."),
  ),
  memory: orNull(
    reference("MemorySummary", "Who held memory; null: the server is elsewhere, or not known."),
  ),
});

/** The whole document. Unknown fields are allowed: they come without a new version. */
export const REPORT_JSON_SCHEMA: JsonSchema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  title: "A report of holdfast-probe",
  ...REPORT_OBJECT,
  $defs: REPORT_DEFINITIONS,
};

/** For documents that hold whole reports: what a report is, and what it is made of. */
export const REPORT_PARTS: Readonly<Record<string, JsonSchema>> = {
  Report: REPORT_OBJECT,
  ...REPORT_DEFINITIONS,
};
