// Where servers are: endpoints as users write them.

import { HoldfastError } from "../base/errors.ts";

/** `tcp://host:port`, `tls://host:port`, `unix:/path`, `ws://host:port/path` or `wss://...`. */
export interface Endpoint {
  /** As it was written; names it in errors. */
  readonly text: string;
  readonly scheme: string;
  /** Without the brackets of IPv6. Empty for unix. */
  readonly host: string;
  /** 0 for unix. */
  readonly port: number;
  /** A file for unix; path and query for WebSockets. */
  readonly path: string;
}

export const ENDPOINTS_MAX = 64;
const ENDPOINT_LENGTH_MAX = 2_048;
const DEFAULT_PORTS: Readonly<Record<string, number>> = {
  tcp: 7400,
  tls: 7400,
  ws: 80,
  wss: 443,
};

/** The endpoint, or what is wrong with it. */
export function parseEndpoint(text: string, schemes: readonly string[]): Endpoint | string {
  if (text.length > ENDPOINT_LENGTH_MAX) return `is longer than ${ENDPOINT_LENGTH_MAX} characters`;
  const colon = text.indexOf(":");
  const scheme = colon === -1 ? "" : text.slice(0, colon).toLowerCase();
  if (!schemes.includes(scheme)) {
    return `needs one of the schemes ${schemes.join(", ")}, such as ${schemes[0]}://host:port`;
  }
  if (scheme === "unix") return unixEndpoint(text, text.slice(colon + 1));
  return hostEndpoint(text, scheme, text.slice(colon + 1));
}

function unixEndpoint(text: string, rest: string): Endpoint | string {
  const path = rest.startsWith("//") ? rest.slice(2) : rest;
  if (path === "" || path.includes("\0")) return "needs the path of a socket: unix:/path";
  return { text, scheme: "unix", host: "", port: 0, path };
}

function hostEndpoint(text: string, scheme: string, rest: string): Endpoint | string {
  let url: URL;
  try {
    // http:, because browsers take other schemes' hosts for opaque text.
    url = new URL(`http:${rest}`);
  } catch {
    return `is no ${scheme}://host:port`;
  }
  if (!rest.startsWith("//") || url.hostname === "") return `is no ${scheme}://host:port`;
  if (url.username !== "" || url.password !== "") return "must not hold a password: use `token`";
  if (url.hash !== "") return "must not have a #fragment";
  const path = url.pathname + url.search;
  const isWebSocket = scheme === "ws" || scheme === "wss";
  if (!isWebSocket && path !== "/") return "has no path on TCP";
  const port = explicitPort(rest) ?? DEFAULT_PORTS[scheme]!;
  if (port === 0) return "needs a port from 1 to 65535";
  const host = url.hostname.replace(/^\[|\]$/g, "");
  return { text, scheme, host, port, path: isWebSocket ? path : "" };
}

/** Read from the text: URL drops a port that is http's default. */
function explicitPort(rest: string): number | null {
  const authority = /^\/\/[^/?#]*/.exec(rest)?.[0] ?? "";
  const digits = /:(\d+)$/.exec(authority)?.[1];
  return digits === undefined ? null : Number(digits);
}

/** Throws HOLDFAST_OPTIONS_INVALID, which names the entry. */
export function parseEndpoints(
  given: string | readonly string[],
  schemes: readonly string[],
): Endpoint[] {
  const texts: readonly unknown[] = Array.isArray(given) ? given : [given];
  if (texts.length < 1 || texts.length > ENDPOINTS_MAX) {
    throw new HoldfastError(
      "HOLDFAST_OPTIONS_INVALID",
      `endpoints: between 1 and ${ENDPOINTS_MAX} are needed, not ${texts.length}`,
    );
  }
  return texts.map((text, index) => {
    const key = Array.isArray(given) ? `endpoints[${index}]` : "endpoint";
    const parsed = typeof text === "string" ? parseEndpoint(text, schemes) : "is not text";
    if (typeof parsed !== "string") return parsed;
    const shown = typeof text === "string" ? ` "${text.slice(0, 100)}"` : "";
    throw new HoldfastError("HOLDFAST_OPTIONS_INVALID", `${key}${shown} ${parsed}`);
  });
}
