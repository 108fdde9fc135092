// From rows to Prometheus's text, and the table of rows itself.
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { Buckets } from "../../src/observe/buckets.ts";
import {
  type Aggregate,
  mergedMetrics,
  type MetricJson,
  type MetricRow,
  Metrics,
} from "../../src/observe/metrics.ts";
import { METRICS, STATUS_NAMES } from "../../src/server/metric-table.ts";
import { SUPERVISOR_METRICS } from "../../src/supervisor/supervisor-metrics.ts";
import { STATUS } from "../../src/wire/messages.ts";
import { readPrometheus } from "../support/prometheus-text.ts";

const text = (...rows: MetricRow<number>[]): Promise<string> => new Metrics(rows, () => 7).text();

function histogramOf(buckets: Buckets, scale: number): MetricRow<number> {
  return {
    name: "h_seconds",
    type: "histogram",
    help: "h",
    labels: {},
    bounds: buckets.bounds,
    scale,
    read: (_source, put) => put(buckets),
  };
}

describe("metrics", () => {
  it("are read when somebody asks, and not before", async () => {
    let source = 1;
    let reads = 0;
    const row: MetricRow<number> = {
      name: "a_total",
      type: "counter",
      help: "a",
      labels: {},
      read: (value, put) => {
        reads++;
        put(value);
      },
    };
    const metrics = new Metrics([row], () => source);
    expect(reads).toBe(0);
    expect(await metrics.text()).toContain("a_total 1\n");
    source = 41;
    expect(await metrics.text()).toContain("a_total 41\n");
    expect(reads).toBe(2);
  });

  it("keep to their own registry: two servers may live in one process", async () => {
    const gauge = (value: number): MetricRow<number> => ({
      name: "twice",
      type: "gauge",
      help: "g",
      labels: {},
      read: (_source, put) => put(value),
    });
    const one = new Metrics([gauge(1)], () => 0);
    const two = new Metrics([gauge(2)], () => 0);
    expect(await one.text()).toContain("twice 1\n");
    expect(await two.text()).toContain("twice 2\n");
  });

  it("show a histogram as cumulative buckets in the unit of the metric", async () => {
    const buckets = new Buckets([0.05, 1, 100]);
    for (const ms of [0.01, 0.05, 0.06, 1, 99, 100.001, 5_000]) buckets.observe(ms);
    const { samples } = readPrometheus(await text(histogramOf(buckets, 0.001)));
    expect(samples.map(({ name, labels, value }) => [name, labels["le"], value])).toEqual([
      ["h_seconds_bucket", "0.00005", 2],
      ["h_seconds_bucket", "0.001", 4],
      ["h_seconds_bucket", "0.1", 5],
      ["h_seconds_bucket", "+Inf", 7],
      ["h_seconds_sum", undefined, expect.closeTo(5.200121, 6)],
      ["h_seconds_count", undefined, 7],
    ]);
  });

  it("show nothing of a row that gives no sample", async () => {
    const none: MetricRow<number> = {
      name: "absent",
      type: "gauge",
      help: "n",
      labels: { a: ["b"] },
      read: () => {},
    };
    expect(readPrometheus(await text(none)).samples).toEqual([]);
  });

  it.each([
    ["a value that is not in the list", { state: "flying" }],
    ["a label too many", { state: "idle", client: "x" }],
    ["another label", { client: "idle" }],
    ["no label", undefined],
  ])("fail rather than make a series for %s", async (_what, labels) => {
    const row: MetricRow<number> = {
      name: "n_total",
      type: "counter",
      help: "n",
      labels: { state: ["idle", "active"] },
      read: (_source, put) => put(1, labels),
    };
    await expect(text(row)).rejects.toThrow(/n_total/);
  });

  it.each([-1, Number.POSITIVE_INFINITY])("fail rather than show %d as a count", async (value) => {
    const row: MetricRow<number> = {
      name: "n_total",
      type: "counter",
      help: "n",
      labels: {},
      read: (_source, put) => put(value),
    };
    await expect(text(row)).rejects.toThrow(/counter|number/);
  });
});

describe("the table of metrics", () => {
  it("has each name once, in the form that Prometheus asks for", () => {
    const names = METRICS.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    for (const { name, type, help } of METRICS) {
      expect(name).toMatch(/^(holdfast|process|nodejs)_[a-z_]+$/);
      expect(name.endsWith("_total")).toBe(type === "counter");
      if (type === "histogram") expect(name).toMatch(/_(seconds|bytes|events|retransmits)$/);
      expect(help).toMatch(/^[A-Z1].*\.$/);
    }
  });

  it("names every gRPC status at its number", () => {
    expect(STATUS_NAMES[0]).toBe("ok");
    for (const [name, code] of Object.entries(STATUS)) {
      expect(STATUS_NAMES[code]).toBe(name.toLowerCase());
    }
    expect(STATUS_NAMES).toHaveLength(17);
  });

  it("stays far below what a scraper takes for too many series", () => {
    let series = 0;
    for (const row of METRICS) {
      const sizes = Object.values(row.labels).map((values) => values?.length ?? 1);
      const each = row.type === "histogram" ? row.bounds.length + 3 : 1;
      series += sizes.reduce((product, size) => product * size, each);
    }
    expect(series).toBeLessThan(1_000);
  });

  it("is the reference page's, row by row", () => {
    const page = readFileSync(new URL("../../docs/metrics.md", import.meta.url), "utf8");
    const rows = [...page.matchAll(/^\| `(\w+)` \| (\w+) \| (.*?) \| (.*) \|$/gm)].map(
      ([, name, type, labels, help]) => [name, type, labels, help],
    );
    const names = new Set(METRICS.map(({ name }) => name));
    // Those that the supervisor adds; a row that workers have as well stands there once.
    const supervisors = SUPERVISOR_METRICS.filter(({ name }) => !names.has(name));
    expect(rows).toEqual(
      [...METRICS, ...supervisors].map(({ name, type, labels, help }) => [
        name,
        type,
        Object.keys(labels)
          .map((label) => `\`${label}\``)
          .join(", "),
        help,
      ]),
    );
  });
});

describe("the rows of the supervisor", () => {
  it("have names and sentences like all others", () => {
    for (const { name, type, help } of SUPERVISOR_METRICS) {
      expect(name).toMatch(/^holdfast_[a-z_]+$/);
      expect(name.endsWith("_total")).toBe(type === "counter");
      expect(help).toMatch(/^[A-Z1].*\.$/);
    }
  });
});

describe("metrics of several processes", () => {
  const json = (...rows: MetricRow<number>[]): Promise<readonly MetricJson[]> =>
    new Metrics(rows, () => 7).json();
  const gauge = (aggregate: Aggregate, value: number): MetricRow<number> => ({
    name: "g",
    type: "gauge",
    help: "g",
    labels: {},
    aggregate,
    read: (_source, put) => put(value),
  });

  it.each([
    ["sum", 6],
    ["max", 3],
    ["min", 1],
  ] as const)("become one by the row's own rule: %s", async (aggregate, expected) => {
    const parts = await Promise.all([2, 1, 3].map((value) => json(gauge(aggregate, value))));
    const { text: merged } = await mergedMetrics(parts);
    expect(readPrometheus(merged).samples).toEqual([{ name: "g", labels: {}, value: expected }]);
  });

  it("are the same after JSON, histograms included, bucket by bucket", async () => {
    const buckets = new Buckets([1, 100]);
    for (const ms of [0.5, 50, 500]) buckets.observe(ms);
    const one = await json(histogramOf(buckets, 0.001));
    const { text: merged, type } = await mergedMetrics([one, JSON.parse(JSON.stringify(one))]);
    expect(type).toContain("text/plain");
    const { samples } = readPrometheus(merged);
    expect(samples.map(({ name, labels, value }) => [name, labels["le"], value])).toEqual([
      ["h_seconds_bucket", "0.001", 2],
      ["h_seconds_bucket", "0.1", 4],
      ["h_seconds_bucket", "+Inf", 6],
      ["h_seconds_sum", undefined, expect.closeTo(1.101, 6)],
      ["h_seconds_count", undefined, 6],
    ]);
  });

  it("keep a series that only one of them has", async () => {
    const labelled = (state: string): MetricRow<number> => ({
      name: "n_total",
      type: "counter",
      help: "n",
      labels: { state: ["idle", "active"] },
      read: (_source, put) => put(1, { state }),
    });
    const parts = [await json(labelled("idle")), await json(labelled("active"))];
    expect(readPrometheus((await mergedMetrics(parts)).text).samples).toHaveLength(2);
  });
});
