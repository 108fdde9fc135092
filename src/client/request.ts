// Something that was asked of the server and is to be answered by one Result or Failure.

import type { Bytes } from "../base/buffer-pool.ts";
import type { HoldfastError } from "../base/errors.ts";
import type { ClientMessageInit, Failure } from "../wire/messages.ts";
import { CallError } from "./call-error.ts";
import { frameBytesMax } from "../wire/client-frame.ts";
import type { Cutoff } from "./cutoff.ts";

/** Where a request waits; it is told when the request needs no place any more. */
export interface RequestPlace {
  remove(request: Request): void;
}

/** Told once how a request ended; the bytes are valid until the call returns. */
export type RequestDone = (error: HoldfastError | null, payload: Bytes) => void;

export class Request {
  /** Names it in errors, such as `call "echo"`. */
  readonly what: string;
  readonly bytesMax: number;
  /** Bounds the wait for the answer, from outside; disposed of here. */
  cutoff: Cutoff | null = null;
  /** The queue or the session that holds it; null when nobody does. */
  place: RequestPlace | null = null;
  /** What it is called on its connection; 0 before it was sent. */
  id: number = 0;
  readonly #message: ClientMessageInit;
  /** On the client's clock; the rest of it is told to the server. Infinity: nothing is told. */
  readonly #deadlineMs: number;
  #onDone: RequestDone | null;

  constructor(what: string, message: ClientMessageInit, deadlineMs: number, onDone: RequestDone) {
    this.what = what;
    this.bytesMax = frameBytesMax(message);
    this.#message = message;
    this.#deadlineMs = deadlineMs;
    this.#onDone = onDone;
  }

  /** As it is to be sent now. */
  message(id: number, nowMs: number): ClientMessageInit {
    const { call } = this.#message;
    if (call == null || this.#deadlineMs === Infinity) return { ...this.#message, id };
    const timeoutMs = Math.max(1, Math.ceil(this.#deadlineMs - nowMs));
    return { id, call: { ...call, timeoutMs } };
  }

  succeed(payload: Bytes): void {
    this.#end(null, payload);
  }

  refuse(failure: Failure): void {
    this.#end(new CallError(this.what, failure), NOTHING);
  }

  /** Ends it from this side. Does nothing where it has ended. */
  fail(error: HoldfastError): void {
    this.#end(error, NOTHING);
  }

  /** Nobody wants to know any more. */
  drop(): void {
    this.#onDone = null;
    this.cutoff?.dispose();
    this.cutoff = null;
    const { place } = this;
    this.place = null;
    place?.remove(this);
  }

  #end(error: HoldfastError | null, payload: Bytes): void {
    const onDone = this.#onDone;
    if (onDone === null) return;
    this.drop();
    onDone(error, payload);
  }
}

const NOTHING: Bytes = new Uint8Array(0);
