// Listening by uWebSockets.js itself, where the native addon cannot accept for it.

import { createServer } from "node:net";
import { HoldfastError } from "../base/errors.ts";
import { listenError } from "./listen-error.ts";
import type { TransportAddress } from "./transport.ts";
import type { UwsApp, UwsModule } from "./uws.ts";

export class UwsListener {
  readonly #app: UwsApp;
  readonly #uws: UwsModule;
  readonly #wanted: TransportAddress;
  readonly #isShared: boolean;
  #listening: object | null = null;
  #isWanted: boolean = false;
  #isDestroyed: boolean = false;
  /** Where it listens, once the port is known. */
  #address: TransportAddress | null = null;
  #opening: Promise<void> | null = null;

  /**
   * @param wanted port 0: any free one.
   * @param isShared other processes of the same server listen on the same port, each with a socket
   * of its own: the kernel spreads connections over them, and what one has not accepted when it
   * ends is lost. Then the port may not be 0.
   */
  constructor(app: UwsApp, uws: UwsModule, wanted: TransportAddress, isShared: boolean) {
    this.#app = app;
    this.#uws = uws;
    this.#wanted = wanted;
    this.#isShared = isShared;
  }

  /**
   * Rejects with HOLDFAST_LISTEN_FAILED. Where stop() comes first it resolves and does not listen.
   */
  async listen(): Promise<TransportAddress> {
    this.#isWanted = true;
    this.#opening ??= this.#open().finally(() => {
      this.#opening = null;
    });
    await this.#opening;
    return this.#address ?? this.#wanted;
  }

  stop(): void {
    this.#isWanted = false;
    if (this.#listening !== null) this.#uws.us_listen_socket_close(this.#listening);
    this.#listening = null;
  }

  destroy(): void {
    this.stop();
    this.#isDestroyed = true;
  }

  /** Files that are free again are found without being told. */
  retry(): void {}

  async #open(): Promise<void> {
    if (this.#listening !== null) return;
    const wanted = this.#address ?? this.#wanted;
    if (this.#isDestroyed) throw listenError("WebSocket", wanted, { code: "ESHUTDOWN" });
    const port = this.#isShared ? sharedPort(wanted) : await freePort(wanted);
    if (!this.#isWanted) return;
    let token: object | false = false;
    // Called before it returns.
    this.#app.listen(wanted.host, port, 0, (opened) => {
      token = opened;
    });
    if (token === false) {
      throw new HoldfastError(
        "HOLDFAST_LISTEN_FAILED",
        `cannot listen for WebSocket on ${wanted.host}:${port}: uWebSockets.js refused. ` +
          "Another program may listen there, or this machine has no such address.",
      );
    }
    this.#listening = token;
    this.#address = { host: wanted.host, port, path: null };
  }
}

function sharedPort({ host, port }: TransportAddress): number {
  if (port !== 0) return port;
  throw new HoldfastError(
    "HOLDFAST_LISTEN_FAILED",
    `cannot listen for WebSocket on ${host}:0: uWebSockets.js listens by itself here, and every ` +
      "worker would get another port: choose one (websocket.port)",
  );
}

/**
 * uWebSockets.js says only that it failed, and shares a port that is taken without a word; and a
 * port that it chose itself cannot be opened again. So net tries first and tells why, and where.
 */
function freePort(wanted: TransportAddress): Promise<number> {
  return tryPort(wanted).catch((error: unknown) => {
    throw listenError("WebSocket", wanted, error);
  });
}

/**
 * Opens and closes a listening socket: rejects with the error that uWebSockets.js would not tell.
 */
function tryPort(address: TransportAddress): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once("error", reject);
    probe.listen({ host: address.host, port: address.port, exclusive: true }, () => {
      const bound = probe.address();
      const port = bound !== null && typeof bound === "object" ? bound.port : address.port;
      probe.close(() => resolve(port));
    });
  });
}
