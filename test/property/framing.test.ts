// However a stream of frames is cut, and wherever its reader pauses, the same frames come out.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BufferPool, type Bytes } from "../../src/base/buffer-pool.ts";
import type { Connection } from "../../src/connection/connection.ts";
import { PAUSED_BY } from "../../src/connection/paused-by.ts";
import {
  FRAME_TOO_LARGE,
  type FrameSink,
  readFrames,
  Unread,
} from "../../src/wire/frame-reader.ts";
import { FrameWriter } from "../../src/wire/frame-writer.ts";
import { type Framing, FRAMINGS, newlineFraming } from "../../src/wire/framing.ts";
import { MemoryServer } from "../support/memory-server.ts";
import { taggedFraming } from "../support/tagged-framing.ts";

const BODY_MAX = 400;
const CR = 0x0d;

/** Bodies that a framing carries: lines hold no LF, and a CR at their end is not theirs. */
function bodies(framing: Framing): fc.Arbitrary<Uint8Array[]> {
  const short = fc.uint8Array({ maxLength: 12 });
  const long = fc.uint8Array({ minLength: 120, maxLength: BODY_MAX, size: "max" });
  const any = fc.oneof({ weight: 4, arbitrary: short }, { weight: 1, arbitrary: long });
  const carried = any.map((body) => {
    if (framing !== newlineFraming) return body;
    const line = body.filter((byte) => byte !== 0x0a);
    return line.at(-1) === CR ? line.subarray(0, -1).filter((byte) => byte !== CR) : line;
  });
  return fc.array(carried, { maxLength: 40, size: "max" });
}

function streamOf(framing: Framing, all: readonly Uint8Array[]): Buffer {
  const writer = new FrameWriter(framing);
  const parts = all.map((body) => {
    const target = Buffer.alloc(body.length + framing.overheadMax);
    return target.subarray(0, writer.frame(target, 0, body));
  });
  return Buffer.concat(parts);
}

/** The stream in pieces; `cuts` are their lengths, and the last of them is repeated. */
function pieces(stream: Buffer, cuts: readonly number[]): Buffer[] {
  const found: Buffer[] = [];
  let at = 0;
  for (let index = 0; at < stream.length; index++) {
    const length = cuts[Math.min(index, cuts.length - 1)] ?? stream.length;
    found.push(stream.subarray(at, at + length));
    at += length;
  }
  return found;
}

function hexOf(all: readonly Uint8Array[]): string[] {
  return all.map((body) => Buffer.from(body).toString("hex"));
}

/** Reads as a connection does: frames where they lie, the rest kept; it pauses as it is told. */
class Driver implements FrameSink {
  readonly seen: string[] = [];
  readonly pool: BufferPool = new BufferPool();
  fault: number = 0;
  isPaused: boolean = false;
  #unread: Unread | null = null;
  readonly #framing: Framing;
  /** Frames until the next pause, again and again; empty: never. */
  readonly #runs: number[];
  #left: number;
  #turn: number = 0;

  constructor(framing: Framing, runs: number[]) {
    this.#framing = framing;
    this.#runs = runs;
    this.#left = runs[0] ?? Infinity;
  }

  onFrame(bytes: Bytes, start: number, end: number): boolean {
    this.seen.push(Buffer.from(bytes.subarray(start, end)).toString("hex"));
    if (--this.#left > 0) return true;
    this.#turn++;
    this.#left = this.#runs[this.#turn % this.#runs.length]!;
    this.isPaused = true;
    return false;
  }

  feed(bytes: Buffer): void {
    let at = 0;
    while (this.#unread !== null && at < bytes.length && !this.isPaused && this.fault === 0) {
      const missing = this.#unread.missing(this.#framing, BODY_MAX);
      const taken = missing === 0 ? bytes.length : Math.min(bytes.length, at + missing);
      this.#unread.append(bytes, at, taken);
      at = taken;
      this.#read();
    }
    if (at < bytes.length && !this.isPaused && this.fault === 0) {
      const next = readFrames(this.#framing, BODY_MAX, bytes, at, bytes.length, at, this);
      if (next < 0) this.fault = next;
      else at = next;
    }
    if (at === bytes.length || this.fault !== 0) return;
    this.#unread ??= new Unread(this.pool, bytes.length - at);
    this.#unread.append(bytes, at, bytes.length);
  }

  resume(): void {
    this.isPaused = false;
    this.#read();
  }

  #read(): void {
    if (this.#unread === null) return;
    const next = this.#unread.read(this.#framing, BODY_MAX, this);
    if (next < 0) this.fault = next;
    else if (this.#unread.length === 0) this.release();
  }

  release(): void {
    this.#unread?.release();
    this.#unread = null;
  }
}

const ALL = [...Object.values(FRAMINGS), taggedFraming];
const cuts = fc.array(fc.integer({ min: 1, max: 90 }), { maxLength: 60, size: "max" });
const runs = fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 4 });

describe.each(ALL)("$name frames", (framing) => {
  it("are the same however the stream is cut and wherever the reader pauses", () => {
    const resumes = fc.array(fc.boolean(), { minLength: 1, maxLength: 30, size: "max" });
    fc.assert(
      fc.property(bodies(framing), cuts, runs, resumes, (all, lengths, pauses, resuming) => {
        const driver = new Driver(framing, pauses);
        for (const [index, piece] of pieces(streamOf(framing, all), lengths).entries()) {
          if (driver.isPaused && resuming[index % resuming.length]!) driver.resume();
          driver.feed(piece);
        }
        while (driver.isPaused) driver.resume();
        expect(driver.fault).toBe(0);
        expect(driver.seen).toEqual(hexOf(all));
        expect(driver.pool.leased).toBe(0);
      }),
      { numRuns: 150 },
    );
  });

  it("before one that is too large all come, and then the fault, however the stream is cut", () => {
    fc.assert(
      fc.property(bodies(framing), cuts, (all, lengths) => {
        const driver = new Driver(framing, []);
        const large = new Uint8Array(BODY_MAX + 1).fill(0x61);
        for (const piece of pieces(streamOf(framing, [...all, large]), lengths)) {
          if (driver.fault === 0) driver.feed(piece);
        }
        expect(driver.fault).toBe(FRAME_TOO_LARGE);
        expect(driver.seen).toEqual(hexOf(all));
        driver.release();
        expect(driver.pool.leased).toBe(0);
      }),
      { numRuns: 100 },
    );
  });

  it("cut off anywhere are whole up to the cut, and no byte of the rest is taken for one", () => {
    const share = fc.double({ min: 0, max: 1, noNaN: true });
    fc.assert(
      fc.property(bodies(framing), cuts, share, (all, lengths, at) => {
        const stream = streamOf(framing, all);
        const driver = new Driver(framing, []);
        const cut = Math.floor(stream.length * at);
        for (const piece of pieces(stream.subarray(0, cut), lengths)) driver.feed(piece);
        const ends = all.map((_, index) => streamOf(framing, all.slice(0, index + 1)).length);
        const whole = ends.filter((end) => end <= cut).length;
        expect(driver.fault).toBe(0);
        expect(driver.seen).toEqual(hexOf(all.slice(0, whole)));
      }),
      { numRuns: 100 },
    );
  });

  it("over a connection are the same, with pauses, turns and segments of any size", async () => {
    await fc.assert(
      fc.asyncProperty(bodies(framing), cuts, runs, fc.nat(), expectThroughConnection(framing)),
      { numRuns: 25 },
    );
  });
});

function expectThroughConnection(framing: Framing) {
  return async (all: Uint8Array[], lengths: number[], pauses: number[], seed: number) => {
    const seen: string[] = [];
    let untilPause = pauses[0] ?? Infinity;
    let segment = seed;
    const running = await MemoryServer.start({
      options: { frame: { bytesMax: BODY_MAX } },
      memory: {
        segmentBytes: (length) =>
          1 + ((segment = (segment * 1_103_515_245 + 12_345) >>> 0) % length),
        delayMs: () => segment % 3,
      },
      listener: {
        framing,
        raw: {
          onFrame(client, payload) {
            seen.push(Buffer.from(payload.copy()).toString("hex"));
            if (--untilPause > 0) return;
            untilPause = pauses[seen.length % pauses.length]!;
            const connection = client as Connection;
            connection.pause(PAUSED_BY.CALLS);
            running.clock.after(seen.length % 4, () => connection.unpause(PAUSED_BY.CALLS));
          },
        },
      },
    });
    const client = running.connect();
    // More than one turn handles, so that a connection yields in the middle.
    const repeated = Array.from({ length: 5 }, () => all).flat();
    for (const piece of pieces(streamOf(framing, repeated), lengths)) client.send(piece);
    client.peer.end();
    await running.clock.advance(20_000);
    expect(seen).toEqual(hexOf(repeated));
    expect(client.closedWith).toBe(1_000);
    await running.stop();
  };
}
