// Clients that connect, echo and leave, again and again, and others that stay until they are told
// to go: what befell each of them while workers come and go.

import { setTimeout as delay } from "node:timers/promises";
import { CutOff, LoadClient, type LoadTarget, type LoadTransport } from "./load-client.ts";
import type { GoAwayRead } from "./raw-message.ts";
import type { Ports } from "./supervised-server.ts";

const TRANSPORTS: readonly LoadTransport[] = ["tcp", "websocket"];
/** A killed process's ends are heard of at once, but whoever hears may be slow. */
const NEWS_MS = 5_000;

export interface AttemptLoadOptions {
  readonly ports: Ports;
  /** That come and go, over both transports; each makes one attempt at a time. */
  readonly comers: number;
  /** That stay. */
  readonly stayers: number;
  /** Of one that comes and goes, between two attempts. */
  readonly pauseMs: number;
  readonly onlyTcp?: boolean;
}

export interface LoadCounts {
  /** Attempts whose Hello was answered. */
  served: number;
  echoes: number;
  /** Connections that ended after a GoAway. */
  told: number;
}

interface Killed {
  readonly at: number;
  readonly accepted: ReadonlySet<string>;
}

export class AttemptLoad {
  readonly counts: LoadCounts = { served: 0, echoes: 0, told: 0 };
  /** GoAways that named no time to come back. */
  goAwaysWithoutTime: number = 0;
  readonly #cuts: CutOff[] = [];
  readonly #kills: Killed[] = [];
  readonly #options: AttemptLoadOptions;
  #running: Promise<unknown> = Promise.resolve();
  #isOver: boolean = false;

  constructor(options: AttemptLoadOptions) {
    this.#options = options;
  }

  /** Resolves when those that stay have all been served. */
  async start(): Promise<void> {
    const { comers, stayers } = this.#options;
    const staying = Array.from({ length: stayers }, (_, index) => this.#stay(this.#target(index)));
    const coming = Array.from({ length: comers }, (_, index) => this.#come(this.#target(index)));
    this.#running = Promise.all([...staying, ...coming]);
    while (this.counts.served < stayers + comers) await delay(10);
  }

  /** A worker that had accepted these was killed just now. */
  killed(accepted: ReadonlySet<string>): void {
    this.#kills.push({ at: performance.now(), accepted });
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await this.#running;
  }

  /** Attempts in vain, but for those that a killed worker had accepted; after {@link stop}. */
  get lostAttempts(): string[] {
    return this.#messages(({ step }) => step !== "active");
  }

  /** Connections that were served and ended without a GoAway, but for those of killed workers. */
  get untold(): string[] {
    return this.#messages(({ step }) => step === "active");
  }

  /** Of killed workers, and those among them whose Hello had not been answered. */
  get killedConnections(): { readonly all: number; readonly early: number } {
    const cuts = this.#cuts.filter((cut) => this.#isOfKilled(cut));
    return { all: cuts.length, early: cuts.filter(({ step }) => step !== "active").length };
  }

  #target(index: number): LoadTarget {
    const { onlyTcp = false } = this.#options;
    const transport = onlyTcp ? "tcp" : TRANSPORTS[index % TRANSPORTS.length]!;
    const localAddress = `127.0.1.${1 + (index % 100)}`;
    return { transport, port: this.#options.ports[transport], localAddress };
  }

  /** Null where it was cut off. */
  async #open(target: LoadTarget): Promise<LoadClient | null> {
    try {
      const client = await LoadClient.open(target);
      this.counts.served++;
      return client;
    } catch (error) {
      this.#cut(error);
      return null;
    }
  }

  async #come(target: LoadTarget): Promise<void> {
    while (!this.#isOver) {
      const client = await this.#open(target);
      try {
        await client?.echo();
        if (client !== null) this.counts.echoes++;
      } catch (error) {
        // Who was told to go, and was slow, is closed in order.
        if (client!.isToldToGo) this.counts.told++;
        else this.#cut(error);
      }
      await client?.leave();
      await delay(this.#options.pauseMs);
    }
  }

  async #stay(target: LoadTarget): Promise<void> {
    let client = await this.#open(target);
    while (!this.#isOver) {
      if (client?.goAway) {
        client = await this.#move(client, client.goAway, target);
      } else if (client === null || client.hasEnded) {
        if (client !== null) this.#cut(new CutOff(client, await client.ended));
        await delay(20);
        client = await this.#open(target);
      } else {
        await Promise.race([client.ended, delay(20)]);
      }
    }
    await client?.leave();
  }

  /** The next connection is there before the old one is left. */
  async #move(
    old: LoadClient,
    { reconnectAfterMs }: GoAwayRead,
    target: LoadTarget,
  ): Promise<LoadClient | null> {
    if (reconnectAfterMs === 0) this.goAwaysWithoutTime++;
    this.counts.told++;
    await Promise.race([old.ended, delay(reconnectAfterMs)]);
    const next = await this.#open(target);
    await old.leave();
    return next;
  }

  #cut(error: unknown): void {
    if (!(error instanceof CutOff)) throw error;
    this.#cuts.push(error);
  }

  #messages(fits: (cut: CutOff) => boolean): string[] {
    const lost = this.#cuts.filter((cut) => fits(cut) && !this.#isOfKilled(cut));
    return lost.map(({ message, endedAt }) => `${message} at ${Math.round(endedAt)} ms`);
  }

  /** The list of a kill may come after the news of it: so this is asked at the end. */
  #isOfKilled({ from, beganAt, endedAt }: CutOff): boolean {
    return this.#kills.some(
      ({ at, accepted }) => accepted.has(from) && beganAt < at && endedAt < at + NEWS_MS,
    );
  }
}
