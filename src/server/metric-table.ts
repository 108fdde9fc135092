// Every metric: its name, its meaning, the closed lists of its labels, and where its value is read.
// docs/metrics.md is generated from here. Counters of Prometheus end in _total, times are seconds.

import { CLOSE_CAUSES, CLOSE_REASONS } from "../connection/close-reason.ts";
import { STATE, STATE_NAMES } from "../connection/state.ts";
import { CALL_MS, LAG_MS } from "../observe/buckets.ts";
import type { MetricLabels } from "../observe/metrics.ts";
import { TRANSPORT_KINDS } from "../transport/transport.ts";
import { UPGRADE_REFUSALS } from "../transport/upgrade-check.ts";
import { STATUS } from "../wire/messages.ts";
import {
  bothWays,
  counter,
  counts,
  gauge,
  MILLISECONDS,
  type MetricSource,
  NO_LABELS,
  type Row,
} from "./metric-row.ts";
import { nativeRows } from "./native-metrics.ts";
import { processRows } from "./process-metrics.ts";
import { readiness } from "./readiness.ts";

/** States in which a connection can be found. */
export const OPEN_STATES: readonly string[] = STATE_NAMES.slice(STATE.ACCEPTED, STATE.CLOSED);

/** gRPC's status codes by number, in lower case; 0 is "ok". */
export const STATUS_NAMES: readonly string[] = [
  "ok",
  ...Object.keys(STATUS).map((name) => name.toLowerCase()),
];

export const METRICS: readonly Row[] = [
  ...connectionRows(),
  ...trafficRows(),
  ...memoryRows(),
  ...topicRows(),
  ...callRows(),
  ...troubleRows(),
  ...nativeRows(),
  ...processRows(),
];

function connectionRows(): Row[] {
  return [
    {
      name: "holdfast_connections",
      type: "gauge",
      help: "Connections now, by state and transport.",
      labels: { state: OPEN_STATES, transport: TRANSPORT_KINDS },
      read: readConnections,
    },
    gauge("holdfast_connections_max", "Connections that are served at a time.", ({ server }) => {
      return server.admission.connectionsMax;
    }),
    counter("holdfast_connections_opened_total", "Connections opened.", ({ server }) => {
      return server.shared.counters.opened;
    }),
    counts(
      "holdfast_connections_closed_total",
      "Connections closed, by what the client was told.",
      { reason: Object.keys(CLOSE_REASONS) },
      ({ server }) => server.closedByReason,
    ),
    counts(
      "holdfast_connections_closed_cause_total",
      "Connections closed, by what exactly happened.",
      { cause: Object.keys(CLOSE_CAUSES) },
      ({ server }) => server.closedByCause,
    ),
    counter(
      "holdfast_connections_refused_total",
      "Connections opened only to be told to come back later: the server was full.",
      ({ server }) => server.shared.counters.refused,
    ),
    counter(
      "holdfast_connections_not_admitted_total",
      "Connections cut off before anything was allocated: files were running out.",
      ({ server }) => server.shared.counters.notAdmitted,
    ),
    counts(
      "holdfast_upgrades_refused_total",
      "WebSocket upgrades refused, by cause.",
      { cause: UPGRADE_REFUSALS },
      ({ server }) => server.upgradesRefused,
    ),
    {
      name: "holdfast_listeners",
      type: "gauge",
      help: "Listeners, by transport.",
      labels: { transport: TRANSPORT_KINDS },
      aggregate: "max",
      read: ({ server }, put) => {
        for (const transport of TRANSPORT_KINDS) {
          const served = server.listeners.filter((each) => each.transport.kind === transport);
          put(served.length, { transport });
        }
      },
    },
    gauge(
      "holdfast_ready",
      "1 while /readyz answers 200, 0 otherwise.",
      ({ server }) => (readiness(server) === "ready" ? 1 : 0),
      "omit",
    ),
  ];
}

function readConnections(
  { server }: MetricSource,
  put: (value: number, labels: MetricLabels) => void,
): void {
  for (const transport of TRANSPORT_KINDS) {
    const listeners = server.listeners.filter((listener) => listener.transport.kind === transport);
    if (listeners.length === 0) continue;
    for (const [index, state] of OPEN_STATES.entries()) {
      let count = 0;
      for (const { context } of listeners) count += context.stateCounts[STATE.ACCEPTED + index]!;
      put(count, { state, transport });
    }
  }
}

function trafficRows(): Row[] {
  return [
    bothWays("holdfast_frames_total", "Frames, heartbeats included.", "framesIn", "framesOut"),
    bothWays(
      "holdfast_bytes_total",
      "Bytes of frames, their headers included.",
      "bytesIn",
      "bytesOut",
    ),
    bothWays("holdfast_heartbeats_total", "Empty frames.", "heartbeatsIn", "heartbeatsOut"),
    bothWays(
      "holdfast_bytes_discarded_total",
      "Bytes received while closing and not looked at (in); queued and never sent (out).",
      "bytesDiscardedIn",
      "bytesDiscardedOut",
    ),
    counter(
      "holdfast_sends_refused_total",
      "Sends that were refused because a queue was full or its connection closing.",
      ({ server }) => server.shared.counters.sendsRefused,
    ),
    counter(
      "holdfast_read_pauses_total",
      "Times that reading from a connection was stopped, because of its queue or its calls.",
      ({ server }) => server.shared.counters.readPauses,
    ),
    counter(
      "holdfast_yields_total",
      "Times that a connection with more to say had to wait for the others' turn.",
      ({ server }) => server.shared.counters.yields,
    ),
  ];
}

function memoryRows(): Row[] {
  return [
    gauge("holdfast_queue_bytes", "Bytes that wait to be sent.", ({ server }) => {
      return server.shared.budget.bytes;
    }),
    gauge("holdfast_queue_budget_bytes", "The most that may wait to be sent.", ({ server }) => {
      return server.shared.budget.bytesMax;
    }),
    gauge("holdfast_backlogged_connections", "Connections with a queue.", ({ server }) => {
      return server.shared.budget.backlogged.size;
    }),
    gauge("holdfast_leases", "Slabs of the buffer pool in use.", ({ server }) => {
      return server.shared.pool.leased;
    }),
    gauge("holdfast_leased_bytes", "Bytes of slabs in use.", ({ server }) => {
      return server.shared.pool.leasedBytes;
    }),
    gauge("holdfast_pool_free_bytes", "Bytes of slabs kept for later.", ({ server }) => {
      return server.shared.pool.freeBytes;
    }),
    gauge("holdfast_timers", "Deadlines that are armed.", ({ server }) => {
      return server.shared.wheel.armed;
    }),
  ];
}

function topicRows(): Row[] {
  return [
    gauge(
      "holdfast_topics",
      "Topics that somebody subscribes to; of many processes, in the one that has most.",
      ({ server }) => server.topics.count,
      "max",
    ),
    gauge("holdfast_subscriptions", "Subscriptions of all connections.", ({ server }) => {
      return server.topics.subscriptionCount;
    }),
    gauge("holdfast_topic_backlog", "Events that wait for their fan-out.", ({ server }) => {
      return server.topics.backlogCount;
    }),
    counter("holdfast_events_published_total", "Events published.", ({ server }) => {
      return server.topics.published;
    }),
    counter(
      "holdfast_events_delivered_total",
      "Events handed to subscribers' connections.",
      ({ server }) => server.topics.delivered,
    ),
    counter(
      "holdfast_events_dropped_total",
      "Events that a slow subscriber did not get.",
      ({ server }) => server.shared.counters.eventsDropped,
    ),
    counter(
      "holdfast_events_lost_total",
      "Events that did not come from another process, or came while too many of the topic waited.",
      ({ server }) => server.topics.lost,
    ),
    counter(
      "holdfast_gaps_total",
      "Gaps sent, each of which announces dropped events.",
      ({ server }) => server.shared.counters.gapsSent,
    ),
  ];
}

function callRows(): Row[] {
  return [
    {
      name: "holdfast_calls_total",
      type: "counter",
      help: "Calls answered, by gRPC status.",
      labels: { status: STATUS_NAMES },
      read: ({ server }, put) => {
        for (const [status, name] of STATUS_NAMES.entries()) {
          put(server.callsByStatus[status] ?? 0, { status: name });
        }
      },
    },
    {
      name: "holdfast_call_duration_seconds",
      type: "histogram",
      help:
        "Time from a call's arrival until its answer was handed over: of every asynchronous call " +
        "and of one synchronous call in sixteen.",
      labels: NO_LABELS,
      bounds: CALL_MS,
      scale: MILLISECONDS,
      read: ({ server }, put) => put(server.callMs),
    },
  ];
}

function troubleRows(): Row[] {
  return [
    {
      name: "holdfast_loop_lag_seconds",
      type: "histogram",
      help:
        "How late the event loop came to a timer that is due every 50 ms; every 100 ms where " +
        "workers outnumber the cores.",
      labels: NO_LABELS,
      bounds: LAG_MS,
      scale: MILLISECONDS,
      read: ({ server }, put) => put(server.lagMs),
    },
    counter(
      "holdfast_loop_stalls_total",
      "Times that it came over a second late.",
      ({ server }) => {
        return server.shared.counters.loopStalls;
      },
    ),
    counter("holdfast_accept_errors_total", "Accepting failed.", ({ server }) => {
      return server.shared.counters.acceptErrors;
    }),
    counter(
      "holdfast_accept_pauses_total",
      "Times that accepting was stopped because files were running out.",
      ({ server }) => server.shared.counters.acceptPauses,
    ),
    counter(
      "holdfast_illegal_transitions_total",
      "Illegal moves of a connection's state machine: each is a defect of the server.",
      ({ server }) => server.shared.counters.illegalTransitions,
    ),
    counter(
      "holdfast_log_suppressed_total",
      "Events that the log counted and did not write, beyond log.samplePerSecond.",
      ({ server }) => server.log.losses?.suppressed ?? 0,
    ),
    counter(
      "holdfast_log_lost_total",
      "Lines that whoever reads the log did not take.",
      ({ server }) => server.log.losses?.lost ?? 0,
    ),
  ];
}
