// One connection to one server: Hello, frames and messages both ways, heartbeats, and how it ends.
// It never comes back: the client opens another. An idle one owns its link and one timer.

import { assert } from "../base/assert.ts";
import type { BufferPool, Bytes } from "../base/buffer-pool.ts";
import type { Clock, Scheduled } from "../base/clock.ts";
import { type ErrorCode, HoldfastError } from "../base/errors.ts";
import {
  type ClientMessageInit,
  type Event,
  type Failure,
  type Gap,
  type GoAway,
  PROTOCOL_VERSION,
  type ServerMessage,
  type Welcome,
} from "../wire/messages.ts";
import { type ClientFrameWriter, HEADER_BYTES, HEARTBEAT } from "../wire/client-frame.ts";
import type { ClientSettings } from "./client-options.ts";
import { codeOfRefusal, CONNECTION_LOST, NORMAL } from "./close-code.ts";
import type { Dialer, Link, LinkEnd, LinkHandler } from "./dial.ts";
import type { Endpoint } from "../transport/endpoint.ts";
import { FrameInbox, type FrameTaker } from "./frame-inbox.ts";
import { Outbox } from "./outbox.ts";
import type { Request, RequestPlace } from "./request.ts";
import { decodeServerMessage } from "../wire/server-message.ts";

/** What clients share; one set serves a process. */
export interface SessionParts {
  readonly clock: Clock;
  readonly pool: BufferPool;
  readonly writer: ClientFrameWriter;
  readonly dialer: Dialer;
}

/** Never called from inside the session's constructor. */
export interface SessionOwner {
  /** Bytes can be sent; Hello was. */
  onOpened(): void;
  onWelcome(welcome: Welcome): void;
  /** Payloads are views into what was received. */
  onEvent(event: Event): void;
  onGap(gap: Gap): void;
  /** It is over, once, unless it was abandoned. Its requests have been told already. */
  onEnded(end: SessionEnd): void;
}

export interface SessionEnd {
  /** A close code; 1006 where the connection ended without one. */
  readonly code: number;
  readonly reason: string;
  readonly error: HoldfastError;
  /** The least that the server wants the client to wait; 0 where it said nothing. */
  readonly reconnectAfterMs: number;
  /** Where the server would have the client go. */
  readonly endpoints: readonly string[];
  /** How long the session was active; null: the server never accepted it. */
  readonly activeMs: number | null;
}

const SESSION = {
  /** The link is being opened; perhaps the token is still being fetched. */
  OPENING: 0,
  /** Hello was sent. */
  HANDSHAKING: 1,
  /** Welcome came. */
  ACTIVE: 2,
  /** GoAway came: what was asked is still answered, nothing more is asked. */
  DRAINING: 3,
  /** Goodbye was sent: what arrives is ignored. */
  CLOSING: 4,
  /** The link is gone or does not matter any more. */
  ENDED: 5,
} as const;
type SessionState = (typeof SESSION)[keyof typeof SESSION];

/** By state: where it may go. */
const MOVES: readonly (readonly SessionState[])[] = [
  [SESSION.HANDSHAKING, SESSION.ENDED],
  [SESSION.ACTIVE, SESSION.DRAINING, SESSION.ENDED],
  [SESSION.DRAINING, SESSION.CLOSING, SESSION.ENDED],
  [SESSION.CLOSING, SESSION.ENDED],
  [SESSION.ENDED],
  [],
];

/** Silence of this many heartbeat intervals means that the server is gone. */
const SILENT_HEARTBEATS = 2.5;
/** How long either side of an orderly close may take. */
export const CLOSE_TIMEOUT_MS = 5_000;
/** setTimeout takes no more. */
const DELAY_MS_MAX = 0x7fff_ffff;
const HELLO_ID = 1;
const ID_MAX = 0xffff_ffff;

export class Session implements LinkHandler, FrameTaker, RequestPlace {
  readonly endpoint: Endpoint;
  readonly #parts: SessionParts;
  readonly #settings: ClientSettings;
  readonly #owner: SessionOwner;
  #state: SessionState = SESSION.OPENING;
  #link: Link | null = null;
  /** Of the state: connecting, handshaking, listening for life, or closing. */
  #timer: Scheduled | null = null;
  #token: string = "";
  #lastReceivedMs: number = 0;
  /** Null: it never was. */
  #activeSinceMs: number | null = null;
  #silenceMs: number = 0;
  #frameBytesMax: number = 0;
  readonly #inbox: FrameInbox;
  readonly #outbox: Outbox;
  #lastId: number = HELLO_ID;
  /** What was asked and is not answered, by id. */
  #asked: Map<number, Request> | null = null;
  #goAway: GoAway | null = null;
  #refusal: Failure | null = null;

  constructor(
    parts: SessionParts,
    endpoint: Endpoint,
    settings: ClientSettings,
    owner: SessionOwner,
  ) {
    this.endpoint = endpoint;
    this.#parts = parts;
    this.#settings = settings;
    this.#owner = owner;
    this.#inbox = new FrameInbox(parts.pool, this);
    this.#outbox = new Outbox((piece) => this.#link?.send(piece));
    this.#arm(settings.connectTimeoutMs, () => {
      const text = `no connection within ${settings.connectTimeoutMs} ms`;
      this.#lose("HOLDFAST_CONNECT_FAILED", text);
    });
    if (typeof settings.token === "string") this.#dial(settings.token);
    else this.#fetchToken(settings.token);
  }

  /** Whether requests can be sent. */
  get isOpen(): boolean {
    return this.#state === SESSION.ACTIVE;
  }

  /** Whether anything that arrives still matters. */
  get isReading(): boolean {
    return this.#state >= SESSION.HANDSHAKING && this.#state <= SESSION.DRAINING;
  }

  /** Bytes that have not left this process. */
  get bufferedBytes(): number {
    return this.#outbox.bytes + (this.#link?.bufferedBytes ?? 0);
  }

  /** Only while {@link isOpen}. The request fails with HOLDFAST_FRAME_TOO_LARGE where it is. */
  send(request: Request): void {
    assert(this.isOpen, "requests are sent on open sessions");
    const id = this.#nextId();
    const { writer, clock } = this.#parts;
    const frame = writer.frame(request.message(id, clock.now()));
    const bodyLength = frame.length - HEADER_BYTES;
    if (bodyLength > this.#frameBytesMax) {
      const text = `${request.what}: ${bodyLength} bytes, the server takes ${this.#frameBytesMax}`;
      request.fail(new HoldfastError("HOLDFAST_FRAME_TOO_LARGE", text));
      return;
    }
    this.#asked ??= new Map();
    this.#asked.set(id, request);
    request.id = id;
    request.place = this;
    this.#outbox.put(frame);
  }

  /** Sends what needs no answer. Only while {@link isOpen}. */
  post(message: ClientMessageInit): void {
    assert(this.isOpen, "messages are sent on open sessions");
    this.#outbox.put(this.#parts.writer.frame(message));
  }

  /** Called by a request that has ended. */
  remove(request: Request): void {
    this.#asked?.delete(request.id);
    if (this.#state === SESSION.DRAINING) this.#leaveIfIdle();
  }

  /** Says Goodbye and closes in order; its requests fail. {@link SessionOwner.onEnded} follows. */
  close(): void {
    this.#move(SESSION.CLOSING);
    this.#failAsked(new HoldfastError("HOLDFAST_CLIENT_CLOSED", "the client was closed"));
    const goodbye = { code: NORMAL, reason: "" };
    this.#outbox.put(this.#parts.writer.frame({ goodbye }));
    this.#leave();
  }

  /** Lets go of it; nobody is told. */
  abandon(): void {
    if (this.#state === SESSION.ENDED) return;
    this.#link?.abort();
    this.#release();
  }

  onOpen(): void {
    this.#move(SESSION.HANDSHAKING);
    const { handshakeTimeoutMs, name, labels } = this.#settings;
    this.#arm(handshakeTimeoutMs, () => {
      const text = `no Welcome within ${handshakeTimeoutMs} ms`;
      this.#lose("HOLDFAST_CONNECT_FAILED", text);
    });
    const hello = { version: PROTOCOL_VERSION, token: this.#token, client: name, labels };
    // It may be long, and is of no use any more.
    this.#token = "";
    this.#outbox.put(this.#parts.writer.frame({ id: HELLO_ID, hello }));
    this.#owner.onOpened();
  }

  onBytes(bytes: Bytes): void {
    this.#lastReceivedMs = this.#parts.clock.now();
    if (!this.isReading) return;
    const { hasMessages } = this.#link!;
    const fault = this.#inbox.receive(bytes);
    if (fault !== null) this.onBreach(fault);
    else if (!hasMessages) return;
    else if (bytes.length === 0) this.onBreach("a message without bytes");
    else if (this.#inbox.isPartial) this.onBreach("a message that ends inside a frame");
  }

  onBreach(text: string, cause: unknown = null): void {
    this.#lose("HOLDFAST_PROTOCOL", `the server broke the wire contract: ${text}`, cause);
  }

  onClosed(end: LinkEnd): void {
    this.#link = null;
    const isConnected = this.#activeSinceMs !== null;
    const code = isConnected ? "HOLDFAST_DISCONNECTED" : "HOLDFAST_CONNECT_FAILED";
    const text = end.text === "" ? "the connection was closed" : end.text;
    this.#end(code, text, end.error, end.code);
  }

  onFrame(bytes: Bytes, start: number, end: number): boolean {
    if (start === end) this.#answerHeartbeat();
    else this.#take(bytes.subarray(start, end));
    return this.isReading;
  }

  #move(next: SessionState): void {
    const isLegal = MOVES[this.#state]!.includes(next);
    assert(isLegal, `session: state ${next} cannot follow state ${this.#state}`);
    this.#state = next;
  }

  #fetchToken(fetch: () => string | Promise<string>): void {
    const fail = (cause: unknown): void => {
      this.#lose("HOLDFAST_CONNECT_FAILED", "the option `token` gave no text", cause);
    };
    const fetched = new Promise<string>((resolve) => resolve(fetch()));
    fetched.then((token) => {
      if (this.#state !== SESSION.OPENING) return;
      if (typeof token === "string") this.#dial(token);
      else fail(null);
    }, fail);
  }

  #dial(token: string): void {
    this.#token = token;
    this.#link = this.#parts.dialer.dial(this.endpoint, this);
  }

  #take(body: Bytes): void {
    let message: ServerMessage;
    try {
      message = decodeServerMessage(body);
    } catch (error) {
      this.onBreach("a frame whose bytes are no message", error);
      return;
    }
    if (message.body === undefined) this.onBreach("a message whose body is unknown");
    else if (message.body === "goAway") this.#goAwayCame(message.goAway!);
    else if (this.#state === SESSION.HANDSHAKING) this.#takeFirst(message);
    else this.#takeNext(message);
  }

  #takeFirst(message: ServerMessage): void {
    const { welcome, failure } = message;
    if (this.#refusal !== null) this.onBreach("more than one answer to Hello");
    else if (message.id === HELLO_ID && message.body === "welcome") this.#welcomed(welcome!);
    else if (message.id === HELLO_ID && message.body === "failure") this.#refusal = failure!;
    else this.onBreach(`${message.body} with id ${message.id} before Welcome`);
  }

  #takeNext(message: ServerMessage): void {
    switch (message.body) {
      case "event":
        this.#owner.onEvent(message.event!);
        return;
      case "gap":
        this.#owner.onGap(message.gap!);
        return;
      case "result":
        this.#answered(message.id, (request) => request.succeed(message.result!.payload));
        return;
      case "failure":
        this.#answered(message.id, (request) => request.refuse(message.failure!));
        return;
      default:
        this.onBreach(`an unexpected ${message.body}`);
    }
  }

  #answered(id: number, settle: (request: Request) => void): void {
    if (id === 0) {
      this.onBreach("an answer without an id");
      return;
    }
    // Nobody waits for it any more where its timeout passed or its caller gave up.
    const request = this.#asked?.get(id);
    if (request !== undefined) settle(request);
  }

  #welcomed(welcome: Welcome): void {
    if (welcome.version !== PROTOCOL_VERSION) {
      this.onBreach(`a Welcome of version ${welcome.version}`);
    } else if (welcome.maxFrameBytes === 0) {
      this.onBreach("a Welcome without max_frame_bytes");
    } else {
      this.#move(SESSION.ACTIVE);
      this.#activeSinceMs = this.#lastReceivedMs;
      this.#frameBytesMax = welcome.maxFrameBytes;
      this.#outbox.setMessageBytesMax(welcome.maxFrameBytes);
      this.#silenceMs = Math.min(DELAY_MS_MAX, SILENT_HEARTBEATS * welcome.heartbeatMs);
      this.#timer?.cancel();
      this.#timer = null;
      if (this.#silenceMs > 0) this.#listen();
      this.#owner.onWelcome(welcome);
    }
  }

  /** Waits for silence to have lasted too long; what arrives moves nothing but a number. */
  #listen(): void {
    const { clock } = this.#parts;
    const leftMs = this.#lastReceivedMs + this.#silenceMs - clock.now();
    if (leftMs > 0) {
      this.#arm(leftMs, () => this.#listen());
      return;
    }
    // Perhaps this process was stalled: what is waiting to be read is read first.
    this.#timer = clock.afterPoll(() => {
      const silentMs = clock.now() - this.#lastReceivedMs;
      if (silentMs < this.#silenceMs) this.#listen();
      else this.#lose("HOLDFAST_DISCONNECTED", `nothing was heard for ${Math.round(silentMs)} ms`);
    });
  }

  #goAwayCame(goAway: GoAway): void {
    this.#goAway = goAway;
    if (this.#state === SESSION.DRAINING) return;
    this.#move(SESSION.DRAINING);
    this.#leaveIfIdle();
  }

  #leaveIfIdle(): void {
    if (this.#asked === null || this.#asked.size === 0) this.#leave();
  }

  /** Closes this side, and does not wait for the other for ever. */
  #leave(): void {
    this.#outbox.flush();
    this.#link!.close(NORMAL, "");
    this.#arm(CLOSE_TIMEOUT_MS, () => {
      this.#lose("HOLDFAST_DISCONNECTED", "the server did not close its side");
    });
  }

  #answerHeartbeat(): void {
    // A server that asks without end and takes nothing gets no memory of ours.
    if (this.bufferedBytes <= this.#settings.sendBytesMax) this.#outbox.put(HEARTBEAT);
  }

  #nextId(): number {
    do this.#lastId = this.#lastId === ID_MAX ? 1 : this.#lastId + 1;
    while (this.#asked?.has(this.#lastId) === true);
    return this.#lastId;
  }

  #arm(delayMs: number, run: () => void): void {
    this.#timer?.cancel();
    this.#timer = this.#parts.clock.after(delayMs, run);
  }

  #lose(code: ErrorCode, text: string, cause: unknown = null): void {
    if (this.#state === SESSION.ENDED) return;
    this.#link?.abort();
    this.#end(code, text, cause, null);
  }

  #end(code: ErrorCode, text: string, cause: unknown, linkCode: number | null): void {
    const goAway = this.#goAway;
    const refusal = this.#refusal;
    const activeMs = this.#activeMs();
    this.#release();
    const closeCode =
      goAway?.code ?? (refusal === null ? (linkCode ?? CONNECTION_LOST) : codeOfRefusal(refusal));
    const reason = goAway?.reason ?? refusal?.reason ?? text;
    const error = new HoldfastError(
      code,
      `${this.endpoint.text}: ${reason} (code ${closeCode})`,
      cause === null ? undefined : { cause },
    );
    this.#failAsked(
      new HoldfastError("HOLDFAST_DISCONNECTED", "the connection ended before the answer came", {
        cause: error,
      }),
    );
    this.#owner.onEnded({
      code: closeCode,
      reason,
      error,
      reconnectAfterMs: Math.max(goAway?.reconnectAfterMs ?? 0, refusal?.retryAfterMs ?? 0),
      endpoints: goAway?.endpoints ?? [],
      activeMs,
    });
  }

  #activeMs(): number | null {
    return this.#activeSinceMs === null ? null : this.#parts.clock.now() - this.#activeSinceMs;
  }

  #release(): void {
    this.#move(SESSION.ENDED);
    this.#timer?.cancel();
    this.#timer = null;
    this.#link = null;
    this.#inbox.release();
  }

  #failAsked(error: HoldfastError): void {
    const asked = this.#asked;
    this.#asked = null;
    if (asked !== null) for (const request of asked.values()) request.fail(error);
  }
}
