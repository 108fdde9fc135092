// The same push to many connections: encoded once per framing, sent in slices.

import type { BufferPool, Bytes } from "../base/buffer-pool.ts";
import type { Clock } from "../base/clock.ts";
import type { Connection } from "../connection/connection.ts";
import type { FrameWriter } from "../wire/frame-writer.ts";
import { SharedFrames } from "./shared-frames.ts";
import { inSlices } from "./slices.ts";

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
    return new Promise((resolve) => {
      let sent = 0;
      inSlices(
        this.#clock,
        connections,
        (connection) => {
          if (deliver(connection, frames)) sent++;
        },
        () => {
          frames.release();
          resolve(sent);
        },
      );
    });
  }
}

function deliver(connection: Connection, frames: SharedFrames): boolean {
  const frame = frames.frameFor(connection);
  if (frame === null) return false;
  return connection.context.outbound.event(connection, null, frame) !== "closed";
}
