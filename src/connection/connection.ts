// One connection: its state, what it owns and how it ends. Receiving is in receive.ts, sending in
// outbound.ts, deadlines in deadlines.ts; they work on the fields below, which belong to this
// folder. An idle connection owns this object, a timer and its channel: nothing else.

import { assert } from "../base/assert.ts";
import { HoldfastError } from "../base/errors.ts";
import { Ring } from "../base/ring.ts";
import type { TimerId, TimerOwner } from "../base/timer-wheel.ts";
import type { Bytes, Slab } from "../base/buffer-pool.ts";
import type { ChannelId, TransportEnd, TransportFault } from "../transport/transport.ts";
import {
  FRAME_MALFORMED,
  FRAME_TOO_LARGE,
  type FrameSink,
  type Unread,
} from "../wire/frame-reader.ts";
import type { ServerMessageInit } from "../wire/messages.ts";
import type { Payload } from "../wire/payload.ts";
import type { ClientConnection, DisconnectOptions } from "./client-connection.ts";
import { CLOSE_REASONS, type CloseCause, type CloseReason, reasonOfCode } from "./close-reason.ts";
import type { ConnectionContext } from "./connection-context.ts";
import { armDeadline, onDeadline } from "./deadlines.ts";
import { MARK } from "./mark.ts";
import type { SendOutcome } from "./outbound.ts";
import { PAUSED_BY } from "./paused-by.ts";
import { onFrame, readLater, receive } from "./receive.ts";
import type { Backlogged } from "./send-budget.ts";
import type { EventFlow, SendQueue } from "./send-queue.ts";
import {
  eventName,
  ILLEGAL,
  nextState,
  STATE,
  STATE_EVENTS,
  STATE_NAMES,
  type State,
  type StateEvent,
} from "./state.ts";

/**
 * Something that is done for a connection and moot once it closes. Linked, so that none costs
 * nothing.
 */
export interface Work {
  next: Work | null;
  prev: Work | null;
  /** The connection is closing. */
  abandon(): void;
}

/** What a connection remembers of its unusual moments. */
export interface Note {
  readonly tick: number;
  readonly text: string;
}
const NOTES_MAX = 16;

interface SignCount {
  sinceTick: number;
  count: number;
}

/** Why a connection is closing or has closed. */
export interface Ending {
  readonly reason: CloseReason;
  readonly cause: CloseCause;
  readonly code: number;
}

export interface CloseOptions {
  /** 4000-4999 for reason "application"; otherwise the reason's own code. */
  readonly code?: number;
  /** Told to the client; at most 100 characters are sent. */
  readonly text?: string;
  readonly reconnectAfterMs?: number;
}

export class Connection implements ClientConnection, TimerOwner, FrameSink, Backlogged {
  readonly context: ConnectionContext;
  readonly channel: ChannelId;
  /** Rises by one per connection of the process. */
  readonly serial: number;
  state: State = STATE.INIT;
  readonly timer: TimerId;
  readonly openedTick: number;
  /** Tick at which the state was entered; in IDLE, of the last heartbeat. */
  since: number;
  lastSeen: number;
  /** Tick of the first byte of the frame that is incomplete; 0: none is. */
  frameSince: number = 0;
  framesIn: number = 0;
  bytesIn: number = 0;
  bytesOut: number = 0;
  /** Queued or written, and known not to have been sent. */
  bytesDiscarded: number = 0;
  pausedBy: number = 0;
  /** Calls under way: not answered yet. */
  calls: number = 0;
  /** Handlers that have not come to an end; some of their calls may have been answered for them. */
  handlersRunning: number = 0;
  /** What has come about and stays so: bits of MARK. */
  marks: number = 0;
  /** WebSocket pings and pongs that it sent lately. */
  signs: SignCount | null = null;
  /** The newest call under way; the others follow it. */
  work: Work | null = null;
  unread: Unread | null = null;
  queue: SendQueue | null = null;
  ending: Ending | null = null;
  notes: Ring<Note> | null = null;

  // What the server knows about it; here so that it costs a field and no object.
  labels: ReadonlyMap<string, string> | null = null;
  clientName: string = "";
  subscriptions: Map<string, EventFlow> | null = null;
  /** The application's own. */
  data: unknown = undefined;

  constructor(context: ConnectionContext, channel: ChannelId, serial: number) {
    const { wheel } = context;
    this.context = context;
    this.channel = channel;
    this.serial = serial;
    this.openedTick = wheel.nowTick;
    this.since = wheel.nowTick;
    this.lastSeen = wheel.nowTick;
    this.timer = wheel.create(this);
  }

  /** Names it in logs, Welcome and the registry; unique in this process. */
  get id(): string {
    return `${this.serial.toString(36)}-${this.channel.toString(36)}`;
  }

  get stateName(): string {
    return STATE_NAMES[this.state]!;
  }

  get remoteAddress(): string {
    // The channel may be another connection's by then.
    if (this.state === STATE.CLOSED) return "";
    return this.context.transport.remoteAddress(this.channel);
  }

  get ageMs(): number {
    return (this.context.wheel.nowTick - this.openedTick) * this.context.wheel.tickMs;
  }

  get backlogBytes(): number {
    return this.queue === null ? 0 : this.queue.totalBytes;
  }

  has(mark: number): boolean {
    return (this.marks & mark) !== 0;
  }

  get isOpen(): boolean {
    return this.state === STATE.ACTIVE || this.state === STATE.IDLE;
  }

  /** The one way to change state. An illegal move is a broken invariant. */
  move(event: StateEvent): void {
    const next = nextState(this.state, event);
    if (next === ILLEGAL) {
      this.context.counters.illegalTransitions++;
      this.context.handler.onIllegalTransition(this, eventName(event));
      assert(false, `connection ${this.id}: ${eventName(event)} in state ${this.stateName}`);
    }
    const { stateCounts } = this.context;
    if (this.state !== STATE.INIT) stateCounts[this.state]!--;
    if (next !== STATE.CLOSED) stateCounts[next]!++;
    this.state = next;
    this.since = this.context.wheel.nowTick;
  }

  /** The transport has a channel for it. */
  open(): void {
    this.move(STATE_EVENTS.open);
    this.move(STATE_EVENTS.ready);
    if (this.context.raw !== null && !this.has(MARK.TURNED_AWAY)) {
      this.move(STATE_EVENTS.welcome);
      this.context.handler.onRawOpen(this);
      if (this.isOpen) {
        this.marks |= MARK.RAW_OPENED;
        tellRaw(this, "onOpen");
      }
    }
    if (this.state < STATE.CLOSING) armDeadline(this);
  }

  /** Answers a valid Hello: from here on messages are taken. */
  welcome(message: ServerMessageInit): void {
    this.move(STATE_EVENTS.welcome);
    this.context.outbound.message(this, message);
    armDeadline(this);
  }

  receive(bytes: Bytes, start: number, end: number): void {
    receive(this, bytes, start, end);
  }

  onFrame(bytes: Bytes, start: number, end: number): boolean {
    return onFrame(this, bytes, start, end);
  }

  onDeadline(_timer: TimerId, nowTick: number): void {
    onDeadline(this, nowTick);
  }

  writeCorked(slab: Slab, start: number, end: number): void {
    this.context.outbound.writeCorked(this, slab, start, end);
  }

  shed(): void {
    if (this.state === STATE.CLOSED) return;
    this.close("slow_consumer", "budget");
    // What the transport holds is most of it, and a peer that is so far behind reads no GoAway.
    this.context.outbound.abandon(this);
    if (this.state === STATE.CLOSING) this.context.transport.reset(this.channel);
  }

  /** A push on no subscription: `Event` with offset 0. */
  send(topic: string, payload: Uint8Array | string | Payload): SendOutcome {
    return this.context.outbound.push(this, topic, payload);
  }

  /** One frame of a raw listener. */
  sendFrame(body: Uint8Array | string | Payload): SendOutcome {
    return this.context.outbound.raw(this, body);
  }

  disconnect(options: DisconnectOptions = {}): void {
    const code = options.code ?? CLOSE_REASONS.normal.code;
    const reason = reasonOfCode(code);
    if (reason === null) {
      const text = `close code ${code} is none: use 1000, 4000-4999 or one of docs/close-codes.md`;
      throw new HoldfastError("HOLDFAST_CLOSE_CODE_INVALID", text);
    }
    this.close(reason, "server", { ...options, code });
  }

  answer(message: ServerMessageInit): void {
    this.context.outbound.message(this, message);
  }

  callBegan(): void {
    this.calls++;
    this.handlersRunning++;
    if (this.calls >= this.context.limits.callsMax) this.pause(PAUSED_BY.CALLS);
  }

  callEnded(): void {
    this.calls--;
    if (this.state >= STATE.CLOSING) return;
    if ((this.pausedBy & PAUSED_BY.CALLS) !== 0) this.unpause(PAUSED_BY.CALLS);
    if (this.has(MARK.PEER_ENDED)) this.finishAfterEnd();
  }

  /**
   * The node stops: the client is told so once, and chooses the moment when it leaves. Does nothing
   * where there is nobody to tell: before Hello, and on raw listeners.
   */
  drain(reconnectAfterMs: number): void {
    if (!this.isOpen || this.context.raw !== null || this.has(MARK.DRAINING)) return;
    this.marks |= MARK.DRAINING;
    this.context.outbound.goAway(this, "shutdown", { reconnectAfterMs });
  }

  pause(reason: number): void {
    if (this.pausedBy === 0) {
      this.context.counters.readPauses++;
      this.context.transport.pause(this.channel);
    }
    this.pausedBy |= reason;
  }

  unpause(reason: number): void {
    if ((this.pausedBy & reason) === 0) return;
    this.pausedBy &= ~reason;
    if (this.pausedBy !== 0) return;
    this.pausedBy = PAUSED_BY.TURN;
    readLater(this);
  }

  note(text: string): void {
    this.notes ??= new Ring<Note>(NOTES_MAX);
    this.notes.push({ tick: this.context.wheel.nowTick, text });
    this.context.handler.onNote(this, text);
  }

  fault(fault: TransportFault): void {
    this.close("protocol_error", fault);
  }

  /** A frame could not be found in what was received. */
  frameFault(fault: number, bytes: Bytes, start: number): void {
    if (fault === FRAME_TOO_LARGE) {
      const isForeign = this.framesIn === 0 && isOtherProtocol(bytes, start);
      this.close("frame_too_large", isForeign ? "wrong_protocol" : "frame_too_large");
    } else if (fault === FRAME_MALFORMED) {
      this.close("protocol_error", "malformed_frame");
    } else {
      this.close("internal_error", "framing_broken");
    }
  }

  /** The peer half-closed: what it asked for is still answered. */
  peerEnded(): void {
    if (this.state >= STATE.CLOSING) return;
    this.marks |= MARK.PEER_ENDED;
    this.finishAfterEnd();
  }

  finishAfterEnd(): void {
    if (this.calls > 0 || this.pausedBy !== 0 || this.state >= STATE.CLOSING) return;
    if (this.unread !== null) this.close("protocol_error", "truncated_frame");
    else if (this.has(MARK.DRAINING)) this.close("shutdown", "draining");
    else this.close("normal", "peer_closed");
  }

  /**
   * Begins to end it: GoAway, the queue, then FIN. What arrives from now on is thrown away.
   * Does nothing where it is closing already: the first reason counts.
   */
  close(reason: CloseReason, cause: CloseCause, options: CloseOptions = {}): void {
    if (this.state >= STATE.CLOSING || this.state === STATE.INIT) return;
    const { outbound, handler, limits, wheel } = this.context;
    this.ending = { reason, cause, code: options.code ?? CLOSE_REASONS[reason].code };
    const wasWelcome = this.isOpen;
    this.move(STATE_EVENTS.close);
    this.dropUnread();
    this.note(`closing: ${reason} (${cause})`);
    handler.onClosing(this, reason, cause);
    // What the application does when its calls are aborted may have ended it for good.
    if (this.state !== STATE.CLOSING) return;
    if (reason === "slow_consumer") outbound.discardQueue(this);
    const isTold = this.context.raw !== null || this.has(MARK.DRAINING);
    if (!isTold) outbound.goAway(this, reason, options);
    // A peer that was never welcome does not keep a file for long after it was told so.
    if (!wasWelcome) this.since -= Math.max(0, limits.closeTicks - wheel.ticks(LINGER_MS));
    armDeadline(this);
    outbound.finish(this);
  }

  /**
   * A WebSocket ping or pong. It is no sign of life: only messages show that its frames get
   * through, and a peer could hold half a message for ever. Too many cost it the connection.
   */
  sign(): void {
    const { wheel } = this.context;
    this.signs ??= { sinceTick: wheel.nowTick, count: 0 };
    if (wheel.nowTick - this.signs.sinceTick >= wheel.ticks(1_000)) {
      this.signs.sinceTick = wheel.nowTick;
      this.signs.count = 0;
    }
    if (++this.signs.count > SIGNS_PER_SECOND_MAX) this.close("rate_limited", "ping_flood");
    // The library answers pings by itself; what it must keep of that is ours to bound.
    else if (
      this.queue === null &&
      this.context.transport.queuedNow(this.channel) > PONG_BYTES_MAX
    ) {
      this.close("slow_consumer", "ping_flood");
    }
  }

  /** The transport let go; the channel means nothing any more. */
  closed(end: TransportEnd): void {
    if (this.ending === null) endedByPeer(this, end);
    this.move(STATE_EVENTS.closed);
    this.dropUnread();
    const discarded = this.context.outbound.release(this);
    this.context.wheel.destroy(this.timer);
    if (this.context.turn.owner === this) this.context.turn.owner = null;
    assert(this.unread === null && this.queue === null, "a closed connection owns nothing");
    if (this.has(MARK.RAW_OPENED)) tellRaw(this, "onClose");
    this.context.handler.onClosed(this, discarded);
  }

  dropUnread(): void {
    this.unread?.release();
    this.unread = null;
    this.frameSince = 0;
  }

  /** What an application's handler throws costs this connection and no other. */
  rawFailed(error: unknown): void {
    this.context.handler.onRawError(this, error);
    this.close("internal_error", "handler_error");
  }
}

// Functions and no private methods: those would cost every connection a hidden field.

function tellRaw(connection: Connection, event: "onOpen" | "onClose"): void {
  try {
    connection.context.raw?.[event]?.(connection);
  } catch (error) {
    connection.rawFailed(error);
  }
}

function endedByPeer(connection: Connection, end: TransportEnd): void {
  const [reason, cause] = endOf(connection, end);
  connection.ending = { reason, cause, code: CLOSE_REASONS[reason].code };
  connection.context.handler.onClosing(connection, reason, cause);
}

function endOf(connection: Connection, end: TransportEnd): [CloseReason, CloseCause] {
  if (end === "malformed") return ["protocol_error", "malformed_websocket"];
  if (end === "reset") return ["connection_lost", "peer_reset"];
  if (connection.unread !== null) return ["protocol_error", "truncated_frame"];
  // It went because it was told to.
  if (connection.has(MARK.DRAINING)) return ["shutdown", "draining"];
  return ["normal", "peer_closed"];
}

/** Honest clients ping every few seconds. */
const SIGNS_PER_SECOND_MAX = 100;
/** Pongs that a peer may leave unread. */
const PONG_BYTES_MAX = 65_536;

/** How long a peer may take to read why it was turned away. */
const LINGER_MS = 1_000;

/**
 * First words of HTTP requests and answers and of TLS: 4 bytes that no honest length begins with.
 */
const FOREIGN = [
  "GET ",
  "POST",
  "PUT ",
  "HEAD",
  "OPTI",
  "DELE",
  "PATC",
  "CONN",
  "HTTP",
  "PRI ",
  "SSH-",
];

function isOtherProtocol(bytes: Bytes, start: number): boolean {
  if (bytes[start] === 0x16 && bytes[start + 1] === 0x03) return true;
  let word = "";
  for (let index = 0; index < 4; index++) word += String.fromCharCode(bytes[start + index] ?? 0);
  return FOREIGN.includes(word);
}
