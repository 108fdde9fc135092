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
};

export function listenError(
  what: string,
  address: TransportAddress,
  error: unknown,
): HoldfastError {
  const { code, message } = error as NodeJS.ErrnoException;
  const where = address.path ?? `${address.host}:${address.port}`;
  const advice = ADVICE[code ?? ""] ?? message;
  const text = `cannot listen for ${what} on ${where}: ${code ?? "error"}: ${advice}`;
  return new HoldfastError("HOLDFAST_LISTEN_FAILED", text, { cause: error });
}
