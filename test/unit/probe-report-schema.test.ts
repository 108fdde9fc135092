import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { reportReference } from "../../src/probe/report-reference.ts";
import { REPORT_JSON_SCHEMA } from "../../src/probe/report-schema.ts";
import { allProperties, SchemaWalk } from "../support/json-schema-walk.ts";
import { capacityReport, loadReport } from "../support/probe-report.ts";
import { scenarioNamed } from "../support/probe-scenarios.ts";

const REPORTS = [capacityReport(), loadReport(), scenarioNamed("slow-consumers").report!];

function walked(document: unknown): SchemaWalk {
  return new SchemaWalk(REPORT_JSON_SCHEMA).walked(document, "report");
}

const ALL_PROPERTIES = allProperties(REPORT_JSON_SCHEMA, "report");

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
