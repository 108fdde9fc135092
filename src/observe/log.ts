// The log as the server sees it, and the one that a process writes: pino's JSON, one record per
// line, or the same for people. The fields are described in docs/logging.md.

import { inspect } from "node:util";
import { type DestinationStream, type Logger, type LoggerOptions, pino } from "pino";
import { prettyFactory } from "pino-pretty";
import type { Clock, Scheduled } from "../base/clock.ts";
import { LineWriter } from "./line-writer.ts";

/** Per-connection events; each kind is sampled by itself. A closed list. */
export const LOG_EVENTS = [
  "connection_opened",
  "connection_closed",
  "connection_note",
  "upgrade_refused",
  "accept_failed",
  "handler_failed",
  "hook_failed",
] as const;
export type LogEvent = (typeof LOG_EVENTS)[number];

export type LogFields = Readonly<Record<string, unknown>>;
export type LogEventLevel = "debug" | "info" | "warn";

/** What a log did not write, since it was made. */
export interface LogLosses {
  /** Events beyond log.samplePerSecond. */
  readonly suppressed: number;
  /** Lines that the destination did not take. */
  readonly lost: number;
}

export interface Log {
  debug(fields: LogFields, text: string): void;
  info(fields: LogFields, text: string): void;
  warn(fields: LogFields, text: string): void;
  error(fields: LogFields, text: string): void;
  /**
   * Something that may happen for every connection: at most log.samplePerSecond of a kind are
   * written, the rest are counted. `fields` is called only for what is written.
   */
  event(kind: LogEvent, level: LogEventLevel, fields: () => LogFields): void;
  /** Where it counts them. */
  readonly losses?: LogLosses;
  /** Takes up another level and another sample from now on, where the log has such. */
  configure?(options: LogVerbosity): void;
}

export const silentLog: Log = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  event() {},
};

export const LOG_THRESHOLDS = ["trace", "debug", "info", "warn", "error", "silent"] as const;
export type LogThreshold = (typeof LOG_THRESHOLDS)[number];

/** How much is written. */
export interface LogVerbosity {
  /** The least severe records that are written. */
  readonly level: LogThreshold;
  /** Records of one kind of event that are written per second; 0: they are only counted. */
  readonly samplePerSecond: number;
}

export interface LogOptions extends LogVerbosity {
  /** For people instead of JSON. */
  readonly pretty: boolean;
  /** Stands in every record. */
  readonly node: string;
  /** Which worker of the server writes; it stands in every record too. */
  readonly worker?: number;
}

/** Takes whole records, with their line break. What it throws counts as a lost line. */
export interface LogDestination {
  write(line: string): void;
}

/** Characters of a field, and of an error's stack, that are written. */
const TEXT_LENGTH_MAX = 1_000;
const STACK_LENGTH_MAX = 8_000;
/** Milliseconds over which events are sampled. */
const WINDOW_MS = 1_000;
/** How long the end of a process waits for whoever reads its log. */
const CLOSE_MS = 1_000;
const STANDARD_OUTPUT = 1;

class ProcessLog implements Log {
  readonly #options: LogOptions;
  readonly #clock: Clock;
  readonly #pino: Logger;
  readonly #writer: LineWriter | null;
  readonly #destination: LogDestination;
  readonly #kinds: Map<LogEvent, { written: number; suppressed: number; level: LogEventLevel }>;
  #samplePerSecond: number;
  #windowEndsMs: number = -Infinity;
  #report: Scheduled | null = null;
  #suppressed: number = 0;
  #refused: number = 0;
  #isLast: boolean = false;

  constructor(options: LogOptions, clock: Clock, destination: LogDestination | null) {
    this.#options = options;
    this.#samplePerSecond = options.samplePerSecond;
    this.#clock = clock;
    this.#writer = destination === null ? new LineWriter(STANDARD_OUTPUT, clock) : null;
    this.#destination = destination ?? this.#writer!;
    this.#pino = pino(pinoOptions(options, clock), this.#stream());
    this.#kinds = new Map(
      LOG_EVENTS.map((kind) => [kind, { written: 0, suppressed: 0, level: "debug" }]),
    );
  }

  get losses(): LogLosses {
    return { suppressed: this.#suppressed, lost: this.#refused + (this.#writer?.lost ?? 0) };
  }

  configure({ level, samplePerSecond }: LogVerbosity): void {
    this.#pino.level = level;
    this.#samplePerSecond = samplePerSecond;
  }

  debug(fields: LogFields, text: string): void {
    this.#pino.debug(fields, text);
  }

  info(fields: LogFields, text: string): void {
    this.#pino.info(fields, text);
  }

  warn(fields: LogFields, text: string): void {
    this.#pino.warn(fields, text);
  }

  error(fields: LogFields, text: string): void {
    this.#pino.error(fields, text);
  }

  event(kind: LogEvent, level: LogEventLevel, fields: () => LogFields): void {
    if (!this.#pino.isLevelEnabled(level)) return;
    const now = this.#clock.now();
    if (now >= this.#windowEndsMs) this.#beginWindow(now);
    const counts = this.#kinds.get(kind)!;
    if (counts.written < this.#samplePerSecond) {
      counts.written++;
      this.#pino[level]({ event: kind, ...fields() }, kind.replaceAll("_", " "));
      return;
    }
    counts.suppressed++;
    counts.level = level;
    this.#suppressed++;
    this.#report ??= this.#clock.after(this.#windowEndsMs - now, () => this.#beginWindow(null));
  }

  /** The last record of a process that ends now: when this returns it is written, or never. */
  fatal(fields: LogFields, text: string): void {
    this.#isLast = true;
    this.#pino.fatal(fields, text);
  }

  /** Says what was suppressed and writes what waits, for at most a second. */
  async close(): Promise<void> {
    this.#beginWindow(null);
    await this.#writer?.close(CLOSE_MS);
  }

  /** Reports what the last window suppressed. @param now null: none follows yet. */
  #beginWindow(now: number | null): void {
    this.#report?.cancel();
    this.#report = null;
    this.#windowEndsMs = now === null ? -Infinity : now + WINDOW_MS;
    for (const [event, counts] of this.#kinds) {
      const { suppressed, level } = counts;
      counts.written = 0;
      counts.suppressed = 0;
      if (suppressed > 0) this.#pino[level]({ event, suppressed }, "not written, only counted");
    }
  }

  #stream(): DestinationStream {
    const format = this.#options.pretty ? prettyFactory(PRETTY) : null;
    return {
      write: (line: string) => {
        try {
          const text = format === null ? line : (format(JSON.parse(line, harmless)) ?? "");
          if (this.#isLast && this.#writer !== null) this.#writer.writeLast(text);
          else this.#destination.write(text);
        } catch {
          this.#refused++;
        }
      },
    };
  }
}

export type { ProcessLog };

/**
 * The log of a process, on standard output unless a destination is given. Nothing that happens to
 * its destination throws or waits.
 */
export function createLog(
  options: LogOptions,
  clock: Clock,
  destination: LogDestination | null = null,
): ProcessLog {
  return new ProcessLog(options, clock, destination);
}

const PRETTY = {
  ignore: "node",
  translateTime: "SYS:HH:MM:ss.l",
  singleLine: true,
} as const;

function pinoOptions({ level, node, worker }: LogOptions, clock: Clock): LoggerOptions {
  return {
    level,
    base: worker === undefined ? { node } : { node, worker },
    timestamp: () => `,"time":"${new Date(clock.wall()).toISOString()}"`,
    formatters: { level: (label) => ({ level: label }), log: bounded },
    serializers: { err: errorFields },
  };
}

/** Clients have their say in some fields, and they may talk at length. */
function bounded(fields: Record<string, unknown>): Record<string, unknown> {
  const entries = Object.entries(fields).map(
    ([key, value]) =>
      [key, typeof value === "string" ? cut(value, TEXT_LENGTH_MAX) : value] as const,
  );
  return Object.fromEntries(entries);
}

/** What was thrown, whatever it is: bounded, and without its own idea of how to be written. */
function errorFields(thrown: unknown): LogFields {
  try {
    if (!(thrown instanceof Error)) {
      return {
        type: typeof thrown,
        message: cut(inspect(thrown, { depth: 1 }), TEXT_LENGTH_MAX),
      };
    }
    const { name, message, stack, cause } = thrown;
    const { code } = thrown as { code?: unknown };
    return {
      type: cut(name, TEXT_LENGTH_MAX),
      message: cut(message, TEXT_LENGTH_MAX),
      code: typeof code === "string" ? cut(code, TEXT_LENGTH_MAX) : undefined,
      stack: cut(stack ?? "", STACK_LENGTH_MAX),
      cause: cause === undefined ? undefined : cut(inspect(cause, { depth: 0 }), STACK_LENGTH_MAX),
    };
  } catch (error) {
    return { type: "unreadable", message: `reading what was thrown threw ${typeof error}` };
  }
}

function cut(text: string, lengthMax: number): string {
  const whole = String(text);
  return whole.length <= lengthMax ? whole : `${whole.slice(0, lengthMax)}...`;
}

/** What clients send may stand in a record, and a terminal obeys control characters. */
function harmless(_key: string, value: unknown): unknown {
  if (typeof value !== "string") return value;
  return value.replaceAll(/\p{Cc}/gu, (control) =>
    control === "\n" || control === "\t"
      ? control
      : `\\u${control.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
