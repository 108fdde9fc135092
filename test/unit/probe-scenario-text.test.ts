import { describe, expect, it } from "vitest";
import { reportHtml } from "../../src/probe/report-html.ts";
import { reportText } from "../../src/probe/report-text.ts";
import type { ScenarioResult, ScenariosReport } from "../../src/probe/scenario-report.ts";
import { scenarioLine, scenariosText } from "../../src/probe/scenario-text.ts";
import { stageLine } from "../../src/probe/stage-line.ts";
import { between, expectSound } from "../support/page.ts";
import { scenarioNamed, scenariosReport } from "../support/probe-scenarios.ts";

const REPORT = scenariosReport();

function textOf(report: ScenariosReport, width = 120): string {
  return scenariosText(report, { colour: false, width });
}

function only(...scenarios: readonly ScenarioResult[]): ScenariosReport {
  return { ...REPORT, scenarios };
}

/** The line of a scenario in the table. */
function rowOf(text: string, name: string): string {
  const row = text.split("\n").find((line) => line.startsWith(`${name} `));
  if (row === undefined) throw new Error(`there is no line of ${name}`);
  return row.replace(/\s+/g, " ");
}

const EVIL = "\u001b[2J\u009b1A\u202e\n";

describe("scenarios as text", () => {
  const text = textOf(REPORT);

  it.each([
    ["steady-idle", "pass 20,000 - - 1.95 0 0.07 117 MiB connect:p99 111 ms of 2.00 s"],
    [
      "echo-steady",
      "pass 1,000 4,997/5k 26.1 resp 1.95 0 0.22 97.8 MiB response:p99 26.1 of 100 ms",
    ],
    ["fan-out", "pass 1,000 10/10 10.1 dlvr 1.95 0 0.03 97.6 MiB delivery:p99 10.1 of 250 ms"],
    ["slow-consumers", "FAIL 100 20/20 461 dlvr 1.43 588 0.03 96.5 MiB errors:count 588 of 0"],
    ["large-frames", "pass 100 200/200 111 resp 1.95 0 0.04 96.7 MiB response:p99 111 of 250 ms"],
    ["rolling-restart", "skipped - - - - - - -"],
  ])("have one line for %s", (name, rest) => {
    expect(rowOf(text, name)).toBe(`${name} ${rest}`);
  });

  it("stand in the order in which they ran, each once", () => {
    const names = REPORT.scenarios.map(({ name }) => name);
    const found = text.split("\n").map((line) => line.split(" ")[0]!);
    expect(found.filter((word) => names.includes(word))).toEqual(names);
  });

  it("say of each that did not pass why, and what it missed", () => {
    expect(text).toContain("FAIL slow-consumers: an objective was missed in 5% stop reading\n");
    expect(text).toContain("    missed loss:count==0: 588 (5% stop reading)\n");
    expect(text).toContain("    missed delivery:p(99)<250ms: 461 ms (5% stop reading)\n");
    expect(text).toContain("GENERATOR-BOUND echo-burst: the probe was late in burst");
    expect(text).toContain("skipped rolling-restart: it needs a server with workers");
    expect(text).not.toContain("pass echo-steady:");
  });

  it("do not tell twice what the reason has told", () => {
    const failed = scenarioNamed("slow-consumers");
    const reason = "5% stop reading: loss:count==0 (was 588)";
    const told = textOf(only({ ...failed, reason }));
    expect(told).not.toContain("missed loss:count==0");
    expect(told).toContain("missed delivery:p(99)<250ms");
  });

  it("do not call missed what was not judged", () => {
    const bound = { ...scenarioNamed("slow-consumers"), verdict: "generator-bound" } as const;
    const told = textOf(only(bound));
    expect(told).toContain("not judged loss:count==0");
    expect(told).not.toContain("missed loss");
  });

  it("end with the result", () => {
    const result = text.slice(text.lastIndexOf("\n\n")).replace(/\s+/g, " ").trim();
    expect(result).toBe(`RESULT ${REPORT.sentence}`);
  });

  it.each([60, 80, 100, 120, 200])("keep within %i columns", (width) => {
    for (const line of textOf(REPORT, width).split("\n")) {
      expect(line.length, line).toBeLessThanOrEqual(Math.min(width, 120));
    }
  });

  it("have lateness, cores and memory where there is room, and do without where not", () => {
    expect(text).toMatch(/ late +errors +cores +memory +nearest/);
    const narrow = textOf(REPORT, 80);
    expect(narrow).toMatch(/ held +p99 ms of +errors +nearest/);
    expect(rowOf(narrow, "slow-consumers")).toBe(
      "slow-consumers FAIL 100 461 dlvr 588 errors:count 588 of 0",
    );
  });

  it("show both numbers where connections are missing", () => {
    const result = scenarioNamed("echo-steady");
    const report = result.report!;
    const stages = report.stages.map((stage) => {
      return { ...stage, connections: { intended: 1_000, held: 993, deaths: 7 } };
    });
    const short = { ...result, report: { ...report, stages } };
    expect(rowOf(textOf(only(short)), "echo-steady")).toContain(" 993/1,000 ");
  });

  it("have a dash for every figure that is not known", () => {
    const result = scenarioNamed("echo-steady");
    const report = result.report!;
    const stages = report.stages.map((stage) => {
      return { ...stage, operations: {}, latencies: {}, server: null };
    });
    const unknown = { ...result, objectives: [], report: { ...report, stages } };
    expect(rowOf(textOf(only(unknown)), "echo-steady")).toBe(
      "echo-steady pass 1,000 - - 1.95 0 - -",
    );
  });

  it("say their size where it is not that of the table", () => {
    expect(text).not.toContain("of their size");
    const small = textOf({ ...REPORT, scale: 0.05, timeScale: 0.2 });
    expect(small).toContain("12 scenarios, 5% of their size, 20% of their time, took 6m12s");
  });

  it("have colours only where they are asked for, and the same words with them", () => {
    const colourful = scenariosText(REPORT, { colour: true, width: 120 });
    expect(colourful).toContain("slow-consumers      \u001b[31mFAIL\u001b[39m");
    expect(text).not.toContain("\u001b");
    expect(colourful.replace(/\u001b\[[0-9]+m/g, "")).toBe(text);
  });

  it("let nothing from elsewhere drive the terminal", () => {
    const attacked = REPORT.scenarios.map((result) => ({
      ...result,
      name: EVIL,
      reason: EVIL,
      objectives: result.objectives.map((one) => ({ ...one, text: EVIL, phase: EVIL })),
    }));
    const shown = textOf({ ...REPORT, scenarios: attacked, server: EVIL, sentence: EVIL });
    expect(shown).not.toMatch(/[\u001b\u009b\u202e]/);
    expect(shown.split("\n").filter((line) => line.startsWith("?[2J"))).toHaveLength(12);
  });

  it("of which none ran are a title and a result", () => {
    expect(textOf(only()).split("\n\n")).toHaveLength(2);
  });
});

describe("the report of a scenario by itself", () => {
  const burst = scenarioNamed("echo-burst").report!;

  it("names its phases, and has connects of those that ramp and operations of the others", () => {
    const text = reportText(burst, { colour: false, width: 100 });
    expect(text).toMatch(/^ramp +1,000\/1,000 +1,992\/2,000 /m);
    expect(text).toMatch(/^burst +1,000\/1,000 +9,994\/10,000 .*GENERATOR-BOUND$/m);
    expect(text).toMatch(/^hold again +1,000\/1,000 +999\/1,000 /m);
  });

  it("says one rate where nothing was scheduled", () => {
    const figures = { ...burst.stages[0]!.operations.connect!, intendedPerSecond: 0 };
    const stage = { ...burst.stages[0]!, operations: { connect: figures } };
    expect(stageLine(stage)).toMatch(/ 1,000\/1,000 +1,992 /);
  });

  it("is a page with a bar for each phase", () => {
    const page = reportHtml(burst);
    expectSound(page);
    const rates = between(page, "<h3>Rates</h3>", "</figure>");
    expect(rates.match(/<g><title>/g)).toHaveLength(burst.stages.length);
  });
});

describe("the line of a scenario that has ended", () => {
  it.each([
    [
      "echo-steady",
      "pass echo-steady: 1,000 of 1,000 connections; 4,997/5,000 per s; response p99 26.1 ms; " +
        "0 errors",
    ],
    [
      "rolling-restart",
      "skipped rolling-restart: it needs a server with workers that the probe may restart: " +
        "leave --target away",
    ],
    ["steady-idle", "pass steady-idle: 20,000 of 20,000 connections; 0 errors"],
  ])("of %s is its verdict and figures", (name, line) => {
    expect(scenarioLine(scenarioNamed(name))).toBe(line);
  });

  it("has the reason first", () => {
    expect(scenarioLine(scenarioNamed("slow-consumers"))).toMatch(
      /^FAIL slow-consumers: an objective was missed in 5% stop reading; 100 of /,
    );
    expect(scenarioLine({ ...scenarioNamed("fan-out"), name: EVIL })).not.toMatch(/[\u001b\n]/);
  });
});
