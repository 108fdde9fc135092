import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { HoldfastError } from "../../src/base/errors.ts";
import { parseProcessStat } from "../../src/probe/pid-source.ts";
import { bytesPerConnection, parseServerSources } from "../../src/probe/server-watch.ts";

function problemOf(...texts: string[]): string {
  try {
    parseServerSources(texts);
  } catch (error) {
    if (error instanceof HoldfastError && error.code === "HOLDFAST_OPTIONS_INVALID") {
      return error.message;
    }
    throw error;
  }
  return "";
}

const url = (text: string) => ({ kind: "url", url: text }) as const;
const pid = (number: number) => ({ kind: "pid", pid: number }) as const;

describe("--server-stats", () => {
  it.each([
    [["http://127.0.0.1:7402"], [url("http://127.0.0.1:7402/stats")]],
    [["http://127.0.0.1:7402/"], [url("http://127.0.0.1:7402/stats")]],
    [["http://127.0.0.1:7402/?a=b"], [url("http://127.0.0.1:7402/stats?a=b")]],
    [["http://h:1/behind/a/proxy"], [url("http://h:1/behind/a/proxy")]],
    [["https://h/stats#part"], [url("https://h/stats")]],
    [["HTTP://[::1]:7402"], [url("http://[::1]:7402/stats")]],
    [["1"], [pid(1)]],
    [["4194304"], [pid(4_194_304)]],
    [
      ["4711, 4712 ,http://h:1", "4713"],
      [pid(4_711), pid(4_712), url("http://h:1/stats"), pid(4_713)],
    ],
  ])("%j is read", (texts, expected) => {
    expect(parseServerSources(texts)).toEqual(expected);
  });

  it.each([
    ["", /"" is neither a process id nor a URL such as http:/],
    ["4711,", /"" is neither/],
    [",", /"" is neither/],
    ["127.0.0.1:7402", /"127.0.0.1:7402" is neither/],
    ["localhost:7402", /is neither/],
    ["ftp://h/", /is neither/],
    ["tcp://h:7400", /is neither/],
    ["http://", /is neither/],
    ["http://h:99999", /is neither/],
    ["http//h", /is neither/],
    ["-1", /is neither/],
    ["1.5", /is neither/],
    ["0x10", /is neither/],
    ["1e3", /is neither/],
    ["0", /"0" is no process id: 1 to 4194304/],
    ["4194305", /is no process id/],
    ["99999999999999999999", /is no process id/],
    ["4711,4711", /"4711" is given twice/],
    ["http://h:1,http://h:1/stats", /is given twice/],
  ])("%j is refused", (text, expected) => {
    expect(problemOf(text)).toMatch(expected);
    expect(problemOf(text)).toMatch(/^--server-stats: /);
  });

  it("never shows a password that it refuses", () => {
    const problem = problemOf("http://admin:secret@h:7402/");
    expect(problem).toContain("must not hold a password");
    expect(problem).not.toContain("secret");
  });

  it("takes 256 sources and no more", () => {
    const pids = Array.from({ length: 257 }, (_, index) => String(index + 1));
    expect(parseServerSources(pids.slice(1))).toHaveLength(256);
    expect(problemOf(...pids)).toContain("holds 257 sources; 256 are possible");
  });

  it("either reads a text or says what is wrong with it", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const problem = problemOf(text);
        if (problem === "") expect(parseServerSources([text]).length).toBeGreaterThan(0);
      }),
    );
  });
});

describe("/proc/PID/stat", () => {
  const REST = "S 1 2 2 0 -1 4194304 2395 0 25 0 650 31 7 9 20 0 11 0 1183188 779808768 10787 0";

  it.each(["node", "a b", "a) R 1 1 (b", "((sd-pam))", ")", " ", ""])(
    "is read whatever the program calls itself: %j",
    (name) => {
      expect(parseProcessStat(`4049 (${name}) ${REST}\n`)).toEqual({
        state: "S",
        cpuMs: 6_810,
        startTicks: 1_183_188,
      });
    },
  );

  it.each([
    "",
    "4049",
    "4049 (node)",
    "4049 (node) ",
    "4049 (node) S 1 2",
    `4049 (node ${REST}`,
    `4049 (node) ${REST.replace("650", "x")}`,
    `4049 (node) ${REST.replace("1183188", "?")}`,
  ])("that is cut off or garbled is none: %j", (text) => {
    expect(parseProcessStat(text)).toBeNull();
  });
});

describe("bytes per connection", () => {
  it("are the slope of a line through what was held and what was resident", () => {
    const points = [0, 1_000, 5_000, 20_000].map((held) => {
      return { held, rssBytes: 50_000_000 + held * 1_618 };
    });
    const line = bytesPerConnection(points)!;
    expect(line.slope).toBeCloseTo(1_618, 6);
    expect(line.r2).toBeCloseTo(1, 12);
  });

  it("say how well the line fits", () => {
    const points = [
      { held: 1_000, rssBytes: 10 },
      { held: 2_000, rssBytes: 90 },
      { held: 3_000, rssBytes: 20 },
      { held: 4_000, rssBytes: 70 },
    ];
    // By hand: slope 0.011, and 605 of the 4,475 of variation.
    expect(bytesPerConnection(points)!.slope).toBeCloseTo(0.011, 12);
    expect(bytesPerConnection(points)!.r2).toBeCloseTo(605 / 4_475, 12);
  });

  it("are zero where memory never changes", () => {
    const points = [1, 2, 3].map((held) => ({ held, rssBytes: 7 }));
    expect(bytesPerConnection(points)).toEqual({ slope: 0, r2: 1 });
  });

  it.each([[[]], [[1]], [[1, 2]], [[5, 5, 5, 5]], [[5, 6, 5, 6, 5]]])(
    "are not known where %j were held: fewer than three different levels",
    (levels) => {
      expect(bytesPerConnection(levels.map((held) => ({ held, rssBytes: held })))).toBeNull();
    },
  );

  it("do not depend on the order of the levels, nor on what the server needs for itself", () => {
    const point = fc.record({ held: fc.nat(1_000_000), rssBytes: fc.nat(4_000_000_000) });
    const points = fc.array(point, { minLength: 3, maxLength: 20 });
    fc.assert(
      fc.property(points, fc.nat(1_000_000_000), (some, own) => {
        const line = bytesPerConnection(some);
        const moved = bytesPerConnection(
          some.toReversed().map(({ held, rssBytes }) => ({ held, rssBytes: rssBytes + own })),
        );
        if (line === null) {
          expect(moved).toBeNull();
          return;
        }
        expect(moved!.slope).toBeCloseTo(line.slope, 3);
        expect(line.r2).toBeGreaterThanOrEqual(0);
        expect(line.r2).toBeLessThanOrEqual(1 + 1e-9);
      }),
    );
  });
});
