// What operators are answered over HTTP: health, metrics, statistics and single connections, and
// the few orders that they may give. It asks for no password, so it listens on loopback unless told
// otherwise, and takes orders from loopback alone.

import { CLOSE_CAUSES, CLOSE_REASONS } from "../connection/close-reason.ts";
import type { CloseCause, CloseReason } from "../connection/close-reason.ts";
import { type TransportAddress, TRANSPORT_KINDS } from "../transport/transport.ts";
import { AdminHttp, type AdminRequest, type Answer } from "./admin-http.ts";
import { jsonAnswer, methodRefused, problem, textAnswer } from "./admin-http.ts";
import { choiceKey, integerKey, type QueryKeys, readQuery } from "./admin-query.ts";
import { type AdminSource, type Control, type ControlOutcome } from "./admin-source.ts";
import { WorkerSilent } from "./admin-source.ts";
import { CONNECTION_SORTS } from "./inspect.ts";
import { OPEN_STATES } from "./metric-table.ts";

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
const WORKER_KEYS = { worker: integerKey(1, 999_999_999, null) };
const DRAIN_KEYS = { now: choiceKey(["true", "false"], "false") };
const NO_KEYS = {};

interface Endpoint {
  readonly path: string;
  readonly method: "GET" | "POST";
  readonly about: string;
  readonly keys: QueryKeys;
}

function get(path: string, about: string, keys: QueryKeys = NO_KEYS): Endpoint {
  return { path, method: "GET", about, keys };
}

function post(path: string, about: string, keys: QueryKeys = NO_KEYS): Endpoint {
  return { path, method: "POST", about, keys };
}

/** What can be asked for. Paths are exact, but for the id of a connection. */
const ENDPOINTS: readonly Endpoint[] = [
  get("/", "this list"),
  get("/healthz", "200 while the process lives"),
  get("/readyz", "200 while new clients are served, else 503 and why"),
  get("/metrics", "metrics in Prometheus's text format, of all workers or of one", WORKER_KEYS),
  get("/stats", "the server in numbers, of all workers or of one", WORKER_KEYS),
  get("/connections", "open connections that stand out", CONNECTIONS_KEYS),
  get("/connections/<id>", "one connection, open or lately closed"),
  get("/closed", "connections that closed lately, newest first", CLOSED_KEYS),
  get("/reload", "how far the newest rolling restart is"),
  post("/reload", "restarts all workers, one after the other"),
  post("/drain", "stops the server in order", DRAIN_KEYS),
  post("/kick/<id>", "disconnects one connection, which is told to come back"),
];
const WITH_ID = /^(\/(?:connections|kick)\/)(.*)$/s;

export interface AdminOptions {
  readonly host: string;
  readonly port: number;
  /** Whether orders are taken at all. */
  readonly control: boolean;
}

export class Admin {
  readonly #source: AdminSource;
  readonly #control: Control;
  readonly #takesOrders: boolean;
  readonly #http: AdminHttp;
  #address: TransportAddress | null = null;

  /** @param onFailure told what could not be answered; the client is told only that it failed. */
  constructor(
    source: AdminSource,
    control: Control,
    options: AdminOptions,
    onFailure: (error: unknown) => void,
  ) {
    this.#source = source;
    this.#control = control;
    this.#takesOrders = options.control;
    this.#http = new AdminHttp(options, (request) => this.#answer(request), onFailure);
  }

  /** Null until it listens. */
  get address(): TransportAddress | null {
    return this.#address;
  }

  /** Rejects with HOLDFAST_LISTEN_FAILED, with nothing left open. */
  async start(): Promise<void> {
    this.#address = await this.#http.listen();
    this.#source.start();
  }

  async stop(): Promise<void> {
    this.#source.stop();
    if (this.#address !== null) await this.#http.close();
    this.#address = null;
  }

  async #answer(request: AdminRequest): Promise<Answer> {
    const [, before, id = ""] = WITH_ID.exec(request.path) ?? [];
    const path = before === undefined ? request.path : `${before}<id>`;
    const here = ENDPOINTS.filter((endpoint) => endpoint.path === path);
    if (here.length === 0) return problem(404, "not_found", `no such path; / lists what there is`);
    const wanted = request.method === "HEAD" ? "GET" : request.method;
    const endpoint = here.find(({ method }) => method === wanted);
    if (endpoint === undefined) {
      const allowed = here.flatMap(({ method }) => (method === "GET" ? ["GET", "HEAD"] : [method]));
      return methodRefused(request.method, allowed);
    }
    try {
      if (endpoint.method === "POST") return await this.#order(path, id, request);
      return await this.#tell(path, id, request.search);
    } catch (error) {
      if (error instanceof WorkerSilent) return problem(503, "worker_silent", error.message);
      throw error;
    }
  }

  async #tell(path: string, id: string, search: string): Promise<Answer> {
    const source = this.#source;
    switch (path) {
      case "/metrics": {
        const { worker } = readQuery(search, WORKER_KEYS);
        const found = await source.metrics(worker);
        return found === null ? noWorker(worker) : { ...found, status: 200, body: found.text };
      }
      case "/stats": {
        const { worker } = readQuery(search, WORKER_KEYS);
        const found = await source.stats(worker);
        return found === null ? noWorker(worker) : jsonAnswer(200, found);
      }
      case "/connections":
        return jsonAnswer(200, await source.connections(readQuery(search, CONNECTIONS_KEYS)));
      case "/closed":
        return jsonAnswer(200, await source.closed(readQuery(search, CLOSED_KEYS)));
      default:
        readQuery(search, NO_KEYS);
        return await this.#tellPlain(path, id);
    }
  }

  /** Without a query. */
  async #tellPlain(path: string, id: string): Promise<Answer> {
    switch (path) {
      case "/healthz":
        return textAnswer(200, "ok\n");
      case "/readyz": {
        const { isReady, word, text } = await this.#source.ready();
        return isReady ? textAnswer(200, "ready\n") : textAnswer(503, `${word}: ${text}\n`);
      }
      case "/reload":
        return jsonAnswer(200, this.#control.reloadState());
      case "/connections/<id>": {
        const found = await this.#source.connection(id);
        return found === null ? noConnection() : jsonAnswer(200, found);
      }
      default:
        return jsonAnswer(200, this.#overview());
    }
  }

  async #order(path: string, id: string, request: AdminRequest): Promise<Answer> {
    if (!this.#takesOrders) {
      return problem(403, "control_disabled", "no orders are taken here: admin.control is false");
    }
    if (request.controlRefusal !== null) return request.controlRefusal;
    if (path === "/drain") {
      const { now } = readQuery(request.search, DRAIN_KEYS);
      return ordered("drain", this.#control.drain(now === "true"));
    }
    readQuery(request.search, NO_KEYS);
    if (path === "/reload") {
      const outcome = await this.#control.reload();
      return ordered("reload", outcome, { reload: this.#control.reloadState() });
    }
    if (!(await this.#source.kick(id))) return noConnection();
    return jsonAnswer(200, { kicked: id });
  }

  #overview(): object {
    const { version, node, state } = this.#source.about();
    const endpoints = ENDPOINTS.map(({ path, method, about, keys }) => {
      const query = Object.entries(keys).map(
        ([key, row]) => [key, { allowed: row.allowed, default: row.default }] as const,
      );
      return { path, method, about, query: Object.fromEntries(query) };
    });
    return { name: "holdfast", version, node, state, endpoints };
  }
}

/** 202: it goes on after the answer. */
function ordered(order: string, outcome: ControlOutcome, facts: object = {}): Answer {
  if (outcome.outcome === "refused") return problem(409, `${order}_refused`, outcome.message);
  return jsonAnswer(202, { order, ...outcome, ...facts });
}

function noConnection(): Answer {
  const message = "no open connection has this id, nor is it known of one that closed";
  return problem(404, "not_found", message);
}

function noWorker(worker: number | null): Answer {
  const message = `no worker has the number ${worker}: /stats (holdfast stats) lists them`;
  return problem(404, "not_found", message);
}
