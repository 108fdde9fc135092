// What carries the bytes of one connection of the probe: a socket of node:net or node:tls, or a
// channel of an epoll loop. Both tell the same.

import type { Bytes } from "../base/buffer-pool.ts";
import type { Target } from "./target.ts";

export interface ProbeSocket {
  /** Bytes that the kernel has not taken. */
  readonly queuedBytes: number;
  /** @returns false: it keeps the memory until it could write it. */
  write(bytes: Buffer): boolean;
  stopReading(): void;
  /** Ends it, in order where nothing waits to be sent. Its user is told nothing more. */
  letGo(): void;
}

/** Told of its socket; never from inside {@link ProbeNetwork.connect}, nor by what is let go. */
export interface SocketUser {
  onConnected(): void;
  /** The TLS handshake is over. */
  onSecured(): void;
  /** Bytes came; they are valid until this returns. */
  onReceived(bytes: Bytes, start: number, end: number): void;
  /**
   * The last.
   * @param errno its name; `alert 116` for one of TLS; "" where the server ended it in order.
   */
  onSocketClosed(errno: string): void;
}

export interface ProbeNetwork {
  /** @param localAddress "" where the kernel chooses. */
  connect(target: Target, localAddress: string, localPort: number, user: SocketUser): ProbeSocket;
}
