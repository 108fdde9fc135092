import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LatencyHistogram } from "../../src/probe/histogram.ts";
import type { ThresholdResult } from "../../src/probe/report.ts";
import { judge, parseThreshold, parseThresholds, type Sample } from "../../src/probe/threshold.ts";

function histogramOf(...milliseconds: readonly number[]): LatencyHistogram {
  const histogram = new LatencyHistogram();
  for (const ms of milliseconds) histogram.recordMs(ms);
  return histogram;
}

/** The second that begins at this one. */
function second(at: number, holds: Partial<Sample> = {}): Sample {
  return {
    fromMs: at * 1_000,
    toMs: (at + 1) * 1_000,
    latencies: {},
    errors: { bad: 0, all: 0 },
    loss: { bad: 0, all: 0 },
    operations: 0,
    held: 0,
    ...holds,
  };
}

function seconds(count: number, holds: (at: number) => Partial<Sample>): Sample[] {
  return Array.from({ length: count }, (_, at) => second(at, holds(at)));
}

function judged(text: string, samples: readonly Sample[], toMs?: number): ThresholdResult {
  return judge(parseThreshold(text), samples, 0, toMs ?? samples.at(-1)?.toMs ?? 0);
}

describe("a threshold", () => {
  it.each([
    ["connect:p(99)<250ms", { metric: "connect", operator: "<", limit: 250, unit: "ms" }],
    ["connect:p(99)<250", { limit: 250, unit: "ms" }],
    ["echo:p(99)<50ms", { metric: "response", aggregate: { kind: "p", percentile: 99 } }],
    ["response:p(99.9)<=0.2s", { operator: "<=", limit: 200, aggregate: { percentile: 99.9 } }],
    ["service:p(0)<1ms", { aggregate: { percentile: 0 } }],
    ["delivery:avg<20ms", { metric: "delivery", aggregate: { kind: "avg" } }],
    ["lateness:med<1ms", { metric: "lateness", aggregate: { kind: "med" } }],
    ["connectLateness:max<1s", { metric: "connectLateness", limit: 1_000 }],
    ["connectService:min>=0", { operator: ">=", limit: 0 }],
    ["response:count>10k", { aggregate: { kind: "count" }, limit: 10_000, unit: "count" }],
    ["errors<0.1%", { metric: "errors", aggregate: { kind: "rate" }, limit: 0.001 }],
    ["errors:rate<0.01", { aggregate: { kind: "rate" }, limit: 0.01, unit: "ratio" }],
    ["errors:count==0", { operator: "==", limit: 0, unit: "count" }],
    ["loss<0.01", { metric: "loss", limit: 0.01, unit: "ratio" }],
    ["rate>=49k", { metric: "rate", operator: ">=", limit: 49_000, unit: "per_second" }],
    ["rate>3k/m", { limit: 50 }],
    ["rate:count!=0", { operator: "!=", limit: 0, unit: "count" }],
    ["held>=10k", { metric: "held", aggregate: { kind: "value" }, unit: "count" }],
    ["held:min>9900", { aggregate: { kind: "min" }, limit: 9_900 }],
    ["loss<1% over 30s", { overMs: 30_000, abort: false, afterMs: 0 }],
    ["loss<1% abort", { overMs: null, abort: true, afterMs: 0 }],
    ["loss<1% abort after 10s", { abort: true, afterMs: 10_000 }],
    ["loss<1% after 1m abort over 5s", { abort: true, afterMs: 60_000, overMs: 5_000 }],
    ["  connect : p( 99.5 )  <  1s  over  2s ", { limit: 1_000, overMs: 2_000 }],
  ])("%s is read", (text, expected) => {
    const defaults = { text: text.trim(), abort: /abort/.test(text) };
    expect(parseThreshold(text)).toMatchObject({ ...defaults, ...expected });
  });

  it.each([
    ["", /^threshold "": is not understood: expected one such as echo:p\(99\)<50ms/],
    ["p(99)<50ms", /is not understood/],
    ["echo", /is not understood/],
    ["echo:p(99)", /is not understood/],
    ["echo:p(99)<", /is not understood/],
    ["echo:p(99<50ms", /is not understood/],
    ["echo:p(99)<50ms<60ms", /is not understood/],
    ["echo:p(99)<50ms\nloss<1%", /"loss<1%" is not understood there/],
    ["conect:p(99)<1s", /"conect" is no metric \(did you mean connect\?\); they are connect,/],
    ["reponse:avg<1s", /\(did you mean response\?\)/],
    ["Errors<1%", /\(did you mean errors\?\)/],
    ["eror<1%", /\(did you mean errors\?\)/],
    ["latency:p(99)<1s", /"latency" is no metric; they are/],
    ["constructor<1", /"constructor" is no metric; they are/],
    ["echo<50ms", /echo needs an aggregate, such as echo:p\(99\); it has p\(99\), avg, min,/],
    ["echo:rate<1%", /echo has no aggregate "rate"; it has p\(99\)/],
    ["echo:p95<50ms", /echo has no aggregate "p95"/],
    ["echo:averge<1s", /no aggregate "averge"/],
    ["echo:mix<1s", /\(did you mean m/],
    ["errors:p(99)<1%", /errors has no aggregate "p"; it has rate, count$/],
    ["rate:avg>1k", /rate has no aggregate "avg"/],
    ["held:toString>1k", /held has no aggregate "toString"/],
    ["echo:avg(3)<1s", /avg takes nothing in brackets/],
    ["echo:avg()<1s", /avg takes nothing in brackets/],
    ["echo:p<1s", /p needs a percentile from 0 to 100/],
    ["echo:p()<1s", /p needs a percentile/],
    ["echo:p(100.1)<1s", /p needs a percentile/],
    ["echo:p(-1)<1s", /p needs a percentile/],
    ["echo:p(1e1)<1s", /p needs a percentile/],
    ["echo:avg=1s", /"=" is no operator; they are < <= > >= == !=/],
    ["echo:avg=<1s", /"=<" is no operator/],
    ["echo:avg===1s", /"===" is no operator/],
    ["echo:avg<5x", /^threshold echo:avg<5x: "5x" is no duration/],
    ["echo:avg<1%", /"1%" is no duration/],
    ["echo:count<1s", /"1s" is no count/],
    ["errors<50", /"50" is more than all/],
    ["errors<10ms", /"10ms" is no share/],
    ["errors:count<1%", /"1%" is no count/],
    ["rate>49k/x", /"49k\/x" is no rate/],
    ["held>-5", /"-5" is no count/],
    ["loss<1% over", /^threshold loss<1% over: over: "" is no duration/],
    ["loss<1% over 30", /over: "30" has no unit/],
    ["loss<1% over 500ms", /over needs one second at least/],
    ["loss<1% over 5s over 6s", /has over twice/],
    ["loss<1% abort abort", /has abort twice/],
    ["loss<1% after 10s", /expected abort as well/],
    ["loss<1% abort 10s", /"10s" is not understood there: expected over with a duration/],
    ["loss<1% && errors<1%", /is not understood/],
  ])("%j is refused", (text, message) => {
    expect(() => parseThreshold(text)).toThrow(
      expect.objectContaining({
        code: "HOLDFAST_OPTIONS_INVALID",
        message: expect.stringMatching(message),
      }),
    );
  });

  it("is read, or refused with its name, whatever is written", () => {
    const pieces = ["echo", ":", "p(99)", "avg", "<", "==", "50ms", "1%", " ", "over", "abort"];
    const texts = fc.oneof(
      fc.string(),
      fc.array(fc.constantFrom(...pieces)).map((parts) => parts.join("")),
    );
    fc.assert(
      fc.property(texts, (text) => {
        let code = "";
        try {
          parseThreshold(text);
        } catch (error) {
          code = (error as { code: string }).code;
          expect((error as Error).message).toMatch(/^threshold /);
        }
        expect(["", "HOLDFAST_OPTIONS_INVALID"]).toContain(code);
      }),
    );
  });
});

describe("a list of thresholds", () => {
  it("has commas between them", () => {
    const found = parseThresholds("connect:p(99)<250ms, echo:p(99)<50ms over 5s,errors<0.1%");
    expect(found.map(({ text }) => text)).toEqual([
      "connect:p(99)<250ms",
      "echo:p(99)<50ms over 5s",
      "errors<0.1%",
    ]);
  });

  it.each(["", "errors<1%,", ",errors<1%", "errors<1%,,loss<1%", "errors<1% loss<1%"])(
    "%j is refused",
    (text) => {
      expect(() => parseThresholds(text)).toThrow(/is not understood/);
    },
  );
});

describe("a threshold over the whole", () => {
  const run = [
    second(0, {
      latencies: { response: histogramOf(10, 20), connect: [] },
      errors: { bad: 1, all: 10 },
      loss: { bad: 0, all: 50 },
      operations: 300,
      held: 80,
    }),
    second(1, {
      latencies: { response: histogramOf(30, 40).pairs, service: histogramOf() },
      errors: { bad: 0, all: 90 },
      loss: { bad: 5, all: 50 },
      operations: 100,
      held: 100,
    }),
    second(2, {
      latencies: { response: [histogramOf(50).pairs, histogramOf(60).pairs] },
      operations: 200,
      held: 90,
    }),
  ];

  it.each([
    ["response:min<11ms", 10, true],
    ["response:max<60ms", 60, false],
    ["response:avg<34ms", 35, false],
    ["response:med<=31ms", 30, true],
    ["response:p(60)<41ms", 40, true],
    ["echo:p(100)<70ms", 60, true],
    ["response:count==6", 6, true],
    ["response:count!=6", 6, false],
    ["errors<=1%", 0.01, true],
    ["errors<1%", 0.01, false],
    ["errors:count<2", 1, true],
    ["loss<5%", 0.05, false],
    ["rate>=200", 200, true],
    ["rate>200", 200, false],
    ["rate:count>=601", 600, false],
    ["held>=90", 90, true],
    ["held:min>=90", 80, false],
    ["held:max==100", 100, true],
  ])("%s is judged by all samples", (text, actual, passed) => {
    const result = judged(text, run);
    expect(result).toMatchObject({ text, passed, worstAtMs: null });
    expect(result.actual! / actual).toBeCloseTo(1, 2);
  });

  it("takes rates over the time in which operations were scheduled", () => {
    // From 0.5 s to 2.5 s, which three samples overlap.
    const result = judge(parseThreshold("rate>=300"), run, 500, 2_500);
    expect(result).toMatchObject({ actual: 300, passed: true });
  });

  it("leaves out the time of which there is no sample", () => {
    expect(judged("rate>=250", [run[0]!, run[2]!], 3_000)).toMatchObject({ actual: 250 });
  });

  it.each(["connect:p(99)<1s", "service:min>=0ms", "delivery:count>=0", "lateness:max<1h"])(
    "%s is not met where nothing was measured for it",
    (text) => {
      expect(judged(text, run)).toMatchObject({ actual: null, passed: false, worstAtMs: null });
    },
  );

  it.each(["errors<100%", "loss:count==0", "rate>=0", "held>=0", "echo:avg<1h over 5s"])(
    "%s is not met where there are no samples at all",
    (text) => {
      expect(judged(text, [], 5_000)).toMatchObject({ actual: null, passed: false });
    },
  );

  it("counts a second without operations as a rate of zero", () => {
    expect(judged("rate>0", [second(0)])).toMatchObject({ actual: 0, passed: false });
  });
});

describe("a threshold over a window", () => {
  /** One operation a second that takes 10 ms, but for one second with a long one. */
  const spiked = seconds(60, (at) => ({
    latencies: { response: at === 42 ? histogramOf(10, 500) : histogramOf(10) },
    errors: { bad: at === 42 ? 1 : 0, all: 2 },
    operations: at === 42 ? 1 : 11,
    held: at === 42 ? 5 : 10,
  }));

  it("is missed by the window that is worst, which is named by its start", () => {
    const result = judged("response:avg<90ms over 5s", spiked);
    expect(result).toMatchObject({ passed: false, worstAtMs: 38_000, unit: "ms" });
    // Five short ones and the long one.
    expect(result.actual).toBeCloseTo(550 / 6, -1);
    expect(judged("response:avg<90ms", spiked).passed).toBe(true);
  });

  it("looks for the lowest where the limit is a lower one", () => {
    expect(judged("rate>=10 over 5s", spiked)).toMatchObject({
      actual: 9,
      passed: false,
      worstAtMs: 38_000,
    });
    expect(judged("rate>=10", spiked).passed).toBe(true);
    expect(judged("held:min>=6 over 1s", spiked)).toMatchObject({ actual: 5, worstAtMs: 42_000 });
  });

  it.each([
    ["errors==0 over 2s", 0.25],
    ["errors!=25% over 2s", 0.25],
    ["errors:count!=0 over 2s", 0],
  ])("%s reports the window that decides", (text, actual) => {
    expect(judged(text, spiked)).toMatchObject({ actual, passed: false });
  });

  it("is the whole run where it is longer", () => {
    const whole = judged("response:avg<1s", spiked);
    for (const over of ["60s", "61s", "5m"]) {
      const result = judged(`response:avg<1s over ${over}`, spiked);
      expect(result).toMatchObject({ actual: whole.actual, passed: true, worstAtMs: 0 });
    }
  });

  it("reaches to the last second, and to what came after it", () => {
    const late = [...spiked, second(60, { latencies: { response: histogramOf(5_000) } })];
    const result = judged("response:max<1s over 10s", late, 60_000);
    expect(result).toMatchObject({ passed: false, worstAtMs: 50_000 });
    expect(judged("response:count>=12 over 10s", late, 60_000).actual).toBe(10);
  });

  it("does not mind seconds that drift", () => {
    const drifting = seconds(60, (at) => ({
      fromMs: at * 1_007,
      toMs: (at + 1) * 1_007,
      latencies: { response: histogramOf(at === 59 ? 90 : 10) },
    }));
    const result = judged("response:max<50ms over 10s", drifting);
    expect(result.passed).toBe(false);
    expect(result.worstAtMs).toBeGreaterThanOrEqual(49 * 1_007);
    expect(judged("response:count>=10 over 10s", drifting)).toMatchObject({ passed: true });
  });

  it("is whole although a few milliseconds are missing at the end", () => {
    const run = seconds(60, (at) => ({ operations: at === 59 ? 0 : 10 }));
    expect(judged("rate>=10 over 10s", run, 59_990)).toMatchObject({ worstAtMs: 50_000 });
  });

  it("passes over windows in which nothing was measured", () => {
    const early = seconds(30, (at) => (at < 3 ? { latencies: { connect: histogramOf(5) } } : {}));
    expect(judged("connect:max<10ms over 5s", early)).toMatchObject({ passed: true, worstAtMs: 0 });
    expect(judged("connect:count>=3 over 5s", early)).toMatchObject({ actual: 1, passed: false });
  });

  it("holds at least one sample, however long samples are", () => {
    const slow = { ...second(0), toMs: 90_000, operations: 450 };
    const fast = { ...second(90), toMs: 180_000, operations: 1_800 };
    expect(judged("rate>=10 over 5s", [slow, fast])).toMatchObject({ actual: 5, worstAtMs: 0 });
  });

  it("finds what looking at every window by itself finds", () => {
    const runs = fc.array(fc.array(fc.integer({ min: 1, max: 2_000 }), { maxLength: 4 }), {
      minLength: 1,
      maxLength: 30,
    });
    const windows = fc.integer({ min: 1, max: 12 });
    const kinds = fc.constantFrom("max<1s", "min<1s", "avg<1s", "p(75)<1s", "count>2");
    fc.assert(
      fc.property(runs, windows, kinds, (latencies, length, kind) => {
        const samples = latencies.map((found, at) =>
          second(at, { latencies: { response: histogramOf(...found).pairs } }),
        );
        const starts = Math.max(1, samples.length - length + 1);
        const alone = Array.from({ length: starts }, (_, at) =>
          judged(`response:${kind}`, samples.slice(at, at + length)),
        ).filter(({ actual }) => actual !== null);
        const result = judged(`response:${kind} over ${length}s`, samples);
        const actuals = alone.map(({ actual }) => actual!);
        const worst = kind === "count>2" ? Math.min(...actuals) : Math.max(...actuals);
        expect(result.actual).toBe(actuals.length === 0 ? null : worst);
        expect(result.passed).toBe(actuals.length > 0 && alone.every(({ passed }) => passed));
      }),
    );
  });

  it("takes less than a second for an hour of busy seconds", () => {
    const busy = Array.from(
      { length: 20 },
      (_, at) =>
        histogramOf(...Array.from({ length: 2_000 }, (_unused, n) => 1 + at + (n * n) / 20_000))
          .pairs,
    );
    const hour = seconds(3_600, (at) => ({ latencies: { response: busy[at % 20]! } }));
    const startMs = performance.now();
    const result = judged("response:p(99)<1h over 30s", hour);
    expect(performance.now() - startMs).toBeLessThan(1_000);
    expect(result.passed).toBe(true);
  });
});
