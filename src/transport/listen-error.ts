// Why a listener could not be opened, and what to do about it.

import { HoldfastError } from "../base/errors.ts";
import type { TransportAddress } from "./transport.ts";

const ADVICE: Readonly<Record<string, string>> = {
  EADDRINUSE: "another process listens there: stop it, or choose another port",
  EACCES:
    "not permitted: ports below 1024 need rights, a socket's folder must exist and be writable",
  EADDRNOTAVAIL: "this machine has no such address: use one of its own, or 0.0.0.0",
  ENOTFOUND: "the host name is unknown: use an address",
  EMFILE: "the process has no files left: raise its limit (ulimit -n)",
  ENOENT: "the folder of the socket's path does not exist: create it",
  ENAMETOOLONG: "a socket's path has at most 107 bytes: choose a shorter one",
  EBADF: "no such file is open: whoever starts this process must hand it on",
  ENOTSOCK: "it is no socket: hand on one that listens",
  ESOCKTNOSUPPORT: "it is no stream socket: hand on one that listens",
  EINVAL: "no socket can listen there: it must be bound and not connected, a path without zeros",
  ESHUTDOWN: "it was destroyed: make a new one",
};

/** Where the port of what is opened is chosen. */
const PORT_OPTIONS: Readonly<Record<string, string>> = {
  TCP: "tcp.port",
  WebSocket: "websocket.port",
  "admin HTTP": "admin.port",
};

const PATH_IN_USE =
  "another process listens there, or what stands there is no socket: stop it, remove it, " +
  "or choose another path";

export function listenError(
  what: string,
  address: TransportAddress,
  error: unknown,
): HoldfastError {
  const { code, message } = error as NodeJS.ErrnoException;
  const where = address.path ?? `${address.host}:${address.port}`;
  const isPathInUse = code === "EADDRINUSE" && address.path !== null;
  const option = code === "EADDRINUSE" ? PORT_OPTIONS[what] : undefined;
  const named = option === undefined ? "" : ` (${option})`;
  const advice = isPathInUse ? PATH_IN_USE : `${ADVICE[code ?? ""] ?? message}${named}`;
  const text = `cannot listen for ${what} on ${where}: ${code ?? "error"}: ${advice}`;
  return new HoldfastError("HOLDFAST_LISTEN_FAILED", text, { cause: error });
}
