// The wire contract by hand: client messages are written and server messages are read field by
// field, without any of the code under test. What the contract forbids can be written as well.

import { Buffer } from "node:buffer";

export const WIRE = { VARINT: 0, FIXED64: 1, BYTES: 2, START: 3, END: 4, FIXED32: 5 } as const;

export function varint(value: number | bigint): Buffer {
  const bytes: number[] = [];
  let rest = BigInt(value);
  while (rest >= 0x80n) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Buffer.from(bytes);
}

export function tag(field: number, wireType: number): Buffer {
  return varint((BigInt(field) << 3n) | BigInt(wireType));
}

export function numberField(field: number, value: number | bigint): Buffer {
  return Buffer.concat([tag(field, WIRE.VARINT), varint(value)]);
}

export function bytesField(field: number, value: Uint8Array | string): Buffer {
  const bytes = typeof value === "string" ? Buffer.from(value) : value;
  return Buffer.concat([tag(field, WIRE.BYTES), varint(bytes.length), bytes]);
}

/** One entry of a map<string, string>. */
export function entryField(field: number, key: string, value: string): Buffer {
  return bytesField(field, Buffer.concat([bytesField(1, key), bytesField(2, value)]));
}

const BODY = { hello: 2, call: 3, publish: 4, subscribe: 5, unsubscribe: 6, goodbye: 7 } as const;
export type ClientBody = keyof typeof BODY;

/** A ClientMessage with one body; `fields` are the body's. */
export function clientMessage(id: number, body: ClientBody, ...fields: Uint8Array[]): Buffer {
  const inner = bytesField(BODY[body], Buffer.concat(fields));
  return id === 0 ? inner : Buffer.concat([numberField(1, id), inner]);
}

export function hello(id: number, labels: Readonly<Record<string, string>> = {}): Buffer {
  const entries = Object.entries(labels).map(([key, value]) => entryField(6, key, value));
  return clientMessage(id, "hello", numberField(1, 1), bytesField(3, "raw"), ...entries);
}

export function call(
  id: number,
  method: string,
  payload: Uint8Array | string = "",
  timeoutMs: number = 0,
): Buffer {
  const fields = [bytesField(1, method), bytesField(2, payload)];
  if (timeoutMs > 0) fields.push(numberField(3, timeoutMs));
  return clientMessage(id, "call", ...fields);
}

export function publish(id: number, topic: string, payload: Uint8Array | string): Buffer {
  return clientMessage(id, "publish", bytesField(1, topic), bytesField(2, payload));
}

export function subscribe(id: number, topic: string): Buffer {
  return clientMessage(id, "subscribe", bytesField(1, topic));
}

export function unsubscribe(id: number, topic: string): Buffer {
  return clientMessage(id, "unsubscribe", bytesField(1, topic));
}

export function goodbye(): Buffer {
  return clientMessage(0, "goodbye");
}

/** Length as uint32, big-endian, then the body. */
export function frame(body: Uint8Array): Buffer {
  const header = Buffer.alloc(4);
  header.writeUInt32BE(body.length);
  return Buffer.concat([header, body]);
}

export const HEARTBEAT: Buffer = frame(Buffer.alloc(0));

/** The protobuf "delimited" framing of the varint listener. */
export function varintFrame(body: Uint8Array): Buffer {
  return Buffer.concat([varint(body.length), body]);
}

export interface WelcomeRead {
  readonly connectionId: string;
  readonly heartbeatMs: number;
  readonly maxFrameBytes: number;
  readonly node: string;
  readonly version: number;
}
export interface FailureRead {
  readonly code: number;
  readonly reason: string;
  readonly retryable: boolean;
  readonly retryAfterMs: number;
}
export interface EventRead {
  readonly topic: string;
  readonly payload: Buffer;
  readonly offset: number;
}
export interface GapRead {
  readonly topic: string;
  readonly missed: number;
}
export interface GoAwayRead {
  readonly code: number;
  readonly reason: string;
  readonly reconnectAfterMs: number;
}

export type ServerMessageRead = { readonly id: number } & (
  | { readonly body: "welcome"; readonly welcome: WelcomeRead }
  | { readonly body: "result"; readonly payload: Buffer }
  | { readonly body: "failure"; readonly failure: FailureRead }
  | { readonly body: "event"; readonly event: EventRead }
  | { readonly body: "gap"; readonly gap: GapRead }
  | { readonly body: "goAway"; readonly goAway: GoAwayRead }
);

/** Field number -> last value. Every server message of the contract is flat but for its body. */
type Fields = ReadonlyMap<number, number | Buffer>;

function readFields(bytes: Buffer): Fields {
  const fields = new Map<number, number | Buffer>();
  let at = 0;
  const next = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at++];
      if (byte === undefined) throw new Error("the server's message ends inside a varint");
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.length) {
    const key = next();
    const field = Math.floor(key / 8);
    if (key % 8 === WIRE.VARINT) {
      fields.set(field, next());
    } else if (key % 8 === WIRE.BYTES) {
      const length = next();
      if (at + length > bytes.length) throw new Error("the server's message is truncated");
      fields.set(field, bytes.subarray(at, at + length));
      at += length;
    } else {
      throw new Error(`the server sent wire type ${key % 8}, which no field of it has`);
    }
  }
  return fields;
}

function numberOf(fields: Fields, field: number): number {
  return (fields.get(field) as number | undefined) ?? 0;
}

function bytesOf(fields: Fields, field: number): Buffer {
  return (fields.get(field) as Buffer | undefined) ?? Buffer.alloc(0);
}

function textOf(fields: Fields, field: number): string {
  return bytesOf(fields, field).toString("utf8");
}

/** Throws where the bytes are no server message of the contract. */
export function readServerMessage(bytes: Buffer): ServerMessageRead {
  const outer = readFields(bytes);
  const id = numberOf(outer, 1);
  const bodies = [...outer.keys()].filter((field) => field !== 1);
  const [body] = bodies;
  if (body === undefined || bodies.length > 1) {
    throw new Error(`a server message has one body, not ${bodies.join(", ") || "none"}`);
  }
  const of = readFields(bytesOf(outer, body));
  switch (body) {
    case 2: {
      const connectionId = textOf(of, 1);
      const [heartbeatMs, maxFrameBytes] = [numberOf(of, 2), numberOf(of, 3)];
      const welcome = { connectionId, heartbeatMs, maxFrameBytes };
      const node = textOf(of, 5);
      return { id, body: "welcome", welcome: { ...welcome, node, version: numberOf(of, 6) } };
    }
    case 3:
      return { id, body: "result", payload: bytesOf(of, 1) };
    case 4: {
      const [code, reason] = [numberOf(of, 1), textOf(of, 2)];
      const retry = { retryable: numberOf(of, 3) === 1, retryAfterMs: numberOf(of, 4) };
      return { id, body: "failure", failure: { code, reason, ...retry } };
    }
    case 5: {
      const event = { topic: textOf(of, 1), payload: bytesOf(of, 2), offset: numberOf(of, 3) };
      return { id, body: "event", event };
    }
    case 6:
      return { id, body: "gap", gap: { topic: textOf(of, 1), missed: numberOf(of, 2) } };
    case 7: {
      const [code, reason] = [numberOf(of, 1), textOf(of, 2)];
      return { id, body: "goAway", goAway: { code, reason, reconnectAfterMs: numberOf(of, 3) } };
    }
    default:
      throw new Error(`the server sent body ${body}, which the contract does not know`);
  }
}

/** Cuts a stream into frame bodies; an empty one is a heartbeat. Keeps what is incomplete. */
export class FrameCutter {
  #rest: Buffer = Buffer.alloc(0);
  readonly #kind: "uint32" | "varint";

  constructor(kind: "uint32" | "varint" = "uint32") {
    this.#kind = kind;
  }

  /** Bytes of a frame that has begun. */
  get restBytes(): number {
    return this.#rest.length;
  }

  push(chunk: Buffer): Buffer[] {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const bodies: Buffer[] = [];
    let at = 0;
    for (;;) {
      const header = this.#header(bytes, at);
      if (header === null || at + header.bytes + header.length > bytes.length) break;
      at += header.bytes;
      bodies.push(bytes.subarray(at, at + header.length));
      at += header.length;
    }
    this.#rest = bytes.subarray(at);
    return bodies;
  }

  #header(bytes: Buffer, at: number): { bytes: number; length: number } | null {
    if (this.#kind === "uint32") {
      return bytes.length - at < 4 ? null : { bytes: 4, length: bytes.readUInt32BE(at) };
    }
    let length = 0;
    for (let index = 0; at + index < bytes.length; index++) {
      const byte = bytes[at + index]!;
      length += (byte & 0x7f) * 2 ** (7 * index);
      if (byte < 0x80) return { bytes: index + 1, length };
    }
    return null;
  }
}
