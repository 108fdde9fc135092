// The same push to many connections: encoded once per framing, sent in slices.

import type { BufferPool, Bytes } from "../base/buffer-pool.ts";
import type { Clock } from "../base/clock.ts";
import type { Connection } from "../connection/connection.ts";
import type { FrameWriter } from "../wire/frame-writer.ts";
import { SharedFrames } from "./shared-frames.ts";
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
    const frames = new SharedFrames(this.#pool, this.#writers, { event: { topic, payload } });
    const rest = connections[Symbol.iterator]();
    return new Promise((resolve) => {
      let sent = 0;
      const slice = (): void => {
        for (let index = 0; index < FANOUT_SLICE; index++) {
          const next = rest.next();
          if (next.done === true) {
            frames.release();
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
}

function deliver(connection: Connection, frames: SharedFrames): boolean {
  const frame = frames.frameFor(connection);
  if (frame === null) return false;
  return connection.context.outbound.event(connection, null, frame) !== "closed";
}
