// The server in numbers, as one JSON object: docs/admin.md describes every field.

import { STATE } from "../connection/state.ts";
import type { CloseReason } from "../connection/close-reason.ts";
import { LAG_MS } from "../observe/buckets.ts";
import type { ProcessReader } from "../observe/process-reading.ts";
import { Rates } from "../observe/rates.ts";
import { WebSocketTransport } from "../transport/websocket.ts";
import type { Listener } from "./listener.ts";
import { loopReport, type LoopReport } from "./loop-report.ts";
import { OPEN_STATES } from "./metric-table.ts";
import { readiness, type Readiness } from "./readiness.ts";
import type { Server, ServerState } from "./server.ts";

/** Changes when a field changes its meaning or goes away; new fields do not change it. */
export const STATS_SCHEMA = "holdfast.stats/1";

export interface StatsReport {
  readonly schema: typeof STATS_SCHEMA;
  readonly pid: number;
  readonly version: string;
  /** The server's name for itself. */
  readonly node: string;
  readonly nodeVersion: string;
  readonly state: ServerState;
  /** What /readyz says. */
  readonly readiness: Readiness;
  /** Milliseconds since start(); 0 before. */
  readonly uptimeMs: number;
  readonly rssBytes: number;
  readonly heapUsedBytes: number;
  readonly externalBytes: number;
  readonly arrayBuffersBytes: number;
  /** Since the process began. */
  readonly cpuMicros: { readonly user: number; readonly system: number };
  /** Open files; null where the system does not say. */
  readonly fds: number | null;
  readonly fdLimit: number | null;
  readonly connections: {
    readonly total: number;
    readonly max: number;
    readonly byState: Readonly<Record<string, number>>;
    readonly byTransport: Readonly<Record<string, number>>;
  };
  /** Per second, over the last ten seconds or since the start where that is less. */
  readonly rates: Readonly<Record<RateName, number>>;
  /** Since the start. */
  readonly totals: Readonly<Record<RateName | TotalName, number>>;
  readonly closedByReason: Readonly<Record<CloseReason, number>>;
  readonly queue: {
    readonly bytes: number;
    readonly budgetBytes: number;
    /** Connections with a queue. */
    readonly backlogged: number;
  };
  readonly memory: {
    readonly leases: number;
    readonly leasedBytes: number;
    readonly freeBytes: number;
    readonly timers: number;
  };
  readonly topics: {
    readonly count: number;
    readonly subscriptions: number;
    readonly backlog: number;
  };
  readonly loop: {
    /** 99 of 100 ticks of the last ten seconds came at most this late. */
    readonly lagP99Ms: number;
    /** Since the start. */
    readonly lagMaxMs: number;
    readonly stalls: number;
  };
  readonly listeners: readonly ListenerReport[];
  /** What the native transport has counted; null where nothing native runs. */
  readonly native: LoopReport | null;
  readonly admission: {
    readonly accepting: boolean;
    readonly served: number;
    readonly turnedAway: number;
  };
}

export interface ListenerReport {
  readonly name: string;
  readonly transport: string;
  /** host:port, or the path of a Unix socket; null while it does not listen. */
  readonly address: string | null;
  /** What moves the bytes where that is not Node.js itself. */
  readonly library: string | null;
}

const RATES = ["opens", "closes", "framesIn", "framesOut", "bytesIn", "bytesOut", "calls"] as const;
type RateName = (typeof RATES)[number];
type TotalName =
  | "heartbeatsIn"
  | "heartbeatsOut"
  | "eventsPublished"
  | "eventsDelivered"
  | "eventsDropped"
  | "refused"
  | "notAdmitted"
  | "sendsRefused";

export class Stats {
  readonly #server: Server;
  readonly #version: string;
  readonly #process: ProcessReader;
  readonly #rates: Rates;
  #startedMs: number | null = null;

  constructor(server: Server, version: string, process: ProcessReader) {
    this.#server = server;
    this.#version = version;
    this.#process = process;
    this.#rates = new Rates(server.shared.clock, () => [...this.#counts(), ...server.lagMs.counts]);
  }

  /** Begins to look at the counters, for rates. */
  start(): void {
    this.#startedMs = this.#server.shared.clock.now();
    this.#rates.start();
  }

  stop(): void {
    this.#rates.stop();
  }

  async read(): Promise<StatsReport> {
    const { memory, cpuMicros, fds } = await this.#process.read();
    const server = this.#server;
    const { clock, budget, pool, wheel, counters } = server.shared;
    const { topics, admission } = server;
    const { seconds, by } = this.#rates.rise();
    return {
      schema: STATS_SCHEMA,
      pid: process.pid,
      version: this.#version,
      node: server.node,
      nodeVersion: process.versions.node,
      state: server.state,
      readiness: readiness(server),
      uptimeMs: this.#startedMs === null ? 0 : Math.round(clock.now() - this.#startedMs),
      rssBytes: memory.rss,
      heapUsedBytes: memory.heapUsed,
      externalBytes: memory.external,
      arrayBuffersBytes: memory.arrayBuffers,
      cpuMicros,
      fds,
      fdLimit: server.fileLimit,
      connections: this.#connections(),
      rates: named(by.map((rise) => (seconds === 0 ? 0 : round(rise / seconds)))),
      totals: {
        ...named(this.#counts()),
        heartbeatsIn: counters.heartbeatsIn,
        heartbeatsOut: counters.heartbeatsOut,
        eventsPublished: topics.published,
        eventsDelivered: topics.delivered,
        eventsDropped: counters.eventsDropped,
        refused: counters.refused,
        notAdmitted: counters.notAdmitted,
        sendsRefused: counters.sendsRefused,
      },
      closedByReason: { ...server.closedByReason },
      queue: {
        bytes: budget.bytes,
        budgetBytes: budget.bytesMax,
        backlogged: budget.backlogged.size,
      },
      memory: {
        leases: pool.leased,
        leasedBytes: pool.leasedBytes,
        freeBytes: pool.freeBytes,
        timers: wheel.armed,
      },
      topics: {
        count: topics.count,
        subscriptions: topics.subscriptionCount,
        backlog: topics.backlogCount,
      },
      loop: {
        lagP99Ms: percentile(by.slice(RATES.length), LAG_MS, 0.99, server.lagMs.max),
        lagMaxMs: round(server.lagMs.max),
        stalls: counters.loopStalls,
      },
      listeners: server.listeners.map(listenerReport),
      native: loopReport(server),
      admission: {
        accepting: admission.isAccepting,
        served: admission.served,
        turnedAway: admission.turnedAway,
      },
    };
  }

  /** In the order of RATES. */
  #counts(): number[] {
    const { counters } = this.#server.shared;
    const { framesIn, framesOut, bytesIn, bytesOut } = counters;
    const closed = sum(Object.values(this.#server.closedByReason));
    return [
      counters.opened,
      closed,
      framesIn,
      framesOut,
      bytesIn,
      bytesOut,
      sum(this.#server.callsByStatus),
    ];
  }

  #connections(): StatsReport["connections"] {
    const byState: Record<string, number> = {};
    const byTransport: Record<string, number> = {};
    for (const state of OPEN_STATES) byState[state] = 0;
    for (const { transport, context } of this.#server.listeners) {
      byTransport[transport.kind] ??= 0;
      for (const [index, state] of OPEN_STATES.entries()) {
        const count = context.stateCounts[STATE.ACCEPTED + index]!;
        byState[state]! += count;
        byTransport[transport.kind]! += count;
      }
    }
    const total = sum(Object.values(byState));
    return { total, max: this.#server.admission.connectionsMax, byState, byTransport };
  }
}

export function listenerReport({ name, transport, address }: Listener): ListenerReport {
  const isIpv6 = address?.host.includes(":") === true;
  const text =
    address === null
      ? null
      : (address.path ?? `${isIpv6 ? `[${address.host}]` : address.host}:${address.port}`);
  const library = transport instanceof WebSocketTransport ? transport.library : null;
  return { name, transport: transport.kind, address: text, library };
}

function named(values: readonly number[]): Record<RateName, number> {
  const entries = RATES.map((name, index) => [name, values[index]!] as const);
  return Object.fromEntries(entries) as Record<RateName, number>;
}

/** The upper bound of the bucket in which `share` of all is reached. */
function percentile(
  counts: readonly number[],
  bounds: readonly number[],
  share: number,
  max: number,
): number {
  const wanted = sum(counts) * share;
  let below = 0;
  for (const [index, bound] of bounds.entries()) {
    below += counts[index]!;
    if (below >= wanted) return Math.min(bound, round(max));
  }
  return round(max);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** Three decimals are enough for people. */
function round(value: number): number {
  return Math.round(value * 1_000) / 1_000;
}
