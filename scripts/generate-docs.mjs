// Writes the reference pages that are made from tables in the code, so that they cannot drift.
// Reads dist/: run scripts/build.mjs first. With --check it writes nothing and exits 1 on drift.
// A new page is one entry in `pages`: the file, and a function that returns its text.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));

const pages = [
  { file: "docs/options.md", render: optionsPage },
  { file: "docs/options.schema.json", render: optionsSchema },
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
        "gives the same tree as an object: `createServer({ tcp: { port: 7400 } })`.",
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
  const { allowed } = await built("config/option-row.js");
  const { OPTION_AREAS, OPTION_PATHS, OPTION_TABLE } = await built("config/option-table.js");
  const { OPTION_RELATIONS } = await built("config/option-relations.js");
  const { CONFIG_FILE_VARIABLE, environmentName, flagName } = await built("config/option-names.js");

  const option = (path) => {
    const row = OPTION_TABLE[path];
    const means = row.nullable ? `: ${row.nullMeans}` : "";
    return [
      `### ${path}`,
      "",
      wrap(row.doc),
      "",
      `- Default: \`${JSON.stringify(row.default)}\`${means}`,
      `- Allowed: ${allowed(row)}`,
      `- Environment: \`${environmentName(path)}\``,
      `- Flag: \`${flagName(path)}\``,
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
  console.error("The tables in the code have changed. Run: node scripts/generate-docs.mjs");
  process.exitCode = 1;
}
