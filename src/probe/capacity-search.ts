// Where to look next: the search for the most connections that hold. Pure: it is told how each
// level went, and nothing else.
//
// `exp` doubles until a level fails, then narrows the bracket between the best level and the least
// that failed. A level that failed at a wall says where the wall stands: what was still held. That
// number is tried first, then one a little above it, so that most walls take two levels to confirm
// instead of a dozen bisections. `stairs` climbs by equal steps and stops at the first that fails.

export interface SearchOptions {
  readonly search: "exp" | "stairs";
  /** The first level. */
  readonly start: number;
  /** No level is above this. */
  readonly max: number;
  /** Stairs: connections per step. */
  readonly step: number;
  /** The bracket is narrow enough at this share of its lower end. */
  readonly precision: number;
}

export type LevelKind = "climb" | "verify" | "bisect" | "stairs";

export interface Level {
  readonly kind: LevelKind;
  readonly connections: number;
}

export class CapacitySearch {
  readonly #options: SearchOptions;
  /** Most connections at which all held. */
  best: number = 0;
  /** Fewest at which not; Infinity while none has failed. */
  failedAt: number = Infinity;
  /** What a failed level still held: the likely wall; null where there is no such hint. */
  #plateau: number | null = null;
  /** The best level was found by a plateau: the wall is likely right above. */
  #isAtEdge: boolean = false;

  constructor(options: SearchOptions) {
    this.#options = options;
  }

  /** The next level, or null: there is nothing more to find out. */
  next(): Level | null {
    const { search, start, max, step } = this.#options;
    if (this.best >= max) return null;
    if (search === "stairs") {
      if (this.failedAt !== Infinity) return null;
      const connections = Math.min(max, this.best === 0 ? start : this.best + step);
      return { kind: "stairs", connections };
    }
    if (this.failedAt === Infinity) {
      const connections = Math.min(max, this.best === 0 ? start : this.best * 2);
      return { kind: "climb", connections };
    }
    if (this.failedAt - this.best <= this.#resolution) return null;
    return this.#within();
  }

  /** @param plateau what a failed level held in the end, where failures came from a wall. */
  record(connections: number, hasHeld: boolean, plateau: number | null): void {
    if (hasHeld) {
      this.#isAtEdge = connections === this.#plateau;
      this.best = Math.max(this.best, connections);
    } else {
      this.failedAt = Math.min(this.failedAt, connections);
      this.#isAtEdge = false;
    }
    // One hint is followed once: a plateau that did not hold itself is no wall.
    this.#plateau = hasHeld || connections === this.#plateau ? null : plateau;
  }

  /** After a confirmation that failed: what was believed is too much. */
  lower(to: number, failedAt: number): void {
    this.best = to;
    this.failedAt = failedAt;
  }

  get #resolution(): number {
    return Math.max(1, Math.floor(this.best * this.#options.precision));
  }

  #within(): Level {
    const { best, failedAt } = this;
    const plateau = this.#plateau;
    if (plateau !== null && plateau > best && plateau < failedAt) {
      return { kind: "verify", connections: plateau };
    }
    const above = best + this.#resolution;
    if (this.#isAtEdge && above < failedAt) return { kind: "bisect", connections: above };
    return { kind: "bisect", connections: Math.floor((best + failedAt) / 2) };
  }
}
