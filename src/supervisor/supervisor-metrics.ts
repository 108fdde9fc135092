// The metrics that the supervisor adds to those of its workers.

import type { MetricRow, NumberRow } from "../observe/metrics.ts";
import { counter, gauge, NO_LABELS, type ProcessSource } from "../server/metric-row.ts";
import { processRows } from "../server/process-metrics.ts";
import type { SupervisorFacts } from "./operators.ts";

export interface SupervisorSource extends ProcessSource {
  readonly facts: SupervisorFacts;
  readonly isReady: boolean;
  /** Workers that serve. */
  readonly serving: number;
  /** Workers that did not answer. */
  readonly missing: number;
}

/** Those of the process are added to its workers': the server is all of them. */
export const SUPERVISOR_PROCESS_METRICS: readonly MetricRow<SupervisorSource>[] = processRows();

export const SUPERVISOR_METRICS: readonly NumberRow<SupervisorSource>[] = [
  gauge("holdfast_ready", "1 while /readyz answers 200, 0 otherwise.", ({ isReady }) => {
    return isReady ? 1 : 0;
  }),
  gauge("holdfast_worker_slots", "Workers that there are to be.", ({ facts }) => facts.slots),
  gauge("holdfast_workers_serving", "Workers that serve.", ({ serving }) => serving),
  gauge(
    "holdfast_workers_missing",
    "Workers that did not answer this scrape: their gauges are not in it.",
    ({ missing }) => missing,
  ),
  gauge(
    "holdfast_worker_breakers_open",
    "Slots whose workers crashed so often that none is started for a while.",
    ({ facts }) => facts.breakersOpen.length,
  ),
  counter("holdfast_worker_crashes_total", "Workers that ended unasked.", ({ facts }) => {
    return facts.crashes;
  }),
  counter(
    "holdfast_worker_restarts_total",
    "Workers started because one had ended unasked.",
    ({ facts }) => facts.restarts,
  ),
  outcomes(
    "holdfast_rolling_restarts_total",
    "Rolling restarts that replaced every worker, or stopped half way.",
    ["completed", "failed"],
    ({ facts }) => [facts.reload.completed, facts.reload.failed],
  ),
  outcomes(
    "holdfast_config_changes_total",
    "Changes of the configuration file that were taken, or refused as a whole.",
    ["taken", "refused"],
    ({ facts }) => [facts.config.taken, facts.config.refused],
  ),
  gauge(
    "holdfast_config_pending_options",
    "Options that the file has changed and that wait for a rolling restart or a new start.",
    ({ facts }) => facts.config.pending.rolling.length + facts.config.pending.supervisor.length,
  ),
  counter("holdfast_bus_frames_total", "Frames that the bus took from workers.", ({ facts }) => {
    return facts.bus.frames;
  }),
  counter("holdfast_bus_bytes_total", "Bytes of these frames.", ({ facts }) => facts.bus.bytes),
  counter(
    "holdfast_bus_dropped_total",
    "Events that the bus did not hand to a worker, because that worker's queue was full.",
    ({ facts }) => facts.bus.dropped,
  ),
];

function outcomes(
  name: string,
  help: string,
  values: readonly string[],
  read: (source: SupervisorSource) => readonly number[],
): NumberRow<SupervisorSource> {
  return {
    name,
    type: "counter",
    help,
    labels: { ...NO_LABELS, outcome: values },
    read: (source, put) => {
      for (const [index, count] of read(source).entries()) put(count, { outcome: values[index]! });
    },
  };
}
