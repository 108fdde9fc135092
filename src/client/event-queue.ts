// What a subscription keeps for a reader that is behind: bounded, oldest dropped, and what was
// dropped is counted where it is missing.

export interface SubscriptionEvent {
  readonly type: "event";
  readonly topic: string;
  /** Shared by all subscriptions of the topic in this client: not to be changed. */
  readonly payload: Uint8Array;
  /** Rises by one per event; begins anew when a server forgets the topic. */
  readonly offset: number;
}

/** Events are missing here. */
export interface SubscriptionGap {
  readonly type: "gap";
  readonly topic: string;
  /** How many; null: nobody can say, because the connection was lost meanwhile. */
  readonly missed: number | null;
}

export type SubscriptionMessage = SubscriptionEvent | SubscriptionGap;

/**
 * ```
 *   missed | oldest ... newest
 *   ^ counted before the oldest message
 * ```
 */
export class EventQueue {
  readonly #topic: string;
  readonly #max: number;
  /** Taken from #first on; the part before it is undefined and is cut off now and then. */
  #messages: (SubscriptionMessage | undefined)[] = [];
  #first: number = 0;
  #missed: number | null = 0;

  /** @param max messages, events and gaps, that are kept. */
  constructor(topic: string, max: number) {
    this.#topic = topic;
    this.#max = max;
  }

  get length(): number {
    return this.#messages.length - this.#first + (this.#missed === 0 ? 0 : 1);
  }

  push(message: SubscriptionMessage): void {
    const last = this.#messages.at(-1);
    if (message.type === "gap" && last?.type === "gap") {
      const missed = sum(last.missed, message.missed);
      this.#messages[this.#messages.length - 1] = { ...last, missed };
      return;
    }
    if (this.#messages.length - this.#first >= this.#max) this.#dropOldest();
    this.#messages.push(message);
  }

  shift(): SubscriptionMessage | null {
    if (this.#missed !== 0) {
      const missed = this.#missed;
      this.#missed = 0;
      return { type: "gap", topic: this.#topic, missed };
    }
    return this.#take();
  }

  clear(): void {
    this.#messages = [];
    this.#first = 0;
    this.#missed = 0;
  }

  #dropOldest(): void {
    this.#drop();
    // A gap that is the oldest now would follow the one that is counted here.
    if (this.#messages[this.#first]?.type === "gap") this.#drop();
  }

  #drop(): void {
    const dropped = this.#take();
    if (dropped === null) return;
    this.#missed = sum(this.#missed, dropped.type === "gap" ? dropped.missed : 1);
  }

  #take(): SubscriptionMessage | null {
    const message = this.#messages[this.#first];
    if (message === undefined) return null;
    this.#messages[this.#first] = undefined;
    this.#first++;
    // Half of it is empty: moving the rest costs no more than taking it out did.
    if (this.#first * 2 >= this.#messages.length) {
      this.#messages = this.#messages.slice(this.#first);
      this.#first = 0;
    }
    return message;
  }
}

function sum(a: number | null, b: number | null): number | null {
  return a === null || b === null ? null : a + b;
}
