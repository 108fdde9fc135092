// Single connections for people: the few that stand out among all, and one in detail.

import type { Clock } from "../base/clock.ts";
import type { Connection } from "../connection/connection.ts";
import { PAUSED_BY } from "../connection/paused-by.ts";
import { STATE } from "../connection/state.ts";
import type { TcpInfo, TransportKind } from "../transport/transport.ts";
import { type ClosedConnection, notesOf } from "./closed-ring.ts";
import { Largest } from "./largest.ts";
import type { Server } from "./server.ts";

export const CONNECTION_SORTS = ["queue", "age", "bytes"] as const;
/** What comes first: the longest queue, the oldest, or the most bytes in and out. */
export type ConnectionSort = (typeof CONNECTION_SORTS)[number];

export interface ConnectionQuery {
  readonly sort: ConnectionSort;
  readonly limit: number;
  /** A state's name; null: any. */
  readonly state: string | null;
  readonly transport: TransportKind | null;
}

export interface ConnectionReport {
  readonly id: string;
  readonly state: string;
  readonly listener: string;
  readonly transport: TransportKind;
  /** The peer's. */
  readonly address: string;
  /** What it called itself in its Hello. */
  readonly client: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly ageMs: number;
  /** Since something was received. */
  readonly lastSeenMs: number;
  readonly framesIn: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly queueBytes: number;
  /** Frames that wait here, without those that the transport holds. */
  readonly queueFrames: number;
  /** Why it is not being read; empty where it is. */
  readonly pausedBy: readonly string[];
  /** Calls under way. */
  readonly calls: number;
  readonly subscriptions: number;
}

export interface ConnectionDetail extends ConnectionReport {
  readonly closed: false;
  /** Its last unusual moments, while it is unusual. */
  readonly notes: ReturnType<typeof notesOf>;
  /** What the kernel says of it; null where its transport cannot ask, or it is no TCP. */
  readonly tcp: TcpInfo | null;
}

export interface ClosedDetail extends ClosedConnection {
  readonly closed: true;
}

/** Connections that are looked at before others get their turn: under a millisecond. */
const LOOK_SLICE = 2_000;

const KEYS: Readonly<Record<ConnectionSort, (connection: Connection) => number>> = {
  queue: (connection) => connection.backlogBytes,
  age: (connection) => -connection.openedTick,
  bytes: (connection) => connection.bytesIn + connection.bytesOut,
};

/**
 * The first of all connections in the order asked for. Looks at each in slices and describes only
 * those that are shown; ones that close in between are left out.
 */
export async function topConnections(
  server: Server,
  { sort, limit, state, transport }: ConnectionQuery,
): Promise<{ matching: number; connections: ConnectionReport[] }> {
  const { clock } = server.shared;
  const largest = new Largest(limit);
  const keyOf = KEYS[sort];
  let matching = 0;
  let looked = 0;
  for (const connection of server.registry.all()) {
    if (++looked % LOOK_SLICE === 0) await othersTurn(clock);
    if (connection.state === STATE.CLOSED) continue;
    if (state !== null && connection.stateName !== state) continue;
    if (transport !== null && connection.context.transport.kind !== transport) continue;
    matching++;
    largest.offer(keyOf(connection), connection);
  }
  const stillThere = largest.sorted().filter((connection) => connection.state !== STATE.CLOSED);
  return { matching, connections: stillThere.map((connection) => describe(server, connection)) };
}

/** A connection by its id, open or among the last that closed; null where it is neither. */
export function connectionDetail(
  server: Server,
  id: string,
): ConnectionDetail | ClosedDetail | null {
  const connection = server.registry.byId(id);
  if (connection !== null) {
    const notes = notesOf(connection);
    return { closed: false, ...describe(server, connection), notes, tcp: tcpInfoOf(connection) };
  }
  const closed = server.closedRing.byId(id);
  return closed === null ? null : { closed: true, ...closed };
}

/** See {@link ConnectionDetail.tcp}. */
export function tcpInfoOf({ context, channel }: Connection): TcpInfo | null {
  return context.transport.tcpInfo?.(channel) ?? null;
}

function describe(server: Server, connection: Connection): ConnectionReport {
  const { context, queue } = connection;
  const { wheel, transport } = context;
  return {
    id: connection.id,
    state: connection.stateName,
    listener: server.listeners.find((listener) => listener.context === context)?.name ?? "",
    transport: transport.kind,
    address: connection.remoteAddress,
    client: connection.clientName,
    labels: Object.fromEntries(connection.labels ?? []),
    ageMs: connection.ageMs,
    lastSeenMs: (wheel.nowTick - connection.lastSeen) * wheel.tickMs,
    framesIn: connection.framesIn,
    bytesIn: connection.bytesIn,
    bytesOut: connection.bytesOut,
    queueBytes: connection.backlogBytes,
    queueFrames: queue?.count ?? 0,
    pausedBy: pausedByNames(connection.pausedBy),
    calls: connection.calls,
    subscriptions: connection.subscriptions?.size ?? 0,
  };
}

function pausedByNames(bits: number): string[] {
  const names = Object.entries(PAUSED_BY).filter(([, bit]) => (bits & bit) !== 0);
  return names.map(([name]) => name.toLowerCase());
}

function othersTurn(clock: Clock): Promise<void> {
  return new Promise((resolve) => {
    clock.afterPoll(resolve);
  });
}
