// One listener: a transport, a framing, and the connections that came through it.

import type { TransportAddress, TransportEnd, TransportFault } from "../transport/transport.ts";
import type { ChannelId, Transport, TransportHandler } from "../transport/transport.ts";
import type { Bytes } from "../base/buffer-pool.ts";
import { Connection } from "../connection/connection.ts";
import type {
  ConnectionContext,
  ConnectionHandler,
  ConnectionLimits,
  ProcessContext,
  RawHandler,
} from "../connection/connection-context.ts";
import { MARK } from "../connection/mark.ts";
import type { SlowConsumerPolicy } from "../connection/send-queue.ts";
import { STATE } from "../connection/state.ts";
import { FrameWriter } from "../wire/frame-writer.ts";
import type { Framing } from "../wire/framing.ts";
import { WebSocketTransport } from "../transport/websocket.ts";
import type { Admission } from "./admission.ts";

/** Connections that one process may have had; ids of the next worker's begin behind them. */
export const SERIALS_PER_WORKER: number = 2 ** 32;

/** What a listener asks of the server. */
export interface ListenerOwner extends ConnectionHandler {
  readonly admission: Admission;
  nextSerial(): number;
  /** Why a new connection is turned away; null: it is served. */
  refusal(): "overloaded" | "shutdown" | null;
  /** Milliseconds after which a refused client may come back, jittered. */
  retryAfterMs(): number;
  /** Accepting failed; `listener` names where. */
  onAcceptError(listener: string, code: string): void;
}

export interface ListenerOptions {
  /** For logs and metrics. */
  readonly name: string;
  readonly framing: Framing;
  /** Null: the session protocol is spoken. */
  readonly raw: RawHandler | null;
  readonly limits: ConnectionLimits;
  /** Of slow readers; null: send.policy. */
  readonly policy: SlowConsumerPolicy | null;
}

export class Listener implements TransportHandler {
  readonly name: string;
  readonly policy: SlowConsumerPolicy | null;
  readonly transport: Transport;
  readonly context: ConnectionContext;
  address: TransportAddress | null = null;
  readonly #owner: ListenerOwner;
  readonly #connections: (Connection | null)[] = [];

  constructor(
    options: ListenerOptions,
    shared: ProcessContext,
    owner: ListenerOwner,
    transportFor: (handler: TransportHandler) => Transport,
  ) {
    this.name = options.name;
    this.policy = options.policy;
    this.#owner = owner;
    this.transport = transportFor(this);
    this.context = {
      ...shared,
      transport: this.transport,
      framing: options.framing,
      writer: new FrameWriter(options.framing),
      limits: options.limits,
      handler: owner,
      raw: options.raw,
      stateCounts: new Int32Array(Object.keys(STATE).length),
    };
  }

  async listen(): Promise<TransportAddress> {
    this.address = await this.transport.listen();
    return this.address;
  }

  /** The connection on a channel, or null. */
  connection(channel: ChannelId): Connection | null {
    return this.#connections[channel] ?? null;
  }

  /** Channels are below it: as many as were open at a time at most. */
  get channels(): number {
    return this.#connections.length;
  }

  *connections(): Generator<Connection> {
    for (const connection of this.#connections) if (connection !== null) yield connection;
  }

  admit(): boolean {
    if (this.#owner.admission.admit()) return true;
    this.context.counters.notAdmitted++;
    return false;
  }

  onOpen(channel: ChannelId): void {
    const { admission } = this.#owner;
    const connection = new Connection(this.context, channel, this.#owner.nextSerial());
    // Listeners of one loop share its channels: those of others leave no holes.
    while (this.#connections.length < channel) this.#connections.push(null);
    this.#connections[channel] = connection;
    this.context.counters.opened++;
    const refusal = this.#owner.refusal();
    if (refusal !== null) {
      admission.turnedAway++;
      connection.marks |= MARK.TURNED_AWAY;
      this.context.counters.refused++;
    } else {
      admission.served++;
    }
    connection.open();
    if (refusal !== null) {
      const cause = refusal === "shutdown" ? "draining" : "admission";
      connection.close(refusal, cause, { reconnectAfterMs: this.#owner.retryAfterMs() });
    }
  }

  onChunk(channel: ChannelId, bytes: Bytes, start: number, end: number): void {
    this.#connections[channel]?.receive(bytes, start, end);
  }

  onQueued(channel: ChannelId): void {
    const connection = this.#connections[channel];
    if (connection != null) this.context.outbound.queued(connection);
  }

  onDrain(channel: ChannelId): void {
    const connection = this.#connections[channel];
    if (connection != null) this.context.outbound.drained(connection);
  }

  onEnd(channel: ChannelId): void {
    this.#connections[channel]?.peerEnded();
  }

  onSign(channel: ChannelId): void {
    this.#connections[channel]?.sign();
  }

  onFault(channel: ChannelId, fault: TransportFault): void {
    this.#connections[channel]?.fault(fault);
  }

  onClose(channel: ChannelId, end: TransportEnd): void {
    const connection = this.#connections[channel];
    if (connection == null) return;
    this.#connections[channel] = null;
    this.#owner.admission.left(!connection.has(MARK.TURNED_AWAY));
    connection.closed(end);
  }

  onAcceptError(code: string): void {
    this.context.counters.acceptErrors++;
    this.#owner.onAcceptError(this.name, code);
  }
}

/** What moves the bytes, with the version of what is not part of Node. */
export function transportName({ transport }: Listener): string {
  return transport instanceof WebSocketTransport ? transport.library : transport.kind;
}
