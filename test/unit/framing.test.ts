import { describe, expect, it } from "vitest";
import {
  checkFraming,
  FRAME_MALFORMED,
  FRAME_TOO_LARGE,
  FRAME_UNKNOWN,
  type Framing,
  FRAMINGS,
  newlineFraming,
  uint32Framing,
  varintBytes,
  varintFraming,
  writeVarint,
} from "../../src/wire/framing.ts";

function hex(text: string): Buffer {
  return Buffer.from(text.replaceAll(" ", ""), "hex");
}

/** frameEnd of the frame that begins at 0, when exactly these bytes have come. */
function endOf(framing: Framing, bytes: Buffer, bodyBytesMax: number, scanned: number = 0): number {
  return framing.frameEnd(bytes, 0, bytes.length, scanned, bodyBytesMax);
}

describe("uint32 framing", () => {
  it.each([
    ["00000000", 4],
    ["00000001", 5],
    ["000000ff", 259],
    ["00000100", 260],
    ["00010000", 65_540],
  ])("tells from the four bytes %s alone that the frame ends at %i", (bytes, end) => {
    expect(endOf(uint32Framing, hex(bytes), 65_536)).toBe(end);
  });

  it.each([
    ["00010001", "one above the limit"],
    ["7fffffff", "2^31 - 1"],
    ["80000000", "2^31: the length is unsigned"],
    ["ffffffff", "2^32 - 1"],
    ["47455420", "GET "],
    ["16030100", "TLS"],
  ])("refuses the length %s (%s) on sight", (bytes) => {
    expect(endOf(uint32Framing, hex(bytes), 65_536)).toBe(FRAME_TOO_LARGE);
  });

  it("takes a length of 2^32 - 1 where that much is allowed", () => {
    expect(endOf(uint32Framing, hex("ffffffff"), 2 ** 32)).toBe(2 ** 32 + 3);
  });

  it("needs its four bytes, wherever in the buffer they lie", () => {
    expect(uint32Framing.bytesMin).toBe(4);
    const bytes = hex("ffffff 00000002 aabb ff");
    expect(uint32Framing.frameEnd(bytes, 3, 7, 3, 16)).toBe(9);
    expect(uint32Framing.bodyStart(bytes, 3, 9)).toBe(7);
    expect(uint32Framing.bodyEnd(bytes, 3, 9)).toBe(9);
  });
});

describe("varint framing", () => {
  it.each([
    ["00", 1],
    ["01", 2],
    ["7f", 128],
    ["8001", 130],
    ["ff7f", 16_385],
    ["808004", 65_539],
    ["80808000", 4],
    ["8080808000", 5],
  ])("tells from %s alone that the frame ends at %i", (bytes, end) => {
    expect(endOf(varintFraming, hex(bytes), 65_536)).toBe(end);
  });

  it.each(["", "80", "8080", "ff", "808080", "80808080"])(
    "cannot tell from %s, which ends inside the length",
    (bytes) => {
      expect(endOf(varintFraming, hex(bytes), 65_536)).toBe(FRAME_UNKNOWN);
    },
  );

  it.each([
    ["818004", "one above the limit"],
    ["ffff04", "above the limit"],
    ["ffffff", "above the limit before the length has ended"],
    ["8080808010", "2^32"],
    ["ffffffff0f", "2^32 - 1"],
  ])("refuses the length %s (%s) on sight", (bytes) => {
    expect(endOf(varintFraming, hex(bytes), 65_536)).toBe(FRAME_TOO_LARGE);
  });

  it.each(["8080808080", "808080808000", "80808080808080808001"])(
    "refuses %s, a length of more than five bytes",
    (bytes) => {
      expect(endOf(varintFraming, hex(bytes), 65_536)).toBe(FRAME_MALFORMED);
    },
  );

  it("does not look beyond what has come, though the buffer goes on", () => {
    const bytes = hex("80 01 ffff");
    expect(varintFraming.frameEnd(bytes, 0, 1, 0, 65_536)).toBe(FRAME_UNKNOWN);
  });

  it("finds the body behind a length of any size", () => {
    const bytes = hex("ff 8002");
    expect(varintFraming.bodyStart(bytes, 1, 259)).toBe(3);
    expect(varintFraming.bodyStart(hex("8080808000"), 0, 5)).toBe(5);
  });
});

describe("newline framing", () => {
  function line(text: string, bodyBytesMax: number = 16): string | number {
    const bytes = Buffer.from(text);
    const end = endOf(newlineFraming, bytes, bodyBytesMax);
    if (end <= 0) return end;
    const bodyStart = newlineFraming.bodyStart(bytes, 0, end);
    return bytes.subarray(bodyStart, newlineFraming.bodyEnd(bytes, 0, end)).toString();
  }

  it.each([
    ["\n", ""],
    ["\r\n", ""],
    ["a\n", "a"],
    ["a\r\n", "a"],
    ["a\r\r\n", "a\r"],
    ["\ra\n", "\ra"],
    ["a\nb\n", "a"],
    ["0123456789abcdef\n", "0123456789abcdef"],
    ["0123456789abcdef\r\n", "0123456789abcdef"],
  ])("reads %j as the line %j", (text, body) => {
    expect(line(text)).toBe(body);
  });

  it.each(["", "a", "\r", "a\r", "0123456789abcdef", "0123456789abcdef\r"])(
    "waits for the end of %j",
    (text) => {
      expect(line(text)).toBe(FRAME_UNKNOWN);
    },
  );

  it.each(["0123456789abcdefg\n", "0123456789abcdefg\r\n", "0123456789abcdefgh", "x".repeat(500)])(
    "refuses %j, which is longer than 16 bytes, without waiting for its end",
    (text) => {
      expect(line(text)).toBe(FRAME_TOO_LARGE);
    },
  );

  it("looks only at what it has not seen, and not beyond what has come", () => {
    const bytes = Buffer.from("ab\ncd\n");
    expect(newlineFraming.frameEnd(bytes, 0, 6, 3, 16)).toBe(6);
    expect(newlineFraming.frameEnd(bytes, 3, 5, 3, 16)).toBe(FRAME_UNKNOWN);
  });

  it("can carry every body without a line feed", () => {
    const bytes = Buffer.from("ab\ncd\r");
    expect(newlineFraming.canCarry(bytes, 0, 6)).toBe(false);
    expect(newlineFraming.canCarry(bytes, 0, 3)).toBe(false);
    expect(newlineFraming.canCarry(bytes, 0, 2)).toBe(true);
    expect(newlineFraming.canCarry(bytes, 3, 6)).toBe(true);
    expect(newlineFraming.canCarry(bytes, 2, 2)).toBe(true);
  });
});

describe.each(Object.values(FRAMINGS))("$name framing", (framing) => {
  /** The frame of a body, in a buffer with other bytes around it. */
  function frameOf(body: Buffer): Buffer {
    const header = framing.headerBytes(body.length);
    const bytes = Buffer.alloc(7 + header + body.length + framing.trailerBytes + 7, 0xee);
    framing.writeHeader(bytes, 7, body.length);
    body.copy(bytes, 7 + header);
    if (framing.trailerBytes > 0) framing.writeTrailer(bytes, 7 + header + body.length);
    expect(bytes.subarray(0, 7).every((byte) => byte === 0xee)).toBe(true);
    expect(bytes.subarray(-7).every((byte) => byte === 0xee)).toBe(true);
    return bytes.subarray(7, -7);
  }

  it.each([0, 1, 127, 128, 16_383, 16_384, 65_536])(
    "reads back a body of %i bytes that it wrote, within its overhead",
    (length) => {
      const frame = frameOf(Buffer.alloc(length, "x"));
      expect(frame.length).toBeLessThanOrEqual(length + framing.overheadMax);
      expect(endOf(framing, frame, 65_536)).toBe(frame.length);
      const bodyStart = framing.bodyStart(frame, 0, frame.length);
      expect(framing.bodyEnd(frame, 0, frame.length) - bodyStart).toBe(length);
    },
  );

  it("gives no end before the frame's last byte, split at every byte", () => {
    const frame = frameOf(Buffer.alloc(300, "x"));
    for (let cut = framing.bytesMin; cut < frame.length; cut++) {
      const end = framing.frameEnd(frame, 0, cut, 0, 65_536);
      expect(end === FRAME_UNKNOWN || end === frame.length).toBe(true);
    }
  });

  it("refuses a body of one byte more than allowed", () => {
    const frame = frameOf(Buffer.alloc(101, "x"));
    expect(endOf(framing, frame, 100)).toBe(FRAME_TOO_LARGE);
    expect(endOf(framing, frame, 101)).toBe(frame.length);
  });

  it("passes the check of a listener's framing", () => {
    expect(() => checkFraming(framing)).not.toThrow();
  });
});

describe("a user's framing", () => {
  it.each([
    ["bytesMin 0", { bytesMin: 0 }, "bytesMin is at least 1"],
    ["bytesMin 1.5", { bytesMin: 1.5 }, "bytesMin is at least 1"],
    ["bytesMin NaN", { bytesMin: Number.NaN }, "bytesMin is at least 1"],
    ["no bytesMin", { bytesMin: undefined }, "bytesMin is at least 1"],
    ["overheadMax -1", { overheadMax: -1 }, "overheadMax is 0 to 64"],
    ["overheadMax 65", { overheadMax: 65 }, "overheadMax is 0 to 64"],
    ["overheadMax Infinity", { overheadMax: Infinity }, "overheadMax is 0 to 64"],
    ["no frameEnd", { frameEnd: undefined }, "frameEnd is missing"],
    ["no bodyStart", { bodyStart: undefined }, "bodyStart is missing"],
    ["no bodyEnd", { bodyEnd: null }, "bodyEnd is missing"],
    ["headerBytes that is a number", { headerBytes: 4 }, "headerBytes is missing"],
    ["no writeHeader", { writeHeader: undefined }, "writeHeader is missing"],
    ["no writeTrailer", { writeTrailer: undefined }, "writeTrailer is missing"],
    ["no canCarry", { canCarry: undefined }, "canCarry is missing"],
  ])("with %s is refused with a code and what is wrong", (_what, change, text) => {
    const framing = { ...uint32Framing, name: "mine", ...change } as Framing;
    expect(() => checkFraming(framing)).toThrow(
      expect.objectContaining({
        code: "HOLDFAST_FRAMING_INVALID",
        message: `framing mine: ${text}`,
      }) as Error,
    );
  });

  it.each([-1, 1.5, undefined, 65])("with trailerBytes %s is refused", (trailerBytes) => {
    const framing = { ...uint32Framing, trailerBytes } as Framing;
    expect(() => checkFraming(framing)).toThrow("trailerBytes");
  });
});

describe("a varint", () => {
  it.each([
    [0, "00"],
    [1, "01"],
    [127, "7f"],
    [128, "8001"],
    [16_383, "ff7f"],
    [16_384, "808001"],
    [2 ** 28 - 1, "ffffff7f"],
    [2 ** 28, "8080808001"],
    [2 ** 31 - 1, "ffffffff07"],
    [2 ** 31, "8080808008"],
    [2 ** 32 - 1, "ffffffff0f"],
    [2 ** 32, "8080808010"],
    [2 ** 35 - 1, "ffffffff7f"],
    [2 ** 35, "808080808001"],
    [2 ** 49, "8080808080808001"],
    [2 ** 53 - 1, "ffffffffffffff0f"],
  ])("of %i is %s, and its size is known beforehand", (value, expected) => {
    const bytes = Buffer.alloc(12, 0xee);
    const end = writeVarint(bytes, 1, value);
    expect(bytes.subarray(1, end).toString("hex")).toBe(expected);
    expect(varintBytes(value)).toBe(end - 1);
    expect([bytes[0], bytes[end]]).toEqual([0xee, 0xee]);
  });
});
