import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { REPORT_JSON_SCHEMA } from "../../src/probe/report-schema.ts";
import { scenariosReference } from "../../src/probe/report-reference.ts";
import { scenarioReference } from "../../src/probe/scenario-reference.ts";
import { SCENARIOS_JSON_SCHEMA } from "../../src/probe/scenario-schema.ts";
import { SCENARIOS } from "../../src/probe/scenarios.ts";
import { allProperties, SchemaWalk } from "../support/json-schema-walk.ts";
import { scenariosReport } from "../support/probe-scenarios.ts";

const REPORT = scenariosReport();

function walked(document: unknown): SchemaWalk {
  return new SchemaWalk(SCENARIOS_JSON_SCHEMA).walked(document, "scenarios");
}

/** Of the document itself: what reports are made of is tested with them. */
const OWN = allProperties(SCENARIOS_JSON_SCHEMA, "scenarios").filter(([path]) =>
  ["scenarios", "ScenarioResult", "ObjectiveResult"].includes(path.split(".")[0]!),
);

function page(name: string): string {
  return readFileSync(new URL(`../../docs/${name}`, import.meta.url), "utf8");
}

describe("the schema of scenarios", () => {
  it("fits a run of them, before and after it was written and read", () => {
    expect(walked(REPORT).problems).toEqual([]);
    expect(walked(JSON.parse(JSON.stringify(REPORT))).problems).toEqual([]);
  });

  it("has no field that no run has, and says what each is", () => {
    const { met } = walked(REPORT);
    expect(OWN.length).toBeGreaterThan(25);
    for (const [path, schema] of OWN) {
      expect(met.has(schema), path).toBe(true);
      expect(schema.description, path).toMatch(/^.{5,}\.$/s);
    }
  });

  it("has reports as they are by themselves", () => {
    const { $schema: _, $defs, title: __, ...report } = REPORT_JSON_SCHEMA;
    expect(SCENARIOS_JSON_SCHEMA.$defs).toMatchObject({ Report: report, ...$defs });
  });

  it.each([
    ["another version", { schema: "holdfast-probe.scenarios/2" }, "scenarios.schema differs"],
    ["an unknown outcome", { outcome: "fine" }, "scenarios.outcome is none of"],
    ["a scenario without all", { scenarios: [{}] }, "scenarios.scenarios[0].name is missing"],
    [
      "an unknown verdict",
      { scenarios: [{ ...REPORT.scenarios[0], verdict: "good" }] },
      "scenarios.scenarios[0].verdict is none of",
    ],
    [
      "a fault deep in a report",
      {
        scenarios: [
          { ...REPORT.scenarios[0], report: { ...REPORT.scenarios[0]!.report, stages: 1 } },
        ],
      },
      "scenarios.scenarios[0].report.stages is no array",
    ],
  ])("would show %s", (_, change, problem) => {
    expect(walked({ ...REPORT, ...change }).problems[0]).toContain(problem);
  });
});

describe("the reference of the document", () => {
  it("has a row for every field of its own, and leads to the report's page for the others", () => {
    const text = scenariosReference();
    for (const [path] of OWN) {
      expect(text, path).toContain(`| \`${path.slice(path.lastIndexOf(".") + 1)}\` | `);
    }
    expect(text).toContain("[Report](probe-report.md#report) or null");
    expect(text).not.toContain("## StageReport");
  });

  it("is the page in docs/", () => {
    expect(page("probe-scenarios-report.md")).toContain(scenariosReference());
    expect(JSON.parse(page("probe-scenarios-report.schema.json"))).toEqual(SCENARIOS_JSON_SCHEMA);
  });
});

describe("the page of the scenarios", () => {
  const text = scenarioReference();

  it("has each of the twelve with its question, phases and objectives", () => {
    expect(SCENARIOS).toHaveLength(12);
    for (const { name, title, question, phases } of SCENARIOS) {
      const section = text
        .slice(text.indexOf(`## ${name}\n`))
        .split("\n## ")[0]!
        .slice(0);
      expect(section).toContain(`**${title}.** ${question}`);
      const rows = section.split("\n").filter((line) => line.startsWith("| "));
      expect(rows.slice(2), name).toHaveLength(phases.length);
      for (const { objectives } of phases) {
        for (const objective of objectives) expect(section).toContain(`\`${objective}\``);
      }
    }
  });

  it("links to sections that it has, and keeps to three cells in a row", () => {
    const links = [...text.matchAll(/\]\(#([a-z-]+)\)/g)].map(([, name]) => name);
    expect(links).toEqual(SCENARIOS.map(({ name }) => name));
    for (const row of text.split("\n").filter((line) => line.startsWith("| "))) {
      expect([4, 5], row).toContain(row.split(/(?<!\\)\|/).length);
    }
  });

  it("is the page in docs/", () => {
    expect(page("probe-scenarios.md")).toContain(text);
  });
});
