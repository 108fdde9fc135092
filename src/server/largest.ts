// The few largest of many: a heap with the smallest of them on top, the first to give way.

import type { Connection } from "../connection/connection.ts";

export class Largest {
  readonly #limit: number;
  readonly #keys: number[] = [];
  readonly #connections: Connection[] = [];

  constructor(limit: number) {
    this.#limit = limit;
  }

  offer(key: number, connection: Connection): void {
    if (this.#keys.length < this.#limit) {
      this.#keys.push(key);
      this.#connections.push(connection);
      this.#rise(this.#keys.length - 1);
    } else if (this.#isBefore(key, connection, 0)) {
      this.#keys[0] = key;
      this.#connections[0] = connection;
      this.#sink(0);
    }
  }

  /** Largest first; among equals the older connection first. */
  sorted(): Connection[] {
    const order = this.#keys.map((_key, index) => index);
    order.sort((a, b) => (this.#comesBefore(a, b) ? -1 : 1));
    return order.map((index) => this.#connections[index]!);
  }

  #rise(index: number): void {
    for (let at = index; at > 0; ) {
      const parent = (at - 1) >> 1;
      if (!this.#comesBefore(parent, at)) return;
      this.#swap(at, parent);
      at = parent;
    }
  }

  #sink(index: number): void {
    for (let at = index; ; ) {
      const left = 2 * at + 1;
      let last = at;
      if (left < this.#keys.length && this.#comesBefore(last, left)) last = left;
      if (left + 1 < this.#keys.length && this.#comesBefore(last, left + 1)) last = left + 1;
      if (last === at) return;
      this.#swap(at, last);
      at = last;
    }
  }

  #comesBefore(a: number, b: number): boolean {
    return this.#isBefore(this.#keys[a]!, this.#connections[a]!, b);
  }

  #isBefore(key: number, connection: Connection, index: number): boolean {
    const other = this.#keys[index]!;
    return key === other ? connection.serial < this.#connections[index]!.serial : key > other;
  }

  #swap(a: number, b: number): void {
    const key = this.#keys[a]!;
    const connection = this.#connections[a]!;
    this.#keys[a] = this.#keys[b]!;
    this.#connections[a] = this.#connections[b]!;
    this.#keys[b] = key;
    this.#connections[b] = connection;
  }
}
