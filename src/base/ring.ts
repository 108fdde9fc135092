// The last few of many: a bounded list that forgets its oldest entry.

import { assert } from "./assert.ts";

export class Ring<T> {
  readonly capacity: number;
  readonly #items: T[] = [];
  #next: number = 0;

  constructor(capacity: number) {
    assert(capacity >= 1, "a ring holds something");
    this.capacity = capacity;
  }

  get length(): number {
    return this.#items.length;
  }

  push(item: T): void {
    this.#items[this.#next] = item;
    this.#next = (this.#next + 1) % this.capacity;
  }

  /** Oldest first. */
  toArray(): T[] {
    if (this.#items.length < this.capacity) return [...this.#items];
    return [...this.#items.slice(this.#next), ...this.#items.slice(0, this.#next)];
  }
}
