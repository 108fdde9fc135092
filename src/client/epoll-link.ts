// A link over the native transport: TCP or a Unix socket. An idle one costs some 100 bytes, where a
// socket of node's costs some 3,000.

import { lookup } from "node:dns";
import { isIP } from "node:net";
import { getSystemErrorName } from "node:util";
import type { Bytes } from "../base/buffer-pool.ts";
import type { Endpoint } from "../transport/endpoint.ts";
import type { DialHandler, EpollDialer } from "../transport/epoll-dialer.ts";
import type { Link, LinkHandler } from "./dial.ts";

/**
 * An address has this long where the name has another, as with node:net. The last one may take what
 * the client's options allow.
 */
const ADDRESS_TIMEOUT_MS = 250;

const NONE: readonly string[] = [];

export class EpollLink implements Link, DialHandler {
  readonly hasMessages: boolean = false;
  readonly #dialer: EpollDialer;
  readonly #endpoint: Endpoint;
  /** Null once nobody is to be told. */
  #handler: LinkHandler | null;
  /** -1: there is none yet, or none any more. */
  #channel: number = -1;
  #isOpen: boolean = false;
  /** The address that was tried last. */
  #ip: string = "";
  /** Addresses of the name that were not tried yet. */
  #addresses: readonly string[] = NONE;

  constructor(dialer: EpollDialer, endpoint: Endpoint, handler: LinkHandler) {
    this.#dialer = dialer;
    this.#endpoint = endpoint;
    this.#handler = handler;
    const { scheme, host } = endpoint;
    if (scheme === "unix" || isIP(host) !== 0) {
      this.#try(host, NONE);
    } else {
      this.#resolve(host);
    }
  }

  get bufferedBytes(): number {
    return this.#channel === -1 ? 0 : this.#dialer.queuedBytes(this.#channel);
  }

  send(bytes: Bytes): void {
    if (this.#channel !== -1) this.#dialer.send(this.#channel, bytes);
  }

  close(): void {
    if (this.#channel !== -1) this.#dialer.close(this.#channel);
  }

  abort(): void {
    this.#handler = null;
    if (this.#channel !== -1) this.#dialer.abandon(this.#channel);
    this.#channel = -1;
  }

  // What follows is called by the dialer.

  onOpen(): void {
    this.#isOpen = true;
    this.#addresses = NONE;
    this.#handler?.onOpen();
  }

  onChunk(bytes: Bytes, start: number, end: number): void {
    this.#handler?.onBytes(bytes.subarray(start, end));
  }

  /** A server that sends no more has left. */
  onEnd(): void {
    this.#dialer.close(this.#channel);
  }

  onClose(error: string): void {
    this.#channel = -1;
    const [next, ...rest] = this.#addresses;
    if (this.#handler === null) return;
    if (next !== undefined && error !== "") this.#try(next, rest);
    else this.#end(error === "" ? null : this.#failure(error));
  }

  #resolve(host: string): void {
    lookup(host, { all: true }, (error, found) => {
      if (this.#handler === null) return;
      if (error !== null) {
        this.#end(error);
        return;
      }
      const [first, ...rest] = found.map(({ address }) => address);
      this.#try(first!, rest);
    });
  }

  /** @param rest addresses that are left where this one comes to nothing. */
  #try(ip: string, rest: readonly string[]): void {
    this.#addresses = rest;
    this.#ip = ip;
    const { scheme, port, path } = this.#endpoint;
    const channel = this.#dialer.connect(
      {
        ip,
        port,
        path: scheme === "unix" ? path : null,
        localIp: "",
        localPort: 0,
        noDelay: true,
        timeoutMs: rest.length === 0 ? 0 : ADDRESS_TIMEOUT_MS,
      },
      this,
    );
    if (channel >= 0) this.#channel = channel;
    // A handler is never called from inside dial().
    else this.#dialer.later(() => this.onClose(getSystemErrorName(channel)));
  }

  #end(error: Error | null): void {
    const text = error?.message ?? "the server closed the connection";
    this.#handler?.onClosed({ code: null, text, error });
  }

  #failure(code: string): Error {
    const { scheme, port, path } = this.#endpoint;
    const where = scheme === "unix" ? path : `${this.#ip}:${port}`;
    const text = this.#isOpen ? `read ${code}` : `connect ${code} ${where}`;
    return Object.assign(new Error(text), { code });
  }
}
