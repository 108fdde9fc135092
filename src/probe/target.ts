// What is connected to: endpoints as they are written, with their names resolved once, before
// anything is measured.

import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { HoldfastError } from "../base/errors.ts";
import { type Endpoint, parseEndpoints } from "../transport/endpoint.ts";

const SCHEMES = ["tcp", "tls", "ws", "wss", "unix"] as const;

export interface Target {
  /** As it was written. */
  readonly text: string;
  readonly isTls: boolean;
  readonly isWebSocket: boolean;
  /** The name, for TLS and the Host header; "" for Unix sockets. */
  readonly host: string;
  /** What the name resolved to; "" for Unix sockets. */
  readonly address: string;
  readonly family: 4 | 6;
  readonly port: number;
  /** Path and query of a WebSocket, or the file of a Unix socket. */
  readonly path: string;
}

/** Throws HOLDFAST_OPTIONS_INVALID, which names the entry. */
export function parseTargets(texts: readonly string[]): readonly Endpoint[] {
  try {
    return parseEndpoints(texts, SCHEMES);
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    const message = error.message.replace(/^endpoints(\[\d+\])?/, "target");
    throw new HoldfastError(error.code, message, { cause: error });
  }
}

/** Rejects with HOLDFAST_CONNECT_FAILED where a name is not known. */
export function resolveTargets(endpoints: readonly Endpoint[]): Promise<readonly Target[]> {
  return Promise.all(endpoints.map(resolveTarget));
}

async function resolveTarget(endpoint: Endpoint): Promise<Target> {
  const { text, scheme, host, port, path } = endpoint;
  const about = {
    text,
    isTls: scheme === "tls" || scheme === "wss",
    isWebSocket: scheme === "ws" || scheme === "wss",
    host,
    port,
    path,
  };
  if (scheme === "unix") return { ...about, address: "", family: 4 };
  const family = isIP(host);
  if (family !== 0) return { ...about, address: host, family: family === 6 ? 6 : 4 };
  try {
    const found = await lookup(host);
    return { ...about, address: found.address, family: found.family === 6 ? 6 : 4 };
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "unknown";
    const message = `${text}: the name ${host} was not resolved (${code})`;
    throw new HoldfastError("HOLDFAST_CONNECT_FAILED", message, { cause: error });
  }
}

export function isUnix(target: Target): boolean {
  return target.address === "";
}

/** Whether it is this machine, by an address that only this machine has. */
export function isLoopback(target: Target): boolean {
  return target.address.startsWith("127.") || target.address === "::1";
}
