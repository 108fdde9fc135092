// How far counters have risen over the last ten seconds. In between, being able to ask costs one
// look at them per second.

import type { Clock, Scheduled } from "../base/clock.ts";
import { Ring } from "../base/ring.ts";

const LOOK_MS = 1_000;
const WINDOW_LOOKS = 10;

interface Look {
  readonly atMs: number;
  readonly counts: readonly number[];
}

export class Rates {
  readonly #clock: Clock;
  readonly #read: () => readonly number[];
  #looks: Ring<Look> = new Ring(WINDOW_LOOKS);
  #scheduled: Scheduled | null = null;

  /** @param read the counters as they are now, always in the same order. */
  constructor(clock: Clock, read: () => readonly number[]) {
    this.#clock = clock;
    this.#read = read;
  }

  start(): void {
    this.#looks = new Ring(WINDOW_LOOKS);
    this.#look();
  }

  stop(): void {
    this.#scheduled?.cancel();
    this.#scheduled = null;
  }

  /** The length of the window, and by how much each counter has risen in it. */
  rise(): { readonly seconds: number; readonly by: readonly number[] } {
    const now = this.#read();
    const oldest = this.#looks.toArray()[0];
    if (oldest === undefined) return { seconds: 0, by: now.map(() => 0) };
    const seconds = (this.#clock.now() - oldest.atMs) / 1_000;
    return { seconds, by: now.map((count, index) => count - oldest.counts[index]!) };
  }

  #look(): void {
    this.#looks.push({ atMs: this.#clock.now(), counts: this.#read() });
    this.#scheduled = this.#clock.after(LOOK_MS, () => this.#look());
  }
}
