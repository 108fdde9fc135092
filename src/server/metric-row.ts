// What rows of the metric table are made of.

import type { GcWatch } from "../observe/gc-watch.ts";
import type { MetricRow, NumberRow } from "../observe/metrics.ts";
import type { ProcessReading } from "../observe/process-reading.ts";
import type { Server } from "./server.ts";
import type { TcpSampler } from "./tcp-sampler.ts";

/** What the rows read. */
export interface MetricSource {
  readonly server: Server;
  readonly process: ProcessReading;
  readonly gc: GcWatch;
  readonly tcp: TcpSampler;
  readonly build: BuildLabels;
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

type ReadNumber = (source: MetricSource) => number | null;

export function gauge(name: string, help: string, value: ReadNumber): NumberRow<MetricSource> {
  return number("gauge", name, help, value);
}

export function counter(name: string, help: string, value: ReadNumber): NumberRow<MetricSource> {
  return number("counter", name, help, value);
}

function number(
  type: "gauge" | "counter",
  name: string,
  help: string,
  value: ReadNumber,
): NumberRow<MetricSource> {
  const read: NumberRow<MetricSource>["read"] = (source, put) => {
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
