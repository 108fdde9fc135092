// The JSON Schema and the reference page against the table they are generated from.
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { environmentName, flagName } from "../../src/config/option-names.ts";
import { allowed, nullText, type OptionRow, RELOAD_MEANS } from "../../src/config/option-row.ts";
import { optionsJsonSchema } from "../../src/config/option-schema.ts";
import { OPTION_PATHS, OPTION_TABLE } from "../../src/config/option-table.ts";
import type { OptionPath } from "../../src/config/options.ts";

interface Schema {
  readonly properties: Readonly<Record<string, Schema>>;
  readonly additionalProperties: boolean;
  readonly default: unknown;
  readonly description: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly enum?: readonly string[];
  readonly anyOf?: readonly Schema[];
}

const repository = new URL("../../", import.meta.url);
const schema = optionsJsonSchema() as unknown as Schema;
const table: Readonly<Record<OptionPath, OptionRow>> = OPTION_TABLE;

describe("the JSON Schema", () => {
  it("is what docs/options.schema.json holds", () => {
    const text = readFileSync(new URL("docs/options.schema.json", repository), "utf8");
    expect(JSON.parse(text)).toEqual(schema);
  });

  it("allows no other keys, at the top and in each area", () => {
    expect(schema.additionalProperties).toBe(false);
    for (const area of Object.values(schema.properties)) {
      expect(area.additionalProperties).toBe(false);
    }
  });

  it("has exactly the options of the table", () => {
    const paths = Object.entries(schema.properties).flatMap(([area, { properties }]) =>
      Object.keys(properties).map((name) => `${area}.${name}`),
    );
    expect(paths).toEqual(OPTION_PATHS);
  });

  it.each(OPTION_PATHS)("tells the default, bounds and meaning of %s", (path) => {
    const [area = "", name = ""] = path.split(".");
    const row = table[path];
    const property = schema.properties[area]?.properties[name];
    const bounds = property?.anyOf?.[0] ?? property;
    expect(property?.default).toEqual(row.default);
    expect(property?.description).toContain(row.doc);
    expect(property?.description).toContain(RELOAD_MEANS[row.reload]);
    const isNumeric = row.type === "integer" || row.type === "number";
    const [min, max] = isNumeric ? [row.min, row.max] : [undefined, undefined];
    expect([bounds?.minimum, bounds?.maximum]).toEqual([min, max]);
    expect(bounds?.enum).toEqual(row.type === "choice" ? row.choices : undefined);
  });
});

describe("the word for null", () => {
  it("is offered by the schema beside null", () => {
    const count = schema.properties["workers"]?.properties["count"];
    expect(count?.anyOf).toMatchObject([
      { type: "integer" },
      { type: "null" },
      { const: "auto", type: "string" },
    ]);
  });
});

describe("docs/options.md", () => {
  const page = readFileSync(new URL("docs/options.md", repository), "utf8");

  it("has one section per option, and no others", () => {
    const titles = [...page.matchAll(/^### (.*)$/gm)].map((match) => match[1]);
    expect(titles).toEqual(OPTION_PATHS);
  });

  it.each(OPTION_PATHS)("tells default, range, variable and flag of %s", (path) => {
    const row = table[path];
    const section = page.split(`\n### ${path}\n`)[1]?.split("\n#")[0] ?? "";
    expect(section.replace(/\s+/g, " ")).toContain(row.doc);
    const value = row.default === null ? nullText(row) : JSON.stringify(row.default);
    expect(section).toContain(`- Default: \`${value}\``);
    expect(section).toContain(`- A new value counts ${RELOAD_MEANS[row.reload]}`);
    expect(section).toContain(`- Allowed: ${allowed(row)}`);
    expect(section).toContain(`- Environment: \`${environmentName(path)}\`\n`);
    expect(section).toContain(`- Flag: \`${flagName(path)}\`\n`);
  });
});
