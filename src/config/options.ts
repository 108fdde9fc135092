// The shape of every option. Values, ranges and meanings are in option-table.ts, which the compiler
// checks against this shape: an option without a row, or a row without an option, does not build.

export const FRAMING_NAMES = ["uint32", "varint"] as const;
export type FramingName = (typeof FRAMING_NAMES)[number];

/** auto: tcp-epoll where it can be had, tcp-net elsewhere. */
export const TCP_TRANSPORTS = ["auto", "tcp-net", "tcp-epoll"] as const;
export type TcpTransportName = (typeof TCP_TRANSPORTS)[number];

export const SEND_POLICIES = ["disconnect", "drop-newest", "drop-oldest", "conflate"] as const;
export type SendPolicy = (typeof SEND_POLICIES)[number];

export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "silent"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/**
 * Every option of a server, complete and deep frozen. Times are milliseconds, sizes are bytes.
 * Defaults, ranges and what happens at a limit: docs/options.md.
 */
export interface Options {
  readonly tcp: {
    readonly enabled: boolean;
    readonly host: string;
    /** 0 takes any free port. */
    readonly port: number;
    /** A Unix socket to listen on instead of host and port. */
    readonly path: string | null;
    /** An inherited listening socket, instead of all of these. */
    readonly fd: number | null;
    readonly transport: TcpTransportName;
    readonly framing: FramingName;
    readonly backlog: number;
    readonly noDelay: boolean;
    /** 0: no probes. */
    readonly keepAliveMs: number;
    /** 0: the kernel's own patience. */
    readonly userTimeoutMs: number;
  };
  readonly websocket: {
    readonly enabled: boolean;
    /** Whether starting fails where uWebSockets.js cannot be loaded. */
    readonly required: boolean;
    readonly host: string;
    /** 0 takes any free port. */
    readonly port: number;
    readonly origins: readonly string[];
  };
  readonly admin: {
    readonly enabled: boolean;
    readonly host: string;
    /** 0 takes any free port. */
    readonly port: number;
    /** Whether operators may change something, not only look. */
    readonly control: boolean;
  };
  readonly connection: {
    /** null: 90% of the files that the process may open. */
    readonly max: number | null;
    readonly acceptTimeoutMs: number;
    readonly handshakeTimeoutMs: number;
    readonly heartbeatMs: number;
    /** A share of heartbeatMs, 0 to 0.5. */
    readonly heartbeatJitter: number;
    readonly idleTimeoutMs: number;
    readonly frameTimeoutMs: number;
    readonly closeTimeoutMs: number;
    readonly callsMax: number;
  };
  readonly frame: {
    readonly bytesMax: number;
  };
  readonly send: {
    readonly highBytes: number;
    readonly lowBytes: number;
    readonly queueBytesMax: number;
    readonly stallTimeoutMs: number;
    readonly policy: SendPolicy;
    /** null: a quarter of the memory that the process may use. */
    readonly budgetBytes: number | null;
  };
  readonly topic: {
    readonly perConnectionMax: number;
    readonly nameBytesMax: number;
    readonly max: number;
    readonly backlogEventsMax: number;
    readonly publishFromClients: boolean;
  };
  readonly call: {
    /** 0: a call without a timeout of its own has no deadline. */
    readonly timeoutMs: number;
    readonly timeoutMsMax: number;
  };
  readonly label: {
    readonly max: number;
    readonly bytesMax: number;
  };
  readonly drain: {
    readonly graceMs: number;
    readonly reconnectSpreadMs: number;
    /** After graceMs. */
    readonly closeSpreadMs: number;
  };
  readonly overload: {
    readonly retryAfterMs: number;
  };
  readonly workers: {
    /** null: enough for the cores and for connection.max. 0: no supervisor. */
    readonly count: number | null;
    /** An ES module that sets up each worker's server. */
    readonly application: string | null;
    readonly readyTimeoutMs: number;
    readonly unresponsiveMs: number;
  };
  readonly preflight: {
    /** Whether starting fails where connection.max cannot be held. */
    readonly strict: boolean;
  };
  readonly node: {
    /** null: the host's name and the process id. */
    readonly name: string | null;
  };
  readonly log: {
    readonly level: LogLevel;
    /** null: pretty when standard output is a terminal. */
    readonly pretty: boolean | null;
    readonly samplePerSecond: number;
  };
  readonly debug: {
    readonly closedRing: number;
  };
}

export type OptionArea = keyof Options;

/** A key as users write it: `area.name`. */
export type OptionPath = {
  [A in OptionArea]: `${A}.${keyof Options[A] & string}`;
}[OptionArea];

export type OptionAt<P extends OptionPath> = P extends `${infer A extends OptionArea}.${infer N}`
  ? Options[A][N & keyof Options[A]]
  : never;

export type OptionValue = number | boolean | string | readonly string[] | null;

/** Some of the options, by area. A key that is undefined counts as not given. */
export type PartialOptions = {
  readonly [A in OptionArea]?:
    | { readonly [N in keyof Options[A]]?: Options[A][N] | undefined }
    | undefined;
};
