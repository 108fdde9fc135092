import { describe, expect, it } from "vitest";
import { GeneratorTally } from "../../src/probe/generator-tally.ts";
import type { GeneratorReport } from "../../src/probe/generator-messages.ts";
import { VitalSigns } from "../../src/probe/vitals.ts";
import { generatorReport } from "../support/generator-report.ts";

function report(toMs: number, count: (tally: GeneratorTally) => void): GeneratorReport {
  const tally = new GeneratorTally();
  count(tally);
  return generatorReport({ fromMs: toMs - 250, toMs, ...tally.take() });
}

describe("vital signs", () => {
  it("are nothing where nothing was reported", () => {
    const signs = new VitalSigns();
    expect(signs.read(1_000)).toEqual({
      attempts: 0,
      failed: 0,
      deaths: 0,
      echoes: 0,
      echoTimeouts: 0,
    });
  });

  it("look at attempts for one second, at deaths and echoes for five", () => {
    const signs = new VitalSigns();
    for (let toMs = 250; toMs <= 10_000; toMs += 250) {
      signs.add(
        report(toMs, (tally) => {
          tally.counts.connect.succeeded = 3;
          tally.counts.connect.failed = 1;
          tally.counts.echo.succeeded = 2;
          tally.counts.echo.failed = 1;
          tally.failed("echo.timeout");
          tally.died("closed.reset", 9_000);
        }),
      );
    }
    // Both ends of a window count: 5 reports in a second, 21 in five.
    expect(signs.read(10_000)).toEqual({
      attempts: 20,
      failed: 5,
      deaths: 21,
      echoes: 63,
      echoTimeouts: 21,
    });
    expect(signs.read(13_000)).toMatchObject({ attempts: 0, failed: 0, deaths: 9 });
    expect(signs.read(60_000)).toMatchObject({ attempts: 0, deaths: 0, echoes: 0 });
  });

  it("take what ends within its first second for an attempt that failed", () => {
    const signs = new VitalSigns();
    signs.add(
      report(1_000, (tally) => {
        tally.counts.connect.succeeded = 10;
        for (const ageMs of [1, 100, 101, 1_000]) tally.died("closed.fin", ageMs);
        for (const ageMs of [1_001, 90_000, 9e9]) tally.died("closed.fin", ageMs);
      }),
    );
    expect(signs.read(1_000)).toMatchObject({ attempts: 10, failed: 4, deaths: 3 });
  });

  it("count only timeouts of echoes, not other failures of theirs", () => {
    const signs = new VitalSigns();
    signs.add(
      report(1_000, (tally) => {
        tally.counts.echo.failed = 7;
        tally.failed("echo.lost", 4);
        tally.failed("connect.timeout", 2);
        tally.failed("echo.timeout", 1);
      }),
    );
    expect(signs.read(1_000)).toMatchObject({ echoes: 7, echoTimeouts: 1, failed: 0 });
  });
});
