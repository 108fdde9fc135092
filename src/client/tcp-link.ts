// A link over a stream socket of Node's: TCP, TLS or a Unix socket.

import type { Socket } from "node:net";
import type { Bytes } from "../base/buffer-pool.ts";
import type { Link, LinkHandler } from "./dial.ts";

export class TcpLink implements Link {
  readonly hasMessages: boolean = false;
  readonly #socket: Socket;
  #error: Error | null = null;

  /** @param openEvent after which bytes can be sent: "connect", or "secureConnect" for TLS. */
  constructor(socket: Socket, openEvent: "connect" | "secureConnect", handler: LinkHandler) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on(openEvent, () => handler.onOpen());
    socket.on("data", (bytes: Bytes) => handler.onBytes(bytes));
    socket.on("error", (error) => {
      this.#error = error;
    });
    socket.on("close", () => {
      const text = this.#error?.message ?? "the server closed the connection";
      handler.onClosed({ code: null, text, error: this.#error });
    });
  }

  get bufferedBytes(): number {
    return this.#socket.writableLength;
  }

  send(bytes: Bytes): void {
    if (this.#socket.writable) this.#socket.write(bytes);
  }

  close(): void {
    this.#socket.end();
  }

  abort(): void {
    const socket = this.#socket;
    socket.removeAllListeners();
    socket.on("error", () => {});
    socket.destroy();
  }
}
