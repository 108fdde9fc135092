// What an application may listen on beside what the options say, and how options become a listener.

import { HoldfastError } from "../base/errors.ts";
import type { Clock } from "../base/clock.ts";
import type { TimerWheel } from "../base/timer-wheel.ts";
import type { Options } from "../config/options.ts";
import type { ConnectionLimits, RawHandler } from "../connection/connection-context.ts";
import type { SlowConsumerPolicy } from "../connection/send-queue.ts";
import { MemoryTransport, type MemoryOptions } from "../transport/memory.ts";
import { TcpNetTransport, type TcpNetOptions } from "../transport/tcp-net.ts";
import type { Transport, TransportHandler } from "../transport/transport.ts";
import type { UpgradeRefusal } from "../transport/upgrade-check.ts";
import { loadUws } from "../transport/uws.ts";
import { WebSocketTransport } from "../transport/websocket.ts";
import { guardFraming, type Framing, FRAMINGS, newlineFraming } from "../wire/framing.ts";
import { SUBPROTOCOL } from "../wire/messages.ts";

export type ListenerTransport =
  | ({ readonly kind: "tcp" } & Partial<TcpNetOptions>)
  | {
      readonly kind: "websocket";
      readonly host?: string;
      readonly port?: number;
      readonly origins?: readonly string[];
      /** Null: clients need not offer one. Default: the wire contract's, null on raw listeners. */
      readonly subprotocol?: string | null;
    }
  | ({ readonly kind: "memory" } & Partial<MemoryOptions>);

/** One more place to listen at. */
export interface ListenerSpec {
  /** For logs and metrics; unique. */
  readonly name: string;
  readonly transport: ListenerTransport;
  /** Default "uint32". "newline" only with `raw`. */
  readonly framing?: keyof typeof FRAMINGS | Framing;
  /** Gives the application whole frames without the session protocol. */
  readonly raw?: RawHandler;
  /** What happens to a reader that is too slow; default: send.policy. */
  readonly policy?: SlowConsumerPolicy;
}

export function framingOf(spec: ListenerSpec): Framing {
  const framing =
    typeof spec.framing === "object" ? spec.framing : FRAMINGS[spec.framing ?? "uint32"];
  if (framing === undefined) {
    throw new HoldfastError(
      "HOLDFAST_FRAMING_INVALID",
      `no such framing: ${JSON.stringify(spec.framing)}`,
    );
  }
  if (typeof spec.framing === "object") return guardFraming(framing);
  if (framing === newlineFraming && spec.raw === undefined) {
    const text = `listener ${spec.name}: newline framing cannot carry protobuf; use it with raw`;
    throw new HoldfastError("HOLDFAST_FRAMING_INVALID", text);
  }
  return framing;
}

/**
 * A WebSocket message may hold several frames, and one that is a little too large is to be refused
 * with a code of ours before the library cuts it: four of the largest frames, at least 256 KiB.
 */
function messageBytesMax({ frame }: Options): number {
  return 4 * Math.max(frame.bytesMax + 4, 65_536);
}

export function limitsOf(
  options: Options,
  wheel: TimerWheel,
  policy: SlowConsumerPolicy | undefined,
): ConnectionLimits {
  const { connection, frame, send } = options;
  return {
    acceptTicks: wheel.ticks(connection.acceptTimeoutMs),
    handshakeTicks: wheel.ticks(connection.handshakeTimeoutMs),
    heartbeatTicks: wheel.ticks(connection.heartbeatMs),
    heartbeatJitter: connection.heartbeatJitter,
    idleTicks: wheel.ticks(connection.idleTimeoutMs),
    frameTicks: wheel.ticks(connection.frameTimeoutMs),
    closeTicks: wheel.ticks(connection.closeTimeoutMs),
    stallTicks: wheel.ticks(send.stallTimeoutMs),
    frameBytesMax: frame.bytesMax,
    callsMax: connection.callsMax,
    sendHighBytes: send.highBytes,
    sendLowBytes: send.lowBytes,
    sendQueueBytesMax: send.queueBytesMax,
    policy: policy ?? send.policy,
    receiveBacklogBytesMax: 2 * messageBytesMax(options),
  };
}

/** Throws HOLDFAST_TRANSPORT_UNAVAILABLE where WebSocket is asked for and cannot be had. */
export function transportOf(
  spec: ListenerSpec,
  options: Options,
  clock: Clock,
  onUpgradeRefused: (refusal: UpgradeRefusal) => void,
): (handler: TransportHandler) => Transport {
  const { transport } = spec;
  switch (transport.kind) {
    case "tcp": {
      const { host, port, path, backlog, noDelay } = { ...options.tcp, path: null, ...transport };
      const tcp = { host, port, path, backlog, noDelay };
      return (handler) => new TcpNetTransport(tcp, handler);
    }
    case "websocket": {
      const loaded = loadUws();
      const websocket = {
        host: transport.host ?? options.websocket.host,
        port: transport.port ?? options.websocket.port,
        origins: transport.origins ?? options.websocket.origins,
        subprotocol:
          transport.subprotocol === undefined
            ? spec.raw === undefined
              ? SUBPROTOCOL
              : null
            : transport.subprotocol,
        messageBytesMax: messageBytesMax(options),
        onUpgradeRefused,
      };
      return (handler) => new WebSocketTransport(websocket, handler, loaded, clock);
    }
    case "memory": {
      const memory = { ...MEMORY_DEFAULTS, ...transport };
      return (handler) => new MemoryTransport(memory, handler, clock);
    }
  }
}

const MEMORY_DEFAULTS: MemoryOptions = {
  windowBytes: 65_536,
  delayMs: () => 0,
  segmentBytes: (length) => length,
  hasMessages: false,
};
