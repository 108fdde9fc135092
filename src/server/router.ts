// Calls: methods by name, exact or by prefix; deadlines, cancellation and answers.

import { HoldfastError } from "../base/errors.ts";
import type { TimerId, TimerOwner, TimerWheel } from "../base/timer-wheel.ts";
import type { Bytes } from "../base/buffer-pool.ts";
import type { ClientConnection } from "../connection/client-connection.ts";
import type { Connection, Work } from "../connection/connection.ts";
import { type Call, STATUS, type Status } from "../wire/messages.ts";
import { Payload, type PayloadScope } from "../wire/payload.ts";

/** What a handler may give back: the Result's payload. Nothing is an empty payload. */
export type CallAnswer = Payload | Uint8Array | string | undefined | void;
export type CallHandler = (call: CallContext) => CallAnswer | PromiseLike<CallAnswer>;

/**
 * Thrown by a handler to answer with this Failure. Anything else thrown is INTERNAL, and logged.
 */
export class StatusError extends Error {
  override readonly name: string = "StatusError";
  readonly status: Status;
  readonly retryable: boolean;
  readonly retryAfterMs: number;

  /** @param reason told to the client. */
  constructor(
    status: Status,
    reason: string,
    options: { retryable?: boolean; retryAfterMs?: number } = {},
  ) {
    super(reason);
    this.status = status;
    this.retryable = options.retryable ?? status === STATUS.UNAVAILABLE;
    this.retryAfterMs = options.retryAfterMs ?? 0;
  }
}

/** One call, in the hands of its handler. */
export class CallContext {
  /** Who calls. */
  readonly connection: ClientConnection;
  readonly method: string;
  /** Valid until the handler returns or awaits: see {@link Payload}. */
  readonly payload: Payload;
  /** What was agreed on with the client, in milliseconds; 0: no deadline. */
  readonly timeoutMs: number;
  readonly #message: Call;
  #abort: AbortController | null = null;
  #aborted: Error | null = null;

  constructor(connection: ClientConnection, message: Call, payload: Payload, timeoutMs: number) {
    this.connection = connection;
    this.method = message.method;
    this.payload = payload;
    this.timeoutMs = timeoutMs;
    this.#message = message;
  }

  /** The call's metadata, as the client sent it. */
  get metadata(): ReadonlyMap<string, string> {
    return new Map(Object.entries(this.#message.metadata));
  }

  /**
   * Fires when the deadline passes and when the connection closes. Made when it is first asked for.
   */
  get signal(): AbortSignal {
    this.#abort ??= new AbortController();
    if (this.#aborted !== null) this.#abort.abort(this.#aborted);
    return this.#abort.signal;
  }

  /** Called by the router. */
  abort(reason: Error): void {
    this.#aborted = reason;
    this.#abort?.abort(reason);
  }
}

/** Deadlines of calls in milliseconds. */
export interface CallTimeouts {
  /** Where the client gave none; 0: none. */
  readonly timeoutMs: number;
  readonly timeoutMsMax: number;
}

export interface RouterOptions extends CallTimeouts {
  /** Every call that was answered. Milliseconds are null where it was not timed. */
  readonly onAnswered: (elapsedMs: number | null, status: Status | 0) => void;
  readonly onHandlerError: (connection: Connection, method: string, error: unknown) => void;
}

export class Router {
  readonly #options: RouterOptions;
  readonly #wheel: TimerWheel;
  readonly #scope: PayloadScope;
  readonly #now: () => number;
  /** Of calls that begin from now on. */
  timeouts: CallTimeouts;
  #calls: number = 0;
  readonly #exact: Map<string, CallHandler> = new Map();
  #lastMethod: string | null = null;
  #lastHandler: CallHandler | null = null;
  /** Longest first, so that the first that fits is the one that counts. */
  readonly #prefixes: { readonly prefix: string; readonly handler: CallHandler }[] = [];

  constructor(options: RouterOptions, wheel: TimerWheel, scope: PayloadScope, now: () => number) {
    this.#options = options;
    this.timeouts = options;
    this.#wheel = wheel;
    this.#scope = scope;
    this.#now = now;
  }

  /**
   * @param name a method's name, or a prefix with `*` at its end ("orders.*").
   * Throws HOLDFAST_METHOD_INVALID where the name is empty or taken or no function is given.
   */
  add(name: string, handler: CallHandler): void {
    const bad = (what: string): never => {
      throw new HoldfastError("HOLDFAST_METHOD_INVALID", `method "${name}": ${what}`);
    };
    if (typeof handler !== "function") bad("the handler is no function");
    if (name === "") bad("a name is not empty");
    this.#lastMethod = null;
    if (!name.endsWith("*")) {
      if (name.includes("*")) bad("a * stands only at the end");
      if (this.#exact.has(name)) bad("the name is taken");
      this.#exact.set(name, handler);
      return;
    }
    const prefix = name.slice(0, -1);
    if (prefix.includes("*")) bad("a * stands only at the end");
    if (this.#prefixes.some((other) => other.prefix === prefix)) bad("the name is taken");
    this.#prefixes.push({ prefix, handler });
    this.#prefixes.sort((a, b) => b.prefix.length - a.prefix.length);
  }

  find(method: string): CallHandler | null {
    // Calls of one method come in rows, and the reader gives equal names as one string.
    if (method === this.#lastMethod) return this.#lastHandler;
    const handler = this.#lookUp(method);
    if (handler !== null) {
      this.#lastMethod = method;
      this.#lastHandler = handler;
    }
    return handler;
  }

  #lookUp(method: string): CallHandler | null {
    const exact = this.#exact.get(method);
    if (exact !== undefined) return exact;
    for (const { prefix, handler } of this.#prefixes) if (method.startsWith(prefix)) return handler;
    return null;
  }

  call(connection: Connection, id: number, message: Call): void {
    const handler = this.find(message.method);
    if (handler === null) {
      fail(connection, id, STATUS.UNIMPLEMENTED, `no such method: ${message.method.slice(0, 100)}`);
      this.#options.onAnswered(null, STATUS.UNIMPLEMENTED);
      return;
    }
    const payload =
      message.payload instanceof Payload ? message.payload : Payload.empty(this.#scope);
    if (connection.handlersRunning >= HANDLERS_PER_CALL * connection.context.limits.callsMax) {
      // Calls that were answered for their handlers by the deadline: those handlers still run.
      fail(
        connection,
        id,
        STATUS.RESOURCE_EXHAUSTED,
        "earlier calls are still being worked on",
        true,
      );
      this.#options.onAnswered(null, STATUS.RESOURCE_EXHAUSTED);
      return;
    }
    const context = new CallContext(connection, message, payload, this.#timeout(message));
    // Asking for the time costs as much as decoding a call: only some synchronous ones are timed.
    const isTimed = (this.#calls++ & (TIMED_ONE_IN - 1)) === 0;
    const startedMs = isTimed ? this.#now() : null;
    let answer: CallAnswer | Promise<CallAnswer>;
    try {
      const given = handler(context);
      // A thenable of the application's may throw where a promise would reject.
      answer = isThenable(given) ? Promise.resolve(given) : given;
    } catch (error) {
      this.#failed(connection, context, id, error, startedMs);
      return;
    }
    if (answer instanceof Promise) this.#await(connection, context, id, answer);
    else this.#answer(connection, context, id, answer, startedMs);
  }

  #since(startedMs: number | null): number | null {
    return startedMs === null ? null : this.#now() - startedMs;
  }

  #timeout(message: Call): number {
    const { timeoutMs, timeoutMsMax } = this.timeouts;
    return message.timeoutMs === 0 ? timeoutMs : Math.min(message.timeoutMs, timeoutMsMax);
  }

  #await(
    connection: Connection,
    context: CallContext,
    id: number,
    answer: Promise<CallAnswer>,
  ): void {
    const startedMs = this.#now();
    if (!connection.isOpen) {
      // The handler itself has closed it: nobody would tell this call so any more.
      context.abort(disconnected());
      answer.catch(() => {});
      return;
    }
    const pending = new PendingCall(this.#wheel, connection, context, () => {
      fail(connection, id, STATUS.DEADLINE_EXCEEDED, "the deadline passed");
      this.#options.onAnswered(this.#since(startedMs), STATUS.DEADLINE_EXCEEDED);
    });
    answer.then(
      (value) => {
        connection.handlersRunning--;
        if (!pending.finish()) return;
        this.#answer(connection, context, id, value, startedMs);
        connection.callEnded();
      },
      (error: unknown) => {
        connection.handlersRunning--;
        if (!pending.finish()) return;
        this.#failed(connection, context, id, error, startedMs);
        connection.callEnded();
      },
    );
  }

  #answer(
    connection: Connection,
    context: CallContext,
    id: number,
    value: CallAnswer,
    startedMs: number | null,
  ): void {
    let bytes: Payload | Bytes;
    if (value === undefined) bytes = NOTHING;
    else bytes = typeof value === "string" ? encoder.encode(value) : value;
    if (!(bytes instanceof Payload) && !(bytes instanceof Uint8Array)) {
      this.#failed(
        connection,
        context,
        id,
        new TypeError("a handler gives bytes, text or nothing"),
        startedMs,
      );
      return;
    }
    if (bytes.length > ANSWER_BYTES_MAX) {
      const reason = `the answer has ${bytes.length} bytes, more than a frame may carry`;
      fail(connection, id, STATUS.RESOURCE_EXHAUSTED, reason);
      this.#options.onAnswered(this.#since(startedMs), STATUS.RESOURCE_EXHAUSTED);
      return;
    }
    try {
      if (id !== 0) connection.context.outbound.result(connection, id, bytes);
    } catch (error) {
      // A payload that is given back after an await has expired.
      this.#failed(connection, context, id, error, startedMs);
      return;
    }
    this.#options.onAnswered(this.#since(startedMs), 0);
  }

  #failed(
    connection: Connection,
    context: CallContext,
    id: number,
    error: unknown,
    startedMs: number | null,
  ): void {
    if (error instanceof StatusError && STATUSES.has(error.status)) {
      const reason = error.message.slice(0, REASON_MAX);
      fail(connection, id, error.status, reason, error.retryable, error.retryAfterMs);
      this.#options.onAnswered(this.#since(startedMs), error.status);
      return;
    }
    this.#options.onHandlerError(connection, context.method, error);
    fail(connection, id, STATUS.INTERNAL, "the handler failed");
    this.#options.onAnswered(this.#since(startedMs), STATUS.INTERNAL);
  }
}

function disconnected(): HoldfastError {
  return new HoldfastError("HOLDFAST_DISCONNECTED", "the connection has closed");
}

function isThenable(answer: unknown): answer is PromiseLike<CallAnswer> {
  return typeof (answer as { then?: unknown } | undefined)?.then === "function";
}

/**
 * Handlers that may run for a connection, as a multiple of callsMax: more than one, because a
 * handler whose call has timed out may run on; bounded, because a client can choose a short
 * timeout.
 */
const HANDLERS_PER_CALL = 4;

/** A deadline that comes early by less than this nobody can tell from a late answer. */
const FINE_TICK_MS = 50;

/** Synchronous calls of which one is timed; a power of two. Asynchronous ones all are. */
const TIMED_ONE_IN = 16;

/** What an answer may carry: the most that a frame may be configured to. */
const ANSWER_BYTES_MAX = 1_048_576;
const NOTHING: Bytes = new Uint8Array(0);
const encoder = new TextEncoder();
const STATUSES: ReadonlySet<number> = new Set(Object.values(STATUS));
/** UTF-16 units of a Failure's reason. */
const REASON_MAX = 1_000;

/**
 * A call whose handler has not answered yet. Lives until it answers, its deadline, or the close.
 */
class PendingCall implements TimerOwner, Work {
  next: Work | null = null;
  prev: Work | null = null;
  readonly #wheel: TimerWheel;
  readonly #connection: Connection;
  readonly #context: CallContext;
  readonly #onExpired: () => void;
  #timer: TimerId | null = null;
  #isOver: boolean = false;

  constructor(
    wheel: TimerWheel,
    connection: Connection,
    context: CallContext,
    onExpired: () => void,
  ) {
    this.#wheel = wheel;
    this.#connection = connection;
    this.#context = context;
    this.#onExpired = onExpired;
    this.next = connection.work;
    if (this.next !== null) this.next.prev = this;
    connection.work = this;
    connection.callBegan();
    if (context.timeoutMs === 0) return;
    this.#timer = wheel.create(this);
    // The tick under way has partly passed: no call that may last longer than one ends within it.
    const ticks = wheel.ticks(context.timeoutMs) + (wheel.tickMs > FINE_TICK_MS ? 1 : 0);
    wheel.arm(this.#timer, wheel.nowTick + ticks);
  }

  onDeadline(): void {
    if (!this.finish()) return;
    this.#context.abort(new HoldfastError("HOLDFAST_CALL_TIMEOUT", "the call's deadline passed"));
    this.#onExpired();
    this.#connection.callEnded();
  }

  abandon(): void {
    if (!this.finish()) return;
    this.#context.abort(disconnected());
    this.#connection.calls--;
  }

  /** @returns false where it was over already: an answer that comes too late is not sent. */
  finish(): boolean {
    if (this.#isOver) return false;
    this.#isOver = true;
    if (this.#timer !== null) this.#wheel.destroy(this.#timer);
    const connection = this.#connection;
    if (this.prev === null) connection.work = this.next;
    else this.prev.next = this.next;
    if (this.next !== null) this.next.prev = this.prev;
    return true;
  }
}

/** Answers with a Failure; a message with id 0 is not answered. */
export function fail(
  connection: Connection,
  id: number,
  code: Status,
  reason: string,
  retryable: boolean = false,
  retryAfterMs: number = 0,
): void {
  if (id === 0) return;
  connection.answer({ id, failure: { code, reason, retryable, retryAfterMs } });
}
