// The life of a client as one table: state x event -> next state. Whatever is not in it is illegal.

export const CLIENT_STATES = [
  /** A connection is being opened. */
  "connecting",
  /** Bytes flow; Hello was sent and Welcome is awaited. */
  "handshaking",
  /** The server has accepted the client. */
  "active",
  /** There is no connection; the next attempt comes after a wait. */
  "waiting",
  /** close() was called; Goodbye and what stood before it are on their way. */
  "closing",
  /** Final. */
  "closed",
] as const;
export type ClientState = (typeof CLIENT_STATES)[number];

export const CLIENT_EVENTS = [
  /** The connection carries bytes. */
  "opened",
  /** Welcome came. */
  "welcomed",
  /** The connection, or the attempt, came to nothing; there will be another. */
  "lost",
  /** It came to nothing, and there will be no other. */
  "failed",
  /** The wait is over. */
  "retry",
  /** The user closes. */
  "close",
  /** Goodbye was sent and the connection is gone. */
  "finished",
] as const;
export type ClientEvent = (typeof CLIENT_EVENTS)[number];

type Row = Readonly<Partial<Record<ClientEvent, ClientState>>>;

export const CLIENT_TRANSITIONS: Readonly<Record<ClientState, Row>> = {
  connecting: { opened: "handshaking", lost: "waiting", failed: "closed", close: "closed" },
  handshaking: { welcomed: "active", lost: "waiting", failed: "closed", close: "closed" },
  active: { lost: "waiting", failed: "closed", close: "closing" },
  waiting: { retry: "connecting", close: "closed" },
  closing: { finished: "closed" },
  closed: {},
};
