import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { reportReference } from "../../src/probe/report-reference.ts";
import { type JsonSchema, REPORT_JSON_SCHEMA } from "../../src/probe/report-schema.ts";
import { capacityReport, loadReport } from "../support/probe-report.ts";

const REPORTS = [capacityReport(), loadReport()];

/** Follows references; a value that may be null is described by the other alternative. */
function resolved(schema: JsonSchema): JsonSchema {
  if (schema.$ref !== undefined) {
    const name = schema.$ref.replace("#/$defs/", "");
    const found = REPORT_JSON_SCHEMA.$defs?.[name];
    if (found === undefined) throw new Error(`${schema.$ref} leads nowhere`);
    return found;
  }
  const other = schema.anyOf?.find(({ type }) => type !== "null");
  return other === undefined ? schema : resolved(other);
}

function isNullable(schema: JsonSchema): boolean {
  if (Array.isArray(schema.type)) return schema.type.includes("null");
  return schema.anyOf?.some(({ type }) => type === "null") ?? false;
}

function hasType(value: unknown, type: string): boolean {
  if (type === "integer") return Number.isInteger(value);
  if (type === "array") return Array.isArray(value);
  return typeof value === type;
}

/** Walks a document along its schema: says what does not fit, and which properties it has met. */
class Walk {
  readonly problems: string[] = [];
  readonly met: Set<JsonSchema> = new Set();

  visit(value: unknown, schema: JsonSchema, path: string): void {
    this.met.add(schema);
    if (value === null) {
      if (!isNullable(schema)) this.problems.push(`${path} is null`);
      return;
    }
    const inner = resolved(schema);
    this.met.add(inner);
    this.#scalar(value, inner, path);
    if (Array.isArray(value)) {
      for (const [index, item] of value.entries()) {
        this.visit(item, inner.items ?? {}, `${path}[${index}]`);
      }
    } else if (typeof value === "object") {
      this.#object(value as Record<string, unknown>, inner, path);
    }
  }

  #scalar(value: unknown, schema: JsonSchema, path: string): void {
    const types = [schema.type ?? []].flat().filter((type) => type !== "null");
    if (!types.some((type) => hasType(value, type))) {
      this.problems.push(`${path} is no ${types.join(" or ")}: ${String(value)}`);
    }
    const { minimum = -Infinity, maximum = Infinity } = schema;
    if (typeof value === "number" && !(value >= minimum && value <= maximum)) {
      this.problems.push(`${path} is out of range: ${value}`);
    }
    if (schema.enum !== undefined && !schema.enum.includes(value as string)) {
      this.problems.push(`${path} is none of ${schema.enum.join()}: ${String(value)}`);
    }
    if (schema.const !== undefined && schema.const !== value) this.problems.push(`${path} differs`);
  }

  #object(value: Record<string, unknown>, schema: JsonSchema, path: string): void {
    for (const name of schema.required ?? []) {
      if (!(name in value)) this.problems.push(`${path}.${name} is missing`);
    }
    for (const [name, property] of Object.entries(value)) {
      const known = schema.properties?.[name] ?? schema.additionalProperties;
      if (typeof known === "object") this.visit(property, known, `${path}.${name}`);
      else this.problems.push(`${path}.${name} is not in the schema`);
    }
  }
}

function walked(document: unknown): Walk {
  const walk = new Walk();
  walk.visit(document, REPORT_JSON_SCHEMA, "report");
  return walk;
}

/** Every property of the schema, by its path. */
function properties(schema: JsonSchema, path: string): [string, JsonSchema][] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, property]) => {
    const inner = property.anyOf?.[0] ?? property.items ?? property;
    return [[`${path}.${name}`, property] as [string, JsonSchema]].concat(
      inner.$ref === undefined ? properties(inner, `${path}.${name}`) : [],
    );
  });
}

const ALL_PROPERTIES = [
  ...properties(REPORT_JSON_SCHEMA, "report"),
  ...Object.entries(REPORT_JSON_SCHEMA.$defs ?? {}).flatMap(([name, schema]) =>
    properties(schema, name),
  ),
];

describe("the report's schema", () => {
  it("fits reports, and has every field of them", () => {
    for (const report of REPORTS) expect(walked(report).problems).toEqual([]);
  });

  it("fits them still after they were written and read", () => {
    for (const report of REPORTS) {
      expect(walked(JSON.parse(JSON.stringify(report))).problems).toEqual([]);
    }
  });

  it("has no field that no report has", () => {
    const met = new Set(REPORTS.flatMap((report) => [...walked(report).met]));
    const unmet = ALL_PROPERTIES.filter(([, schema]) => !met.has(schema)).map(([path]) => path);
    expect(unmet).toEqual([]);
  });

  it("describes every field, and says what it is", () => {
    for (const [path, schema] of ALL_PROPERTIES) {
      expect(schema.description, path).toMatch(/^.{5,}\.$/s);
      const kinds = [schema.type, schema.$ref, schema.anyOf].filter((kind) => kind !== undefined);
      expect(kinds, path).toHaveLength(1);
    }
  });

  it.each([
    ["a field that it does not know", { surprise: 1 }, "report.surprise is not in the schema"],
    ["another version", { schema: "holdfast-probe.report/2" }, "report.schema differs"],
    ["an unknown outcome", { outcome: "fine" }, "report.outcome is none of"],
    ["a null that is none", { stages: null }, "report.stages is null"],
    ["a number as text", { exitCode: "0" }, "report.exitCode is no integer"],
    ["a negative count", { exitCode: -1 }, "report.exitCode is out of range"],
  ])("would show %s", (_, change, problem) => {
    expect(walked({ ...capacityReport(), ...change }).problems[0]).toContain(problem);
  });

  it("would show a field that is missing", () => {
    const { limit: _, ...rest } = capacityReport();
    expect(walked(rest).problems).toEqual(["report.limit is missing"]);
  });

  it("allows fields that come later", () => {
    const objects = [REPORT_JSON_SCHEMA, ...Object.values(REPORT_JSON_SCHEMA.$defs ?? {})];
    for (const schema of objects) expect(schema.additionalProperties).toBe(true);
  });
});

describe("the reference page", () => {
  const page = reportReference();

  it("has a row for every field", () => {
    for (const [path] of ALL_PROPERTIES) {
      const name = path.slice(path.lastIndexOf(".") + 1);
      expect(page, path).toMatch(new RegExp(`^\\| \`([a-zA-Z0-9.\\[\\]]+\\.)?${name}\` \\| `, "m"));
    }
  });

  it("links only to sections that it has", () => {
    for (const [, name] of page.matchAll(/\]\(#([a-z]+)\)/g)) {
      expect(page).toMatch(new RegExp(`^## ${name}$`, "im"));
    }
  });

  it("has rows of three cells only", () => {
    for (const row of page.split("\n").filter((line) => line.startsWith("|"))) {
      expect(row.split(/(?<!\\)\|/), row).toHaveLength(5);
    }
  });

  it("is the page in docs/", () => {
    const file = new URL("../../docs/probe-report.md", import.meta.url);
    expect(readFileSync(file, "utf8")).toContain(page);
  });
});
