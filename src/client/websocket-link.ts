// A link over a WebSocket, as browsers have it and as the package `ws` imitates it.

import type { Bytes } from "../base/buffer-pool.ts";
import { SUBPROTOCOL } from "../wire/messages.ts";
import type { Link, LinkHandler } from "./dial.ts";

/** The part of the WebSocket standard that is used here. */
export interface StandardWebSocket {
  binaryType: string;
  readonly bufferedAmount: number;
  readonly protocol: string;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  send(data: Bytes): void;
  close(code?: number, reason?: string): void;
  /** Not in the standard: cuts it off without a close frame. */
  terminate?(): void;
}

/** Of a close that this side gave no code for. */
const NO_STATUS = 1005;

export class WebSocketLink implements Link {
  readonly hasMessages: boolean = true;
  readonly #socket: StandardWebSocket;
  #error: Error | null = null;

  constructor(socket: StandardWebSocket, handler: LinkHandler) {
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = (): void => {
      // The standard does not make a server that ignores the subprotocol fail.
      if (socket.protocol === SUBPROTOCOL) handler.onOpen();
      else handler.onBreach(`the WebSocket server does not speak ${SUBPROTOCOL}`);
    };
    socket.onmessage = ({ data }: { readonly data: unknown }): void => {
      if (data instanceof ArrayBuffer) handler.onBytes(new Uint8Array(data));
      else handler.onBreach("a text message");
    };
    socket.onerror = (event: { readonly error?: unknown }): void => {
      // Only `ws` says what went wrong; browsers keep it from scripts.
      if (event.error instanceof Error) this.#error = event.error;
    };
    socket.onclose = ({
      code,
      reason,
    }: {
      readonly code: number;
      readonly reason: string;
    }): void => {
      const text = reason !== "" ? reason : (this.#error?.message ?? textOf(code));
      handler.onClosed({ code, text, error: this.#error });
    };
  }

  get bufferedBytes(): number {
    return this.#socket.bufferedAmount;
  }

  send(bytes: Bytes): void {
    this.#socket.send(bytes);
  }

  close(code: number, reason: string): void {
    this.#socket.close(code, reason);
  }

  abort(): void {
    const socket = this.#socket;
    socket.onopen = null;
    socket.onmessage = null;
    socket.onclose = null;
    // `ws` reports what is cut off while it connects as an error, which somebody must take.
    socket.onerror = (): void => {};
    if (socket.terminate === undefined) socket.close();
    else socket.terminate();
  }
}

function textOf(code: number): string {
  return code === NO_STATUS ? "the connection was closed" : "the connection was lost";
}
