// What an application may listen on beside what the options say, and how options become a listener.

import { HoldfastError } from "../base/errors.ts";
import type { Clock } from "../base/clock.ts";
import type { TimerWheel } from "../base/timer-wheel.ts";
import type { Options, TcpTransportName } from "../config/options.ts";
import type { ConnectionLimits, RawHandler } from "../connection/connection-context.ts";
import type { SlowConsumerPolicy } from "../connection/send-queue.ts";
import { MemoryTransport, type MemoryOptions } from "../transport/memory.ts";
import type { EpollLoop } from "../transport/epoll-loop.ts";
import { loadNative } from "../transport/native.ts";
import { TcpEpollTransport } from "../transport/tcp-epoll.ts";
import { TcpNetTransport, type TcpNetOptions } from "../transport/tcp-net.ts";
import type { Transport, TransportHandler } from "../transport/transport.ts";
import type { UpgradeRefusal } from "../transport/upgrade-check.ts";
import { loadUws } from "../transport/uws.ts";
import { WebSocketTransport } from "../transport/websocket.ts";
import { guardFraming, type Framing, FRAMINGS, newlineFraming } from "../wire/framing.ts";
import { SUBPROTOCOL } from "../wire/messages.ts";

export type ListenerTransport =
  | ({
      readonly kind: "tcp";
      /** Default: tcp.transport. */
      readonly transport?: TcpTransportName;
      readonly userTimeoutMs?: number;
    } & Partial<TcpNetOptions>)
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

/**
 * Writing stops when a transport says that bytes wait, and what it was given until then is a full
 * queue, a cork and one frame. What is above that is a defect, not a slow reader.
 */
function transportQueueBytesMax({ send }: Options): number {
  return 2 * send.queueBytesMax + 262_144;
}

export function limitsOf(
  options: Options,
  wheel: TimerWheel,
  policy: SlowConsumerPolicy | null,
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

/** Which transport serves TCP, and why, for the log. */
export interface TcpKind {
  readonly kind: "tcp-net" | "tcp-epoll";
  readonly reason: string;
}

/**
 * `auto` takes what can be loaded. Throws HOLDFAST_TRANSPORT_UNAVAILABLE where tcp-epoll is asked
 * for and cannot be loaded.
 */
export function tcpKind(wanted: TcpTransportName, load: () => unknown = loadNative): TcpKind {
  if (wanted === "tcp-net") return { kind: "tcp-net", reason: "tcp.transport names it" };
  try {
    load();
  } catch (error) {
    if (wanted === "tcp-epoll") throw error;
    return { kind: "tcp-net", reason: (error as Error).message };
  }
  const isNamed = wanted === "tcp-epoll";
  const reason = isNamed ? "tcp.transport names it" : "the native addon could be loaded";
  return { kind: "tcp-epoll", reason };
}

/** What transports need of their server. */
export interface TransportParts {
  readonly clock: Clock;
  /** Listening sockets that the process was started with, instead of what the listener says. */
  readonly sockets: readonly number[] | null;
  /** Other processes of the same server open the same ports themselves. */
  readonly sharesPorts: boolean;
  /** websocket.origins as it is now. */
  origins(): readonly string[];
  /** The one of the server; made when it is asked for first. */
  epollLoop(): EpollLoop;
  onTcpKind(chosen: TcpKind): void;
  onUpgradeRefused(refusal: UpgradeRefusal): void;
  /** uWebSockets.js accepts connections itself. */
  onOwnListener(reason: string): void;
}

/**
 * Throws HOLDFAST_TRANSPORT_UNAVAILABLE where one is asked for that cannot be had, and
 * HOLDFAST_SERVER_STATE where it cannot take the sockets.
 */
export function transportOf(
  spec: ListenerSpec,
  options: Options,
  parts: TransportParts,
): (handler: TransportHandler) => Transport {
  const { transport } = spec;
  const { clock, sockets: fds } = parts;
  switch (transport.kind) {
    case "tcp": {
      const wanted = { ...options.tcp, path: null, fd: null, ...transport };
      const { host, port, path, fd, backlog, noDelay, keepAliveMs } = wanted;
      const tcp = { host, port, path, fd, backlog, noDelay, keepAliveMs };
      const chosen = tcpKind(wanted.transport);
      parts.onTcpKind(chosen);
      if (chosen.kind === "tcp-net") {
        const inherited = fds === null ? tcp : { ...tcp, fd: onlyOne(spec.name, fds) };
        return (handler) => new TcpNetTransport(inherited, handler);
      }
      const { userTimeoutMs } = wanted;
      const queueBytesMax = transportQueueBytesMax(options);
      const epoll = { ...tcp, fds, userTimeoutMs, queueBytesMax };
      return (handler) => new TcpEpollTransport(epoll, handler, parts.epollLoop(), clock);
    }
    case "websocket": {
      const loaded = loadUws();
      const websocket = {
        host: transport.host ?? options.websocket.host,
        port: transport.port ?? options.websocket.port,
        fds,
        isShared: parts.sharesPorts,
        // Asked for at every upgrade: it may change.
        get origins() {
          return transport.origins ?? parts.origins();
        },
        subprotocol:
          transport.subprotocol === undefined
            ? spec.raw === undefined
              ? SUBPROTOCOL
              : null
            : transport.subprotocol,
        messageBytesMax: messageBytesMax(options),
        onUpgradeRefused: (refusal: UpgradeRefusal) => parts.onUpgradeRefused(refusal),
        onOwnListener: (reason: string) => parts.onOwnListener(reason),
      };
      const { kind, reason } = tcpKind(options.tcp.transport);
      const loop = (): EpollLoop | string => (kind === "tcp-epoll" ? parts.epollLoop() : reason);
      return (handler) => new WebSocketTransport(websocket, handler, loaded, clock, loop());
    }
    case "memory": {
      const memory = { ...MEMORY_DEFAULTS, ...transport };
      return (handler) => new MemoryTransport(memory, handler, clock);
    }
  }
}

function onlyOne(listener: string, fds: readonly number[]): number {
  const [fd] = fds;
  if (fd !== undefined && fds.length === 1) return fd;
  const text = `listener ${listener}: tcp-net takes one inherited socket, not ${fds.length}`;
  throw new HoldfastError("HOLDFAST_SERVER_STATE", text);
}

const MEMORY_DEFAULTS: MemoryOptions = {
  windowBytes: 65_536,
  delayMs: () => 0,
  segmentBytes: (length) => length,
  hasMessages: false,
  gathersWrites: false,
};
