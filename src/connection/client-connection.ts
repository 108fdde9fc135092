// A client's connection as an application sees it.

import type { Payload } from "../wire/payload.ts";
import type { SendOutcome } from "./outbound.ts";

export interface DisconnectOptions {
  /**
   * 1000 (the default), 4000-4999 for the application's own meaning, or a code of the wire contract
   * from 3000 to 3999: below 3500 the client comes back, above it does not.
   */
  readonly code?: number;
  /** Told to the client; the first 100 characters are sent. */
  readonly text?: string;
  /** When a client that comes back should do so at the earliest. */
  readonly reconnectAfterMs?: number;
}

export interface ClientConnection {
  /** Unique in this process; the client was told it in Welcome. */
  readonly id: string;
  /** Host and port, or "". Empty once it is closed. */
  readonly remoteAddress: string;
  /** What its Hello carried; null for none. */
  readonly labels: ReadonlyMap<string, string> | null;
  /** Name and version of the client program, as it says. */
  readonly clientName: string;
  readonly ageMs: number;
  /** Whether it takes messages. */
  readonly isOpen: boolean;
  /** Bytes that were sent to it and wait, in our queue and in the transport's. */
  readonly backlogBytes: number;
  /** The application's own; nothing here looks at it. */
  data: unknown;
  /** Pushes an Event that belongs to no subscription (offset 0). */
  send(topic: string, payload: Uint8Array | string | Payload): SendOutcome;
  /** Sends one frame as it is. For raw listeners. Throws HOLDFAST_FRAMING_INVALID. */
  sendFrame(body: Uint8Array | string | Payload): SendOutcome;
  /** Ends it in order: GoAway, what is queued, FIN. Throws HOLDFAST_CLOSE_CODE_INVALID. */
  disconnect(options?: DisconnectOptions): void;
}
