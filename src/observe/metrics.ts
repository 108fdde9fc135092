// Metrics for Prometheus from a table of rows. Nothing is counted here: each row reads counters
// that others keep as plain numbers, when somebody asks. Every label's values are a closed list, so
// that no client can make series.

import { AggregatorRegistry, Counter, Gauge, type Metric, Registry } from "prom-client";
import { assert } from "../base/assert.ts";
import type { Buckets } from "./buckets.ts";

export type MetricLabels = Readonly<Record<string, string>>;

/** How the values of several processes become one; "omit": they say nothing together. */
export type Aggregate = "sum" | "max" | "min" | "omit";

interface RowFacts {
  readonly name: string;
  /** One sentence, with the unit. */
  readonly help: string;
  /** What each label may be; null: one value for the life of the process. */
  readonly labels: Readonly<Record<string, readonly string[] | null>>;
  /** Default: "sum". */
  readonly aggregate?: Aggregate;
}

export interface NumberRow<Source> extends RowFacts {
  readonly type: "counter" | "gauge";
  /** Gives every sample of the row. */
  readonly read: (source: Source, put: (value: number, labels?: MetricLabels) => void) => void;
}

export interface HistogramRow<Source> extends RowFacts {
  readonly type: "histogram";
  /** Bounds of its buckets, in the unit of what is read. */
  readonly bounds: readonly number[];
  /** What makes the metric's unit of it: 0.001 from milliseconds to seconds. */
  readonly scale: number;
  readonly read: (source: Source, put: (buckets: Buckets, labels?: MetricLabels) => void) => void;
}

export type MetricRow<Source> = NumberRow<Source> | HistogramRow<Source>;

export interface MetricSample {
  readonly metricName?: string;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
}

/** A metric with its values as plain JSON, so that those of several processes can be merged. */
export interface MetricJson {
  readonly name: string;
  readonly help: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly aggregator: Aggregate;
  readonly values: readonly MetricSample[];
}

export class Metrics<Source> {
  readonly contentType: string;
  readonly #registry: Registry = new Registry();

  constructor(rows: readonly MetricRow<Source>[], source: () => Source) {
    this.contentType = this.#registry.contentType;
    for (const row of rows) {
      if (row.type === "histogram") this.#registry.registerMetric(histogram(row, source));
      else this.#addNumber(row, source);
    }
  }

  /** All rows in Prometheus's text format. */
  text(): Promise<string> {
    return this.#registry.metrics();
  }

  /** All rows as plain JSON. */
  async json(): Promise<readonly MetricJson[]> {
    return plain(await this.#registry.getMetricsAsJSON());
  }

  #addNumber(row: NumberRow<Source>, source: () => Source): void {
    const { name, help, labels, aggregate = "sum" } = row;
    const facts = {
      name,
      help,
      labelNames: Object.keys(labels),
      registers: [this.#registry],
      aggregator: aggregate,
    };
    if (row.type === "gauge") {
      new Gauge({
        ...facts,
        collect() {
          row.read(source(), (value, given = {}) => this.set(checked(row, given), value));
        },
      });
      return;
    }
    new Counter({
      ...facts,
      collect() {
        this.reset();
        row.read(source(), (value, given = {}) => this.inc(checked(row, given), value));
      },
    });
  }
}

/** The metrics of several processes as one, each row by its own {@link Aggregate}. */
export async function mergedMetrics(
  processes: readonly (readonly MetricJson[])[],
): Promise<{ readonly type: string; readonly text: string; readonly json: readonly MetricJson[] }> {
  const registry = AggregatorRegistry.aggregate(processes as never);
  const json = plain(await registry.getMetricsAsJSON());
  return { type: registry.contentType, text: await registry.metrics(), json };
}

function plain(metrics: unknown): readonly MetricJson[] {
  return (metrics as MetricJson[]).map(({ name, help, type, aggregator, values }) => {
    return { name, help, type, aggregator, values };
  });
}

/**
 * prom-client's own histogram wants every observation; ours has counted them already, and all that
 * a registry asks of a metric is get().
 */
function histogram<Source>(row: HistogramRow<Source>, source: () => Source): Metric {
  const { name, help, type } = row;
  const get = (): Promise<unknown> => {
    const values: MetricSample[] = [];
    row.read(source(), (buckets, given = {}) => addSamples(values, row, buckets, given));
    return Promise.resolve({ name, help, type, values, aggregator: "sum" });
  };
  return { name, help, type, get } as unknown as Metric;
}

function addSamples(
  samples: MetricSample[],
  row: HistogramRow<never>,
  { counts, sum, count }: Buckets,
  given: MetricLabels,
): void {
  const { name, bounds, scale } = row;
  const labels = checked(row, given);
  const metricName = `${name}_bucket`;
  let below = 0;
  for (const [index, bound] of bounds.entries()) {
    below += counts[index]!;
    // Without the rounding 0.05 ms would be 0.00005000000000000001 s.
    const le = Number((bound * scale).toPrecision(12));
    samples.push({ metricName, labels: { ...labels, le }, value: below });
  }
  samples.push({ metricName, labels: { ...labels, le: "+Inf" }, value: count });
  samples.push({ metricName: `${name}_sum`, labels, value: sum * scale });
  samples.push({ metricName: `${name}_count`, labels, value: count });
}

function checked({ name, labels }: RowFacts, given: MetricLabels): MetricLabels {
  const keys = Object.keys(labels);
  assert(keys.length === Object.keys(given).length, `${name} is given each of its labels`);
  for (const key of keys) {
    const value = given[key];
    const isListed = value !== undefined && labels[key]?.includes(value) !== false;
    assert(isListed, `${name}: ${key}="${value}" is not in its list`);
  }
  return given;
}
