// Everything that an operator can ask of one server, as plain JSON both ways: the server's own
// admin listener asks it, and so does a supervisor of the workers whose server it is.

import { versions } from "node:process";
import type { CloseCause, CloseReason } from "../connection/close-reason.ts";
import { GcWatch } from "../observe/gc-watch.ts";
import { type MetricJson, Metrics } from "../observe/metrics.ts";
import { packageVersion } from "../observe/package-version.ts";
import { ProcessReader, type ProcessReading } from "../observe/process-reading.ts";
import type { ClosedConnection } from "./closed-ring.ts";
import {
  type ClosedDetail,
  connectionDetail,
  type ConnectionDetail,
  type ConnectionQuery,
  type ConnectionReport,
  topConnections,
} from "./inspect.ts";
import type { MetricSource } from "./metric-row.ts";
import { METRICS } from "./metric-table.ts";
import { readiness, type Readiness } from "./readiness.ts";
import type { Server } from "./server.ts";
import { listenerReport, Stats, type StatsReport } from "./stats.ts";
import { TcpSampler } from "./tcp-sampler.ts";

export interface ClosedQuery {
  readonly limit: number;
  /** Null: any. */
  readonly reason: CloseReason | null;
  readonly cause: CloseCause | null;
}

export type OperatorRequest =
  | { readonly what: "readiness" | "stats" | "metrics" }
  | { readonly what: "connections"; readonly query: ConnectionQuery }
  | { readonly what: "closed"; readonly query: ClosedQuery }
  | { readonly what: "connection" | "kick"; readonly id: string };

/** What each request is answered with. */
export interface OperatorAnswers {
  readonly readiness: { readonly readiness: Readiness };
  readonly stats: StatsReport;
  readonly metrics: readonly MetricJson[];
  readonly connections: TopConnections;
  readonly closed: ClosedConnections;
  /** Null: neither open nor among those that closed lately. */
  readonly connection: { readonly connection: ConnectionDetail | ClosedDetail | null };
  /** False: no such connection is open. */
  readonly kick: { readonly kicked: boolean };
}
export type OperatorAnswer = OperatorAnswers[OperatorRequest["what"]];
export type AnswerTo<Request extends OperatorRequest> = OperatorAnswers[Request["what"]];

export interface TopConnections {
  readonly matching: number;
  readonly connections: readonly ConnectionReport[];
}

export interface ClosedConnections {
  readonly matching: number;
  /** Newest first. */
  readonly connections: readonly ClosedConnection[];
}

/** The client is invited to come back, wherever it is sent then. */
const KICK = { code: 3007, text: "disconnected by an operator" } as const;

export class Operator {
  readonly version: string = packageVersion();
  readonly #server: Server;
  readonly #process: ProcessReader;
  readonly #gc: GcWatch = new GcWatch();
  readonly #stats: Stats;
  readonly #tcp: TcpSampler;
  readonly #metrics: Metrics<MetricSource>;
  /** What the newest scrape reads. */
  #source: MetricSource | null = null;

  constructor(server: Server) {
    this.#server = server;
    const { budget, clock } = server.shared;
    this.#process = new ProcessReader(clock);
    this.#stats = new Stats(server, this.version, this.#process);
    this.#tcp = new TcpSampler(server.listeners, budget, clock);
    this.#metrics = new Metrics(METRICS, () => this.#source!);
  }

  /** Begins to take the samples that rates and histograms are made of. */
  start(): void {
    this.#gc.start();
    this.#stats.start();
    this.#tcp.start();
  }

  stop(): void {
    this.#gc.stop();
    this.#stats.stop();
    this.#tcp.stop();
  }

  async answer<Request extends OperatorRequest>(request: Request): Promise<AnswerTo<Request>> {
    return (await this.#answer(request)) as AnswerTo<Request>;
  }

  /** Its metrics in Prometheus's text format. */
  async scrape(): Promise<{ readonly type: string; readonly text: string }> {
    await this.#readSource();
    return { type: this.#metrics.contentType, text: await this.#metrics.text() };
  }

  async #answer(request: OperatorRequest): Promise<OperatorAnswer> {
    switch (request.what) {
      case "readiness":
        return { readiness: readiness(this.#server) };
      case "stats":
        return await this.#stats.read();
      case "metrics":
        await this.#readSource();
        return await this.#metrics.json();
      case "connections":
        return await topConnections(this.#server, request.query);
      case "closed":
        return this.#closed(request.query);
      case "connection":
        return { connection: connectionDetail(this.#server, request.id) };
      case "kick":
        return { kicked: this.#kick(request.id) };
    }
  }

  #closed({ limit, reason, cause }: ClosedQuery): ClosedConnections {
    const connections = this.#server.closedRing
      .list()
      .filter((closed) => reason === null || closed.reason === reason)
      .filter((closed) => cause === null || closed.cause === cause);
    return { matching: connections.length, connections: connections.slice(0, limit) };
  }

  #kick(id: string): boolean {
    const connection = this.#server.registry.byId(id);
    if (connection === null) return false;
    connection.disconnect({ ...KICK, reconnectAfterMs: this.#server.retryAfterMs() });
    return true;
  }

  async #readSource(): Promise<void> {
    const reading: ProcessReading = await this.#process.read();
    const server = this.#server;
    const reports = server.listeners.map(listenerReport);
    const uws = reports.find(({ library }) => library !== null)?.library ?? "none";
    const build = { version: this.version, node: versions.node, uws };
    const { fileLimit } = server;
    this.#source = { server, process: reading, gc: this.#gc, tcp: this.#tcp, build, fileLimit };
  }
}
