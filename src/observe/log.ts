// The log as the server sees it.

/** Per-connection events; each kind is sampled by itself. A closed list. */
export const LOG_EVENTS = [
  "connection_opened",
  "connection_closed",
  "connection_note",
  "upgrade_refused",
  "accept_failed",
  "handler_failed",
] as const;
export type LogEvent = (typeof LOG_EVENTS)[number];

export type LogFields = Readonly<Record<string, unknown>>;

export interface Log {
  debug(fields: LogFields, text: string): void;
  info(fields: LogFields, text: string): void;
  warn(fields: LogFields, text: string): void;
  error(fields: LogFields, text: string): void;
  /**
   * Something that may happen for every connection: at most log.samplePerSecond of a kind are
   * written, the rest are counted. `fields` is called only for what is written.
   */
  event(kind: LogEvent, level: "debug" | "info" | "warn", fields: () => LogFields): void;
}

export const silentLog: Log = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  event() {},
};
