// A client made of a bare socket: it knows the wire contract from raw-message.ts and
// raw-websocket.ts, shares no code with the server, and can break every rule of both.

import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { performance } from "node:perf_hooks";
import { setTimeout as delay } from "node:timers/promises";
import {
  call,
  type EventRead,
  FrameCutter,
  frame,
  type GoAwayRead,
  hello,
  readServerMessage,
  type ServerMessageRead,
  varintFrame,
  type WelcomeRead,
} from "./raw-message.ts";
import {
  acceptFor,
  binaryMessage,
  closeFrame,
  OPCODE,
  readHttpHead,
  UPGRADE_KEY,
  upgradeRequest,
  WebSocketCutter,
  type WebSocketFrameRead,
} from "./raw-websocket.ts";

export type RawTransport = "tcp" | "websocket";

export interface RawOptions {
  readonly port: number;
  readonly transport: RawTransport;
  readonly framing?: "uint32" | "varint";
  /** Answers heartbeats, as the contract asks. Default true. */
  readonly answersHeartbeats?: boolean;
  /** Sends its own FIN when the server's has come. Default true. */
  readonly answersFin?: boolean;
  readonly headers?: Readonly<Record<string, string | null>>;
}

/** How a connection ended, as the client saw it. */
export interface Ending {
  readonly how: "fin" | "reset";
  /** Of the WebSocket close frame; null: none came. */
  readonly closeCode: number | null;
  readonly goAway: GoAwayRead | null;
}

const WAIT_MS = 8_000;

export class RawClient {
  readonly socket: Socket;
  readonly transport: RawTransport;
  /** Everything but heartbeats, in the order it came. */
  readonly messages: ServerMessageRead[] = [];
  /** How many messages had come when each heartbeat did. */
  readonly heartbeatsAfter: number[] = [];
  pongs: number = 0;
  closeCode: number | null = null;
  goAway: GoAwayRead | null = null;
  /** Resolves once the server's side has ended. */
  readonly ended: Promise<Ending>;
  hasEnded: boolean = false;
  answersHeartbeats: boolean;
  readonly #framing: "uint32" | "varint";
  readonly #answersFin: boolean;
  readonly #frames: FrameCutter;
  readonly #webSocket: WebSocketCutter = new WebSocketCutter();
  readonly #waiting: Set<() => void> = new Set();
  #fault: Error | null = null;
  #calls: number = 1_000_000;

  private constructor(socket: Socket, options: RawOptions) {
    this.socket = socket;
    this.transport = options.transport;
    this.#framing = options.framing ?? "uint32";
    this.#frames = new FrameCutter(this.#framing);
    this.answersHeartbeats = options.answersHeartbeats ?? true;
    this.#answersFin = options.answersFin ?? true;
    this.ended = new Promise((resolve) => {
      const end = (how: Ending["how"]): void => {
        if (this.hasEnded) return;
        this.hasEnded = true;
        resolve({ how, closeCode: this.closeCode, goAway: this.goAway });
        this.#wake();
      };
      socket.on("end", () => {
        end("fin");
        if (this.#answersFin) socket.end();
      });
      socket.on("error", () => end("reset"));
      socket.on("close", () => end("reset"));
    });
  }

  /** Connects; on WebSocket, upgrades. Rejects where the server refuses. */
  static async connect(options: RawOptions): Promise<RawClient> {
    const socket = await rawSocket(options.port);
    const client = new RawClient(socket, options);
    let early: Buffer = Buffer.alloc(0);
    if (options.transport === "websocket") {
      early = await upgrade(socket, options.headers ?? {});
    }
    socket.on("data", (chunk) => client.#received(chunk));
    if (early.length > 0) client.#received(early);
    socket.resume();
    return client;
  }

  /** Connects and says Hello. */
  static async active(
    options: RawOptions & { readonly labels?: Readonly<Record<string, string>> },
  ): Promise<RawClient> {
    const client = await RawClient.connect(options);
    await client.hello(options.labels);
    return client;
  }

  get events(): EventRead[] {
    return this.messages.flatMap((message) => (message.body === "event" ? [message.event] : []));
  }

  /** Bytes as they are, below everything. */
  write(bytes: Uint8Array): void {
    this.socket.write(bytes);
  }

  /** Bytes of our frames: in one binary message on WebSocket. */
  writeFrames(bytes: Uint8Array): void {
    this.write(this.transport === "websocket" ? binaryMessage(bytes) : bytes);
  }

  /** One frame for each body, written together. */
  send(...bodies: readonly Uint8Array[]): void {
    const framed = this.#framing === "uint32" ? frame : varintFrame;
    this.writeFrames(Buffer.concat(bodies.map((body) => framed(body))));
  }

  async hello(labels: Readonly<Record<string, string>> = {}): Promise<WelcomeRead> {
    this.send(hello(1, labels));
    const answer = await this.answer(1);
    if (answer.body !== "welcome") throw new Error(`no Welcome but ${JSON.stringify(answer)}`);
    return answer.welcome;
  }

  /** The answer to the message with this id. */
  async answer(id: number, timeoutMs: number = WAIT_MS): Promise<ServerMessageRead> {
    return this.find((message) => message.id === id, `the answer to ${id}`, timeoutMs);
  }

  /** Calls `echo` and gives the milliseconds that it took. */
  async echo(text: string = "echo"): Promise<number> {
    const id = ++this.#calls;
    const start = performance.now();
    this.send(call(id, "echo", text));
    const answer = await this.answer(id);
    const elapsed = performance.now() - start;
    this.messages.splice(this.messages.lastIndexOf(answer), 1);
    if (answer.body !== "result" || answer.payload.toString() !== text) {
      throw new Error(`the echo of ${text} is ${JSON.stringify(answer)}`);
    }
    return elapsed;
  }

  /** The first message, come or to come, that fits. */
  async find(
    fits: (message: ServerMessageRead) => boolean,
    what: string,
    timeoutMs: number = WAIT_MS,
  ): Promise<ServerMessageRead> {
    await this.until(() => this.messages.some(fits), what, timeoutMs);
    return this.messages.find(fits)!;
  }

  /** Resolves when `holds` does, asked whenever something has come. */
  async until(holds: () => boolean, what: string, timeoutMs: number = WAIT_MS): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (!holds()) {
      if (this.#fault !== null) throw this.#fault;
      if (this.hasEnded) throw new Error(`it ended (${this.#told()}) before ${what}`);
      const left = deadline - performance.now();
      if (left <= 0) throw new Error(`${what} did not come in ${timeoutMs} ms`);
      await this.#nextChunk(left);
    }
    if (this.#fault !== null) throw this.#fault;
  }

  /** How it ended; rejects where it has not within the time. */
  async ending(timeoutMs: number = WAIT_MS): Promise<Ending> {
    const late = delay(timeoutMs, null, { ref: false });
    const ending = await Promise.race([this.ended, late]);
    if (this.#fault !== null) throw this.#fault;
    if (ending === null) throw new Error(`it did not end in ${timeoutMs} ms (${this.#told()})`);
    return ending;
  }

  stopReading(): void {
    this.socket.pause();
  }

  readOn(): void {
    this.socket.resume();
  }

  /** FIN; what the server sends is still read. */
  end(): void {
    this.socket.end();
  }

  reset(): void {
    this.socket.resetAndDestroy();
  }

  /** Leaves in order, as far as the transport can. */
  async leave(): Promise<void> {
    if (!this.hasEnded) {
      if (this.transport === "websocket") this.write(closeFrame(1000));
      this.socket.resume();
      this.socket.end();
    }
    await this.ending();
  }

  #told(): string {
    const last = this.messages.at(-1);
    return `goAway ${this.goAway?.code ?? "none"}, last message ${last?.body ?? "none"}`;
  }

  #received(chunk: Buffer): void {
    try {
      if (this.transport === "tcp") this.#framed(chunk);
      else this.#webSocket.push(chunk).forEach((read) => this.#webSocketFrame(read));
    } catch (error) {
      // The server broke the contract: whoever waits for something is told.
      this.#fault ??= error as Error;
    }
    this.#wake();
  }

  #webSocketFrame({ opcode, payload }: WebSocketFrameRead): void {
    if (this.closeCode !== null) throw new Error("the server sends on after its close frame");
    if (opcode === OPCODE.BINARY) {
      this.#framed(payload);
      if (this.#frames.restBytes > 0) throw new Error("a message of the server's splits a frame");
    } else if (opcode === OPCODE.PONG) {
      this.pongs++;
    } else if (opcode === OPCODE.CLOSE) {
      this.closeCode = payload.length >= 2 ? payload.readUInt16BE(0) : 1005;
      if (this.#answersFin && this.socket.writable) this.write(closeFrame(1000));
    } else {
      throw new Error(`the server sent opcode ${opcode}`);
    }
  }

  #framed(chunk: Buffer): void {
    for (const body of this.#frames.push(chunk)) {
      if (body.length === 0) {
        this.heartbeatsAfter.push(this.messages.length);
        if (this.answersHeartbeats && this.socket.writable) this.send(Buffer.alloc(0));
      } else {
        this.#message(readServerMessage(body));
      }
    }
  }

  #message(message: ServerMessageRead): void {
    this.messages.push(message);
    if (message.body !== "goAway") return;
    if (this.goAway !== null) throw new Error("GoAway came twice");
    this.goAway = message.goAway;
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }

  #nextChunk(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, timeoutMs);
      this.#waiting.add(wake);
    });
  }
}

/** A connected socket that sends what it is given at once. */
export async function rawSocket(port: number): Promise<Socket> {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
  await once(socket, "connect");
  // Errors are what these tests are about: whoever cares adds a listener of its own.
  socket.on("error", () => {});
  return socket;
}

async function upgrade(
  socket: Socket,
  headers: Readonly<Record<string, string | null>>,
): Promise<Buffer> {
  socket.write(upgradeRequest(headers));
  const { bytes, head } = await httpAnswer(socket);
  if (head.status !== 101) throw new Error(`the upgrade was refused with ${head.status}`);
  if (head.headers.get("sec-websocket-accept") !== acceptFor(UPGRADE_KEY)) {
    throw new Error("Sec-WebSocket-Accept does not fit the key");
  }
  return bytes.subarray(head.end);
}

/** The head of an HTTP answer, and all bytes that came with it. */
export async function httpAnswer(
  socket: Socket,
  timeoutMs: number = WAIT_MS,
): Promise<{ bytes: Buffer; head: NonNullable<ReturnType<typeof readHttpHead>> }> {
  let bytes: Buffer = Buffer.alloc(0);
  for (;;) {
    const chunk = await nextData(socket, timeoutMs);
    bytes = Buffer.concat([bytes, chunk]);
    const head = readHttpHead(bytes);
    if (head !== null) return { bytes, head };
  }
}

/** Rejects where the socket ends first. */
function nextData(socket: Socket, timeoutMs: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const settle = (done: () => void): void => {
      clearTimeout(timer);
      socket.removeListener("data", onData);
      socket.removeListener("end", onEnd);
      socket.removeListener("close", onEnd);
      socket.pause();
      done();
    };
    const onData = (chunk: Buffer): void => settle(() => resolve(chunk));
    const onEnd = (): void => settle(() => reject(new Error("the server closed the connection")));
    const timer = setTimeout(
      () => settle(() => reject(new Error(`nothing came in ${timeoutMs} ms`))),
      timeoutMs,
    );
    socket.once("data", onData);
    socket.once("end", onEnd);
    socket.once("close", onEnd);
    socket.resume();
  });
}
