// The topics that a client is subscribed to: one wire subscription each, shared by its readers and
// asked for again on every new connection.

import { assert } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import type { HoldfastError } from "../base/errors.ts";
import type { Event, Gap } from "../wire/messages.ts";
import { Cutoff } from "./cutoff.ts";
import type { SubscriptionMessage } from "./event-queue.ts";
import { Request } from "./request.ts";
import type { Session } from "./session.ts";
import { TopicReader } from "./topic-reader.ts";

const TOPIC = {
  /** To be asked for on the next connection. */
  WANTED: 0,
  /** Subscribe was sent. */
  ASKED: 1,
  /** The server has accepted it: events come. */
  LIVE: 2,
  /** Nobody reads it any more, or the server refused it. */
  GONE: 3,
} as const;

class Topic {
  readonly name: string;
  readonly readers: Set<TopicReader> = new Set();
  state: (typeof TOPIC)[keyof typeof TOPIC] = TOPIC.WANTED;
  request: Request | null = null;

  constructor(name: string) {
    this.name = name;
  }
}

export interface TopicTableOptions {
  readonly clock: Clock;
  /** For the answer to a Subscribe. */
  readonly timeoutMs: number;
}

export class TopicTable {
  readonly #options: TopicTableOptions;
  readonly #topics: Map<string, Topic> = new Map();
  /** The open session, or null. */
  #session: Session | null;

  constructor(options: TopicTableOptions, session: Session | null) {
    this.#options = options;
    this.#session = session;
  }

  /**
   * Resolves once the server has accepted the subscription; waits for a connection if need be.
   * Rejects with HOLDFAST_CALL_TIMEOUT, HOLDFAST_CALL_ABORTED, or a CallError.
   */
  subscribe(
    name: string,
    eventsMax: number,
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<TopicReader> {
    return new Promise((resolve, reject) => {
      const topic = this.#topic(name);
      const joining = { resolve, reject };
      const reader = new TopicReader(name, eventsMax, joining, () => this.#left(topic, reader));
      topic.readers.add(reader);
      reader.cutoff = new Cutoff(this.#options.clock, timeoutMs, signal, what(name), (error) =>
        reader.cut(error),
      );
      if (topic.state === TOPIC.LIVE) reader.accepted();
      else if (topic.state === TOPIC.WANTED) this.#ask(topic);
    });
  }

  /** A session is open: everything is asked for on it. */
  opened(session: Session): void {
    this.#session = session;
    for (const topic of [...this.#topics.values()]) this.#ask(topic);
  }

  /** The session is gone; its requests have been told. */
  lost(): void {
    this.#session = null;
    for (const topic of this.#topics.values()) topic.state = TOPIC.WANTED;
  }

  event(event: Event): void {
    const topic = this.#topics.get(event.topic);
    if (topic?.state !== TOPIC.LIVE) return;
    const payload = new Uint8Array(event.payload);
    deliver(topic, { type: "event", topic: topic.name, payload, offset: event.offset });
  }

  gap(gap: Gap): void {
    const topic = this.#topics.get(gap.topic);
    if (topic?.state !== TOPIC.LIVE || gap.missed === 0) return;
    deliver(topic, { type: "gap", topic: topic.name, missed: gap.missed });
  }

  /** The client is closed. */
  end(error: HoldfastError | null, joiningError: HoldfastError): void {
    this.#session = null;
    for (const topic of [...this.#topics.values()]) this.#drop(topic, error, joiningError);
  }

  #topic(name: string): Topic {
    let topic = this.#topics.get(name);
    if (topic === undefined) {
      topic = new Topic(name);
      this.#topics.set(name, topic);
    }
    return topic;
  }

  #ask(topic: Topic): void {
    const session = this.#session;
    if (session === null || !session.isOpen) return;
    topic.state = TOPIC.ASKED;
    const request = new Request(
      what(topic.name),
      { subscribe: { topic: topic.name } },
      Infinity,
      (error) => this.#answered(topic, error),
    );
    topic.request = request;
    const { clock, timeoutMs } = this.#options;
    request.cutoff = new Cutoff(clock, timeoutMs, undefined, request.what, (error) =>
      request.fail(error),
    );
    session.send(request);
  }

  #answered(topic: Topic, error: HoldfastError | null): void {
    assert(topic.state === TOPIC.ASKED, "whoever lets go of a topic drops its request");
    topic.request = null;
    if (error === null) {
      topic.state = TOPIC.LIVE;
      for (const reader of [...topic.readers]) reader.accepted();
    } else if (error.code === "HOLDFAST_DISCONNECTED" || error.code === "HOLDFAST_CLIENT_CLOSED") {
      topic.state = TOPIC.WANTED;
    } else {
      this.#drop(topic, error, error);
      // Where the answer is only late, the server would go on sending events.
      if (error.code === "HOLDFAST_CALL_TIMEOUT") this.#unsubscribe(topic);
    }
  }

  #left(topic: Topic, reader: TopicReader): void {
    topic.readers.delete(reader);
    if (topic.readers.size > 0 || topic.state === TOPIC.GONE) return;
    const wasAsked = topic.state !== TOPIC.WANTED;
    this.#forget(topic);
    if (wasAsked) this.#unsubscribe(topic);
  }

  #unsubscribe(topic: Topic): void {
    if (this.#session?.isOpen !== true) return;
    this.#session.post({ unsubscribe: { topic: topic.name } });
  }

  #drop(topic: Topic, error: HoldfastError | null, joiningError: HoldfastError): void {
    this.#forget(topic);
    for (const reader of [...topic.readers]) reader.end(error, joiningError);
  }

  #forget(topic: Topic): void {
    topic.state = TOPIC.GONE;
    this.#topics.delete(topic.name);
    topic.request?.drop();
    topic.request = null;
  }
}

function deliver(topic: Topic, message: SubscriptionMessage): void {
  for (const reader of topic.readers) reader.deliver(message);
}

function what(topic: string): string {
  return `subscribe "${topic.slice(0, 100)}"`;
}
