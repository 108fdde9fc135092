// Connections of the probe over node:net and node:tls: everywhere, and for TLS.

import { type NetConnectOpts, Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import type { ProbeNetwork, ProbeSocket, SocketUser } from "./probe-socket.ts";
import { isUnix, type Target } from "./target.ts";

const RECEIVE_BYTES = 65_536;

/** What is added to net's socket, right after its construction. */
interface OwnedSocket extends Socket {
  /** Null once it was let go. */
  user: SocketUser | null;
  errno: string;
}

export class NetNetwork implements ProbeNetwork {
  readonly #isInsecure: boolean;
  /** One for all sockets: what is read lies there until the callback returns. */
  readonly #onread: object = {
    buffer: Buffer.allocUnsafeSlow(RECEIVE_BYTES),
    callback: onRead,
  };

  /** @param isInsecure certificates are not verified. */
  constructor(isInsecure: boolean) {
    this.#isInsecure = isInsecure;
  }

  connect(target: Target, localAddress: string, localPort: number, user: SocketUser): ProbeSocket {
    const source = localAddress === "" ? {} : { localAddress, localPort };
    const socket = target.isTls ? this.#openTls(target, source) : this.#openPlain(target, source);
    return new NetSocket(socket, user);
  }

  #openPlain(target: Target, source: object): Socket {
    const socket = new Socket({ onread: this.#onread } as object);
    const where = isUnix(target)
      ? { path: target.path }
      : { host: target.address, port: target.port, ...source, autoSelectFamily: false };
    socket.connect({ ...where, noDelay: true } as NetConnectOpts);
    return socket;
  }

  #openTls(target: Target, source: object): TLSSocket {
    const isName = target.host !== target.address;
    const socket = connectTls({
      host: target.address,
      port: target.port,
      ...source,
      ...(isName ? { servername: target.host } : {}),
      rejectUnauthorized: !this.#isInsecure,
    });
    socket.setNoDelay(true);
    socket.on("secureConnect", onSecureConnect);
    socket.on("data", onData);
    return socket;
  }
}

class NetSocket implements ProbeSocket {
  readonly #socket: OwnedSocket;

  constructor(socket: Socket, user: SocketUser) {
    const owned = socket as OwnedSocket;
    owned.user = user;
    owned.errno = "";
    owned.on("connect", onConnect);
    owned.on("error", onError);
    owned.on("close", onClose);
    this.#socket = owned;
  }

  get queuedBytes(): number {
    return this.#socket.writableLength;
  }

  write(bytes: Buffer): boolean {
    const socket = this.#socket;
    if (!socket.writable) return true;
    socket.write(bytes);
    return socket.writableLength === 0;
  }

  stopReading(): void {
    this.#socket.pause();
  }

  letGo(): void {
    const socket = this.#socket;
    socket.user = null;
    if (socket.writableLength > 0) socket.destroy();
    else socket.destroySoon();
  }
}

/** The callback of `onread`: net calls it as a method of the socket. */
function onRead(this: unknown, length: number, buffer: Uint8Array): boolean {
  (this as OwnedSocket).user?.onReceived(buffer, 0, length);
  return true;
}

function onData(this: Socket, chunk: Buffer): void {
  (this as OwnedSocket).user?.onReceived(chunk, 0, chunk.length);
}

function onConnect(this: Socket): void {
  (this as OwnedSocket).user?.onConnected();
}

function onSecureConnect(this: Socket): void {
  (this as OwnedSocket).user?.onSecured();
}

function onError(this: Socket, error: NodeJS.ErrnoException): void {
  const alert = /alert number (\d+)/.exec(error.message)?.[1];
  (this as OwnedSocket).errno = alert === undefined ? (error.code ?? error.name) : `alert ${alert}`;
}

function onClose(this: Socket): void {
  const socket = this as OwnedSocket;
  socket.user?.onSocketClosed(socket.errno);
}
