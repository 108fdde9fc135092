// What operators are answered over HTTP: health, metrics, statistics and single connections. It
// only reads. It asks for no password, so it listens on loopback unless told otherwise.

import { versions } from "node:process";
import { CLOSE_CAUSES, CLOSE_REASONS } from "../connection/close-reason.ts";
import type { CloseCause, CloseReason } from "../connection/close-reason.ts";
import { GcWatch } from "../observe/gc-watch.ts";
import { Metrics } from "../observe/metrics.ts";
import { packageVersion } from "../observe/package-version.ts";
import { ProcessReader, type ProcessReading } from "../observe/process-reading.ts";
import { type TransportAddress, TRANSPORT_KINDS } from "../transport/transport.ts";
import { AdminHttp, type Answer, jsonAnswer, problem, textAnswer } from "./admin-http.ts";
import { choiceKey, integerKey, type QueryKeys, readQuery } from "./admin-query.ts";
import { CONNECTION_SORTS, connectionDetail, topConnections } from "./inspect.ts";
import type { MetricSource } from "./metric-row.ts";
import { METRICS, OPEN_STATES } from "./metric-table.ts";
import { readiness, READINESS } from "./readiness.ts";
import type { Server } from "./server.ts";
import { listenerReport, Stats } from "./stats.ts";
import { TcpSampler } from "./tcp-sampler.ts";

const LIMIT = integerKey(1, 1_000, 50);
const CONNECTIONS_KEYS = {
  sort: choiceKey(CONNECTION_SORTS, "queue"),
  limit: LIMIT,
  state: choiceKey(OPEN_STATES, null),
  transport: choiceKey(TRANSPORT_KINDS, null),
};
const CLOSED_KEYS = {
  limit: LIMIT,
  reason: choiceKey(Object.keys(CLOSE_REASONS) as CloseReason[], null),
  cause: choiceKey(Object.keys(CLOSE_CAUSES) as CloseCause[], null),
};
const NO_KEYS = {};

/** What can be asked for. Paths are exact, but for the id of a connection. */
const ENDPOINTS: Readonly<Record<string, { readonly about: string; readonly keys: QueryKeys }>> = {
  "/": { about: "this list", keys: NO_KEYS },
  "/healthz": { about: "200 while the process lives", keys: NO_KEYS },
  "/readyz": { about: "200 while new clients are served, else 503 and why", keys: NO_KEYS },
  "/metrics": { about: "metrics in Prometheus's text format", keys: NO_KEYS },
  "/stats": { about: "the server in numbers", keys: NO_KEYS },
  "/connections": { about: "open connections that stand out", keys: CONNECTIONS_KEYS },
  "/connections/<id>": { about: "one connection, open or lately closed", keys: NO_KEYS },
  "/closed": { about: "connections that closed lately, newest first", keys: CLOSED_KEYS },
};
const CONNECTION_PATH = "/connections/";

export class Admin {
  readonly #server: Server;
  readonly #version: string;
  readonly #http: AdminHttp;
  readonly #process: ProcessReader;
  readonly #gc: GcWatch = new GcWatch();
  readonly #stats: Stats;
  readonly #tcp: TcpSampler;
  readonly #metrics: Metrics<MetricSource>;
  /** What the newest scrape reads. */
  #source: MetricSource | null = null;
  #address: TransportAddress | null = null;

  constructor(server: Server, options: { readonly host: string; readonly port: number }) {
    this.#server = server;
    this.#http = new AdminHttp(
      options,
      (path, search) => this.#answer(path, search),
      (error) => server.log.error({ err: error }, "an admin request failed"),
    );
    this.#process = new ProcessReader(server.shared.clock);
    this.#version = packageVersion();
    this.#stats = new Stats(server, this.#version, this.#process);
    const { budget, clock } = server.shared;
    this.#tcp = new TcpSampler(server.listeners, budget, clock);
    this.#metrics = new Metrics(METRICS, () => this.#source!);
  }

  /** Null until it listens. */
  get address(): TransportAddress | null {
    return this.#address;
  }

  /** Rejects with HOLDFAST_LISTEN_FAILED, with nothing left open. */
  async start(): Promise<void> {
    this.#address = await this.#http.listen();
    this.#gc.start();
    this.#stats.start();
    this.#tcp.start();
  }

  async stop(): Promise<void> {
    this.#gc.stop();
    this.#stats.stop();
    this.#tcp.stop();
    if (this.#address !== null) await this.#http.close();
    this.#address = null;
  }

  #answer(path: string, search: string): Answer | Promise<Answer> {
    switch (path) {
      case "/":
        readQuery(search, NO_KEYS);
        return jsonAnswer(200, this.#overview());
      case "/healthz":
        readQuery(search, NO_KEYS);
        return textAnswer(200, "ok\n");
      case "/readyz":
        readQuery(search, NO_KEYS);
        return this.#ready();
      case "/metrics":
        readQuery(search, NO_KEYS);
        return this.#scrape();
      case "/stats":
        readQuery(search, NO_KEYS);
        return this.#stats.read().then((report) => jsonAnswer(200, report));
      case "/connections": {
        const query = readQuery(search, CONNECTIONS_KEYS);
        return topConnections(this.#server, query).then((found) => jsonAnswer(200, found));
      }
      case "/closed":
        return this.#closed(search);
      default:
        if (path.startsWith(CONNECTION_PATH)) {
          readQuery(search, NO_KEYS);
          return this.#connection(path.slice(CONNECTION_PATH.length));
        }
        return problem(404, "not_found", `no such path; / lists what there is`);
    }
  }

  #overview(): object {
    const { node, state } = this.#server;
    const endpoints = Object.entries(ENDPOINTS).map(([path, { about, keys }]) => {
      const query = Object.entries(keys).map(
        ([key, row]) => [key, { allowed: row.allowed, default: row.default }] as const,
      );
      return { path, about, query: Object.fromEntries(query) };
    });
    return { name: "holdfast", version: this.#version, node, state, endpoints };
  }

  #ready(): Answer {
    const found = readiness(this.#server);
    if (found === "ready") return textAnswer(200, "ready\n");
    return textAnswer(503, `${found}: ${READINESS[found]}\n`);
  }

  async #scrape(): Promise<Answer> {
    this.#source = this.#readSource(await this.#process.read());
    return { status: 200, type: this.#metrics.contentType, body: await this.#metrics.text() };
  }

  #connection(id: string): Answer {
    const found = connectionDetail(this.#server, id);
    if (found !== null) return jsonAnswer(200, found);
    const kept = this.#server.options.debug.closedRing;
    const message = `no open connection has this id, nor one of the last ${kept} that closed`;
    return problem(404, "not_found", message);
  }

  #closed(search: string): Answer {
    const { limit, reason, cause } = readQuery(search, CLOSED_KEYS);
    const connections = this.#server.closedRing
      .list()
      .filter((closed) => reason === null || closed.reason === reason)
      .filter((closed) => cause === null || closed.cause === cause);
    return jsonAnswer(200, {
      matching: connections.length,
      connections: connections.slice(0, limit),
    });
  }

  #readSource(process: ProcessReading): MetricSource {
    const server = this.#server;
    const reports = server.listeners.map(listenerReport);
    const uws = reports.find(({ library }) => library !== null)?.library ?? "none";
    const build = { version: this.#version, node: versions.node, uws };
    return { server, process, gc: this.#gc, tcp: this.#tcp, build };
  }
}
