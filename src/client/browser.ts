// The client library for browsers and for whatever else has the standard WebSocket: ws:// and
// wss://.

import { HoldfastError } from "../base/errors.ts";
import { SUBPROTOCOL } from "../wire/messages.ts";
import type { Client, ClientParts } from "./client.ts";
import type { ClientOptions } from "./client-options.ts";
import { type ConnectParts, connectWith, sharedParts } from "./connect.ts";
import { type Dialer, failedLink } from "./dial.ts";
import { type StandardWebSocket, WebSocketLink } from "./websocket-link.ts";

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

type WebSocketConstructor = new (url: string, protocol: string) => StandardWebSocket;

const browserDialer: Dialer = {
  schemes: ["ws", "wss"],
  dial(endpoint, handler) {
    try {
      const WebSocket = standardWebSocket();
      return new WebSocketLink(new WebSocket(endpoint.text, SUBPROTOCOL), handler);
    } catch (error) {
      // Such as ws:// on a page that came by https://.
      return failedLink(error as Error, handler);
    }
  },
};

function standardWebSocket(): WebSocketConstructor {
  const { WebSocket } = globalThis as { readonly WebSocket?: WebSocketConstructor };
  if (WebSocket !== undefined) return WebSocket;
  throw new HoldfastError("HOLDFAST_TRANSPORT_UNAVAILABLE", "there is no global WebSocket here");
}

const shared: ClientParts = sharedParts(browserDialer);

/**
 * A client that is connecting to the endpoint, or to the first of several that can be reached:
 * `ws://host:port/path` or `wss://host:port/path`.
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
