// Connections that we open over an epoll loop: TCP and Unix sockets. An idle one costs what an
// accepted one does. It belongs to the loop only while there are connections, so that the epoll
// instance goes with the last of them.

import type { BufferPool, Bytes, Slab } from "../base/buffer-pool.ts";
import type { Clock, Scheduled } from "../base/clock.ts";
import type { EpollLoop, LoopMember } from "./epoll-loop.ts";
import type { ChannelId, WriteOutcome } from "./transport.ts";

/** Where a connection leads, and where it comes from. */
export interface DialTarget {
  /** In digits; "" where there is a path. */
  readonly ip: string;
  readonly port: number;
  /** Unix socket path, instead of all the rest but the time. */
  readonly path: string | null;
  /** "": the kernel chooses address and port. */
  readonly localIp: string;
  /** 0: the kernel chooses one as it connects; it may serve other destinations meanwhile. */
  readonly localPort: number;
  /** Sends small frames at once instead of waiting to fill a segment. */
  readonly noDelay: boolean;
  /** Until it is open; then it ends with ETIMEDOUT. 0: as long as the kernel tries. */
  readonly timeoutMs: number;
}

/** Told of one connection; never from inside a call to the dialer. */
export interface DialHandler {
  /** At most once, before anything else but an end. */
  onOpen(): void;
  /** What was received; valid until this returns. */
  onChunk(bytes: Bytes, start: number, end: number): void;
  /** The peer will send no more. */
  onEnd(): void;
  /** The last, exactly once. @param error name of an errno; "" where it ended in order. */
  onClose(error: string): void;
}

/** What is written lies here until the loop flushes, which it does after so many bytes. */
const SLAB_BYTES = 66_048;
/** A peer that was abandoned has this long to end as well, before it is reset. */
const LINGER_MS = 1_000;

export class EpollDialer implements LoopMember {
  readonly #loop: EpollLoop;
  readonly #clock: Clock;
  readonly #pool: BufferPool;
  /** Its number in the loop; -1: there are no connections. */
  #member: number = -1;
  #channels: number = 0;
  /** By channel; null: nobody is told any more. */
  readonly #handlers: (DialHandler | null)[] = [];
  /** Those that are not open yet, with their deadlines. */
  readonly #attempts: Map<ChannelId, Scheduled | null> = new Map();
  /** Those that were abandoned and have not ended, the oldest first: when they are reset. */
  readonly #lingering: Map<ChannelId, number> = new Map();
  #lingerTimer: Scheduled | null = null;
  /** Takes what is sent, from #at on. */
  #slab: Slab | null = null;
  #at: number = 0;

  constructor(loop: EpollLoop, clock: Clock, pool: BufferPool) {
    this.#loop = loop;
    this.#clock = clock;
    this.#pool = pool;
  }

  /**
   * Begins to connect. @returns the channel, valid until {@link DialHandler.onClose}; or -errno,
   * such as -EINVAL for what is no address: then the handler is told nothing.
   */
  connect(target: DialTarget, handler: DialHandler): number {
    if (this.#member === -1) this.#member = this.#loop.join(this);
    const member = this.#member;
    const { ip, port, path, localIp, localPort, noDelay, timeoutMs } = target;
    const channel = this.#loop.connect(member, (native) =>
      path === null
        ? native.connectIp(member, ip, port, localIp, localPort, noDelay ? 1 : 0, 0, 0)
        : native.connectPath(member, path),
    );
    if (channel < 0) {
      this.#rest();
      return channel;
    }
    this.#channels++;
    this.#handlers[channel] = handler;
    const deadline =
      timeoutMs === 0 ? null : this.#clock.after(timeoutMs, () => this.#timeOut(channel));
    this.#attempts.set(channel, deadline);
    return channel;
  }

  /**
   * Calls `run` in a turn of its own, after others had theirs: to tell what connect() gave an errno
   * for, upon which whoever is told may try again at once.
   */
  later(run: () => void): void {
    this.#clock.afterPoll(run);
  }

  /** Copies the bytes. What was not flushed yet is not in {@link queuedBytes}. */
  send(channel: ChannelId, bytes: Bytes): WriteOutcome {
    const start = this.#room(bytes.length);
    const end = start + bytes.length;
    const slab = this.#slab!;
    slab.bytes.set(bytes, start);
    this.#at = end;
    const outcome = this.#loop.write(channel, slab, start, end);
    // One that was made for a large message is not kept for small ones.
    if (slab.bytes.length > SLAB_BYTES) this.#dropSlab();
    return outcome;
  }

  /** Bytes that the kernel has not taken. */
  queuedBytes(channel: ChannelId): number {
    return this.#loop.queued[channel] ?? 0;
  }

  pause(channel: ChannelId): void {
    this.#loop.pause(channel);
  }

  resume(channel: ChannelId): void {
    this.#loop.resume(channel);
  }

  /** FIN, after what is queued; it ends when the peer ends too. One that is not open is cut off. */
  close(channel: ChannelId): void {
    if (this.#attempts.has(channel)) this.#loop.reset(channel);
    else this.#loop.close(channel);
  }

  /** RST. */
  reset(channel: ChannelId): void {
    this.#loop.reset(channel);
  }

  /**
   * Lets go of it: the handler is told nothing more. FIN where all was sent, and RST where bytes
   * wait, or where the peer has not ended a second later.
   */
  abandon(channel: ChannelId): void {
    if (this.#handlers[channel] == null) return;
    this.#handlers[channel] = null;
    if (this.#attempts.has(channel) || this.queuedBytes(channel) > 0) {
      this.#loop.reset(channel);
      return;
    }
    this.#loop.close(channel);
    this.#lingering.set(channel, this.#clock.now() + LINGER_MS);
    this.#lingerTimer ??= this.#clock.after(LINGER_MS, () => this.#cutOff());
  }

  // What follows is called by the loop.

  onConnected(channel: ChannelId): void {
    this.#settle(channel);
    this.#handlers[channel]?.onOpen();
  }

  onData(channel: ChannelId, bytes: Bytes, start: number, end: number): void {
    this.#handlers[channel]?.onChunk(bytes, start, end);
  }

  onEnd(channel: ChannelId): void {
    this.#handlers[channel]?.onEnd();
  }

  onClosed(channel: ChannelId, error: string): void {
    const handler = this.#handlers[channel] ?? null;
    this.#handlers[channel] = null;
    this.#settle(channel);
    this.#lingering.delete(channel);
    this.#channels--;
    try {
      handler?.onClose(error);
    } finally {
      this.#rest();
    }
  }

  /** Whoever must not write more than is taken reads {@link queuedBytes}. */
  onDrain(): void {}

  onQueued(): void {}

  /** Nothing here accepts. */
  onAccepted(): void {}

  onAcceptError(): void {}

  /** It is open, or came to nothing. */
  #settle(channel: ChannelId): void {
    this.#attempts.get(channel)?.cancel();
    this.#attempts.delete(channel);
  }

  #timeOut(channel: ChannelId): void {
    const handler = this.#handlers[channel] ?? null;
    this.#handlers[channel] = null;
    this.#loop.reset(channel);
    handler?.onClose("ETIMEDOUT");
  }

  #cutOff(): void {
    this.#lingerTimer = null;
    const now = this.#clock.now();
    for (const [channel, untilMs] of this.#lingering) {
      if (untilMs > now) {
        this.#lingerTimer = this.#clock.after(untilMs - now, () => this.#cutOff());
        return;
      }
      this.#lingering.delete(channel);
      this.#loop.reset(channel);
    }
  }

  /** @returns where in the slab so many bytes may be put. */
  #room(length: number): number {
    const slab = this.#slab;
    if (slab !== null) {
      // Nobody else holds it: all of it was flushed.
      if (slab.holders === 1) this.#at = 0;
      if (this.#at + length <= slab.bytes.length) return this.#at;
      this.#dropSlab();
    }
    this.#slab = this.#pool.lease(Math.max(length, SLAB_BYTES));
    this.#at = 0;
    return 0;
  }

  #dropSlab(): void {
    this.#slab?.release();
    this.#slab = null;
  }

  /** Where the last connection is gone, so is all that was held for them. */
  #rest(): void {
    if (this.#channels > 0 || this.#member === -1) return;
    this.#dropSlab();
    this.#lingerTimer?.cancel();
    this.#lingerTimer = null;
    this.#loop.leave(this.#member);
    this.#member = -1;
  }
}
