// Writes the reference pages that are made from tables in the code, so that they cannot drift.
// Reads dist/: run scripts/build.mjs first. With --check it writes nothing and exits 1 on drift.
// A new page is one entry in `pages`: the file, and a function that returns its text. In pages that
// people write, the tables of figures are made of bench/results/reference/.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { withTables } from "../bench/readme-tables.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));

const pages = [
  { file: "docs/options.md", render: optionsPage },
  { file: "docs/options.schema.json", render: optionsSchema },
  { file: "docs/metrics.md", render: metricsPage },
  { file: "docs/errors.md", render: errorsPage },
  { file: "docs/close-codes.md", render: closeCodesPage },
  { file: "docs/states.md", render: statesPage },
  { file: "docs/probe-codes.md", render: probeCodesPage },
  { file: "docs/probe-report.md", render: probeReportPage },
  { file: "docs/probe-report.schema.json", render: probeReportSchema },
  { file: "docs/probe-scenarios.md", render: probeScenariosPage },
  { file: "docs/probe-scenarios-report.md", render: probeScenariosReportPage },
  { file: "docs/probe-scenarios-report.schema.json", render: probeScenariosReportSchema },
  { file: "README.md", render: () => withFigures("README.md") },
  { file: "docs/performance.md", render: () => withFigures("docs/performance.md") },
];

const notice = (source) =>
  `<!-- Generated from ${source} by scripts/generate-docs.mjs. Do not edit. -->\n`;

async function built(module) {
  try {
    return await import(new URL(`../dist/${module}`, import.meta.url));
  } catch (error) {
    if (error.code !== "ERR_MODULE_NOT_FOUND") throw error;
    console.error(`generate-docs: ${error.message}\nRun first: node scripts/build.mjs`);
    process.exit(1);
  }
}

/** Words in lines of at most 100 columns, continued under `indent`. */
function wrap(text, indent = "") {
  const lines = [""];
  for (const word of text.split(" ")) {
    const line = lines.at(-1);
    const joined = line.trim() === "" ? line + word : `${line} ${word}`;
    if (joined.length <= 100) lines[lines.length - 1] = joined;
    else lines.push(indent + word);
  }
  return lines.join("\n");
}

function optionsIntroduction(fileVariable) {
  return [
    notice("src/config/option-table.ts"),
    "# Options",
    "",
    wrap(
      "Every option of `holdfast serve` and of `createServer()`. Times are in milliseconds and " +
        "sizes in bytes; numbers are written plainly (`65536`, not `64k`).",
    ),
    "",
    wrap(
      `An option can be given in a YAML file (\`--config FILE\`, or the file that ` +
        `\`${fileVariable}\` names), as an environment variable, and as a flag. Later ones ` +
        "win: default, file, environment, flag. In a file, options stand inside their area:",
    ),
    "",
    "```yaml",
    "# yaml-language-server: $schema=./options.schema.json",
    "tcp:",
    "  port: 7400",
    "connection:",
    "  heartbeatMs: 25000",
    "```",
    "",
    wrap(
      "In variables and flags, `null` stands for null and a list is separated by commas. Code " +
        "gives the same tree as an object: `createServer({ tcp: { port: 7400 } })`; it reads " +
        "no file, environment variable or flag.",
    ),
    "",
    wrap(
      "`holdfast serve` watches its file. Most new values count at once, for the connections " +
        "that are there as well; deadlines that have begun may still run as long as they were. " +
        "The others wait for what their line says. A file with a fault changes nothing.",
    ),
    "",
    wrap(
      "Unknown options and values out of range are refused before anything listens, all at once, " +
        "each with where it came from and what is allowed. `holdfast config check` only checks, " +
        "and `holdfast config print --origins` shows every value and where it came from.",
    ),
    "",
    wrap(
      "Variables that Kubernetes sets for a Service called `holdfast` (`HOLDFAST_SERVICE_HOST`, " +
        "`HOLDFAST_PORT_7400_TCP` and the like) are ignored.",
    ),
    "",
  ];
}

async function optionsPage() {
  const { allowed, nullText, RELOAD_MEANS } = await built("config/option-row.js");
  const { OPTION_AREAS, OPTION_PATHS, OPTION_TABLE } = await built("config/option-table.js");
  const { OPTION_RELATIONS } = await built("config/option-relations.js");
  const { CONFIG_FILE_VARIABLE, environmentName, flagName } = await built("config/option-names.js");

  const option = (path) => {
    const row = OPTION_TABLE[path];
    const means = row.nullable ? `: ${row.nullMeans}` : "";
    const value = row.default === null ? nullText(row) : JSON.stringify(row.default);
    return [
      `### ${path}`,
      "",
      wrap(row.doc),
      "",
      `- Default: \`${value}\`${means}`,
      `- Allowed: ${allowed(row)}`,
      `- Environment: \`${environmentName(path)}\``,
      `- Flag: \`${flagName(path)}\``,
      `- A new value counts ${RELOAD_MEANS[row.reload]}`,
      "",
    ];
  };
  const area = ([name, title]) => [
    `## ${name}`,
    "",
    `${title}.`,
    "",
    ...OPTION_PATHS.filter((path) => path.startsWith(`${name}.`)).flatMap(option),
  ];
  return [
    ...optionsIntroduction(CONFIG_FILE_VARIABLE),
    "## Between options",
    "",
    ...OPTION_RELATIONS.map(({ doc }) => wrap(`- ${doc}`, "  ")),
    "",
    ...Object.entries(OPTION_AREAS).flatMap(area),
  ]
    .join("\n")
    .replace(/\n+$/, "\n");
}

async function optionsSchema() {
  const { optionsJsonSchema } = await built("config/option-schema.js");
  return `${JSON.stringify(optionsJsonSchema(), null, 2)}\n`;
}

/** A Markdown table; cells are written as they are. */
function table(head, rows) {
  const line = (cells) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)];
}

const code = (text) => `\`${text}\``;

async function metricsPage() {
  const { METRICS } = await built("server/metric-table.js");
  const { SUPERVISOR_METRICS } = await built("supervisor/supervisor-metrics.js");
  const supervisors = SUPERVISOR_METRICS.filter(({ name }) => {
    return !METRICS.some((metric) => metric.name === name);
  });
  const labelsOf = ({ labels }) => Object.keys(labels).map(code).join(", ");
  const row = (metric) => [code(metric.name), metric.type, labelsOf(metric), metric.help];
  const values = ({ name, labels }) =>
    Object.entries(labels).map(([label, list]) => {
      const all = list === null ? "one value for the life of the process" : list.map(code);
      return wrap(
        `- ${code(name)} ${code(label)}: ${Array.isArray(all) ? all.join(", ") : all}`,
        "  ",
      );
    });
  return [
    notice("src/server/metric-table.ts"),
    "# Metrics",
    "",
    wrap(
      "What `GET /metrics` on the admin listener answers, in Prometheus's text format. Counters " +
        "end in `_total` and count from the start of the process; times are in seconds, sizes in " +
        "bytes. A histogram has `_bucket`, `_sum` and `_count`. Scraping reads counters that are " +
        "kept anyway: it costs a few milliseconds and holds up nobody.",
    ),
    "",
    wrap(
      "Labels take their values from closed lists, so no client can make series. The names that " +
        "begin with `process_` and `nodejs_` are those that every Node.js process exports.",
    ),
    "",
    ...table(["metric", "type", "labels", "meaning"], METRICS.map(row)),
    "",
    "## With workers",
    "",
    wrap(
      "The supervisor answers with the sums over all workers and itself; of a gauge whose sum " +
        "says nothing, the largest or (`process_max_fds`, `process_start_time_seconds`) the " +
        "least. No " +
        "counter falls when a worker ends. `GET /metrics?worker=N` is one worker's own. Beside " +
        "those above there are:",
    ),
    "",
    ...table(["metric", "type", "labels", "meaning"], supervisors.map(row)),
    "",
    "## Values of labels",
    "",
    ...[...METRICS, ...supervisors].flatMap(values),
    "",
    "## Bounds of histograms",
    "",
    ...METRICS.filter(({ type }) => type === "histogram").map(({ name, bounds, scale }) => {
      const seconds = bounds.map((bound) => Number((bound * scale).toPrecision(12)));
      return wrap(`- ${code(name)}: ${seconds.join(", ")}`, "  ");
    }),
    "",
  ].join("\n");
}

async function errorsPage() {
  const { ERRORS } = await built("base/errors.js");
  return [
    notice("src/base/errors.ts"),
    "# Errors",
    "",
    wrap(
      "Errors that reach a caller of the library have a `code` from this table. Match the code: " +
        "messages are for people and may change. A code is never reused for another meaning.",
    ),
    "",
    wrap(
      "What a peer does wrong is no error but closes its connection, with a reason from " +
        "[close-codes.md](close-codes.md). A broken invariant is a defect of Holdfast: the " +
        "process ends with `HOLDFAST_ASSERTION`.",
    ),
    "",
    ...table(
      ["code", "meaning"],
      Object.entries(ERRORS).map(([name, doc]) => [code(name), doc]),
    ),
    "",
  ].join("\n");
}

async function probeCodesPage() {
  const { LIMITS, OTHER_EXIT_CODES, OUTCOME_TABLE } = await built("probe/report.js");
  const { FAILURES } = await built("probe/failure.js");
  const exits = [...Object.entries(OUTCOME_TABLE), ...Object.entries(OTHER_EXIT_CODES)]
    .toSorted(([, a], [, b]) => a.exitCode - b.exitCode)
    .map(([name, { exitCode, meaning }]) => [String(exitCode), code(name), meaning]);
  return [
    notice("src/probe/report.ts and src/probe/failure.ts"),
    "# Codes of holdfast-probe",
    "",
    "## Exit codes",
    "",
    ...table(["code", "outcome", "meaning"], exits),
    "",
    "## Limits",
    "",
    ...table(
      ["limit", "what it is"],
      Object.entries(LIMITS).map(([name, meaning]) => [code(name), meaning]),
    ),
    "",
    "## Failures",
    "",
    wrap(
      "What can go wrong with a connection or an operation: a phase and a cause, and a number " +
        "where one belongs to it, as in `upgrade.status.403`. `closed` is the end of a held " +
        "connection. The party is whose doing it is, as far as it can be told from the client.",
    ),
    "",
    ...table(
      ["failure", "party", "meaning"],
      Object.entries(FAILURES).map(([name, { party, meaning, detail }]) => [
        code(detail === undefined ? name : `${name}.<${detail}>`),
        party,
        meaning,
      ]),
    ),
    "",
  ].join("\n");
}

async function probeReportPage() {
  const { reportReference } = await built("probe/report-reference.js");
  return notice("src/probe/report-schema.ts") + reportReference();
}

async function probeReportSchema() {
  const { REPORT_JSON_SCHEMA } = await built("probe/report-schema.js");
  return `${JSON.stringify(REPORT_JSON_SCHEMA, null, 2)}\n`;
}

async function probeScenariosPage() {
  const { scenarioReference } = await built("probe/scenario-reference.js");
  return notice("src/probe/scenarios.ts") + scenarioReference();
}

async function probeScenariosReportPage() {
  const { scenariosReference } = await built("probe/report-reference.js");
  return notice("src/probe/scenario-schema.ts") + scenariosReference();
}

async function probeScenariosReportSchema() {
  const { SCENARIOS_JSON_SCHEMA } = await built("probe/scenario-schema.js");
  return `${JSON.stringify(SCENARIOS_JSON_SCHEMA, null, 2)}\n`;
}

/** The results of the reference run, by the names of their files. */
function referenceRun() {
  const folder = join(root, "bench", "results", "reference");
  const files = existsSync(folder) ? readdirSync(folder) : [];
  const names = files.filter((file) => file.endsWith(".json")).map((file) => file.slice(0, -5));
  const read = (name) => JSON.parse(readFileSync(join(folder, `${name}.json`), "utf8"));
  return Object.fromEntries(names.map((name) => [name, read(name)]));
}

/** A page as it is, with its tables as the reference run has them; null: there is no such page. */
function withFigures(file) {
  const text = current(file);
  return text === null ? null : withTables(text, referenceRun());
}

async function closeCodesPage() {
  const { CLOSE_CAUSES, CLOSE_REASONS, invitesReconnect } = await built(
    "connection/close-reason.js",
  );
  const reason = ([name, { code: number, doc }]) => {
    const returns = invitesReconnect(name) || name === "connection_lost";
    const after = number >= 4000 ? "as the application says" : returns ? "yes" : "no";
    return [String(number), code(name), doc, after];
  };
  return [
    notice("src/connection/close-reason.ts"),
    "# Why connections end",
    "",
    "## Reasons",
    "",
    wrap(
      "A reason is what the client is told: the code in `GoAway` and in the WebSocket close " +
        "frame, the label `reason` of `holdfast_connections_closed_total`, and the field " +
        "`reason` in the log. 3000 to 3499 invite the client to reconnect, with exponential " +
        "backoff and full jitter; 3500 to 3999 tell it to change something first.",
    ),
    "",
    ...table(["code", "reason", "meaning", "reconnect"], Object.entries(CLOSE_REASONS).map(reason)),
    "",
    "## Causes",
    "",
    wrap(
      "A cause says what exactly happened. It is the label `cause` of " +
        "`holdfast_connections_closed_cause_total`, a field in the log and in `/closed`; clients " +
        "are not told.",
    ),
    "",
    ...table(
      ["cause", "what happened"],
      Object.entries(CLOSE_CAUSES).map(([name, doc]) => [code(name), doc]),
    ),
    "",
  ].join("\n");
}

// The option that bounds the time in each state; ACTIVE ends in IDLE and not in a close.
const stateDeadlines = {
  ACCEPTED: "connection.acceptTimeoutMs",
  HANDSHAKING: "connection.handshakeTimeoutMs",
  ACTIVE: "connection.heartbeatMs",
  IDLE: "connection.idleTimeoutMs",
  CLOSING: "connection.closeTimeoutMs",
};

async function statesPage() {
  const { ILLEGAL, STATE, STATE_EVENTS, TRANSITIONS } = await built("connection/state.js");
  const { OPTION_TABLE } = await built("config/option-table.js");
  const source = readFileSync(join(root, "src/connection/state.ts"), "utf8");
  const docOf = (name, value) => {
    const found = new RegExp(`/\\*\\* ([^*]+) \\*/\\s+${name}: ${value},`).exec(source);
    if (found === null) throw new Error(`src/connection/state.ts says nothing about ${name}`);
    return found[1];
  };
  const names = Object.keys(STATE);
  const deadline = (name) => {
    const path = stateDeadlines[name];
    if (path === undefined) return "";
    const { default: value, unit } = OPTION_TABLE[path];
    return `[${path}](options.md#${path.toLowerCase().replaceAll(".", "")}): ${value} ${unit}`;
  };
  const events = Object.keys(STATE_EVENTS);
  const moves = names.map((name) => [
    name,
    ...TRANSITIONS[STATE[name]].map((next) => (next === ILLEGAL ? "" : names[next])),
  ]);
  return [
    notice("src/connection/state.ts"),
    "# States of a connection",
    "",
    "## States",
    "",
    ...table(
      ["state", "meaning", "deadline"],
      names.map((name) => [name, docOf(name, STATE[name]), deadline(name)]),
    ),
    "",
    "## Events",
    "",
    ...table(
      ["event", "meaning"],
      events.map((name) => [name, docOf(name, STATE_EVENTS[name])]),
    ),
    "",
    "## Moves",
    "",
    wrap(
      "Rows are states, columns are events, cells the state that follows. An empty cell is an " +
        "illegal move: a defect, which is logged, counted in " +
        "`holdfast_illegal_transitions_total` and ends the process.",
    ),
    "",
    ...table(["", ...events], moves),
    "",
  ].join("\n");
}

function current(file) {
  try {
    return readFileSync(join(root, file), "utf8");
  } catch {
    return null;
  }
}

const checking = process.argv.includes("--check");
const drifted = [];
for (const { file, render } of pages) {
  const text = await render();
  if (current(file) === text) continue;
  drifted.push(file);
  if (checking) continue;
  mkdirSync(dirname(join(root, file)), { recursive: true });
  writeFileSync(join(root, file), text);
}
for (const file of drifted) console.log(`${checking ? "out of date" : "wrote"}: ${file}`);
if (checking && drifted.length > 0) {
  console.error("What they are made of has changed. Run: node scripts/generate-docs.mjs");
  process.exitCode = 1;
}
