// The one place that loads the native addon, and the declarations of what is called in it. The
// installation builds it (scripts/install-native.mjs); where it could not, it left the reason.

import { existsSync, readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { env, platform } from "node:process";
import { fileURLToPath } from "node:url";
import { HoldfastError } from "../base/errors.ts";
import { LAYOUT_VERSION } from "./epoll-layout.ts";

/** Options of sockets, at the end of the arguments: 0 or 1, seconds, milliseconds. */
type SocketArguments = [noDelay: number, keepAliveSeconds: number, userTimeoutMs: number];

/** What returns a number gives -errno where it fails. */
export interface NativeLoop {
  setQueued(queued: Float64Array): number;
  /** The memory must live as long as operations name the slot. */
  setSlot(slot: number, bytes: Uint8Array): number;
  /** @returns how many results there are. */
  flush(operations: number): number;
  limitQueue(bytes: number): number;
  listenIp(
    member: number,
    ip: string,
    port: number,
    backlog: number,
    ...options: SocketArguments
  ): number;
  listenPath(member: number, path: string, backlog: number): number;
  listenFd(member: number, fd: number, backlog: number, ...options: SocketArguments): number;
  closeAcceptor(acceptor: number): void;
  /** @returns 1 where it was out of files, and may still be. */
  retryAcceptor(acceptor: number): number;
  /** `address:port`; "" for a Unix socket. */
  acceptorAddress(acceptor: number): string;
  /** @returns the channel. The file is the loop's, or closed. */
  adopt(member: number, fd: number): number;
  connectIp(
    member: number,
    ip: string,
    port: number,
    localIp: string,
    localPort: number,
    ...options: SocketArguments
  ): number;
  connectPath(member: number, path: string): number;
  peerAddress(channel: number): string;
  tcpInfo(channel: number, facts: Float64Array): number;
  /** 1: the loop keeps the process alive. */
  setActive(isActive: number): void;
  close(): void;
}

export interface NativeAddon {
  /** {@link LAYOUT_VERSION}. */
  readonly version: number;
  readonly layout: Readonly<Record<string, number>>;
  readonly Loop: new (
    header: Int32Array,
    records: Int32Array,
    results: Int32Array,
    operations: Int32Array,
    receive: Uint8Array,
    counters: Float64Array,
    queued: Float64Array,
    onTurn: () => void,
  ) => NativeLoop;
  /**
   * Opens a socket that listens and that nobody accepts on; it closes on exec.
   * @param isShared 1: beside others of the same user that say so too (SO_REUSEPORT).
   * @returns the file.
   */
  openListeningIp(ip: string, port: number, backlog: number, isShared: number): number;
  openListeningPath(path: string, backlog: number): number;
  /** Lets others listen beside it from now on. */
  sharePort(fd: number): number;
  /** Where a file listens: `address:port` or `unix:path`; -errno where it does not. */
  fileListening(fd: number): string | number;
  /** Closes a file that was accepted and not adopted. */
  closeFile(fd: number): void;
  /** Who is at the other end of such a file. */
  filePeer(fd: number): string;
}

// What follows only finds and loads the file.

/** Another file instead of the package's own, such as a build with sanitizers. */
const ADDON_VARIABLE = "HOLDFAST_NATIVE_ADDON";

// From src/transport/ and from dist/transport/ alike.
const BUILD_FOLDER = "../../native/build";

/** Where the addon is sought, and on what system. */
export interface NativePlace {
  readonly platform: string;
  readonly path: string;
  /** A file with the reason, where the installation built nothing. Null: it never builds there. */
  readonly skippedPath: string | null;
  /** A file with the size of what the installation built; null: nobody has noted it. */
  readonly builtPath: string | null;
}

let loaded: NativeAddon | null = null;

/**
 * The addon, loaded at the first call. Throws HOLDFAST_TRANSPORT_UNAVAILABLE and nothing else: what
 * is wrong, and what to do.
 */
export function loadNative(): NativeAddon {
  loaded ??= loadNativeFrom(nativePlace(env));
  return loaded;
}

/** The package's own build, or what the environment names instead. */
export function nativePlace(
  environment: Readonly<Record<string, string | undefined>>,
): NativePlace {
  const named = environment[ADDON_VARIABLE] ?? "";
  if (named !== "") {
    return { platform, path: resolve(named), skippedPath: null, builtPath: null };
  }
  const path = pathTo("Release/holdfast.node");
  return { platform, path, skippedPath: pathTo("skipped.json"), builtPath: pathTo("built.json") };
}

function pathTo(file: string): string {
  return fileURLToPath(new URL(`${BUILD_FOLDER}/${file}`, import.meta.url));
}

/** {@link loadNative} from any place, remembering nothing. */
export function loadNativeFrom(place: NativePlace): NativeAddon {
  const { path } = place;
  if (place.platform !== "linux") {
    throw unavailable(`it needs Linux, and this is ${place.platform}`, "");
  }
  if (!existsSync(path)) throw unavailable(whyMissing(place), HOW_TO_BUILD);
  if (isCutOff(place)) {
    throw unavailable(`${path} is not what was built: it was cut off`, HOW_TO_BUILD);
  }
  const addon = load(path);
  const version: unknown = addon?.version;
  if (version === LAYOUT_VERSION) return addon as NativeAddon;
  const has = typeof version === "number" ? `version ${version}` : "no version";
  throw unavailable(`${path} has ${has}, and ${LAYOUT_VERSION} is needed`, HOW_TO_BUILD);
}

/** Loading such a file would end the process by a signal. */
function isCutOff({ path, builtPath }: NativePlace): boolean {
  const bytes = builtPath === null ? null : factOf(builtPath, "bytes");
  return typeof bytes === "number" && statSync(path).size !== bytes;
}

function load(path: string): Partial<NativeAddon> | undefined {
  try {
    return createRequire(import.meta.url)(path) as Partial<NativeAddon> | undefined;
  } catch (error) {
    const [message] = String(error instanceof Error ? error.message : error).split("\n");
    throw unavailable(`${path} cannot be loaded (${message})`, HOW_TO_BUILD);
  }
}

function whyMissing({ path, skippedPath }: NativePlace): string {
  if (skippedPath === null) return `there is no ${path}, which ${ADDON_VARIABLE} names`;
  const reason = factOf(skippedPath, "reason");
  if (typeof reason === "string") return `it was not built: ${reason}`;
  return "it was not built: the package's install script did not run (npm's --ignore-scripts, say)";
}

/** One fact of what the installation has noted; undefined where it has not. */
function factOf(path: string, name: string): unknown {
  try {
    return (JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>)[name];
  } catch {
    return undefined;
  }
}

const HOW_TO_BUILD =
  "Build it with `npm rebuild holdfast` (in a clone: `npm run build:native`), which needs g++, " +
  "make and Python; or ";

function unavailable(reason: string, orElse: string): HoldfastError {
  const instead = "use tcp-net, which works everywhere (option tcp.transport, flag --transport)";
  const text = `${orElse}${instead}`;
  return new HoldfastError(
    "HOLDFAST_TRANSPORT_UNAVAILABLE",
    `tcp-epoll cannot be used: ${reason}. ${text.charAt(0).toUpperCase()}${text.slice(1)}.`,
  );
}
