// What servers that are one to the outside need of each other, whatever carries it: the events of
// topics, and pushes to connections that another of them holds. local-bus.ts carries it between the
// worker processes of one machine.

import type { Bytes } from "../base/buffer-pool.ts";

/** Which connections a push is meant for: those with this label, or, with null, all. */
export type BusLabel = readonly [key: string, value: string] | null;

/**
 * "full": what this member sends waits already and may not grow; nothing was taken.
 */
export type BusOutcome = "taken" | "full";

/** A member's interest in one topic, from join() to leave(). */
export interface TopicMember {
  /** From here on every event comes, the first of them with offset + 1. */
  onJoined(offset: number): void;
  /**
   * Events come with rising offsets; those of the offsets that are left out were lost. The payload
   * is valid until this returns.
   * @returns how many connections it was sent to, for the bus to know when others have their turn.
   */
  onEvent(offset: number, payload: Bytes): number;
}

/** A server's side of the bus. Payloads are valid until the function returns. */
export interface BusHandler {
  /** A push for one connection here; it may be gone. */
  onSend(id: string, topic: string, payload: Bytes): void;
  /** A push for all connections here that the label means. @returns how many they were. */
  onReach(label: BusLabel, topic: string, payload: Bytes): Promise<number>;
  /**
   * The bus is gone for good: nothing comes of it any more, and what was asked of it is not
   * answered. Null: it ended in order.
   */
  onEnd(error: Error | null): void;
}

/**
 * One member's end. All members see the events of a topic in one order, under the same offsets,
 * the publisher's own among them. What is lost on the way leaves out its offset.
 */
export interface Bus {
  /** This server's number, 1 or more; no other member ever had it. */
  readonly member: number;
  start(handler: BusHandler): void;
  /** Not twice without a leave() between. It is answered by onJoined, later. */
  join(topic: string, member: TopicMember): void;
  /** Nothing of the topic comes from here on. */
  leave(topic: string): void;
  /** Throws HOLDFAST_FRAME_TOO_LARGE. */
  publish(topic: string, payload: Bytes): BusOutcome;
  /** A push to one connection of another member. Throws HOLDFAST_FRAME_TOO_LARGE. */
  send(member: number, id: string, topic: string, payload: Bytes): BusOutcome;
  /**
   * A push to connections of all other members. Throws HOLDFAST_FRAME_TOO_LARGE.
   * @returns how many connections were reached, as far as the others said within a few seconds.
   */
  reach(label: BusLabel, topic: string, payload: Bytes): Promise<number>;
  /** Resolves when what was taken has been handed over, or cannot be. onEnd is not called. */
  close(): Promise<void>;
}
