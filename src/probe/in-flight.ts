// Operations that were started and have not ended, by a number that travels with them. They are
// kept in the order of their start, so that timeouts need no timer of their own: whatever is
// overdue stands at the old end. Sixteen bytes and one slot each, however long they take.

import { assert } from "../base/assert.ts";

export class InFlight<Owner> {
  #intended: Float64Array = new Float64Array(256);
  #started: Float64Array = new Float64Array(256);
  #owners: (Owner | null)[] = new Array<Owner | null>(256).fill(null);
  /** Numbers first .. next - 1 may be under way; none is used twice. */
  #first: number = 1;
  #next: number = 1;
  #count: number = 0;

  get count(): number {
    return this.#count;
  }

  /** @returns the number of this operation, 1 or more; {@link wireId} is what travels. */
  add(owner: Owner, intendedMs: number, startedMs: number): number {
    if (wireId(this.#next) === 0) this.#next++;
    if (this.#next - this.#first >= this.#owners.length) this.#grow();
    const number = this.#next++;
    const slot = number & (this.#owners.length - 1);
    this.#intended[slot] = intendedMs;
    this.#started[slot] = startedMs;
    this.#owners[slot] = owner;
    this.#count++;
    return number;
  }

  /** Whose operation this is; null: there is none, or it has ended. */
  ownerOf(number: number): Owner | null {
    if (number < this.#first || number >= this.#next) return null;
    return this.#owners[number & (this.#owners.length - 1)]!;
  }

  /** The number that travelled as this id: the latest one that fits. */
  fromWireId(id: number): number {
    return this.#next - wireId(this.#next - id);
  }

  intendedMs(number: number): number {
    return this.#intended[number & (this.#owners.length - 1)]!;
  }

  startedMs(number: number): number {
    return this.#started[number & (this.#owners.length - 1)]!;
  }

  remove(number: number): void {
    const slot = number & (this.#owners.length - 1);
    assert(this.ownerOf(number) !== null, "an operation ends once");
    this.#owners[slot] = null;
    this.#count--;
  }

  /** The oldest operation if it was started at or before this time, else 0. */
  oldest(startedUntilMs: number): number {
    const mask = this.#owners.length - 1;
    while (this.#first < this.#next && this.#owners[this.#first & mask] === null) this.#first++;
    if (this.#first === this.#next) return 0;
    return this.#started[this.#first & mask]! <= startedUntilMs ? this.#first : 0;
  }

  #grow(): void {
    const length = this.#owners.length * 2;
    const intended = new Float64Array(length);
    const started = new Float64Array(length);
    const owners = new Array<Owner | null>(length).fill(null);
    for (let number = this.#first; number < this.#next; number++) {
      const from = number & (this.#owners.length - 1);
      const to = number & (length - 1);
      intended[to] = this.#intended[from]!;
      started[to] = this.#started[from]!;
      owners[to] = this.#owners[from]!;
    }
    this.#intended = intended;
    this.#started = started;
    this.#owners = owners;
  }
}

/** A number as a uint32, never 0: what carries it on the wire. */
export function wireId(number: number): number {
  return number >>> 0;
}
