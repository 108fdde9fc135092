import { createHash } from "node:crypto";
import { Script } from "node:vm";
import { describe, expect, it } from "vitest";
import { html } from "../../src/probe/markup.ts";
import { REPORT_SCRIPT } from "../../src/probe/report-script.ts";
import { scenariosHtml } from "../../src/probe/scenario-html.ts";
import type { ScenarioResult, ScenariosReport } from "../../src/probe/scenario-report.ts";
import { between, expectSound } from "../support/page.ts";
import { scenarioNamed, scenariosReport } from "../support/probe-scenarios.ts";

const REPORT = scenariosReport();
const PAGE = scenariosHtml(REPORT);

function only(...scenarios: readonly ScenarioResult[]): ScenariosReport {
  return { ...REPORT, scenarios };
}

function section(page: string, id: string): string {
  return between(page, `<section id="${id}">`, "</section>");
}

function words(markup: string): string {
  return markup
    .replace(/<[^>]*>/g, " ")
    .replace(/\s+/g, " ")
    .trim();
}

describe("a page of scenarios", () => {
  it("says the result first, then what became of all", () => {
    expectSound(PAGE);
    expect(between(PAGE, "<h1>", "</h1>")).toBe(html`${REPORT.sentence}`.text);
    const tiles = words(between(PAGE, '<dl class="tiles">', "</dl>"));
    expect(tiles).toContain(
      "Passed 9 of 12 scenarios Failed 1 slow-consumers No verdict 1 echo-burst",
    );
    expect(tiles).toContain("Skipped 1 rolling-restart Connections 20,000 the most: steady-idle");
    expect(tiles).toContain("Nearest to its limit 81% connect-storm");
    expect(words(between(PAGE, "<header>", "</header>"))).toMatch(/^failed .* exit code 99/);
  });

  it("has a row for each scenario that leads to its section", () => {
    const summary = between(PAGE, '<table class="summary">', "</table>");
    for (const { name, title } of REPORT.scenarios) {
      expect(summary).toContain(`<a href="#${name}">${title}</a>`);
      expect(words(section(PAGE, name))).toContain(title);
    }
    expect(PAGE.match(/<section /g)).toHaveLength(12);
    expect(words(summary)).toContain(
      "Slow consumers FAIL 100 of 100 20 of 20 461 ms delivery 1.43 ms 588 0.03 96.5 MiB " +
        "errors:count==0: 588 an objective was missed in 5% stop reading",
    );
    expect(words(summary)).toContain("Rolling restart under load skipped - - - - - - - -");
  });

  it("draws the objective of each that was nearest, against its limit", () => {
    const chart = between(PAGE, "<h3>How near to their limits</h3>", "</figure>");
    expect(chart.match(/<g><title>/g)).toHaveLength(12);
    expect(words(chart)).toContain("pass, 81%: connect:p(99)&lt;2s: 1.62 s (storm)");
    const limit = Number(/class="limit" d="M([0-9.]+) /.exec(chart)![1]);
    const ends = [
      ...chart.matchAll(/<rect class="v-(ok|wall)" x="(\d+)" y="[\d.]+"\s+width="([\d.]+)"/g),
    ];
    expect(ends.length).toBeGreaterThan(9);
    for (const [, verdict, x, width] of ends) {
      expect(Number(x) + Number(width) > limit).toBe(verdict === "wall");
    }
    const storm = between(chart, "<title>connect-storm:", "</g>");
    const [, x, width] = /<rect class="v-ok" x="(\d+)" y="[\d.]+"\s+width="([\d.]+)"/.exec(storm)!;
    expect(Number(width) / (limit - Number(x))).toBeCloseTo(0.81, 2);
  });

  it("has in each section the plan, its phases, its objectives and the charts that fit", () => {
    const echo = section(PAGE, "echo-steady");
    expect(echo).toContain("<h3>Objectives</h3>");
    for (const title of ["Connections and the server&#39;s memory", "Latency over time"]) {
      expect(echo).toContain(`<h3>${title}</h3>`);
    }
    expect(echo).toContain("<h3>Operations and the server&#39;s CPU</h3>");
    expect(section(PAGE, "steady-idle")).not.toContain("<h3>Operations");
    expect(section(PAGE, "steady-idle")).toContain("<h3>The server&#39;s CPU and event loop</h3>");
    expect(section(PAGE, "fan-out")).toContain("delivery p99 ms");
    expect(echo).not.toContain("delivery p99 ms");
    expect(words(section(PAGE, "slow-consumers"))).toContain(
      "Done on purpose: 10 slow readers, 10 of them ended by the server.",
    );
  });

  it("says in words what it says in colours", () => {
    const failed = words(section(PAGE, "slow-consumers"));
    expect(failed).toMatch(/^FAIL slow-consumers/);
    expect(failed).toContain("loss:count==0 588 0 MISSED");
    expect(words(section(PAGE, "echo-burst"))).toMatch(/^GENERATOR-BOUND/);
    expect(words(section(PAGE, "rolling-restart"))).toMatch(/^skipped .* leave --target away$/);
  });

  it("says with what it was made, once", () => {
    expect(PAGE.match(/<h2>Environment<\/h2>/g)).toHaveLength(1);
    const facts = words(between(PAGE, "<h2>Environment</h2>", "</dl>"));
    expect(facts).toContain("Command holdfast-probe scenario all --html scenarios.html");
    expect(facts).toContain("Linux 6.18.5, 2 cores, 32 GiB");
  });

  it("fetches nothing, leads nowhere else, and lets no script run but its own", () => {
    expect(PAGE).not.toMatch(/ (src|action)=|href="(?!#)|@import|url\((?!#)/);
    const hash = createHash("sha256").update(REPORT_SCRIPT).digest("base64");
    expect(PAGE).toContain(`script-src &#39;sha256-${hash}&#39;`);
    expect(PAGE.match(/<script>/g)).toHaveLength(1);
    expect(PAGE.match(/<script(?! type="application\/json")/g)).toHaveLength(1);
  });

  it("escapes whatever comes from outside", () => {
    const evil = `</script><script>alert("1")</script><img src=x onerror='a&b'>\u0000`;
    const scenarios = REPORT.scenarios.map((result) => ({
      ...result,
      ...{ name: evil, title: evil, question: evil, plan: evil, reason: evil },
      objectives: result.objectives.map((one) => ({ ...one, text: evil, phase: evil })),
      report: result.report && {
        ...result.report,
        stages: result.report.stages.map((stage) => ({ ...stage, name: evil, reasons: [evil] })),
      },
    }));
    const attacked = { ...REPORT, sentence: evil, server: evil, startedAt: evil, argv: [evil] };
    const page = scenariosHtml({ ...attacked, scenarios });
    expectSound(page);
    expect(page).not.toContain("<img");
    expect(page).not.toContain("\u0000");
    expect(page.match(/<script>/g)).toHaveLength(1);
    expect(page).toContain('<a href="#scenario-1">');
    expect(page).toContain('<section id="scenario-12">');
  });

  it("of which nothing ran is whole", () => {
    expectSound(scenariosHtml(only()));
    const page = scenariosHtml(only(scenarioNamed("rolling-restart")));
    expectSound(page);
    expect(page).not.toContain('class="series"');
    expect(words(between(page, '<dl class="tiles">', "</dl>"))).toContain("Connections - none");
  });

  it("is whole without series, server, objectives and figures", () => {
    const bare = REPORT.scenarios.map((result) => ({
      ...result,
      objectives: [],
      report: result.report && {
        ...result.report,
        series: [],
        stages: result.report.stages.map((stage) => {
          return { ...stage, operations: {}, latencies: {}, server: null };
        }),
      },
    }));
    const page = scenariosHtml({ ...REPORT, scenarios: bare });
    expectSound(page);
    expect(page).not.toContain("<h3>Objectives</h3>");
  });

  it("takes less than 3 MB for twelve scenarios of ten minutes each", () => {
    const scenarios = REPORT.scenarios.map((result) => {
      const { report } = result;
      if (report === null) return result;
      const series = Array.from({ length: 600 }, (_, index) => {
        const point = report.series[index % report.series.length]!;
        return { ...point, atMs: (index + 1) * 1_000 };
      });
      return { ...result, report: { ...report, series } };
    });
    expect(scenariosHtml({ ...REPORT, scenarios }).length).toBeLessThan(3_000_000);
  });
});

/** As much of a page as the script uses, for one section. */
class Part {
  readonly listeners = new Map<string, (event: { clientX: number }) => void>();
  readonly cursor = { style: { visibility: "" }, textContent: "", moved: "" };
  readonly slot = { dataset: { key: "held", unit: "count" }, textContent: "" };
  readonly dataset = { from: "0", to: "2000", left: "0", right: "100", width: "100" };

  querySelectorAll(selector: string): unknown[] {
    return selector.startsWith("svg") ? [this] : [this.slot];
  }

  querySelector(): unknown {
    const { cursor } = this;
    const setAttribute = (_: string, value: string): void => {
      cursor.moved = value;
    };
    return { style: cursor.style, setAttribute, querySelector: () => cursor };
  }

  addEventListener(name: string, listener: (event: { clientX: number }) => void): void {
    this.listeners.set(name, listener);
  }

  getBoundingClientRect(): { left: number; width: number } {
    return { left: 0, width: 100 };
  }
}

describe("the read-out", () => {
  it("shows the figures of the section that the pointer is over, and of no other", () => {
    const parts = [new Part(), new Part()];
    const elements = parts.map((part, index) => ({
      textContent: JSON.stringify({
        atMs: [0, 1_000, 2_000],
        figures: { held: [1, 20 + index, 3] },
      }),
      closest: (): unknown => part,
    }));
    const document = { querySelectorAll: () => elements };
    new Script(REPORT_SCRIPT).runInNewContext({ document });
    parts[1]!.listeners.get("pointermove")!({ clientX: 52 });
    expect(parts[1]!.slot.textContent).toBe("21");
    expect(parts[1]!.cursor).toMatchObject({ textContent: "0:01", moved: "translate(50 0)" });
    expect(parts[0]!.slot.textContent).toBe("");
    expect(parts[0]!.cursor.style.visibility).toBe("");
    parts[1]!.listeners.get("pointerleave")!({ clientX: 0 });
    expect(parts[1]!.slot.textContent).toBe("");
    expect(parts[1]!.cursor.style.visibility).toBe("hidden");
  });

  it("has figures for every legend of every section", () => {
    for (const { name, report } of REPORT.scenarios) {
      if (report === null) continue;
      const part = section(PAGE, name);
      const data = JSON.parse(between(part, 'class="series">', "</script>")) as {
        figures: Record<string, unknown[]>;
      };
      const keys = [...part.matchAll(/data-key="(\w+)"/g)].map(([, key]) => key!);
      expect(keys.length, name).toBeGreaterThan(3);
      for (const key of keys) expect(data.figures[key], key).toHaveLength(report.series.length);
    }
  });
});
