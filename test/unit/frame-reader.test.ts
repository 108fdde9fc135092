import { describe, expect, it } from "vitest";
import { BufferPool, type Bytes } from "../../src/base/buffer-pool.ts";
import {
  copyBytes,
  FRAME_FRAMING_BROKEN,
  FRAME_MALFORMED,
  FRAME_TOO_LARGE,
  type FrameSink,
  readFrames,
  Unread,
} from "../../src/wire/frame-reader.ts";
import { type Framing, FRAMINGS, newlineFraming, uint32Framing } from "../../src/wire/framing.ts";

const LIMIT = 1_000;

/** Copies the bodies that it is given, and stops after some of them. */
class Collector implements FrameSink {
  readonly bodies: string[] = [];
  stopAfter: number = Infinity;

  onFrame(bytes: Bytes, start: number, end: number): boolean {
    this.bodies.push(Buffer.from(bytes.subarray(start, end)).toString("latin1"));
    return this.bodies.length < this.stopAfter;
  }
}

function stream(framing: Framing, bodies: readonly string[]): Buffer {
  const parts = bodies.map((body) => {
    const header = Buffer.alloc(framing.headerBytes(body.length));
    framing.writeHeader(header, 0, body.length);
    const trailer = Buffer.alloc(framing.trailerBytes);
    if (trailer.length > 0) framing.writeTrailer(trailer, 0);
    return Buffer.concat([header, Buffer.from(body, "latin1"), trailer]);
  });
  return Buffer.concat(parts);
}

function read(framing: Framing, bytes: Buffer, sink: FrameSink): number {
  return readFrames(framing, LIMIT, bytes, 0, bytes.length, 0, sink);
}

const BODIES = ["first", "", "x".repeat(200), "last"];

describe.each(Object.values(FRAMINGS))("reading $name frames", (framing) => {
  const bytes = stream(framing, BODIES);

  it("hands over every frame of one chunk, in order, and consumes it all", () => {
    const sink = new Collector();
    expect(read(framing, bytes, sink)).toBe(bytes.length);
    expect(sink.bodies).toEqual(BODIES);
  });

  it("gives the same frames split in two at every byte", () => {
    for (let cut = 0; cut <= bytes.length; cut++) {
      const pool = new BufferPool();
      const sink = new Collector();
      const at = readFrames(framing, LIMIT, bytes, 0, cut, 0, sink);
      const unread = new Unread(pool, 1);
      unread.append(bytes, at, cut);
      unread.append(bytes, cut, bytes.length);
      expect(unread.read(framing, LIMIT, sink)).toBeGreaterThanOrEqual(0);
      expect(sink.bodies).toEqual(BODIES);
      expect(unread.length).toBe(0);
      unread.release();
      expect(pool.leased).toBe(0);
    }
  });

  it("gives the same frames byte by byte", () => {
    const sink = new Collector();
    const unread = new Unread(new BufferPool(), 1);
    for (let at = 0; at < bytes.length; at++) {
      unread.append(bytes, at, at + 1);
      unread.read(framing, LIMIT, sink);
    }
    expect(sink.bodies).toEqual(BODIES);
    expect(unread.length).toBe(0);
  });

  it("goes on where a sink stopped, after each frame", () => {
    for (let stop = 1; stop < BODIES.length; stop++) {
      const sink = new Collector();
      sink.stopAfter = stop;
      const at = read(framing, bytes, sink);
      expect(sink.bodies).toEqual(BODIES.slice(0, stop));
      sink.stopAfter = Infinity;
      readFrames(framing, LIMIT, bytes, at, bytes.length, at, sink);
      expect(sink.bodies).toEqual(BODIES);
    }
  });

  it("goes on in kept bytes where a sink stopped: what was not looked at is looked at", () => {
    const sink = new Collector();
    const unread = new Unread(new BufferPool(), 1);
    unread.append(bytes, 0, bytes.length);
    for (let stop = 1; stop <= BODIES.length; stop++) {
      sink.stopAfter = stop;
      unread.read(framing, LIMIT, sink);
      expect(sink.bodies).toEqual(BODIES.slice(0, stop));
    }
    expect(unread.length).toBe(0);
  });

  it("refuses a frame that is too large and delivers those before it", () => {
    const sink = new Collector();
    const bad = stream(framing, ["good", "x".repeat(LIMIT + 1)]);
    expect(read(framing, bad, sink)).toBe(FRAME_TOO_LARGE);
    expect(sink.bodies).toEqual(["good"]);
  });

  it("consumes nothing of a frame that is incomplete", () => {
    const sink = new Collector();
    const half = stream(framing, ["abc"]).subarray(0, -1);
    expect(read(framing, half, sink)).toBe(0);
    expect(sink.bodies).toEqual([]);
  });
});

describe("a user's framing that lies", () => {
  const cases: [string, number, number][] = [
    ["at the frame's start", 8, FRAME_FRAMING_BROKEN],
    ["before the frame's start", 3, FRAME_FRAMING_BROKEN],
    ["beyond what a frame may have", 8 + LIMIT + 5, FRAME_FRAMING_BROKEN],
    ["at NaN", Number.NaN, FRAME_FRAMING_BROKEN],
    ["at Infinity", Infinity, FRAME_FRAMING_BROKEN],
    ["at an unknown fault", -7, FRAME_FRAMING_BROKEN],
    ["at minus Infinity", -Infinity, FRAME_FRAMING_BROKEN],
    ["at the fault for malformed bytes", FRAME_MALFORMED, FRAME_MALFORMED],
  ];

  it.each(cases)("and puts a frame's end %s costs no frame and no loop", (_what, end, fault) => {
    const lying: Framing = { ...uint32Framing, frameEnd: () => end };
    const sink = new Collector();
    expect(readFrames(lying, LIMIT, Buffer.alloc(64), 8, 64, 8, sink)).toBe(fault);
    expect(sink.bodies).toEqual([]);
  });

  it("does so no better over kept bytes, which stay as they are", () => {
    const pool = new BufferPool();
    const unread = new Unread(pool, 64);
    unread.append(Buffer.alloc(64), 0, 64);
    const lying: Framing = { ...uint32Framing, frameEnd: () => Number.NaN };
    expect(unread.missing(lying, LIMIT)).toBe(0);
    expect(unread.read(lying, LIMIT, new Collector())).toBe(FRAME_FRAMING_BROKEN);
    expect(unread.length).toBe(64);
    unread.release();
    expect(pool.leased).toBe(0);
  });
});

describe("kept bytes", () => {
  it("grow with what has come, never with the length that a peer announced", () => {
    const pool = new BufferPool();
    const unread = new Unread(pool, 4);
    unread.append(Buffer.from("000f4240aabb", "hex"), 0, 6);
    expect(unread.missing(uint32Framing, 1_000_000)).toBe(999_998);
    expect(pool.leasedBytes).toBe(256);
    unread.release();
  });

  it("say how many bytes the first frame lacks: header, body, or unknown", () => {
    const unread = new Unread(new BufferPool(), 4);
    const frame = stream(uint32Framing, ["abcdef"]);
    expect(unread.missing(uint32Framing, LIMIT)).toBe(4);
    unread.append(frame, 0, 3);
    expect(unread.missing(uint32Framing, LIMIT)).toBe(1);
    unread.append(frame, 3, 5);
    expect(unread.missing(uint32Framing, LIMIT)).toBe(5);
    unread.append(frame, 5, 10);
    expect(unread.missing(uint32Framing, LIMIT)).toBe(0);
    const line = new Unread(new BufferPool(), 4);
    line.append(Buffer.from("abc"), 0, 3);
    expect(line.missing(newlineFraming, LIMIT)).toBe(0);
    unread.release();
    line.release();
  });

  it("look through a long line once, not once per chunk", () => {
    let looked = 0;
    const counting: Framing = {
      ...newlineFraming,
      frameEnd(bytes, start, end, scanned, max) {
        looked += end - scanned;
        return newlineFraming.frameEnd(bytes, start, end, scanned, max);
      },
    };
    const unread = new Unread(new BufferPool(), 4);
    const sink = new Collector();
    for (let chunk = 0; chunk < 100; chunk++) {
      unread.append(Buffer.from("xxxxxxxx"), 0, 8);
      unread.read(counting, LIMIT, sink);
    }
    unread.append(Buffer.from("\n"), 0, 1);
    unread.read(counting, LIMIT, sink);
    expect(sink.bodies).toEqual(["x".repeat(800)]);
    expect(looked).toBe(801);
    unread.release();
  });

  it("move to a larger slab with all that they hold, and give the smaller one back", () => {
    const pool = new BufferPool();
    const unread = new Unread(pool, 1);
    const bytes = stream(uint32Framing, ["y".repeat(900)]);
    for (let at = 0; at < bytes.length; at += 100) {
      unread.append(bytes, at, Math.min(at + 100, bytes.length));
      expect(pool.leased).toBe(1);
    }
    const sink = new Collector();
    unread.read(uint32Framing, LIMIT, sink);
    expect(sink.bodies).toEqual(["y".repeat(900)]);
    unread.release();
    expect([pool.leased, pool.leasedBytes]).toEqual([0, 0]);
  });

  it("reuse the room of frames that were read instead of growing", () => {
    const pool = new BufferPool();
    const unread = new Unread(pool, 256);
    const sink = new Collector();
    const frame = stream(uint32Framing, ["z".repeat(90)]);
    const [head, tail] = [frame.subarray(0, 50), frame.subarray(50)];
    unread.append(head, 0, head.length);
    for (let round = 0; round < 50; round++) {
      unread.append(tail, 0, tail.length);
      unread.append(head, 0, head.length);
      unread.read(uint32Framing, LIMIT, sink);
      expect(pool.leasedBytes).toBe(256);
    }
    expect(sink.bodies).toEqual(Array.from({ length: 50 }, () => "z".repeat(90)));
    unread.release();
  });

  it("stay leased while a sink reads them, even if their owner lets go meanwhile", () => {
    const pool = new BufferPool();
    const unread = new Unread(pool, 256);
    const frame = stream(uint32Framing, ["a".repeat(100)]);
    unread.append(frame, 0, frame.length);
    let leased = -1;
    unread.read(uint32Framing, LIMIT, {
      onFrame() {
        unread.release();
        leased = pool.leased;
        return false;
      },
    });
    expect(leased).toBe(1);
    expect(pool.leased).toBe(0);
  });

  it("that hold a fault answer with it and lose nothing", () => {
    const unread = new Unread(new BufferPool(), 256);
    unread.append(Buffer.from("ffffffff00", "hex"), 0, 5);
    expect(unread.missing(uint32Framing, LIMIT)).toBe(0);
    expect(unread.read(uint32Framing, LIMIT, new Collector())).toBe(FRAME_TOO_LARGE);
    expect([unread.length, unread.bytes[unread.start]]).toEqual([5, 0xff]);
    unread.release();
  });
});

describe("copying", () => {
  it.each([0, 1, 63, 64, 65, 300])("%i bytes copies these and no others", (length) => {
    const from = Buffer.from(Array.from({ length: 400 }, (_, index) => index % 251));
    const to = Buffer.alloc(400, 0xfe);
    copyBytes(from, 7, 7 + length, to, 11);
    expect(to.subarray(11, 11 + length)).toEqual(from.subarray(7, 7 + length));
    expect(to.subarray(0, 11).every((byte) => byte === 0xfe)).toBe(true);
    expect(to.subarray(11 + length).every((byte) => byte === 0xfe)).toBe(true);
  });
});
