// A lean client on a bare socket, by the thousand: it connects, says Hello, echoes, subscribes,
// hears that it is to go, and knows at which step it was cut off. It shares no code with the
// server.

import { connect, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import {
  call,
  type EventRead,
  FrameCutter,
  frame,
  type GoAwayRead,
  hello,
  HEARTBEAT,
  readServerMessage,
  type ServerMessageRead,
  type WelcomeRead,
} from "./raw-message.ts";
import {
  binaryMessage,
  closeFrame,
  OPCODE,
  readHttpHead,
  upgradeRequest,
  WebSocketCutter,
} from "./raw-websocket.ts";

/** As long as one step of an attempt may take. */
const STEP_MS = 5_000;
const HOST = "127.0.0.1";

export type LoadTransport = "tcp" | "websocket";
export const STEPS = ["connect", "upgrade", "hello", "active"] as const;
export type Step = (typeof STEPS)[number];

/** An attempt that came to nothing, or a connection that ended without a GoAway. */
export class CutOff extends Error {
  readonly step: Step;
  /** An error's code, "fin", "timeout", or what the server said. */
  readonly how: string;
  /** The client's address:port. */
  readonly from: string;
  /** performance.now() when it began. */
  readonly beganAt: number;
  readonly endedAt: number = performance.now();

  constructor(client: LoadClient, how: string) {
    super(`${client.transport} ${client.from}: cut off in ${client.step} by ${how}`);
    this.step = client.step;
    this.how = how;
    this.from = client.from;
    this.beganAt = client.beganAt;
  }
}

export interface LoadTarget {
  readonly transport: LoadTransport;
  readonly port: number;
  /** Default: the kernel's choice. */
  readonly localAddress?: string;
}

export class LoadClient {
  readonly transport: LoadTransport;
  readonly beganAt: number = performance.now();
  readonly ended: Promise<string>;
  step: Step = "connect";
  from: string = "";
  welcome: WelcomeRead | null = null;
  goAway: GoAwayRead | null = null;
  hasEnded: boolean = false;
  onEvent: (event: EventRead) => void = () => {};
  readonly #socket: Socket;
  readonly #frames: FrameCutter = new FrameCutter();
  readonly #webSocket: WebSocketCutter = new WebSocketCutter();
  #head: Buffer | null;
  #calls: number = 1;
  #failure: string | null = null;
  #wake: (() => void) | null = null;
  #answer: ServerMessageRead | null = null;

  private constructor({ transport, port, localAddress }: LoadTarget) {
    this.transport = transport;
    this.#head = transport === "websocket" ? Buffer.alloc(0) : null;
    const socket = connect({
      port,
      host: HOST,
      noDelay: true,
      ...(localAddress === undefined ? {} : { localAddress }),
    });
    this.#socket = socket;
    socket.on("connect", () => {
      this.from = `${socket.localAddress}:${socket.localPort}`;
      this.step = transport === "websocket" ? "upgrade" : "hello";
      if (transport === "websocket") socket.write(upgradeRequest());
      else this.#say(hello(1));
    });
    socket.on("data", (chunk) => this.#received(chunk));
    socket.on("error", (error: NodeJS.ErrnoException) => {
      this.#failure ??= error.code ?? error.name;
    });
    this.ended = new Promise((resolve) => {
      socket.on("close", () => {
        this.hasEnded = true;
        this.#failure ??= "fin";
        this.#wake?.();
        resolve(this.#failure);
      });
    });
  }

  /** Connects and says Hello. Rejects with {@link CutOff}. */
  static async open(target: LoadTarget): Promise<LoadClient> {
    const client = new LoadClient(target);
    await client.#until(() => client.welcome !== null);
    return client;
  }

  get isToldToGo(): boolean {
    return this.goAway !== null;
  }

  /** Rejects with {@link CutOff}. */
  async echo(text: string = "echo"): Promise<void> {
    const answer = await this.ask((id) => call(id, "echo", text));
    if (answer.body !== "result" || answer.payload.toString() !== text) {
      throw new Error(`the echo of ${text} is ${JSON.stringify(answer)}`);
    }
  }

  /** One question at a time. Rejects with {@link CutOff}. */
  async ask(bodyOf: (id: number) => Buffer): Promise<ServerMessageRead> {
    const id = ++this.#calls;
    this.#answer = null;
    this.#say(bodyOf(id));
    await this.#until(() => this.#answer?.id === id);
    return this.#answer!;
  }

  /** Ends in order; what happens on the way is nobody's loss. */
  async leave(): Promise<void> {
    if (this.hasEnded) return;
    if (this.transport === "websocket") this.#socket.write(closeFrame(1000));
    else this.#socket.end();
    const late = delay(STEP_MS, null, { ref: false });
    if ((await Promise.race([this.ended, late])) === null) this.destroy();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  stopReading(): void {
    this.#socket.pause();
  }

  async #until(holds: () => boolean): Promise<void> {
    if (holds()) return;
    await new Promise<void>((resolve, reject) => {
      const settle = (failure: string | null): void => {
        clearTimeout(timer);
        this.#wake = null;
        if (failure === null) resolve();
        else reject(new CutOff(this, failure));
      };
      const timer = setTimeout(() => {
        settle("timeout");
        this.destroy();
      }, STEP_MS);
      this.#wake = () => {
        if (holds()) settle(null);
        else if (this.hasEnded) settle(this.#failure);
      };
      this.#wake();
    });
  }

  #say(body: Buffer): void {
    // Its end has come, and is heard of in a moment.
    if (!this.#socket.writable) return;
    const framed = frame(body);
    this.#socket.write(this.transport === "websocket" ? binaryMessage(framed) : framed);
  }

  #received(chunk: Buffer): void {
    let bytes = chunk;
    if (this.#head !== null) {
      this.#head = Buffer.concat([this.#head, chunk]);
      const head = readHttpHead(this.#head);
      if (head === null) return;
      if (head.status !== 101) {
        this.#failure = `HTTP ${head.status}`;
        this.destroy();
        return;
      }
      bytes = this.#head.subarray(head.end);
      this.#head = null;
      this.step = "hello";
      this.#say(hello(1));
    }
    if (this.transport === "tcp") this.#framed(bytes);
    else for (const { opcode, payload } of this.#webSocket.push(bytes)) this.#told(opcode, payload);
    this.#wake?.();
  }

  #told(opcode: number, payload: Buffer): void {
    if (opcode === OPCODE.BINARY) this.#framed(payload);
    else if (opcode === OPCODE.CLOSE) this.#socket.end(closeFrame(1000));
  }

  #framed(bytes: Buffer): void {
    for (const body of this.#frames.push(bytes)) {
      if (body.length > 0) this.#message(readServerMessage(body));
      else if (this.transport === "tcp") this.#socket.write(HEARTBEAT);
      else this.#socket.write(binaryMessage(HEARTBEAT));
    }
  }

  #message(message: ServerMessageRead): void {
    if (message.body === "event") this.onEvent(message.event);
    else if (message.body === "goAway") {
      this.goAway = message.goAway;
      if (this.welcome === null) this.#failure = `GoAway ${message.goAway.code}`;
    } else if (message.body === "welcome") {
      this.welcome = message.welcome;
      this.step = "active";
    } else {
      this.#answer = message;
    }
  }
}
