// The client library for Node: tcp://, tls://, unix:, ws:// and wss://.

import { connect as connectTcp } from "node:net";
import { connect as connectTls } from "node:tls";
import WebSocket from "ws";
import { SUBPROTOCOL } from "../wire/messages.ts";
import type { Client, ClientParts } from "./client.ts";
import type { ClientOptions } from "./client-options.ts";
import { type ConnectParts, connectWith, sharedParts } from "./connect.ts";
import { systemClock } from "../base/clock.ts";
import { BufferPool } from "../base/buffer-pool.ts";
import { HoldfastError } from "../base/errors.ts";
import { type Dialer, failedLink, type Link, type LinkHandler } from "./dial.ts";
import type { Endpoint } from "../transport/endpoint.ts";
import { EpollDialer } from "../transport/epoll-dialer.ts";
import { EpollLoop } from "../transport/epoll-loop.ts";
import { loadNative } from "../transport/native.ts";
import { EpollLink } from "./epoll-link.ts";
import { TcpLink } from "./tcp-link.ts";
import { WebSocketLink } from "./websocket-link.ts";

export { ERRORS, type ErrorCode, HoldfastError } from "../base/errors.ts";
export { systemClock, type Clock, type Scheduled } from "../base/clock.ts";
export { STATUS, type Status } from "../wire/messages.ts";
export { CallError } from "./call-error.ts";
export type { Client, ClientClosed, Push, ServerInfo, StateListener } from "./client.ts";
export type {
  CallOptions,
  ClientOptions,
  ReconnectOptions,
  RequestOptions,
  SubscribeOptions,
} from "./client-options.ts";
export type { ConnectParts } from "./connect.ts";
export type { Dialer, Link, LinkEnd, LinkHandler } from "./dial.ts";
export type { Endpoint } from "../transport/endpoint.ts";
export type { ClientState } from "./client-state.ts";
export type { SubscriptionEvent, SubscriptionGap, SubscriptionMessage } from "./event-queue.ts";
export type { Subscription } from "./topic-reader.ts";

/** A WebSocket message may hold several frames; nothing honest comes near this. */
const WEBSOCKET_MESSAGE_BYTES_MAX = 4 * 1_048_576;

/** What carries `tcp://` and `unix:`: tcp-epoll is Linux's, by the native addon. */
export type ClientTransport = "auto" | "tcp-net" | "tcp-epoll";

export interface NodeConnectParts extends ConnectParts {
  /** Default: "auto", which is tcp-epoll where the addon loads, and tcp-net elsewhere. */
  readonly transport?: ClientTransport;
}

/** One for all clients of the process. Its epoll instance is there while one of them has a link. */
let sharedDialer: EpollDialer | null = null;
/** The addon was sought and not found: it is not sought again for every link. */
let isMissing: boolean = false;

/** Throws HOLDFAST_TRANSPORT_UNAVAILABLE. */
function epollDialer(): EpollDialer {
  sharedDialer ??= new EpollDialer(new EpollLoop(loadNative()), systemClock, new BufferPool());
  return sharedDialer;
}

function epollDialerIfAny(): EpollDialer | null {
  if (isMissing) return null;
  try {
    return epollDialer();
  } catch {
    isMissing = true;
    return null;
  }
}

const DIALERS: Readonly<Record<ClientTransport, Dialer>> = {
  auto: dialerBy(epollDialerIfAny),
  "tcp-net": dialerBy(() => null),
  "tcp-epoll": dialerBy(epollDialer),
};

/** @param epoll opens what is neither TLS nor WebSocket; null: node:net does. */
function dialerBy(epoll: () => EpollDialer | null): Dialer {
  return {
    schemes: ["tcp", "tls", "unix", "ws", "wss"],
    dial(endpoint, handler) {
      try {
        return open(endpoint, handler, epoll);
      } catch (error) {
        return failedLink(error as Error, handler);
      }
    },
  };
}

function open(endpoint: Endpoint, handler: LinkHandler, epoll: () => EpollDialer | null): Link {
  const { scheme, host, port, path, text } = endpoint;
  switch (scheme) {
    case "unix":
    case "tcp": {
      const dialer = epoll();
      if (dialer !== null) return new EpollLink(dialer, endpoint, handler);
      const socket = connectTcp(scheme === "unix" ? { path } : { host, port });
      return new TcpLink(socket, "connect", handler);
    }
    case "tls":
      return new TcpLink(connectTls({ host, port }), "secureConnect", handler);
    default: {
      const socket = new WebSocket(text, SUBPROTOCOL, {
        perMessageDeflate: false,
        maxPayload: WEBSOCKET_MESSAGE_BYTES_MAX,
      });
      return new WebSocketLink(socket, handler);
    }
  }
}

function dialerOf(transport: ClientTransport): Dialer {
  const dialer = DIALERS[transport];
  if (dialer === undefined) {
    const text = `transport: one of ${Object.keys(DIALERS).join(", ")} is needed`;
    throw new HoldfastError("HOLDFAST_OPTIONS_INVALID", text);
  }
  // What is asked for by name and is not there is told at once.
  if (transport === "tcp-epoll") epollDialer();
  return dialer;
}

const shared: ClientParts = sharedParts(DIALERS.auto);

/**
 * A client that is connecting to the endpoint, or to the first of several that can be reached:
 * `tcp://host:port`, `tls://host:port`, `unix:/path`, `ws://host:port/path`, `wss://...`.
 * Throws HOLDFAST_OPTIONS_INVALID, which names the option, and HOLDFAST_TRANSPORT_UNAVAILABLE where
 * {@link NodeConnectParts.transport} asks for what is not there. Whatever happens on the network is
 * told by {@link Client.ready}, {@link Client.closed} and what is asked of the client.
 */
export function connect(
  endpoints: string | readonly string[],
  options: ClientOptions = {},
  parts: NodeConnectParts = {},
): Client {
  const { transport = "auto", dialer = dialerOf(transport) } = parts;
  return connectWith(shared, endpoints, options, { ...parts, dialer });
}
