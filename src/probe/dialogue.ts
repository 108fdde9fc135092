// What the probe says to a server and understands of its answers: Holdfast's protocol, or no
// protocol but length-prefixed payloads that come back. Frames are composed in one shared buffer;
// the parts that never change are encoded once.

import { assert } from "../base/assert.ts";
import type { Bytes } from "../base/buffer-pool.ts";
import { Prng } from "../base/prng.ts";
import { ClientFrameWriter } from "../wire/client-frame.ts";
import { readFrames } from "../wire/frame-reader.ts";
import { uint32Framing } from "../wire/framing.ts";
import { PROTOCOL_VERSION, type ServerMessage, SUBPROTOCOL } from "../wire/messages.ts";
import { decodeServerMessage } from "../wire/server-message.ts";
import type { FailureCode } from "./failure.ts";
import type { GeneratorSetup } from "./generator-messages.ts";
import { MESSAGE_BYTES_MAX, type ProbeConnection, STATE } from "./probe-connection.ts";
import { HEADER_BYTES_MAX, OPCODE, upgradeKey, upgradeRequest, wrapFrame } from "./websocket.ts";

/** What a dialogue tells: the generator counts it. */
export interface DialogueEvents {
  /** The connection is ready for use. */
  onReady(connection: ProbeConnection): void;
  /** The operation that travelled under this id has been answered. */
  onAnswer(connection: ProbeConnection, id: number, failure: FailureCode | null): void;
  onEvent(connection: ProbeConnection, publisher: number, sequence: number, atMs: number): void;
  /** The server says that it left out so many events of the connection's topic. */
  onGap(connection: ProbeConnection, missed: number): void;
  /**
   * The server wants it to go, and to come back after this time at the earliest.
   * @returns whether that is seen to; else it counts as ended by the server
   */
  onGoAway(connection: ProbeConnection, reconnectAfterMs: number): boolean;
}

const HELLO_ID = 1;
const SUBSCRIBE_ID = 2;
const ECHO_METHOD = "echo";
/** An event's payload: publisher and sequence number (uint32 each), then its time (double). */
export const EVENT_BYTES_MIN = 16;
const OUT_BYTES = 65_536;
/** `1 uint32 id` of ClientMessage. */
const ID_TAG = 0x08;
const HEARTBEAT_BYTES = 4;
const HEADER_BYTES = 4;

export class Dialogue {
  readonly subprotocol: string;
  readonly #setup: GeneratorSetup;
  readonly #events: DialogueEvents;
  readonly #prng: Prng;
  readonly #hello: Bytes;
  readonly #goodbye: Bytes;
  readonly #subscribes: readonly Bytes[];
  /** Messages without their id; their payload stands at the end. */
  readonly #echo: Bytes;
  readonly #publishes: readonly Bytes[];
  readonly #pattern: Buffer;
  #out: Buffer = Buffer.allocUnsafeSlow(OUT_BYTES);
  #at: number = HEADER_BYTES_MAX;
  #reading: ProbeConnection | null = null;

  constructor(setup: GeneratorSetup, events: DialogueEvents) {
    const { payloadBytes, token, protocol, topics, seed } = setup;
    this.#setup = setup;
    this.#events = events;
    this.#prng = new Prng(seed ^ (0x9e37_79b9 * (setup.index + 1)));
    this.subprotocol = protocol === "holdfast" ? SUBPROTOCOL : "";
    this.#pattern = patternBytes(payloadBytes, seed);
    const writer = new ClientFrameWriter();
    const hello = { version: PROTOCOL_VERSION, token, client: "holdfast-probe" };
    this.#hello = writer.frame({ id: HELLO_ID, hello });
    this.#goodbye = writer.frame({ id: 0, goodbye: { code: 1000, reason: "" } });
    const payload = this.#pattern;
    this.#echo = bodyOf(writer.frame({ id: 0, call: { method: ECHO_METHOD, payload } }));
    // Two probes at one server must not hear each other.
    const names = Array.from({ length: topics }, (_, topic) => `probe.${seed}.${topic}`);
    this.#subscribes = names.map((topic) =>
      writer.frame({ id: SUBSCRIBE_ID, subscribe: { topic } }),
    );
    this.#publishes = names.map((topic) =>
      bodyOf(writer.frame({ id: 0, publish: { topic, payload } })),
    );
  }

  /** Asks for the upgrade. */
  requestUpgrade(connection: ProbeConnection): void {
    const key = upgradeKey(this.#prng);
    connection.key = key;
    const target = this.#setup.targets[connection.target]!;
    connection.write(Buffer.from(upgradeRequest(target, key, this.subprotocol), "latin1"));
  }

  /** The transport is there. */
  begin(connection: ProbeConnection): void {
    if (this.#setup.protocol === "raw") {
      this.#events.onReady(connection);
      return;
    }
    connection.move(STATE.GREETING);
    this.#put(this.#hello);
    this.flush(connection);
  }

  sayGoodbye(connection: ProbeConnection): void {
    if (this.#setup.protocol === "holdfast") {
      this.#put(this.#goodbye);
      this.flush(connection);
    } else if (this.#isWebSocket(connection)) {
      this.#control(connection, OPCODE.CLOSE, Buffer.of(1000 >> 8, 1000 & 0xff), 0, 2);
    }
  }

  /** Composes an echo; {@link flush} sends it. */
  echo(id: number): void {
    if (this.#setup.protocol === "holdfast") {
      this.#compose(this.#echo, id);
    } else {
      this.#reserve(HEADER_BYTES + this.#pattern.length);
      this.#at = this.#out.writeUInt32BE(this.#pattern.length, this.#at);
      this.#out.set(this.#pattern, this.#at);
      this.#at += this.#pattern.length;
    }
    this.#out.writeUInt32BE(id, this.#at - this.#pattern.length);
  }

  /** Composes a publish; {@link flush} sends it. */
  publish(topic: number, id: number, sequence: number, atMs: number): void {
    this.#compose(this.#publishes[topic]!, id);
    const start = this.#at - this.#pattern.length;
    this.#out.writeUInt32BE(this.#setup.index, start);
    this.#out.writeUInt32BE(sequence, start + 4);
    this.#out.writeDoubleBE(atMs, start + 8);
  }

  /** Bytes composed and not sent. */
  get composedBytes(): number {
    return this.#at - HEADER_BYTES_MAX;
  }

  discard(): void {
    this.#at = HEADER_BYTES_MAX;
  }

  /** Sends what was composed, as one write and, on WebSocket, one message. */
  flush(connection: ProbeConnection): void {
    const length = this.#at - HEADER_BYTES_MAX;
    if (length === 0) return;
    this.#at = HEADER_BYTES_MAX;
    const mask = this.#isWebSocket(connection) ? this.#prng.uint32() : 0;
    const start = this.#isWebSocket(connection)
      ? wrapFrame(this.#out, HEADER_BYTES_MAX, length, OPCODE.BINARY, mask)
      : HEADER_BYTES_MAX;
    const view = this.#out.subarray(start, HEADER_BYTES_MAX + length);
    if (!connection.write(view)) this.#out = Buffer.allocUnsafeSlow(OUT_BYTES);
  }

  pong(connection: ProbeConnection, bytes: Bytes, start: number, end: number): void {
    if (end - start <= 125) this.#control(connection, OPCODE.PONG, bytes, start, end);
  }

  /** {@link ConnectionOwner.onStream} */
  read(connection: ProbeConnection, bytes: Bytes, start: number, end: number): number {
    const { protocol, traffic } = this.#setup;
    // Whatever a server says of which we know nothing is no concern of ours.
    if (protocol === "raw" && traffic === "none") return end;
    this.#reading = connection;
    return readFrames(uint32Framing, MESSAGE_BYTES_MAX, bytes, start, end, start, this);
  }

  onFrame(bytes: Bytes, start: number, end: number): boolean {
    const connection = this.#reading!;
    if (this.#setup.protocol === "raw") this.#onRawFrame(connection, bytes, start, end);
    else if (start === end) this.#onHeartbeat(connection);
    else this.#onMessage(connection, bytes.subarray(start, end));
    // What is said next may have changed by what this one led to.
    this.#reading = connection;
    return connection.state !== STATE.CLOSED;
  }

  #onRawFrame(connection: ProbeConnection, bytes: Bytes, start: number, end: number): void {
    if (end - start < 4) {
      connection.fail("closed.malformed");
      return;
    }
    const id = readUint32(bytes, start);
    this.#events.onAnswer(connection, id, this.#mismatch(bytes, start, end));
  }

  #onHeartbeat(connection: ProbeConnection): void {
    if (connection.isSilent || connection.state < STATE.GREETING) return;
    this.#reserve(HEARTBEAT_BYTES);
    this.#out.fill(0, this.#at, this.#at + HEARTBEAT_BYTES);
    this.#at += HEARTBEAT_BYTES;
    this.flush(connection);
  }

  #onMessage(connection: ProbeConnection, body: Bytes): void {
    let message: ServerMessage;
    try {
      message = decodeServerMessage(body);
    } catch {
      const isUp = connection.state === STATE.HELD;
      connection.fail(isUp ? "closed.malformed" : "hello.malformed");
      return;
    }
    if (message.body === "goAway") {
      connection.closeCode = message.goAway?.code ?? 0;
      const afterMs = message.goAway?.reconnectAfterMs ?? 0;
      if (!this.#events.onGoAway(connection, afterMs)) connection.endedByServer();
    } else if (connection.state === STATE.GREETING) {
      this.#onGreeting(connection, message);
    } else if (connection.state === STATE.SUBSCRIBING && message.id === SUBSCRIBE_ID) {
      if (message.body === "result") this.#events.onReady(connection);
      else connection.fail(`subscribe.failure.${message.failure?.code ?? 0}`);
    } else if (message.body === "event") {
      this.#onEvent(connection, message.event?.payload ?? null);
    } else if (message.body === "gap") {
      this.#events.onGap(connection, Number(message.gap?.missed ?? 0));
    } else if (message.id !== 0) {
      this.#onAnswer(connection, message);
    }
  }

  #onGreeting(connection: ProbeConnection, message: ServerMessage): void {
    if (message.body === "failure") {
      connection.fail(`hello.refused.${message.failure?.code ?? 0}`);
    } else if (!isWelcome(message)) {
      connection.fail("hello.malformed");
    } else if (connection.topic === -1) {
      this.#events.onReady(connection);
    } else {
      connection.move(STATE.SUBSCRIBING);
      this.#put(this.#subscribes[connection.topic]!);
      this.flush(connection);
    }
  }

  #onAnswer(connection: ProbeConnection, message: ServerMessage): void {
    const kind = this.#setup.traffic === "publish" ? "publish" : "echo";
    if (message.body === "failure") {
      const failure: FailureCode = `${kind}.failure.${message.failure?.code ?? 0}`;
      this.#events.onAnswer(connection, message.id, failure);
      return;
    }
    const payload = message.result?.payload;
    const failure =
      kind === "publish"
        ? null
        : payload === undefined || payload.length < 4 || readUint32(payload, 0) !== message.id
          ? "app.mismatch"
          : this.#mismatch(payload, 0, payload.length);
    this.#events.onAnswer(connection, message.id, failure);
  }

  #onEvent(connection: ProbeConnection, payload: Bytes | null): void {
    // Others may publish to the topic as well; what is too short was not ours.
    if (payload === null || payload.length !== this.#pattern.length) return;
    const view = Buffer.from(payload.buffer, payload.byteOffset, payload.length);
    this.#events.onEvent(
      connection,
      view.readUInt32BE(0),
      view.readUInt32BE(4),
      view.readDoubleBE(8),
    );
  }

  /** Beyond its first four bytes, the id, a payload that came back is what every payload is. */
  #mismatch(bytes: Bytes, start: number, end: number): FailureCode | null {
    const length = this.#pattern.length;
    if (end - start !== length) return "app.mismatch";
    const isSame = this.#pattern.compare(bytes, start + 4, end, 4, length) === 0;
    return isSame ? null : "app.mismatch";
  }

  /** A frame: a length, this id, and the rest of a message that was encoded without one. */
  #compose(body: Bytes, id: number): void {
    this.#reserve(HEADER_BYTES + 6 + body.length);
    const start = this.#at;
    const out = this.#out;
    let at = start + HEADER_BYTES;
    out[at++] = ID_TAG;
    let rest = id;
    while (rest > 0x7f) {
      out[at++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    out[at++] = rest;
    out.set(body, at);
    this.#at = at + body.length;
    out.writeUInt32BE(this.#at - start - HEADER_BYTES, start);
  }

  #put(frame: Bytes): void {
    this.#reserve(frame.length);
    this.#out.set(frame, this.#at);
    this.#at += frame.length;
  }

  /** What does not fit grows the buffer; it is made anew where a socket keeps it. */
  #reserve(length: number): void {
    if (this.#at + length <= this.#out.length) return;
    const larger = Buffer.allocUnsafeSlow(2 * (this.#at + length));
    this.#out.copy(larger, 0, 0, this.#at);
    this.#out = larger;
  }

  #control(
    connection: ProbeConnection,
    opcode: number,
    bytes: Bytes,
    start: number,
    end: number,
  ): void {
    assert(this.#at === HEADER_BYTES_MAX, "nothing is composed while a control frame is sent");
    const length = end - start;
    this.#out.set(bytes.subarray(start, end), HEADER_BYTES_MAX);
    const from = wrapFrame(this.#out, HEADER_BYTES_MAX, length, opcode, this.#prng.uint32());
    const view = this.#out.subarray(from, HEADER_BYTES_MAX + length);
    if (!connection.write(view)) this.#out = Buffer.allocUnsafeSlow(OUT_BYTES);
  }

  #isWebSocket(connection: ProbeConnection): boolean {
    return this.#setup.targets[connection.target]!.isWebSocket;
  }
}

/** Every payload of a run: its first bytes are overwritten by what identifies a message. */
function patternBytes(length: number, seed: number): Buffer {
  const prng = new Prng(seed);
  const pattern = Buffer.alloc(length);
  for (let index = 0; index < length; index++) pattern[index] = prng.uint32() & 0xff;
  return pattern;
}

/** A server that sends back what comes says Hello, which differs from a Welcome by its version. */
function isWelcome({ id, body, welcome }: ServerMessage): boolean {
  return body === "welcome" && id === HELLO_ID && welcome?.version === PROTOCOL_VERSION;
}

/** A frame's message; it has no id, for 0 is not written. */
function bodyOf(frame: Bytes): Bytes {
  return frame.subarray(HEADER_BYTES);
}

function readUint32(bytes: Bytes, at: number): number {
  return (
    ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0
  );
}
