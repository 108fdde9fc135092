// Two ends of a stream inside the process, as a socket pair is: what is written is copied when the
// "kernel" has room for it, and arrives late and in pieces. A block that its writer uses again too
// early shows as corruption.

import { Duplex } from "node:stream";
import type { Clock } from "../../src/base/clock.ts";

export interface SocketPairOptions {
  readonly clock: Clock;
  /** Bytes under way in each direction before a write waits. Default: 200,000, as the kernel. */
  readonly windowBytes?: number;
  /** Default: none. */
  readonly delayMs?: () => number;
  /** How many of `length` bytes come at once, 1 .. length. Default: all, up to 64 KiB. */
  readonly segmentBytes?: (length: number) => number;
}

export class PairedSocket extends Duplex {
  /** What it sends stays under way, as to a process that does not read. */
  isHeld: boolean = false;
  peer: PairedSocket | null = null;
  readonly #options: Required<SocketPairOptions>;
  readonly #underWay: Buffer[] = [];
  #underWayBytes: number = 0;
  #waiting: { readonly chunk: Buffer; readonly done: () => void } | null = null;
  #isDelivering: boolean = false;
  #hasEnded: boolean = false;

  constructor(options: Required<SocketPairOptions>) {
    super({ allowHalfOpen: false });
    this.#options = options;
  }

  hold(): void {
    this.isHeld = true;
  }

  letGo(): void {
    this.isHeld = false;
    this.#deliver();
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.#waiting = { chunk, done };
    this.#take();
    this.#deliver();
  }

  override _read(): void {
    // What has arrived was pushed; nothing is asked for.
  }

  override _final(done: () => void): void {
    this.#end();
    done();
  }

  /** What the kernel has taken still arrives. */
  override _destroy(_error: Error | null, done: (error: Error | null) => void): void {
    this.#end();
    done(null);
  }

  #end(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    if (this.#underWay.length === 0) this.#options.clock.after(0, () => this.#endPeer());
  }

  #endPeer(): void {
    if (this.peer?.destroyed === false) this.peer.push(null);
  }

  #take(): void {
    if (this.#waiting === null || this.#underWayBytes >= this.#options.windowBytes) return;
    const { chunk, done } = this.#waiting;
    this.#waiting = null;
    this.#underWay.push(Buffer.from(chunk));
    this.#underWayBytes += chunk.length;
    done();
  }

  #deliver(): void {
    if (this.#isDelivering || this.isHeld || this.#underWay.length === 0) return;
    this.#isDelivering = true;
    this.#options.clock.after(this.#options.delayMs(), () => {
      this.#isDelivering = false;
      const chunk = this.#underWay[0];
      if (chunk === undefined || this.isHeld) return;
      const length = this.#options.segmentBytes(chunk.length);
      if (length < chunk.length) this.#underWay[0] = chunk.subarray(length);
      else this.#underWay.shift();
      this.#underWayBytes -= length;
      if (this.peer?.destroyed === false) this.peer.push(chunk.subarray(0, length));
      this.#take();
      this.#deliver();
      if (this.#hasEnded && this.#underWay.length === 0) this.#endPeer();
    });
  }
}

export function socketPair(options: SocketPairOptions): [PairedSocket, PairedSocket] {
  const all = {
    windowBytes: 200_000,
    delayMs: () => 0,
    segmentBytes: (length: number) => Math.min(length, 65_536),
    ...options,
  };
  const [a, b] = [new PairedSocket(all), new PairedSocket(all)];
  a.peer = b;
  b.peer = a;
  return [a, b];
}
