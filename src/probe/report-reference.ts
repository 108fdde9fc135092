// docs/probe-report.md and docs/probe-scenarios-report.md, made from the schemas of the documents.

import type { JsonSchema } from "./json-schema.ts";
import { REPORT_SCHEMA } from "./report.ts";
import { REPORT_JSON_SCHEMA, REPORT_PARTS } from "./report-schema.ts";
import { SCENARIOS_SCHEMA } from "./scenario-report.ts";
import { SCENARIOS_JSON_SCHEMA } from "./scenario-schema.ts";

const INTRODUCTION = `# The probe's report

\`holdfast-probe capacity --json\` and \`holdfast-probe load --json\` print one JSON document. The
text on a terminal, \`--html\` and \`--csv\` are made from the same document, and
\`load --baseline FILE\` reads it. \`holdfast-probe scenario\` prints another document, which has
one of these for each scenario: [probe-scenarios-report.md](probe-scenarios-report.md).

## Versions

\`schema\` is \`${REPORT_SCHEMA}\`. The number rises when a field changes its meaning, its
unit or its type, or goes away. New fields, codes and kinds of limits come without a new number:
skip what you do not know. Match \`outcome\`, \`verdict\`, \`kind\` and the codes; \`sentence\`,
\`text\`, \`reasons\`, \`evidence\` and \`advice\` are for people and may change.
[probe-codes.md](probe-codes.md) has the meaning of every code.

## Units

Times are milliseconds unless a name says otherwise. \`atMs\`, \`fromMs\`, \`toMs\` and
\`worstAtMs\` count from the start of the run, on a clock that never jumps. Shares are 0 to 1. A
figure that is not known is \`null\`, never 0.
`;

const SCENARIOS_INTRODUCTION = `# The probe's report of scenarios

\`holdfast-probe scenario --json\` prints one JSON document: a verdict for every scenario, and
below it the [report](probe-report.md#report) of its run, whose stages are the scenario's phases.
The table on a terminal, \`--markdown\` and \`--html\` are made from the same document.
[probe-scenarios.md](probe-scenarios.md) has what every scenario does and asks for.

\`schema\` is \`${SCENARIOS_SCHEMA}\`; its number rises as that of a report does. What is said
[there](probe-report.md#versions) of codes, of texts and of units holds here as well: match
\`outcome\` and \`verdict\`; \`sentence\`, \`plan\` and \`reason\` are for people and may
change.
`;

/** Both pages are Markdown, with a line break at their end. */
export function reportReference(): string {
  const definitions = Object.entries(REPORT_JSON_SCHEMA.$defs ?? {});
  const sections = [
    INTRODUCTION,
    section("Report", REPORT_JSON_SCHEMA, ""),
    ...definitions.map(([name, schema]) => section(name, schema, "")),
  ];
  return sections.join("\n");
}

/** What reports are made of has its sections on their page. */
export function scenariosReference(): string {
  const own = Object.entries(SCENARIOS_JSON_SCHEMA.$defs ?? {}).filter(
    ([name]) => REPORT_PARTS[name] === undefined,
  );
  const sections = [
    SCENARIOS_INTRODUCTION,
    section("Scenarios", SCENARIOS_JSON_SCHEMA, "probe-report.md"),
    ...own.map(([name, schema]) => section(name, schema, "probe-report.md")),
  ];
  return sections.join("\n");
}

/** @param reportPage where the sections of a report's parts are; "" where that is this page */
function section(name: string, schema: JsonSchema, reportPage: string): string {
  const rows = fields(schema, "", reportPage).map(
    ({ name: field, type, meaning }) => `| \`${field}\` | ${type} | ${cell(meaning)} |`,
  );
  const head = "| field | type | meaning |\n| --- | --- | --- |";
  return `## ${name}\n\n${schema.description ?? ""}\n\n${head}\n${rows.join("\n")}\n`;
}

interface Field {
  readonly name: string;
  readonly type: string;
  readonly meaning: string;
}

/** Properties, with those of objects inside that have no section of their own. */
function fields(schema: JsonSchema, prefix: string, reportPage: string): Field[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, property]) => {
    const path = `${prefix}${name}`;
    const values = property.enum === undefined ? "" : ` One of ${listed(property.enum)}.`;
    const meaning = `${property.description ?? ""}${values}`;
    const field = { name: path, type: typeText(property, reportPage), meaning };
    const inner = property.type === "array" ? property.items : property;
    const mark = property.type === "array" ? "[]." : ".";
    return [field, ...fields(inner ?? {}, path + mark, reportPage)];
  });
}

function typeText(schema: JsonSchema, reportPage: string): string {
  if (schema.$ref !== undefined) {
    const name = schema.$ref.slice(schema.$ref.lastIndexOf("/") + 1);
    const page = REPORT_PARTS[name] === undefined ? "" : reportPage;
    return `[${name}](${page}#${name.toLowerCase()})`;
  }
  if (schema.anyOf !== undefined)
    return schema.anyOf.map((one) => typeText(one, reportPage)).join(" or ");
  if (schema.const !== undefined) return `\`"${schema.const}"\``;
  if (schema.type === "array") return `list of ${typeText(schema.items ?? {}, reportPage)}`;
  return typeof schema.type === "string" ? schema.type : (schema.type ?? []).join(" or ");
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|");
}

function listed(values: readonly string[]): string {
  return values.map((value) => `\`${value}\``).join(", ");
}
