// One message encoded once for many connections: a frame per framing that is in use.

import type { BufferPool } from "../base/buffer-pool.ts";
import type { Connection } from "../connection/connection.ts";
import type { SharedFrame } from "../connection/outbound.ts";
import type { FrameWriter } from "../wire/frame-writer.ts";
import type { Framing } from "../wire/framing.ts";
import type { ServerMessageInit } from "../wire/messages.ts";

/** Holds its slabs until {@link release}; queues that need them longer retain them. */
export class SharedFrames {
  /** Memory that it holds. */
  bytes: number = 0;
  readonly #frames: Map<Framing, SharedFrame> = new Map();

  constructor(pool: BufferPool, writers: readonly FrameWriter[], message: ServerMessageInit) {
    for (const writer of writers) {
      const slab = pool.lease(writer.messageBytesMax(message));
      const end = writer.message(slab.bytes, 0, message);
      this.#frames.set(writer.framing, { slab, start: 0, end });
      this.bytes += slab.bytes.length;
    }
  }

  /** Null: the connection's listener does not speak the session protocol. */
  frameFor(connection: Connection): SharedFrame | null {
    if (connection.context.raw !== null) return null;
    return this.#frames.get(connection.context.framing) ?? null;
  }

  release(): void {
    for (const { slab } of this.#frames.values()) slab.release();
  }
}
