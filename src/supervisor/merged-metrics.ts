// Metrics of many processes as one, without a label for the worker. Counters of workers that have
// gone stay in the sums: a counter that falls looks like a restart to whoever scrapes it.

import { mergedMetrics, type MetricJson } from "../observe/metrics.ts";

type MetricsJson = readonly MetricJson[];

/**
 * What is left of a process that has gone, or does not answer: its counters and histograms. Its
 * gauges that are added become 0, so that their series do not vanish with the last worker.
 */
export function remainsOf(metrics: MetricsJson): MetricsJson {
  return metrics
    .filter(({ type, aggregator }) => type !== "gauge" || aggregator === "sum")
    .map((metric) => {
      if (metric.type !== "gauge") return metric;
      return { ...metric, values: metric.values.map((sample) => ({ ...sample, value: 0 })) };
    });
}

/** The remains of two as those of one. */
export async function addRemains(a: MetricsJson, b: MetricsJson): Promise<MetricsJson> {
  return (await mergedMetrics([a, b])).json;
}
