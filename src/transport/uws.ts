// The one place that loads uWebSockets.js, and the declarations of what is called in it. Its
// official binaries are platform packages; the official package, if the user installed it, comes
// first.

import { createRequire } from "node:module";
import { arch, platform, versions } from "node:process";
import { HoldfastError } from "../base/errors.ts";

export interface UwsWebSocket {
  /** 1: handed on; 0: taken, but it waits; 2: refused. */
  send(message: Uint8Array, isBinary: boolean, compress?: boolean): number;
  getBufferedAmount(): number;
  end(code: number, reason: string): void;
  close(): void;
  cork(run: () => void): void;
  getRemoteAddressAsText(): ArrayBuffer;
  getRemotePort?(): number;
}

export interface UwsRequest {
  getMethod(): string;
  getHeader(lowerCaseName: string): string;
}

export interface UwsResponse {
  writeStatus(status: string): UwsResponse;
  writeHeader(name: string, value: string): UwsResponse;
  end(body?: string, closeConnection?: boolean): void;
  close(): void;
  upgrade(
    userData: object,
    key: string,
    protocol: string,
    extensions: string,
    context: unknown,
  ): void;
}

/** Ranges that uWebSockets.js does not check but aborts the process on are kept in websocket.ts. */
export interface UwsBehaviour {
  readonly compression: number;
  readonly maxPayloadLength: number;
  readonly maxBackpressure: number;
  readonly closeOnBackpressureLimit: boolean;
  readonly idleTimeout: number;
  readonly sendPingsAutomatically: boolean;
  /** Without it every upgrade is granted. */
  upgrade?(response: UwsResponse, request: UwsRequest, context: unknown): void;
  open?(ws: UwsWebSocket): void;
  message(ws: UwsWebSocket, message: ArrayBuffer, isBinary: boolean): void;
  drain?(ws: UwsWebSocket): void;
  ping?(ws: UwsWebSocket): void;
  pong?(ws: UwsWebSocket): void;
  close?(ws: UwsWebSocket, code: number, message: ArrayBuffer): void;
}

export interface UwsApp {
  ws(pattern: string, behaviour: UwsBehaviour): UwsApp;
  any(pattern: string, run: (response: UwsResponse, request: UwsRequest) => void): UwsApp;
  /**
   * Called with 1 for every accepted socket and with -1 for each that closes before its upgrade.
   */
  filter(run: (response: UwsResponse, change: number) => void): UwsApp;
  listen(host: string, port: number, options: number, run: (token: object | false) => void): UwsApp;
  /**
   * Takes over a file that was accepted, which must be non-blocking. Not documented, so perhaps not
   * there; what follows was found with 20.51.4.
   * - It returns the app and never throws. The file is the library's at once, and closed by it.
   * - What is no socket that can be polled (a closed file, a regular one) aborts the process.
   * - A second argument, meant for the peer's address, is not looked at: the kernel is asked.
   * - The filter is called before it returns, and the 12 s until the request hold as ever.
   */
  adoptSocket?(fd: number): UwsApp;
  close(): void;
}

export interface UwsModule {
  App(): UwsApp;
  us_listen_socket_close(token: object): void;
  us_socket_local_port(token: object): number;
}

export interface LoadedUws {
  readonly uws: UwsModule;
  readonly packageName: string;
  readonly version: string;
}

/** Throws HOLDFAST_TRANSPORT_UNAVAILABLE, saying what was tried and how to get it. */
export function loadUws(): LoadedUws {
  const require = createRequire(import.meta.url);
  const major = versions.node.split(".")[0]!;
  const tried: string[] = [];
  for (const packageName of ["uWebSockets.js", `@uwsjs/${platform}-${arch}-${major}`]) {
    try {
      const uws = require(packageName) as UwsModule;
      const { version } = require(`${packageName}/package.json`) as { version: string };
      return { uws, packageName, version };
    } catch (error) {
      tried.push(`${packageName}: ${(error as Error).message.split("\n")[0]}`);
    }
  }
  throw new HoldfastError(
    "HOLDFAST_TRANSPORT_UNAVAILABLE",
    `WebSocket needs uWebSockets.js, and none fits Node ${versions.node} on ${platform}-${arch} ` +
      `(tried ${tried.join("; ")}). Install it with ` +
      "`npm install uNetworking/uWebSockets.js#v20.51.0`, or serve TCP alone with " +
      "websocket.enabled: false, or go on without it with websocket.required: false.",
  );
}
