// What one seed means: the server's options, the network's moods and how long trouble lasts. All
// of it is drawn here, so that a failing seed can be printed in full.

import type { Prng } from "../../src/base/prng.ts";
import type { PartialOptions } from "../../src/config/options.ts";
import {
  SLOW_CONSUMER_POLICIES,
  type SlowConsumerPolicy,
} from "../../src/connection/send-queue.ts";

/** How the network behaves for a while. */
export interface NetworkMood {
  readonly delayMsMax: number;
  /** Most bytes that one delivery brings. */
  readonly segmentBytesMax: number;
}

export interface SimPlan {
  readonly seed: number;
  readonly options: PartialOptions;
  readonly clients: number;
  /** A listener for each: its policy, its framing, whether it keeps message boundaries. */
  readonly listeners: readonly {
    readonly name: string;
    readonly policy: SlowConsumerPolicy;
    readonly framing: "uint32" | "varint";
    readonly hasMessages: boolean;
    readonly windowBytes: number;
    readonly gathersWrites: boolean;
  }[];
  /** Virtual milliseconds of trouble, then as many as it takes to heal. */
  readonly troubleMs: number;
  /** Mean virtual milliseconds between two things that happen. */
  readonly paceMs: number;
  /** The server stops in the middle of the trouble. */
  readonly stopsEarly: boolean;
  /** Subscribers that only listen, so that one fan-out takes more than a turn. */
  readonly crowd: number;
}

export const TOPICS: readonly string[] = ["a", "b", "c", "d", "e", "f", "g"];
export const CALL_TIMEOUT_MS = 1_500;
export const HEAL_MS = 20_000;

export function planOf(seed: number, prng: Prng): SimPlan {
  const pick = <T>(values: readonly T[]): T => values[prng.int(0, values.length - 1)]!;
  const clients = prng.int(3, 12);
  const crowd = seed % 67 === 33 ? 1_010 : 0;
  const heartbeatMs = crowd > 0 ? 9_000 : pick([1_000, 2_500]);
  const queueBytesMax = pick([10_000, 30_000]);
  const isTight = crowd === 0 && prng.float() < 0.3;
  return {
    seed,
    clients,
    listeners: SLOW_CONSUMER_POLICIES.map((policy) => ({
      name: policy,
      policy,
      framing: pick(["uint32", "uint32", "varint"]),
      hasMessages: prng.float() < 0.3,
      windowBytes: pick([0, 500, 4_096, 65_536]),
      gathersWrites: prng.float() < 0.5,
    })),
    troubleMs: prng.int(4_000, 9_000),
    paceMs: crowd > 0 ? 80 : pick([10, 20, 40]),
    stopsEarly: prng.float() < 0.2,
    crowd,
    options: {
      connection: {
        max: isTight ? Math.max(2, clients - 2) : 5_000,
        handshakeTimeoutMs: 1_500,
        heartbeatMs,
        heartbeatJitter: pick([0, 0.1, 0.5]),
        idleTimeoutMs: 2 * heartbeatMs,
        frameTimeoutMs: pick([700, 3_000]),
        closeTimeoutMs: pick([500, 2_000]),
        callsMax: pick([1, 4, 64]),
      },
      frame: { bytesMax: 8_192 },
      send: {
        highBytes: 6_000,
        lowBytes: 2_000,
        queueBytesMax,
        stallTimeoutMs: pick([1_000, 4_000]),
        budgetBytes: queueBytesMax * (crowd > 0 ? 1_000 : pick([2, 4, 100])),
      },
      topic: { perConnectionMax: 5, max: 6, backlogEventsMax: 16 },
      call: { timeoutMs: CALL_TIMEOUT_MS, timeoutMsMax: CALL_TIMEOUT_MS },
      drain: {
        graceMs: pick([0, 1_000, 3_000]),
        reconnectSpreadMs: 1_000,
        closeSpreadMs: pick([0, 500, 2_000]),
      },
      overload: { retryAfterMs: 1_000 },
    },
  };
}

/** @param isCrowded a byte at a time for a thousand clients would take a million events. */
export function moodOf(prng: Prng, isCrowded: boolean): NetworkMood {
  const delayMsMax = [0, 0, 5, 60, 300][prng.int(0, 4)]!;
  const segmentBytesMax = [65_536, 1_000, 100, 7][prng.int(0, isCrowded ? 1 : prng.int(1, 3))]!;
  // One byte at a time with a delay for each would only ever be too slow.
  return {
    delayMsMax: segmentBytesMax < 1_000 ? Math.min(delayMsMax, 1) : delayMsMax,
    segmentBytesMax,
  };
}

export const CALM: NetworkMood = { delayMsMax: 2, segmentBytesMax: 65_536 };
