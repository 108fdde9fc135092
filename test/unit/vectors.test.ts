// The golden vectors, replayed through the reader, the writers and a whole server.

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import type { Bytes } from "../../src/base/buffer-pool.ts";
import { BufferPool } from "../../src/base/buffer-pool.ts";
import { readFrames, Unread } from "../../src/wire/frame-reader.ts";
import { FrameWriter } from "../../src/wire/frame-writer.ts";
import { FRAMINGS } from "../../src/wire/framing.ts";
import { holdfast } from "../../src/wire/generated/messages.js";
import { MessageReader } from "../../src/wire/message-reader.ts";
import type { ClientMessageInit } from "../../src/wire/messages.ts";
import { Payload, PayloadScope } from "../../src/wire/payload.ts";
import { MemoryServer } from "../support/memory-server.ts";
import { frame, hello, varintFrame } from "../support/raw-message.ts";

/** A message in protobuf's JSON form; null: a heartbeat. */
type Json = Readonly<Record<string, unknown>> | null;

interface Vector {
  readonly name: string;
  readonly description: string;
  readonly direction: "client_to_server" | "server_to_client";
  readonly framing: "uint32" | "varint";
  readonly hex: string;
}
interface ValidVector extends Vector {
  /** The one encoding that our own encoders make. */
  readonly canonical: boolean;
  readonly messages: readonly Json[];
}
interface InvalidVector extends Vector {
  readonly transport: "stream" | "websocket";
  readonly after: "open" | "hello";
  readonly ends: boolean;
  readonly error: { readonly code: number; readonly reason: string };
}

function load<T>(name: string): T[] {
  const url = new URL(`../../protocol/vectors/${name}.json`, import.meta.url);
  return (JSON.parse(readFileSync(url, "utf8")) as { vectors: T[] }).vectors;
}

const valid = [...load<ValidVector>("client"), ...load<ValidVector>("server")];
const streams = load<ValidVector>("streams");
const invalid = load<InvalidVector>("invalid");

const BYTES = new Set(["payload"]);
const NUMBERS_64 = new Set(["features", "offset", "missed"]);
const MAPS = new Set(["labels", "metadata"]);

/** Every field of a decoded message in protobuf's JSON form, defaults left out. */
function toJson(decoded: object): Json {
  const json: Record<string, unknown> = {};
  for (const name in decoded) {
    const value = (decoded as Record<string, unknown>)[name];
    if (typeof value === "function" || name === "body" || name.startsWith("$")) continue;
    if (value === null || value === undefined || value === 0 || value === "" || value === false) {
      continue;
    }
    const text = jsonOf(name, value);
    if (text !== undefined) json[name] = text;
  }
  return json;
}

function jsonOf(name: string, value: unknown): unknown {
  if (NUMBERS_64.has(name)) return String(value);
  if (MAPS.has(name)) return Object.keys(value as object).length === 0 ? undefined : value;
  if (BYTES.has(name)) {
    const bytes = value instanceof Payload ? value.copy() : (value as Uint8Array);
    return bytes.length === 0 ? undefined : Buffer.from(bytes).toString("base64");
  }
  if (Array.isArray(value)) return value.length === 0 ? undefined : (value as unknown[]);
  return typeof value === "object" ? toJson(value!) : value;
}

/** The other way: what our encoders take. */
function fromJson(json: Json): object {
  const entries = Object.entries(json ?? {}).map(([name, value]): [string, unknown] => {
    if (NUMBERS_64.has(name)) return [name, Number(value)];
    if (BYTES.has(name)) return [name, Buffer.from(value as string, "base64")];
    const isMessage = typeof value === "object" && !Array.isArray(value) && !MAPS.has(name);
    return [name, isMessage ? fromJson(value as Json) : value];
  });
  return Object.fromEntries(entries);
}

/** What the real readers make of the bytes, frame by frame. */
class Decoder {
  readonly messages: Json[] = [];
  readonly #isClient: boolean;
  readonly #reader: MessageReader = new MessageReader(new PayloadScope());

  constructor(vector: Vector) {
    this.#isClient = vector.direction === "client_to_server";
  }

  onFrame(bytes: Bytes, start: number, end: number): boolean {
    if (start === end) {
      this.messages.push(null);
    } else if (this.#isClient) {
      // Of several bodies one counts: the one that `body` names.
      const { id, body, ...bodies } = this.#reader.decode(bytes, start, end);
      this.messages.push(toJson(body === undefined ? { id } : { id, [body]: bodies[body] }));
    } else {
      const message = holdfast.v1.ServerMessage.decode(bytes.subarray(start, end));
      this.messages.push(toJson(message));
    }
    return true;
  }
}

function encoded(vector: ValidVector): string {
  const framing = FRAMINGS[vector.framing];
  const target = Buffer.alloc(10_000);
  const writer = new FrameWriter(framing);
  let at = 0;
  for (const json of vector.messages) {
    if (json === null) {
      at = writer.frame(target, at, new Uint8Array(0));
    } else if (vector.direction === "server_to_client") {
      at = writer.message(target, at, fromJson(json));
    } else {
      const message = fromJson(json) as ClientMessageInit as holdfast.v1.ClientMessage.$Properties;
      at = writer.frame(target, at, holdfast.v1.ClientMessage.encode(message).finish());
    }
  }
  return target.toString("hex", 0, at);
}

describe("the golden vectors", () => {
  it("are what their generator writes", () => {
    const script = fileURLToPath(new URL("../../scripts/generate-vectors.mjs", import.meta.url));
    const { status, stderr } = spawnSync(process.execPath, [script, "--check"], {
      encoding: "utf8",
    });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  });

  it("have each message and each close code that peers of ours can send or provoke", () => {
    const bodies = valid.flatMap(({ messages }) => messages.flatMap((json) => Object.keys(json!)));
    expect([...new Set(bodies)].sort()).toEqual(
      [
        ...["id", "hello", "call", "publish", "subscribe", "unsubscribe", "goodbye"],
        ...["welcome", "result", "failure", "event", "gap", "goAway"],
      ].sort(),
    );
    expect([...new Set(invalid.map(({ error }) => error.code))].sort()).toEqual([3500, 3501, 3502]);
  });
});

describe.each([...valid, ...streams])("$name", (vector) => {
  const bytes = Buffer.from(vector.hex, "hex");
  const framing = FRAMINGS[vector.framing];

  it(`is read as it says: ${vector.description}`, () => {
    const decoder = new Decoder(vector);
    expect(readFrames(framing, 65_536, bytes, 0, bytes.length, 0, decoder)).toBe(bytes.length);
    expect(decoder.messages).toEqual(vector.messages);
  });

  it("is read the same byte by byte", () => {
    const decoder = new Decoder(vector);
    const unread = new Unread(new BufferPool(), 1);
    for (let at = 0; at < bytes.length; at++) {
      unread.append(bytes, at, at + 1);
      unread.read(framing, 65_536, decoder);
    }
    expect(decoder.messages).toEqual(vector.messages);
    expect(unread.length).toBe(0);
  });

  it.runIf(vector.canonical)("is written byte for byte", () => {
    expect(encoded(vector)).toBe(vector.hex);
  });
});

describe.each(invalid)("$name", (vector) => {
  const { code, reason } = vector.error;

  it(`ends a connection with ${code}: ${vector.description}`, async () => {
    const running = await MemoryServer.start({
      listener: { framing: vector.framing },
      memory: { hasMessages: vector.transport === "websocket" },
      prepare: (server) => server.method("echo", ({ payload }) => payload),
    });
    const client = running.connect(vector.framing);
    const neighbour = running.connect(vector.framing);
    const framed = vector.framing === "uint32" ? frame : varintFrame;
    neighbour.send(framed(hello(1)));
    if (vector.after === "hello") client.send(framed(hello(1)));
    await running.clock.settle();
    expect(client.closedWith).toBe(null);
    client.send(Buffer.from(vector.hex, "hex"));
    if (vector.ends) client.peer.end();
    await running.clock.settle();
    expect(client.messages.at(-1)).toMatchObject({ id: 0, body: "goAway", goAway: { code } });
    expect(client.closedWith).toBe(code);
    expect(running.server.closedByReason[reason as "protocol_error"]).toBe(1);
    expect(neighbour.closedWith).toBe(null);
    await running.stop();
  });
});
