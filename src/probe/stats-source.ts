// A server's process as it tells of itself: Holdfast's /stats (docs/admin.md), asked over one
// connection that is kept. The figures are foreign input: what is missing or no number is null.

import {
  Agent as HttpAgent,
  type ClientRequest,
  get as httpGet,
  type IncomingMessage,
} from "node:http";
import { Agent as HttpsAgent, get as httpsGet } from "node:https";
import type { Clock } from "../base/clock.ts";
import {
  type ProcessReading,
  SourceFailure,
  type SourceFailureKind,
  type SourceReader,
} from "./process-sample.ts";

const STATS_SCHEMA = "holdfast.stats/1";
/** A server that needs longer is in trouble, and the next sample is due. */
const ANSWER_TIMEOUT_MS = 2_000;
/** /stats takes about 3 KB; whatever sends more than this is something else. */
const BODY_BYTES_MAX = 1_048_576;

type Fields = Readonly<Record<string, unknown>>;

export class StatsSource implements SourceReader {
  readonly source: string;
  readonly #url: URL;
  readonly #clock: Clock;
  readonly #agent: HttpAgent | HttpsAgent;
  #underWay: ClientRequest | null = null;
  #isClosed: boolean = false;

  /** @param url an http: or https: URL, with its path. */
  constructor(url: string, clock: Clock) {
    this.source = url;
    this.#url = new URL(url);
    this.#clock = clock;
    const options = { keepAlive: true, maxSockets: 1 };
    this.#agent =
      this.#url.protocol === "https:" ? new HttpsAgent(options) : new HttpAgent(options);
  }

  async read(): Promise<readonly ProcessReading[]> {
    const text = await this.#body(true);
    return readingsOf(this.source, parsed(text), this.#clock.now());
  }

  close(): void {
    this.#isClosed = true;
    this.#underWay?.destroy();
    this.#agent.destroy();
  }

  /** @param mayRepeat a server may close a kept connection at the moment that we use it. */
  async #body(mayRepeat: boolean): Promise<string> {
    const get = this.#url.protocol === "https:" ? httpsGet : httpGet;
    const headers = { accept: "application/json" };
    const request = get(this.#url, { agent: this.#agent, headers });
    this.#underWay = request;
    try {
      return await this.#answer(request);
    } catch (error) {
      if (!(error instanceof SourceFailure)) throw error;
      const wasStale = request.reusedSocket && isReset(error.cause);
      if (!wasStale || !mayRepeat || this.#isClosed) throw error;
    } finally {
      this.#underWay = null;
    }
    return await this.#body(false);
  }

  #answer(request: ClientRequest): Promise<string> {
    return new Promise((resolve, reject) => {
      let isOver = false;
      const end = (): void => {
        isOver = true;
        timer.cancel();
      };
      const fail = (kind: SourceFailureKind, why: string, cause?: unknown): void => {
        if (isOver) return;
        end();
        reject(new SourceFailure(kind, why, { cause }));
        request.destroy();
      };
      // An answer that came while this process stood still has not been read yet: it counts.
      const timer = this.#clock.after(ANSWER_TIMEOUT_MS, () => {
        this.#clock.afterPoll(() =>
          fail("silent", `no answer within ${ANSWER_TIMEOUT_MS / 1_000} s`),
        );
      });
      request.on("error", (error) => fail(...failureOf(error), error));
      request.on("response", (response) => {
        const problem = statusProblem(response);
        if (problem !== null) return fail("answer", problem);
        const chunks: Buffer[] = [];
        let size = 0;
        response.on("data", (chunk: Buffer) => {
          size += chunk.length;
          if (size > BODY_BYTES_MAX) return fail("answer", "answered with more than 1 MiB");
          chunks.push(chunk);
        });
        response.on("error", (error) => fail(...failureOf(error), error));
        response.on("end", () => {
          if (isOver) return;
          end();
          resolve(Buffer.concat(chunks).toString());
        });
      });
    });
  }
}

function isReset(error: unknown): boolean {
  return (error as NodeJS.ErrnoException | undefined)?.code === "ECONNRESET";
}

function failureOf(error: NodeJS.ErrnoException): [SourceFailureKind, string] {
  const code = error.code ?? error.message;
  if (code === "ECONNREFUSED") return ["refused", `nothing listens there (${code})`];
  if (code === "ECONNRESET") return ["silent", `the connection ended before the answer (${code})`];
  if (code.startsWith("HPE_"))
    return ["answer", `answered with something that is no HTTP (${code})`];
  return ["silent", `could not be asked (${code})`];
}

function statusProblem({ statusCode = 0 }: IncomingMessage): string | null {
  if (statusCode === 200) return null;
  const text = `answered with status ${statusCode}`;
  if (statusCode >= 300 && statusCode < 400) return `${text}: redirects are not followed`;
  if (statusCode === 404) return `${text}: it is not the path of a Holdfast server's /stats`;
  return text;
}

/** A supervisor's /stats holds the sums of its workers, and a row for each of them. */
function readingsOf(source: string, stats: Fields, atMs: number): readonly ProcessReading[] {
  const whole = readingOf(source, stats, atMs);
  const { supervisor, workers } = stats;
  if (typeof supervisor !== "object" || !Array.isArray(workers)) return [whole];
  const own = readingOf(source, fieldsOf(supervisor), atMs);
  const rows = workers
    .map(fieldsOf)
    // One that is starting has nothing to tell yet.
    .filter(({ state }) => state !== "starting")
    .map((row) => workerReading(source, row, atMs));
  // What is counted for all of them together stands at the supervisor, which serves no client.
  return [{ ...whole, ...memoryOf(own), fdLimit: whole.fdLimit, connections: 0 }, ...rows];
}

function memoryOf({
  pid,
  rssBytes,
  cpuMs,
  cpuAtMs,
  fds,
}: ProcessReading): Pick<
  ProcessReading,
  "pid" | "rssBytes" | "cpuMs" | "cpuAtMs" | "fds" | "connectionsMax" | "loopLagP99Ms"
> {
  return { pid, rssBytes, cpuMs, cpuAtMs, fds, connectionsMax: null, loopLagP99Ms: null };
}

function workerReading(source: string, row: Fields, atMs: number): ProcessReading {
  const { slot, state } = row;
  const name = `${source} slot ${numberOf(slot) ?? "?"}`;
  return {
    ...readingOf(name, row, atMs),
    // While its successor serves already, two processes have the slot.
    source: state === "draining" ? `${name}, draining` : name,
    connections: numberOf(row["connections"]),
    connectionsMax: numberOf(row["connectionsMax"]),
    loopLagP99Ms: numberOf(row["lagP99Ms"]),
  };
}

function readingOf(source: string, stats: Fields, atMs: number): ProcessReading {
  const [connections, admission] = [fieldsOf(stats["connections"]), fieldsOf(stats["admission"])];
  const totals = fieldsOf(stats["totals"]);
  const cpu = fieldsOf(stats["cpuMicros"]);
  const [user, system] = [numberOf(cpu["user"]), numberOf(cpu["system"])];
  const { state } = stats;
  const accepting = admission["accepting"];
  return {
    source,
    pid: numberOf(stats["pid"]),
    atMs,
    rssBytes: numberOf(stats["rssBytes"]),
    cpuMs: user === null || system === null ? null : (user + system) / 1_000,
    // The server's own clock: how long the answer took to get here would blur the rate.
    cpuAtMs: numberOf(stats["uptimeMs"]) ?? atMs,
    fds: numberOf(stats["fds"]),
    fdLimit: numberOf(stats["fdLimit"]),
    connections: numberOf(connections["total"]),
    connectionsMax: numberOf(connections["max"]),
    loopLagP99Ms: numberOf(fieldsOf(stats["loop"])["lagP99Ms"]),
    state: typeof state === "string" ? state : null,
    isAccepting: typeof accepting === "boolean" ? accepting : null,
    refused: numberOf(totals["refused"]),
    turnedAway: numberOf(admission["turnedAway"]),
    backlogged: numberOf(fieldsOf(stats["queue"])["backlogged"]),
    closedByReason: countsOf(stats["closedByReason"]),
  };
}

function parsed(text: string): Fields {
  let stats: unknown;
  try {
    stats = JSON.parse(text);
  } catch (error) {
    throw new SourceFailure("answer", "answered with something that is no JSON", { cause: error });
  }
  const { schema } = fieldsOf(stats);
  if (schema === STATS_SCHEMA) return fieldsOf(stats);
  const found = typeof schema === "string" ? JSON.stringify(schema.slice(0, 64)) : "no schema";
  throw new SourceFailure("answer", `answered with ${found} where ${STATS_SCHEMA} was expected`);
}

function fieldsOf(value: unknown): Fields {
  return typeof value === "object" && value !== null ? (value as Fields) : {};
}

function numberOf(value: unknown): number | null {
  return typeof value === "number" && value >= 0 ? value : null;
}

function countsOf(value: unknown): Readonly<Record<string, number>> | null {
  if (typeof value !== "object" || value === null) return null;
  const entries = Object.entries(value as Fields);
  return Object.fromEntries(
    entries.filter((entry): entry is [string, number] => {
      return numberOf(entry[1]) !== null;
    }),
  );
}
