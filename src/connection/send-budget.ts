// What all send queues of a process may hold together. Above it the largest queues are shed first.

import { assert } from "../base/assert.ts";

/** A connection that has something queued. */
export interface Backlogged {
  readonly backlogBytes: number;
  /**
   * It ends at once; what it has queued, here and in the transport, is given up before this
   * returns.
   */
  shed(): void;
}

/** Shedding goes on down to this share of the limit, so that it is not done for every frame. */
const SHED_TO = 0.9;

export class SendBudget {
  /** Bytes that may be queued in the process. A lower one is kept from the next growth on. */
  bytesMax: number;
  #bytes: number = 0;
  readonly #backlogged: Set<Backlogged> = new Set();
  #isShedding: boolean = false;

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Every connection with a queue, in no order. */
  get backlogged(): ReadonlySet<Backlogged> {
    return this.#backlogged;
  }

  join(member: Backlogged): void {
    this.#backlogged.add(member);
  }

  leave(member: Backlogged): void {
    this.#backlogged.delete(member);
  }

  change(bytes: number): void {
    this.#bytes += bytes;
    assert(this.#bytes >= 0, "the budget never owes");
  }

  /** False while it is being dealt with: shedding itself sends and queues. */
  get isExceeded(): boolean {
    return this.#bytes > this.bytesMax && !this.#isShedding;
  }

  /** Sheds the largest queues until the budget is kept. @returns how many were shed. */
  shedWorst(): number {
    const worstFirst = [...this.#backlogged].sort((a, b) => b.backlogBytes - a.backlogBytes);
    let count = 0;
    this.#isShedding = true;
    for (const member of worstFirst) {
      if (this.#bytes <= this.bytesMax * SHED_TO) break;
      member.shed();
      count++;
    }
    this.#isShedding = false;
    return count;
  }
}
