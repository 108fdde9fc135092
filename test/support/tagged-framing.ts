// A framing as a user may bring it: a mark, the length as two bytes, the lower one first, the body,
// and a mark at the end.

import {
  FRAME_MALFORMED,
  FRAME_TOO_LARGE,
  FRAME_UNKNOWN,
  type Framing,
} from "../../src/wire/framing.ts";

const MARK = 0x7e;
const END = 0x7f;

export const taggedFraming: Framing = {
  name: "tagged",
  bytesMin: 1,
  overheadMax: 4,
  frameEnd(bytes, start, end, _scanned, bodyBytesMax) {
    if (bytes[start] !== MARK) return FRAME_MALFORMED;
    if (end - start < 3) return FRAME_UNKNOWN;
    const length = bytes[start + 1]! | (bytes[start + 2]! << 8);
    if (length > bodyBytesMax) return FRAME_TOO_LARGE;
    const last = start + 3 + length;
    return last < end && bytes[last] !== END ? FRAME_MALFORMED : last + 1;
  },
  bodyStart: (_bytes, start) => start + 3,
  bodyEnd: (_bytes, _start, frameEnd) => frameEnd - 1,
  headerBytes: () => 3,
  writeHeader(bytes, offset, bodyLength) {
    bytes[offset] = MARK;
    bytes[offset + 1] = bodyLength & 0xff;
    bytes[offset + 2] = bodyLength >>> 8;
  },
  trailerBytes: 1,
  writeTrailer(bytes, offset) {
    bytes[offset] = END;
  },
  canCarry: () => true,
};
