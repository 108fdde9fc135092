import { describe, expect, it } from "vitest";
import type { ScenariosReport } from "../../src/probe/scenario-report.ts";
import { scenariosMarkdown } from "../../src/probe/scenario-markdown.ts";
import { scenarioNamed, scenariosReport } from "../support/probe-scenarios.ts";

const REPORT = scenariosReport();
const TEXT = scenariosMarkdown(REPORT);

/** What is below a heading that begins so. */
function section(text: string, heading: string): string {
  const start = text.indexOf(`\n## ${heading}`);
  if (start === -1) throw new Error(`there is no section ${heading}`);
  return text.slice(start + 1).split("\n## ")[0]!;
}

/** Every table has as many cells in each row as in its head. */
function expectTables(text: string): void {
  let cells = 0;
  let rows = 0;
  for (const line of text.split("\n")) {
    if (!line.startsWith("|")) cells = 0;
    else {
      const count = line.split(/(?<!\\)\|/).length;
      if (cells === 0) cells = count;
      expect(count, line).toBe(cells);
      rows++;
    }
  }
  expect(rows).toBeGreaterThan(0);
}

describe("scenarios as Markdown", () => {
  it("begin with the result, and with what it was made", () => {
    const [title, about] = TEXT.split("\n\n");
    expect(title).toBe(`# ${REPORT.sentence}`);
    expect(about).toContain("holdfast serve, started by the probe; 2026-11-21T12:00:00.000Z");
    expect(about).toContain("Linux 6.18.5, 2 cores, 32 GiB; Node.js 20.20.2");
    expect(about).toContain("outcome failed, exit code 99");
  });

  it("have a summary with a row for each", () => {
    const summary = TEXT.split("\n\n")[2]!.split("\n");
    expect(summary).toHaveLength(2 + 12);
    expect(summary.find((row) => row.startsWith("| echo-steady "))).toBe(
      "| echo-steady | pass | 1,000 of 1,000 | 4,997 of 5,000 | 26.1 ms response | 1.95 ms | 0 | " +
        "0.22 cores, 97.8 MiB | response:p(99)<100ms: 26.1 ms (hold) |",
    );
    expect(summary.find((row) => row.startsWith("| rolling-restart "))).toBe(
      "| rolling-restart | skipped | - | - | - | - | - | - | - |",
    );
  });

  it("have a section for each, with question, plan, phases and objectives", () => {
    for (const { title, question, plan, report, objectives } of REPORT.scenarios) {
      const text = section(TEXT, title);
      expect(text).toContain(question);
      expect(text).toContain(`Plan: ${plan}`);
      const rows = text.split("\n").filter((line) => /^\| (?!---|phase \|)/.test(line));
      expect(rows, title).toHaveLength((report?.stages.length ?? 0) + objectives.length);
    }
    expectTables(TEXT);
  });

  it("show phases and objectives that were missed, and why", () => {
    const text = section(TEXT, "Slow consumers");
    expect(text).toContain("**FAIL**: an objective was missed in 5% stop reading");
    expect(text).toContain("| 588 | MISSED; loss:count==0: 588 |");
    expect(text).toContain("| 5% stop reading | delivery:p(99)<250ms | 461 ms | 250 ms | MISSED |");
    expect(section(TEXT, "Rolling restart")).toContain("**skipped**: it needs a server");
  });

  it("say that there were no samples", () => {
    const result = scenarioNamed("echo-steady");
    const objectives = result.objectives.map((one) => ({ ...one, actual: null, passed: false }));
    const text = scenariosMarkdown({ ...REPORT, scenarios: [{ ...result, objectives }] });
    expect(section(text, "Echo, steady")).toContain("| no samples | 100 ms | MISSED |");
  });

  it("take what comes from outside as text, in its cell and on its line", () => {
    const evil = "|a`b`\n# c *d* <img src=x> [e](f) &lt;g\u001b[2J\\";
    const attacked: ScenariosReport = {
      ...REPORT,
      sentence: evil,
      server: evil,
      scenarios: REPORT.scenarios.map((result) => ({
        ...result,
        ...{ name: evil, title: evil, question: evil, plan: evil, reason: evil },
        objectives: result.objectives.map((one) => ({ ...one, text: evil, phase: evil })),
      })),
    };
    const text = scenariosMarkdown(attacked);
    expectTables(text);
    expect(text).not.toMatch(/(?<!\\)<img|(?<!\\)`|\u001b|(?<!\\)\[|(?<!\\)\*d/);
    expect(text).not.toContain("&lt;");
    expect(text.match(/^# /gm)).toHaveLength(1);
    expect(text.match(/^## /gm)).toHaveLength(12);
  });

  it("of which none ran are a title and a line", () => {
    const text = scenariosMarkdown({ ...REPORT, scenarios: [] });
    expect(text.trim().split("\n\n")).toHaveLength(2);
  });
});
