// What a connection waits for, as ticks of the wheel. One timer serves them all: it is set to the
// earliest, and looks again when it fires, so a message costs no more than storing `lastSeen`.

import type { Connection } from "./connection.ts";
import { MARK } from "./mark.ts";
import { STATE, STATE_EVENTS } from "./state.ts";

const NEVER = Number.MAX_SAFE_INTEGER;

/** Sets the timer to the earliest deadline. To be called when an earlier one may have come up. */
export function armDeadline(connection: Connection): void {
  const { limits, wheel } = connection.context;
  let earliest = stateDeadline(connection);
  if (connection.frameSince !== 0 && connection.pausedBy === 0) {
    earliest = Math.min(earliest, connection.frameSince + limits.frameTicks);
  }
  if (connection.queue !== null && connection.state < STATE.CLOSING) {
    earliest = Math.min(earliest, connection.queue.stalledSince + limits.stallTicks);
  }
  wheel.arm(connection.timer, earliest);
}

/** The timer has fired: does what is due and arms it again. */
export function onDeadline(connection: Connection, nowTick: number): void {
  checkFrame(connection, nowTick);
  checkStall(connection, nowTick);
  checkState(connection, nowTick);
  forgetNotes(connection);
  if (connection.state !== STATE.CLOSED) armDeadline(connection);
}

function stateDeadline(connection: Connection): number {
  const { limits } = connection.context;
  switch (connection.state) {
    case STATE.INIT:
    case STATE.CLOSED:
      return NEVER;
    case STATE.ACCEPTED:
      return connection.since + limits.acceptTicks;
    case STATE.HANDSHAKING:
      return connection.since + limits.handshakeTicks;
    case STATE.ACTIVE:
      return connection.lastSeen + jittered(connection);
    case STATE.IDLE:
      return Math.min(
        connection.since + limits.heartbeatTicks,
        connection.lastSeen + limits.idleTicks,
      );
    case STATE.CLOSING:
      return connection.since + limits.closeTicks;
  }
}

/** Each interval is drawn anew, so that clients which came together do not stay together. */
function jittered(connection: Connection): number {
  const { limits, prng } = connection.context;
  const spread = (prng.float() * 2 - 1) * limits.heartbeatJitter;
  return Math.max(1, Math.round(limits.heartbeatTicks * (1 + spread)));
}

function checkFrame(connection: Connection, nowTick: number): void {
  if (connection.frameSince === 0 || connection.pausedBy !== 0) return;
  if (nowTick - connection.frameSince < connection.context.limits.frameTicks) return;
  connection.close("protocol_error", "slow_frame");
}

function checkStall(connection: Connection, nowTick: number): void {
  const { queue, context } = connection;
  if (queue === null || connection.state >= STATE.CLOSING) return;
  if (nowTick - queue.stalledSince < context.limits.stallTicks) return;
  const left = context.transport.queuedNow(connection.channel);
  if (left < queue.stalledBytes) {
    queue.stalledBytes = left;
    queue.stalledSince = nowTick;
  } else {
    connection.close("slow_consumer", "stalled");
  }
}

function checkState(connection: Connection, nowTick: number): void {
  const { limits, transport } = connection.context;
  switch (connection.state) {
    case STATE.ACCEPTED:
      if (nowTick - connection.since >= limits.acceptTicks) {
        connection.close("handshake_timeout", "not_ready");
      }
      return;
    case STATE.HANDSHAKING:
      if (nowTick - connection.since >= limits.handshakeTicks) {
        connection.close("handshake_timeout", "no_hello");
      }
      return;
    case STATE.ACTIVE:
      checkActive(connection, nowTick);
      return;
    case STATE.IDLE:
      checkIdle(connection, nowTick);
      return;
    case STATE.CLOSING:
      if (nowTick - connection.since >= limits.closeTicks) {
        connection.note("reset: the close timeout passed");
        transport.reset(connection.channel);
      }
      return;
    default:
      return;
  }
}

function checkActive(connection: Connection, nowTick: number): void {
  const { limits, outbound } = connection.context;
  if (cannotBeHeard(connection)) connection.lastSeen = nowTick;
  const shortest = Math.max(1, limits.heartbeatTicks * (1 - limits.heartbeatJitter));
  if (nowTick - connection.lastSeen < Math.floor(shortest)) return;
  connection.move(STATE_EVENTS.silence);
  outbound.heartbeat(connection);
}

function checkIdle(connection: Connection, nowTick: number): void {
  const { limits, outbound } = connection.context;
  if (cannotBeHeard(connection)) connection.lastSeen = nowTick;
  if (nowTick - connection.lastSeen >= limits.idleTicks) {
    connection.close("idle_timeout", "silent");
  } else if (nowTick - connection.since >= limits.heartbeatTicks) {
    connection.since = nowTick;
    outbound.heartbeat(connection);
  }
}

/**
 * Bytes may wait that we have chosen not to read, or it has ended its side and awaits its answers.
 */
function cannotBeHeard(connection: Connection): boolean {
  return connection.pausedBy !== 0 || connection.has(MARK.PEER_ENDED);
}

/** Notes are kept while a connection is unusual. */
function forgetNotes(connection: Connection): void {
  const isUsual = connection.state === STATE.ACTIVE || connection.state === STATE.HANDSHAKING;
  if (isUsual && connection.queue === null && connection.pausedBy === 0) connection.notes = null;
}
