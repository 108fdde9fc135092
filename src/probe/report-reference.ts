// docs/probe-report.md, made from the report's schema.

import { REPORT_SCHEMA } from "./report.ts";
import { type JsonSchema, REPORT_JSON_SCHEMA } from "./report-schema.ts";

const INTRODUCTION = `# The probe's report

\`holdfast-probe capacity --json\` and \`holdfast-probe load --json\` print one JSON document. The
text on a terminal, \`--html\` and \`--csv\` are made from the same document, and
\`load --baseline FILE\` reads it.

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

/** The page as Markdown, with a line break at its end. */
export function reportReference(): string {
  const definitions = Object.entries(REPORT_JSON_SCHEMA.$defs ?? {});
  const sections = [
    INTRODUCTION,
    section("Report", REPORT_JSON_SCHEMA),
    ...definitions.map(([name, schema]) => section(name, schema)),
  ];
  return sections.join("\n");
}

function section(name: string, schema: JsonSchema): string {
  const rows = fields(schema, "").map(
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
function fields(schema: JsonSchema, prefix: string): Field[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, property]) => {
    const path = `${prefix}${name}`;
    const values = property.enum === undefined ? "" : ` One of ${listed(property.enum)}.`;
    const meaning = `${property.description ?? ""}${values}`;
    const field = { name: path, type: typeText(property), meaning };
    const inner = property.type === "array" ? property.items : property;
    const mark = property.type === "array" ? "[]." : ".";
    return [field, ...fields(inner ?? {}, path + mark)];
  });
}

function typeText(schema: JsonSchema): string {
  if (schema.$ref !== undefined) {
    const name = schema.$ref.slice(schema.$ref.lastIndexOf("/") + 1);
    return `[${name}](#${name.toLowerCase()})`;
  }
  if (schema.anyOf !== undefined) return schema.anyOf.map(typeText).join(" or ");
  if (schema.const !== undefined) return `\`"${schema.const}"\``;
  if (schema.type === "array") return `list of ${typeText(schema.items ?? {})}`;
  return typeof schema.type === "string" ? schema.type : (schema.type ?? []).join(" or ");
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|");
}

function listed(values: readonly string[]): string {
  return values.map((value) => `\`${value}\``).join(", ");
}
