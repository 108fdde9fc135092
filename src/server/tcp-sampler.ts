// What the kernel knows of TCP connections (round trips, segments sent again, bytes under way), as
// histograms. Once a second a few are asked, each by one system call: those with the most bytes
// waiting, because they are the slow ones, and a few others in turn, so that it is known what is
// usual. However many connections there are, a look costs the backlogged ones and a constant.

import type { Clock, Scheduled } from "../base/clock.ts";
import type { Connection } from "../connection/connection.ts";
import type { SendBudget } from "../connection/send-budget.ts";
import { Buckets } from "../observe/buckets.ts";
import type { TcpInfo } from "../transport/transport.ts";
import { tcpInfoOf } from "./inspect.ts";
import { Largest } from "./largest.ts";
import type { Listener } from "./listener.ts";

const LOOK_MS = 1_000;
/** Connections with the most bytes waiting that are asked in one look. */
const SLOWEST = 16;
/** Others that are asked of each listener, and the channel numbers that may be tried for them. */
const USUAL = 4;
const USUAL_TRIED = 256;

/** Milliseconds, from one machine to itself up to a satellite behind a full buffer. */
export const RTT_MS: readonly number[] = [
  0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000,
];
/** Segments; a healthy connection has had none or few. */
export const RETRANSMITS: readonly number[] = [0, 1, 2, 5, 10, 20, 50, 100, 1_000];
/** Bytes, from one segment up to the most that Linux gives a socket by default. */
export const UNDER_WAY_BYTES: readonly number[] = [
  0, 1_500, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304,
];

/** Who was asked: those with the most bytes waiting, or whoever's turn it was. */
export const TCP_SAMPLES = ["slowest", "usual"] as const;
export type TcpSample = (typeof TCP_SAMPLES)[number];

export class TcpHistograms {
  readonly rttMs: Buckets = new Buckets(RTT_MS);
  readonly retransmits: Buckets = new Buckets(RETRANSMITS);
  readonly underWayBytes: Buckets = new Buckets(UNDER_WAY_BYTES);

  add({ rttMs, retransmits, unackedBytes, unsentBytes }: TcpInfo): void {
    this.rttMs.observe(rttMs);
    this.retransmits.observe(retransmits);
    this.underWayBytes.observe(unackedBytes + unsentBytes);
  }
}

export class TcpSampler {
  readonly histograms: Readonly<Record<TcpSample, TcpHistograms>> = {
    slowest: new TcpHistograms(),
    usual: new TcpHistograms(),
  };
  /** Those whose transport can ask, and the channel that is next of each. */
  readonly #listeners: readonly Listener[];
  readonly #next: number[];
  readonly #budget: SendBudget;
  readonly #clock: Clock;
  #scheduled: Scheduled | null = null;

  constructor(listeners: readonly Listener[], budget: SendBudget, clock: Clock) {
    this.#listeners = listeners.filter(({ transport }) => transport.tcpInfo !== undefined);
    this.#next = this.#listeners.map(() => 0);
    this.#budget = budget;
    this.#clock = clock;
  }

  start(): void {
    if (this.#listeners.length === 0) return;
    this.#scheduled = this.#clock.after(LOOK_MS, () => {
      this.#look();
      this.start();
    });
  }

  stop(): void {
    this.#scheduled?.cancel();
    this.#scheduled = null;
  }

  #look(): void {
    const slowest = new Largest(SLOWEST);
    for (const member of this.#budget.backlogged) {
      const connection = member as Connection;
      const canAsk = connection.context.transport.tcpInfo !== undefined;
      if (canAsk) slowest.offer(connection.backlogBytes, connection);
    }
    for (const connection of slowest.sorted()) this.#ask("slowest", connection);
    for (const [index, listener] of this.#listeners.entries()) {
      this.#next[index] = this.#askUsual(listener, this.#next[index]!);
    }
  }

  /** @returns the channel to go on with. */
  #askUsual(listener: Listener, from: number): number {
    const { channels } = listener;
    const tries = Math.min(USUAL_TRIED, channels);
    let asked = 0;
    let channel = from;
    for (let tried = 0; tried < tries && asked < USUAL; tried++) {
      if (channel >= channels) channel = 0;
      const connection = listener.connection(channel++);
      if (connection !== null && this.#ask("usual", connection)) asked++;
    }
    return channel;
  }

  #ask(sample: TcpSample, connection: Connection): boolean {
    const info = tcpInfoOf(connection);
    if (info !== null) this.histograms[sample].add(info);
    return info !== null;
  }
}
