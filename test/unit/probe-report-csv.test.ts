import { describe, expect, it } from "vitest";
import { seriesCsv } from "../../src/probe/report-csv.ts";
import type { SeriesPoint } from "../../src/probe/report.ts";
import { capacityReport, loadReport } from "../support/probe-report.ts";

function rowsOf(csv: string): string[][] {
  return csv
    .split("\r\n")
    .slice(0, -1)
    .map((line) => line.split(","));
}

function withPoint(change: Partial<SeriesPoint>): string[] {
  const [point] = capacityReport().series;
  return rowsOf(seriesCsv({ series: [{ ...point!, ...change }] }))[1]!;
}

describe("the series as CSV", () => {
  it("has a header and one row a second, each line ended by CR LF", () => {
    const csv = seriesCsv(capacityReport());
    expect(csv.endsWith("\r\n")).toBe(true);
    expect(csv.replaceAll("\r\n", "")).not.toMatch(/[\r\n]/);
    expect(rowsOf(csv)).toHaveLength(91);
  });

  it("has as many fields in every row, server or not", () => {
    for (const report of [capacityReport(), loadReport()]) {
      const [header, ...rows] = rowsOf(seriesCsv(report));
      for (const row of rows) expect(row).toHaveLength(header!.length);
    }
  });

  it("has a column for every field of a point, the server's too", () => {
    const point = capacityReport().series[10]!;
    const { server, ...own } = point;
    const figures = [...Object.values(own), ...Object.values(server!)];
    const [header, row] = rowsOf(seriesCsv({ series: [point] }));
    expect(header).toHaveLength(figures.length);
    expect(row!.map(Number)).toEqual(figures.map((figure) => Number(figure!.toFixed(6))));
  });

  it("names the unit of every figure", () => {
    const [header] = rowsOf(seriesCsv({ series: [] }));
    const unit =
      /_(ms|index|connections|per_second|count|ratio|bytes|cores|processes|fds|limit|connection)$/;
    for (const name of header!) expect(name).toMatch(unit);
    expect(new Set(header).size).toBe(header!.length);
  });

  it("is only a header where nothing was measured", () => {
    expect(rowsOf(seriesCsv({ series: [] }))).toHaveLength(1);
  });

  it("leaves empty what is not known, and writes a zero as 0", () => {
    const row = withPoint({ server: null, responseP50Ms: null, held: 0, deaths: -0 });
    expect(row.slice(-8).join("")).toBe("");
    expect(row[3]).toBe("0");
    expect(row[8]).toBe("0");
    expect(row[9]).toBe("");
  });

  it.each([
    [1e-7, "0"],
    [0.000_001, "0.000001"],
    [1 / 3, "0.333333"],
    [1_000_000, "1000000"],
    [1e21, "1000000000000000000000"],
    [-5.5, "-5.5"],
    [Number.NaN, ""],
    [Infinity, ""],
  ])("writes %d plainly, without separators and exponents", (value, expected) => {
    expect(withPoint({ held: value })[3]).toBe(expected);
  });
});
