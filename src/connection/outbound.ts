// Everything that is sent goes through here: one per process. A frame takes the direct way (corked,
// then written) while nothing of its connection waits, and the connection's send queue otherwise.
//
//   message -> encode -> cork -> transport.write           nothing waits
//                     -> SendQueue ... pump -> writev       the transport is busy, until it drains

import { HoldfastError } from "../base/errors.ts";
import type { BufferPool, Bytes, Slab } from "../base/buffer-pool.ts";
import type { Counters } from "../observe/counters.ts";
import { type Slice, WRITE, type WriteOutcome } from "../transport/transport.ts";
import { copyBytes } from "../wire/frame-reader.ts";
import type { ServerMessageInit } from "../wire/messages.ts";
import type { Payload } from "../wire/payload.ts";
import { CLOSE_REASONS, type CloseReason, invitesReconnect } from "./close-reason.ts";
import type { CloseOptions, Connection } from "./connection.ts";
import { PAUSED_BY } from "./paused-by.ts";
import { CORK_BYTES, type Cork } from "./cork.ts";
import { armDeadline } from "./deadlines.ts";
import type { SendBudget } from "./send-budget.ts";
import { type EventFlow, SendQueue } from "./send-queue.ts";
import { STATE } from "./state.ts";

/** What became of something that was sent. */
export const SEND = {
  /** On its way to the kernel. */
  SENT: "sent",
  /** It waits, below the high watermark. */
  QUEUED: "queued",
  /** It waits, above the high watermark: send no more until "drain". */
  FULL: "full",
  /** The policy dropped it; the client will be told by a Gap. */
  DROPPED: "dropped",
  /** The connection takes nothing any more. */
  CLOSED: "closed",
} as const;
export type SendOutcome = (typeof SEND)[keyof typeof SEND];

/** An event that was encoded once for all its subscribers of one framing. */
export interface SharedFrame {
  readonly slab: Slab;
  readonly start: number;
  readonly end: number;
}

/**
 * Events up to this size are copied behind what is corked, to spare a system call; a longer one is
 * written from its slab, and so is every one where the transport gathers writes itself.
 */
const COPY_BYTES_MAX = 4_096;
/**
 * Most slices and bytes that one writev hands over: what is handed over can no longer be dropped.
 */
const SLICES_MAX = 64;
const PUMP_BYTES_MAX = 65_536;
const TEXT_MAX = 100;
/** Slab that an answer is given when another one waits before it. */
const QUEUE_SLAB_BYTES = 4_096;
const NOTHING: Bytes = new Uint8Array(0);
const encoder = new TextEncoder();

export class Outbound {
  readonly #pool: BufferPool;
  readonly #cork: Cork;
  readonly #counters: Counters;
  readonly #budget: SendBudget;
  readonly #slices: Slice[] = [];

  constructor(pool: BufferPool, cork: Cork, counters: Counters, budget: SendBudget) {
    this.#pool = pool;
    this.#cork = cork;
    this.#counters = counters;
    this.#budget = budget;
  }

  /** The answer to a call. */
  result(connection: Connection, id: number, payload: Payload | Bytes): SendOutcome {
    if (!connection.isOpen) return this.#refused();
    const { writer } = connection.context;
    const bytesMax = writer.resultBytesMax(payload.length);
    if (connection.queue === null && bytesMax <= CORK_BYTES) {
      const target = this.#cork.open(connection, bytesMax);
      return this.#corked(writer.result(target, this.#cork.at, id, payload));
    }
    return this.#lease(connection, bytesMax, (slab) => writer.result(slab, 0, id, payload));
  }

  /** Any other message that must not be lost: answers, Welcome. */
  message(connection: Connection, message: ServerMessageInit): SendOutcome {
    if (!connection.isOpen && connection.state !== STATE.HANDSHAKING) return this.#refused();
    return this.#message(connection, message);
  }

  /** An `Event` of no subscription. */
  push(connection: Connection, topic: string, payload: Payload | Bytes | string): SendOutcome {
    if (connection.context.raw !== null) wrongKind("send() is for sessions: use sendFrame()");
    if (!connection.isOpen) return this.#refused();
    const bytes = typeof payload === "string" ? encoder.encode(payload) : payload;
    return this.#message(connection, { event: { topic, payload: bytes as Bytes } });
  }

  /** One frame as it is. Throws HOLDFAST_FRAMING_INVALID where the framing cannot carry it. */
  raw(connection: Connection, body: Payload | Bytes | string): SendOutcome {
    if (connection.context.raw === null) wrongKind("sendFrame() is for raw listeners: use send()");
    if (!connection.isOpen) return this.#refused();
    const bytes = typeof body === "string" ? encoder.encode(body) : body;
    const { framing } = connection.context;
    const view = bytes instanceof Uint8Array ? bytes : bytes.view();
    if (!framing.canCarry(view, 0, view.length)) {
      const text = `${framing.name} framing cannot carry these bytes: they contain its delimiter`;
      throw new HoldfastError("HOLDFAST_FRAMING_INVALID", text);
    }
    return this.#frame(connection, view);
  }

  /** An empty frame. It passes what waits, and one that waits already is enough. */
  heartbeat(connection: Connection): void {
    if (connection.context.raw !== null) return;
    if (connection.queue === null) {
      this.#counters.heartbeatsOut++;
      this.#frame(connection, NOTHING);
      return;
    }
    const { head } = connection.queue;
    const { framing, writer } = connection.context;
    if (head !== null && head.flow === null && head.end - head.start <= framing.overheadMax) return;
    const slab = this.#pool.lease(framing.overheadMax);
    const end = writer.frame(slab.bytes, 0, NOTHING);
    connection.queue.pushFront(slab, 0, end);
    this.#counters.heartbeatsOut++;
    this.#counters.framesOut++;
    this.#account(connection.queue);
  }

  /** Tells why the connection ends; it passes no data but needs no room either. */
  goAway(connection: Connection, reason: CloseReason, options: CloseOptions): void {
    const code = options.code ?? CLOSE_REASONS[reason].code;
    const text = options.text === undefined ? reason : options.text.slice(0, TEXT_MAX);
    const reconnectAfterMs = invitesReconnect(reason) ? (options.reconnectAfterMs ?? 0) : 0;
    const message = { goAway: { code, reason: text, reconnectAfterMs } };
    this.#message(connection, message, "beyond");
  }

  /**
   * One event for one connection. The frame stays the caller's.
   * @param flow the subscription; null: the event is on none and is never dropped.
   */
  event(connection: Connection, flow: EventFlow | null, frame: SharedFrame): SendOutcome {
    if (!connection.isOpen) return this.#refused();
    if (connection.queue === null && flow !== null && flow.missed > 0)
      this.#gapNow(connection, flow);
    const { slab, start, end } = frame;
    const length = end - start;
    const { gathersWrites } = connection.context.transport;
    if (connection.queue === null && length <= COPY_BYTES_MAX && !gathersWrites) {
      const target = this.#cork.open(connection, length);
      const { at } = this.#cork;
      copyBytes(slab.bytes, start, end, target, at);
      return this.#corked(at + length);
    }
    this.#cork.flushFor(connection);
    if (connection.queue === null) return this.#write(connection, slab, start, end);
    if (!this.#hasRoom(connection, connection.queue, length, flow)) {
      if (!connection.isOpen || flow === null) return this.#refused();
      return this.#dropNewest(flow);
    }
    return this.#enqueue(connection, connection.queue, slab.retain(), start, end, flow);
  }

  /** Called by the cork. */
  writeCorked(connection: Connection, slab: Slab, start: number, end: number): void {
    const { transport } = connection.context;
    this.#written(connection, end - start, transport.write(connection.channel, slab, start, end));
  }

  /** What the transport was given before waits after all. */
  queued(connection: Connection): void {
    // It may have drained since the transport said so.
    if (connection.context.transport.queued[connection.channel]! > 0) this.#waits(connection);
  }

  /** The transport has sent all it had: it gets what waits. */
  drained(connection: Connection): void {
    const { queue, context } = connection;
    if (queue === null) return;
    queue.transportBytes = 0;
    queue.stalledSince = context.wheel.nowTick;
    while (queue.count > 0 && queue.transportBytes === 0) {
      if (!this.#pump(connection, queue)) break;
    }
    this.#account(queue);
    if (queue.count === 0 && queue.transportBytes === 0) this.#dropQueue(connection);
    this.#checkLow(connection, queue);
    if (connection.state === STATE.CLOSING) this.finish(connection);
  }

  /** In CLOSING: once nothing waits, the transport is asked to end. */
  finish(connection: Connection): void {
    this.#cork.flushFor(connection);
    if (connection.state !== STATE.CLOSING || connection.queue !== null) return;
    const { code, reason } = connection.ending!;
    connection.context.transport.close(connection.channel, code, reason);
  }

  /** What waits for a peer that does not read is given up; what follows may still reach it. */
  discardQueue(connection: Connection): void {
    const { queue } = connection;
    if (queue === null) return;
    connection.bytesDiscarded += queue.clear();
    this.#account(queue);
  }

  /** It is about to be reset: everything that waits for it is lost, the transport's share too. */
  abandon(connection: Connection): void {
    this.discardQueue(connection);
    const { queue } = connection;
    if (queue === null) return;
    connection.bytesDiscarded += queue.transportBytes;
    queue.transportBytes = 0;
    this.#account(queue);
  }

  /** The connection is closed: nothing of it may be held. @returns bytes that were never sent. */
  release(connection: Connection): number {
    connection.bytesDiscarded += this.#cork.discardFor(connection);
    const { queue } = connection;
    if (queue !== null) {
      connection.bytesDiscarded += queue.clear() + queue.transportBytes;
      queue.transportBytes = 0;
      this.#account(queue);
      this.#dropQueue(connection);
    }
    this.#counters.bytesDiscardedOut += connection.bytesDiscarded;
    return connection.bytesDiscarded;
  }

  #message(
    connection: Connection,
    message: ServerMessageInit,
    room: "within" | "beyond" = "within",
  ): SendOutcome {
    const { writer } = connection.context;
    const bytesMax = writer.messageBytesMax(message);
    if (connection.queue === null && bytesMax <= CORK_BYTES) {
      const target = this.#cork.open(connection, bytesMax);
      return this.#corked(writer.message(target, this.#cork.at, message));
    }
    return this.#lease(connection, bytesMax, (slab) => writer.message(slab, 0, message), room);
  }

  #frame(connection: Connection, body: Payload | Bytes): SendOutcome {
    const { writer, framing } = connection.context;
    const bytesMax = body.length + framing.overheadMax;
    if (connection.queue === null && bytesMax <= CORK_BYTES) {
      const target = this.#cork.open(connection, bytesMax);
      return this.#corked(writer.frame(target, this.#cork.at, body));
    }
    return this.#lease(connection, bytesMax, (slab) => writer.frame(slab, 0, body));
  }

  #corked(end: number): SendOutcome {
    this.#counters.framesOut++;
    this.#cork.commit(end);
    return SEND.SENT;
  }

  /**
   * A frame that is too long for the cork, or that has to wait. Throws what `encode` throws.
   * @param room what says goodbye may stand beyond the cap; everything else keeps to it.
   */
  #lease(
    connection: Connection,
    bytesMax: number,
    encode: (target: Bytes) => number,
    room: "within" | "beyond" = "within",
  ): SendOutcome {
    // Answers that wait one after another share a slab.
    const isShared = connection.queue?.endsWithAnswer === true;
    const size = isShared ? Math.max(bytesMax, QUEUE_SLAB_BYTES) : bytesMax;
    const slab = this.#pool.lease(size);
    try {
      const end = encode(slab.bytes);
      this.#cork.flushFor(connection);
      const { queue } = connection;
      if (queue === null) return this.#write(connection, slab, 0, end);
      const isBounded = room === "within" && connection.isOpen;
      if (isBounded && !this.#hasRoom(connection, queue, end, null)) return this.#refused();
      this.#counters.framesOut++;
      if (!queue.append(slab.bytes, end)) queue.pushBack(slab.retain(), 0, end, null);
      return this.#grown(connection, queue);
    } finally {
      slab.release();
    }
  }

  #write(connection: Connection, slab: Slab, start: number, end: number): SendOutcome {
    this.#counters.framesOut++;
    const { transport } = connection.context;
    return this.#written(
      connection,
      end - start,
      transport.write(connection.channel, slab, start, end),
    );
  }

  #written(connection: Connection, length: number, outcome: WriteOutcome): SendOutcome {
    if (outcome === WRITE.REFUSED) {
      connection.bytesDiscarded += length;
      return SEND.CLOSED;
    }
    connection.bytesOut += length;
    this.#counters.bytesOut += length;
    if (outcome === WRITE.SENT) {
      if (connection.context.raw !== null) connection.lastSeen = connection.context.wheel.nowTick;
      return SEND.SENT;
    }
    return this.#waits(connection);
  }

  /** The transport holds bytes that the kernel has not taken. */
  #waits(connection: Connection): SendOutcome {
    const { transport } = connection.context;
    const queue = connection.queue ?? this.#newQueue(connection);
    queue.transportBytes = transport.queued[connection.channel]!;
    queue.stalledBytes = transport.queuedNow(connection.channel);
    return this.#grown(connection, queue);
  }

  #newQueue(connection: Connection): SendQueue {
    const queue = new SendQueue(connection.context.wheel.nowTick);
    connection.queue = queue;
    this.#budget.join(connection);
    armDeadline(connection);
    return queue;
  }

  #enqueue(
    connection: Connection,
    queue: SendQueue,
    slab: Slab,
    start: number,
    end: number,
    flow: EventFlow | null,
  ): SendOutcome {
    this.#counters.framesOut++;
    queue.pushBack(slab, start, end, flow);
    return this.#grown(connection, queue);
  }

  #grown(connection: Connection, queue: SendQueue): SendOutcome {
    this.#account(queue);
    if (this.#budget.isExceeded) this.#budget.shedWorst();
    if (!connection.isOpen) return SEND.CLOSED;
    const { sendHighBytes } = connection.context.limits;
    if (queue.totalBytes <= sendHighBytes) return queue.isAboveHigh ? SEND.FULL : SEND.QUEUED;
    if (!queue.isAboveHigh) {
      queue.isAboveHigh = true;
      connection.note("send queue above its high watermark");
      connection.pause(PAUSED_BY.QUEUE);
    }
    return SEND.FULL;
  }

  /** Makes room by the policy. False: there is none; the connection may have been closed for it. */
  #hasRoom(
    connection: Connection,
    queue: SendQueue,
    length: number,
    flow: EventFlow | null,
  ): boolean {
    const { limits } = connection.context;
    const { sendQueueBytesMax } = limits;
    if (queue.hasRoom(length, sendQueueBytesMax)) return true;
    const policy = flow === null ? limits.policy : flow.policy;
    if (policy === "drop-newest" && flow !== null) return false;
    let dropped = 0;
    if (policy === "conflate" && flow !== null) dropped += queue.conflate(flow);
    if (policy !== "disconnect") dropped += queue.dropOldest(length, sendQueueBytesMax);
    this.#counters.eventsDropped += dropped;
    this.#account(queue);
    if (queue.hasRoom(length, sendQueueBytesMax)) return true;
    // What is left is not to be dropped: then the new event is, unless it may not be either.
    if (flow === null || policy === "disconnect") connection.close("slow_consumer", "queue_full");
    return false;
  }

  #dropNewest(flow: EventFlow): SendOutcome {
    flow.missed++;
    this.#counters.eventsDropped++;
    return SEND.DROPPED;
  }

  /** @returns false where the transport takes nothing any more. */
  #pump(connection: Connection, queue: SendQueue): boolean {
    const slices = this.#slices;
    let bytes = 0;
    const { sendQueueBytesMax } = connection.context.limits;
    const bytesMax = Math.min(PUMP_BYTES_MAX, sendQueueBytesMax / 4);
    while (queue.head !== null && slices.length < SLICES_MAX && bytes < bytesMax) {
      const entry = queue.shift();
      if (entry.missedBefore > 0) {
        const gap = this.#gapFrame(connection, entry.flow!, entry.missedBefore);
        bytes += gap.end;
        slices.push(gap);
      }
      bytes += entry.end - entry.start;
      slices.push(entry);
    }
    const outcome = connection.context.transport.writev(connection.channel, slices);
    for (const { slab } of slices) slab.release();
    slices.length = 0;
    this.#written(connection, bytes, outcome);
    return outcome !== WRITE.REFUSED;
  }

  #gapFrame(connection: Connection, flow: EventFlow, missed: number): Slice {
    const { writer } = connection.context;
    const message = { gap: { topic: flow.topicName, missed } };
    const slab = this.#pool.lease(writer.messageBytesMax(message));
    this.#counters.framesOut++;
    this.#counters.gapsSent++;
    return { slab, start: 0, end: writer.message(slab.bytes, 0, message) };
  }

  #gapNow(connection: Connection, flow: EventFlow): void {
    const { missed } = flow;
    flow.missed = 0;
    this.#counters.gapsSent++;
    this.#message(connection, { gap: { topic: flow.topicName, missed } });
  }

  #checkLow(connection: Connection, queue: SendQueue): void {
    if (!queue.isAboveHigh || queue.totalBytes > connection.context.limits.sendLowBytes) return;
    queue.isAboveHigh = false;
    if (!connection.isOpen) return;
    connection.unpause(PAUSED_BY.QUEUE);
    connection.context.handler.onDrain(connection);
  }

  #dropQueue(connection: Connection): void {
    connection.queue = null;
    this.#budget.leave(connection);
  }

  /** The process-wide sum follows every change of a queue. */
  #account(queue: SendQueue): void {
    this.#budget.change(queue.totalBytes - queue.accountedBytes);
    queue.accountedBytes = queue.totalBytes;
  }

  #refused(): SendOutcome {
    this.#counters.sendsRefused++;
    return SEND.CLOSED;
  }
}

function wrongKind(text: string): never {
  throw new HoldfastError("HOLDFAST_LISTENER_KIND", text);
}
