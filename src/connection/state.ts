// The life of a connection as one table: state x event -> next state. Whatever is not in it is
// illegal. docs/states.md is generated from here.

export const STATE = {
  /** Being constructed; nobody has seen it. */
  INIT: 0,
  /** Its file exists; TLS or the WebSocket upgrade may still be under way. */
  ACCEPTED: 1,
  /** Bytes flow; a valid Hello is awaited. */
  HANDSHAKING: 2,
  /** Welcome was sent, and the peer was heard within a heartbeat. */
  ACTIVE: 3,
  /** Silent for a heartbeat; the peer has been asked for a sign of life. */
  IDLE: 4,
  /** GoAway is on its way; nothing more is taken; the queue is flushed and FINs are exchanged. */
  CLOSING: 5,
  /** Final: no lease, no timer, no queue; reached exactly once. */
  CLOSED: 6,
} as const;
export type State = (typeof STATE)[keyof typeof STATE];

export const STATE_NAMES: readonly string[] = Object.keys(STATE).map((name) => name.toLowerCase());

export const STATE_EVENTS = {
  /** The transport opened a channel. */
  open: 0,
  /** The transport can carry frames both ways. */
  ready: 1,
  /** A valid Hello was answered; on a raw listener this follows at once. */
  welcome: 2,
  /** Nothing was received for the heartbeat interval. */
  silence: 3,
  /** Something was received. */
  bytes: 4,
  /** The server decided to end it, for a reason that is recorded. */
  close: 5,
  /** The transport let go of it. */
  closed: 6,
} as const;
export type StateEvent = (typeof STATE_EVENTS)[keyof typeof STATE_EVENTS];

export const ILLEGAL = -1;

const _ = ILLEGAL;
const S = STATE;

/** Rows are states, columns are events, both in their order above. */
export const TRANSITIONS: readonly (readonly (State | typeof ILLEGAL)[])[] = [
  //                open        ready          welcome   silence bytes     close      closed
  /* INIT */ [S.ACCEPTED, _, _, _, _, _, _],
  /* ACCEPTED */ [_, S.HANDSHAKING, _, _, _, S.CLOSING, S.CLOSED],
  /* HANDSHAKING */ [_, _, S.ACTIVE, _, _, S.CLOSING, S.CLOSED],
  /* ACTIVE */ [_, _, _, S.IDLE, _, S.CLOSING, S.CLOSED],
  /* IDLE */ [_, _, _, _, S.ACTIVE, S.CLOSING, S.CLOSED],
  /* CLOSING */ [_, _, _, _, _, _, S.CLOSED],
  /* CLOSED */ [_, _, _, _, _, _, _],
];

/** The state after the event, or ILLEGAL. */
export function nextState(state: State, event: StateEvent): State | typeof ILLEGAL {
  return TRANSITIONS[state]![event]!;
}

export function eventName(event: StateEvent): string {
  return Object.keys(STATE_EVENTS)[event]!;
}
