// The last connections that closed, with what was known of them: the first place to look at when
// clients complain that they were cut off.

import type { Clock } from "../base/clock.ts";
import { Ring } from "../base/ring.ts";
import type { CloseCause, CloseReason } from "../connection/close-reason.ts";
import type { Connection } from "../connection/connection.ts";
import type { TransportKind } from "../transport/transport.ts";

export interface ClosedConnection {
  readonly id: string;
  readonly transport: TransportKind;
  /** Milliseconds since the epoch. */
  readonly closedAt: number;
  readonly reason: CloseReason;
  readonly cause: CloseCause;
  readonly code: number;
  readonly client: string;
  readonly ageMs: number;
  readonly framesIn: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Queued and never sent. */
  readonly bytesDiscarded: number;
  readonly notes: readonly { readonly msBefore: number; readonly text: string }[];
}

export class ClosedRing {
  #ring: Ring<ClosedConnection> | null = null;
  readonly #clock: Clock;

  constructor(capacity: number, clock: Clock) {
    this.#clock = clock;
    this.setCapacity(capacity);
  }

  /** Keeps the newest of those that it has. 0 keeps none. */
  setCapacity(capacity: number): void {
    if (capacity === (this.#ring?.capacity ?? 0)) return;
    const kept = this.#ring?.toArray() ?? [];
    this.#ring = capacity === 0 ? null : new Ring(capacity);
    for (const closed of kept) this.#ring?.push(closed);
  }

  push(connection: Connection): void {
    const { reason, cause, code } = connection.ending!;
    this.#ring?.push({
      id: connection.id,
      transport: connection.context.transport.kind,
      closedAt: this.#clock.wall(),
      reason,
      cause,
      code,
      client: connection.clientName,
      ageMs: connection.ageMs,
      framesIn: connection.framesIn,
      bytesIn: connection.bytesIn,
      bytesOut: connection.bytesOut,
      bytesDiscarded: connection.bytesDiscarded,
      notes: notesOf(connection),
    });
  }

  /** Newest first. */
  list(): ClosedConnection[] {
    return this.#ring?.toArray().reverse() ?? [];
  }

  byId(id: string): ClosedConnection | null {
    return this.list().find((closed) => closed.id === id) ?? null;
  }
}

/** A connection's notes, by how long ago they were. */
export function notesOf(connection: Connection): { msBefore: number; text: string }[] {
  const { wheel } = connection.context;
  const notes = connection.notes?.toArray() ?? [];
  return notes.map(({ tick, text }) => ({ msBefore: (wheel.nowTick - tick) * wheel.tickMs, text }));
}
