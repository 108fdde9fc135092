// Listening sockets that are held open for others to accept on: processes that inherit them come
// and go, and who connects meanwhile waits in the kernel instead of being refused.

import { lookup } from "node:dns/promises";
import { closeSync, unlinkSync } from "node:fs";
import { isIP } from "node:net";
import { getSystemErrorName } from "node:util";
import { listenError } from "./listen-error.ts";
import { loadNative, type NativeAddon } from "./native.ts";
import { bindShared, closeShared, sharedAddress } from "./shared-socket.ts";
import type { TransportAddress } from "./transport.ts";
import { isDeadSocket } from "./unix-path.ts";

export interface HeldAddress {
  /** What it is opened for, in errors: "TCP". */
  readonly what: string;
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** Unix socket path instead of host and port. */
  readonly path: string | null;
  /** Connections that the kernel holds until they are accepted, on each socket. */
  readonly backlog: number;
}

export interface HeldSocketOptions extends HeldAddress {
  /** So many listen on the port, and the kernel spreads connections over them. At least 1. */
  readonly count: number;
}

export interface HeldSockets {
  /** They close on exec, but for a child that is given them as its stdio. */
  readonly files: readonly number[];
  readonly address: TransportAddress;
}

/**
 * Opens `count` listening sockets at one address; at a Unix path, which only one can have, one.
 * Whatever listens there already is a conflict: SO_REUSEPORT alone would share the port with any
 * process of the same user. Rejects with HOLDFAST_LISTEN_FAILED, with nothing left open, and with
 * HOLDFAST_TRANSPORT_UNAVAILABLE without the native addon.
 */
export async function openHeldSockets(options: HeldSocketOptions): Promise<HeldSockets> {
  const { host, port, path, what } = options;
  const addon = loadNative();
  try {
    if (path !== null) return await openPath(addon, path, options.backlog);
    return openPort(addon, await numeric(host), options);
  } catch (error) {
    throw listenError(what, { host, port, path }, error);
  }
}

/**
 * One socket for all, without the native addon. It is bound and begins to listen when the first
 * process does: until then clients are refused, and a second server that binds there as well is not
 * noticed before it listens. Rejects with HOLDFAST_LISTEN_FAILED, also where this Node release
 * cannot do it.
 */
export async function openSharedSocket(options: HeldAddress): Promise<HeldSockets> {
  const { host, port, path, what } = options;
  try {
    if (path?.includes("\0") === true) throw failed("EINVAL");
    if (path !== null && (await isDeadSocket(path))) unlinkSync(path);
    return bindShared(path === null ? await numeric(host) : "", port, path);
  } catch (error) {
    throw listenError(what, { host, port, path }, error);
  }
}

/** Paths of Unix sockets that were opened here, by file: an inherited one's is not ours. */
const ownPaths: Map<number, string> = new Map();

/**
 * Closes sockets that were opened here or inherited, each once. Nobody can connect any more when
 * all who have them have done so.
 */
export function closeHeldSockets(files: readonly number[]): void {
  for (const file of files) {
    if (closeShared(file)) continue;
    closeSync(file);
    const path = ownPaths.get(file);
    if (path !== undefined) removeFile(path);
    ownPaths.delete(file);
  }
}

/**
 * Where a socket listens that this process was started with. Throws HOLDFAST_LISTEN_FAILED where it
 * is none; without the native addon it is not seen whether one that is bound listens.
 */
export function inheritedAddress(file: number): TransportAddress {
  const text = textOf(file);
  if (text.startsWith("unix:")) return { host: "", port: 0, path: text.slice(5) };
  const colon = text.lastIndexOf(":");
  return { host: text.slice(0, colon), port: Number(text.slice(colon + 1)), path: null };
}

function textOf(file: number): string {
  const where = { host: "", port: 0, path: `the inherited file ${file}` };
  try {
    const addon = addonOrNull();
    const found = addon === null ? sharedAddress(file) : addon.fileListening(file);
    if (typeof found === "string") return found;
    throw failed(getSystemErrorName(found));
  } catch (error) {
    throw listenError("connections", where, error);
  }
}

function addonOrNull(): NativeAddon | null {
  try {
    return loadNative();
  } catch {
    return null;
  }
}

/**
 * The first listens alone, which the kernel refuses where anybody else does. Then it admits others
 * beside it. Asking first and opening then would leave a moment for a second server to do the same.
 */
function openPort(addon: NativeAddon, ip: string, options: HeldSocketOptions): HeldSockets {
  const { port, backlog, count } = options;
  const files: number[] = [];
  try {
    const first = checked(addon.openListeningIp(ip, port, backlog, 0));
    files.push(first);
    const address = inheritedAddress(first);
    if (count > 1) checked(addon.sharePort(first));
    while (files.length < count) {
      files.push(checked(addon.openListeningIp(ip, address.port, backlog, 1)));
    }
    return { files, address };
  } catch (error) {
    for (const file of files) closeSync(file);
    throw error;
  }
}

async function openPath(addon: NativeAddon, path: string, backlog: number): Promise<HeldSockets> {
  // The system's names end at the first zero.
  if (path.includes("\0")) throw failed("EINVAL");
  let file = addon.openListeningPath(path, backlog);
  if (file < 0 && (await isDeadSocket(path))) {
    unlinkSync(path);
    file = addon.openListeningPath(path, backlog);
  }
  ownPaths.set(checked(file), path);
  return { files: [file], address: { host: "", port: 0, path } };
}

/** @param result of the addon: -errno is thrown. */
function checked(result: number): number {
  if (result < 0) throw failed(getSystemErrorName(result));
  return result;
}

/** What a system call that failed would throw. */
function failed(code: string): Error {
  return Object.assign(new Error(code), { code });
}

async function numeric(host: string): Promise<string> {
  return isIP(host) === 0 ? (await lookup(host)).address : host;
}

function removeFile(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Somebody else has removed it.
  }
}
