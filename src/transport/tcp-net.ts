// TCP and Unix sockets by node:net: works everywhere. All sockets of a transport read into one
// shared buffer (net's `onread`), so an idle connection owns no receive memory and a message leaves
// none.

import { unlinkSync } from "node:fs";
import { createServer, type ListenOptions, type Server, Socket } from "node:net";
import type { Slab } from "../base/buffer-pool.ts";
import { ChannelTable } from "./channel-table.ts";
import { listenError } from "./listen-error.ts";
import {
  type ChannelId,
  type Slice,
  type Transport,
  type TransportAddress,
  type TransportHandler,
  WRITE,
  type WriteOutcome,
} from "./transport.ts";
import { isDeadSocket } from "./unix-path.ts";

export interface TcpNetOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** Unix socket path instead of host and port. */
  readonly path: string | null;
  /** Connections that the kernel holds until they are accepted. */
  readonly backlog: number;
  /** Sends small frames at once instead of waiting to fill a segment. */
  readonly noDelay: boolean;
  /** An inherited listening socket instead of host, port and path. Default: null, none. */
  readonly fd?: number | null;
  /** Silence after which the kernel probes the peer, rounded up to seconds. Default: 0, never. */
  readonly keepAliveMs?: number;
}

/** One read takes at most this many bytes, then other sockets get their turn. */
const RECEIVE_BYTES = 65_536;
const NOTHING: Buffer = Buffer.alloc(0);

/** The properties that we add to net's socket; they are set once, right after its construction. */
interface ChannelSocket extends Socket {
  channel: ChannelId;
  transport: TcpNetTransport;
  /** Slabs that net still writes from, or null. */
  held: Slab[] | null;
  /** Code of the error that ended it, or "". */
  endCode: string;
}

/** The part of a libuv handle that is used here; see ARCHITECTURE.md, "node:net". */
interface Handle {
  onconnection?: ((status: number, client: Handle | undefined) => void) | undefined;
  setNoDelay?(on: boolean): void;
  setKeepAlive?(on: boolean, delaySeconds: number): void;
  /** Missing where there is no reset: on Unix sockets. */
  reset?: unknown;
  close(): void;
  writeQueueSize?: number;
}

export class TcpNetTransport implements Transport {
  readonly kind = "tcp-net" as const;
  readonly hasMessages: boolean = false;
  readonly canPause: boolean = true;
  readonly gathersWrites: boolean = false;
  readonly pendingFiles: number = 0;
  readonly #options: TcpNetOptions;
  readonly #handler: TransportHandler;
  readonly #channels: ChannelTable<ChannelSocket> = new ChannelTable();
  readonly #onread: { buffer: Buffer; callback: (length: number, buffer: Uint8Array) => boolean };
  #server: Server | null = null;
  #isWanted: boolean = false;
  /** Where it listens, once the port is known. */
  #address: TransportAddress | null = null;

  constructor(options: TcpNetOptions, handler: TransportHandler) {
    this.#options = options;
    this.#handler = handler;
    this.#onread = { buffer: Buffer.allocUnsafeSlow(RECEIVE_BYTES), callback: onRead };
  }

  get queued(): Float64Array {
    return this.#channels.queued;
  }

  get handler(): TransportHandler {
    return this.#handler;
  }

  async listen(): Promise<TransportAddress> {
    const { host, port, path, fd = null, backlog } = this.#options;
    this.#isWanted = true;
    const wanted = this.#address ?? { host, port, path };
    const options: ListenOptions & { fd?: number } =
      fd !== null
        ? { fd, backlog }
        : path === null
          ? { host: wanted.host, port: wanted.port, backlog }
          : { path, backlog };
    const where = fd === null ? wanted : { ...wanted, path: `the inherited file ${fd}` };
    let server: Server;
    try {
      server = await open(options);
    } catch (error) {
      const isTaken = (error as NodeJS.ErrnoException).code === "EADDRINUSE";
      const isStale = path !== null && isTaken && (await isDeadSocket(path));
      if (!isStale) throw listenError("TCP", where, error);
      unlinkSync(path);
      server = await open(options).catch((again: unknown) => {
        throw listenError("TCP", wanted, again);
      });
    }
    if (!this.#isWanted) {
      // stopAccepting() came while the socket was being opened.
      server.close();
      return wanted;
    }
    this.#server = server;
    server.on("error", (error: NodeJS.ErrnoException) => {
      this.#handler.onAcceptError(error.code ?? error.name);
    });
    this.#takeOverAccepting(server);
    const bound = server.address();
    this.#address =
      bound !== null && typeof bound === "object"
        ? { host: bound.address, port: bound.port, path: null }
        : { host: "", port: 0, path: path ?? bound ?? null };
    return this.#address;
  }

  stopAccepting(isForGood: boolean = false): void {
    this.#isWanted = false;
    // An inherited socket could not be opened again: node:net cannot duplicate it. So it stays
    // while it may be wanted again, and what comes is closed at once.
    if (isForGood || (this.#options.fd ?? null) === null) this.#letGo();
  }

  async resumeAccepting(): Promise<void> {
    this.#isWanted = true;
    if (this.#server === null) await this.listen();
  }

  destroy(): void {
    this.stopAccepting(true);
    for (const socket of this.#channels.entries()) this.#cut(socket);
  }

  write(channel: ChannelId, slab: Slab, start: number, end: number): WriteOutcome {
    const socket = this.#channels.get(channel);
    if (socket === null || !socket.writable) return WRITE.REFUSED;
    socket.write(slab.view(start, end));
    return socket.writableLength === 0 ? WRITE.SENT : this.#hold(socket, slab);
  }

  writev(channel: ChannelId, slices: readonly Slice[]): WriteOutcome {
    const socket = this.#channels.get(channel);
    if (socket === null || !socket.writable) return WRITE.REFUSED;
    socket.cork();
    for (const { slab, start, end } of slices) socket.write(slab.bytes.subarray(start, end));
    socket.uncork();
    if (socket.writableLength === 0) return WRITE.SENT;
    for (const { slab } of slices) this.#hold(socket, slab);
    return WRITE.QUEUED;
  }

  queuedNow(channel: ChannelId): number {
    const socket = this.#channels.get(channel);
    if (socket === null) return 0;
    // net counts a write as one piece; libuv knows how much of it the kernel has taken.
    const inLibuv = handleOf(socket)?.writeQueueSize ?? 0;
    return inLibuv > 0 ? inLibuv : socket.writableLength;
  }

  pause(channel: ChannelId): void {
    this.#channels.get(channel)?.pause();
  }

  resume(channel: ChannelId): void {
    this.#channels.get(channel)?.resume();
  }

  close(channel: ChannelId): void {
    const socket = this.#channels.get(channel);
    if (socket === null) return;
    // Bytes must go on being read, or the peer's FIN would never be seen.
    socket.resume();
    socket.end();
  }

  reset(channel: ChannelId): void {
    const socket = this.#channels.get(channel);
    if (socket !== null) this.#cut(socket);
  }

  remoteAddress(channel: ChannelId): string {
    const socket = this.#channels.get(channel);
    if (socket?.remoteAddress === undefined) return "";
    return `${socket.remoteAddress}:${socket.remotePort ?? 0}`;
  }

  #letGo(): void {
    this.#server?.close();
    this.#server = null;
  }

  /**
   * Unix sockets know no reset: net throws where it is asked for one. And libuv refuses it while a
   * FIN is under way, whereupon net would never close the socket.
   */
  #cut(socket: ChannelSocket): void {
    const { writableEnded, writableFinished, writableLength } = socket;
    const isShuttingDown = writableEnded && !writableFinished && writableLength === 0;
    const canReset = handleOf(socket)?.reset !== undefined;
    if (canReset && !isShuttingDown) socket.resetAndDestroy();
    else socket.destroy();
  }

  /** net has no public way to give accepted sockets a receive buffer, so its handle is asked. */
  #takeOverAccepting(server: Server): void {
    const listening = (server as unknown as { _handle: Handle | null })._handle;
    if (typeof listening?.onconnection !== "function") {
      // A Node release without this hook: sockets as net makes them, a buffer for every read.
      server.on("connection", (socket) => {
        if (!this.#isWanted || !this.#handler.admit()) socket.destroy();
        else this.#adopt(socket as ChannelSocket).on("data", onData);
      });
      return;
    }
    listening.onconnection = (status, client) => {
      if (status !== 0 || client === undefined) {
        this.#handler.onAcceptError(`accept ${status}`);
      } else if (!this.#isWanted || !this.#handler.admit()) {
        client.close();
      } else {
        const { noDelay, keepAliveMs = 0 } = this.#options;
        if (noDelay) client.setNoDelay?.(true);
        if (keepAliveMs > 0) client.setKeepAlive?.(true, Math.ceil(keepAliveMs / 1_000));
        const options = { handle: client, allowHalfOpen: true, onread: this.#onread };
        this.#adopt(new Socket(options) as ChannelSocket);
      }
    };
  }

  #adopt(socket: ChannelSocket): ChannelSocket {
    socket.transport = this;
    socket.held = null;
    socket.endCode = "";
    socket.channel = this.#channels.add(socket);
    socket.on("end", onEnd);
    socket.on("error", onError);
    socket.on("close", onClose);
    this.#handler.onOpen(socket.channel);
    return socket;
  }

  /** Called when net could not write at once: the slab lives until it has. */
  #hold(socket: ChannelSocket, slab: Slab): WriteOutcome {
    this.#channels.queued[socket.channel] = socket.writableLength;
    slab.retain();
    if (socket.held !== null) {
      socket.held.push(slab);
      return WRITE.QUEUED;
    }
    socket.held = [slab];
    // "drain" would come only above net's own watermark; an empty write ends when all before it
    // has.
    socket.write(NOTHING, () => this.#afterWrite(socket));
    return WRITE.QUEUED;
  }

  #afterWrite(socket: ChannelSocket): void {
    if (socket.held === null) return;
    if (socket.writableLength > 0 && !socket.destroyed) {
      this.#channels.queued[socket.channel] = socket.writableLength;
      socket.write(NOTHING, () => this.#afterWrite(socket));
      return;
    }
    releaseHeld(socket);
    if (this.#channels.get(socket.channel) !== socket) return;
    this.#channels.queued[socket.channel] = 0;
    if (!socket.destroyed) this.#handler.onDrain(socket.channel);
  }

  /** Called by the socket's "close" event, once. */
  forget(socket: ChannelSocket): void {
    releaseHeld(socket);
    const { channel } = socket;
    this.#channels.remove(channel);
    socket.channel = -1;
    const wasReset = socket.endCode !== "";
    this.#handler.onClose(channel, wasReset ? "reset" : "closed", socket.endCode);
  }
}

function onRead(this: unknown, length: number, buffer: Uint8Array): boolean {
  const socket = this as ChannelSocket;
  if (socket.channel >= 0) socket.transport.handler.onChunk(socket.channel, buffer, 0, length);
  return true;
}

function onData(this: Socket, buffer: Buffer): void {
  onRead.call(this, buffer.length, buffer);
}

function onEnd(this: Socket): void {
  const socket = this as ChannelSocket;
  socket.transport.handler.onEnd(socket.channel);
}

function onError(this: Socket, error: NodeJS.ErrnoException): void {
  (this as ChannelSocket).endCode = error.code ?? error.name;
}

function onClose(this: Socket): void {
  const socket = this as ChannelSocket;
  socket.transport.forget(socket);
}

function releaseHeld(socket: ChannelSocket): void {
  for (const slab of socket.held ?? []) slab.release();
  socket.held = null;
}

function handleOf(socket: Socket): Handle | null {
  return (socket as unknown as { _handle: Handle | null })._handle;
}

function open(options: ListenOptions): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer({ allowHalfOpen: true });
    server.once("error", reject);
    server.listen(options, () => {
      server.removeListener("error", reject);
      resolve(server);
    });
  });
}
