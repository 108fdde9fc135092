// The rows of the native transport: what its loop counts, and what the kernel says of connections.
// Those of the loop are 0 where nothing native runs.

import type { Buckets } from "../observe/buckets.ts";
import type { HistogramRow, NumberRow } from "../observe/metrics.ts";
import { BATCH_SIZES } from "../transport/epoll-layout.ts";
import { batchEvents, type LoopCount, loopCount } from "./loop-report.ts";
import {
  counter,
  gauge,
  MILLISECONDS,
  type MetricSource,
  NO_LABELS,
  type Row,
} from "./metric-row.ts";
import {
  RETRANSMITS,
  RTT_MS,
  TCP_SAMPLES,
  type TcpHistograms,
  UNDER_WAY_BYTES,
} from "./tcp-sampler.ts";

export function nativeRows(): Row[] {
  return [...batchRows(), ...socketRows(), ...acceptRows(), ...defectRows(), ...tcpRows()];
}

function batchRows(): Row[] {
  return [
    {
      name: "holdfast_native_batch_events",
      type: "histogram",
      help: "Events of sockets in a batch; a batch is one call from native code.",
      labels: NO_LABELS,
      bounds: BATCH_SIZES,
      scale: 1,
      read: ({ server }, put) => put(batchEvents(server)),
    },
    count("flushes", "Calls into native code with what is to be written, paused or closed."),
  ];
}

function socketRows(): Row[] {
  return [
    labelled("bytes", "Bytes that the kernel gave or took.", "direction", {
      in: "bytesIn",
      out: "bytesOut",
    }),
    labelled("system_calls", "System calls that read or wrote.", "call", {
      read: "reads",
      write: "writes",
    }),
    labelled(
      "again",
      "Reads that found nothing, and writes that the kernel did not take whole.",
      "call",
      {
        read: "readAgain",
        write: "writeAgain",
      },
    ),
    gauge(
      "holdfast_native_queue_bytes",
      "Bytes of all connections that the kernel has not taken yet.",
      ({ server }) => loopCount(server, "queueBytes"),
    ),
    gauge("holdfast_native_queues", "Connections that have such bytes.", ({ server }) => {
      return loopCount(server, "queues");
    }),
    gauge("holdfast_native_sockets", "Sockets of connections in the loop.", ({ server }) => {
      return loopCount(server, "sockets");
    }),
  ];
}

function acceptRows(): Row[] {
  return [
    count("accepted", "Connections that native code has accepted."),
    count("acceptRefused", "Connections that were closed at once: there was no file left."),
    count("acceptErrors", "Times that accepting failed."),
    count("connects", "Connections that native code has opened to others."),
  ];
}

function defectRows(): Row[] {
  return [
    count("staleEvents", "Events of sockets that had gone in the same batch."),
    count("invalidOperations", "Operations that made no sense: each is a defect of the server."),
  ];
}

function tcpRows(): Row[] {
  return [
    sampled("holdfast_tcp_rtt_seconds", "Round-trip times, as the kernel smooths them.", {
      bounds: RTT_MS,
      scale: MILLISECONDS,
      of: ({ rttMs }) => rttMs,
    }),
    sampled("holdfast_tcp_retransmits", "Segments that a connection has had to send again.", {
      bounds: RETRANSMITS,
      scale: 1,
      of: ({ retransmits }) => retransmits,
    }),
    sampled(
      "holdfast_tcp_under_way_bytes",
      "Bytes that the kernel holds for a connection, not sent or not acknowledged.",
      { bounds: UNDER_WAY_BYTES, scale: 1, of: ({ underWayBytes }) => underWayBytes },
    ),
  ];
}

/** How a connection comes to be counted, for the help of each. */
const SAMPLING =
  "Once a second some are asked: those with the most bytes waiting, and others in turn.";

interface SampledFacts {
  readonly bounds: readonly number[];
  readonly scale: number;
  readonly of: (histograms: TcpHistograms) => Buckets;
}

function sampled(
  name: string,
  help: string,
  { bounds, scale, of }: SampledFacts,
): HistogramRow<MetricSource> {
  return {
    name,
    type: "histogram",
    help: `${help} ${SAMPLING}`,
    labels: { sample: TCP_SAMPLES },
    bounds,
    scale,
    read: ({ tcp }, put) => {
      for (const sample of TCP_SAMPLES) put(of(tcp.histograms[sample]), { sample });
    },
  };
}

function count(name: LoopCount, help: string): NumberRow<MetricSource> {
  const words = name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  return counter(`holdfast_native_${words}_total`, help, ({ server }) => loopCount(server, name));
}

/** One counter per value of a label. */
function labelled(
  words: string,
  help: string,
  label: string,
  names: Readonly<Record<string, LoopCount>>,
): NumberRow<MetricSource> {
  return {
    name: `holdfast_native_${words}_total`,
    type: "counter",
    help,
    labels: { [label]: Object.keys(names) },
    read: ({ server }, put) => {
      for (const [value, name] of Object.entries(names)) {
        put(loopCount(server, name), { [label]: value });
      }
    },
  };
}
