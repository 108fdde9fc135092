// TCP and Unix sockets by the native addon, on Linux. A connection owns 32 bytes there, a few here,
// and nothing else until it has something to wait for.

import type { Bytes, Slab } from "../base/buffer-pool.ts";
import type { Clock } from "../base/clock.ts";
import { AcceptorSet, type AcceptorSetOptions } from "./acceptor-set.ts";
import type { EpollLoop, LoopMember } from "./epoll-loop.ts";
import {
  type ChannelId,
  type Slice,
  type TcpInfo,
  type Transport,
  type TransportAddress,
  type TransportHandler,
  WRITE,
  type WriteOutcome,
} from "./transport.ts";

export interface TcpEpollOptions extends AcceptorSetOptions {
  /**
   * Bytes that may wait for one peer. Whoever writes keeps to a limit of its own: this one only
   * guards the process, and a connection that passes it is reset.
   */
  readonly queueBytesMax: number;
}

export class TcpEpollTransport implements Transport, LoopMember {
  readonly kind = "tcp-epoll" as const;
  readonly hasMessages: boolean = false;
  readonly canPause: boolean = true;
  readonly gathersWrites: boolean = true;
  readonly pendingFiles: number = 0;
  readonly #handler: TransportHandler;
  readonly #loop: EpollLoop;
  readonly #member: number;
  readonly #acceptors: AcceptorSet;
  #openChannels: number = 0;
  #isDestroyed: boolean = false;

  constructor(options: TcpEpollOptions, handler: TransportHandler, loop: EpollLoop, clock: Clock) {
    this.#handler = handler;
    this.#loop = loop;
    this.#member = loop.join(this);
    this.#acceptors = new AcceptorSet("TCP", loop, this.#member, options, clock);
    loop.allowQueue(options.queueBytesMax);
  }

  get queued(): Float64Array {
    return this.#loop.queued;
  }

  listen(): Promise<TransportAddress> {
    return this.#acceptors.listen();
  }

  stopAccepting(): void {
    this.#acceptors.stop();
  }

  async resumeAccepting(): Promise<void> {
    await this.#acceptors.listen();
  }

  adopt(fds: readonly number[]): Promise<void> {
    return this.#acceptors.adopt(fds);
  }

  release(fds: readonly number[]): void {
    this.#acceptors.release(fds);
  }

  destroy(): void {
    if (this.#isDestroyed) return;
    this.#isDestroyed = true;
    this.#acceptors.destroy();
    for (const channel of this.#loop.channelsOf(this.#member)) this.#loop.reset(channel);
    if (this.#openChannels === 0) this.#loop.leave(this.#member);
  }

  write(channel: ChannelId, slab: Slab, start: number, end: number): WriteOutcome {
    return this.#loop.write(channel, slab, start, end);
  }

  writev(channel: ChannelId, slices: readonly Slice[]): WriteOutcome {
    let outcome: WriteOutcome = WRITE.REFUSED;
    for (const { slab, start, end } of slices) {
      outcome = this.#loop.write(channel, slab, start, end);
    }
    return outcome;
  }

  queuedNow(channel: ChannelId): number {
    return this.#loop.queued[channel] ?? 0;
  }

  pause(channel: ChannelId): void {
    this.#loop.pause(channel);
  }

  resume(channel: ChannelId): void {
    this.#loop.resume(channel);
  }

  close(channel: ChannelId): void {
    this.#loop.close(channel);
  }

  reset(channel: ChannelId): void {
    this.#loop.reset(channel);
  }

  remoteAddress(channel: ChannelId): string {
    return this.#loop.remoteAddress(channel);
  }

  tcpInfo(channel: ChannelId): TcpInfo | null {
    return this.#loop.tcpInfo(channel);
  }

  // What follows is called by the loop.

  onData(channel: ChannelId, bytes: Bytes, start: number, end: number): void {
    this.#handler.onChunk(channel, bytes, start, end);
  }

  onEnd(channel: ChannelId): void {
    this.#handler.onEnd(channel);
  }

  onDrain(channel: ChannelId): void {
    this.#handler.onDrain(channel);
  }

  onQueued(channel: ChannelId): void {
    this.#handler.onQueued(channel);
  }

  onClosed(channel: ChannelId, error: string): void {
    this.#openChannels--;
    this.#acceptors.retry();
    try {
      this.#handler.onClose(channel, error === "" ? "closed" : "reset", error);
    } finally {
      if (this.#isDestroyed && this.#openChannels === 0) this.#loop.leave(this.#member);
    }
  }

  /** Nothing here connects. */
  onConnected(): void {}

  /** Who was accepted in the batch in which accepting stopped is here, and is not sent away. */
  onAccepted(_acceptor: number, fd: number): void {
    const isAdmitted = this.#handler.admit();
    // Whoever is asked may destroy this instead of answering.
    if (!isAdmitted || this.#isDestroyed) {
      this.#loop.addon.closeFile(fd);
      return;
    }
    const channel = this.#loop.adopt(this.#member, fd);
    if (channel < 0) {
      this.#handler.onAcceptError(`adopt ${channel}`);
      return;
    }
    this.#openChannels++;
    this.#handler.onOpen(channel);
  }

  onAcceptError(acceptor: number, error: string): void {
    this.#acceptors.starve(acceptor);
    this.#handler.onAcceptError(error);
  }
}
