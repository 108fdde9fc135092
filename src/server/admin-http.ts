// The HTTP side of the admin listener: what a request must look like, how many there may be, and
// how answers and errors are written. What is answered is in admin.ts.

import {
  createServer,
  type IncomingMessage,
  type Server as HttpServer,
  type ServerResponse,
} from "node:http";
import { type AddressInfo, isIPv4 } from "node:net";
import { listenError } from "../transport/listen-error.ts";
import type { TransportAddress } from "../transport/transport.ts";
import { BadQuery } from "./admin-query.ts";

/** Sockets at a time; they come out of the files that admission keeps in reserve. */
const SOCKETS_MAX = 32;
const HEADER_BYTES_MAX = 8_192;
const TARGET_LENGTH_MAX = 2_048;
const METHODS = ["GET", "HEAD", "POST"] as const;
export type AdminMethod = (typeof METHODS)[number];
/** A web page can send it to nobody but its own origin, without the browser asking first. */
const CONTROL_HEADER = "x-holdfast-control";

const TIMES_MS = {
  headersTimeout: 2_000,
  requestTimeout: 10_000,
  keepAliveTimeout: 5_000,
  /** How often the first two are looked at. */
  connectionsCheckingInterval: 500,
} as const;
/** Whoever takes nothing of an answer for so long is cut off. */
const STALL_MS = 10_000;

export interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
  readonly allow?: string;
}

export interface AdminRequest {
  readonly method: AdminMethod;
  readonly path: string;
  /** The query, without its question mark. */
  readonly search: string;
  /** Why it may not order anything; null where it may. */
  readonly controlRefusal: Answer | null;
}

/** Answers a request; may throw {@link BadQuery}. */
export type Answerer = (request: AdminRequest) => Promise<Answer>;

export class AdminHttp {
  readonly #wanted: TransportAddress;
  readonly #answer: Answerer;
  readonly #onFailure: (error: unknown) => void;
  readonly #http: HttpServer;
  readonly #underWay: Set<Promise<void>> = new Set();
  /** Only loopback can be reached, so only names of loopback are honest. */
  #isLoopback: boolean = true;

  /** @param onFailure told what the answerer threw; the client is told only that it failed. */
  constructor(
    { host, port }: { readonly host: string; readonly port: number },
    answer: Answerer,
    onFailure: (error: unknown) => void,
  ) {
    this.#wanted = { host, port, path: null };
    this.#answer = answer;
    this.#onFailure = onFailure;
    const options = { ...TIMES_MS, maxHeaderSize: HEADER_BYTES_MAX };
    this.#http = createServer(options, (request, response) => {
      const served = this.#serve(request, response).catch(onFailure);
      this.#underWay.add(served);
      void served.finally(() => void this.#underWay.delete(served));
    });
    this.#http.maxConnections = SOCKETS_MAX;
    this.#http.timeout = STALL_MS;
  }

  /** Rejects with HOLDFAST_LISTEN_FAILED. */
  listen(): Promise<TransportAddress> {
    const { host, port } = this.#wanted;
    return new Promise((resolve, reject) => {
      this.#http.once("error", (error) => reject(listenError("admin HTTP", this.#wanted, error)));
      this.#http.listen({ host, port }, () => {
        this.#http.removeAllListeners("error").on("error", this.#onFailure);
        const bound = this.#http.address() as AddressInfo;
        this.#isLoopback = isLoopback(bound.address);
        resolve({ host, port: bound.port, path: null });
      });
    });
  }

  /** Answers what was asked, then cuts off whoever is connected. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.#http.close(() => resolve());
    });
    // The order to stop may be what is being answered.
    await Promise.all(this.#underWay);
    this.#http.closeAllConnections();
    await closed;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let answer = this.#refusal(request);
    if (answer === null) {
      const [path = "", ...search] = (request.url ?? "").split("?");
      try {
        answer = await this.#answer({
          method: request.method as AdminMethod,
          path,
          search: search.join("?"),
          controlRefusal: controlRefusal(request),
        });
      } catch (error) {
        answer = this.#failed(error);
      }
    }
    const { status, type, body, allow } = answer;
    response.setHeader("content-type", type);
    response.setHeader("content-length", Buffer.byteLength(body));
    response.setHeader("cache-control", "no-store");
    response.setHeader("x-content-type-options", "nosniff");
    if (allow !== undefined) response.setHeader("allow", allow);
    // A body means nothing here and is not waited for.
    if (hasBody(request)) response.setHeader("connection", "close");
    response.writeHead(status);
    response.end(request.method === "HEAD" ? undefined : body);
  }

  /** Null: the request may be answered. */
  #refusal({ method = "", url = "", headers }: IncomingMessage): Answer | null {
    if (!url.startsWith("/")) {
      if (url === "*") return methodRefused(method, METHODS);
      return problem(400, "bad_target", "the request's target must be a path: this is no proxy");
    }
    if (url.length > TARGET_LENGTH_MAX) {
      const message = `the request's target has more than ${TARGET_LENGTH_MAX} characters`;
      return problem(414, "target_too_long", message);
    }
    if (this.#isLoopback && headers.host !== undefined && !this.#isOurName(headers.host)) {
      // A page of another site may have its own name resolve to loopback, and read the answer.
      const message = `Host ${JSON.stringify(headers.host)} is not this machine's loopback`;
      return problem(403, "forbidden_host", message);
    }
    return null;
  }

  #isOurName(host: string): boolean {
    return isLoopbackName(host) || bareName(host) === this.#wanted.host.toLowerCase();
  }

  #failed(error: unknown): Answer {
    if (error instanceof BadQuery) {
      const { key, value, allowed, message } = error;
      return jsonAnswer(400, { error: "bad_query", message, key, value, allowed });
    }
    this.#onFailure(error);
    return problem(500, "internal", "the server failed to answer; its log says why");
  }
}

/** Indented: it is read by people as often as by programs. */
export function jsonAnswer(status: number, value: unknown): Answer {
  const body = `${JSON.stringify(value, null, 2)}\n`;
  return { status, type: "application/json; charset=utf-8", body };
}

export function textAnswer(status: number, text: string): Answer {
  return { status, type: "text/plain; charset=utf-8", body: text };
}

export function problem(status: number, error: string, message: string): Answer {
  return jsonAnswer(status, { error, message });
}

/** @param allowed what the path takes. */
export function methodRefused(method: string, allowed: readonly string[]): Answer {
  const allow = allowed.join(", ");
  const message = `${method} is not allowed here: allowed are ${allow}`;
  return { ...problem(405, "method_not_allowed", message), allow };
}

/**
 * Orders come from this machine, by its own name and with a header that no web page can send
 * elsewhere: neither another site nor a name that it has resolve to loopback can give any.
 */
function controlRefusal({ socket, headers }: IncomingMessage): Answer | null {
  if (!isLoopback(socket.remoteAddress?.replace(/^::ffff:/i, "") ?? "")) {
    return problem(403, "forbidden_peer", "orders are taken from this machine's loopback alone");
  }
  if (!isLoopbackName(headers.host ?? "")) {
    const message = `Host ${JSON.stringify(headers.host ?? "")} is not this machine's loopback`;
    return problem(403, "forbidden_host", message);
  }
  if (headers[CONTROL_HEADER] === "1") return null;
  const message = `an order needs the header ${CONTROL_HEADER}: 1`;
  return problem(403, "control_header_missing", message);
}

function isLoopback(address: string): boolean {
  return address === "::1" || (isIPv4(address) && address.startsWith("127."));
}

function isLoopbackName(host: string): boolean {
  const bare = bareName(host);
  return bare === "localhost" || (bare !== null && isLoopback(bare));
}

/** The host of a Host header, without brackets and port; null: it is none. */
function bareName(host: string): string | null {
  const name = /^(\[[\da-f:.]+\]|[^:]*)(:\d+)?$/i.exec(host)?.[1]?.toLowerCase();
  return name?.replace(/^\[|\]$/g, "") ?? null;
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers["transfer-encoding"] !== undefined || (headers["content-length"] ?? "0") !== "0";
}
