// The other end of the client library: a server that speaks the wire contract by hand and breaks it
// when told to. It runs over real sockets, and over a network that is only in the test's mind.

import { Buffer } from "node:buffer";
import { createServer, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { WebSocketServer, type WebSocket } from "ws";
import type { Dialer, Link, LinkHandler } from "../../src/client/dial.ts";
import type { Endpoint } from "../../src/transport/endpoint.ts";
import { bytesField, FrameCutter, frame, HEARTBEAT, numberField, tag } from "./raw-message.ts";

const BODIES = ["", "", "hello", "call", "publish", "subscribe", "unsubscribe", "goodbye"] as const;

/** A client's message: every field that any body has, empty where this one has it not. */
export interface ClientMessageRead {
  /** Of the frame's body. */
  readonly length: number;
  readonly id: number;
  readonly body: (typeof BODIES)[number];
  readonly version: number;
  readonly token: string;
  readonly client: string;
  readonly method: string;
  readonly topic: string;
  readonly payload: Buffer;
  readonly timeoutMs: number;
  readonly code: number;
  /** Labels or metadata. */
  readonly entries: Readonly<Record<string, string>>;
}

function readVarint(bytes: Buffer, start: number): [value: number, at: number] {
  let value = 0;
  for (let at = start, scale = 1; ; at++, scale *= 128) {
    value += (bytes[at]! & 0x7f) * scale;
    if (bytes[at]! < 0x80) return [value, at + 1];
  }
}

function readFields(bytes: Buffer): [field: number, value: number | Buffer][] {
  const fields: [number, number | Buffer][] = [];
  for (let at = 0; at < bytes.length; ) {
    const [key, valueAt] = readVarint(bytes, at);
    const [value, next] = readVarint(bytes, valueAt);
    if ((key & 7) === 0) {
      fields.push([key >> 3, value]);
      at = next;
    } else {
      fields.push([key >> 3, bytes.subarray(next, next + value)]);
      at = next + value;
    }
  }
  return fields;
}

export function readClientMessage(bytes: Buffer): ClientMessageRead {
  let id = 0;
  let body: ClientMessageRead["body"] = "";
  let inner: [number, number | Buffer][] = [];
  for (const [field, value] of readFields(bytes)) {
    if (field === 1) id = value as number;
    else [body, inner] = [BODIES[field]!, readFields(value as Buffer)];
  }
  const of = (field: number): number | Buffer | undefined =>
    inner.find(([other]) => other === field)?.[1];
  const text = (field: number): string => String(of(field) ?? "");
  const mapField = body === "hello" ? 6 : body === "call" ? 4 : -1;
  const maps = inner.filter(([field]) => field === mapField).map(([, entry]) => entry as Buffer);
  const entries = maps.map((entry) => readFields(entry).map(([, value]) => String(value)));
  return {
    length: bytes.length,
    id,
    body,
    version: body === "hello" ? Number(of(1) ?? 0) : 0,
    token: body === "hello" ? text(2) : "",
    client: body === "hello" ? text(3) : "",
    method: body === "call" ? text(1) : "",
    topic: ["publish", "subscribe", "unsubscribe"].includes(body) ? text(1) : "",
    payload:
      ((["call", "publish"].includes(body) ? of(2) : undefined) as Buffer | undefined) ??
      Buffer.alloc(0),
    timeoutMs: body === "call" ? Number(of(3) ?? 0) : 0,
    code: body === "goodbye" ? Number(of(1) ?? 0) : 0,
    entries: Object.fromEntries(entries) as Record<string, string>,
  };
}

function serverMessage(id: number, body: number, ...fields: Uint8Array[]): Buffer {
  const inner = bytesField(body, Buffer.concat(fields));
  return frame(id === 0 ? inner : Buffer.concat([numberField(1, id), inner]));
}

export interface WelcomeFields {
  readonly heartbeatMs?: number;
  readonly maxFrameBytes?: number;
  readonly version?: number;
  readonly connectionId?: string;
}

/** Server messages as frames. */
export const frames = {
  heartbeat: HEARTBEAT,
  welcome: (id: number, fields: WelcomeFields = {}): Buffer =>
    serverMessage(
      id,
      2,
      bytesField(1, fields.connectionId ?? "c-1"),
      numberField(2, fields.heartbeatMs ?? 25_000),
      numberField(3, fields.maxFrameBytes ?? 65_536),
      bytesField(5, "fake"),
      numberField(6, fields.version ?? 1),
    ),
  result: (id: number, payload: Uint8Array | string = ""): Buffer =>
    serverMessage(id, 3, bytesField(1, payload)),
  failure: (id: number, code: number, reason = "", retryable = false, retryAfterMs = 0): Buffer =>
    serverMessage(
      id,
      4,
      numberField(1, code),
      bytesField(2, reason),
      numberField(3, retryable ? 1 : 0),
      numberField(4, retryAfterMs),
    ),
  event: (topic: string, payload: Uint8Array | string, offset: number): Buffer =>
    serverMessage(0, 5, bytesField(1, topic), bytesField(2, payload), numberField(3, offset)),
  gap: (topic: string, missed: number): Buffer =>
    serverMessage(0, 6, bytesField(1, topic), numberField(2, missed)),
  goAway: (
    code: number,
    reason = "",
    reconnectAfterMs = 0,
    endpoints: readonly string[] = [],
  ): Buffer =>
    serverMessage(
      0,
      7,
      numberField(1, code),
      bytesField(2, reason),
      numberField(3, reconnectAfterMs),
      ...endpoints.map((endpoint) => bytesField(4, endpoint)),
    ),
  /** A body that no version of the contract has. */
  unknownBody: (): Buffer => frame(bytesField(15, "?")),
  noBody: (id: number): Buffer => frame(numberField(1, id)),
  /** A tag with wire type 7, which protobuf has not. */
  garbage: (): Buffer => frame(tag(3, 7)),
};

/** What carries a peer's bytes. */
interface Wire {
  write(bytes: Buffer): void;
  /** A text message, where there are any. */
  writeText?(text: string): void;
  /** Stops reading, or goes on. */
  setReading?(isReading: boolean): void;
  /** Closes in order; the code is for WebSockets. */
  end(code: number, reason: string): void;
  reset(): void;
}

/** One client, as the server sees it. */
export class FakePeer {
  readonly endpoint: string;
  readonly messages: ClientMessageRead[] = [];
  heartbeats: number = 0;
  /** Pieces in which bytes came. */
  pieces: number = 0;
  /** How the client let go: null while it has not. */
  left: "closed" | "cut" | null = null;
  /** The code of the client's close frame. */
  leftCode: number = 0;
  readonly wire: Wire;
  readonly #cutter: FrameCutter = new FrameCutter();
  readonly #onMessage: (peer: FakePeer, message: ClientMessageRead) => void;

  constructor(
    endpoint: string,
    wire: Wire,
    onMessage: (peer: FakePeer, message: ClientMessageRead) => void,
  ) {
    this.endpoint = endpoint;
    this.wire = wire;
    this.#onMessage = onMessage;
  }

  receive(bytes: Buffer): void {
    this.pieces++;
    for (const body of this.#cutter.push(bytes)) {
      if (body.length === 0) {
        this.heartbeats++;
        continue;
      }
      const message = readClientMessage(body);
      this.messages.push(message);
      this.#onMessage(this, message);
    }
  }

  /** Frames, in one piece. */
  send(...parts: readonly Buffer[]): void {
    this.wire.write(Buffer.concat(parts));
  }

  sendText(text: string): void {
    this.wire.writeText?.(text);
  }

  pause(): void {
    this.wire.setReading?.(false);
  }

  resume(): void {
    this.wire.setReading?.(true);
  }

  end(code: number = 1000, reason: string = ""): void {
    this.wire.end(code, reason);
  }

  reset(): void {
    this.wire.reset();
  }

  /** The messages with this body. */
  of(body: ClientMessageRead["body"]): ClientMessageRead[] {
    return this.messages.filter((message) => message.body === body);
  }

  /** The newest message with this body. */
  last(body: ClientMessageRead["body"]): ClientMessageRead {
    const message = this.of(body).at(-1);
    if (message === undefined) throw new Error(`the client sent no ${body}`);
    return message;
  }
}

export type Script = (peer: FakePeer, message: ClientMessageRead) => void;

/** What an honest server does: everything is accepted, a call gets its payload back. */
export const honest: Script = (peer, message) => {
  if (message.body === "hello") peer.send(frames.welcome(message.id));
  else if (message.body === "call") peer.send(frames.result(message.id, message.payload));
  else if (message.id !== 0) peer.send(frames.result(message.id));
};

/** Welcomes the client and then says nothing. */
export const silent: Script = (peer, message) => {
  if (message.body === "hello") peer.send(frames.welcome(message.id));
};

/** Connections that exist only in the test. Whatever happens, happens in a microtask of its own. */
export class FakeNetwork {
  readonly peers: FakePeer[] = [];
  readonly dialed: string[] = [];
  /** Links that were opened and neither closed nor aborted. */
  openLinks: number = 0;
  script: Script;
  /** Says of an endpoint what dialing it comes to. */
  reach: (endpoint: string) => "open" | "refuse" | "hang" = () => "open";
  /** Bytes that a link pretends to have buffered. */
  bufferedBytes: number = 0;
  /** False: servers do not close their side when the client has closed its own. */
  isClosingBack: boolean = true;
  readonly dialer: Dialer = {
    schemes: ["tcp", "tls", "unix", "ws", "wss"],
    dial: (endpoint, handler) => this.#dial(endpoint, handler),
  };

  constructor(script: Script = honest) {
    this.script = script;
  }

  /** The newest connection. */
  get peer(): FakePeer {
    const peer = this.peers.at(-1);
    if (peer === undefined) throw new Error("nobody has connected");
    return peer;
  }

  #dial(endpoint: Endpoint, handler: LinkHandler): Link {
    this.dialed.push(endpoint.text);
    this.openLinks++;
    let isGone = false;
    let peer: FakePeer | null = null;
    const later = (run: () => void): void => queueMicrotask(() => isGone || run());
    const gone = (): void => {
      if (!isGone) this.openLinks--;
      isGone = true;
    };
    const lost = (code: number | null, text: string, error: Error | null): void =>
      later(() => {
        gone();
        handler.onClosed({ code, text, error });
      });
    const isWebSocket = endpoint.scheme.startsWith("ws");
    const wire: Wire = {
      write: (bytes) => later(() => handler.onBytes(bytes)),
      end: (code, reason) => lost(isWebSocket ? code : null, reason, null),
      reset: () => lost(isWebSocket ? 1006 : null, "reset", new Error("read ECONNRESET")),
    };
    const outcome = this.reach(endpoint.text);
    if (outcome === "refuse") lost(null, "refused", new Error("connect ECONNREFUSED"));
    if (outcome === "open") {
      peer = new FakePeer(endpoint.text, wire, (who, what) => this.script(who, what));
      this.peers.push(peer);
      later(() => handler.onOpen());
    }
    const buffered = (): number => this.bufferedBytes;
    return {
      get bufferedBytes() {
        return buffered();
      },
      hasMessages: isWebSocket,
      send: (bytes) => {
        const copy = Buffer.from(bytes);
        if (peer?.left === null) queueMicrotask(() => peer?.receive(copy));
      },
      close: (code) => {
        if (peer === null || peer.left !== null) return;
        [peer.left, peer.leftCode] = ["closed", code];
        if (this.isClosingBack) lost(isWebSocket ? code : null, "", null);
      },
      abort: () => {
        if (peer !== null) peer.left ??= "cut";
        gone();
      },
    };
  }
}

/** Real sockets on loopback. */
export class FakeServer {
  readonly peers: FakePeer[] = [];
  script: Script;
  #endpoint: string = "";
  #isUnix: boolean = false;
  #closers: (() => void)[] = [];

  constructor(script: Script = honest) {
    this.script = script;
  }

  get endpoint(): string {
    return this.#endpoint;
  }

  get peer(): FakePeer {
    const peer = this.peers.at(-1);
    if (peer === undefined) throw new Error("nobody has connected");
    return peer;
  }

  /** @param path of a Unix socket; without it TCP on any port. */
  async listenTcp(path?: string): Promise<this> {
    const sockets = new Set<Socket>();
    const server = createServer({ noDelay: true }, (socket) => {
      sockets.add(socket);
      socket.on("close", () => sockets.delete(socket));
      this.#serve(socket);
    });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      if (path === undefined) server.listen(0, "127.0.0.1", resolve);
      else server.listen(path, resolve);
    });
    const address = server.address();
    this.#isUnix = path !== undefined;
    const { port } = address as { port: number };
    this.#endpoint = path === undefined ? `tcp://127.0.0.1:${port}` : `unix:${path}`;
    this.#closers.push(() => {
      server.close();
      for (const socket of sockets) socket.destroy();
    });
    return this;
  }

  /** @param subprotocol what is chosen of the client's; false: none. */
  async listenWebSocket(subprotocol: string | false = "holdfast.v1"): Promise<this> {
    const server = new WebSocketServer({
      host: "127.0.0.1",
      port: 0,
      handleProtocols: () => subprotocol,
    });
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as { port: number };
    this.#endpoint = `ws://127.0.0.1:${port}/path?query=1`;
    server.on("connection", (socket) => this.#serveWebSocket(socket));
    this.#closers.push(() => {
      server.close();
      for (const socket of server.clients) socket.terminate();
    });
    return this;
  }

  close(): void {
    for (const close of this.#closers) close();
    this.#closers = [];
  }

  #add(wire: Wire): FakePeer {
    const peer = new FakePeer(this.#endpoint, wire, (who, what) => this.script(who, what));
    this.peers.push(peer);
    return peer;
  }

  #serve(socket: Socket): void {
    const peer = this.#add({
      write: (bytes) => void socket.write(bytes),
      setReading: (isReading) => void (isReading ? socket.resume() : socket.pause()),
      end: () => void socket.end(),
      // A Unix socket has no RST: the client sees it gone, and EPIPE.
      reset: () => void (this.#isUnix ? socket.destroy() : socket.resetAndDestroy()),
    });
    socket.on("data", (bytes) => peer.receive(bytes));
    socket.on("error", () => {
      peer.left ??= "cut";
    });
    socket.on("end", () => {
      peer.left ??= "closed";
    });
  }

  #serveWebSocket(socket: WebSocket): void {
    const peer = this.#add({
      write: (bytes) => socket.send(bytes),
      writeText: (text) => socket.send(text),
      setReading: (isReading) => (isReading ? socket.resume() : socket.pause()),
      end: (code, reason) => socket.close(code, reason),
      reset: () => {
        const { _socket } = socket as unknown as { _socket: Socket & Duplex };
        _socket.resetAndDestroy();
      },
    });
    socket.on("message", (bytes: Buffer) => peer.receive(bytes));
    socket.on("error", () => {});
    socket.on("close", (code) => {
      peer.left ??= code === 1006 ? "cut" : "closed";
      peer.leftCode = code;
    });
  }
}
