// The query of an admin request, and the pages that describe what operators are told.
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { LOG_EVENTS } from "../../src/observe/log.ts";
import { BadQuery, choiceKey, integerKey, readQuery } from "../../src/server/admin-query.ts";
import { READINESS } from "../../src/server/readiness.ts";

const KEYS = {
  limit: integerKey(1, 1_000, 50),
  sort: choiceKey(["queue", "age"], "queue"),
  state: choiceKey(["active", "idle"], null),
};

function refusalOf(search: string): BadQuery {
  try {
    readQuery(search, KEYS);
  } catch (error) {
    expect(error).toBeInstanceOf(BadQuery);
    return error as BadQuery;
  }
  throw new Error(`${search} was taken`);
}

describe("an admin query", () => {
  it("gives defaults for what is not there", () => {
    expect(readQuery("", KEYS)).toEqual({ limit: 50, sort: "queue", state: null });
  });

  it.each([
    ["limit=1", { limit: 1 }],
    ["limit=1000&sort=age", { limit: 1_000, sort: "age" }],
    ["state=idle", { state: "idle" }],
    ["limit=007", { limit: 7 }],
    ["s%6Frt=a%67e", { sort: "age" }],
    ["&&sort=age&", { sort: "age" }],
  ])("takes %s", (search, expected) => {
    expect(readQuery(search, KEYS)).toMatchObject(expected);
  });

  it.each([
    ["limit", "limit", ""],
    ["limit=0", "limit", "0"],
    ["limit=1001", "limit", "1001"],
    ["limit=0x10", "limit", "0x10"],
    ["limit=+5", "limit", " 5"],
    ["limit=%205", "limit", " 5"],
    ["limit=NaN", "limit", "NaN"],
    ["limit=Infinity", "limit", "Infinity"],
    ["limit=1_0", "limit", "1_0"],
    ["limit=\u0665", "limit", "\u0665"],
    ["sort=age%00", "sort", "age\u0000"],
    ["sort=", "sort", ""],
    ["state=null", "state", "null"],
    ["sort=age&sort=age", "sort", "age"],
    ["Limit=5", "Limit", "5"],
    ["toString=1", "toString", "1"],
    ["limit[]=5", "limit[]", "5"],
  ])("refuses %s, naming the key, the value and what is allowed", (search, key, value) => {
    const refusal = refusalOf(search);
    expect(refusal).toMatchObject({ key, value });
    expect(refusal.allowed).not.toBe("");
    expect(refusal.message).toContain(JSON.stringify(key).slice(1, -1));
  });
});

describe("the pages for operators", () => {
  const page = (name: string): string =>
    readFileSync(new URL(`../../docs/${name}`, import.meta.url), "utf8");
  const firstCells = (text: string): string[] =>
    [...text.matchAll(/^\| `(\w+)` \|/gm)].map(([, cell]) => cell!);

  it("list every word of /readyz", () => {
    const { ready: _ready, ...words } = READINESS;
    const section = page("admin.md").split("## Readiness")[1]!.split("\n## ")[0]!;
    expect(firstCells(section)).toEqual(Object.keys(words));
  });

  it("list every kind of event", () => {
    const section = page("logging.md").split("## Events")[1]!;
    expect(firstCells(section)).toEqual([...LOG_EVENTS]);
  });
});
