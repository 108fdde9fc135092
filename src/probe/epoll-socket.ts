// Connections of the probe over the native transport: TCP, Unix sockets and WebSocket. Holding one
// costs this object and some 50 bytes beside it. TLS is left to node.

import { getSystemErrorName } from "node:util";
import type { Bytes } from "../base/buffer-pool.ts";
import type { DialHandler, EpollDialer } from "../transport/epoll-dialer.ts";
import type { ProbeNetwork, ProbeSocket, SocketUser } from "./probe-socket.ts";
import { isUnix, type Target } from "./target.ts";

export class EpollNetwork implements ProbeNetwork {
  readonly #dialer: EpollDialer;
  readonly #tls: ProbeNetwork;

  constructor(dialer: EpollDialer, tls: ProbeNetwork) {
    this.#dialer = dialer;
    this.#tls = tls;
  }

  connect(target: Target, localAddress: string, localPort: number, user: SocketUser): ProbeSocket {
    if (target.isTls) return this.#tls.connect(target, localAddress, localPort, user);
    return new EpollSocket(this.#dialer, target, localAddress, localPort, user);
  }
}

class EpollSocket implements ProbeSocket, DialHandler {
  readonly #dialer: EpollDialer;
  /** Null once it was let go. */
  #user: SocketUser | null;
  /** -1: it is gone. */
  #channel: number;

  constructor(
    dialer: EpollDialer,
    target: Target,
    localIp: string,
    localPort: number,
    user: SocketUser,
  ) {
    this.#dialer = dialer;
    this.#user = user;
    const channel = dialer.connect(
      {
        ip: target.address,
        port: target.port,
        path: isUnix(target) ? target.path : null,
        localIp,
        localPort,
        noDelay: true,
        // Deadlines are kept for all connections at once.
        timeoutMs: 0,
      },
      this,
    );
    this.#channel = Math.max(-1, channel);
    if (channel < 0) dialer.later(() => this.onClose(getSystemErrorName(channel)));
  }

  get queuedBytes(): number {
    return this.#channel === -1 ? 0 : this.#dialer.queuedBytes(this.#channel);
  }

  /** The dialer copies. */
  write(bytes: Buffer): boolean {
    if (this.#channel !== -1) this.#dialer.send(this.#channel, bytes);
    return true;
  }

  stopReading(): void {
    if (this.#channel !== -1) this.#dialer.pause(this.#channel);
  }

  letGo(): void {
    this.#user = null;
    if (this.#channel !== -1) this.#dialer.abandon(this.#channel);
    this.#channel = -1;
  }

  onOpen(): void {
    this.#user?.onConnected();
  }

  onChunk(bytes: Bytes, start: number, end: number): void {
    this.#user?.onReceived(bytes, start, end);
  }

  /** Whoever sends no more is not written to either. */
  onEnd(): void {
    this.#dialer.close(this.#channel);
  }

  onClose(error: string): void {
    this.#channel = -1;
    this.#user?.onSocketClosed(error);
  }
}
