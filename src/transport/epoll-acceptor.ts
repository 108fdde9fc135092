// A listening socket of an epoll loop: opened, closed, opened again at the same address, and retried
// when files had run out. Whoever listens gets the files of what was accepted.

import { lookup } from "node:dns/promises";
import { unlinkSync } from "node:fs";
import { isIP } from "node:net";
import { getSystemErrorName } from "node:util";
import type { Clock, Scheduled } from "../base/clock.ts";
import type { EpollLoop } from "./epoll-loop.ts";
import { listenError } from "./listen-error.ts";
import type { TransportAddress } from "./transport.ts";
import { isDeadSocket } from "./unix-path.ts";

export interface AcceptorOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** Unix socket path instead of host and port. */
  readonly path: string | null;
  /** A listening socket that this process was started with, instead of all of these. */
  readonly fd: number | null;
  /** Connections that the kernel holds until they are accepted. */
  readonly backlog: number;
  /** Sends small frames at once instead of waiting to fill a segment. */
  readonly noDelay: boolean;
  /** Silence after which the kernel probes the peer, in milliseconds, whole seconds; 0: never. */
  readonly keepAliveMs: number;
  /** How long sent bytes may stay unacknowledged before the kernel gives up; 0: its default. */
  readonly userTimeoutMs: number;
}

/** Out of files, it is tried again after this time, or when a connection of the loop ends. */
const RETRY_MS = 1_000;

export class EpollAcceptor {
  readonly #what: string;
  readonly #loop: EpollLoop;
  readonly #member: number;
  readonly #options: AcceptorOptions;
  readonly #clock: Clock;
  /** Number of the native acceptor; -1 where it does not listen. */
  #acceptor: number = -1;
  #isWanted: boolean = false;
  /** Where it listens, once the port is known. */
  #address: TransportAddress | null = null;
  #retry: Scheduled | null = null;

  /** @param what it is opened for, in errors: "TCP". */
  constructor(
    what: string,
    loop: EpollLoop,
    member: number,
    options: AcceptorOptions,
    clock: Clock,
  ) {
    this.#what = what;
    this.#loop = loop;
    this.#member = member;
    this.#options = options;
    this.#clock = clock;
  }

  get isListening(): boolean {
    return this.#acceptor !== -1;
  }

  /** Rejects with HOLDFAST_LISTEN_FAILED. */
  async listen(): Promise<TransportAddress> {
    const { host, port, path } = this.#options;
    this.#isWanted = true;
    const wanted = this.#address ?? { host, port, path };
    if (this.isListening) return wanted;
    let acceptor: number;
    try {
      acceptor = await this.#open(wanted);
    } catch (error) {
      throw listenError(this.#what, wanted, error);
    }
    this.#acceptor = acceptor;
    this.#loop.activate(1);
    this.#address = this.#bound(acceptor, wanted);
    // stop() came while the socket was being opened.
    if (!this.#isWanted) this.stop();
    return this.#address;
  }

  /** Closes the socket; one that was inherited stays open where it came from. */
  stop(): void {
    this.#isWanted = false;
    this.#retry?.cancel();
    this.#retry = null;
    if (this.#acceptor === -1) return;
    this.#loop.native.closeAcceptor(this.#acceptor);
    this.#loop.activate(-1);
    this.#acceptor = -1;
    const { path, fd } = this.#options;
    if (path !== null && fd === null) removeFile(path);
  }

  /** The native acceptor has stopped, for want of files say. */
  starve(): void {
    this.#retry ??= this.#clock.after(RETRY_MS, () => this.retry());
  }

  /** A file may be free. */
  retry(): void {
    if (this.#retry === null) return;
    this.#retry.cancel();
    this.#retry = null;
    if (this.#acceptor !== -1) this.#loop.native.retryAcceptor(this.#acceptor);
  }

  async #open({ host, port, path }: TransportAddress): Promise<number> {
    const { fd, backlog, noDelay, keepAliveMs, userTimeoutMs } = this.#options;
    const { native } = this.#loop;
    const seconds = Math.ceil(keepAliveMs / 1_000);
    const options = [noDelay ? 1 : 0, seconds, userTimeoutMs] as const;
    if (fd !== null) return opened(native.listenFd(this.#member, fd, backlog, ...options));
    if (path === null) {
      const ip = isIP(host) === 0 ? (await lookup(host)).address : host;
      return opened(this.#loop.native.listenIp(this.#member, ip, port, backlog, ...options));
    }
    const first = native.listenPath(this.#member, path, backlog);
    if (first >= 0 || !(await isDeadSocket(path))) return opened(first);
    unlinkSync(path);
    return opened(this.#loop.native.listenPath(this.#member, path, backlog));
  }

  #bound(acceptor: number, wanted: TransportAddress): TransportAddress {
    const text = this.#loop.native.acceptorAddress(acceptor);
    if (text === "") return { host: "", port: 0, path: wanted.path };
    const colon = text.lastIndexOf(":");
    return { host: text.slice(0, colon), port: Number(text.slice(colon + 1)), path: null };
  }
}

/** Throws what a system call that failed would. */
function opened(result: number): number {
  if (result >= 0) return result;
  const code = getSystemErrorName(result);
  throw Object.assign(new Error(code), { code });
}

function removeFile(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Somebody else has removed it.
  }
}
