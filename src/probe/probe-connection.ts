// One connection of the probe, from connect() to its end. Holding one costs a socket and this
// object: no timer, no buffer, no closure. Deadlines are kept by the generator, for all at once.

import { assert } from "../base/assert.ts";
import type { Bytes } from "../base/buffer-pool.ts";
import type { FailureCode } from "./failure.ts";
import { connectFailure } from "./failure.ts";
import type { ProbeNetwork, ProbeSocket, SocketUser } from "./probe-socket.ts";
import type { Target } from "./target.ts";
import {
  checkResponse,
  type FrameHandler,
  headEnd,
  OPCODE,
  readWebSocketFrames,
  RESPONSE_BYTES_MAX,
} from "./websocket.ts";

export const STATE = {
  CONNECTING: 0,
  SECURING: 1,
  UPGRADING: 2,
  GREETING: 3,
  SUBSCRIBING: 4,
  HELD: 5,
  CLOSED: 6,
} as const;
export type State = (typeof STATE)[keyof typeof STATE];

/** State -> the states it may move to, as bits. Steps that a target does not need are skipped. */
const MOVES: readonly number[] = [
  (1 << STATE.SECURING) | (1 << STATE.UPGRADING) | (1 << STATE.GREETING) | (1 << STATE.HELD),
  (1 << STATE.UPGRADING) | (1 << STATE.GREETING) | (1 << STATE.HELD),
  (1 << STATE.GREETING) | (1 << STATE.HELD),
  (1 << STATE.SUBSCRIBING) | (1 << STATE.HELD),
  1 << STATE.HELD,
  0,
  0,
];

/** What a step is called that runs out of time, or is cut off. */
const TIMEOUTS: readonly FailureCode[] = [
  "connect.timeout",
  "tls.timeout",
  "upgrade.timeout",
  "hello.timeout",
  "hello.timeout",
];
const CUT_OFF: readonly FailureCode[] = [
  "connect.reset",
  "tls.closed",
  "upgrade.closed",
  "hello.closed",
  "hello.closed",
];

/** Bytes of one message, or of a frame that is not whole yet. */
export const MESSAGE_BYTES_MAX = 1_048_576;

export interface ConnectionOwner {
  readonly targets: readonly Target[];
  readonly subprotocol: string;
  readonly network: ProbeNetwork;
  /** The upgrade's request is to be sent. */
  onSecure(connection: ProbeConnection): void;
  /** Bytes may flow both ways: the dialogue begins. */
  onTransport(connection: ProbeConnection): void;
  /**
   * Bytes of the stream, or the payload of one message.
   * @returns the offset of the first byte that was not consumed; -1: malformed.
   */
  onStream(connection: ProbeConnection, bytes: Bytes, start: number, end: number): number;
  onPing(connection: ProbeConnection, bytes: Bytes, start: number, end: number): void;
  /** The local address and port were taken: another pair may be tried. */
  onAddressTaken(connection: ProbeConnection, errno: string): boolean;
  /** Once, whatever the state; it is closed by then. */
  onGone(connection: ProbeConnection, from: State, failure: FailureCode): void;
}

export class ProbeConnection implements FrameHandler, SocketUser {
  readonly owner: ConnectionOwner;
  readonly target: number;
  state: State = STATE.CONNECTING;
  /** The pair of local address and port, by SourceAddresses; -1 where the kernel chose. */
  pair: number = -1;
  /** Its number among attempts under way. */
  attempt: number = 0;
  /** Where it stands in the list of those held. */
  index: number = -1;
  /** Whole milliseconds since the generator's start; -1 until it is held. */
  heldAtMs: number = -1;
  /** Operations under way. */
  waiting: number = 0;
  /** Whole milliseconds in which pairs were tried that somebody else had. */
  searchMs: number = 0;
  /** Of a client that comes back: how often it has tried since it was connected last. */
  returns: number = 0;
  /** Close code that the server gave, or 0. */
  closeCode: number = 0;
  /** It was made to misbehave, and is expected to be closed for it. */
  isFaulty: boolean = false;
  /** It answers and sends nothing more. */
  isSilent: boolean = false;
  /** Another has taken its place, or is to: its end is nothing that happened to a client. */
  isReplaced: boolean = false;
  /** It publishes to a topic, its own or another. */
  isPublisher: boolean = false;
  topic: number = -1;
  /** By publisher: the last sequence number that came; null: it is not subscribed. */
  lastSeen: Float64Array | null = null;
  /** Upgrade key until the answer has come. */
  key: string | null = null;
  #socket: ProbeSocket | null = null;
  /** Bytes that no frame has been made of yet. */
  #rest: Buffer | null = null;
  /** Payload of a WebSocket message that comes in pieces. */
  #fragments: Buffer | null = null;

  constructor(owner: ConnectionOwner, target: number) {
    this.owner = owner;
    this.target = target;
  }

  /** @param localAddress "" where the kernel chooses. */
  open(localAddress: string, localPort: number): void {
    const target = this.owner.targets[this.target]!;
    this.#socket = this.owner.network.connect(target, localAddress, localPort, this);
  }

  move(to: State): void {
    assert((MOVES[this.state]! & (1 << to)) !== 0, "a connection makes only legal moves");
    this.state = to;
  }

  /** Bytes that the kernel has not taken. */
  get queuedBytes(): number {
    return this.#socket?.queuedBytes ?? 0;
  }

  /** @returns false: the socket keeps the memory until it could write it. */
  write(bytes: Buffer): boolean {
    return this.#socket?.write(bytes) ?? true;
  }

  stopReading(): void {
    this.#socket?.stopReading();
  }

  /** Ends it in order; what the server sends from now on is not read. No event follows. */
  close(): void {
    this.#forget()?.letGo();
  }

  /** Ends it for a reason that is told to the owner. */
  fail(failure: FailureCode): void {
    const from = this.state;
    const socket = this.#forget();
    if (socket === null) return;
    socket.letGo();
    this.owner.onGone(this, from, failure);
  }

  /** The deadline of an attempt has passed. */
  timeOut(): void {
    this.fail(TIMEOUTS[this.state]!);
  }

  onReceived(chunk: Bytes, start: number, end: number): void {
    let bytes = chunk;
    let at = start;
    let length = end;
    if (this.#rest !== null) {
      bytes = Buffer.concat([this.#rest, chunk.subarray(start, end)]);
      at = 0;
      length = bytes.length;
      this.#rest = null;
    }
    if (this.state === STATE.UPGRADING) {
      at = this.#readHead(bytes, at, length);
      if (at === -1) return;
    }
    at = this.owner.targets[this.target]!.isWebSocket
      ? readWebSocketFrames(bytes, at, length, MESSAGE_BYTES_MAX, this)
      : this.owner.onStream(this, bytes, at, length);
    if (this.#socket === null) return;
    if (at < 0 || length - at > MESSAGE_BYTES_MAX + 16) {
      this.#malformed();
    } else if (at < length) {
      this.#rest = Buffer.from(bytes.subarray(at, length));
    }
  }

  onWebSocketFrame(
    opcode: number,
    isFinal: boolean,
    bytes: Bytes,
    start: number,
    end: number,
  ): boolean {
    if (opcode === OPCODE.PING) this.owner.onPing(this, bytes, start, end);
    else if (opcode === OPCODE.CLOSE) {
      if (end - start >= 2) this.closeCode = (bytes[start]! << 8) | bytes[start + 1]!;
      this.endedByServer();
    } else if (opcode <= OPCODE.BINARY) this.#onMessage(opcode, isFinal, bytes, start, end);
    return this.#socket !== null;
  }

  /** The server has ended it, or said that it will. */
  endedByServer(): void {
    this.fail(this.#cause(""));
  }

  onConnected(): void {
    const target = this.owner.targets[this.target]!;
    if (target.isTls) this.move(STATE.SECURING);
    else this.onSecured();
  }

  onSecured(): void {
    const isWebSocket = this.owner.targets[this.target]!.isWebSocket;
    if (!isWebSocket) {
      this.owner.onTransport(this);
      return;
    }
    this.move(STATE.UPGRADING);
    this.owner.onSecure(this);
  }

  onSocketClosed(errno: string): void {
    if (this.state === STATE.CONNECTING && isTaken(errno)) {
      this.#socket = null;
      if (this.owner.onAddressTaken(this, errno)) return;
    }
    const failure = this.#cause(errno);
    const from = this.state;
    this.#forget();
    this.owner.onGone(this, from, failure);
  }

  /** @returns where the bytes after the head begin, or -1: there are none, or it has failed. */
  #readHead(bytes: Bytes, start: number, length: number): number {
    const view = Buffer.from(bytes.buffer, bytes.byteOffset + start, length - start);
    const end = headEnd(view);
    if (end === -1) {
      if (view.length > RESPONSE_BYTES_MAX) this.fail("upgrade.bad_response");
      else this.#rest = Buffer.from(view);
      return -1;
    }
    const head = view.toString("latin1", 0, end - 4);
    const failure = checkResponse(head, this.key!, this.owner.subprotocol);
    this.key = null;
    if (failure !== null) {
      this.fail(failure);
      return -1;
    }
    this.owner.onTransport(this);
    return this.#socket === null ? -1 : start + end;
  }

  #onMessage(opcode: number, isFinal: boolean, bytes: Bytes, start: number, end: number): void {
    const isFirst = opcode !== OPCODE.CONTINUATION;
    const isWhole = isFirst && isFinal && this.#fragments === null;
    if (isFirst !== (this.#fragments === null)) {
      this.#malformed();
      return;
    }
    if (isWhole) {
      if (this.owner.onStream(this, bytes, start, end) !== end) this.#malformed();
      return;
    }
    const piece = bytes.subarray(start, end);
    const fragments = Buffer.concat(this.#fragments === null ? [piece] : [this.#fragments, piece]);
    if (fragments.length > MESSAGE_BYTES_MAX) {
      this.#malformed();
    } else if (!isFinal) {
      this.#fragments = fragments;
    } else {
      this.#fragments = null;
      const consumed = this.owner.onStream(this, fragments, 0, fragments.length);
      if (consumed !== fragments.length) this.#malformed();
    }
  }

  #malformed(): void {
    this.fail(this.state === STATE.HELD ? "closed.malformed" : "hello.malformed");
  }

  /** Why it ended, from what the server said before, the errno, and how far it had come. */
  #cause(errno: string): FailureCode {
    const { state, closeCode } = this;
    // TLS 1.3 has a client begin before the server has said yes.
    if (state >= STATE.SECURING && errno.startsWith("alert ")) return alertFailure(errno);
    if (state === STATE.HELD) {
      if (closeCode !== 0) return `closed.code.${closeCode}`;
      if (errno === "ETIMEDOUT") return "closed.timeout";
      return errno === "" ? "closed.fin" : "closed.reset";
    }
    if (closeCode !== 0) return `hello.refused.${closeCode}`;
    if (state === STATE.CONNECTING) return errno === "" ? "connect.reset" : connectFailure(errno);
    return state === STATE.SECURING ? tlsFailure(errno) : CUT_OFF[state]!;
  }

  #forget(): ProbeSocket | null {
    const socket = this.#socket;
    this.#socket = null;
    this.state = STATE.CLOSED;
    this.#rest = null;
    this.#fragments = null;
    this.key = null;
    return socket;
  }
}

function isTaken(errno: string): boolean {
  return errno === "EADDRINUSE" || errno === "EADDRNOTAVAIL";
}

/** @param errno `alert 116`. */
function alertFailure(errno: string): FailureCode {
  return `tls.alert.${Number(errno.slice("alert ".length))}`;
}

function tlsFailure(errno: string): FailureCode {
  if (errno.startsWith("alert ")) return alertFailure(errno);
  if (errno === "ERR_SSL_WRONG_VERSION_NUMBER" || errno === "EPROTO") return "tls.malformed";
  if (errno === "" || errno === "ECONNRESET" || errno === "EPIPE") return "tls.closed";
  return /^(ERR_TLS_CERT|CERT_|UNABLE_TO_|DEPTH_ZERO|SELF_SIGNED|HOSTNAME)/.test(errno)
    ? "tls.verify"
    : "tls.alert";
}
