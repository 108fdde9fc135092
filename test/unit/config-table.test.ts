// Every row of the option table against every way of giving it a value.
import { describe, expect, it } from "vitest";
import type { Machine } from "../../src/config/machine.ts";
import { environmentName, flagName } from "../../src/config/option-names.ts";
import { allowed, type OptionRow } from "../../src/config/option-row.ts";
import { isAllowed } from "../../src/config/option-schema.ts";
import {
  OPTION_AREAS,
  OPTION_PATHS,
  OPTION_TABLE,
  optionAt,
} from "../../src/config/option-table.ts";
import { type OptionIssue, OptionsError } from "../../src/config/options-error.ts";
import type { OptionPath, PartialOptions } from "../../src/config/options.ts";
import { type OptionSources, resolveOptions } from "../../src/config/resolve.ts";

const machine: Machine = { memoryBytes: 2 ** 33, fileLimit: 20_000, hostname: "host", pid: 42 };
const table: Readonly<Record<OptionPath, OptionRow>> = OPTION_TABLE;

function issuesOf(sources: OptionSources): readonly OptionIssue[] {
  try {
    resolveOptions(sources, machine);
  } catch (error) {
    if (error instanceof OptionsError) return error.issues;
    throw error;
  }
  return [];
}

function codeWith(path: OptionPath, value: unknown): PartialOptions {
  const [area = "", name = ""] = path.split(".");
  return { [area]: { [name]: value } };
}

function extremes(row: OptionRow): unknown[] {
  switch (row.type) {
    case "integer":
    case "number":
      return [row.min, row.max];
    case "boolean":
      return [true, false];
    case "text":
      return ["x".repeat(row.min), "x".repeat(row.max), "ünïcode"];
    case "choice":
      return [...row.choices];
    case "list":
      return [Array(row.min).fill("x"), Array(row.max).fill("x"), ["x".repeat(255)]];
  }
}

const notNumbers = ["5", "", true, Number.NaN, Number.POSITIVE_INFINITY, [], {}, 5n];

function refusedValues(row: OptionRow): unknown[] {
  const always = row.nullable ? [] : [null];
  switch (row.type) {
    case "integer":
      return [...always, row.min - 1, row.max + 1, row.min + 0.5, 1e300, ...notNumbers];
    case "number":
      return [...always, row.min - 0.01, row.max + 0.01, -1e300, ...notNumbers];
    case "boolean":
      return [...always, 0, 1, "true", "", "yes", [true], {}];
    case "text":
      return [
        ...always,
        "",
        "x".repeat(row.max + 1),
        "a\u0000b",
        "a\nb",
        "\u007f",
        5,
        false,
        ["x"],
      ];
    case "choice":
      return [...always, "", "nonsense", row.choices[0]?.toUpperCase(), 0, true, [row.choices[0]]];
    case "list":
      return [
        ...always,
        [],
        Array(row.max + 1).fill("x"),
        "x",
        { 0: "x" },
        [5],
        [null],
        [""],
        ["x".repeat(256)],
        ["x", "a\nb"],
      ];
  }
}

const refusedTexts: Readonly<Record<OptionRow["type"], readonly string[]>> = {
  integer: [
    "",
    " 5",
    "5 ",
    "10k",
    "1e3",
    "0x10",
    "1_000",
    "1,000",
    "+5",
    "5.0",
    "--5",
    "NaN",
    "on",
  ],
  number: ["", " 0.1", "10%", "1e-1", ".", "0.1.2", "+0.1", "Infinity", "0,1"],
  boolean: ["", "TRUE", "True", "yes", "on", "1", "0", " true", "ture"],
  text: [""],
  choice: ["", " ", "nonsense", "null "],
  list: ["", ",", "x,,y", "x,"],
};

describe.each(OPTION_PATHS)("the option %s", (path) => {
  const row = table[path];

  it("has a default that is allowed", () => {
    expect(isAllowed(path, row.default)).toBe(true);
    expect(optionAt(resolveOptions({}, machine).options, path)).toEqual(row.default);
  });

  it("takes its least and its greatest value", () => {
    for (const value of extremes(row))
      expect([value, isAllowed(path, value)]).toEqual([value, true]);
  });

  it("takes null exactly where null has a meaning", () => {
    expect(isAllowed(path, null)).toBe(row.nullable);
    expect(row.nullMeans !== "").toBe(row.nullable);
  });

  it("refuses what is out of range or of another type, and says what is allowed", () => {
    for (const value of refusedValues(row)) {
      const message = expect.stringContaining(`${path} must be ${allowed(row)}, not `) as string;
      expect([value, issuesOf({ code: codeWith(path, value) })]).toMatchObject([
        value,
        [{ key: path, origin: "code", value, message }],
      ]);
    }
  });

  it("refuses texts in the environment that stand for no allowed value", () => {
    const name = environmentName(path);
    for (const text of refusedTexts[row.type]) {
      const message = expect.stringContaining(allowed(row)) as string;
      expect([text, issuesOf({ env: { [name]: text } })]).toMatchObject([
        text,
        [{ key: path, origin: `environment ${name}`, message }],
      ]);
    }
  });

  it("refuses texts in flags that stand for no allowed value", () => {
    const name = flagName(path);
    for (const text of refusedTexts[row.type]) {
      expect([text, issuesOf({ flags: { [name]: text } })]).toMatchObject([
        text,
        [{ key: path, origin: `flag ${name}` }],
      ]);
    }
  });

  it("reads its default from the environment and from a flag as it stands in the reference", () => {
    const text = Array.isArray(row.default) ? row.default.join(",") : String(row.default);
    const byVariable = resolveOptions({ env: { [environmentName(path)]: text } }, machine);
    const byFlag = resolveOptions({ flags: { [flagName(path)]: text } }, machine);
    expect(optionAt(byVariable.options, path)).toEqual(row.default);
    expect(optionAt(byFlag.options, path)).toEqual(row.default);
    expect(byVariable.origins[path]).toBe(`environment ${environmentName(path)}`);
    expect(byFlag.origins[path]).toBe(`flag ${flagName(path)}`);
  });

  it("says what it means in whole sentences", () => {
    expect(row.doc).toMatch(/^[A-Z].*\.$/s);
    expect(row.doc).not.toMatch(/ {2}|\n/);
  });
});

it.each(OPTION_PATHS.filter((path) => path !== "send.lowBytes" && isAllowed(path, 0)))(
  "the option %s says what 0 does",
  (path) => {
    expect(table[path].doc).toMatch(/\b0 [a-z]/);
  },
);

describe("names of options", () => {
  it("are spelled in capitals and underscores, and in lower case and dashes", () => {
    expect(environmentName("tcp.port")).toBe("HOLDFAST_TCP_PORT");
    expect(environmentName("connection.idleTimeoutMs")).toBe("HOLDFAST_CONNECTION_IDLE_TIMEOUT_MS");
    expect(flagName("tcp.port")).toBe("--tcp-port");
    expect(flagName("connection.idleTimeoutMs")).toBe("--connection-idle-timeout-ms");
  });

  it("never collide, neither among themselves nor with what else is called so", () => {
    const variables = [...OPTION_PATHS.map(environmentName), "HOLDFAST_CONFIG"];
    const flags = [
      ...OPTION_PATHS.map(flagName),
      "--config",
      "--help",
      "--version",
      "--json",
      "--origins",
    ];
    expect(new Set(variables).size).toBe(variables.length);
    expect(new Set(flags).size).toBe(flags.length);
  });

  it("begin with a known area, and every area has options", () => {
    const areas = OPTION_PATHS.map((path) => path.split(".")[0]);
    expect([...new Set(areas)]).toEqual(Object.keys(OPTION_AREAS));
  });
});
