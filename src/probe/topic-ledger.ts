// Topics as one generator process uses them: who publishes, and which events have come to whom.

import type { DeliveryCounts } from "./generator-messages.ts";
import type { ProbeConnection } from "./probe-connection.ts";

/** No event of a publisher has come, and how many went before is not known. */
const UNSEEN = -1;

export class TopicLedger {
  /** By topic: the last sequence number. */
  readonly published: number[];
  readonly #publishers: (ProbeConnection | null)[];
  readonly #generators: number;
  #nextSubscription: number = 0;
  #nextPublish: number = 0;

  /** @param generators processes that publish. */
  constructor(topics: number, generators: number) {
    this.published = new Array<number>(topics).fill(0);
    this.#publishers = new Array<ProbeConnection | null>(topics).fill(null);
    this.#generators = generators;
  }

  /** The topic of the next connection: one after the other. */
  nextSubscription(): number {
    const topic = this.#nextSubscription;
    this.#nextSubscription = (topic + 1) % this.published.length;
    return topic;
  }

  /** The topic of the next publish: one after the other. */
  nextPublish(): number {
    const topic = this.#nextPublish;
    this.#nextPublish = (topic + 1) % this.published.length;
    return topic;
  }

  /** One connection publishes to a topic while it is held, so that its events stay in order. */
  publisherOf(topic: number, held: readonly ProbeConnection[]): ProbeConnection | null {
    const publisher = this.#publishers[topic]!;
    if (publisher !== null && publisher.index !== -1) return publisher;
    const next = held[topic % Math.max(1, held.length)] ?? null;
    this.#publishers[topic] = next;
    if (next !== null) next.isPublisher = true;
    return next;
  }

  /** @param isFlowing whoever subscribes while events flow begins with the first that comes. */
  subscribe(connection: ProbeConnection, isFlowing: boolean): void {
    connection.lastSeen = new Float64Array(this.#generators).fill(isFlowing ? UNSEEN : 0);
  }

  /** @returns whether it came for the first time, to one that waits for it. */
  receive(
    connection: ProbeConnection,
    publisher: number,
    sequence: number,
    deliveries: DeliveryCounts,
  ): boolean {
    const { lastSeen } = connection;
    if (lastSeen === null || publisher >= lastSeen.length) return false;
    const seen = lastSeen[publisher]!;
    if (seen !== UNSEEN && sequence <= seen) {
      deliveries.duplicates++;
      return false;
    }
    deliveries.received++;
    if (seen !== UNSEEN) deliveries.missed += sequence - seen - 1;
    lastSeen[publisher] = sequence;
    return true;
  }

  /** Events up to these numbers, by publisher and topic, went out: what did not come was missed. */
  settle(
    held: readonly ProbeConnection[],
    published: readonly (readonly number[])[],
    deliveries: DeliveryCounts,
  ): void {
    for (const { lastSeen, topic } of held) {
      if (lastSeen === null) continue;
      for (const [publisher, byTopic] of published.entries()) {
        const seen = lastSeen[publisher]!;
        // It came late, and nothing has been published since.
        if (seen === UNSEEN) continue;
        const last = byTopic[topic] ?? 0;
        if (last > seen) deliveries.missed += last - seen;
        lastSeen[publisher] = Math.max(last, seen);
      }
    }
  }
}
