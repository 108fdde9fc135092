// Why connections end: one table for GoAway.code, the WebSocket close code, the metric's label and
// the log field. 3000-3499 invite the client to reconnect; 3500-3999 tell it to change something
// first.

export const CLOSE_REASONS = {
  normal: { code: 1000, doc: "It said Goodbye, or closed." },
  connection_lost: {
    code: 1006,
    doc: "The peer or the network reset the connection. Never sent: there is nobody to tell.",
  },
  shutdown: { code: 3000, doc: "The node drains: reconnect after `reconnect_after_ms`." },
  idle_timeout: { code: 3001, doc: "No bytes either way, no heartbeat answered." },
  handshake_timeout: { code: 3002, doc: "No valid Hello in time." },
  slow_consumer: { code: 3003, doc: "It did not read fast enough." },
  overloaded: { code: 3004, doc: "The node refused it; come back after `reconnect_after_ms`." },
  token_expired: { code: 3005, doc: "Reconnect with a fresh token." },
  rate_limited: { code: 3006, doc: "It sent too fast." },
  rebalance: { code: 3007, doc: "Another node has more room." },
  internal_error: { code: 3008, doc: "The server failed." },
  protocol_error: { code: 3500, doc: "Malformed frame or message, or out of order." },
  frame_too_large: { code: 3501, doc: "Length above `max_frame_bytes`." },
  unsupported_version: { code: 3502, doc: "The server does not speak this protocol version." },
  unauthenticated: { code: 3503, doc: "Token missing or refused." },
  permission_denied: { code: 3504, doc: "Not allowed." },
  replaced: { code: 3505, doc: "The same identity connected elsewhere." },
  banned: { code: 3506, doc: "Banned." },
  application: { code: 4000, doc: "4000-4999: the application's own code." },
} as const;

export type CloseReason = keyof typeof CLOSE_REASONS;

/** What exactly happened, finer than the reason: a closed list for logs and the metric's label. */
export const CLOSE_CAUSES = {
  goodbye: "The client said Goodbye.",
  peer_closed: "The peer closed its side in order.",
  peer_reset: "The connection was reset.",
  server: "The application or an operator closed it.",
  draining: "The server is stopping.",
  admission: "As many connections as allowed were open.",
  silent: "Nothing was heard for the idle timeout, heartbeats included.",
  no_hello: "No Hello within the handshake timeout.",
  not_ready: "TLS or the upgrade did not finish in time.",
  slow_frame: "A frame that had begun did not arrive within the frame timeout.",
  queue_full: "The send queue was full and the policy is to disconnect.",
  stalled: "The peer took no byte of its queue for the stall timeout.",
  budget: "The process-wide byte budget was exceeded, and its queue was the largest.",
  receive_backlog: "It kept sending although the server had stopped reading.",
  ping_flood: "It sent too many WebSocket pings, or did not read the answers.",
  frame_too_large: "A frame's length was above the limit.",
  wrong_protocol: "The first bytes are another protocol's (HTTP, TLS).",
  malformed_frame: "Bytes that can begin no frame.",
  truncated_frame: "The stream or the WebSocket message ended inside a frame.",
  bad_message: "The bytes in a frame are no message.",
  unknown_body: "A message whose body this version does not know.",
  bad_state: "A message that is not allowed now, such as a second Hello.",
  bad_hello: "A Hello with id 0 or labels beyond the limits.",
  bad_version: "A Hello of another protocol version.",
  text_message: "A WebSocket text message.",
  empty_message: "A WebSocket message without bytes.",
  malformed_websocket: "A frame that breaks RFC 6455, as the WebSocket library found.",
  framing_broken: "A user's framing gave an impossible answer.",
  handler_error: "A raw listener's handler threw.",
} as const;

export type CloseCause = keyof typeof CLOSE_CAUSES;

/** Reasons after which a client should come back, told when. */
export function invitesReconnect(reason: CloseReason): boolean {
  const { code } = CLOSE_REASONS[reason];
  return code >= 3000 && code < 3500;
}

/** The reason that a code stands for; null where a server must not send it. */
export function reasonOfCode(code: number): CloseReason | null {
  if (code >= 4000 && code <= 4999) return Number.isInteger(code) ? "application" : null;
  if (code === CLOSE_REASONS.connection_lost.code) return null;
  const names = Object.keys(CLOSE_REASONS) as CloseReason[];
  return names.find((name) => CLOSE_REASONS[name].code === code) ?? null;
}
