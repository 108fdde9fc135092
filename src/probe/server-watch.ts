// Looks at the server's processes once a second: what they hold and what they use, so that what the
// probe sees from outside can be explained. It costs one small request, or three small files, per
// process and second.

import { assert } from "../base/assert.ts";
import type { Clock, Scheduled } from "../base/clock.ts";
import { HoldfastError } from "../base/errors.ts";
import { PidSource, pidSourceName } from "./pid-source.ts";
import {
  type ProcessReading,
  type ProcessSample,
  SourceFailure,
  type SourceFailureKind,
  type SourceReader,
} from "./process-sample.ts";
import type { ServerFigures } from "./report.ts";
import { StatsSource } from "./stats-source.ts";

export type ServerSource =
  | { readonly kind: "url"; readonly url: string }
  | { readonly kind: "pid"; readonly pid: number };

export interface FailedSource {
  readonly source: string;
  readonly kind: SourceFailureKind;
  /** A clause such as `no answer within 2 s`. */
  readonly why: string;
}

export interface ServerSample {
  /** When it was begun, by the watch's clock. */
  readonly atMs: number;
  /** Of the sources that answered, in the order in which they were given. */
  readonly processes: readonly ProcessSample[];
  readonly failed: readonly FailedSource[];
  /**
   * Sums over all processes; a process that has gone counts as nothing. A sum is null where one of
   * its parts is not known, so that a source that is silent for a moment does not look like a fall.
   * `bytesPerConnection` is null: the watch does not know what the probe holds.
   */
  readonly figures: ServerFigures;
}

const SAMPLE_EVERY_MS = 1_000;
/** CPU time comes in steps of 10 ms: over less time than this, a rate would be mostly rounding. */
const CPU_SPAN_MS_MIN = 500;
const SOURCES_MAX = 256;
/** Linux's PID_MAX_LIMIT. */
const PID_MAX = 4_194_304;

/**
 * What `--server-stats` was given: URLs of /stats and process ids, each text with one or more of
 * them, separated by commas. Throws HOLDFAST_OPTIONS_INVALID, which names the entry.
 */
export function parseServerSources(texts: readonly string[]): readonly ServerSource[] {
  const sources: ServerSource[] = [];
  const seen = new Set<string>();
  for (const entry of texts.flatMap((text) => text.split(","))) {
    const source = parseSource(entry.trim());
    const name = nameOf(source);
    if (seen.has(name)) throw invalid(entry, "is given twice and would be counted twice");
    seen.add(name);
    sources.push(source);
  }
  if (sources.length > SOURCES_MAX) {
    throw invalid(texts.join(","), `holds ${sources.length} sources; ${SOURCES_MAX} are possible`);
  }
  return sources;
}

function parseSource(entry: string): ServerSource {
  if (/^\d+$/.test(entry)) {
    const pid = Number(entry);
    if (pid >= 1 && pid <= PID_MAX) return { kind: "pid", pid };
    throw invalid(entry, `is no process id: 1 to ${PID_MAX}`);
  }
  const url = /^https?:\/\//i.test(entry) && URL.canParse(entry) ? new URL(entry) : null;
  if (url === null) {
    throw invalid(entry, "is neither a process id nor a URL such as http://127.0.0.1:7402");
  }
  if (url.username !== "" || url.password !== "") {
    throw invalid(`${url.protocol}//...@${url.host}`, "must not hold a password");
  }
  if (url.pathname === "/") url.pathname = "/stats";
  url.hash = "";
  return { kind: "url", url: url.href };
}

function nameOf(source: ServerSource): string {
  return source.kind === "url" ? source.url : String(source.pid);
}

function invalid(entry: string, problem: string): HoldfastError {
  const message = `--server-stats: ${JSON.stringify(entry)} ${problem}`;
  return new HoldfastError("HOLDFAST_OPTIONS_INVALID", message);
}

export class ServerWatch {
  readonly #clock: Clock;
  readonly #sources: readonly WatchedSource[];
  #baseline: ServerSample | null = null;
  #last: ServerSample | null = null;
  #underWay: Promise<ServerSample> | null = null;
  #timer: Scheduled | null = null;
  /** When the next sample is due; they stay on a grid. */
  #dueMs: number = 0;
  #isStopped: boolean = false;

  constructor(sources: readonly ServerSource[], clock: Clock) {
    assert(sources.length > 0, "there is something to watch");
    this.#clock = clock;
    this.#sources = sources.map((source) => new WatchedSource(readerOf(source, clock)));
  }

  /**
   * Takes the baseline, then a sample a second until stop(). Rejects with HOLDFAST_CONNECT_FAILED
   * where a source cannot be read, with HOLDFAST_OPTIONS_INVALID where a process is given twice.
   */
  async start(): Promise<ServerSample> {
    assert(this.#baseline === null, "a watch starts once");
    const baseline = await this.sample();
    const problems = baseline.failed.map(({ source, why }) => `${source}: ${why}`);
    if (problems.length > 0) {
      this.stop();
      const message = `--server-stats cannot be read: ${problems.join("; ")}`;
      throw new HoldfastError("HOLDFAST_CONNECT_FAILED", message);
    }
    const twice = givenTwice(baseline.processes);
    if (twice !== null) {
      this.stop();
      throw invalid(
        twice.source,
        `is a process that ${twice.by} tells of as well: give one of them`,
      );
    }
    this.#baseline = baseline;
    this.#dueMs = baseline.atMs;
    this.#schedule();
    return baseline;
  }

  /** One now, or the one that is under way; takes up to 2 s where a source is silent. */
  sample(): Promise<ServerSample> {
    this.#underWay ??= this.#take();
    return this.#underWay;
  }

  get last(): ServerSample | null {
    return this.#last;
  }

  /** Before the first connection. */
  get baseline(): ServerSample | null {
    return this.#baseline;
  }

  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
    for (const source of this.#sources) source.close();
  }

  #schedule(): void {
    if (this.#isStopped) return;
    const now = this.#clock.now();
    const missed = Math.max(0, Math.floor((now - this.#dueMs) / SAMPLE_EVERY_MS));
    this.#dueMs += (missed + 1) * SAMPLE_EVERY_MS;
    this.#timer = this.#clock.after(this.#dueMs - now, () => {
      void this.sample().then(() => this.#schedule());
    });
  }

  async #take(): Promise<ServerSample> {
    const atMs = this.#clock.now();
    const found = await Promise.all(this.#sources.map((source) => source.sample()));
    const processes = found.flatMap((one) => ("why" in one ? [] : one));
    const failed = found.filter((one): one is FailedSource => "why" in one);
    this.#last = { atMs, processes, failed, figures: figuresOf(processes, failed) };
    this.#underWay = null;
    return this.#last;
  }
}

/** A process of this machine that is watched by its id and by its URL would count twice. */
function givenTwice(
  processes: readonly ProcessSample[],
): { readonly source: string; readonly by: string } | null {
  for (const { source, pid } of processes) {
    if (source !== pidSourceName(pid ?? 0)) continue;
    const other = processes.find((one) => one.pid === pid && one.source !== source);
    if (other !== undefined && isLoopback(other.source)) return { source, by: other.source };
  }
  return null;
}

function isLoopback(url: string): boolean {
  const { hostname } = new URL(url);
  return hostname === "localhost" || hostname === "[::1]" || hostname.startsWith("127.");
}

function readerOf(source: ServerSource, clock: Clock): SourceReader {
  return source.kind === "url"
    ? new StatsSource(source.url, clock)
    : new PidSource(source.pid, clock);
}

/** A source, and what the CPU time of its processes is compared with. */
class WatchedSource {
  readonly #reader: SourceReader;
  #cores: Map<string, { readonly of: ProcessReading; readonly cpuCores: number | null }> =
    new Map();

  constructor(reader: SourceReader) {
    this.#reader = reader;
  }

  async sample(): Promise<readonly ProcessSample[] | FailedSource> {
    try {
      const readings = await this.#reader.read();
      const cores = new Map(readings.map((of) => [of.source, this.#coresOf(of)]));
      this.#cores = cores;
      return readings.map((reading) => {
        return { ...reading, cpuCores: cores.get(reading.source)?.cpuCores ?? null };
      });
    } catch (error) {
      if (!(error instanceof SourceFailure)) throw error;
      return { source: this.#reader.source, kind: error.kind, why: error.message };
    }
  }

  close(): void {
    this.#reader.close();
  }

  /** The rate up to `now`, and the reading that the next rate begins at. */
  #coresOf(now: ProcessReading): { of: ProcessReading; cpuCores: number | null } {
    const known = this.#cores.get(now.source);
    const before = known?.of;
    const isOfOneProcess =
      before !== undefined &&
      before.pid === now.pid &&
      before.cpuMs !== null &&
      now.cpuMs !== null &&
      // Time that went back is another start of the process under the same number.
      now.cpuMs >= before.cpuMs &&
      now.cpuAtMs >= before.cpuAtMs;
    if (!isOfOneProcess) return { of: now, cpuCores: null };
    const spanMs = now.cpuAtMs - before.cpuAtMs;
    if (spanMs < CPU_SPAN_MS_MIN) return { of: before, cpuCores: known?.cpuCores ?? null };
    return { of: now, cpuCores: (now.cpuMs - before.cpuMs) / spanMs };
  }
}

function figuresOf(
  processes: readonly ProcessSample[],
  failed: readonly FailedSource[],
): ServerFigures {
  const isWhole = failed.every(({ kind }) => kind === "gone");
  const total = (figure: (process: ProcessSample) => number | null): number | null =>
    isWhole ? sum(processes.map(figure)) : null;
  const lags = processes.map(({ loopLagP99Ms }) => loopLagP99Ms).filter((lag) => lag !== null);
  return {
    processes: processes.length,
    rssBytes: total(({ rssBytes }) => rssBytes),
    cpuCores: total(({ cpuCores }) => cpuCores),
    fds: total(({ fds }) => fds),
    fdLimit: total(({ fdLimit }) => fdLimit),
    connections: total(({ connections }) => connections),
    loopLagP99Ms: lags.length === 0 ? null : Math.max(...lags),
    bytesPerConnection: null,
  };
}

/** null where there is nothing, or something that is not known. */
function sum(values: readonly (number | null)[]): number | null {
  if (values.length === 0) return null;
  return values.reduce(
    (total, value) => (total === null || value === null ? null : total + value),
    0,
  );
}

/**
 * The line through (held, resident) by least squares: bytes per connection, and how much of the
 * variation it explains (0 to 1). null where fewer than three different numbers were held.
 */
export function bytesPerConnection(
  points: readonly { readonly held: number; readonly rssBytes: number }[],
): { readonly slope: number; readonly r2: number } | null {
  if (new Set(points.map(({ held }) => held)).size < 3) return null;
  const meanHeld = points.reduce((total, { held }) => total + held, 0) / points.length;
  const meanRss = points.reduce((total, { rssBytes }) => total + rssBytes, 0) / points.length;
  let [heldSquares, rssSquares, products] = [0, 0, 0];
  for (const { held, rssBytes } of points) {
    heldSquares += (held - meanHeld) ** 2;
    rssSquares += (rssBytes - meanRss) ** 2;
    products += (held - meanHeld) * (rssBytes - meanRss);
  }
  // Memory that never changes lies on a level line exactly.
  const r2 = rssSquares === 0 ? 1 : products ** 2 / (heldSquares * rssSquares);
  return { slope: products / heldSquares, r2 };
}
