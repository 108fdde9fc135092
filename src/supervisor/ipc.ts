// What the supervisor and its workers tell each other: JSON over the channel that Node opens
// between a process and its child. Events of topics do not come this way: see src/bus.

import type { PartialOptions } from "../config/options.ts";
import type { MetricJson } from "../observe/metrics.ts";
import type { OperatorAnswer, OperatorRequest } from "../server/operator.ts";
import type { ServerState } from "../server/server.ts";
import type { StatsReport } from "../server/stats.ts";

/** Changes when old and new code would misunderstand each other: a worker then refuses to start. */
export const IPC_VERSION = 1;

/** How often a worker reports, in milliseconds. */
export const REPORT_MS = 250;

/** Listener name -> files of the listening sockets. */
export type SocketFiles = Readonly<Record<string, readonly number[]>>;

export interface SentConfig {
  /** Without what has its default: code of another release may know fewer options. */
  readonly options: PartialOptions;
  /** What the supervisor calls it. The worker repeats it, whatever it would call it itself. */
  readonly hash: string;
}

export interface StartMessage {
  readonly type: "start";
  readonly version: number;
  /** Which worker this is, counted since the supervisor began; connection ids carry it. */
  readonly worker: number;
  readonly slot: number;
  readonly config: SentConfig;
  /** What to listen on. */
  readonly sockets: SocketFiles;
  /** Every listening socket that was inherited. */
  readonly inherited: readonly number[];
  /** The file of the socket pair to the bus. */
  readonly busFile: number;
  /** Whether it is to be told its share of connection.max, and may serve nobody before. */
  readonly isSharing: boolean;
  /** How many workers there are beside each other. */
  readonly workers: number;
}

export type ToWorker =
  | StartMessage
  | { readonly type: "adopt" | "release"; readonly sockets: SocketFiles }
  /** Of connection.max; null: as many as it can hold. */
  | { readonly type: "share"; readonly connectionsMax: number | null }
  /** Check these options and answer `prepared`; a later `commit` swaps them in. */
  | { readonly type: "prepare"; readonly change: number; readonly config: SentConfig }
  | { readonly type: "commit" | "abort"; readonly change: number }
  | { readonly type: "drain"; readonly hasten: boolean }
  | { readonly type: "ask"; readonly seq: number; readonly request: OperatorRequest };

/** Where a worker listens, for the announcement. */
export interface WorkerListener {
  readonly listener: string;
  readonly transport: string;
  readonly framing: string;
  /** host, port and path as the transport tells them. */
  readonly address: { readonly host: string; readonly port: number; readonly path: string | null };
}

export interface ReadyMessage {
  readonly type: "ready";
  readonly listeners: readonly WorkerListener[];
  /** Connections that it can hold, whatever connection.max says. */
  readonly connectionsMax: number;
}

export interface ReportMessage {
  readonly type: "report";
  readonly state: ServerState;
  readonly served: number;
  /** The share of connection.max that is in force. */
  readonly connectionsMax: number;
  /** Of what it was sent last and runs. */
  readonly configHash: string;
}

export interface LastFigures {
  readonly stats: StatsReport;
  readonly metrics: readonly MetricJson[];
}

export type ToSupervisor =
  | ReadyMessage
  | ReportMessage
  /** It cannot start, and ends. */
  | { readonly type: "failed"; readonly code: string; readonly message: string }
  | { readonly type: "prepared"; readonly change: number; readonly refusal: string | null }
  /** It has stopped in order: what it has counted, whole. */
  | ({ readonly type: "last" } & LastFigures)
  | { readonly type: "answer"; readonly seq: number; readonly answer: OperatorAnswer | null };

/** As it goes over the channel: what an application sends by process.send() is none of ours. */
export interface Envelope {
  readonly holdfast: ToSupervisor;
}

/** Null: nothing this supervisor understands; newer code may say more. */
export function readReply(envelope: unknown): ToSupervisor | null {
  const { holdfast } = (envelope ?? {}) as { readonly holdfast?: unknown };
  if (typeof holdfast !== "object" || holdfast === null) return null;
  const message = holdfast as ToSupervisor;
  switch (message.type) {
    case "ready":
      return Array.isArray(message.listeners) && isCount(message.connectionsMax) ? message : null;
    case "report":
      return isCount(message.served) && isCount(message.connectionsMax) ? message : null;
    case "failed":
      return typeof message.message === "string" ? message : null;
    case "prepared":
    case "last":
    case "answer":
      return message;
    default:
      return null;
  }
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
