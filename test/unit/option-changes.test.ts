// What has changed between two sets of options, and what a running server takes of it.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Machine } from "../../src/config/machine.ts";
import {
  configHash,
  liveFaults,
  optionChanges,
  requireLive,
  withLive,
  withRolling,
} from "../../src/config/option-changes.ts";
import { type OptionRow, RELOADS } from "../../src/config/option-row.ts";
import { optionAt, OPTION_PATHS, OPTION_TABLE } from "../../src/config/option-table.ts";
import type { OptionPath, Options, OptionValue, PartialOptions } from "../../src/config/options.ts";
import { optionsFrom } from "../../src/config/resolve.ts";

const machine: Machine = { memoryBytes: 2 ** 33, fileLimit: 20_000, hostname: "host", pid: 42 };
const table: Readonly<Record<OptionPath, OptionRow>> = OPTION_TABLE;
const defaults = optionsFrom({});

/** `options` with one value changed, which may break relations: nothing here looks at them. */
function changed(options: Options, path: OptionPath, value: OptionValue): Options {
  const [area = "", name = ""] = path.split(".");
  const group = (options as unknown as Record<string, Record<string, unknown>>)[area];
  return { ...options, [area]: { ...group, [name]: value } };
}

/** Another value that the row allows. */
function other(row: OptionRow): OptionValue {
  switch (row.type) {
    case "integer":
    case "number":
      return row.default === row.min || row.default === null ? row.max : row.min;
    case "boolean":
      return row.default !== true;
    case "text":
      return "other";
    case "choice":
      return row.choices.find((choice) => choice !== row.default)!;
    case "list":
      return ["https://other.example"];
  }
}

describe.each(OPTION_PATHS)("a change of %s", (path) => {
  const row = table[path];
  const to = changed(defaults, path, other(row));

  it("is told once, where its row says", () => {
    const expected = { live: [], rolling: [], supervisor: [], [row.reload]: [path] };
    expect(optionChanges(defaults, to)).toEqual(expected);
    expect(optionChanges(to, defaults)).toEqual(expected);
    expect(RELOADS).toContain(row.reload);
  });

  it("changes the hash", () => {
    expect(configHash(to)).not.toBe(configHash(defaults));
  });

  it("is taken up by what is running exactly where it is live", () => {
    const taken = withLive(defaults, to, machine);
    const broken = row.reload === "live" ? liveFaults(defaults, to, machine) : [];
    if (broken.length > 0) expect(taken).toBeNull();
    else
      expect(optionAt(taken!, path)).toEqual(optionAt(row.reload === "live" ? to : defaults, path));
    if (row.reload === "live") expect(() => requireLive(defaults, to)).not.toThrow();
    else {
      const error = expect.objectContaining({
        code: "HOLDFAST_OPTIONS_INVALID",
        message: expect.stringContaining(path) as string,
      }) as Error;
      expect(() => requireLive(defaults, to)).toThrow(error);
    }
  });
});

describe("what is the same", () => {
  it("has no changes and one hash, whatever order and whatever origin", () => {
    const copy = JSON.parse(JSON.stringify(defaults)) as Options;
    const reversed = Object.fromEntries(
      Object.entries(copy)
        .toReversed()
        .map(([area, group]) => [area, Object.fromEntries(Object.entries(group).toReversed())]),
    ) as unknown as Options;
    expect(optionChanges(defaults, reversed)).toEqual({ live: [], rolling: [], supervisor: [] });
    expect(configHash(reversed)).toBe(configHash(defaults));
    expect(configHash(defaults)).toMatch(/^[0-9a-f]{12}$/);
  });

  it("does not take null for a text of that name, nor a list for its text", () => {
    const isNull = changed(defaults, "node.name", null);
    const isText = changed(defaults, "node.name", "null");
    expect(configHash(isNull)).not.toBe(configHash(isText));
    expect(optionChanges(isNull, isText).supervisor).toEqual(["node.name"]);
    const [two, one] = [["a", "b"], ["a,b"]].map((origins) =>
      changed(defaults, "websocket.origins", origins),
    );
    expect(configHash(two!)).not.toBe(configHash(one!));
  });
});

const somePaths = fc.subarray([...OPTION_PATHS]);

describe("live values over running ones", () => {
  it("are all of the live rows, none of the others, and deep frozen", () => {
    fc.assert(
      fc.property(somePaths, (paths) => {
        const wanted = paths.reduce(
          (options, path) => changed(options, path, other(table[path])),
          defaults,
        );
        const merged = withLive(defaults, wanted, machine);
        const faults = liveFaults(defaults, wanted, machine);
        expect(merged === null).toBe(faults.length > 0);
        if (merged === null) return;
        for (const path of OPTION_PATHS) {
          const source = table[path].reload === "live" ? wanted : defaults;
          expect([path, optionAt(merged, path)]).toEqual([path, optionAt(source, path)]);
        }
        expect(Object.values(merged).every((group) => Object.isFrozen(group))).toBe(true);
        expect([Object.isFrozen(merged), Object.isFrozen(merged.websocket.origins)]).toEqual([
          true,
          true,
        ]);
        const { rolling, supervisor } = optionChanges(defaults, merged);
        expect([rolling, supervisor]).toEqual([[], []]);
        expect(optionChanges(merged, wanted).live).toEqual([]);
      }),
    );
  });

  const broken: readonly [string, PartialOptions, PartialOptions, RegExp][] = [
    [
      "an idle timeout that needs the new heartbeat",
      {},
      { connection: { heartbeatMs: 60_000, idleTimeoutMs: 120_000 } },
      /^connection\.idleTimeoutMs \(120000\) must be greater than connection\.heartbeatMs/,
    ],
    [
      "a high watermark that needs the new queue",
      {},
      { send: { queueBytesMax: 4_194_304, highBytes: 2_097_152 } },
      /^send\.highBytes \(2097152\) must be at most send\.queueBytesMax \(1048576\)$/,
    ],
    [
      "a budget that needs the smaller queue",
      {},
      { send: { queueBytesMax: 524_288, budgetBytes: 600_000 } },
      /^send\.queueBytesMax \(1048576\) must be at most send\.budgetBytes \(600000\)$/,
    ],
  ];
  it.each(broken)("do not go with %s, and it is said why", (_name, running, wanted, why) => {
    const [from, to] = [optionsFrom(running), optionsFrom(wanted)];
    expect(withLive(from, to, machine)).toBeNull();
    expect(liveFaults(from, to, machine)).toEqual([expect.stringMatching(why)]);
    expect(withLive(to, to, machine)).toEqual(to);
  });

  it("go together with changes that wait, where no relation joins them", () => {
    const wanted = optionsFrom({ tcp: { port: 9_000 }, topic: { max: 5 }, log: { level: "warn" } });
    const merged = withLive(defaults, wanted, machine)!;
    expect([merged.tcp.port, merged.topic.max, merged.log.level]).toEqual([7_400, 5, "warn"]);
  });
});

describe("what a worker that starts takes up", () => {
  it("is all but what waits for a new supervisor", () => {
    fc.assert(
      fc.property(somePaths, (paths) => {
        const wanted = paths.reduce(
          (options, path) => changed(options, path, other(table[path])),
          defaults,
        );
        const taken = withRolling(defaults, wanted, machine);
        if (taken === null) return;
        for (const path of OPTION_PATHS) {
          const source = table[path].reload === "supervisor" ? defaults : wanted;
          expect([path, optionAt(taken, path)]).toEqual([path, optionAt(source, path)]);
        }
      }),
    );
  });

  it("is nothing where a relation joins it to what waits", () => {
    const from = optionsFrom({ tcp: { transport: "tcp-net" } });
    const to = optionsFrom({ tcp: { transport: "auto", userTimeoutMs: 1_000 } });
    expect(withRolling(from, to, machine)).toBeNull();
  });
});

describe("refusing what is not live", () => {
  it("names every such option, what it is, and when the new value counts", () => {
    const wanted = optionsFrom({ tcp: { port: 9_000, framing: "varint" }, topic: { max: 5 } });
    const message = [
      "2 things to correct in the options:",
      '  code: tcp.framing is "uint32" in this server and cannot become "varint" while it runs: ' +
        "a new value counts with a rolling restart (holdfast reload)",
      "  code: tcp.port is 7400 in this server and cannot become 9000 while it runs: a new value " +
        "counts when holdfast serve is started anew",
    ].join("\n");
    expect(() => requireLive(defaults, wanted)).toThrow(message);
  });
});
