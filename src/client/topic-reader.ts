// One subscription as its user holds it: messages are taken out by async iteration. The topic's
// wire subscription is shared; see topic-table.ts.

import { assert } from "../base/assert.ts";
import type { HoldfastError } from "../base/errors.ts";
import type { Cutoff } from "./cutoff.ts";
import { EventQueue, type SubscriptionMessage } from "./event-queue.ts";

type Next = IteratorResult<SubscriptionMessage, undefined>;

/** Somebody who waits for the next message. */
interface Waiter {
  readonly resolve: (next: Next) => void;
  readonly reject: (error: HoldfastError) => void;
}

/** Somebody who waits for the subscription to begin. */
interface Joining {
  readonly resolve: (reader: TopicReader) => void;
  readonly reject: (error: HoldfastError) => void;
}

const END: IteratorReturnResult<undefined> = { done: true, value: undefined };

const READER = {
  /** Not accepted by a server yet. */
  JOINING: 0,
  OPEN: 1,
  /** Nothing comes any more; what is queued can still be read. */
  ENDED: 2,
} as const;

export class TopicReader implements AsyncIterable<SubscriptionMessage, undefined> {
  readonly topic: string;
  /** Bounds the wait for the server; afterwards only the AbortSignal counts. */
  cutoff: Cutoff | null = null;
  readonly #queue: EventQueue;
  readonly #onLeave: (reader: TopicReader) => void;
  readonly #joining: Joining;
  #state: (typeof READER)[keyof typeof READER] = READER.JOINING;
  #waiters: Waiter[] | null = null;
  #error: HoldfastError | null = null;

  constructor(
    topic: string,
    eventsMax: number,
    joining: Joining,
    onLeave: (reader: TopicReader) => void,
  ) {
    this.topic = topic;
    this.#queue = new EventQueue(topic, eventsMax);
    this.#joining = joining;
    this.#onLeave = onLeave;
  }

  /** Messages that wait to be read. */
  get length(): number {
    return this.#queue.length;
  }

  /**
   * Takes messages out as they come. Leaving the loop ends the subscription. It ends by itself
   * when the client is closed, and throws what closed it if that was not the user. Iterators of
   * one subscription share its messages: each goes to one of them.
   */
  [Symbol.asyncIterator](): AsyncIterator<SubscriptionMessage, undefined> {
    return {
      next: () => this.#next(),
      return: () => {
        this.unsubscribe();
        return Promise.resolve(END);
      },
    };
  }

  /** Ends the subscription and its iteration; what was not read is dropped. */
  unsubscribe(): void {
    this.#queue.clear();
    this.#error = null;
    this.end(null);
  }

  /** The server has accepted it, for the first time or again. */
  accepted(): void {
    if (this.#state === READER.JOINING) {
      this.#state = READER.OPEN;
      this.cutoff?.stopTimer();
      this.#joining.resolve(this);
    } else {
      // The connection was another before: nobody knows what came in between.
      this.deliver({ type: "gap", topic: this.topic, missed: null });
    }
  }

  deliver(message: SubscriptionMessage): void {
    if (this.#state !== READER.OPEN) return;
    const waiter = this.#waiters?.shift();
    if (waiter === undefined) this.#queue.push(message);
    else waiter.resolve({ done: false, value: message });
  }

  /** Its timeout passed, which counts only while it joins, or its AbortSignal fired. */
  cut(error: HoldfastError): void {
    if (this.#state === READER.JOINING) this.end(null, error);
    else this.unsubscribe();
  }

  /**
   * Nothing comes any more. What is queued can still be read, then the error is thrown, if any.
   * @param joiningError for a subscription that has not begun.
   */
  end(error: HoldfastError | null, joiningError: HoldfastError | null = error): void {
    if (this.#state === READER.ENDED) return;
    const wasJoining = this.#state === READER.JOINING;
    this.#state = READER.ENDED;
    this.cutoff?.dispose();
    this.cutoff = null;
    this.#onLeave(this);
    if (wasJoining) {
      assert(joiningError !== null, "whoever joins is told why it came to nothing");
      this.#joining.reject(joiningError);
      return;
    }
    this.#error = error;
    const waiters = this.#waiters ?? [];
    this.#waiters = null;
    // The first of those who wait is told why, the others that it is over.
    for (const waiter of waiters) this.#finish(waiter);
  }

  #next(): Promise<Next> {
    const message = this.#queue.shift();
    if (message !== null) return Promise.resolve({ done: false, value: message });
    return new Promise((resolve, reject) => {
      const waiter = { resolve, reject };
      if (this.#state === READER.ENDED) this.#finish(waiter);
      else (this.#waiters ??= []).push(waiter);
    });
  }

  #finish(waiter: Waiter): void {
    const error = this.#error;
    this.#error = null;
    if (error === null) waiter.resolve(END);
    else waiter.reject(error);
  }
}

/** A subscription as its user sees it. */
export type Subscription = Pick<
  TopicReader,
  "length" | "topic" | "unsubscribe" | typeof Symbol.asyncIterator
>;
