// Channels of one transport: numbers given out lowest first, what each stands for, and its queue
// size.

import { assert } from "../base/assert.ts";
import type { ChannelId } from "./transport.ts";

const FIRST_CAPACITY = 64;

export class ChannelTable<T extends object> {
  /** Bytes queued by channel. Replaced when it grows. */
  queued: Float64Array = new Float64Array(FIRST_CAPACITY);
  readonly #entries: (T | null)[] = [];
  readonly #free: ChannelId[] = [];
  #count: number = 0;

  get count(): number {
    return this.#count;
  }

  add(entry: T): ChannelId {
    const channel = this.#free.pop() ?? this.#entries.length;
    if (channel === this.queued.length) {
      const larger = new Float64Array(channel * 2);
      larger.set(this.queued);
      this.queued = larger;
    }
    this.#entries[channel] = entry;
    this.queued[channel] = 0;
    this.#count++;
    return channel;
  }

  /** Null where the channel is not open: a call that came too late finds nothing. */
  get(channel: ChannelId): T | null {
    return this.#entries[channel] ?? null;
  }

  remove(channel: ChannelId): void {
    assert(this.#entries[channel] != null, "a channel is removed once");
    this.#entries[channel] = null;
    this.queued[channel] = 0;
    this.#free.push(channel);
    this.#count--;
  }

  *entries(): Generator<T> {
    for (const entry of this.#entries) if (entry !== null) yield entry;
  }
}
