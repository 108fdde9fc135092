import { describe, expect, it } from "vitest";
import type { Report, StageReport } from "../../src/probe/report.ts";
import { reportText } from "../../src/probe/report-text.ts";
import { stageHeader, stageLine } from "../../src/probe/stage-line.ts";
import { capacityReport, loadReport } from "../support/probe-report.ts";

const PLAIN = { colour: false, width: 100 };

function textOf(report: Report): string {
  return reportText(report, PLAIN);
}

function capacityStage(index: number, change: Partial<StageReport> = {}): StageReport {
  return { ...capacityReport().stages[index]!, ...change };
}

/** A line's words, with one blank between them. */
function squeezed(text: string): string {
  return text.replace(/\s+/g, " ").trim();
}

describe("a stage's line", () => {
  it("says what was held and connected, each beside what was intended", () => {
    expect(stageLine(capacityStage(4))).toBe(
      "climb        182,041/256,000  4,812/12,000  2,929  2.85   88.9  1.30  1,414  73,959 WALL",
    );
  });

  it("says operations per second where the stage is there for them", () => {
    const [connect, , load] = loadReport().stages;
    expect(stageLine(connect!)).toContain("4,988/5,000");
    expect(stageLine(load!)).toContain("49,980/50,000");
  });

  it("counts deaths among the errors", () => {
    const stage = capacityStage(8);
    expect(stage.failures).toEqual([]);
    expect(squeezed(stageLine(stage))).toMatch(/ 3 ok$/);
  });

  it("stands below its header, column by column", () => {
    const [over, header] = stageHeader().split("\n");
    const line = stageLine(capacityStage(0));
    for (const title of ["of intended", "p50", "p99 ms", "B/conn", "errors"]) {
      const end = header!.indexOf(title) + title.length;
      expect(line[end - 1], title).toMatch(/[0-9]/);
      expect(line[end], title).toBe(" ");
    }
    expect(header!.indexOf("verdict")).toBe(line.indexOf("ok"));
    expect(over!.length).toBeLessThanOrEqual(header!.length);
  });

  it("takes no more than 100 columns with six digits everywhere and the longest verdict", () => {
    const rates = { intendedPerSecond: 999_999, achievedPerSecond: 999_999 };
    const counts = { scheduled: 999_999, started: 999_999, succeeded: 999_999, failed: 0 };
    const latency = { ...capacityStage(0).latencies.response!, p50: 9_999, p99: 10_000 };
    const stage = capacityStage(5, {
      kind: "confirm",
      connections: { intended: 999_999, held: 999_999, deaths: 0 },
      operations: { connect: { ...counts, ...rates } },
      latencies: { connect: latency, response: latency },
      failures: [{ ...capacityReport().failures[0]!, count: 999_999 }],
      generator: { ...capacityStage(0).generator, latenessP99Ms: 9_999 },
      server: { ...capacityStage(0).server!, bytesPerConnection: 99_999 },
    });
    const line = stageLine(stage);
    expect(line).toMatch(/999,999\/999,999 +1M\/1M .* 999,999 GENERATOR-BOUND$/);
    expect(line.length).toBeLessThanOrEqual(100);
  });

  it("has a dash for every figure that is not known", () => {
    const stage = capacityStage(0, { operations: {}, latencies: {}, server: null });
    expect(squeezed(stageLine(stage))).toBe("climb 16,000/16,000 - - - - 1.12 - 0 ok");
  });

  it.each(["missed", "wall", "scram", "aborted", "generator-bound"] as const)(
    "shouts the verdict %s",
    (verdict) => {
      expect(stageLine(capacityStage(0, { verdict }))).toMatch(
        new RegExp(` ${verdict.toUpperCase()}$`),
      );
    },
  );

  it.each([60, 70, 80, 90])("does without columns on a terminal of %i", (width) => {
    const line = stageLine(capacityStage(4), width);
    const [, header] = stageHeader(width).split("\n");
    expect(header!.length).toBeLessThanOrEqual(width + 15);
    expect(line).toContain("182,041/256,000");
    expect(line).toMatch(/ 73,959 WALL$/);
  });

  it("clips a long name, and shows no control characters of it", () => {
    const stage = capacityStage(0, { kind: "load", name: "1m30s\u001b[2J to 120k/s and more" });
    expect(stageLine(stage).slice(0, 13)).toBe("1m30s?[2J t… ");
  });
});

describe("a report as text", () => {
  it.each([
    ["capacity", capacityReport()],
    ["load", loadReport()],
  ])("of %s keeps within the width that is given, from 60 columns on", (_, report) => {
    for (const width of [60, 80, 100, 200]) {
      const lines = reportText(report, { colour: false, width }).split("\n");
      const longest = lines.reduce((most, line) => (line.length > most.length ? line : most));
      expect(longest.length, longest).toBeLessThanOrEqual(Math.max(75, Math.min(width, 100)));
    }
  });

  it("ends with the result, after everything it rests on", () => {
    for (const report of [capacityReport(), loadReport()]) {
      const text = textOf(report);
      const result = squeezed(text.slice(text.lastIndexOf("\n\n")));
      expect(result).toBe(`RESULT ${report.sentence}`);
    }
  });

  it("has a line for each stage, and says why one did not hold or does not count", () => {
    const text = textOf(capacityReport());
    expect(text.match(/^(climb|verify|bisect|confirm) /gm)).toHaveLength(9);
    expect(text).toContain("WALL at climb 256,000: errors<0.1%: 28.9%");
    expect(squeezed(text)).toContain("GENERATOR-BOUND at verify 182,041: the probe was late");
  });

  it("tells how the generator did, and whether it was the limit", () => {
    const report = capacityReport();
    const good = { ...report, stages: report.stages.filter(({ index }) => index !== 5) };
    expect(squeezed(textOf(good))).toContain(
      "generator 10 processes, cpu 0.60 cores, loop 35%, lateness p99 1.30 ms (limit 5.00), " +
        "started 100% of scheduled, 1,840 B/connection: not the limit",
    );
    expect(squeezed(textOf(report))).toContain(": the limit in 1 of 9 stages, which count neither");
    const bound: Report = { ...report, outcome: "generator-bound" };
    expect(textOf(bound)).toContain(": THE LIMIT");
    const ports: Report = { ...report, limit: { ...report.limit!, party: "prober" } };
    expect(textOf(ports)).toContain(": THE LIMIT");
  });

  it("shows the server's own figures where it was watched, and nothing of it where not", () => {
    const text = squeezed(textOf(capacityReport()));
    expect(text).toContain("server stage (4 processes) connections resident cpu files/limit loop");
    expect(text).toContain("confirm 172,938 172,938 449 MiB 0.40 cores 172,979/182,082 0.80");
    expect(text).toContain("1,413 B/connection by the slope");
    expect(textOf(loadReport())).not.toMatch(/^server/m);
  });

  it("shows failures by phase, cause and party, with their share", () => {
    const rows = textOf(capacityReport()).split("\n").map(squeezed);
    expect(rows).toContain("failures phase cause by count of all");
    expect(rows).toContain("connect timeout network 62,906 83%");
    expect(rows).toContain("hello refused.3004 server 12 0.016%");
  });

  it("shows deaths by their age", () => {
    const text = squeezed(textOf(loadReport()));
    expect(text).toContain("closed.code.3003 (server): 41, by age 4 5s to 10s, 37 10s to 30s");
  });

  it("shows thresholds beside their limits, and what was not measured as missed", () => {
    const rows = textOf(loadReport()).split("\n").map(squeezed);
    expect(rows).toContain("response:p(99)<50ms over 10s 81.2 ms 50.0 ms MISSED worst at 1m");
    expect(rows).toContain("errors<0.1% 0.031% 0.1% ok");
    expect(rows).toContain("rate>=49k 49,980/s 49,000/s ok");
    expect(rows).toContain("connect:p(99)<250ms no samples 250 ms MISSED");
  });

  it("shows the baseline beside what is now", () => {
    const rows = textOf(loadReport()).split("\n").map(squeezed);
    expect(rows).toContain("response p99 ms 34.1 56.8 x1.67 WORSE");
    expect(rows).toContain("operations/s 49,990 49,980 x1 ok");
    expect(rows).toContain("errors % 0 0.0314 - ok");
  });

  it("shows operations and deliveries beside what was due", () => {
    const text = squeezed(textOf(loadReport()));
    expect(text).toContain("echo 2,850,000/2,850,000 2,849,376 624 49,980/50,000");
    expect(text).toContain("59,964 of 60,000 received, 36 missed (30 announced), 2 twice");
  });

  it("shows the limit's evidence and what to do", () => {
    const text = squeezed(textOf(capacityReport()));
    expect(text).toContain("182,082 files in use (server-files, certain)");
    expect(text).toContain("What to do: raise it with `ulimit -n`");
  });

  it("of a run that was over at once is a title and a result", () => {
    const report = capacityReport();
    const empty: Report = {
      ...report,
      stages: [],
      series: [],
      failures: [],
      deaths: [],
      server: null,
      memory: null,
      limit: null,
      capacity: null,
      outcome: "aborted",
      sentence: "Interrupted: no level had held by then.",
    };
    expect(textOf(empty).split("\n\n")).toHaveLength(2);
  });

  it("says who holds the machine's memory, and what a connection costs each", () => {
    const text = textOf(capacityReport());
    expect(text).toMatch(/memory +stage +kernel +of it slab +server +probe/);
    expect(text).toMatch(/before the first +300 MiB +90 MiB +120 MiB +150 MiB/);
    expect(text).toMatch(/kernel 6,200 B\/connection \(R² 0\.9999\), server 400 B/);
    expect(text).not.toMatch(/probe [\d,]+ B\/connection/);
  });

  it("does without the server's memory where its processes are not known", () => {
    const report = capacityReport();
    const unwatched = report.stages.map((stage) => {
      return { ...stage, memory: { ...stage.memory!, server: null } };
    });
    expect(textOf({ ...report, stages: unwatched })).toMatch(/climb 16,000 +[\d.]+ MiB .* - +/);
    expect(textOf(loadReport())).not.toMatch(/^memory/m);
  });

  it("has colours only where they are asked for, and the same words with them", () => {
    const report = loadReport();
    const colourful = reportText(report, { colour: true, width: 100 });
    expect(colourful).toContain("\u001b[33mMISSED\u001b[39m");
    expect(textOf(report)).not.toContain("\u001b");
    expect(colourful.replace(/\u001b\[[0-9]+m/g, "")).toBe(textOf(report));
  });

  it("lets nothing from elsewhere drive the terminal", () => {
    const report = loadReport();
    const evil = "\u001b[2J\u009b1A\u202e\n";
    const attacked: Report = {
      ...report,
      sentence: evil,
      environment: { ...report.environment, targets: [evil] },
      limit: { ...capacityReport().limit!, text: evil, evidence: [evil], advice: evil },
      stages: report.stages.map((stage) => ({ ...stage, name: evil, reasons: [evil] })),
    };
    expect(textOf(attacked)).not.toMatch(/[\u001b\u009b\u202e]/);
  });
});
