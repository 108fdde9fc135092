// Connections of many workers in one list.

import type { ClosedConnection } from "../server/closed-ring.ts";
import type { ConnectionReport, ConnectionSort } from "../server/inspect.ts";
import { SERIALS_PER_WORKER } from "../server/listener.ts";
import type { ClosedConnections, TopConnections } from "../server/operator.ts";

const ID = /^([0-9a-z]{1,11})-[0-9a-z]{1,7}$/;

const KEYS: Readonly<Record<ConnectionSort, (connection: ConnectionReport) => number>> = {
  queue: ({ queueBytes }) => queueBytes,
  age: ({ ageMs }) => ageMs,
  bytes: ({ bytesIn, bytesOut }) => bytesIn + bytesOut,
};

/** The first `limit` of all, from the first `limit` of each. */
export function mergedTop(
  parts: readonly TopConnections[],
  sort: ConnectionSort,
  limit: number,
): TopConnections {
  const keyOf = KEYS[sort];
  const connections = parts
    .flatMap((part) => part.connections)
    .sort((a, b) => keyOf(b) - keyOf(a))
    .slice(0, limit);
  return { matching: matchingOf(parts), connections };
}

/** Newest first. */
export function mergedClosed(
  parts: readonly ClosedConnections[],
  limit: number,
): ClosedConnections {
  const newestFirst = (a: ClosedConnection, b: ClosedConnection): number => b.closedAt - a.closedAt;
  const connections = parts.flatMap((part) => part.connections).sort(newestFirst);
  return { matching: matchingOf(parts), connections: connections.slice(0, limit) };
}

/** The worker that gave this id; null: none did. */
export function workerOfId(id: string): number | null {
  const serial = ID.exec(id)?.[1];
  if (serial === undefined) return null;
  const worker = Math.floor(Number.parseInt(serial, 36) / SERIALS_PER_WORKER);
  return worker >= 1 ? worker : null;
}

function matchingOf(parts: readonly { readonly matching: number }[]): number {
  return parts.reduce((sum, { matching }) => sum + matching, 0);
}
