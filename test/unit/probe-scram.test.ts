import { describe, expect, it } from "vitest";
import { Scram, SCRAM_LIMITS, type Vitals } from "../../src/probe/scram.ts";
import type { FailedSource } from "../../src/probe/server-watch.ts";
import { processSample, serverSample } from "../support/server-sample.ts";

const SOURCE = "http://127.0.0.1:7402/stats";

function vitals(changes: Partial<Vitals> = {}): Vitals {
  return {
    atMs: 1_000,
    attempts: 1_000,
    failed: 0,
    held: 5_000,
    deaths: 0,
    echoes: 500,
    echoTimeouts: 0,
    server: null,
    baseline: null,
    memoryAvailableBytes: null,
    memoryTotalBytes: null,
    ...changes,
  };
}

const verdict = (changes: Partial<Vitals>): string => {
  const reason = new Scram().observe(vitals(changes));
  return reason === null ? "go on" : `${reason.kind}: ${reason.reason}`;
};

const lagging = (lagMs: number): Partial<Vitals> => ({
  server: serverSample(1_000, [
    processSample({ loopLagP99Ms: 3 }),
    processSample({ loopLagP99Ms: lagMs }),
  ]),
});

describe("the scram lets a run go on while", () => {
  it.each<[string, Partial<Vitals>]>([
    ["nothing happens", { attempts: 0, held: 0, echoes: 0 }],
    ["all is well", {}],
    ["half of the attempts fail", { attempts: 1_000, failed: 500 }],
    ["a handful of attempts fails altogether", { attempts: 49, failed: 49 }],
    ["1% of what is held has ended", { held: 9_900, deaths: 100 }],
    ["a few of a few have ended", { held: 1, deaths: 19 }],
    ["a tenth of the echoes time out", { echoes: 500, echoTimeouts: 50 }],
    ["a few echoes of a few time out", { echoes: 19, echoTimeouts: 19 }],
    ["the server's loop is a second late", lagging(1_000)],
    ["memory is at 5%", { memoryAvailableBytes: 50, memoryTotalBytes: 1_000 }],
    ["only one side of memory is known", { memoryAvailableBytes: 1, memoryTotalBytes: null }],
  ])("%s", (_, changes) => {
    expect(verdict(changes)).toBe("go on");
  });
});

describe("the scram stops a run when", () => {
  it.each<[string, Partial<Vitals>, string]>([
    [
      "more than half of the attempts fail",
      { attempts: 2_000, failed: 1_001 },
      "wall: 1,001 of 2,000 attempts failed within a second",
    ],
    [
      "fifty of fifty fail and nothing is held",
      { attempts: 50, failed: 50, held: 0, echoes: 0 },
      "wall: 50 of 50 attempts failed within a second",
    ],
    [
      "over 1% of what was held has ended",
      { held: 9_899, deaths: 101 },
      "trouble: 101 of 10,000 held connections ended within 5 s",
    ],
    [
      "all that was held has ended",
      { held: 0, deaths: 20 },
      "trouble: 20 of 20 held connections ended within 5 s",
    ],
    [
      "over a tenth of the echoes time out",
      { echoes: 500, echoTimeouts: 51 },
      "trouble: 51 of 500 echoes timed out within 5 s",
    ],
    [
      "the loop of any server process is late",
      lagging(1_500),
      "trouble: the server's event loop is 1.5s late (p99)",
    ],
    [
      "memory runs out",
      { memoryAvailableBytes: 49, memoryTotalBytes: 1_000 },
      "trouble: 4.9% of the memory of the server's machine is left",
    ],
    [
      "there is a wall and trouble: trouble is told, for more has to be done",
      { attempts: 2_000, failed: 2_000, held: 0, deaths: 500 },
      "trouble: 500 of 500 held connections ended within 5 s",
    ],
  ])("%s", (_, changes, expected) => {
    expect(verdict(changes)).toBe(expected);
  });

  it("a limit of its own is given and reached", () => {
    const scram = new Scram({ ...SCRAM_LIMITS, failedShare: 0.1 });
    expect(scram.observe(vitals({ attempts: 100, failed: 11 }))?.kind).toBe("wall");
  });
});

describe("a source of the server's figures", () => {
  const silent: FailedSource = { source: SOURCE, kind: "silent", why: "no answer within 2 s" };
  const baseline = serverSample(0, [processSample()]);
  const at = (atMs: number, sampleAtMs: number, failed: readonly FailedSource[]): Vitals =>
    vitals({ atMs, baseline, server: serverSample(sampleAtMs, [], failed) });

  it("that does not answer for 5 s is trouble, and not a moment before", () => {
    const scram = new Scram();
    expect(scram.observe(at(3_000, 1_000, [silent]))).toBeNull();
    expect(scram.observe(at(4_999, 4_000, [silent]))).toBeNull();
    expect(scram.observe(at(5_200, 4_000, [silent]))).toEqual({
      kind: "trouble",
      reason: `${SOURCE} has not answered for 5.2s (no answer within 2 s)`,
      limit: "server-died",
    });
  });

  it("that missed a single sample is not silent, however long that took", () => {
    const scram = new Scram();
    for (const atMs of [1_000, 30_000, 60_000]) {
      expect(scram.observe(at(atMs, 1_000, [silent]))).toBeNull();
    }
  });

  it("that answers in between is not silent", () => {
    const scram = new Scram();
    for (let atMs = 1_000; atMs < 30_000; atMs += 2_000) {
      expect(scram.observe(at(atMs, atMs, [silent]))).toBeNull();
      const server = serverSample(atMs + 1_000, [processSample()]);
      expect(scram.observe(vitals({ atMs: atMs + 1_000, server }))).toBeNull();
    }
  });

  it("that never answered cannot fall silent", () => {
    const scram = new Scram();
    for (let atMs = 1_000; atMs < 30_000; atMs += 1_000) {
      const server = serverSample(atMs, [], [{ ...silent, source: "pid 1" }]);
      expect(scram.observe(vitals({ atMs, baseline, server }))).toBeNull();
    }
  });

  it("whose process has gone is trouble at once", () => {
    const gone: FailedSource = { source: SOURCE, kind: "gone", why: "process 4711 has gone" };
    expect(new Scram().observe(at(1_000, 1_000, [gone]))).toEqual({
      kind: "trouble",
      reason: "process 4711 has gone",
      limit: "server-died",
    });
  });

  it("that gives another answer than it did lives, and is no trouble", () => {
    const answer: FailedSource = { source: SOURCE, kind: "answer", why: "status 404" };
    expect(new Scram().observe(at(60_000, 1_000, [answer]))).toBeNull();
  });
});

describe("the scram has recovered", () => {
  it("once everything was calm for 2 s, and stays so", () => {
    const scram = new Scram();
    scram.observe(vitals({ atMs: 0, failed: 900 }));
    expect(scram.hasRecovered(vitals({ atMs: 250, attempts: 0 }))).toBe(false);
    expect(scram.hasRecovered(vitals({ atMs: 2_249, attempts: 0 }))).toBe(false);
    expect(scram.hasRecovered(vitals({ atMs: 2_250, attempts: 0 }))).toBe(true);
    expect(scram.hasRecovered(vitals({ atMs: 2_500, attempts: 0 }))).toBe(true);
  });

  it("not before it was calm for 2 s without a break", () => {
    const scram = new Scram();
    for (let atMs = 0; atMs < 20_000; atMs += 250) {
      const failed = atMs % 2_000 === 0 ? 300 : 0;
      expect(scram.hasRecovered(vitals({ atMs, failed }))).toBe(false);
    }
  });

  it("only anew after it was tripped again", () => {
    const scram = new Scram();
    for (let atMs = 0; atMs <= 4_000; atMs += 250) scram.hasRecovered(vitals({ atMs }));
    scram.observe(vitals({ atMs: 4_250, failed: 900 }));
    expect(scram.hasRecovered(vitals({ atMs: 4_500 }))).toBe(false);
    expect(scram.hasRecovered(vitals({ atMs: 6_500 }))).toBe(true);
  });

  it.each<[string, Partial<Vitals>]>([
    ["attempts fail at more than half of the trigger", { attempts: 1_000, failed: 251 }],
    ["connections end at more than half of the trigger", { held: 9_940, deaths: 60 }],
    ["echoes time out at more than half of the trigger", { echoes: 1_000, echoTimeouts: 51 }],
    ["the loop is half a second late", lagging(501)],
    ["less than twice the memory is left", { memoryAvailableBytes: 99, memoryTotalBytes: 1_000 }],
  ])("not while %s, though that would not trip it", (_, changes) => {
    const scram = new Scram();
    expect(scram.observe(vitals(changes))).toBeNull();
    for (let atMs = 0; atMs <= 10_000; atMs += 250) {
      expect(scram.hasRecovered(vitals({ ...changes, atMs }))).toBe(false);
    }
  });
});
