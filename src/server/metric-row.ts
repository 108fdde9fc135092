// What rows of the metric table are made of.

import type { GcWatch } from "../observe/gc-watch.ts";
import type { Aggregate, MetricRow, NumberRow } from "../observe/metrics.ts";
import type { ProcessReading } from "../observe/process-reading.ts";
import type { Server } from "./server.ts";
import type { TcpSampler } from "./tcp-sampler.ts";

/** What the rows about the process itself read, whatever it runs. */
export interface ProcessSource {
  readonly process: ProcessReading;
  readonly gc: GcWatch;
  readonly build: BuildLabels;
  /** Null where there is none. */
  readonly fileLimit: number | null;
}

/** What the rows read. */
export interface MetricSource extends ProcessSource {
  readonly server: Server;
  readonly tcp: TcpSampler;
}

export type BuildLabels = {
  /** Of Holdfast. */
  readonly version: string;
  /** Of Node.js. */
  readonly node: string;
  /** Package and version of uWebSockets.js; "none" where no listener uses it. */
  readonly uws: string;
};

export type Row = MetricRow<MetricSource>;

export const MILLISECONDS = 0.001;
export const NO_LABELS: Readonly<Record<string, never>> = {};

type ReadNumber<Source> = (source: Source) => number | null;

/** @param aggregate how it becomes one over several processes. */
export function gauge<Source = MetricSource>(
  name: string,
  help: string,
  value: ReadNumber<Source>,
  aggregate: Aggregate = "sum",
): NumberRow<Source> {
  return { ...number("gauge", name, help, value), aggregate };
}

export function counter<Source = MetricSource>(
  name: string,
  help: string,
  value: ReadNumber<Source>,
): NumberRow<Source> {
  return number("counter", name, help, value);
}

function number<Source>(
  type: "gauge" | "counter",
  name: string,
  help: string,
  value: ReadNumber<Source>,
): NumberRow<Source> {
  const read: NumberRow<Source>["read"] = (source, put) => {
    const given = value(source);
    if (given !== null) put(given);
  };
  return { name, type, help, labels: NO_LABELS, read };
}

/** One counter per value of one label. */
export function counts(
  name: string,
  help: string,
  labels: Readonly<Record<string, readonly string[]>>,
  byValue: (source: MetricSource) => Readonly<Record<string, number>>,
): NumberRow<MetricSource> {
  const [label, values] = Object.entries(labels)[0]!;
  const read: NumberRow<MetricSource>["read"] = (source, put) => {
    const found = byValue(source);
    for (const value of values) put(found[value]!, { [label]: value });
  };
  return { name, type: "counter", help, labels, read };
}

type NumberOf<T> = { [K in keyof T]: T[K] extends number ? K : never }[keyof T];
type CounterName = NumberOf<Server["shared"]["counters"]>;

export function bothWays(
  name: string,
  help: string,
  received: CounterName,
  sent: CounterName,
): NumberRow<MetricSource> {
  return {
    name,
    type: "counter",
    help,
    labels: { direction: ["in", "out"] },
    read: ({ server }, put) => {
      put(server.shared.counters[received], { direction: "in" });
      put(server.shared.counters[sent], { direction: "out" });
    },
  };
}
