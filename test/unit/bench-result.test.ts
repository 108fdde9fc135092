// What the benchmarks say of their measurements: medians, ratios of pairs, targets and verdicts;
// the rule by which one build is called slower; and the tables that are made of it all.
import { afterEach, describe, expect, it } from "vitest";
import { readdirSync } from "node:fs";
import { TABLES, withTables } from "../../bench/readme-tables.mjs";
import { judge } from "../../bench/regression.mjs";
import { resultTable } from "../../bench/result-table.mjs";
import { RESULT_SCHEMA, Result } from "../../bench/result.mjs";
import { runRounds } from "../../bench/rounds.mjs";
import { comparePairs, PAIRS, SIDES } from "../../bench/sides.mjs";
import { SUITES } from "../../bench/suite-list.mjs";

const load = { connections: 200, inFlight: 1, bytes: 32 };
const cpu = { load, figure: "cpuPerMessage" };

function emptyResult(): Result {
  return new Result("echo", { json: false, out: "" });
}

describe("a result", () => {
  it("has the median of the rounds, the least and the most, without those thrown away", () => {
    const result = emptyResult();
    result.add({ ...cpu, side: "a", values: [9, null, 1, 4] });
    const [row] = result.document().rows;
    expect(row).toMatchObject({ median: 4, min: 1, max: 9, values: [9, null, 1, 4] });
  });

  it("takes ratios between sides of the same round, and only where both were measured", () => {
    const result = emptyResult();
    result.add({ ...cpu, side: "a", values: [2, null, 6, 10] });
    result.add({ ...cpu, side: "b", values: [1, 1, null, 2] });
    result.compare({ ...cpu, side: "a", against: "b" });
    const [ratio] = result.document().rows[0]!.ratios;
    // The medians' ratio would be another.
    expect(ratio).toMatchObject({ values: [2, null, null, 5], median: 3.5, min: 2, max: 5 });
  });

  it("has not passed where a side could not be measured in peace at all", async () => {
    const result = emptyResult();
    const spoilt = { figures: { cpuPerMessage: 1 }, conditions: { steal: 1, foreign: 0 } };
    const fine = { figures: { cpuPerMessage: 1 }, conditions: { steal: 0, foreign: 0 } };
    const measure = async (side: string) => (side === "a" ? fine : spoilt);
    await runRounds(result, { rounds: 2, sides: ["a", "b"], load, measure });
    const document = result.document();
    expect(document).toMatchObject({ passed: false, unmeasured: [{ side: "b", load }] });
    expect(document.rows.map(({ side }: { side: string }) => side)).toEqual(["a"]);
    // Each round had its repeats.
    expect(document.discarded).toHaveLength(6);
  });

  it("keeps what others disturbed where it is told to, and says so", async () => {
    const result = new Result("echo", { json: false, out: "", keep: true });
    const figures = { cpuPerMessage: 1 };
    const measure = async () => ({ figures, conditions: { steal: 1, foreign: 0 }, note: "slow" });
    await runRounds(result, { rounds: 1, sides: ["a"], load, measure });
    expect(result.document()).toMatchObject({ passed: true, discarded: [], unmeasured: [] });
    expect(result.rows[0]!.note).toBe("slow; disturbed: the host took 1.00 cores (at most 0.05)");
  });

  it("never divides by nothing", () => {
    const result = emptyResult();
    result.add({ ...cpu, side: "a", values: [2, 4] });
    result.add({ ...cpu, side: "b", values: [0, 2] });
    result.compare({ ...cpu, side: "a", against: "b" });
    expect(result.document().rows[0]!.ratios[0]).toMatchObject({ values: [null, 2], median: 2 });
  });

  it("has not passed where a target could not be judged: no value, or no round in common", () => {
    const result = emptyResult();
    result.add({ ...cpu, side: "a", values: [2, null] });
    result.add({ ...cpu, side: "b", values: [null, 2] });
    result.compare({ ...cpu, side: "a", against: "b" });
    expect(result.document()).toMatchObject({ passed: true, failures: [] });
    result.compare({ ...cpu, side: "a", against: "b", target: { max: 2 } });
    result.add({ ...cpu, side: "c", values: [null], target: { max: 2 } });
    expect(result.document()).toMatchObject({
      passed: false,
      failures: ["a beside b: 0 rounds have both, 1 are needed", "c: CPU per message is not known"],
    });
  });

  it("has not passed where fewer rounds are left than a target asks for", () => {
    const result = emptyResult();
    result.add({ ...cpu, side: "a", values: [1, null, null] });
    result.add({ ...cpu, side: "b", values: [2, 2, 2] });
    result.compare({ ...cpu, side: "a", against: "b", target: { max: 1 }, roundsMin: 3 });
    const failures = ["a beside b: 1 rounds have both, 3 are needed"];
    expect(result.document()).toMatchObject({ passed: false, failures });
  });

  it("has not passed where a target is about a figure that is not known", () => {
    const result = emptyResult();
    result.add({ ...cpu, side: "a", values: [null, null] });
    result.add({ ...cpu, side: "b", values: [1, 2] });
    result.compare({ ...cpu, side: "a", against: "b" });
    expect(result.document().passed).toBe(true);
    result.compare({ ...cpu, side: "a", against: "b", target: { max: 1 } });
    expect(result.document()).toMatchObject({ failures: ["a beside b: not known"] });
    // Nobody asked for that one.
    result.compare({ ...cpu, side: "b", against: "c", target: { max: 1 } });
    expect(result.document().failures).toHaveLength(1);
  });

  it.each([NaN, Infinity, undefined])("does not take %s for a figure", (value) => {
    const add = (): void => {
      emptyResult().add({ ...cpu, side: "a", values: [1, value as number] });
    };
    expect(add).toThrow("a: cpuPerMessage is 1,");
  });

  it("has not passed where the suite says so, and the table says why", () => {
    const result = emptyResult();
    result.add({ ...cpu, side: "a", values: [2] });
    result.fail("nothing is clear");
    expect(result.document().passed).toBe(false);
    expect(resultTable(result.document())).toMatch(/\n\nnothing is clear\n\nFAILED in /);
  });

  it("puts beside each other whom the list names, and holds some of them to targets", () => {
    const result = emptyResult();
    for (const side of ["C epoll", "node:net", "tcp-epoll bare", "ws"]) {
      result.add({ ...cpu, side, values: [2] });
    }
    const target = { side: "tcp-epoll bare", against: "node:net", max: 0.6 };
    comparePairs(result, load, "cpuPerMessage", [target]);
    const ratios = result.rows.map(({ side, ratios: all }) => [
      side,
      all.map((one) => one.against),
    ]);
    expect(ratios).toEqual([
      ["C epoll", []],
      ["node:net", []],
      ["tcp-epoll bare", ["C epoll", "node:net"]],
      ["ws", []],
    ]);
    expect(result.document().passed).toBe(false);
    const stray = { side: "tcp-epoll bare", against: "ws", max: 1 };
    expect(() => comparePairs(result, load, "cpuPerMessage", [stray])).toThrow("is not put beside");
  });

  it("compares only what had the same load", () => {
    const result = emptyResult();
    result.add({ ...cpu, side: "a", values: [2] });
    result.add({ ...cpu, side: "b", values: [1], load: { ...load, bytes: 1_024 } });
    result.compare({ ...cpu, side: "a", against: "b" });
    expect(result.document().rows[0]!.ratios).toEqual([]);
  });

  it.each([
    [{ max: 4 }, true],
    [{ max: 3.9 }, false],
    [{ min: 4 }, true],
    [{ min: 4.1 }, false],
  ])("holds the median to the target %j: %s", (target, passed) => {
    const result = emptyResult();
    result.add({ ...cpu, side: "a", values: [1, 4, 9], target });
    expect(result.document()).toMatchObject({ passed, rows: [{ target, passed }] });
  });

  it("fails where a ratio misses its target, whatever the figures say", () => {
    const result = emptyResult();
    result.add({ ...cpu, side: "a", values: [3], target: { max: 5 } });
    result.add({ ...cpu, side: "b", values: [2] });
    result.compare({ ...cpu, side: "a", against: "b", target: { max: 1.4 } });
    expect(result.document().passed).toBe(false);
  });

  it("fails where nothing was measured", () => {
    const result = emptyResult();
    result.add({ ...cpu, side: "a", values: [null, null] });
    expect(result.document()).toMatchObject({ passed: false, rows: [] });
  });

  it("is a document that says on what, of what and when it was measured", () => {
    const result = emptyResult();
    result.skip("mosquitto", "it is not installed");
    result.skip("mosquitto", "it is not installed");
    result.discard("a", load, "others used 1.00 cores");
    result.add({ ...cpu, side: "a", values: [1] });
    const document = JSON.parse(JSON.stringify(result.document())) as Record<string, unknown>;
    expect(document).toMatchObject({
      schema: RESULT_SCHEMA,
      suite: "echo",
      argv: expect.any(Array),
      startedAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
      seconds: expect.any(Number),
      machine: { cpu: expect.any(String), cores: expect.any(Number), kernel: expect.any(String) },
      versions: { node: process.versions.node, holdfast: expect.any(String) },
      skipped: [{ side: "mosquitto", why: "it is not installed" }],
      discarded: [{ side: "a", load, why: "others used 1.00 cores" }],
      rows: [{ side: "a", unit: "us", better: "less", isClaim: true, target: null, passed: null }],
    });
  });
});

describe("one build is called slower than another", () => {
  const rule = { better: "less", margin: 0.05 } as const;

  it("where the median of the pairs is beyond the margin and every pair agrees", () => {
    const measured = { base: [10, 10, 10], head: [10.1, 11, 12] };
    expect(judge({ ...rule, ...measured }).verdict).toBe("slower");
    expect(judge({ ...rule, ...measured, margin: 0.11 }).verdict).toBe("same");
  });

  it("not where one pair says the opposite: that is unclear", () => {
    const { verdict, why } = judge({ ...rule, base: [10, 10, 10], head: [9.9, 11, 12] });
    expect([verdict, why]).toEqual(["unclear", "beyond the margin, but not every pair agrees"]);
  });

  it("by pairs of one round: what both sides suffered together is nobody's fault", () => {
    expect(judge({ ...rule, base: [10, 20, 30], head: [10, 20, 30] }).verdict).toBe("same");
  });

  it("where more is better and there is less", () => {
    const measured = { base: [100, 100, 100], head: [80, 90, 85] };
    expect(judge({ ...rule, better: "more", ...measured }).verdict).toBe("slower");
    expect(judge({ ...rule, better: "less", ...measured }).verdict).toBe("faster");
  });

  it("not with fewer than three pairs", () => {
    const measured = { base: [1, null, 1], head: [9, 9, 9] };
    expect(judge({ ...rule, ...measured })).toEqual({
      verdict: "unclear",
      why: "2 pairs, 3 are needed",
    });
  });

  it("where something comes of nothing, but not where next to nothing doubles", () => {
    const nothing = { base: [0, 0, 0], grain: 4 };
    expect(judge({ ...rule, ...nothing, head: [50, 51, 52] }).verdict).toBe("slower");
    expect(judge({ ...rule, ...nothing, head: [3, 3.5, 3] }).verdict).toBe("same");
    expect(judge({ ...rule, base: [0, 0, 0], head: [1, 1, 1] }).verdict).toBe("slower");
    expect(judge({ ...rule, base: [0, 0, 0], head: [0, 0, 0] }).verdict).toBe("same");
  });
});

/** As a reference run has it, of two sides. */
function echoDocument(): ReturnType<Result["document"]> {
  const result = emptyResult();
  result.add({ ...cpu, side: "node:net", values: [10, 20, 40] });
  result.add({ ...cpu, side: "holdfast tcp-net", values: [8, 25, 36] });
  result.add({ ...cpu, side: "uWebSockets.js", values: [5, 5, 5] });
  result.add({ ...cpu, side: "holdfast websocket", values: [6, 6.1, 5.9] });
  return {
    ...result.document(),
    argv: ["--rounds", "3", "--only", "tcp-epoll bare,ws"],
    startedAt: "2026-11-21T20:00:00.000Z",
  };
}

const page = (name: string): string =>
  `before\n<!-- figures: ${name} -->\n\noutdated\n\n<!-- /figures -->\nafter\n`;

describe("a result's command line", () => {
  const given = process.argv;
  afterEach(() => {
    process.argv = given;
  });

  it("does not tell where the result went", () => {
    process.argv = ["node", "echo.mjs", "--rounds", "3", "--out", "some/where.json", "--json"];
    expect(emptyResult().document().argv).toEqual(["--rounds", "3", "--json"]);
  });
});

describe("the tables of a page", () => {
  it("have a row for every side, and its ratio by pairs, behind in words where it is", () => {
    const text = withTables(page("comparison"), { echo: echoDocument() });
    expect(text).not.toContain("outdated");
    expect(text).toMatch(/^before\n<!-- figures: comparison -->\n\n\| /);
    expect(text.endsWith("\n<!-- /figures -->\nafter\n")).toBe(true);
    expect(text).toContain("| node:net | 20 (10..40) |");
    expect(text).toContain("| **holdfast tcp-net** | 25 (8..36) |");
    // 0.8, 1.25 and 0.9: the ratio of the medians would be 1.25, and the rounds disagree.
    expect(text).toContain("| **holdfast tcp-net** against node:net | 0.90x, the same |");
    expect(text).toContain("| **holdfast websocket** against uWebSockets.js | 1.20x, behind |");
    expect(text).toContain("Not in the reference run: memory, storm, fanout.");
  });

  it("tell their command, the date and the machine", () => {
    const text = withTables(page("echo.cpuPerMessage"), { echo: echoDocument() });
    expect(text).toContain(
      '- `npm run bench:echo -- --rounds 3 --only "tcp-epoll bare,ws"`: 2026-11-21, commit ',
    );
    expect(text).toContain("CPU per message, us: 200 connections, 1 in flight, 32 bytes");
  });

  it("stay as they are when they are made again", () => {
    const documents = { echo: echoDocument() };
    const once = withTables(page("comparison"), documents);
    expect(withTables(once, documents)).toBe(once);
    expect(withTables(once, {})).not.toBe(once);
  });

  it.each([...Object.keys(TABLES), "fanout.cpuPerDelivery"])(
    "say so where there is no reference run: %s",
    (name) => {
      const text = withTables(page(name), {});
      expect(text).toContain("There is no reference run yet: `npm run bench -- --out ");
    },
  );

  it("name a suite of which nothing could be measured among those that are missing", () => {
    const documents = { echo: echoDocument(), storm: emptyResult().document() };
    const text = withTables(page("comparison"), documents);
    expect(text).toContain("Not in the reference run: memory, storm, fanout.");
    expect(text).not.toContain("npm run bench:storm");
  });

  it("leave a page without marks alone", () => {
    expect(withTables("# Title\n", { echo: echoDocument() })).toBe("# Title\n");
  });

  it("refuse a table that nobody knows, and one without an end", () => {
    expect(() => withTables(page("nonsense"), {})).toThrow('there is no table "nonsense"');
    expect(() => withTables("<!-- figures: comparison -->\n", {})).toThrow("have no end");
    expect(() =>
      withTables(page("comparison").replace("outdated", "<!-- figures: x -->"), {}),
    ).toThrow("begin inside of comparison");
  });
});

it("who is put beside whom are sides that there are, each pair once", () => {
  const names = PAIRS.flatMap(({ side, against }) => [side, against]);
  expect(names.filter((name) => !(name in SIDES))).toEqual([]);
  expect(new Set(PAIRS.map((pair) => JSON.stringify(pair))).size).toBe(PAIRS.length);
});

it("npm run bench knows every suite that there is", () => {
  const suites = readdirSync("bench/suites");
  expect(new Set(SUITES.map(({ script }) => script))).toEqual(new Set(suites));
});
