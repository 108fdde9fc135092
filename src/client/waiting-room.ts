// Requests that wait for a connection, in the order in which they came. The client bounds them by
// their bytes, and each has a timeout.

import type { HoldfastError } from "../base/errors.ts";
import type { Request, RequestPlace } from "./request.ts";

export class WaitingRoom implements RequestPlace {
  readonly #requests: Set<Request> = new Set();
  #bytes: number = 0;

  /** What they will take at most when they are sent. */
  get bytes(): number {
    return this.#bytes;
  }

  add(request: Request): void {
    this.#requests.add(request);
    this.#bytes += request.bytesMax;
    request.place = this;
  }

  /** Called by a request that has ended. */
  remove(request: Request): void {
    if (this.#requests.delete(request)) this.#bytes -= request.bytesMax;
  }

  /** The one that has waited longest, which waits here no more; null: nobody does. */
  take(): Request | null {
    const [request] = this.#requests;
    if (request === undefined) return null;
    this.remove(request);
    request.place = null;
    return request;
  }

  fail(error: HoldfastError): void {
    for (const request of [...this.#requests]) request.fail(error);
  }
}
