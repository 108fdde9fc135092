// The connections of one generator that are up: those fit to carry operations, those that were made
// to misbehave, and those that are closed as soon as what is under way over them has ended.

import type { Prng } from "../base/prng.ts";
import type { ProbeConnection } from "./probe-connection.ts";

export class HeldConnections {
  /** Fit to carry operations; a connection knows its place (`index`). */
  readonly fit: ProbeConnection[] = [];
  readonly faulty: Set<ProbeConnection> = new Set();
  readonly leaving: Set<ProbeConnection> = new Set();
  #next: number = 0;

  /** Those held: who is leaving is not. */
  get count(): number {
    return this.fit.length + this.faulty.size;
  }

  get all(): readonly ProbeConnection[] {
    return [...this.fit, ...this.faulty, ...this.leaving];
  }

  get youngest(): ProbeConnection | undefined {
    return this.fit.at(-1) ?? [...this.faulty].at(-1);
  }

  addFit(connection: ProbeConnection): void {
    connection.index = this.fit.length;
    this.fit.push(connection);
  }

  /** Whatever it was, it is none of them any more. */
  remove(connection: ProbeConnection): void {
    this.leaving.delete(connection);
    this.faulty.delete(connection);
    const { index } = connection;
    if (index === -1) return;
    const last = this.fit.pop()!;
    if (last !== connection) {
      this.fit[index] = last;
      last.index = index;
    }
    connection.index = -1;
  }

  /** One after the other; null where none is fit. */
  next(): ProbeConnection | null {
    if (this.fit.length === 0) return null;
    this.#next = (this.#next + 1) % this.fit.length;
    return this.fit[this.#next]!;
  }

  /** Draws one to close; a publisher only where all are, for its successor may overtake it. */
  draw(prng: Prng): ProbeConnection | null {
    const { length } = this.fit;
    if (length === 0) return null;
    const drawn = prng.int(0, length - 1);
    for (let step = 0; step < length; step++) {
      const connection = this.fit[(drawn + step) % length]!;
      if (!connection.isPublisher) return connection;
    }
    return this.fit[drawn]!;
  }

  /**
   * Draws this share of those that are fit, and one at least, without publishers and without those
   * that have an answer to come: what is under way is not to be spoilt.
   */
  drawMany(prng: Prng, share: number): readonly ProbeConnection[] {
    const rest = this.fit.filter(({ waiting, isPublisher }) => waiting === 0 && !isPublisher);
    const wanted = Math.min(rest.length, Math.max(1, Math.round(this.fit.length * share)));
    const drawn: ProbeConnection[] = [];
    while (drawn.length < wanted) {
      const index = prng.int(0, rest.length - 1);
      drawn.push(rest[index]!);
      rest[index] = rest.at(-1)!;
      rest.pop();
    }
    return drawn;
  }
}
