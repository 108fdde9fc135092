// Everything one member of an epoll loop accepts on: the address of its own, or listening sockets
// that it was started with, and for a while those of others who are down.

import type { Clock } from "../base/clock.ts";
import { type AcceptorOptions, EpollAcceptor } from "./epoll-acceptor.ts";
import type { EpollLoop } from "./epoll-loop.ts";
import type { TransportAddress } from "./transport.ts";

export interface AcceptorSetOptions extends AcceptorOptions {
  /** Listening sockets that this process was started with, instead of `fd` and all others. */
  readonly fds?: readonly number[] | null;
}

/** Where there is no inherited socket. */
const OWN_ADDRESS = -1;

export class AcceptorSet {
  readonly #what: string;
  readonly #loop: EpollLoop;
  readonly #member: number;
  readonly #options: AcceptorSetOptions;
  readonly #clock: Clock;
  /** By the number of the inherited socket. */
  readonly #acceptors: Map<number, EpollAcceptor> = new Map();
  #isWanted: boolean = false;
  #isDestroyed: boolean = false;
  /** Where it listened first: it may release that one. */
  #address: TransportAddress | null = null;

  /** @param what it is opened for, in errors: "TCP". */
  constructor(
    what: string,
    loop: EpollLoop,
    member: number,
    options: AcceptorSetOptions,
    clock: Clock,
  ) {
    this.#what = what;
    this.#loop = loop;
    this.#member = member;
    this.#options = options;
    this.#clock = clock;
    for (const fd of options.fds ?? [options.fd]) {
      this.#acceptors.set(fd ?? OWN_ADDRESS, this.#newAcceptor(fd));
    }
  }

  /**
   * Rejects with HOLDFAST_LISTEN_FAILED, and listens on none then. Where stop() comes first it
   * resolves and does not listen.
   */
  async listen(): Promise<TransportAddress> {
    this.#isWanted = true;
    try {
      const addresses = await listenAll([...this.#acceptors.values()]);
      this.#address ??= addresses[0] ?? null;
    } catch (error) {
      this.stop();
      throw error;
    }
    const { host, port, path } = this.#options;
    return this.#address ?? { host, port, path };
  }

  /**
   * Accepts on these inherited sockets too, from now on or from the next listen(). Rejects with
   * HOLDFAST_LISTEN_FAILED, and has adopted none then.
   */
  async adopt(fds: readonly number[]): Promise<void> {
    const newOnes = [...new Set(fds)].filter((fd) => !this.#acceptors.has(fd));
    const acceptors = newOnes.map((fd) => this.#newAcceptor(fd));
    for (const [index, fd] of newOnes.entries()) this.#acceptors.set(fd, acceptors[index]!);
    if (!this.#isWanted) return;
    try {
      await listenAll(acceptors);
    } catch (error) {
      this.release(newOnes);
      throw error;
    }
  }

  /** Who waits there waits for whoever else has the socket. */
  release(fds: readonly number[]): void {
    for (const fd of fds) {
      this.#acceptors.get(fd)?.destroy();
      this.#acceptors.delete(fd);
    }
  }

  stop(): void {
    this.#isWanted = false;
    for (const acceptor of this.#acceptors.values()) acceptor.stop();
  }

  /** Listens never again: its member leaves the loop. */
  destroy(): void {
    this.#isWanted = false;
    this.#isDestroyed = true;
    for (const acceptor of this.#acceptors.values()) acceptor.destroy();
  }

  /** This native acceptor has stopped, for want of files say. */
  starve(index: number): void {
    for (const acceptor of this.#acceptors.values()) {
      if (acceptor.index === index) acceptor.starve();
    }
  }

  /** A file may be free. */
  retry(): void {
    for (const acceptor of this.#acceptors.values()) acceptor.retry();
  }

  #newAcceptor(fd: number | null): EpollAcceptor {
    const options = { ...this.#options, fd };
    const acceptor = new EpollAcceptor(this.#what, this.#loop, this.#member, options, this.#clock);
    if (this.#isDestroyed) acceptor.destroy();
    return acceptor;
  }
}

/** All are begun before the first is waited for, and all have ended when one has failed. */
async function listenAll(acceptors: readonly EpollAcceptor[]): Promise<TransportAddress[]> {
  const opened = await Promise.allSettled(acceptors.map((acceptor) => acceptor.listen()));
  return opened.map((each) => {
    if (each.status === "rejected") throw each.reason;
    return each.value;
  });
}
