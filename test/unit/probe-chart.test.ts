import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type Axis,
  type FigureUnit,
  linearAxis,
  logAxis,
  timeAxis,
} from "../../src/probe/chart-axis.ts";
import { areaPath, linePath, thinned } from "../../src/probe/chart-path.ts";
import { escaped, html, verbatim } from "../../src/probe/markup.ts";

/** Upwards, as figures are drawn. */
const EXTENT = { from: 200, to: 20 };
const units = fc.constantFrom<FigureUnit[]>("count", "ms", "bytes", "share", "cores");

function labels(axis: Axis): string[] {
  return axis.ticks.map(({ label }) => label);
}

function expectOrdered(axis: Axis): void {
  for (const [index, { at }] of axis.ticks.entries()) {
    expect(Number.isFinite(at)).toBe(true);
    expect(at).toBeLessThanOrEqual(EXTENT.from);
    expect(at).toBeGreaterThanOrEqual(EXTENT.to);
    if (index > 0) expect(at).toBeLessThan(axis.ticks[index - 1]!.at);
  }
}

describe("a linear axis", () => {
  it.each<[number, FigureUnit, string[]]>([
    [182_041, "count", ["0", "50k", "100k", "150k", "200k"]],
    [1_000_000, "count", ["0", "500k", "1M", "1.5M"]],
    [3, "count", ["0", "1", "2", "3", "4"]],
    [0, "count", ["0", "1", "2"]],
    [Number.NaN, "count", ["0", "1", "2"]],
    [0.3, "cores", ["0", "0.1", "0.2", "0.3", "0.4"]],
    [449 * 1_048_576, "bytes", ["0", "200 MiB", "400 MiB", "600 MiB"]],
    [1, "share", ["0", "50%", "100%", "150%"]],
  ])("up to %d %ss has round labels", (max, unit, expected) => {
    expect(labels(linearAxis(max, unit, EXTENT))).toEqual(expected);
  });

  it("holds every figure up to its greatest below its top, on 2 to 8 ticks", () => {
    fc.assert(
      fc.property(fc.double({ min: 1e-6, max: 1e13, noNaN: true }), units, (max, unit) => {
        const axis = linearAxis(max, unit, EXTENT);
        expectOrdered(axis);
        expect(axis.ticks.length).toBeGreaterThanOrEqual(2);
        expect(axis.ticks.length).toBeLessThanOrEqual(8);
        expect(axis.at(max)).toBeGreaterThan(EXTENT.to);
        expect(axis.at(0)).toBe(EXTENT.from);
        expect(axis.at(2 * max)).toBeLessThan(axis.at(max));
      }),
    );
  });

  it("draws what is beyond it at its end", () => {
    const axis = linearAxis(10, "count", EXTENT);
    expect(axis.at(1e9)).toBe(EXTENT.to);
    expect(axis.at(-5)).toBe(EXTENT.from);
  });
});

describe("a logarithmic axis", () => {
  it.each<[number[], string[]]>([
    [
      [0.2, 2_900],
      ["0.1ms", "1ms", "10ms", "100ms", "1s", "10s"],
    ],
    [[5], ["1ms", "2ms", "5ms", "10ms"]],
    [[], ["0.1ms", "0.2ms", "0.5ms", "1ms", "2ms", "5ms", "10ms"]],
    [
      [0, 0],
      ["0.1ms", "0.2ms", "0.5ms", "1ms", "2ms", "5ms", "10ms"],
    ],
  ])("of %j has decades", (values, expected) => {
    expect(labels(logAxis(values, "ms", EXTENT))).toEqual(expected);
  });

  it("holds every figure, and draws the greater one higher", () => {
    const figures = fc.array(fc.double({ min: 0, max: 1e9, noNaN: true }), { maxLength: 20 });
    fc.assert(
      fc.property(figures, (values) => {
        const axis = logAxis(values, "ms", EXTENT);
        expectOrdered(axis);
        const places = values.toSorted((a, b) => a - b).map((value) => axis.at(value));
        for (const [index, at] of places.entries()) {
          expect(Number.isFinite(at)).toBe(true);
          if (index > 0) expect(at).toBeLessThanOrEqual(places[index - 1]!);
        }
      }),
    );
  });
});

describe("an axis of time", () => {
  it.each([
    [90_000, 6, ["0", "15s", "30s", "45s", "1m", "1m15s", "1m30s"]],
    [1_000, 6, ["0", "1s"]],
    [3_600_000, 6, ["0", "10m", "20m", "30m", "40m", "50m", "1h"]],
    [86_400_000, 4, ["0", "6h", "12h", "18h", "24h"]],
  ])("up to %i ms has round labels", (toMs, count, expected) => {
    expect(labels(timeAxis(0, toMs, count, { from: 0, to: 100 }))).toEqual(expected);
  });

  it("has no more labels than there is room for, however long it is", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 1e10 }),
        fc.integer({ min: 2, max: 12 }),
        (ms, room) => {
          const { ticks } = timeAxis(0, ms, room, { from: 0, to: 100 });
          expect(ticks.length).toBeGreaterThan(0);
          expect(ticks.length).toBeLessThanOrEqual(room + 1);
        },
      ),
    );
  });
});

describe("a line", () => {
  const p = (x: number, y: number): { x: number; y: number } => ({ x, y });

  it("is lifted where nothing is known, and a point alone is a dot", () => {
    expect(linePath([p(0, 1), p(1, 2), null, p(3, 4), null])).toBe("M0 1L1 2M3 4h0");
    expect(linePath([p(0.04, 1.26)])).toBe("M0 1.3h0");
    expect(linePath([null, null])).toBe("");
    expect(linePath([])).toBe("");
  });

  it("fills the room below it, part by part", () => {
    expect(areaPath([p(0, 1), p(1, 2), null, p(3, 4), null, p(5, 6), p(6, 7)], 9)).toBe(
      "M0 1L1 2L1 9L0 9ZM5 6L6 7L6 9L5 9Z",
    );
    expect(areaPath([], 9)).toBe("");
  });

  it("is drawn whole where it is short", () => {
    expect(thinned([3, null, 1], 3)).toEqual([0, 1, 2]);
  });

  it("is thinned in order, with its least and its greatest", () => {
    const values = fc.array(fc.option(fc.integer(), { freq: 4 }), { minLength: 1, maxLength: 300 });
    fc.assert(
      fc.property(values, fc.integer({ min: 2, max: 40 }), (line, max) => {
        const chosen = thinned(line, max);
        expect(chosen.length).toBeLessThanOrEqual(Math.max(max, 2));
        expect(chosen).toEqual([...new Set(chosen)].toSorted((a, b) => a - b));
        const known = line.filter((value) => value !== null);
        if (known.length === 0) return;
        const drawn = chosen.map((index) => line[index] ?? null).filter((one) => one !== null);
        expect(Math.max(...drawn)).toBe(Math.max(...known));
        expect(Math.min(...drawn)).toBe(Math.min(...known));
      }),
    );
  });

  it("keeps a long gap when it is thinned", () => {
    const line = Array.from({ length: 1_000 }, (_, at) => (at > 400 && at < 600 ? null : at));
    expect(thinned(line, 100).filter((index) => line[index] === null).length).toBeGreaterThan(5);
  });
});

describe("markup", () => {
  it("escapes what it is given, in text and in attributes", () => {
    const evil = `<b title="x" y='z'>&`;
    expect(html`<i a="${evil}">${evil}</i>`.text).toBe(
      `<i a="${escaped(evil)}">${escaped(evil)}</i>`,
    );
    expect(escaped(evil)).toBe("&lt;b title=&quot;x&quot; y=&#39;z&#39;&gt;&amp;");
  });

  it("takes markup, lists of it, and numbers as they are", () => {
    const items = ["a", "<"].map((item) => html`<li>${item}</li>`);
    expect(html`${items}${3}${verbatim("<hr>")}`.text).toBe("<li>a</li><li>&lt;</li>3<hr>");
  });

  it("leaves no control characters, which HTML has no place for", () => {
    expect(escaped("a\u0000\u001b\u0085b\n\tc")).toBe("a\ufffd\ufffd\ufffdb\n\tc");
  });
});
