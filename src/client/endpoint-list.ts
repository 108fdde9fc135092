// The order in which a client tries its endpoints.

import { type Endpoint, parseEndpoint } from "../transport/endpoint.ts";

/** Hints of one GoAway that are kept. */
const HINTS_MAX = 8;

/** Tries the configured endpoints in turn, forever; what a server hinted at comes first, once. */
export class EndpointList {
  readonly #configured: readonly Endpoint[];
  readonly #schemes: readonly string[];
  #next: number = 0;
  #hints: Endpoint[] | null = null;

  constructor(configured: readonly Endpoint[], schemes: readonly string[]) {
    this.#configured = configured;
    this.#schemes = schemes;
  }

  get count(): number {
    return this.#configured.length;
  }

  next(): Endpoint {
    const hint = this.#hints?.shift();
    if (hint !== undefined) return hint;
    this.#hints = null;
    const endpoint = this.#configured[this.#next]!;
    this.#next = (this.#next + 1) % this.#configured.length;
    return endpoint;
  }

  /**
   * Endpoints that a server named. Ignored are those that cannot be read, and those that would lead
   * from a private connection to a plain one or from the network to a local socket: the token goes
   * where the user sent it, or to a place at least as safe.
   */
  hint(texts: readonly string[], from: Endpoint): void {
    for (const text of texts.slice(0, HINTS_MAX)) {
      const endpoint = parseEndpoint(text, this.#schemes);
      if (typeof endpoint === "string") continue;
      if (isPrivate(from) && !isPrivate(endpoint)) continue;
      if (endpoint.scheme === "unix" && from.scheme !== "unix") continue;
      this.#hints ??= [];
      if (this.#hints.length < HINTS_MAX) this.#hints.push(endpoint);
    }
  }
}

/** Nobody on the network reads along. */
function isPrivate(endpoint: Endpoint): boolean {
  return endpoint.scheme !== "tcp" && endpoint.scheme !== "ws";
}
