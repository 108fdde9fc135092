// A listening socket of an epoll loop: opened, closed, opened again at the same address, retried
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

/** Out of files, it is tried again so often, and when a connection of its member ends. */
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
  #isDestroyed: boolean = false;
  #opening: Promise<void> | null = null;
  /** Where it listens, once the port is known. */
  #address: TransportAddress | null = null;
  /** While files have run out. */
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

  /** Number of the native acceptor; -1 where it does not listen. */
  get index(): number {
    return this.#acceptor;
  }

  /**
   * Rejects with HOLDFAST_LISTEN_FAILED. Where stop() comes first it resolves and does not listen.
   */
  async listen(): Promise<TransportAddress> {
    const { host, port, path, fd } = this.#options;
    const wanted = this.#address ?? { host, port, path };
    // Whoever stops and listens again while a name is being looked up gets that one's result.
    this.#isWanted = true;
    this.#opening ??= this.#open(wanted).finally(() => {
      this.#opening = null;
    });
    try {
      await this.#opening;
    } catch (error) {
      const inherited = { host, port, path: `the inherited file ${fd}` };
      throw listenError(this.#what, fd === null ? wanted : inherited, error);
    }
    return this.#address ?? wanted;
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

  /** Listens never again: its member leaves the loop. */
  destroy(): void {
    this.stop();
    this.#isDestroyed = true;
  }

  /** The native acceptor has stopped, for want of files say. It is tried again until it accepts. */
  starve(): void {
    if (this.#acceptor === -1) return;
    this.#retry ??= this.#clock.after(RETRY_MS, () => {
      this.#retry = null;
      if (this.#loop.native.retryAcceptor(this.#acceptor) === 1) this.starve();
    });
  }

  /** A file may be free. */
  retry(): void {
    if (this.#retry !== null) this.#loop.native.retryAcceptor(this.#acceptor);
  }

  async #open(wanted: TransportAddress): Promise<void> {
    if (this.isListening) return;
    if (this.#isDestroyed) throw failed("ESHUTDOWN");
    const { path, fd, backlog } = this.#options;
    const options = this.#socketOptions();
    if (path !== null && fd === null) return this.#openPath(path, wanted);
    let ip = wanted.host;
    if (fd === null && isIP(ip) === 0) {
      ip = (await lookup(ip)).address;
      if (!this.#isWanted) return;
    }
    const { native } = this.#loop;
    const acceptor =
      fd === null
        ? native.listenIp(this.#member, ip, wanted.port, backlog, ...options)
        : native.listenFd(this.#member, fd, backlog, ...options);
    this.#opened(acceptor, wanted);
  }

  async #openPath(path: string, wanted: TransportAddress): Promise<void> {
    // The system's names end at the first zero.
    if (path.includes("\0")) throw failed("EINVAL");
    const { backlog } = this.#options;
    let acceptor = this.#loop.native.listenPath(this.#member, path, backlog);
    if (acceptor < 0) {
      const isDead = await isDeadSocket(path);
      if (!this.#isWanted) return;
      if (isDead) {
        unlinkSync(path);
        acceptor = this.#loop.native.listenPath(this.#member, path, backlog);
      }
    }
    this.#opened(acceptor, wanted);
  }

  /** @param acceptor or -errno, which it throws. */
  #opened(acceptor: number, wanted: TransportAddress): void {
    if (acceptor < 0) throw failed(getSystemErrorName(acceptor));
    this.#acceptor = acceptor;
    this.#loop.activate(1);
    this.#address = this.#bound(acceptor, wanted);
  }

  #socketOptions(): [noDelay: number, keepAliveSeconds: number, userTimeoutMs: number] {
    const { noDelay, keepAliveMs, userTimeoutMs } = this.#options;
    return [noDelay ? 1 : 0, Math.ceil(keepAliveMs / 1_000), userTimeoutMs];
  }

  #bound(acceptor: number, wanted: TransportAddress): TransportAddress {
    const text = this.#loop.native.acceptorAddress(acceptor);
    if (text === "") return { host: "", port: 0, path: wanted.path };
    const colon = text.lastIndexOf(":");
    return { host: text.slice(0, colon), port: Number(text.slice(colon + 1)), path: null };
  }
}

/** What a system call that failed would throw. */
function failed(code: string): Error {
  return Object.assign(new Error(code), { code });
}

function removeFile(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Somebody else has removed it.
  }
}
