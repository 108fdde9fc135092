import fc from "fast-check";
import { build, decodeFromCompressedBase64, encodeIntoCompressedBase64 } from "hdr-histogram-js";
import { describe, expect, it } from "vitest";
import { LatencyHistogram } from "../../src/probe/histogram.ts";

const MICROSECONDS_MAX = 2 ** 31 - 1;

function histogramOf(...milliseconds: readonly number[]): LatencyHistogram {
  const histogram = new LatencyHistogram();
  for (const ms of milliseconds) histogram.recordMs(ms);
  return histogram;
}

/** The same samples in the library's own histogram, in microseconds. */
function libraryOf(microseconds: readonly number[]): ReturnType<typeof build> {
  const histogram = build({
    bitBucketSize: 64,
    autoResize: false,
    highestTrackableValue: MICROSECONDS_MAX,
    numberOfSignificantValueDigits: 3,
  });
  for (const value of microseconds) histogram.recordValue(value);
  return histogram;
}

function merged(...all: readonly Float64Array[]): LatencyHistogram {
  const histogram = new LatencyHistogram();
  for (const pairs of all) histogram.addPairs(pairs);
  return histogram;
}

const microseconds = fc.oneof(
  fc.integer({ min: 1, max: MICROSECONDS_MAX }),
  // Around the edges of buckets.
  fc
    .tuple(fc.integer({ min: 0, max: 30 }), fc.integer({ min: -2, max: 2 }))
    .map(([bit, off]) => Math.min(MICROSECONDS_MAX, Math.max(1, 2 ** bit + off))),
);
const samples = fc.array(microseconds, { minLength: 1, maxLength: 200 });

describe("a latency histogram", () => {
  it("keeps every value within 1 in 1,024, whatever it is", () => {
    fc.assert(
      fc.property(microseconds, (value) => {
        const histogram = histogramOf(value / 1_000);
        const [lowest, count] = histogram.pairs;
        expect(count).toBe(1);
        expect(lowest).toBeLessThanOrEqual(value);
        const highest = Math.round(histogram.maxMs * 1_000);
        expect(highest).toBeGreaterThanOrEqual(value);
        expect(highest - lowest!).toBeLessThanOrEqual(value / 1_024);
      }),
    );
  });

  it("answers as the library's own histogram does", () => {
    const percentiles = fc.oneof(
      fc.constantFrom(0, 50, 90, 99, 99.9, 99.99, 100),
      fc.double({ min: 0.1, max: 100, noNaN: true }),
    );
    fc.assert(
      fc.property(samples, fc.array(percentiles), (values, asked) => {
        const ours = histogramOf(...values.map((value) => value / 1_000));
        const library = libraryOf(values);
        for (const p of asked) {
          expect(ours.percentileMs(p)).toBe(library.getValueAtPercentile(p) / 1_000);
        }
        expect(ours.meanMs).toBeCloseTo(library.mean / 1_000, 6);
        expect(ours.count).toBe(library.totalCount);
        expect(ours.toHdr()).toBe(encodeIntoCompressedBase64(library));
      }),
    );
  });

  it("does not let binary fractions push a percentile to the next sample", () => {
    const milliseconds = Array.from({ length: 1_000 }, (_, index) => index + 1);
    expect(histogramOf(...milliseconds).percentileMs(99.9)).toBeLessThan(1_000);
    expect(histogramOf(1, 2, 3, 4, 5, 6, 7, 8, 9, 10).percentileMs(70)).toBeCloseTo(7, 2);
  });

  it.each([
    [0, 0.001],
    [-250, 0.001],
    [-Infinity, 0.001],
    [0.000_4, 0.001],
    [0.001_4, 0.001],
    [0.001_6, 0.002],
  ])("counts %d ms as %d", (ms, expected) => {
    const histogram = histogramOf(ms);
    expect([histogram.minMs, histogram.maxMs, histogram.clamped]).toEqual([expected, expected, 0]);
  });

  it.each([2_147_483.648, 1e9, Infinity])("counts %d ms as its longest, and tells", (ms) => {
    const histogram = histogramOf(ms, 1, ms);
    expect(histogram.maxMs).toBe(MICROSECONDS_MAX / 1_000);
    expect(histogram).toMatchObject({ count: 3, clamped: 2 });
    expect(merged(histogram.takePairs()).clamped).toBe(2);
  });

  it("takes no latency that is no number for one", () => {
    const histogram = histogramOf(1);
    expect(() => histogram.recordMs(Number.NaN)).toThrow(/a latency is a number/);
    expect(histogram.count).toBe(1);
  });

  it.each([-1, 100.1, Number.NaN])("has no percentile %d", (p) => {
    expect(() => histogramOf(1).percentileMs(p)).toThrow(/0 to 100/);
  });

  it("is all zero where nothing was recorded", () => {
    const { hdr, ...figures } = new LatencyHistogram().summary();
    const nothing = { count: 0, min: 0, mean: 0, p50: 0, p90: 0, p99: 0, p999: 0, max: 0 };
    expect(figures).toEqual(nothing);
    expect(LatencyHistogram.fromHdr(hdr).count).toBe(0);
  });

  it("sums up", () => {
    const milliseconds = Array.from({ length: 1_000 }, (_, index) => (index + 1) / 1_000);
    expect(histogramOf(...milliseconds).summary()).toMatchObject({
      count: 1_000,
      min: 0.001,
      mean: expect.closeTo(0.5005, 9),
      p50: 0.5,
      p90: 0.9,
      p99: 0.99,
      p999: 0.999,
      max: 1,
    });
  });
});

describe("pairs", () => {
  it("tell each bucket's lowest value and its count, rising", () => {
    const histogram = histogramOf(5, 0.003, 5, 0.003, 0.003, 4.1);
    expect([...histogram.pairs]).toEqual([3, 3, 4_100, 1, 5_000, 2]);
  });

  it("are taken once, and what follows starts anew", () => {
    const histogram = histogramOf(5, 100);
    expect(histogram.takePairs()).toHaveLength(4);
    expect(histogram.count).toBe(0);
    expect([histogram.minMs, histogram.maxMs, histogram.percentileMs(99)]).toEqual([0, 0, 0]);
    histogram.recordMs(100);
    histogram.recordMs(7);
    expect([...histogram.takePairs()]).toEqual([...histogramOf(7, 100).pairs]);
  });

  it("of an empty histogram are empty", () => {
    const histogram = new LatencyHistogram();
    expect(histogram.takePairs()).toEqual(new Float64Array(0));
    histogram.addPairs(new Float64Array(0));
    expect(histogram.takePairs()).toHaveLength(0);
    expect(histogram.count).toBe(0);
  });

  it("are as they were after crossing to another process", () => {
    const { pairs } = histogramOf(1, 2, 2, 3_000);
    expect(structuredClone(pairs)).toEqual(pairs);
  });

  it("merge, however the samples were shared out, to what one histogram would hold", () => {
    fc.assert(
      fc.property(fc.array(samples, { minLength: 1, maxLength: 5 }), (shares) => {
        const parts = shares.map((share) => histogramOf(...share.map((value) => value / 1_000)));
        const whole = histogramOf(...shares.flat().map((value) => value / 1_000));
        const byHistogram = new LatencyHistogram();
        for (const part of parts) byHistogram.add(part);
        expect(byHistogram.summary()).toEqual(whole.summary());
        expect(merged(...parts.map((part) => part.takePairs())).summary()).toEqual(whole.summary());
      }),
    );
  });

  it("count beyond 2^32 without wrapping round", () => {
    const histogram = merged(Float64Array.of(5_000, 2 ** 33), Float64Array.of(5_000, 2 ** 33));
    expect(histogram.count).toBe(2 ** 34);
    expect([...LatencyHistogram.fromHdr(histogram.toHdr()).pairs]).toEqual([5_000, 2 ** 34]);
  });

  it("that are taken away leave what was there before", () => {
    fc.assert(
      fc.property(samples, samples, (kept, passing) => {
        const rest = histogramOf(...kept.map((value) => value / 1_000));
        const gone = histogramOf(...passing.map((value) => value / 1_000)).pairs;
        const both = merged(rest.pairs, gone);
        both.subtractPairs(gone);
        expect(both.summary()).toEqual(rest.summary());
        expect(both.pairs).toEqual(rest.pairs);
      }),
    );
  });

  it.each([
    ["another value", 6_000_000, 1],
    ["a longer value", 2_000_000_000, 1],
    ["more", 5_000, 3],
  ])("are not taken away where %s was never added", (_, value, count) => {
    const histogram = histogramOf(5, 5);
    expect(() => histogram.subtractPairs(Float64Array.of(value, count))).toThrow(/taken away/);
  });
});

describe("the HdrHistogram format", () => {
  it("is one that the library reads, with the precision that was used", () => {
    const read = decodeFromCompressedBase64(histogramOf(1, 2, 250).toHdr(), 64);
    expect(read.totalCount).toBe(3);
    expect(read.numberOfSignificantValueDigits).toBe(3);
    expect(read.maxValue / 1_000).toBeCloseTo(250, 0);
  });

  it("brings back the same histogram", () => {
    fc.assert(
      fc.property(samples, (values) => {
        const histogram = histogramOf(...values.map((value) => value / 1_000));
        const { hdr, ...figures } = histogram.summary();
        expect(LatencyHistogram.fromHdr(hdr).summary()).toEqual({ ...figures, hdr });
      }),
    );
  });

  it("is read from histograms of other precision too, with what is too long cut", () => {
    const foreign = build({
      bitBucketSize: 64,
      autoResize: true,
      numberOfSignificantValueDigits: 2,
    });
    foreign.recordValue(5_000);
    foreign.recordValue(2 ** 40);
    const read = LatencyHistogram.fromHdr(encodeIntoCompressedBase64(foreign));
    expect(read).toMatchObject({ count: 2, clamped: 1 });
    expect(read.minMs).toBeCloseTo(5, 0);
  });

  it.each([
    ["nothing", ""],
    ["no base64", "%%%%"],
    ["a cut text", histogramOf(1, 2, 3).toHdr().slice(0, 24)],
    ["a text with a changed end", `${histogramOf(1, 2, 3).toHdr().slice(0, -12)}AAAAAAAAAAA=`],
    ["another format", Buffer.from("HISTFAAAAAA of something else").toString("base64")],
    ["a number", "12345678"],
  ])("is refused where there is %s", (_, text) => {
    expect(() => LatencyHistogram.fromHdr(text)).toThrow(
      expect.objectContaining({
        code: "HOLDFAST_OPTIONS_INVALID",
        message: expect.stringMatching(/^this is no HdrHistogram \(V2, compressed, base64\)/),
      }),
    );
  });
});
