// What must hold after every single event of the simulation (I1, I2, I4 of the study of faults),
// and when everything is quiet again (I3).

import type { Connection } from "../../src/connection/connection.ts";
import { CORK_BYTES } from "../../src/connection/cork.ts";
import { STATE, STATE_NAMES, type State } from "../../src/connection/state.ts";
import type { Server } from "../../src/server/server.ts";
import type { MemoryTransport } from "../../src/transport/memory.ts";

/** Written by hand: what the design says, not what the table in the code does. */
const LEGAL_MOVES: readonly string[] = [
  "init > accepted",
  "accepted > handshaking",
  "accepted > closing",
  "accepted > closed",
  "handshaking > active",
  "handshaking > closing",
  "handshaking > closed",
  "active > idle",
  "active > closing",
  "active > closed",
  "idle > active",
  "idle > closing",
  "idle > closed",
  "closing > closed",
];

/** GoAway, a heartbeat and the Gaps of one write may stand above the cap. */
const CONTROL_BYTES = 4_096;

export class SimInvariants {
  readonly #server: Server;
  readonly #violated: (what: string) => never;
  /** Connections that are open, by the server's own telling. */
  readonly #open: Set<Connection> = new Set();
  opened: number = 0;
  closed: number = 0;
  moves: number = 0;
  /** Attempts to connect, and those that found nobody accepting. */
  attempts: number = 0;
  unheard: number = 0;
  /** Pushes to all that are under way: they hold slabs of their own. */
  broadcasts: number = 0;

  constructor(server: Server, violated: (what: string) => never) {
    this.#server = server;
    this.#violated = violated;
  }

  /** Told of every change of state. */
  onMove(connection: Connection, from: State, to: State): void {
    this.moves++;
    const move = `${STATE_NAMES[from]} > ${STATE_NAMES[to]}`;
    if (!LEGAL_MOVES.includes(move)) this.#violated(`I1: ${connection.id} moved ${move}`);
    if (to === STATE.ACCEPTED) {
      this.opened++;
      this.#open.add(connection);
    } else if (to === STATE.CLOSED) {
      this.closed++;
      if (!this.#open.delete(connection)) this.#violated(`I1: ${connection.id} closed twice`);
    }
  }

  afterEvent(): void {
    this.#checkConnections();
    this.#checkCounts();
  }

  #checkConnections(): void {
    const { shared } = this.#server;
    const { wheel, budget, pool } = shared;
    let queued = 0;
    const slabs = new Set<unknown>();
    let unread = 0;
    let backlogged = 0;
    let ofOpen = 0;
    for (const connection of this.#open) {
      if (!wheel.isArmed(connection.timer)) {
        this.#violated(`I1: ${connection.id} has no deadline in ${connection.stateName}`);
      }
      if (connection.unread !== null) unread++;
      if (connection.state === STATE.CLOSING && connection.unread !== null) {
        this.#violated(`I2: ${connection.id} keeps what it will not read`);
      }
      const { queue } = connection;
      if (queue === null) continue;
      backlogged++;
      queued += queue.totalBytes;
      if (connection.isOpen) ofOpen += queue.totalBytes;
      this.#checkQueue(connection);
      for (let entry = queue.head; entry !== null; entry = entry.next) slabs.add(entry.slab);
    }
    for (const { transport } of this.#server.listeners) {
      for (const slab of (transport as MemoryTransport).gatheredSlabs()) slabs.add(slab);
    }
    if (budget.bytes !== queued)
      this.#violated(`I2: the budget says ${budget.bytes}, not ${queued}`);
    // What the network has taken of a connection that was shed goes when the connection does.
    if (ofOpen > budget.bytesMax) this.#violated(`I2: ${ofOpen} bytes are over the budget`);
    if (budget.backlogged.size !== backlogged) this.#violated("I2: a queue is not in the budget");
    const isQuiet = this.#server.topics.backlogCount + this.broadcasts === 0;
    if (isQuiet && pool.leased !== slabs.size + unread) {
      this.#violated(
        `I2: ${pool.leased} leases for ${slabs.size} queued slabs and ${unread} unread`,
      );
    }
  }

  #checkQueue(connection: Connection): void {
    const queue = connection.queue!;
    const { limits, transport } = connection.context;
    const { gathersWrites } = transport as MemoryTransport;
    let bytes = 0;
    let count = 0;
    for (let entry = queue.head; entry !== null; entry = entry.next) {
      bytes += entry.end - entry.start;
      count++;
    }
    if (bytes !== queue.bytes || count !== queue.count) {
      this.#violated(`I2: ${connection.id} counts ${queue.bytes} bytes of ${bytes}`);
    }
    // One write of corked frames may be larger than a small cap; it is bounded by the cork. A
    // transport that gathers as much may be given one more before it is known that they wait.
    const unasked = gathersWrites ? 2 * CORK_BYTES : CORK_BYTES;
    const most = Math.max(limits.sendQueueBytesMax, unasked) + CONTROL_BYTES;
    if (queue.totalBytes > most) {
      this.#violated(`I2: ${connection.id} holds ${queue.totalBytes} bytes, ${most} at most`);
    }
  }

  #checkCounts(): void {
    const { admission, closedByReason, closedByCause, shared, listeners } = this.#server;
    const { counters } = shared;
    const closed = sum(Object.values(closedByReason));
    const active = admission.served + admission.turnedAway;
    if (counters.opened !== active + closed) {
      this.#violated(`I4: ${counters.opened} opened, ${active} there, ${closed} closed`);
    }
    if (this.attempts !== counters.opened + counters.notAdmitted + this.unheard) {
      this.#violated(`I4: ${this.attempts} attempts, ${counters.opened} opened`);
    }
    if (closed !== sum(Object.values(closedByCause)) || closed !== this.closed) {
      this.#violated(`I4: ${closed} reasons for ${this.closed} ends`);
    }
    const states = sum(listeners.flatMap(({ context }) => [...context.stateCounts]));
    if (states !== this.#open.size || active !== this.#open.size) {
      this.#violated(`I4: ${states} states of ${this.#open.size} connections`);
    }
    if (counters.illegalTransitions > 0) this.#violated("I1: an illegal move was counted");
    if (admission.served > admission.connectionsMax) this.#violated("I4: more than may be served");
  }
}

/** Everything that is held once the server has stopped must be nothing. */
export function whatIsLeft(server: Server): Readonly<Record<string, number>> {
  const { shared, admission, topics, registry } = server;
  const all = {
    leases: shared.pool.leased,
    leasedBytes: shared.pool.leasedBytes,
    timers: shared.wheel.live,
    queuedBytes: shared.budget.bytes,
    backlogged: shared.budget.backlogged.size,
    served: admission.served,
    turnedAway: admission.turnedAway,
    topics: topics.count,
    subscriptions: topics.subscriptionCount,
    topicBacklog: topics.backlogCount,
    labels: registry.labelCount,
    connections: [...registry.all()].length,
  };
  return Object.fromEntries(Object.entries(all).filter(([, count]) => count !== 0));
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
