// The same push to many connections: encoded once per framing, sent in slices.

import type { BufferPool, Bytes } from "../base/buffer-pool.ts";
import type { Clock } from "../base/clock.ts";
import type { Connection } from "../connection/connection.ts";
import type { SharedFrame } from "../connection/outbound.ts";
import type { FrameWriter } from "../wire/frame-writer.ts";
import type { Framing } from "../wire/framing.ts";
import { FANOUT_SLICE } from "./topics.ts";

export class Broadcast {
  readonly #pool: BufferPool;
  readonly #clock: Clock;
  readonly #writers: readonly FrameWriter[];

  constructor(pool: BufferPool, clock: Clock, writers: readonly FrameWriter[]) {
    this.#pool = pool;
    this.#clock = clock;
    this.#writers = writers;
  }

  /** @returns to how many connections it went; raw and closing ones are passed over. */
  send(connections: Iterable<Connection>, topic: string, payload: Bytes): Promise<number> {
    const frames = this.#encode(topic, payload);
    const rest = connections[Symbol.iterator]();
    return new Promise((resolve) => {
      let sent = 0;
      const slice = (): void => {
        for (let index = 0; index < FANOUT_SLICE; index++) {
          const next = rest.next();
          if (next.done === true) {
            for (const { slab } of frames.values()) slab.release();
            resolve(sent);
            return;
          }
          if (deliver(next.value, frames)) sent++;
        }
        this.#clock.afterPoll(slice);
      };
      slice();
    });
  }

  #encode(topic: string, payload: Bytes): ReadonlyMap<Framing, SharedFrame> {
    const message = { event: { topic, payload } };
    const frames = new Map<Framing, SharedFrame>();
    for (const writer of this.#writers) {
      const slab = this.#pool.lease(writer.messageBytesMax(message));
      frames.set(writer.framing, { slab, start: 0, end: writer.message(slab.bytes, 0, message) });
    }
    return frames;
  }
}

function deliver(connection: Connection, frames: ReadonlyMap<Framing, SharedFrame>): boolean {
  const frame = frames.get(connection.context.framing);
  if (frame === undefined || connection.context.raw !== null) return false;
  return connection.context.outbound.event(connection, null, frame) !== "closed";
}
