// From received bytes to messages. Frames are read where they lie; while reading is paused, and
// where a frame is incomplete, bytes wait in `unread`.

import type { Bytes } from "../base/buffer-pool.ts";
import { type FrameSink, readFrames, Unread } from "../wire/frame-reader.ts";
import type { ClientMessage } from "../wire/messages.ts";
import { Payload } from "../wire/payload.ts";
import type { RawHandler } from "./connection-context.ts";
import type { Connection } from "./connection.ts";
import { MARK } from "./mark.ts";
import { PAUSED_BY } from "./paused-by.ts";
import { armDeadline } from "./deadlines.ts";
import { STATE, STATE_EVENTS } from "./state.ts";

/** Frames of one connection that are handled before other connections get their turn. */
export const FRAMES_PER_TURN = 64;

const NOTHING: Bytes = new Uint8Array(0);

/** A Hello with the largest token and all labels that are allowed fits well. */
export const HELLO_BYTES_MAX = 16_384;

/** Takes a chunk; the bytes are the transport's again when this returns. */
export function receive(connection: Connection, bytes: Bytes, start: number, end: number): void {
  const { context } = connection;
  const { counters } = context;
  const length = end - start;
  counters.bytesIn += length;
  connection.bytesIn += length;
  if (connection.state >= STATE.CLOSING) {
    counters.bytesDiscardedIn += length;
    return;
  }
  connection.lastSeen = context.wheel.nowTick;
  if (connection.state === STATE.IDLE) becomeActive(connection);
  if (length === 0) return;
  context.cork.enter();
  beginTurn(connection);
  try {
    if (connection.pausedBy !== 0) stash(connection, bytes, start, end);
    else consume(connection, bytes, start, end);
    settle(connection);
  } finally {
    context.scope.end();
    context.cork.leave();
  }
}

/** Ends PAUSED_BY.TURN in a later turn: whoever ended the pause is in the middle of something. */
export function readLater(connection: Connection): void {
  connection.context.clock.afterPoll(() => {
    connection.pausedBy &= ~PAUSED_BY.TURN;
    if (mayRead(connection)) readOn(connection);
  });
}

/** Reading goes on: first what waited, then the transport. */
function readOn(connection: Connection): void {
  const { context } = connection;
  context.cork.enter();
  context.turn.owner = connection;
  context.turn.work = 0;
  // A frame that was cut by the pause gets its time anew.
  connection.frameSince = 0;
  try {
    readUnread(connection);
    settle(connection);
  } finally {
    context.scope.end();
    context.cork.leave();
  }
  if (!mayRead(connection)) return;
  // While it was not read, nothing could be heard of it.
  connection.lastSeen = context.wheel.nowTick;
  context.transport.resume(connection.channel);
  if (connection.has(MARK.PEER_ENDED)) connection.finishAfterEnd();
}

/** One frame's body. Called by the frame reader; false stops it. */
export function onFrame(connection: Connection, bytes: Bytes, start: number, end: number): boolean {
  const { context, state } = connection;
  connection.framesIn++;
  context.counters.framesIn++;
  if (context.raw !== null) {
    onRawFrame(connection, context.raw, bytes, start, end);
  } else if (start === end) {
    context.counters.heartbeatsIn++;
  } else {
    onBody(connection, bytes, start, end);
  }
  if (++context.turn.work >= FRAMES_PER_TURN) takeTurns(connection);
  // After a Hello other limits hold: the reader begins anew.
  const isWelcomed = state === STATE.HANDSHAKING && connection.state !== STATE.HANDSHAKING;
  return mayRead(connection) && !isWelcomed;
}

function onRawFrame(
  connection: Connection,
  raw: RawHandler,
  bytes: Bytes,
  start: number,
  end: number,
): void {
  try {
    raw.onFrame(connection, new Payload(connection.context.scope, bytes, start, end));
  } catch (error) {
    connection.rawFailed(error);
  }
}

function onBody(connection: Connection, bytes: Bytes, start: number, end: number): void {
  const { context } = connection;
  let message: ClientMessage;
  try {
    message = context.reader.decode(bytes, start, end);
  } catch {
    // protobufjs throws for malformed bytes; nothing of the message has had any effect.
    connection.close("protocol_error", "bad_message");
    return;
  }
  const { body } = message;
  if (body === undefined) {
    connection.close("protocol_error", "unknown_body");
  } else if (connection.state === STATE.HANDSHAKING) {
    if (body === "hello") context.handler.onHello(connection, message);
    else connection.close("protocol_error", "bad_state");
  } else if (body === "hello") {
    connection.close("protocol_error", "bad_state");
  } else if (body === "goodbye") {
    if (message.id !== 0) context.outbound.result(connection, message.id, NOTHING);
    connection.close("normal", "goodbye");
  } else {
    context.handler.onMessage(connection, message);
  }
}

function consume(connection: Connection, bytes: Bytes, start: number, end: number): void {
  let at = start;
  while (connection.unread !== null && at < end && mayRead(connection)) {
    at = complete(connection, bytes, at, end);
  }
  while (at < end && mayRead(connection)) {
    const { framing } = connection.context;
    const next = readFrames(framing, bodyBytesMax(connection), bytes, at, end, at, connection);
    if (next < 0) {
      connection.frameFault(next, bytes, at);
      return;
    }
    if (next === at) break;
    at = next;
  }
  if (at < end && connection.state < STATE.CLOSING) stash(connection, bytes, at, end);
}

/** Adds to the incomplete frame what it lacks, and no more than that where it is known. */
function complete(connection: Connection, bytes: Bytes, at: number, end: number): number {
  const { framing } = connection.context;
  const unread = connection.unread!;
  const missing = unread.missing(framing, bodyBytesMax(connection));
  const taken = missing === 0 ? end : Math.min(end, at + missing);
  unread.append(bytes, at, taken);
  readUnread(connection);
  return taken;
}

function readUnread(connection: Connection): void {
  const { unread, context } = connection;
  if (unread === null) return;
  const before = unread.length;
  const next = unread.read(context.framing, bodyBytesMax(connection), connection);
  if (connection.unread === null) return;
  if (next < 0) {
    connection.frameFault(next, unread.bytes, unread.start);
  } else if (unread.length === 0) {
    connection.dropUnread();
  } else if (unread.length < before) {
    // Whatever is incomplete now is another frame than before, and it may be whole.
    connection.frameSince = 0;
    if (mayRead(connection)) readUnread(connection);
  }
}

const SKIP: FrameSink = { onFrame: () => true };

function stash(connection: Connection, bytes: Bytes, start: number, end: number): void {
  const { context } = connection;
  if (context.transport.hasMessages) {
    // Where a message ends is known only now: it must end with a frame.
    const { framing, limits } = context;
    const next = readFrames(framing, limits.frameBytesMax, bytes, start, end, start, SKIP);
    if (next < 0) {
      connection.frameFault(next, bytes, start);
      return;
    }
    if (next !== end) {
      connection.close("protocol_error", "truncated_frame");
      return;
    }
  }
  connection.unread ??= new Unread(context.pool, end - start);
  connection.unread.append(bytes, start, end);
  if (connection.unread.length > context.limits.receiveBacklogBytesMax) {
    connection.close("rate_limited", "receive_backlog");
  }
}

/** After a chunk: is a frame incomplete, and may it be? */
function settle(connection: Connection): void {
  if (connection.unread === null || connection.pausedBy !== 0) return;
  if (connection.state >= STATE.CLOSING) return;
  if (connection.context.transport.hasMessages) {
    connection.close("protocol_error", "truncated_frame");
    return;
  }
  if (connection.frameSince !== 0) return;
  connection.frameSince = Math.max(1, connection.context.wheel.nowTick);
  armDeadline(connection);
}

/** WebSocket messages come one by one, many of one connection in a row: they share its turn. */
function beginTurn(connection: Connection): void {
  const { turn } = connection.context;
  if (turn.owner === connection) return;
  turn.owner = connection;
  turn.work = 0;
}

/** Enough for one turn: the rest waits until others have had theirs. */
function takeTurns(connection: Connection): void {
  connection.context.turn.work = 0;
  if (connection.state >= STATE.CLOSING || (connection.pausedBy & PAUSED_BY.TURN) !== 0) return;
  connection.context.counters.yields++;
  connection.pause(PAUSED_BY.TURN);
  readLater(connection);
}

function becomeActive(connection: Connection): void {
  connection.move(STATE_EVENTS.bytes);
  armDeadline(connection);
}

/** Strangers get less memory than clients that have said Hello. */
function bodyBytesMax({ state, context }: Connection): number {
  const { frameBytesMax } = context.limits;
  return state === STATE.HANDSHAKING ? Math.min(frameBytesMax, HELLO_BYTES_MAX) : frameBytesMax;
}

function mayRead(connection: Connection): boolean {
  return connection.state < STATE.CLOSING && connection.pausedBy === 0;
}
