import { createHash } from "node:crypto";
import { Script } from "node:vm";
import { describe, expect, it } from "vitest";
import { html } from "../../src/probe/markup.ts";
import { reportHtml } from "../../src/probe/report-html.ts";
import type { Report, SeriesPoint, StageReport } from "../../src/probe/report.ts";
import { between, expectSound } from "../support/page.ts";
import { capacityReport, loadReport } from "../support/probe-report.ts";

const CAPACITY = capacityReport();
const LOAD = loadReport();

const EMPTY: Report = {
  ...CAPACITY,
  stages: [],
  series: [],
  failures: [],
  deaths: [],
  server: null,
  limit: null,
  capacity: null,
  outcome: "aborted",
  exitCode: 105,
};

function withStages(change: (stage: StageReport) => StageReport, report = CAPACITY): Report {
  return { ...report, stages: report.stages.map(change) };
}

function withSeries(change: (point: SeriesPoint) => SeriesPoint, report = CAPACITY): Report {
  return { ...report, series: report.series.map(change) };
}

/** Seconds of a longer run, over and over. */
function longSeries(points: number): SeriesPoint[] {
  return Array.from({ length: points }, (_, index) => {
    return { ...CAPACITY.series[index % 90]!, atMs: (index + 1) * 1_000 };
  });
}

function chart(page: string, title: string): string {
  return between(page, `<h3>${title}</h3>`, "</figure>");
}

describe("a page", () => {
  it.each([
    ["capacity", CAPACITY],
    ["load", LOAD],
  ])("of %s says the result first, and what was found beside what was intended", (_, report) => {
    const page = reportHtml(report);
    expectSound(page);
    expect(between(page, "<h1>", "</h1>")).toBe(html`${report.sentence}`.text);
    expect(between(page, "<header>", "</header>")).toContain(`>${report.outcome}</span>`);
    expect(between(page, '<dl class="tiles">', "</dl>")).toMatch(/of [0-9,]+ intended/);
  });

  it("fetches nothing, and lets no script run but its own", () => {
    const page = reportHtml(CAPACITY);
    expect(page).not.toMatch(/(src|href|action)=|@import|url\((?!#)/);
    const script = between(page, "</main>\n<script>", "</script>");
    const hash = createHash("sha256").update(script).digest("base64");
    const policy = between(page, 'Content-Security-Policy" content="', '">');
    expect(policy.replaceAll("&#39;", "'")).toContain(`script-src 'sha256-${hash}'`);
    expect(policy).toContain("default-src &#39;none&#39;");
    expect(page.match(/<script/g)).toHaveLength(2);
  });

  it("has a script that can be read, and figures for every legend that shows some", () => {
    const page = reportHtml(CAPACITY);
    expect(() => new Script(between(page, "</main>\n<script>", "</script>"))).not.toThrow();
    const data = JSON.parse(between(page, 'class="series">', "</script>")) as {
      atMs: number[];
      figures: Record<string, (number | null)[]>;
    };
    expect(data.atMs).toHaveLength(90);
    for (const [, key] of page.matchAll(/data-key="(\w+)"/g)) {
      expect(data.figures[key!], key).toHaveLength(90);
    }
    for (const [, unit] of page.matchAll(/data-unit="(\w+)"/g)) {
      expect(page).toContain(`    ${unit}: (value) =>`);
    }
  });

  it("escapes whatever comes from outside", () => {
    const evil = `</script><script>alert("1")</script><img src=x onerror='a&b'>\u0000`;
    const attacked: Report = {
      ...LOAD,
      sentence: evil,
      limit: { ...CAPACITY.limit!, text: evil, evidence: [evil], advice: `\`${evil}\`` },
      server: { ...CAPACITY.server!, sources: [evil] },
      environment: {
        ...LOAD.environment,
        targets: [evil],
        argv: ["load", evil],
        startedAt: evil,
        sysctls: { [evil]: evil },
        kernel: evil,
      },
      load: {
        faults: LOAD.load!.faults,
        thresholds: LOAD.load!.thresholds.map((one) => ({ ...one, text: evil })),
        baseline: {
          file: evil,
          rows: LOAD.load!.baseline!.rows.map((row) => ({ ...row, metric: evil })),
        },
      },
      stages: LOAD.stages.map((stage) => ({ ...stage, name: evil, reasons: [evil] })),
      failures: [{ ...LOAD.failures[0]!, code: evil, cause: evil }],
      deaths: [{ ...LOAD.deaths[0]!, code: evil }],
    };
    const page = reportHtml(attacked);
    expectSound(page);
    expect(page.match(/<script/g)).toHaveLength(2);
    expect(page).not.toContain("<img");
    expect(page).not.toContain("\u0000");
    expect(page).toContain("&lt;/script&gt;&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;");
  });

  it("names every stage with its verdict, as a word", () => {
    const table = between(reportHtml(CAPACITY), "<h2>Stages</h2>", "</table>");
    for (const { name } of CAPACITY.stages) expect(table).toContain(name);
    expect(table.match(/>WALL</g)).toHaveLength(2);
    expect(table.match(/>GENERATOR-BOUND</g)).toHaveLength(1);
    expect(table).toContain("errors&lt;0.1%: 28.9%");
  });

  it("shows thresholds and the baseline of a load", () => {
    const page = reportHtml(LOAD);
    const thresholds = between(page, "<h2>Thresholds</h2>", "</table>");
    expect(thresholds.match(/MISSED/g)).toHaveLength(3);
    expect(thresholds).toContain("no samples");
    const baseline = between(page, "<h2>Against previous.json</h2>", "</table>");
    expect(baseline).toContain("WORSE");
  });

  it("shows with what it was made, as it would be typed", () => {
    const facts = between(reportHtml(CAPACITY), "<h2>Environment</h2>", "</dl>");
    const slo = "&#39;connect:p(99)&lt;250ms,echo:p(99)&lt;50ms,errors&lt;0.1%&#39;";
    expect(facts).toContain(`holdfast-probe capacity ws://10.0.0.5:8080`);
    expect(facts).toContain(`--slo ${slo}`);
    for (const name of Object.keys(CAPACITY.environment.sysctls)) expect(facts).toContain(name);
    expect(facts).toContain("<dt>Seed</dt><dd>42</dd>");
  });

  it("shows failures by phase, cause and party", () => {
    const matrix = chart(reportHtml(CAPACITY), "Failures by phase, cause and party");
    const row = between(
      matrix.replaceAll("\n", ""),
      '<th>connect</th><td class="left">timeout</td>',
      "</tr>",
    );
    expect(row.replace(/<[^>]*>/g, "|").match(/[^|\n]+/g)).toEqual(["·", "62,906", "·", "·"]);
  });

  it("shows each death in the column of its age", () => {
    const ages = chart(reportHtml(LOAD), "Age at death");
    expect(ages).toContain("closed.code.3003: 37 10s to 30s");
    expect(ages).toContain("closed.code.3003: 4 5s to 10s");
  });

  it("sums up what has no colour of its own among the deaths", () => {
    const deaths = Array.from({ length: 7 }, (_, index) => {
      return { ...LOAD.deaths[0]!, code: `closed.code.${3_000 + index}`, count: 41 + index };
    });
    expect(chart(reportHtml({ ...LOAD, deaths }), "Age at death")).toContain("3 other codes");
  });
});

describe("a page of little", () => {
  it("is whole without stages, series, failures, deaths and server", () => {
    const page = reportHtml(EMPTY);
    expectSound(page);
    expect(page).toContain("Nothing was measured.");
    expect(page).toContain("Nothing failed.");
    expect(page).not.toContain("<h2>Stages</h2>");
    expectSound(reportHtml({ ...LOAD, stages: [], series: [], load: null }));
  });

  it("has charts of one stage and of one second", () => {
    for (const report of [CAPACITY, LOAD]) {
      const [stage] = report.stages;
      const [point] = report.series;
      const page = reportHtml({ ...report, stages: [stage!], series: [point!] });
      expectSound(page);
      expect(chart(page, report === LOAD ? "Connections" : "Levels")).toContain("<svg viewBox");
    }
  });

  it("has charts where every figure is zero", () => {
    const zero = withSeries((point) => ({
      ...point,
      intended: 0,
      held: 0,
      connectsPerSecond: 0,
      operationsPerSecond: 0,
      failures: 0,
      responseP50Ms: 0,
      responseP99Ms: 0,
      serviceP50Ms: 0,
      connectP99Ms: 0,
      latenessP99Ms: 0,
      generatorLoopUtilisation: 0,
      server: null,
    }));
    const still = withStages(
      (stage) => ({
        ...stage,
        connections: { intended: 0, held: 0, deaths: 0 },
        latencies: {},
        generator: { ...stage.generator, latenessLimitMs: 0, latenessP99Ms: 0 },
      }),
      zero,
    );
    expectSound(reportHtml(still));
  });

  it("leaves out lines of which nothing is known, and gaps where it is not", () => {
    const unknown = withSeries((point) => ({ ...point, connectP99Ms: null, server: null }));
    const page = reportHtml(unknown);
    expectSound(page);
    expect(chart(page, "Latency over time")).not.toContain("connect p99");
    expect(page).not.toContain("<h3>The server&#39;s CPU");
    const lag = chart(reportHtml(CAPACITY), "The server&#39;s CPU and event loop");
    const path = between(lag, '<path class="l1" d="M', '"').replace(/^2h20"/, "");
    expect(lag.match(/<path class="l1" d="M[^"]*M[^"]*"/), path).not.toBeNull();
  });

  it("draws a rough curve of latencies where the histogram cannot be read", () => {
    const page = reportHtml(
      withStages((stage) => ({
        ...stage,
        latencies: Object.fromEntries(
          Object.entries(stage.latencies).map(([name, one]) => [name, { ...one, hdr: "none" }]),
        ),
      })),
    );
    expectSound(page);
    expect(chart(page, "Latency by percentile")).toMatch(/<path class="l1" d="M/);
  });
});

describe("a page of much", () => {
  it("has a million connections on its axes", () => {
    const page = reportHtml({
      ...withStages((stage) => ({
        ...stage,
        connections: { intended: 1_000_000, held: 1_000_000, deaths: 0 },
      })),
      capacity: { ...CAPACITY.capacity!, connections: 1_000_000 },
    });
    expectSound(page);
    expect(chart(page, "Levels")).toContain(">1M<");
    expect(chart(page, "Levels")).toContain("capacity 1,000,000");
  });

  it("takes less than 400 kB for 600 seconds, and hardly more for a day", () => {
    const page = reportHtml({ ...CAPACITY, series: longSeries(600) });
    expect(page.length).toBeLessThan(400_000);
    const day = reportHtml({ ...CAPACITY, series: longSeries(86_400) });
    expectSound(day);
    expect(day.length).toBeLessThan(400_000);
  });

  it("keeps the one second of a long run in which all went wrong", () => {
    const series = longSeries(20_000).map((point) => ({ ...point, held: 1_000, intended: 1_000 }));
    series[7_777] = { ...series[7_777]!, held: 0 };
    const held = chart(
      reportHtml({ ...CAPACITY, series }),
      "Connections and the server&#39;s memory",
    );
    const floor = /class="floor" d="M[0-9.]+ ([0-9.]+)H/.exec(held)![1]!;
    expect(between(held.slice(held.indexOf('class="a1"')), '<path class="l1" d="', '"')).toContain(
      ` ${floor}L`,
    );
  });

  it("has fewer words below many bars, and the last one's always", () => {
    const [stage] = CAPACITY.stages;
    const stages = Array.from({ length: 60 }, (_, index) => ({
      ...stage!,
      index,
      verdict: index === 59 ? ("wall" as const) : ("ok" as const),
    }));
    const levels = chart(reportHtml({ ...CAPACITY, stages }), "Levels");
    expect(levels.match(/<title>/g)).toHaveLength(60);
    expect(levels.match(/middle t-ok/g)!.length).toBeLessThan(12);
    expect(levels.match(/middle t-wall/g)).toHaveLength(1);
  });
});
