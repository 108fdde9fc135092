// Publish and subscribe. An event is encoded once per framing and goes to every subscriber of its
// topic in publish order. A topic exists while somebody subscribes to it: its offsets begin anew
// when it comes to life again. Large topics are served in slices, so that one publish cannot hold
// up the loop.

import { assert } from "../base/assert.ts";
import type { BufferPool, Bytes } from "../base/buffer-pool.ts";
import type { Clock } from "../base/clock.ts";
import type { Connection } from "../connection/connection.ts";
import type { Turn } from "../connection/connection-context.ts";
import type { EventFlow, QueueEntry, SlowConsumerPolicy } from "../connection/send-queue.ts";
import type { FrameWriter } from "../wire/frame-writer.ts";
import type { Payload } from "../wire/payload.ts";
import { SharedFrames } from "./shared-frames.ts";
import { SLICE } from "./slices.ts";

/** Memory that events waiting for their fan-out may take in the process. */
const BACKLOG_BYTES_MAX = 64 * 1_048_576;
/** Events sent to subscribers that count as one frame of a connection's turn. */
const EVENTS_PER_WORK = 8;

export interface TopicLimits {
  /** Topics that one connection may subscribe to. */
  readonly perConnectionMax: number;
  /** Length of a name in UTF-8. */
  readonly nameBytesMax: number;
  /** Topics that may exist at once. */
  readonly topicsMax: number;
  /** Events of one topic that may wait for their fan-out. */
  readonly backlogEventsMax: number;
}

class Subscription implements EventFlow {
  readonly connection: Connection;
  readonly topic: Topic;
  readonly policy: SlowConsumerPolicy;
  /** Offset of the last event before it joined: only later ones are meant for it. */
  readonly joinedAt: number;
  missed: number = 0;
  first: QueueEntry | null = null;
  last: QueueEntry | null = null;

  constructor(connection: Connection, topic: Topic, policy: SlowConsumerPolicy) {
    this.connection = connection;
    this.topic = topic;
    this.policy = policy;
    this.joinedAt = topic.offset;
  }

  get topicName(): string {
    return this.topic.name;
  }
}

/** An event on its way to its subscribers, in every framing that they use. */
interface Fanout {
  readonly offset: number;
  readonly frames: SharedFrames;
}

class Topic {
  readonly name: string;
  /** Of the newest event. */
  offset: number = 0;
  readonly subscribers: Set<Subscription> = new Set();
  /** Events that wait; the first may be half way through its subscribers. */
  readonly backlog: Fanout[] = [];
  position: Iterator<Subscription> | null = null;

  constructor(name: string) {
    this.name = name;
  }
}

export type SubscribeOutcome = "subscribed" | "too_many_of_connection" | "too_many_topics";
export type PublishOutcome = "published" | "busy";

export class Topics {
  readonly #limits: TopicLimits;
  readonly #pool: BufferPool;
  readonly #clock: Clock;
  readonly #turn: Turn;
  readonly #policyFor: (topic: string) => SlowConsumerPolicy | null;
  /** One writer per framing that listeners with sessions use. */
  readonly #writers: readonly FrameWriter[];
  readonly #topics: Map<string, Topic> = new Map();
  readonly #busy: Topic[] = [];
  #isScheduled: boolean = false;
  /** Memory of the events that wait for their fan-out, in all topics. */
  #backlogBytes: number = 0;
  #subscriptions: number = 0;
  /** Events published since the start. */
  published: number = 0;
  /** Events handed to subscribers' connections since the start. */
  delivered: number = 0;

  constructor(
    limits: TopicLimits,
    pool: BufferPool,
    clock: Clock,
    writers: readonly FrameWriter[],
    turn: Turn,
    policyFor: (topic: string) => SlowConsumerPolicy | null,
  ) {
    this.#turn = turn;
    this.#limits = limits;
    this.#pool = pool;
    this.#clock = clock;
    this.#writers = writers;
    this.#policyFor = policyFor;
  }

  get count(): number {
    return this.#topics.size;
  }

  get subscriptionCount(): number {
    return this.#subscriptions;
  }

  /** Events that wait for their turn. */
  get backlogCount(): number {
    return this.#busy.reduce((sum, topic) => sum + topic.backlog.length, 0);
  }

  subscribersOf(name: string): number {
    return this.#topics.get(name)?.subscribers.size ?? 0;
  }

  isNameValid(name: string): boolean {
    if (name === "" || name.length > this.#limits.nameBytesMax) return false;
    // A UTF-16 unit takes at most three bytes.
    if (name.length * 3 <= this.#limits.nameBytesMax) return true;
    return Buffer.byteLength(name) <= this.#limits.nameBytesMax;
  }

  /** Subscribing twice is the same as once. */
  subscribe(connection: Connection, name: string): SubscribeOutcome {
    const own = connection.subscriptions;
    if (own?.has(name) === true) return "subscribed";
    if ((own?.size ?? 0) >= this.#limits.perConnectionMax) return "too_many_of_connection";
    let topic = this.#topics.get(name);
    if (topic === undefined) {
      if (this.#topics.size >= this.#limits.topicsMax) return "too_many_topics";
      topic = new Topic(name);
      this.#topics.set(name, topic);
    }
    const policy = this.#policyFor(name) ?? connection.context.limits.policy;
    const subscription = new Subscription(connection, topic, policy);
    topic.subscribers.add(subscription);
    connection.subscriptions ??= new Map();
    connection.subscriptions.set(name, subscription);
    this.#subscriptions++;
    return "subscribed";
  }

  /** Unsubscribing from what one is not subscribed to does nothing. */
  unsubscribe(connection: Connection, name: string): void {
    const subscription = connection.subscriptions?.get(name) as Subscription | undefined;
    if (subscription === undefined) return;
    connection.subscriptions!.delete(name);
    if (connection.subscriptions!.size === 0) connection.subscriptions = null;
    this.#leave(subscription);
  }

  unsubscribeAll(connection: Connection): void {
    const { subscriptions } = connection;
    if (subscriptions === null) return;
    connection.subscriptions = null;
    for (const subscription of subscriptions.values()) this.#leave(subscription as Subscription);
  }

  /** Takes the event: it has been, or will be, handed to everybody who is subscribed now. */
  publish(name: string, payload: Payload | Bytes): PublishOutcome {
    const topic = this.#topics.get(name);
    if (topic === undefined) {
      this.published++;
      return "published";
    }
    if (topic.backlog.length >= this.#limits.backlogEventsMax) return "busy";
    if (this.#backlogBytes + payload.length > BACKLOG_BYTES_MAX) return "busy";
    this.published++;
    topic.offset++;
    const event = { topic: name, payload: payload as Bytes, offset: topic.offset };
    const frames = new SharedFrames(this.#pool, this.#writers, { event });
    topic.backlog.push({ offset: topic.offset, frames });
    this.#backlogBytes += frames.bytes;
    // Whoever publishes from inside a fan-out of the same topic waits behind it.
    if (topic.backlog.length > 1) return "published";
    this.#busy.push(topic);
    if (topic.subscribers.size <= SLICE) {
      this.#turn.work += topic.subscribers.size / EVENTS_PER_WORK;
      this.#serve(topic);
    }
    this.#schedule();
    return "published";
  }

  #deliver(subscription: Subscription, fanout: Fanout): void {
    if (fanout.offset <= subscription.joinedAt) return;
    const { connection } = subscription;
    const frame = fanout.frames.frameFor(connection);
    assert(frame !== null, "every framing with sessions has a writer");
    connection.context.outbound.event(connection, subscription, frame);
    this.delivered++;
  }

  #schedule(): void {
    if (this.#isScheduled || this.#busy.length === 0) return;
    this.#isScheduled = true;
    this.#clock.afterPoll(() => {
      this.#isScheduled = false;
      // One slice of one topic; then the loop goes on, and after it the next topic.
      const topic = this.#busy[0];
      if (topic !== undefined) this.#serve(topic);
      this.#schedule();
    });
  }

  /** One slice of a busy topic. */
  #serve(topic: Topic): void {
    this.#busy.splice(this.#busy.indexOf(topic), 1);
    for (let served = 0; served <= SLICE && topic.backlog.length > 0; served++) {
      const fanout = topic.backlog[0]!;
      topic.position ??= topic.subscribers.values();
      const next = topic.position.next();
      if (next.done === true) {
        topic.position = null;
        topic.backlog.shift();
        this.#backlogBytes -= fanout.frames.bytes;
        fanout.frames.release();
      } else {
        this.#deliver(next.value, fanout);
      }
    }
    if (topic.backlog.length > 0) this.#busy.push(topic);
    else this.#forgetIfEmpty(topic);
  }

  #leave(subscription: Subscription): void {
    subscription.topic.subscribers.delete(subscription);
    this.#subscriptions--;
    this.#forgetIfEmpty(subscription.topic);
  }

  #forgetIfEmpty(topic: Topic): void {
    if (topic.subscribers.size > 0 || topic.backlog.length > 0) return;
    if (this.#topics.get(topic.name) === topic) this.#topics.delete(topic.name);
  }
}
