// The client: one connection at a time, and another when it is lost. What was asked on a lost
// connection fails and is never repeated; what is asked while there is none waits for the next.

import { assert } from "../base/assert.ts";
import { Backoff } from "../base/backoff.ts";
import type { Bytes } from "../base/buffer-pool.ts";
import type { Scheduled } from "../base/clock.ts";
import { HoldfastError } from "../base/errors.ts";
import type { Prng } from "../base/prng.ts";
import type { ClientMessageInit, Event, Gap, Welcome } from "../wire/messages.ts";
import { sendBufferFull } from "./call-error.ts";
import {
  type CallOptions,
  checkCall,
  checkPayload,
  checkRequest,
  checkSubscribe,
  type ClientSettings,
  type RequestOptions,
  type SubscribeOptions,
} from "./client-options.ts";
import { CLIENT_TRANSITIONS, type ClientEvent, type ClientState } from "./client-state.ts";
import { isTerminal, NORMAL } from "./close-code.ts";
import { abortError, Cutoff } from "./cutoff.ts";
import { EndpointList } from "./endpoint-list.ts";
import type { Endpoint } from "../transport/endpoint.ts";
import { Listeners } from "./listeners.ts";
import { Request } from "./request.ts";
import { Session, type SessionEnd, type SessionOwner, type SessionParts } from "./session.ts";
import type { Subscription } from "./topic-reader.ts";
import { TopicTable } from "./topic-table.ts";
import { WaitingRoom } from "./waiting-room.ts";

/** Why a client is closed. */
export interface ClientClosed {
  /** A close code; 1000 where the user closed it, 1006 where the connection was merely lost. */
  readonly code: number;
  readonly reason: string;
}

/** An event that was sent to this connection directly, on no subscription. */
export interface Push {
  readonly topic: string;
  readonly payload: Uint8Array;
}

/** What the server said of itself when it accepted the client. */
export interface ServerInfo {
  /** Names this connection in the server's logs. */
  readonly connectionId: string;
  readonly node: string;
  /** The server sends a heartbeat after this much silence, in milliseconds; 0: never. */
  readonly heartbeatMs: number;
  /** The longest message that it takes, in bytes. */
  readonly maxFrameBytes: number;
}

/** Told about every change; `error` is why a connection was lost, or null. */
export type StateListener = (state: ClientState, error: HoldfastError | null) => void;

/** Backoff starts anew after a connection that was active for this long. */
export const STABLE_AFTER_MS = 10_000;
/** A server cannot make a client wait longer than this. */
export const RECONNECT_AFTER_MS_MAX = 3_600_000;

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: HoldfastError) => void;
}

export interface ClientParts extends SessionParts {
  readonly prng: Prng;
}

export class ConnectedClient implements SessionOwner {
  readonly #parts: ClientParts;
  readonly #settings: ClientSettings;
  readonly #endpoints: EndpointList;
  #state: ClientState = "connecting";
  #session: Session | null;
  #welcome: Welcome | null = null;
  /** Until the next attempt. */
  #timer: Scheduled | null = null;
  #backoff: Backoff | null = null;
  /** Attempts since a connection was last stable. */
  #attempts: number = 0;
  /** Set when it is closed, and final. */
  #closed: ClientClosed | null = null;
  #closedError: HoldfastError | null = null;

  // Made when they are first needed: an idle client has none of them.
  #waiting: WaitingRoom | null = null;
  #topics: TopicTable | null = null;
  #pushListeners: Listeners<[Push]> | null = null;
  #stateListeners: Listeners<[ClientState, HoldfastError | null]> | null = null;
  #readyWaiters: Waiter[] | null = null;
  #closedWaiters: ((closed: ClientClosed) => void)[] | null = null;

  /** Begins to connect. */
  constructor(endpoints: readonly Endpoint[], settings: ClientSettings, parts: ClientParts) {
    this.#parts = parts;
    this.#settings = settings;
    this.#endpoints = new EndpointList(endpoints, parts.dialer.schemes);
    this.#session = this.#newSession();
  }

  get state(): ClientState {
    return this.#state;
  }

  /** Names the connection in the server's logs; null while there is none. */
  get connectionId(): string | null {
    return this.#welcome?.connectionId ?? null;
  }

  /** The server's node name; null while there is no connection. */
  get node(): string | null {
    return this.#welcome?.node ?? null;
  }

  /** Null while there is no connection. */
  get serverInfo(): ServerInfo | null {
    if (this.#welcome === null) return null;
    const { connectionId, node, heartbeatMs, maxFrameBytes } = this.#welcome;
    return { connectionId, node, heartbeatMs, maxFrameBytes };
  }

  /** Resolves when the client is closed for good, by whomever. Never rejects. */
  get closed(): Promise<ClientClosed> {
    if (this.#closed !== null) return Promise.resolve(this.#closed);
    return new Promise((resolve) => {
      (this.#closedWaiters ??= []).push(resolve);
    });
  }

  /** Resolves when the client can be used at once; rejects with what closed it for good. */
  ready(): Promise<void> {
    if (this.#openSession !== null) return Promise.resolve();
    if (this.#closedError !== null) return Promise.reject(this.#closedError);
    return new Promise((resolve, reject) => {
      (this.#readyWaiters ??= []).push({ resolve, reject });
    });
  }

  /**
   * Calls a method and gives the answer's payload, which belongs to the caller. Without a
   * connection it waits for one. Rejects with a CallError (HOLDFAST_CALL_FAILED),
   * HOLDFAST_CALL_TIMEOUT, HOLDFAST_CALL_ABORTED, HOLDFAST_DISCONNECTED (the call may have been
   * carried out), HOLDFAST_FRAME_TOO_LARGE, HOLDFAST_CLIENT_CLOSED, HOLDFAST_METHOD_INVALID or
   * HOLDFAST_OPTIONS_INVALID.
   */
  async call(
    method: string,
    payload: Uint8Array | string = "",
    options: CallOptions = {},
  ): Promise<Uint8Array> {
    if (typeof method !== "string" || method === "") {
      throw new HoldfastError("HOLDFAST_METHOD_INVALID", "a method's name is not empty");
    }
    checkPayload(payload);
    checkCall(options);
    const { metadata = {} } = options;
    const message = { call: { method, payload: this.#bytesOf(payload), metadata } };
    return this.#request(`call "${method.slice(0, 100)}"`, message, options);
  }

  /**
   * Publishes an event; resolves when the server has taken it. Rejects as {@link call} does, and
   * with HOLDFAST_TOPIC_INVALID.
   */
  async publish(
    topic: string,
    payload: Uint8Array | string = "",
    options: RequestOptions = {},
  ): Promise<void> {
    checkTopic(topic);
    checkPayload(payload);
    checkRequest(options);
    const message = { publish: { topic, payload: this.#bytesOf(payload) } };
    await this.#request(`publish "${topic.slice(0, 100)}"`, message, options);
  }

  /**
   * Subscribes; resolves when the server has accepted it. It outlives the connection. Rejects with
   * a CallError, HOLDFAST_CALL_TIMEOUT, HOLDFAST_CALL_ABORTED, HOLDFAST_FRAME_TOO_LARGE,
   * HOLDFAST_CLIENT_CLOSED, HOLDFAST_TOPIC_INVALID or HOLDFAST_OPTIONS_INVALID.
   */
  async subscribe(topic: string, options: SubscribeOptions = {}): Promise<Subscription> {
    checkTopic(topic);
    checkSubscribe(options);
    const { callTimeoutMs } = this.#settings;
    const { eventsMax = this.#settings.eventsMax, timeoutMs = callTimeoutMs, signal } = options;
    this.#check(`subscribe "${topic.slice(0, 100)}"`, signal);
    const { clock } = this.#parts;
    this.#topics ??= new TopicTable({ clock, timeoutMs: callTimeoutMs }, this.#openSession);
    return this.#topics.subscribe(topic, eventsMax, timeoutMs, signal);
  }

  /** Told every push. @returns a function that stops it. */
  onPush(listener: (push: Push) => void): () => void {
    this.#pushListeners ??= new Listeners();
    return this.#pushListeners.add(listener);
  }

  /** Told every change of state, after it. @returns a function that stops it. */
  onState(listener: StateListener): () => void {
    this.#stateListeners ??= new Listeners();
    return this.#stateListeners.add(listener);
  }

  /**
   * Sends what was handed over, says Goodbye and closes; resolves when that is done, after 5 s at
   * most. Whatever is not answered rejects with HOLDFAST_CLIENT_CLOSED, subscriptions end.
   */
  async close(): Promise<void> {
    const { closed } = this;
    if (this.#state === "active") {
      this.#move("close");
      this.#closeError();
      this.#session!.close();
      this.#endAll(null);
      this.#tell(null);
    } else if (this.#state !== "closing" && this.#state !== "closed") {
      this.#move("close");
      this.#closeError();
      this.#session?.abandon();
      this.#finish({ code: NORMAL, reason: "closed by the user" }, null);
    }
    await closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  // What follows is called by the session.

  onOpened(): void {
    this.#move("opened");
    this.#tell(null);
  }

  onWelcome(welcome: Welcome): void {
    this.#move("welcomed");
    this.#welcome = welcome;
    const session = this.#session!;
    this.#topics?.opened(session);
    for (let next = this.#waiting?.take() ?? null; next !== null; ) {
      session.send(next);
      next = this.#waiting!.take();
    }
    const waiters = this.#readyWaiters ?? [];
    this.#readyWaiters = null;
    for (const { resolve } of waiters) resolve();
    this.#tell(null);
  }

  onEvent(event: Event): void {
    if (event.offset !== 0) {
      this.#topics?.event(event);
    } else if (this.#pushListeners !== null && this.#pushListeners.size > 0) {
      this.#pushListeners.tell({ topic: event.topic, payload: new Uint8Array(event.payload) });
    }
  }

  onGap(gap: Gap): void {
    this.#topics?.gap(gap);
  }

  onEnded(end: SessionEnd): void {
    const from = this.#session!.endpoint;
    this.#session = null;
    this.#welcome = null;
    this.#topics?.lost();
    if (this.#state === "closing") {
      this.#move("finished");
      this.#finish({ code: NORMAL, reason: "closed by the user" }, null);
      return;
    }
    if (end.activeMs !== null && end.activeMs >= STABLE_AFTER_MS) {
      this.#attempts = 0;
      this.#backoff?.reset();
    }
    const { reconnect } = this.#settings;
    if (reconnect === null || isTerminal(end.code)) {
      this.#fail(end, end.reason);
    } else if (this.#attempts >= reconnect.attemptsMax) {
      this.#fail(end, `gave up after ${this.#attempts} attempts: ${end.reason}`);
    } else {
      this.#backoff ??= new Backoff(reconnect, this.#parts.prng);
      this.#endpoints.hint(end.endpoints, from);
      this.#wait(end, this.#backoff);
    }
  }

  get #openSession(): Session | null {
    return this.#state === "active" && this.#session!.isOpen ? this.#session : null;
  }

  #newSession(): Session {
    return new Session(this.#parts, this.#endpoints.next(), this.#settings, this);
  }

  /** The one way to change state. An illegal move is a broken invariant. */
  #move(event: ClientEvent): void {
    const next = CLIENT_TRANSITIONS[this.#state][event];
    assert(next !== undefined, `client: ${event} in state ${this.#state}`);
    this.#state = next;
  }

  /** Last, because a listener may close the client. */
  #tell(error: HoldfastError | null): void {
    this.#stateListeners?.tell(this.#state, error);
  }

  #wait(end: SessionEnd, backoff: Backoff): void {
    this.#move("lost");
    this.#attempts++;
    const leastMs = Math.min(end.reconnectAfterMs, RECONNECT_AFTER_MS_MAX);
    this.#timer = this.#parts.clock.after(backoff.nextMs(leastMs), () => {
      this.#timer = null;
      this.#move("retry");
      this.#session = this.#newSession();
      this.#tell(null);
    });
    this.#tell(end.error);
  }

  #fail(end: SessionEnd, text: string): void {
    this.#move("failed");
    const code = end.activeMs === null ? "HOLDFAST_CONNECT_FAILED" : "HOLDFAST_CLIENT_CLOSED";
    const message = `the client is closed with code ${end.code}: ${text}`;
    this.#closedError = new HoldfastError(code, message, { cause: end.error });
    this.#finish({ code: end.code, reason: end.reason }, this.#closedError);
  }

  #closeError(): void {
    this.#closedError = new HoldfastError("HOLDFAST_CLIENT_CLOSED", "the client was closed");
  }

  /** It is closed. @param error what subscriptions throw; null: they just end. */
  #finish(closed: ClientClosed, error: HoldfastError | null): void {
    this.#session = null;
    this.#welcome = null;
    this.#closed = closed;
    this.#timer?.cancel();
    this.#timer = null;
    this.#endAll(error);
    const waiters = this.#closedWaiters ?? [];
    this.#closedWaiters = null;
    for (const resolve of waiters) resolve(closed);
    this.#tell(error);
  }

  /** Nobody waits any longer. */
  #endAll(error: HoldfastError | null): void {
    const closedError = this.#closedError!;
    this.#waiting?.fail(closedError);
    this.#topics?.end(error, closedError);
    const waiters = this.#readyWaiters ?? [];
    this.#readyWaiters = null;
    for (const { reject } of waiters) reject(closedError);
  }

  #check(what: string, signal: AbortSignal | undefined): void {
    if (this.#closedError !== null) throw this.#closedError;
    if (signal?.aborted === true) throw abortError(what, signal);
  }

  #request(what: string, message: ClientMessageInit, options: RequestOptions): Promise<Uint8Array> {
    const { timeoutMs = this.#settings.callTimeoutMs, signal } = options;
    this.#check(what, signal);
    const { clock } = this.#parts;
    const deadlineMs = clock.now() + timeoutMs;
    return new Promise((resolve, reject) => {
      const done = (error: HoldfastError | null, payload: Bytes): void => {
        if (error === null) resolve(new Uint8Array(payload));
        else reject(error);
      };
      const request = new Request(what, message, deadlineMs, done);
      const { sendBytesMax } = this.#settings;
      if (this.#bufferedBytes + request.bytesMax > sendBytesMax) {
        request.fail(sendBufferFull(what, sendBytesMax));
        return;
      }
      request.cutoff = new Cutoff(clock, timeoutMs, signal, what, (error) => request.fail(error));
      const session = this.#openSession;
      if (session !== null) session.send(request);
      else (this.#waiting ??= new WaitingRoom()).add(request);
    });
  }

  /** What waits for a connection is copied: the caller may use its memory for something else. */
  #bytesOf(payload: Uint8Array | string): Uint8Array {
    if (typeof payload === "string") return encoder.encode(payload);
    return this.#openSession === null ? new Uint8Array(payload) : payload;
  }

  get #bufferedBytes(): number {
    return (this.#session?.bufferedBytes ?? 0) + (this.#waiting?.bytes ?? 0);
  }
}

/** A client as its user sees it. */
export type Client = Pick<
  ConnectedClient,
  | "call"
  | "close"
  | "closed"
  | "connectionId"
  | "node"
  | "onPush"
  | "onState"
  | "publish"
  | "ready"
  | "serverInfo"
  | "state"
  | "subscribe"
  | typeof Symbol.asyncDispose
>;

const encoder = new TextEncoder();

function checkTopic(topic: string): void {
  if (typeof topic === "string" && topic !== "") return;
  throw new HoldfastError("HOLDFAST_TOPIC_INVALID", "a topic's name is not empty");
}
