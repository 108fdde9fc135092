// What a process writes of itself: one JSON record per line, bounded in every direction.
import { describe, expect, it } from "vitest";
import { createLog, LOG_EVENTS, type LogOptions, type ProcessLog } from "../../src/observe/log.ts";
import { ManualClock } from "../support/manual-clock.ts";

interface Written {
  readonly log: ProcessLog;
  readonly clock: ManualClock;
  readonly lines: string[];
  records(): Record<string, unknown>[];
}

function logOf(options: Partial<LogOptions> = {}): Written {
  const clock = new ManualClock();
  const lines: string[] = [];
  const write = (line: string): void => void lines.push(line);
  const defaults: LogOptions = { level: "info", pretty: false, samplePerSecond: 10, node: "n-1" };
  const log = createLog({ ...defaults, ...options }, clock, { write });
  const records = (): Record<string, unknown>[] =>
    lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  return { log, clock, lines, records };
}

const nothing = (): Record<string, never> => ({});

describe("the log", () => {
  it("writes one line of JSON with the level, the clock's time, the node and the message", () => {
    const { log, lines, records } = logOf();
    log.info({ listener: "tcp" }, "listening");
    expect(records()).toEqual([
      {
        level: "info",
        time: "2023-11-14T22:13:20.000Z",
        node: "n-1",
        listener: "tcp",
        msg: "listening",
      },
    ]);
    expect(lines[0]?.match(/\n/g)).toEqual(["\n"]);
  });

  it("keeps a record on one line whatever clients call themselves", () => {
    const { log, lines, records } = logOf();
    const client = '"}\n{"level":"error"\u0000\u001b[2J\u2028\ud800';
    log.event("connection_opened", "info", () => ({ client }));
    expect(lines[0]?.indexOf("\n")).toBe(lines[0]!.length - 1);
    expect(records()[0]?.["client"]).toBe(client);
  });

  it("writes what is at least as severe as its level", () => {
    const { log, records } = logOf({ level: "warn" });
    log.debug({}, "debug");
    log.info({}, "info");
    log.warn({}, "warn");
    log.error({}, "error");
    log.event("connection_opened", "info", nothing);
    log.event("accept_failed", "warn", nothing);
    expect(records().map(({ msg }) => msg)).toEqual(["warn", "error", "accept failed"]);
  });

  it("writes nothing at all when it is silent, not even what the end is for", async () => {
    const { log, lines } = logOf({ level: "silent", samplePerSecond: 0 });
    log.error({ err: new Error("x") }, "error");
    log.event("accept_failed", "warn", () => {
      throw new Error("fields are not asked for");
    });
    log.fatal({}, "fatal");
    await log.close();
    expect(lines).toEqual([]);
    expect(log.losses).toEqual({ suppressed: 0, lost: 0 });
  });

  it("cuts texts that go on and on, each of them", () => {
    const { log, records } = logOf();
    log.info({ a: "a".repeat(70_000), b: "b".repeat(1_001), c: "c".repeat(1_000) }, "long");
    const { a, b, c } = records()[0]!;
    expect(a).toBe(`${"a".repeat(1_000)}...`);
    expect(b).toBe(`${"b".repeat(1_000)}...`);
    expect(c).toBe("c".repeat(1_000));
  });

  it("writes what cannot be written as JSON as something else, and goes on", () => {
    const { log, records } = logOf();
    const circle: Record<string, unknown> = {};
    circle["self"] = circle;
    log.info({ circle, big: 2n ** 64n, nan: Number.NaN, gone: undefined, run: nothing }, "odd");
    expect(records()[0]).toMatchObject({ msg: "odd", nan: null });
    expect(Object.keys(records()[0]!)).not.toContain("gone");
  });
});

describe("an error in the log", () => {
  const errOf = (thrown: unknown): Record<string, unknown> => {
    const { log, records } = logOf();
    log.error({ err: thrown }, "failed");
    return records()[0]!["err"] as Record<string, unknown>;
  };

  it("has its type, message, code, stack and cause", () => {
    const error = new TypeError("outer", { cause: new Error("inner") });
    const err = errOf(Object.assign(error, { code: "EX", secret: "password" }));
    expect(err).toMatchObject({ type: "TypeError", message: "outer", code: "EX" });
    expect(err["stack"]).toContain("log.test.ts");
    expect(err["cause"]).toContain("Error: inner");
    expect(Object.keys(err)).not.toContain("secret");
  });

  it.each([
    ["a text", "no", { type: "string", message: "'no'" }],
    ["undefined", undefined, undefined],
    ["null", null, { type: "object", message: "null" }],
    ["a number", 7, { type: "number", message: "7" }],
    ["an object", { a: 1 }, { type: "object", message: "{ a: 1 }" }],
  ])("is written when it is %s and no Error", (_what, thrown, expected) => {
    expect(errOf(thrown)).toEqual(expected);
  });

  it("is bounded, however long its message and its stack are", () => {
    const error = new Error("m".repeat(100_000));
    const err = errOf(error);
    expect(String(err["message"]).length).toBe(1_003);
    expect(String(err["stack"]).length).toBe(8_003);
  });

  it("may throw when it is read", () => {
    const error = new Error("x");
    Object.defineProperty(error, "message", {
      get() {
        throw new Error("no");
      },
    });
    expect(errOf(error)).toMatchObject({ type: "unreadable" });
  });
});

describe("events", () => {
  it("name their kind in a field and in words", () => {
    const { log, records } = logOf();
    for (const kind of LOG_EVENTS) log.event(kind, "info", () => ({ connection: "1-0" }));
    expect(records().map(({ event }) => event)).toEqual([...LOG_EVENTS]);
    expect(records()[1]).toMatchObject({
      event: "connection_closed",
      connection: "1-0",
      msg: "connection closed",
    });
  });

  it("are written up to the sample of their kind per second; the rest are one count", async () => {
    const { log, clock, records } = logOf({ samplePerSecond: 3 });
    let asked = 0;
    const fields = (): Record<string, unknown> => ({ n: ++asked });
    for (let count = 0; count < 1_000; count++) log.event("connection_closed", "info", fields);
    log.event("upgrade_refused", "info", () => ({ n: "its own kind" }));
    expect(records().map(({ n }) => n)).toEqual([1, 2, 3, "its own kind"]);
    expect(asked).toBe(3);
    await clock.advance(999);
    expect(records()).toHaveLength(4);
    await clock.advance(1);
    expect(records()).toHaveLength(5);
    expect(records()[4]).toMatchObject({
      level: "info",
      event: "connection_closed",
      suppressed: 997,
    });
    expect(log.losses.suppressed).toBe(997);
    expect(clock.pending).toBe(0);
  });

  it("are sampled anew in every second", async () => {
    const { log, clock, records } = logOf({ samplePerSecond: 1 });
    for (let second = 0; second < 3; second++) {
      log.event("connection_closed", "info", nothing);
      log.event("connection_closed", "info", nothing);
      await clock.advance(1_000);
    }
    const told = records().map(({ suppressed }) => suppressed ?? "written");
    expect(told).toEqual(["written", 1, "written", 1, "written", 1]);
  });

  it("are only counted with a sample of 0, at the level they have", async () => {
    const { log, clock, records } = logOf({ samplePerSecond: 0 });
    log.event("accept_failed", "warn", nothing);
    log.event("accept_failed", "warn", nothing);
    await clock.advance(1_000);
    expect(records()).toHaveLength(1);
    expect(records()[0]).toMatchObject({ level: "warn", event: "accept_failed", suppressed: 2 });
  });

  it("below the level are not counted as suppressed: nobody asked for them", async () => {
    const { log, clock, lines } = logOf({ samplePerSecond: 0 });
    log.event("connection_opened", "debug", nothing);
    await clock.advance(5_000);
    expect(lines).toEqual([]);
    expect(log.losses.suppressed).toBe(0);
  });

  it("that were suppressed are told of when the log is closed", async () => {
    const { log, clock, records } = logOf({ samplePerSecond: 0 });
    log.event("connection_closed", "info", nothing);
    await log.close();
    expect(records()[0]).toMatchObject({ suppressed: 1 });
    expect(clock.pending).toBe(0);
  });
});

describe("a destination that fails", () => {
  it("costs lines, which are counted, and nothing else", () => {
    let fails = true;
    const lines: string[] = [];
    const log = createLog(
      { level: "info", pretty: false, samplePerSecond: 10, node: "n" },
      new ManualClock(),
      {
        write(line) {
          if (fails) throw Object.assign(new Error("no space left"), { code: "ENOSPC" });
          lines.push(line);
        },
      },
    );
    log.info({}, "one");
    log.event("connection_closed", "info", nothing);
    log.fatal({}, "three");
    expect(log.losses.lost).toBe(3);
    fails = false;
    log.info({}, "four");
    expect(lines).toHaveLength(1);
    expect(log.losses.lost).toBe(3);
  });
});

describe("the log for people", () => {
  it("is no JSON, and says the same", () => {
    const { log, lines } = logOf({ pretty: true });
    log.warn({ listener: "tcp" }, "careful");
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain("WARN");
    expect(lines[0]).toContain("careful");
    expect(lines[0]).toContain("tcp");
    expect(() => JSON.parse(lines[0]!) as unknown).toThrow(SyntaxError);
  });

  it.each([
    ["escape sequences", "\u001b[2J\u001b]0;owned\u0007"],
    ["C1 controls", "\u009b2J"],
    ["carriage returns", "good\rbad"],
    ["what looks escaped already", "\\u001b[2J"],
  ])("does not let clients speak to the terminal with %s", (_what, client) => {
    const { log, lines } = logOf({ pretty: true });
    log.event("connection_opened", "info", () => ({ client, err: new Error(client) }));
    const colours = /\u001b\[\d+m/g;
    const text = lines.join("").replaceAll(colours, "");
    expect(text).toContain("connection opened");
    expect([...text].filter((char) => /\p{Cc}/u.test(char) && char !== "\n")).toEqual([]);
  });
});
