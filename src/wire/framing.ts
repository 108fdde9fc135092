// Where a frame begins and ends in a stream of bytes. A framing keeps no state: it is asked again
// with more bytes. Three are built in; a listener may be given one of the user's own.

import { HoldfastError } from "../base/errors.ts";
import type { Bytes } from "../base/buffer-pool.ts";

/** {@link Framing.frameEnd}: more bytes are needed before the end can be told. */
export const FRAME_UNKNOWN = 0;
/** {@link Framing.frameEnd}: the body is longer than allowed. */
export const FRAME_TOO_LARGE = -1;
/** {@link Framing.frameEnd}: these bytes can begin no frame. */
export const FRAME_MALFORMED = -2;

export interface Framing {
  readonly name: string;
  /** Fewest bytes for which {@link frameEnd} can answer, at least 1. */
  readonly bytesMin: number;
  /** Most bytes that stand before and after a body. */
  readonly overheadMax: number;
  /**
   * The offset just after the frame that begins at `start`; it may lie beyond `end`, when the
   * frame's length is known before all of it has come. Or FRAME_UNKNOWN, FRAME_TOO_LARGE or
   * FRAME_MALFORMED. It must decide on the fewest bytes possible and allocate nothing.
   * @param scanned bytes before this offset were shown, to no end, in an earlier call.
   * @param bodyBytesMax a body may be this long.
   */
  frameEnd(bytes: Bytes, start: number, end: number, scanned: number, bodyBytesMax: number): number;
  /** Offset of the body's first byte in the whole frame at `start`. */
  bodyStart(bytes: Bytes, start: number, frameEnd: number): number;
  /** Offset just after the body's last byte. */
  bodyEnd(bytes: Bytes, start: number, frameEnd: number): number;
  /** Bytes that stand before a body of this length. */
  headerBytes(bodyLength: number): number;
  /** Writes them at `offset`. */
  writeHeader(bytes: Bytes, offset: number, bodyLength: number): void;
  /** Bytes that stand after a body. */
  readonly trailerBytes: number;
  /** Writes them at `offset`. */
  writeTrailer(bytes: Bytes, offset: number): void;
  /** False where a body with these bytes could not be told from two frames. */
  canCarry(bytes: Bytes, start: number, end: number): boolean;
}

/** Length as uint32, big-endian, then the body: the default, and the wire contract's. */
export const uint32Framing: Framing = {
  name: "uint32",
  bytesMin: 4,
  overheadMax: 4,
  frameEnd(bytes, start, _end, _scanned, bodyBytesMax) {
    const length =
      bytes[start]! * 0x1_000000 +
      ((bytes[start + 1]! << 16) | (bytes[start + 2]! << 8) | bytes[start + 3]!);
    return length > bodyBytesMax ? FRAME_TOO_LARGE : start + 4 + length;
  },
  bodyStart: (_bytes, start) => start + 4,
  bodyEnd: (_bytes, _start, frameEnd) => frameEnd,
  headerBytes: () => 4,
  writeHeader(bytes, offset, bodyLength) {
    bytes[offset] = bodyLength >>> 24;
    bytes[offset + 1] = bodyLength >>> 16;
    bytes[offset + 2] = bodyLength >>> 8;
    bytes[offset + 3] = bodyLength;
  },
  trailerBytes: 0,
  writeTrailer: noTrailer,
  canCarry: () => true,
};

/**
 * Length as a protobuf varint of at most 5 bytes, then the body (protobuf's "delimited" streams).
 */
export const varintFraming: Framing = {
  name: "varint",
  bytesMin: 1,
  overheadMax: 5,
  frameEnd(bytes, start, end, _scanned, bodyBytesMax) {
    let length = 0;
    for (let index = 0; index < 5; index++) {
      if (start + index >= end) return FRAME_UNKNOWN;
      const byte = bytes[start + index]!;
      length += (byte & 0x7f) * 2 ** (7 * index);
      if (length > bodyBytesMax) return FRAME_TOO_LARGE;
      if (byte < 0x80) return start + index + 1 + length;
    }
    return FRAME_MALFORMED;
  },
  bodyStart(bytes, start) {
    let offset = start;
    while (bytes[offset]! >= 0x80) offset++;
    return offset + 1;
  },
  bodyEnd: (_bytes, _start, frameEnd) => frameEnd,
  headerBytes: varintBytes,
  writeHeader(bytes, offset, bodyLength) {
    writeVarint(bytes, offset, bodyLength);
  },
  trailerBytes: 0,
  writeTrailer: noTrailer,
  canCarry: () => true,
};

const LF = 0x0a;
const CR = 0x0d;

/**
 * A line per frame, ended by LF; a CR before it is not part of the body. For raw listeners only.
 */
export const newlineFraming: Framing = {
  name: "newline",
  bytesMin: 1,
  overheadMax: 2,
  frameEnd(bytes, start, end, scanned, bodyBytesMax) {
    const found = findByte(bytes, LF, scanned, end);
    if (found !== -1) {
      const frameEnd = found + 1;
      const bodyEnd = newlineFraming.bodyEnd(bytes, start, frameEnd);
      return bodyEnd - start > bodyBytesMax ? FRAME_TOO_LARGE : frameEnd;
    }
    // One byte of grace for a CR that may turn out to belong to the line's end.
    return end - start > bodyBytesMax + 1 ? FRAME_TOO_LARGE : FRAME_UNKNOWN;
  },
  bodyStart: (_bytes, start) => start,
  bodyEnd(bytes, start, frameEnd) {
    return frameEnd - 2 >= start && bytes[frameEnd - 2] === CR ? frameEnd - 2 : frameEnd - 1;
  },
  headerBytes: () => 0,
  writeHeader() {},
  trailerBytes: 1,
  writeTrailer(bytes, offset) {
    bytes[offset] = LF;
  },
  canCarry: (bytes, start, end) => findByte(bytes, LF, start, end) === -1,
};

export const FRAMINGS: Readonly<Record<"uint32" | "varint" | "newline", Framing>> = {
  uint32: uint32Framing,
  varint: varintFraming,
  newline: newlineFraming,
};

/**
 * A user's framing, made safe to call on what peers send: whatever it throws or answers that cannot
 * be becomes NaN, which the frame reader takes for broken. Throws HOLDFAST_FRAMING_INVALID where it
 * lacks a part.
 */
export function guardFraming(framing: Framing): Framing {
  checkFraming(framing);
  return {
    name: framing.name,
    bytesMin: framing.bytesMin,
    overheadMax: framing.overheadMax,
    trailerBytes: framing.trailerBytes,
    frameEnd(bytes, start, end, scanned, bodyBytesMax) {
      try {
        const frameEnd = framing.frameEnd(bytes, start, end, scanned, bodyBytesMax);
        if (!Number.isInteger(frameEnd)) return Number.NaN;
        if (!(frameEnd > 0 && frameEnd <= end)) return frameEnd;
        const bodyStart = framing.bodyStart(bytes, start, frameEnd);
        const bodyEnd = framing.bodyEnd(bytes, start, frameEnd);
        const isSane = start <= bodyStart && bodyStart <= bodyEnd && bodyEnd <= frameEnd;
        return isSane ? frameEnd : Number.NaN;
      } catch {
        return Number.NaN;
      }
    },
    bodyStart: (bytes, start, frameEnd) => framing.bodyStart(bytes, start, frameEnd),
    bodyEnd: (bytes, start, frameEnd) => framing.bodyEnd(bytes, start, frameEnd),
    headerBytes: (bodyLength) => framing.headerBytes(bodyLength),
    writeHeader: (bytes, offset, bodyLength) => framing.writeHeader(bytes, offset, bodyLength),
    writeTrailer: (bytes, offset) => framing.writeTrailer(bytes, offset),
    canCarry: (bytes, start, end) => framing.canCarry(bytes, start, end),
  };
}

/** Throws HOLDFAST_FRAMING_INVALID where a user's framing lacks a part or has impossible bounds. */
export function checkFraming(framing: Framing): void {
  const bad = (what: string): never => {
    throw new HoldfastError("HOLDFAST_FRAMING_INVALID", `framing ${framing.name}: ${what}`);
  };
  if (!Number.isInteger(framing.bytesMin) || framing.bytesMin < 1) bad("bytesMin is at least 1");
  if (!Number.isInteger(framing.overheadMax) || framing.overheadMax < 0 || framing.overheadMax > 64)
    bad("overheadMax is 0 to 64");
  const { trailerBytes } = framing;
  if (!Number.isInteger(trailerBytes) || trailerBytes < 0 || trailerBytes > framing.overheadMax)
    bad("trailerBytes is 0 to overheadMax");
  const parts = [
    "frameEnd",
    "bodyStart",
    "bodyEnd",
    "headerBytes",
    "writeHeader",
    "writeTrailer",
    "canCarry",
  ] as const;
  for (const part of parts) if (typeof framing[part] !== "function") bad(`${part} is missing`);
}

function noTrailer(): void {}

/** Unlike indexOf it stops at `end`: the shared receive buffer goes on with old bytes. */
function findByte(bytes: Bytes, byte: number, start: number, end: number): number {
  for (let index = start; index < end; index++) if (bytes[index] === byte) return index;
  return -1;
}

/** Bytes of `value` as a varint. */
export function varintBytes(value: number): number {
  let count = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) count++;
  return count;
}

/** Writes `value` (0 .. 2^53-1) as a varint and returns the offset after it. */
export function writeVarint(bytes: Bytes, offset: number, value: number): number {
  let at = offset;
  let rest = value;
  while (rest > 0x7fff_ffff) {
    bytes[at++] = (rest % 0x80) | 0x80;
    rest = Math.floor(rest / 0x80);
  }
  while (rest >= 0x80) {
    bytes[at++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  bytes[at++] = rest;
  return at;
}
