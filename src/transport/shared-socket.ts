// A socket that is bound and not listened on, by Node alone. It has no public way to do that before
// net.BoundSocket (Node 26), so the function behind its cluster module is used; it was tried on
// Node 20, 22, 24 and 26.

import * as net from "node:net";
import { getSystemErrorName } from "node:util";
import { HoldfastError } from "../base/errors.ts";
import type { HeldSockets } from "./held-socket.ts";

/** The part of a libuv handle that is used here. */
interface Handle {
  readonly fd: number;
  /** Missing on Unix sockets. */
  getsockname?(out: { address?: string; port?: number }): number;
  close(): void;
}

/** A handle, or -errno. */
type CreateHandle = (
  address: string | null,
  port: number,
  addressType: number,
  fd?: number,
) => Handle | number;

/** By their files, which are closed through them. */
const held: Map<number, Handle> = new Map();

/** @param ip "" with a path. Throws what the system call would. */
export function bindShared(ip: string, port: number, path: string | null): HeldSockets {
  const create = createHandle();
  const family = net.isIPv6(ip) ? 6 : 4;
  const handle = path === null ? create(ip, port, family) : create(path, -1, -1);
  if (typeof handle === "number") throw failed(handle);
  const bound: { address?: string; port?: number } = {};
  // A port that somebody has is told here: bind() keeps it for later.
  const error = handle.getsockname?.(bound) ?? 0;
  if (error !== 0) {
    handle.close();
    throw failed(error);
  }
  held.set(handle.fd, handle);
  const address =
    path === null
      ? { host: bound.address!, port: bound.port!, path: null }
      : { host: "", port: 0, path };
  return { files: [handle.fd], address };
}

/** @returns whether a handle has it; the path of a Unix socket that was bound here goes too. */
export function closeShared(file: number): boolean {
  const handle = held.get(file);
  handle?.close();
  return held.delete(file);
}

/** `address:port` or `unix:` of a socket that was inherited; -errno where it is none. */
export function sharedAddress(file: number): string | number {
  const handle = held.get(file) ?? createHandle()(null, 0, 4, file);
  if (typeof handle === "number") return handle;
  held.set(file, handle);
  if (handle.getsockname === undefined) return "unix:";
  const bound: { address?: string; port?: number } = {};
  const error = handle.getsockname(bound);
  return error === 0 ? `${bound.address}:${bound.port}` : error;
}

function createHandle(): CreateHandle {
  const { _createServerHandle: create } = net as unknown as {
    _createServerHandle?: CreateHandle;
  };
  if (typeof create === "function") return create;
  throw new HoldfastError(
    "HOLDFAST_TRANSPORT_UNAVAILABLE",
    `Node ${process.versions.node} cannot bind a socket without listening on it: build the ` +
      "native addon (npm rebuild holdfast), or serve with one process (workers.count: 0)",
  );
}

function failed(error: number): Error {
  const code = getSystemErrorName(error);
  return Object.assign(new Error(code), { code });
}
