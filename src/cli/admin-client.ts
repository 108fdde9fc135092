// Asks a running server's admin listener, for the commands of operators.

import { type IncomingMessage, request as httpRequest } from "node:http";
import { HoldfastError } from "../base/errors.ts";

/** A server that needs longer is in trouble; its workers have less to answer in. */
const ANSWER_TIMEOUT_MS = 10_000;
/** A thousand connections with their labels and notes are about a megabyte. */
const BODY_BYTES_MAX = 64 * 1_024 * 1_024;

export interface AdminAnswer {
  readonly status: number;
  /** What it answered, which is JSON. */
  readonly body: Readonly<Record<string, unknown>>;
}

export class AdminClient {
  readonly #base: URL;

  /**
   * @param base such as http://127.0.0.1:7402; the scheme may be left out. Throws
   * HOLDFAST_OPTIONS_INVALID.
   */
  constructor(base: string) {
    const given = /^[a-z]+:\/\//i.test(base) ? base : `http://${base}`;
    const url = URL.canParse(given) ? new URL(given) : null;
    const isPlain = url?.protocol === "http:" && url.pathname === "/" && !/^\d+$/.test(base);
    if (url === null || !isPlain) {
      const text = `--admin ${JSON.stringify(base)} is no address such as http://127.0.0.1:7402`;
      throw new HoldfastError("HOLDFAST_OPTIONS_INVALID", text);
    }
    this.#base = url;
  }

  /** Rejects with HOLDFAST_CONNECT_FAILED where nothing answers, or something else does. */
  get(
    path: string,
    query: Readonly<Record<string, string | undefined>> = {},
  ): Promise<AdminAnswer> {
    return this.#ask("GET", path, query);
  }

  /** An order; as {@link get}. */
  post(
    path: string,
    query: Readonly<Record<string, string | undefined>> = {},
  ): Promise<AdminAnswer> {
    return this.#ask("POST", path, query);
  }

  async #ask(
    method: "GET" | "POST",
    path: string,
    query: Readonly<Record<string, string | undefined>>,
  ): Promise<AdminAnswer> {
    const url = new URL(path, this.#base);
    for (const [key, value] of Object.entries(query)) {
      if (value !== undefined) url.searchParams.set(key, value);
    }
    const headers = { accept: "application/json", "x-holdfast-control": "1" };
    return await new Promise((resolve, reject) => {
      const asked = httpRequest(url, { method, headers, agent: false, timeout: ANSWER_TIMEOUT_MS });
      asked.on("timeout", () => void asked.destroy(new Error("no answer within 10 s")));
      asked.on("error", (error) => reject(this.#unreachable(error)));
      asked.on("response", (response) => {
        this.#read(response).then(resolve, reject);
      });
      asked.end();
    });
  }

  async #read(response: IncomingMessage): Promise<AdminAnswer> {
    const chunks: Buffer[] = [];
    let size = 0;
    try {
      for await (const chunk of response as AsyncIterable<Buffer>) {
        size += chunk.length;
        if (size > BODY_BYTES_MAX) throw new Error("it answers with more than 64 MiB");
        chunks.push(chunk);
      }
    } catch (error) {
      throw this.#unreachable(error as Error);
    }
    const body = parsed(Buffer.concat(chunks).toString());
    const { statusCode: status = 0 } = response;
    if (body === null) {
      const text = `what answers at ${this.#base.origin} is no Holdfast server (status ${status})`;
      throw new HoldfastError(
        "HOLDFAST_CONNECT_FAILED",
        `${text}: see admin.port, or give --admin`,
      );
    }
    return { status, body };
  }

  #complaint({ code = "", message }: NodeJS.ErrnoException): string {
    const where = this.#base.origin;
    if (code === "ECONNREFUSED") {
      return `nobody listens at ${where}: start the server, or say with --admin where it is`;
    }
    if (code === "ENOTFOUND" || code === "EAI_AGAIN") {
      return `there is no host ${this.#base.hostname}: say with --admin where the server is`;
    }
    if (code.startsWith("HPE_")) {
      return `what answers at ${where} speaks no HTTP: say with --admin where the server is`;
    }
    return `${where} gave no answer: ${message}`;
  }

  #unreachable(error: NodeJS.ErrnoException): HoldfastError {
    const text = `${this.#complaint(error)} (its log names its admin listener)`;
    return new HoldfastError("HOLDFAST_CONNECT_FAILED", text, { cause: error });
  }
}

function parsed(text: string): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(text);
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    return isObject ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}
