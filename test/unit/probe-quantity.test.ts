import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  formatBytes,
  formatCount,
  formatDuration,
  formatRate,
  formatShare,
  parseBytes,
  parseCount,
  parseDurationMs,
  parseRate,
  parseShare,
  parseStages,
} from "../../src/probe/quantity.ts";

const PARSERS = { parseCount, parseDurationMs, parseRate, parseShare, parseBytes };

/** What the parser says; it must be an error of the right kind that quotes what was given. */
function complaint(parse: (text: string) => unknown, text: string): string {
  let thrown: unknown = null;
  try {
    parse(text);
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toMatchObject({ code: "HOLDFAST_OPTIONS_INVALID" });
  const { message } = thrown as Error;
  expect(message).toContain(JSON.stringify(text.slice(0, 60)).slice(0, -1));
  expect(message).toContain("expected ");
  return message;
}

describe("a count", () => {
  it.each([
    ["0", 0],
    ["200000", 200_000],
    ["10k", 10_000],
    ["10K", 10_000],
    ["1.5m", 1_500_000],
    ["1.005m", 1_005_000],
    ["0.001k", 1],
    ["1.1k", 1_100],
    ["4.35k", 4_350],
    ["1g", 1e9],
    ["007", 7],
  ])("%s is %d", (text, expected) => {
    expect(parseCount(text)).toBe(expected);
  });

  it.each([
    ["ten", /is no count: expected a whole number such as/],
    ["10kk", /is no count/],
    ["10 k", /is no count/],
    ["k", /is no count/],
    ["1,000", /is no count/],
    ["1_000", /is no count/],
    [".5k", /is no count/],
    ["5.", /is no count/],
    ["1.5", /is no whole number/],
    ["1.0005k", /is no whole number/],
    ["1.1g", /is too much: expected at most a thousand million/],
    ["1000000001", /is too much/],
    ["9".repeat(400), /is too much/],
  ])("%s is refused", (text, message) => {
    expect(complaint(parseCount, text)).toMatch(message);
  });
});

describe("a duration", () => {
  it.each([
    ["250ms", 250],
    ["0.5ms", 0.5],
    ["0s", 0],
    ["5s", 5_000],
    ["1.5s", 1_500],
    ["90s", 90_000],
    ["1m30s", 90_000],
    ["2h", 7_200_000],
    ["1h0m1s1ms", 3_601_001],
    ["1m5ms", 60_005],
    ["576h", 576 * 3_600_000],
  ])("%s is %d ms", (text, expected) => {
    expect(parseDurationMs(text)).toBe(expected);
  });

  it.each([
    ["250", /has no unit: expected such as 250ms/],
    ["0", /has no unit/],
    ["ms", /is no duration/],
    ["5S", /is no duration/],
    ["5sec", /is no duration/],
    ["1d", /is no duration/],
    ["30s1m", /is no duration/],
    ["1s1s", /is no duration/],
    ["1m 30s", /is no duration/],
    ["1m30", /is no duration/],
    ["577h", /is too much: expected at most 24 days/],
    ["576h1ms", /is too much/],
    [`${"9".repeat(400)}s`, /is too much/],
  ])("%s is refused", (text, message) => {
    expect(complaint(parseDurationMs, text)).toMatch(message);
  });
});

describe("a rate", () => {
  it.each([
    ["50k", 50_000],
    ["50/s", 50],
    ["3k/m", 50],
    ["36/h", 0.01],
    ["0.5/s", 0.5],
    ["0", 0],
    ["1M/S", 1e6],
  ])("%s is %d a second", (text, expected) => {
    expect(parseRate(text)).toBe(expected);
  });

  it.each([
    ["50/", /is no rate/],
    ["/s", /is no rate/],
    ["50/s/s", /is no rate/],
    ["50/10s", /is no rate/],
    ["50/ms", /is no rate/],
    ["50 /s", /is no rate/],
    ["50rps", /is no rate/],
    ["2g/s", /is too much/],
  ])("%s is refused", (text, message) => {
    expect(complaint(parseRate, text)).toMatch(message);
  });
});

describe("a share", () => {
  it.each([
    ["1%", 0.01],
    ["0.01", 0.01],
    ["0.1%", 0.001],
    ["100%", 1],
    ["1", 1],
    ["0", 0],
    ["0%", 0],
  ])("%s is %d", (text, expected) => {
    expect(parseShare(text)).toBe(expected);
  });

  it.each([
    ["5", /is more than all: .*; 5% is written with its sign$/],
    ["1.01", /is more than all/],
    ["100.1%", /is more than all: expected 0% to 100%, or 0 to 1$/],
    ["1%%", /is no share/],
    ["%", /is no share/],
    ["1 %", /is no share/],
    ["1k%", /is no share/],
  ])("%s is refused", (text, message) => {
    expect(complaint(parseShare, text)).toMatch(message);
  });
});

describe("a size", () => {
  it.each([
    ["512", 512],
    ["64k", 65_536],
    ["1M", 1_048_576],
    ["0.5k", 512],
    ["1g", 1_073_741_824],
  ])("%s is %d bytes", (text, expected) => {
    expect(parseBytes(text)).toBe(expected);
  });

  it.each([
    ["64kb", /is no size/],
    ["64kk", /is no size/],
    ["1.5", /is no whole number/],
    ["0.3k", /is no whole number/],
    ["1025g", /is too much/],
  ])("%s is refused", (text, message) => {
    expect(complaint(parseBytes, text)).toMatch(message);
  });
});

describe("every parser of a quantity", () => {
  const bad = ["", " ", "-1", "+1", "NaN", "Infinity", "1e999", "1e3", "0x10", "1k ", " 1k", "1\n"];

  describe.each(Object.entries(PARSERS))("%s", (_, parse) => {
    it.each(bad)("refuses %j", (text) => {
      expect(complaint(parse, text)).toMatch(/ (is no|has no) /);
    });
  });

  it("gives a number that is finite and not negative, or complains of what it was given", () => {
    const texts = fc.oneof(fc.string(), fc.stringMatching(/^[0-9.kmghs%/]{0,8}$/));
    fc.assert(
      fc.property(fc.constantFrom(...Object.values(PARSERS)), texts, (parse, text) => {
        let value = 0;
        try {
          value = parse(text);
        } catch {
          complaint(parse, text);
        }
        expect(value).toBeGreaterThanOrEqual(0);
        expect(value).toBeLessThan(Infinity);
      }),
    );
  });
});

describe("stages", () => {
  it("go from the rate before to theirs", () => {
    expect(parseStages("1m:10k,3m:50k,30s:0", 0)).toEqual([
      { durationMs: 60_000, fromPerSecond: 0, toPerSecond: 10_000 },
      { durationMs: 180_000, fromPerSecond: 10_000, toPerSecond: 50_000 },
      { durationMs: 30_000, fromPerSecond: 50_000, toPerSecond: 0 },
    ]);
  });

  it("begin where they are told to, and may jump", () => {
    expect(parseStages("0s:500,1m:500/s", 20)).toEqual([
      { durationMs: 0, fromPerSecond: 20, toPerSecond: 500 },
      { durationMs: 60_000, fromPerSecond: 500, toPerSecond: 500 },
    ]);
  });

  it.each([
    ["", /^stage 1: "" is no stage: expected duration:rate, such as 1m:10k$/],
    ["1m", /^stage 1: "1m" is no stage/],
    ["1m:10k,", /^stage 2: "" is no stage/],
    ["1m:10k,,2m:5k", /^stage 2: "" is no stage/],
    ["1m:10k:5", /^stage 1: "1m:10k:5" is no stage/],
    ["1m:10k,2:5k", /^stage 2: "2" has no unit/],
    ["1m:10k, 2m:5k", /^stage 2: " 2m" is no duration/],
    ["10k:1m", /^stage 1: "10k" is no duration/],
    ["1m:-5", /^stage 1: "-5" is no rate/],
    ["0s:10k", /^"0s:10k" takes no time/],
    ["0s:10k,0ms:5k", /takes no time/],
  ])("%j are refused", (text, message) => {
    expect(() => parseStages(text, 0)).toThrow(
      expect.objectContaining({
        code: "HOLDFAST_OPTIONS_INVALID",
        message: expect.stringMatching(message),
      }),
    );
  });
});

describe("a printed quantity", () => {
  it.each([
    [0, "0"],
    [999, "999"],
    [1_234_567, "1,234,567"],
    [1_234.5, "1,235"],
  ])("%d is the count %s", (count, expected) => {
    expect(formatCount(count)).toBe(expected);
  });

  it.each([
    [0, "0ms"],
    [0.0004, "0ms"],
    [0.25, "0.25ms"],
    [1.2345, "1.23ms"],
    [12.345, "12.3ms"],
    [250, "250ms"],
    [999.4, "999ms"],
    [999.9, "1s"],
    [1_500, "1.5s"],
    [59_900, "59.9s"],
    [59_999, "1m"],
    [60_000, "1m"],
    [90_000, "1m30s"],
    [3_599_700, "1h"],
    [7_500_000, "2h5m"],
    [7_501_000, "2h5m"],
    [3_601_000, "1h"],
  ])("%d ms is %s", (ms, expected) => {
    expect(formatDuration(ms)).toBe(expected);
  });

  it.each([
    [0, "0/s"],
    [0.5, "0.5/s"],
    [999.7, "1,000/s"],
    [1_000, "1k/s"],
    [1_234, "1,234/s"],
    [1_250, "1.25k/s"],
    [50_000, "50k/s"],
    [1_250_000, "1.25m/s"],
    [1_234_567, "1,234,567/s"],
  ])("%d a second is %s", (perSecond, expected) => {
    expect(formatRate(perSecond)).toBe(expected);
  });

  it.each([
    [0, "0 B"],
    [945, "945 B"],
    [1_000, "0.977 KiB"],
    [1_618, "1.58 KiB"],
    [65_536, "64 KiB"],
    [1_536 * 1_024 ** 2, "1.5 GiB"],
    [1_024 ** 5, "1,024 TiB"],
    [-2_048, "-2 KiB"],
  ])("%d bytes are %s", (bytes, expected) => {
    expect(formatBytes(bytes)).toBe(expected);
  });

  it.each([
    [0, "0%"],
    [0.000_001, "<0.001%"],
    [0.001, "0.1%"],
    [0.2891, "28.9%"],
    [0.999_99, "99.99%"],
    [0.999_999_9, "99.99%"],
    [1, "100%"],
  ])("%d is the share %s", (share, expected) => {
    expect(formatShare(share)).toBe(expected);
  });

  it("is read as what it was where nothing is rounded", () => {
    const milliseconds = fc.oneof(
      fc.integer({ min: 0, max: 999 }),
      fc.integer({ min: 1, max: 59 }).map((seconds) => seconds * 1_000),
      fc.integer({ min: 1, max: 34_000 }).map((minutes) => minutes * 60_000),
    );
    fc.assert(
      fc.property(milliseconds, (ms) => {
        expect(parseDurationMs(formatDuration(ms))).toBe(ms);
      }),
    );
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1_000_000 }), (perSecond) => {
        expect(parseRate(formatRate(perSecond).replaceAll(",", ""))).toBe(perSecond);
      }),
    );
  });
});
