// Publish and subscribe. An event is encoded once per framing and goes to every subscriber of its
// topic in publish order. A topic exists while somebody subscribes to it: its offsets begin anew
// when it comes to life again. Large topics are served in slices, so that one publish cannot hold
// up the loop.
//
// With a bus, events take the way over it, so that all its members see them in one order: publish()
// hands them to the bus, and what the bus brings is served. A topic is joined while somebody here
// subscribes to it, and a Subscribe is answered when the bus has confirmed that.

import { assert } from "../base/assert.ts";
import type { BufferPool, Bytes } from "../base/buffer-pool.ts";
import type { Clock } from "../base/clock.ts";
import type { Bus } from "../bus/bus.ts";
import type { Connection } from "../connection/connection.ts";
import type { Turn } from "../connection/connection-context.ts";
import type { SlowConsumerPolicy } from "../connection/send-queue.ts";
import type { FrameWriter } from "../wire/frame-writer.ts";
import type { Payload } from "../wire/payload.ts";
import { acknowledge } from "./acknowledge.ts";
import { SharedFrames } from "./shared-frames.ts";
import { SLICE } from "./slices.ts";
import { type Fanout, Subscription, Topic } from "./topic.ts";

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

/** "joining": the Subscribe is answered from here, when the bus has confirmed it. */
export type SubscribeOutcome =
  | "subscribed"
  | "joining"
  | "too_many_of_connection"
  | "too_many_topics";
export type PublishOutcome = "published" | "busy";

export class Topics {
  /** What exists already stays, whatever they say. */
  limits: TopicLimits;
  readonly #pool: BufferPool;
  readonly #clock: Clock;
  readonly #turn: Turn;
  readonly #policyFor: (topic: string) => SlowConsumerPolicy | null;
  /** One writer per framing that listeners with sessions use. */
  readonly #writers: readonly FrameWriter[];
  /** Null: there is none, or it has ended. */
  #bus: Bus | null;
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
  /** Events of joined topics that the bus lost or that came while too many waited. */
  lost: number = 0;

  constructor(
    limits: TopicLimits,
    pool: BufferPool,
    clock: Clock,
    writers: readonly FrameWriter[],
    turn: Turn,
    policyFor: (topic: string) => SlowConsumerPolicy | null,
    bus: Bus | null,
  ) {
    this.#bus = bus;
    this.#turn = turn;
    this.limits = limits;
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
    if (name === "" || name.length > this.limits.nameBytesMax) return false;
    // A UTF-16 unit takes at most three bytes.
    if (name.length * 3 <= this.limits.nameBytesMax) return true;
    return Buffer.byteLength(name) <= this.limits.nameBytesMax;
  }

  /** Subscribing twice is the same as once. `id` is that of the Subscribe. */
  subscribe(connection: Connection, name: string, id: number): SubscribeOutcome {
    const own = connection.subscriptions;
    const known = own?.get(name) as Subscription | undefined;
    if (known !== undefined) return wait(known, id);
    if ((own?.size ?? 0) >= this.limits.perConnectionMax) return "too_many_of_connection";
    let topic = this.#topics.get(name);
    if (topic === undefined) {
      if (this.#topics.size >= this.limits.topicsMax) return "too_many_topics";
      topic = this.#newTopic(name);
    }
    const subscription = new Subscription(connection, topic, this.#policyFor(name));
    topic.subscribers.add(subscription);
    connection.subscriptions ??= new Map();
    connection.subscriptions.set(name, subscription);
    this.#subscriptions++;
    return wait(subscription, id);
  }

  /** Unsubscribing from what one is not subscribed to does nothing. */
  unsubscribe(connection: Connection, name: string): void {
    const subscription = connection.subscriptions?.get(name) as Subscription | undefined;
    if (subscription === undefined) return;
    connection.subscriptions!.delete(name);
    if (connection.subscriptions!.size === 0) connection.subscriptions = null;
    // It was subscribed, if only to nothing: answers keep their order.
    confirm(subscription);
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
    if (topic !== undefined && this.#isFull(topic, payload.length)) return "busy";
    if (this.#bus !== null) {
      const bytes = payload instanceof Uint8Array ? payload : payload.view();
      if (this.#bus.publish(name, bytes) === "full") return "busy";
    } else if (topic !== undefined) {
      topic.offset++;
      this.#fanOut(topic, payload);
    }
    this.published++;
    return "published";
  }

  /** The bus has ended: every topic goes on by itself, from the offset that it has. */
  goLocal(): void {
    this.#bus = null;
    for (const topic of this.#topics.values()) {
      if (!topic.isJoined) this.#onJoined(topic, topic.offset);
    }
  }

  #newTopic(name: string): Topic {
    const topic = new Topic(name, this.#bus === null);
    this.#topics.set(name, topic);
    this.#bus?.join(name, {
      onJoined: (offset) => this.#onJoined(topic, offset),
      onEvent: (offset, payload) => this.#onEvent(topic, offset, payload),
    });
    return topic;
  }

  #onJoined(topic: Topic, offset: number): void {
    topic.isJoined = true;
    topic.offset = offset;
    topic.servedTo = offset;
    for (const subscription of topic.subscribers) {
      subscription.joinedAt = offset;
      confirm(subscription);
    }
  }

  /** @returns to how many connections it was sent at once. */
  #onEvent(topic: Topic, offset: number, payload: Bytes): number {
    this.lost += offset - topic.offset - 1;
    topic.offset = offset;
    if (this.#isFull(topic, payload.length)) {
      this.lost++;
      return 0;
    }
    this.#fanOut(topic, payload);
    return topic.subscribers.size;
  }

  #isFull(topic: Topic, bytes: number): boolean {
    if (topic.backlog.length >= this.limits.backlogEventsMax) return true;
    return this.#backlogBytes + bytes > BACKLOG_BYTES_MAX;
  }

  /** The event of the topic's offset. */
  #fanOut(topic: Topic, payload: Payload | Bytes): void {
    const { offset } = topic;
    const event = { topic: topic.name, payload: payload as Bytes, offset };
    const frames = new SharedFrames(this.#pool, this.#writers, { event });
    topic.backlog.push({ offset, lost: offset - topic.servedTo - 1, frames });
    topic.servedTo = offset;
    this.#backlogBytes += frames.bytes;
    // Whoever publishes from inside a fan-out of the same topic waits behind it.
    if (topic.backlog.length > 1) return;
    this.#busy.push(topic);
    if (topic.subscribers.size <= SLICE) {
      this.#turn.work += topic.subscribers.size / EVENTS_PER_WORK;
      this.#serve(topic);
    }
    this.#schedule();
  }

  #deliver(subscription: Subscription, fanout: Fanout): void {
    if (fanout.offset <= subscription.joinedAt) return;
    const { connection } = subscription;
    if (fanout.lost > 0) miss(subscription, fanout);
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
    if (this.#topics.get(topic.name) !== topic) return;
    this.#topics.delete(topic.name);
    this.#bus?.leave(topic.name);
  }
}

function wait(subscription: Subscription, id: number): "subscribed" | "joining" {
  if (subscription.topic.isJoined) return "subscribed";
  subscription.waiting ??= [];
  subscription.waiting.push(id);
  return "joining";
}

/** Answers what waits for the subscription. */
function confirm(subscription: Subscription): void {
  const { connection, waiting } = subscription;
  subscription.waiting = null;
  for (const id of waiting ?? []) acknowledge(connection, id);
}

/** Events before this one were lost: those that were meant for the subscriber, its Gap tells. */
function miss(subscription: Subscription, { offset, lost }: Fanout): void {
  const missed = Math.min(lost, offset - 1 - subscription.joinedAt);
  subscription.missed += missed;
  subscription.connection.context.counters.eventsDropped += missed;
}
