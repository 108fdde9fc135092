// What all connections of a listener share, so that a connection itself holds only what is its own.

import type { BufferPool } from "../base/buffer-pool.ts";
import type { Clock } from "../base/clock.ts";
import type { Prng } from "../base/prng.ts";
import type { TimerWheel } from "../base/timer-wheel.ts";
import type { Counters } from "../observe/counters.ts";
import type { Transport } from "../transport/transport.ts";
import type { FrameWriter } from "../wire/frame-writer.ts";
import type { Framing } from "../wire/framing.ts";
import type { MessageReader } from "../wire/message-reader.ts";
import type { ClientMessage } from "../wire/messages.ts";
import type { Payload, PayloadScope } from "../wire/payload.ts";
import type { ClientConnection } from "./client-connection.ts";
import type { CloseCause, CloseReason } from "./close-reason.ts";
import type { Connection } from "./connection.ts";
import type { Cork } from "./cork.ts";
import type { Outbound } from "./outbound.ts";
import type { SendBudget } from "./send-budget.ts";
import type { SlowConsumerPolicy } from "./send-queue.ts";

/** Limits and deadlines of a listener's connections. Times are in ticks of the wheel. */
export interface ConnectionLimits {
  readonly acceptTicks: number;
  readonly handshakeTicks: number;
  readonly heartbeatTicks: number;
  /** Share of heartbeatTicks by which each interval is drawn longer or shorter, 0 .. 0.5. */
  readonly heartbeatJitter: number;
  readonly idleTicks: number;
  readonly frameTicks: number;
  readonly closeTicks: number;
  readonly stallTicks: number;
  readonly frameBytesMax: number;
  readonly callsMax: number;
  readonly sendHighBytes: number;
  readonly sendLowBytes: number;
  readonly sendQueueBytesMax: number;
  readonly policy: SlowConsumerPolicy;
  /** Bytes kept of a peer that goes on sending where reading cannot be stopped. */
  readonly receiveBacklogBytesMax: number;
}

/** What the server does for its connections. Nothing here may throw or await. */
export interface ConnectionHandler {
  /** A Hello came, with a valid version and id: answer it with welcome() or refuse(). */
  onHello(connection: Connection, message: ClientMessage): void;
  /** A call, publish, subscribe or unsubscribe on an active connection. */
  onMessage(connection: Connection, message: ClientMessage): void;
  /** A raw listener's connection became active. */
  onRawOpen(connection: Connection): void;
  /** A raw listener's handler threw. */
  onRawError(connection: Connection, error: unknown): void;
  /** The queue has fallen to the low watermark. */
  onDrain(connection: Connection): void;
  /** It is closing: work under way for it is moot. */
  onClosing(connection: Connection, reason: CloseReason, cause: CloseCause): void;
  /** It is closed; `bytesDiscarded` were queued and never sent. */
  onClosed(connection: Connection, bytesDiscarded: number): void;
  /** Something worth a look on one connection. */
  onNote(connection: Connection, note: string): void;
  onIllegalTransition(connection: Connection, event: string): void;
}

/** The application's side of a raw listener. Nothing here may be async; what throws is closed. */
export interface RawHandler {
  onOpen?(connection: ClientConnection): void;
  /** The payload is valid until this returns. */
  onFrame(connection: ClientConnection, payload: Payload): void;
  onClose?(connection: ClientConnection): void;
}

/** What was done for the connection that is being served, so that others get their turn too. */
export interface Turn {
  owner: Connection | null;
  /** Frames handled, and an eighth for every event that one of them sent to a subscriber. */
  work: number;
}

/** What all connections of a process share. */
export interface ProcessContext {
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly pool: BufferPool;
  readonly prng: Prng;
  readonly counters: Counters;
  readonly reader: MessageReader;
  readonly scope: PayloadScope;
  readonly cork: Cork;
  readonly outbound: Outbound;
  readonly turn: Turn;
  readonly budget: SendBudget;
}

export interface ConnectionContext extends ProcessContext {
  readonly transport: Transport;
  readonly framing: Framing;
  readonly writer: FrameWriter;
  /** Replaced as a whole when options change, for connections that are open as well. */
  limits: ConnectionLimits;
  readonly handler: ConnectionHandler;
  /** Whole frames go to the application as they are: no Hello, no heartbeats, no GoAway. */
  readonly raw: RawHandler | null;
  /** How many connections of the listener are in each state. */
  readonly stateCounts: Int32Array;
}
