// The client library for Node: tcp://, tls://, unix:, ws:// and wss://.

import { connect as connectTcp } from "node:net";
import { connect as connectTls } from "node:tls";
import WebSocket from "ws";
import { SUBPROTOCOL } from "../wire/messages.ts";
import type { Client, ClientParts } from "./client.ts";
import type { ClientOptions } from "./client-options.ts";
import { type ConnectParts, connectWith, sharedParts } from "./connect.ts";
import { type Dialer, failedLink, type Link, type LinkHandler } from "./dial.ts";
import type { Endpoint } from "../transport/endpoint.ts";
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

const nodeDialer: Dialer = {
  schemes: ["tcp", "tls", "unix", "ws", "wss"],
  dial(endpoint, handler) {
    try {
      return open(endpoint, handler);
    } catch (error) {
      return failedLink(error as Error, handler);
    }
  },
};

function open(endpoint: Endpoint, handler: LinkHandler): Link {
  const { scheme, host, port, path, text } = endpoint;
  switch (scheme) {
    case "unix":
      return new TcpLink(connectTcp({ path }), "connect", handler);
    case "tcp":
      return new TcpLink(connectTcp({ host, port }), "connect", handler);
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

const shared: ClientParts = sharedParts(nodeDialer);

/**
 * A client that is connecting to the endpoint, or to the first of several that can be reached:
 * `tcp://host:port`, `tls://host:port`, `unix:/path`, `ws://host:port/path`, `wss://...`.
 * Throws HOLDFAST_OPTIONS_INVALID, which names the option. Whatever happens on the network is told
 * by {@link Client.ready}, {@link Client.closed} and what is asked of the client.
 */
export function connect(
  endpoints: string | readonly string[],
  options: ClientOptions = {},
  parts: ConnectParts = {},
): Client {
  return connectWith(shared, endpoints, options, parts);
}
