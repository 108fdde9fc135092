// One topic as this process knows it, and who subscribes to it here.

import type { Connection } from "../connection/connection.ts";
import type { EventFlow, QueueEntry, SlowConsumerPolicy } from "../connection/send-queue.ts";
import type { SharedFrames } from "./shared-frames.ts";

export class Subscription implements EventFlow {
  readonly connection: Connection;
  readonly topic: Topic;
  /** The topic's own; null: its listener's, which may change. */
  readonly topicPolicy: SlowConsumerPolicy | null;
  /** Offset of the last event before it joined: only later ones are meant for it. */
  joinedAt: number;
  /** Subscribe messages to answer once the topic is joined; null for none. */
  waiting: number[] | null = null;
  missed: number = 0;
  first: QueueEntry | null = null;
  last: QueueEntry | null = null;

  constructor(connection: Connection, topic: Topic, topicPolicy: SlowConsumerPolicy | null) {
    this.connection = connection;
    this.topic = topic;
    this.topicPolicy = topicPolicy;
    this.joinedAt = topic.offset;
  }

  get policy(): SlowConsumerPolicy {
    return this.topicPolicy ?? this.connection.context.limits.policy;
  }

  get topicName(): string {
    return this.topic.name;
  }
}

/** An event on its way to its subscribers, in every framing that they use. */
export interface Fanout {
  readonly offset: number;
  /** Events just before it that nobody here got. */
  readonly lost: number;
  readonly frames: SharedFrames;
}

export class Topic {
  readonly name: string;
  /** False while the bus has not confirmed it: no event is meant for its subscribers yet. */
  isJoined: boolean;
  /** Of the newest event that it knows of. */
  offset: number = 0;
  /** Of the newest event that was, or will be, handed to subscribers. */
  servedTo: number = 0;
  readonly subscribers: Set<Subscription> = new Set();
  /** Events that wait; the first may be half way through its subscribers. */
  readonly backlog: Fanout[] = [];
  position: Iterator<Subscription> | null = null;

  constructor(name: string, isJoined: boolean) {
    this.name = name;
    this.isJoined = isJoined;
  }
}
