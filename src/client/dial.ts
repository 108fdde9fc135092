// What a client needs from the network: one connection that carries bytes. It knows nothing of
// frames. Node and browsers have a dialer each; tests have others.

import type { Bytes } from "../base/buffer-pool.ts";
import type { Endpoint } from "../transport/endpoint.ts";

/** Why a link is gone. */
export interface LinkEnd {
  /** The close code that the peer gave on a WebSocket; null where none came, and on TCP. */
  readonly code: number | null;
  /** For people. */
  readonly text: string;
  /** What the network reported, where it was an error. */
  readonly error: Error | null;
}

/** Who is told what happens to a link; never from inside dial(), send(), close() or abort(). */
export interface LinkHandler {
  /** Bytes can be sent. At most once, before anything else. */
  onOpen(): void;
  /** What was received; valid until this returns. On a WebSocket: exactly one message. */
  onBytes(bytes: Bytes): void;
  /** The peer sent what no link of this kind carries, such as a text message. */
  onBreach(text: string): void;
  /** The link is gone, or never came to be. Exactly once, unless it was aborted; then never. */
  onClosed(end: LinkEnd): void;
}

export interface Link {
  /** Bytes that were handed over and have not left this process. */
  readonly bufferedBytes: number;
  /** Whether the bytes come in messages, none of which may end inside a frame. */
  readonly hasMessages: boolean;
  /** Not before onOpen; in vain after close(). Keeps `bytes`: they must not change any more. */
  send(bytes: Bytes): void;
  /** Sends what is buffered, then closes in order; onClosed tells when that is done. */
  close(code: number, reason: string): void;
  /** Lets go at once; no handler is called any more. */
  abort(): void;
}

export interface Dialer {
  /** Which endpoints it can reach: "tcp", "wss" and so on. */
  readonly schemes: readonly string[];
  /** Never throws for what an endpoint says: onClosed tells. */
  dial(endpoint: Endpoint, handler: LinkHandler): Link;
}

/** A link that came to nothing at once: {@link LinkHandler.onClosed} follows in its own turn. */
export function failedLink(error: Error, handler: LinkHandler): Link {
  let isAborted = false;
  queueMicrotask(() => {
    if (!isAborted) handler.onClosed({ code: null, text: error.message, error });
  });
  return {
    bufferedBytes: 0,
    hasMessages: false,
    send() {},
    close() {},
    abort() {
      isAborted = true;
    },
  };
}
