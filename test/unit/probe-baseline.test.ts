import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { compareBaseline, readBaseline } from "../../src/probe/baseline.ts";
import { LatencyHistogram } from "../../src/probe/histogram.ts";
import type { LatencyName, Report, StageReport } from "../../src/probe/report.ts";
import { capacityReport, loadReport } from "../support/probe-report.ts";

const LOAD = loadReport();

interface StageOptions {
  name?: string;
  kind?: string;
  verdict?: StageReport["verdict"];
  latencies?: Partial<Record<LatencyName, readonly number[]>>;
  echo?: { perSecond: number; seconds: number; succeeded: number; failed?: number };
  deliveries?: { expected: number; missed: number };
}

/** A stage in which only what is compared differs from others. */
function stage(options: StageOptions = {}): StageReport {
  const { name = "30s at 1k/s", kind = "load", verdict = "ok", echo, deliveries } = options;
  const latencies: Partial<Record<LatencyName, ReturnType<LatencyHistogram["summary"]>>> = {};
  for (const [of, milliseconds] of Object.entries(options.latencies ?? {})) {
    const histogram = new LatencyHistogram();
    // As many of each as a percentile 99 needs to be compared.
    for (const ms of milliseconds) {
      for (let count = 0; count < 1_000; count++) histogram.recordMs(ms);
    }
    latencies[of as LatencyName] = histogram.summary();
  }
  const scheduled = echo === undefined ? 0 : echo.perSecond * echo.seconds;
  return {
    ...LOAD.stages[1]!,
    kind,
    name,
    verdict,
    latencies,
    operations:
      echo === undefined
        ? {}
        : {
            echo: {
              scheduled,
              started: scheduled,
              succeeded: echo.succeeded,
              failed: echo.failed ?? 0,
              intendedPerSecond: echo.perSecond,
              achievedPerSecond: echo.succeeded / echo.seconds,
            },
          },
    deliveries:
      deliveries === undefined ? null : { ...deliveries, received: 0, announced: 0, duplicates: 0 },
  };
}

function report(...stages: readonly StageReport[]): Report {
  return { ...LOAD, stages };
}

/** One row of the comparison; undefined: there is none. */
function compared(metric: string, before: StageOptions, now: StageOptions, tolerance?: number) {
  const result = compareBaseline(
    report(stage(before)),
    report(stage(now)),
    "before.json",
    tolerance,
  );
  return result.rows.find((row) => row.metric === metric);
}

function echoes(succeeded: number, failed: number = 0): StageOptions {
  return { echo: { perSecond: 1_000, seconds: 30, succeeded, failed } };
}

describe("a run compared with a baseline", () => {
  it("is no worse than itself, in anything", () => {
    const { file, rows } = compareBaseline(loadReport(), loadReport(), "before.json");
    expect(file).toBe("before.json");
    expect(rows.map(({ metric }) => metric)).toEqual([
      ...["response p50 ms", "response p99 ms", "service p50 ms", "service p99 ms"],
      ...["delivery p50 ms", "delivery p99 ms", "connect p50 ms", "connect p99 ms"],
      ...["operations/s", "errors %", "loss %"],
    ]);
    for (const { before, now, ratio, isRegression } of rows) {
      expect(now).toBe(before);
      expect(ratio).toBe(1);
      expect(isRegression).toBe(false);
    }
  });

  it.each([
    ["response", 100, 120, true],
    ["service", 100, 120, true],
    ["delivery", 100, 120, true],
    ["connect", 100, 120, true],
    // More by the tolerance and no more.
    ["response", 100, 109.5, false],
    // Three times as long, and yet a millisecond at most.
    ["response", 0.4, 1.3, false],
    ["response", 2, 3.2, true],
    ["response", 100, 20, false],
  ] as const)("%s from %d to %d ms: worse is %s", (name, before, now, isWorse) => {
    for (const percentile of ["p50", "p99"]) {
      const row = compared(
        `${name} ${percentile} ms`,
        { latencies: { [name]: [before] } },
        { latencies: { [name]: [now] } },
      );
      expect(row?.isRegression).toBe(isWorse);
      expect(row?.ratio).toBeCloseTo(now / before, 2);
    }
  });

  it("tells the tail from the middle", () => {
    const all = Array.from({ length: 100 }, () => 10);
    const tailed = { latencies: { response: [...all.slice(2), 500, 500] } };
    const before = { latencies: { response: all } };
    expect(compared("response p50 ms", before, tailed)?.isRegression).toBe(false);
    expect(compared("response p99 ms", before, tailed)?.isRegression).toBe(true);
  });

  it.each([
    [30_000, 26_700, true],
    [30_000, 27_300, false],
    [30_000, 45_000, false],
    [30_000, 0, true],
    [0, 30_000, false],
    [0, 0, false],
  ])("%d operations that became %d: worse is %s", (before, now, isWorse) => {
    const row = compared("operations/s", echoes(before), echoes(now));
    expect(row).toMatchObject({ before: before / 30, now: now / 30, isRegression: isWorse });
  });

  it.each([
    [0, 20, false],
    [0, 40, true],
    [300, 310, false],
    [300, 340, true],
    [300, 0, false],
  ])("%d errors in 30,000 that became %d: worse is %s", (before, now, isWorse) => {
    const row = compared("errors %", echoes(30_000 - before, before), echoes(30_000 - now, now));
    expect(row?.isRegression).toBe(isWorse);
    expect(row?.now).toBeCloseTo(now / 300, 9);
  });

  it.each([
    [0, 0.9, false],
    [0, 1.1, true],
    [50, 50.9, false],
    [50, 51.1, true],
  ])("%d per mille lost that became %d: worse is %s", (before, now, isWorse) => {
    const lost = (perMille: number): StageOptions => ({
      deliveries: { expected: 10_000, missed: perMille * 10 },
    });
    expect(compared("loss %", lost(before), lost(now))?.isRegression).toBe(isWorse);
  });

  it("may be told another tolerance", () => {
    const [before, now] = [{ latencies: { response: [100] } }, { latencies: { response: [140] } }];
    expect(compared("response p50 ms", before, now, 0.5)?.isRegression).toBe(false);
    expect(compared("response p50 ms", before, now, 0.3)?.isRegression).toBe(true);
    expect(compared("operations/s", echoes(30_000), echoes(20_000), 0.5)?.isRegression).toBe(false);
  });

  it("has no ratio where there was nothing before, and 1 where there still is none", () => {
    expect(compared("errors %", echoes(30_000), echoes(29_000, 1_000))?.ratio).toBeNull();
    expect(compared("errors %", echoes(30_000), echoes(30_000))?.ratio).toBe(1);
  });

  it("has no row for what only one of the two measured", () => {
    const before = { ...echoes(30_000), latencies: { response: [5], delivery: [5] } };
    const now = { ...echoes(30_000), latencies: { response: [5], service: [5] } };
    const { rows } = compareBaseline(report(stage(before)), report(stage(now)), "before.json");
    expect(rows.map(({ metric }) => metric)).toEqual([
      ...["response p50 ms", "response p99 ms", "operations/s", "errors %"],
    ]);
  });
});

describe("stages that are compared", () => {
  it("are merged sample by sample, not averaged", () => {
    const short = Array.from({ length: 99 }, () => 10);
    const before = report(
      stage({ name: "a", latencies: { response: short } }),
      stage({ name: "b", latencies: { response: [1_000] } }),
    );
    const row = compareBaseline(before, before, "before.json").rows[1];
    expect(row).toMatchObject({ metric: "response p99 ms" });
    expect(row?.before).toBeCloseTo(10, 1);
  });

  it.each(["generator-bound", "wall", "scram", "aborted"] as const)(
    "leave out one that is %s in either run",
    (verdict) => {
      const good = stage({ name: "a", latencies: { response: [10] } });
      const [ok, other] = (["ok", verdict] as const).map((of) =>
        stage({ name: "b", verdict: of, latencies: { response: [900] } }),
      );
      for (const [before, now] of [
        [report(good, ok!), report(good, other!)],
        [report(good, other!), report(good, ok!)],
      ] as const) {
        const { rows } = compareBaseline(before, now, "before.json");
        expect(rows.every((row) => row.before < 20 && row.now < 20)).toBe(true);
      }
    },
  );

  it("count although an objective was missed in them", () => {
    const [before, now] = [10, 90].map((ms) =>
      report(stage({ verdict: "missed", latencies: { response: [ms] } })),
    );
    expect(compareBaseline(before!, now!, "before.json").rows[0]?.isRegression).toBe(true);
  });

  it("are found by their names and their order among equal ones", () => {
    const of = (name: string, ms: number): StageReport =>
      stage({ name, latencies: { response: [ms] } });
    const before = report(of("a", 10), of("b", 20), of("a", 30));
    const now = report(of("new", 900), of("b", 20), of("a", 10));
    const [row] = compareBaseline(before, now, "before.json").rows;
    expect(row).toMatchObject({ ratio: 1, isRegression: false });
  });

  it.each([
    [
      "none has the same name",
      report(stage({ name: "30s at 1k/s" })),
      report(stage({ name: "1m at 5k/s" })),
      /^the baseline before.json has no stage of this run: .* 30s at 1k\/s; here they are 1m/,
    ],
    [
      "none has the same kind",
      report(stage({ kind: "connect" })),
      report(stage({ kind: "load" })),
      /has no stage of this run/,
    ],
    ["there are none", report(), report(), /has no stage of this run/],
    [
      "none counts in both",
      report(stage({ name: "a" }), stage({ name: "b", verdict: "generator-bound" })),
      report(stage({ name: "a", verdict: "aborted" }), stage({ name: "b" })),
      /no stage that counts in both runs \(a: ok, now aborted; b: generator-bound, now ok\)/,
    ],
    [
      "they measured nothing in common",
      report(stage({ latencies: { response: [1] } })),
      report(stage({ latencies: { service: [1] } })),
      /measured nothing in common/,
    ],
  ])("are an error where %s", (_, before, now, message) => {
    expect(() => compareBaseline(before, now, "before.json")).toThrow(
      expect.objectContaining({
        code: "HOLDFAST_OPTIONS_INVALID",
        message: expect.stringMatching(message),
      }),
    );
  });
});

describe("a baseline file", () => {
  let folder = "";

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "holdfast-baseline-"));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  function written(text: string): string {
    const file = join(folder, "report.json");
    writeFileSync(file, text);
    return file;
  }

  it("is the report that was written", () => {
    const before = JSON.parse(JSON.stringify(loadReport())) as Report;
    const read = readBaseline(written(JSON.stringify(before)));
    expect(read).toEqual(before);
    const { rows } = compareBaseline(read, loadReport(), "report.json");
    expect(rows.some(({ isRegression }) => isRegression)).toBe(false);
  });

  it("may hold more than this version knows", () => {
    const file = written(JSON.stringify({ ...loadReport(), fresh: { field: 1 } }));
    expect(readBaseline(file).stages).toHaveLength(3);
  });

  const first = loadReport().stages[0]!;
  const { response } = loadReport().stages[1]!.latencies;
  const broken = (change: object): string =>
    JSON.stringify({ ...loadReport(), stages: [first, { ...first, ...change }] });

  it.each([
    ["", /is no JSON: /],
    ["not json", /is no JSON: /],
    ['{"schema":', /is no JSON: /],
    ["null", /is no report of holdfast-probe: it has no schema/],
    ["[]", /is no report of holdfast-probe/],
    ['"text"', /is no report of holdfast-probe/],
    ['{"schema":3}', /is no report of holdfast-probe/],
    [
      '{"schema":"holdfast-probe.report/2"}',
      /has the schema "holdfast-probe.report\/2"; this version reads holdfast-probe.report\/1/,
    ],
    ['{"schema":"holdfast.stats/1"}', /has the schema "holdfast.stats\/1"/],
    [JSON.stringify(capacityReport()), /is a report of capacity; a baseline is a report of load/],
    ['{"schema":"holdfast-probe.report/1"}', /is a report of undefined/],
    ['{"schema":"holdfast-probe.report/1","command":"load"}', /is damaged: it has no stages/],
    [JSON.stringify({ ...loadReport(), stages: [first, null] }), /is damaged in stage 2/],
    [broken({ name: 5 }), /is damaged in stage 2/],
    [broken({ verdict: undefined }), /is damaged in stage 2/],
    [broken({ operations: null }), /is damaged in stage 2/],
    [broken({ operations: { echo: { scheduled: 5 } } }), /is damaged in stage 2/],
    [broken({ operations: { echo: null } }), /is damaged in stage 2/],
    [broken({ latencies: [] }), /is damaged in stage 2/],
    [broken({ latencies: { response: {} } }), /is damaged in stage 2/],
    [broken({ latencies: { response: { ...response, hdr: "AAAA" } } }), /is damaged in stage 2/],
    [broken({ deliveries: { expected: "5", missed: 1 } }), /is damaged in stage 2/],
    [broken({ deliveries: undefined }), /is damaged in stage 2/],
  ])("is refused where it holds %.40s", (text, message) => {
    const file = written(text);
    expect(() => readBaseline(file)).toThrow(
      expect.objectContaining({
        code: "HOLDFAST_OPTIONS_INVALID",
        message: expect.stringMatching(message),
      }),
    );
    expect(() => readBaseline(file)).toThrow(`the baseline ${file} `);
  });

  it("is refused where there is none", () => {
    const file = join(folder, "missing.json");
    expect(() => readBaseline(file)).toThrow(`the baseline ${file} does not exist`);
  });

  it("is refused where it is a folder", () => {
    expect(() => readBaseline(folder)).toThrow(`the baseline ${folder} cannot be read (EISDIR)`);
  });
});
