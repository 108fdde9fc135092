// The rows about the process itself. The names are those that prom-client and others use for every
// Node.js process, so that dashboards fit. Its own collectors are not used: they list every handle
// and every file in one go, which takes milliseconds when there are 20,000, and cannot be stopped.

import { GC_KINDS, GC_MS } from "../observe/gc-watch.ts";
import type { HistogramRow, NumberRow } from "../observe/metrics.ts";
import { counter, gauge, MILLISECONDS, type ProcessSource } from "./metric-row.ts";

const MICROSECONDS = 1e-6;

export type ProcessRow = NumberRow<ProcessSource> | HistogramRow<ProcessSource>;

export function processRows(): ProcessRow[] {
  return [BUILD, ...cpuRows(), ...fileRows(), ...memoryRows(), COLLECTIONS];
}

const BUILD: ProcessRow = {
  name: "holdfast_build_info",
  type: "gauge",
  help: "Always 1; the labels say what runs.",
  labels: { version: null, node: null, uws: null },
  aggregate: "max",
  read: ({ build }, put) => put(1, build),
};

function cpuRows(): ProcessRow[] {
  return [
    counter<ProcessSource>("process_cpu_user_seconds_total", "User CPU time.", ({ process }) => {
      return process.cpuMicros.user * MICROSECONDS;
    }),
    counter<ProcessSource>(
      "process_cpu_system_seconds_total",
      "System CPU time.",
      ({ process }) => process.cpuMicros.system * MICROSECONDS,
    ),
    counter<ProcessSource>(
      "process_cpu_seconds_total",
      "User and system CPU time.",
      ({ process }) => (process.cpuMicros.user + process.cpuMicros.system) * MICROSECONDS,
    ),
    gauge<ProcessSource>(
      "process_start_time_seconds",
      "Start of the process, since the epoch.",
      (source) => source.process.startedAtMs * MILLISECONDS,
      "min",
    ),
  ];
}

function fileRows(): ProcessRow[] {
  return [
    gauge<ProcessSource>(
      "process_open_fds",
      "Open files; absent where unknown. Of many processes, of the one that has most.",
      ({ process }) => process.fds,
      "max",
    ),
    gauge<ProcessSource>(
      "process_max_fds",
      "The file limit of a process; absent where unknown.",
      ({ fileLimit }) => fileLimit,
      "min",
    ),
  ];
}

function memoryRows(): ProcessRow[] {
  return [
    gauge<ProcessSource>("process_resident_memory_bytes", "Resident memory.", ({ process }) => {
      return process.memory.rss;
    }),
    gauge<ProcessSource>(
      "nodejs_heap_size_total_bytes",
      "V8's heap, as allocated.",
      ({ process }) => process.memory.heapTotal,
    ),
    gauge<ProcessSource>("nodejs_heap_size_used_bytes", "V8's heap, as used.", ({ process }) => {
      return process.memory.heapUsed;
    }),
    gauge<ProcessSource>(
      "nodejs_external_memory_bytes",
      "Memory of objects outside the heap.",
      ({ process }) => process.memory.external,
    ),
  ];
}

const COLLECTIONS: ProcessRow = {
  name: "nodejs_gc_duration_seconds",
  type: "histogram",
  help: "Time taken by garbage collections, by kind.",
  labels: { kind: GC_KINDS },
  bounds: GC_MS,
  scale: MILLISECONDS,
  read: ({ gc }, put) => {
    for (const kind of GC_KINDS) put(gc.durationMs[kind], { kind });
  },
};
