// WebSocket by uWebSockets.js. It is fast and not strict: what it leaves out is done here or above.
// - Upgrades are checked by us. - Its idle timeout is off: any byte resets it; liveness is ours.
// - Its own send buffer never shrinks, so it holds one write at most and the send queue is ours.
// - It cannot stop reading.
// - Its backlog is 512 and it spins when files run out: where the native addon is, that accepts.

import type { Slab } from "../base/buffer-pool.ts";
import type { Clock } from "../base/clock.ts";
import { HoldfastError } from "../base/errors.ts";
import { ChannelTable } from "./channel-table.ts";
import type { EpollLoop } from "./epoll-loop.ts";
import {
  type ChannelId,
  type Slice,
  type Transport,
  type TransportAddress,
  type TransportEnd,
  type TransportHandler,
  WRITE,
  type WriteOutcome,
} from "./transport.ts";
import { checkUpgrade, type UpgradeRefusal, type UpgradeRules } from "./upgrade-check.ts";
import type { LoadedUws, UwsApp, UwsRequest, UwsResponse, UwsWebSocket } from "./uws.ts";
import { adoptionFault, UwsAcceptor } from "./uws-acceptor.ts";
import { UwsListener } from "./uws-listener.ts";

export interface WebSocketOptions extends UpgradeRules {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** Listening sockets that this process was started with, instead of host and port. */
  readonly fds?: readonly number[] | null;
  /** Other processes of the same server may listen on the same port. */
  readonly isShared?: boolean;
  /**
   * Longest message in bytes; beyond it uWebSockets.js cuts the connection without a close frame.
   */
  readonly messageBytesMax: number;
  /** Told about every upgrade that was refused. */
  readonly onUpgradeRefused: (refusal: UpgradeRefusal) => void;
  /** Told once, when it listens first: why uWebSockets.js accepts connections itself. */
  readonly onOwnListener: (reason: string) => void;
}

/** Tested before a write, so it bounds what control frames may add to one: see ARCHITECTURE.md. */
const BACKPRESSURE_BYTES_MAX = 2 * 1_048_576;

interface ChannelWebSocket extends UwsWebSocket {
  channel: ChannelId;
  /** Its handler will be told about a drain. */
  isDrainDue: boolean;
  /** The close frame that waits for buffered bytes to go first, or null. */
  closing: { readonly code: number; readonly reason: string } | null;
}

const NO_USER_DATA = Object.freeze({});

export class WebSocketTransport implements Transport {
  readonly kind = "websocket" as const;
  readonly hasMessages: boolean = true;
  readonly canPause: boolean = false;
  readonly gathersWrites: boolean = false;
  readonly #options: WebSocketOptions;
  readonly #handler: TransportHandler;
  readonly #loaded: LoadedUws;
  readonly #clock: Clock;
  readonly #app: UwsApp;
  readonly #channels: ChannelTable<ChannelWebSocket> = new ChannelTable();
  readonly #loop: EpollLoop | string;
  #pendingFiles: number = 0;
  #isWanted: boolean = false;
  #isDestroyed: boolean = false;
  /** Chosen when it listens first. */
  #source: UwsAcceptor | UwsListener | null = null;
  #choosing: Promise<void> | null = null;

  /** @param loop accepts for uWebSockets.js, or why there is none and it must do so itself. */
  constructor(
    options: WebSocketOptions,
    handler: TransportHandler,
    loaded: LoadedUws,
    clock: Clock,
    loop: EpollLoop | string,
  ) {
    this.#options = options;
    this.#handler = handler;
    this.#loaded = loaded;
    this.#clock = clock;
    this.#loop = loop;
    this.#app = loaded.uws.App();
    this.#route();
  }

  get queued(): Float64Array {
    return this.#channels.queued;
  }

  get pendingFiles(): number {
    return this.#pendingFiles;
  }

  /** Name and version of what was loaded. */
  get library(): string {
    return `${this.#loaded.packageName} ${this.#loaded.version}`;
  }

  async listen(): Promise<TransportAddress> {
    this.#isWanted = true;
    this.#choosing ??= this.#choose();
    await this.#choosing;
    // stopAccepting() came while a socket was handed over on trial.
    const { host, port } = this.#options;
    return this.#isWanted ? this.#source!.listen() : { host, port, path: null };
  }

  stopAccepting(): void {
    this.#isWanted = false;
    this.#source?.stop();
  }

  async resumeAccepting(): Promise<void> {
    await this.listen();
  }

  async adopt(fds: readonly number[]): Promise<void> {
    await this.#adopter().adopt(fds);
  }

  release(fds: readonly number[]): void {
    this.#adopter().release(fds);
  }

  destroy(): void {
    this.#isWanted = false;
    this.#isDestroyed = true;
    this.#source?.destroy();
    this.#app.close();
  }

  write(channel: ChannelId, slab: Slab, start: number, end: number): WriteOutcome {
    const ws = this.#channels.get(channel);
    if (ws === null || ws.closing !== null) return WRITE.REFUSED;
    return this.#send(ws, slab, start, end);
  }

  writev(channel: ChannelId, slices: readonly Slice[]): WriteOutcome {
    const ws = this.#channels.get(channel);
    if (ws === null || ws.closing !== null) return WRITE.REFUSED;
    let outcome: WriteOutcome = WRITE.SENT;
    ws.cork(() => {
      for (const { slab, start, end } of slices) outcome = this.#send(ws, slab, start, end);
    });
    this.#channels.queued[channel] = ws.getBufferedAmount();
    return this.#channels.queued[channel] === 0 ? WRITE.SENT : outcome;
  }

  queuedNow(channel: ChannelId): number {
    return this.#channels.get(channel)?.getBufferedAmount() ?? 0;
  }

  pause(): void {}

  resume(): void {}

  close(channel: ChannelId, code: number, reason: string): void {
    const ws = this.#channels.get(channel);
    if (ws === null || ws.closing !== null) return;
    // Ended now, the FIN would overtake what is buffered.
    if (ws.getBufferedAmount() > 0) ws.closing = { code, reason };
    else ws.end(code, reason);
  }

  reset(channel: ChannelId): void {
    this.#channels.get(channel)?.close();
  }

  remoteAddress(channel: ChannelId): string {
    const ws = this.#channels.get(channel);
    if (ws === null) return "";
    const address = Buffer.from(ws.getRemoteAddressAsText()).toString("latin1");
    const port = ws.getRemotePort?.();
    return port === undefined ? address : `${address}:${port}`;
  }

  #send(ws: ChannelWebSocket, slab: Slab, start: number, end: number): WriteOutcome {
    const status = ws.send(slab.view(start, end), true, false);
    if (status === 1) return WRITE.SENT;
    this.#channels.queued[ws.channel] = ws.getBufferedAmount();
    return status === 0 ? WRITE.QUEUED : WRITE.REFUSED;
  }

  #adopter(): UwsAcceptor {
    if (this.#source instanceof UwsAcceptor) return this.#source;
    const text = "the WebSocket listener accepts by uWebSockets.js, which takes no other's sockets";
    throw new HoldfastError("HOLDFAST_SERVER_STATE", text);
  }

  async #choose(): Promise<void> {
    this.#source = await this.#newSource();
    if (this.#isDestroyed) this.#source.destroy();
  }

  async #newSource(): Promise<UwsAcceptor | UwsListener> {
    const { uws } = this.#loaded;
    const { host, port, fds = null, isShared = false } = this.#options;
    const loop = this.#loop;
    const fault = typeof loop === "string" ? loop : await adoptionFault(uws, loop, this.#clock);
    if (fault === null) {
      const where = { host, port, fds };
      return new UwsAcceptor(this.#app, loop as EpollLoop, where, this.#handler, this.#clock);
    }
    if (fds !== null) throw heldInVain(fault);
    this.#options.onOwnListener(fault);
    return new UwsListener(this.#app, uws, { host, port, path: null }, isShared);
  }

  /** Called for each file that it has accepted or adopted, and for each that closes unupgraded. */
  #filter(response: UwsResponse, change: number): void {
    this.#pendingFiles += change;
    if (change < 0) this.#source?.retry();
    else if (this.#source instanceof UwsListener && !this.#handler.admit()) response.close();
  }

  #route(): void {
    this.#app.filter((response, change) => this.#filter(response, change));
    this.#app.ws("/*", {
      compression: 0,
      maxPayloadLength: this.#options.messageBytesMax,
      maxBackpressure: BACKPRESSURE_BYTES_MAX,
      closeOnBackpressureLimit: false,
      idleTimeout: 0,
      sendPingsAutomatically: false,
      upgrade: (response, request, context) => this.#upgrade(response, request, context),
      open: (ws) => this.#open(ws as ChannelWebSocket),
      message: (ws, message, isBinary) => this.#message(ws as ChannelWebSocket, message, isBinary),
      drain: (ws) => this.#drain(ws as ChannelWebSocket),
      ping: (ws) => this.#sign(ws as ChannelWebSocket),
      pong: (ws) => this.#sign(ws as ChannelWebSocket),
      close: (ws, code, message) => this.#closed(ws as ChannelWebSocket, code, message),
    });
    // uWebSockets.js sends requests without a usable key here instead of to `upgrade`.
    this.#app.any("/*", (response, request) => {
      this.#refuse(response, this.#check(request) ?? NO_ROUTE);
    });
  }

  #check(request: UwsRequest): UpgradeRefusal | null {
    return checkUpgrade(
      {
        method: request.getMethod(),
        upgrade: request.getHeader("upgrade"),
        connection: request.getHeader("connection"),
        version: request.getHeader("sec-websocket-version"),
        key: request.getHeader("sec-websocket-key"),
        protocols: request.getHeader("sec-websocket-protocol"),
        origin: request.getHeader("origin"),
      },
      this.#options,
    );
  }

  #refuse(response: UwsResponse, refusal: UpgradeRefusal): void {
    this.#options.onUpgradeRefused(refusal);
    response.writeStatus(refusal.status);
    if (refusal.header !== null) response.writeHeader(refusal.header[0], refusal.header[1]);
    response.end(`${refusal.cause}\n`, true);
  }

  #upgrade(response: UwsResponse, request: UwsRequest, context: unknown): void {
    const refusal = this.#check(request);
    if (refusal !== null) {
      this.#refuse(response, refusal);
      return;
    }
    // The filter counts no -1 for a socket that was upgraded.
    this.#pendingFiles--;
    const key = request.getHeader("sec-websocket-key");
    const protocol = this.#options.subprotocol ?? "";
    response.upgrade(NO_USER_DATA, key, protocol, "", context);
  }

  #open(ws: ChannelWebSocket): void {
    ws.isDrainDue = false;
    ws.closing = null;
    ws.channel = this.#channels.add(ws);
    this.#handler.onOpen(ws.channel);
  }

  #message(ws: ChannelWebSocket, message: ArrayBuffer, isBinary: boolean): void {
    if (ws.closing !== null) return;
    if (!isBinary) {
      this.#handler.onFault(ws.channel, "text_message");
    } else if (message.byteLength === 0) {
      this.#handler.onFault(ws.channel, "empty_message");
    } else {
      // The view dies with the ArrayBuffer, which uWebSockets.js detaches when this returns.
      this.#handler.onChunk(ws.channel, new Uint8Array(message), 0, message.byteLength);
    }
  }

  #sign(ws: ChannelWebSocket): void {
    if (ws.closing === null) this.#handler.onSign(ws.channel);
  }

  /**
   * What is written from inside this callback and does not fit may wait for ever: uWebSockets.js
   * stops watching the socket when the callback returns. So the handler is told a moment later.
   */
  #drain(ws: ChannelWebSocket): void {
    this.#channels.queued[ws.channel] = ws.getBufferedAmount();
    if (ws.isDrainDue) return;
    ws.isDrainDue = true;
    this.#clock.afterPoll(() => this.#drained(ws));
  }

  #drained(ws: ChannelWebSocket): void {
    ws.isDrainDue = false;
    if (ws.channel === -1) return;
    const queued = ws.getBufferedAmount();
    this.#channels.queued[ws.channel] = queued;
    if (queued > 0) return;
    if (ws.closing === null) this.#handler.onDrain(ws.channel);
    else ws.end(ws.closing.code, ws.closing.reason);
  }

  #closed(ws: ChannelWebSocket, code: number, message: ArrayBuffer): void {
    const { channel } = ws;
    this.#channels.remove(channel);
    ws.channel = -1;
    this.#source?.retry();
    const text = code === 1006 ? Buffer.from(message).toString("latin1") : "";
    this.#handler.onClose(channel, endOf(code, text), text === "" ? `code ${code}` : text);
  }
}

function heldInVain(reason: string): HoldfastError {
  return new HoldfastError(
    "HOLDFAST_LISTEN_FAILED",
    `cannot listen for WebSocket on inherited sockets: ${reason}. ` +
      "uWebSockets.js can only listen by itself here: hand it no sockets.",
  );
}

const NO_ROUTE: UpgradeRefusal = { status: "400 Bad Request", header: null, cause: "bad_key" };
/**
 * uWebSockets.js knows fewer close codes than there are: a peer that gave one has left in order.
 */
const PEER_LEFT: readonly string[] = [
  "Received TCP FIN before WebSocket close frame",
  "Received invalid close payload",
];

function endOf(code: number, text: string): TransportEnd {
  if (code !== 1006 || PEER_LEFT.includes(text)) return "closed";
  return text === "" ? "reset" : "malformed";
}
