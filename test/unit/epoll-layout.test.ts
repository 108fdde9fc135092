// The same numbers stand in native/layout.h and in src/transport/epoll-layout.ts: one that is
// changed alone would have each side read what the other did not write.

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  BATCH_SIZE_COUNTER,
  BATCH_SIZES,
  COUNTER,
  HEADER,
  LAYOUT,
  OPERATION,
  RECORD,
  STRIDE,
  TCP_FACT,
  TCP_FACTS,
} from "../../src/transport/epoll-layout.ts";
import { loadNative } from "../../src/transport/native.ts";
import { hasNative } from "../support/native.ts";

function source(file: string): string {
  return readFileSync(new URL(`../../native/${file}`, import.meta.url), "utf8");
}

/** `PREFIX_NAME = 3` of an enum, as {NAME: 3}. */
function enumerators(prefix: string): Record<string, number> {
  const pattern = new RegExp(`\\b${prefix}_([A-Z_]+) = (\\d+),`, "g");
  const found = [...source("layout.h").matchAll(pattern)];
  return Object.fromEntries(found.map(([, name, value]) => [name!, Number(value)]));
}

function constant(name: string): number {
  const text = new RegExp(`constexpr int32_t ${name} = ([^;]+);`).exec(source("layout.h"))?.[1];
  if (text === undefined) throw new Error(`layout.h has no ${name}`);
  return text
    .split(" * ")
    .map((factor) => (/^\d+$/.test(factor) ? Number(factor) : constant(factor)))
    .reduce((product, factor) => product * factor, 1);
}

function upper(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
}

describe("the layout that JavaScript and the addon share", () => {
  it("has the same records and operations on both sides", () => {
    expect(RECORD).toEqual(enumerators("RECORD"));
    expect(OPERATION).toEqual(enumerators("OPERATION"));
  });

  it("has the same header", () => {
    const { WORDS, ...words } = enumerators("HEADER");
    expect(HEADER).toEqual(words);
    expect(LAYOUT.headerWords).toBe(WORDS);
  });

  it("has the same counters, of which the last are the sizes of batches", () => {
    const { COUNT, BATCH_SIZES: sizes, ...counters } = enumerators("COUNTER");
    const ours = Object.entries(COUNTER).map(([name, index]) => [upper(name), index]);
    expect(Object.fromEntries(ours)).toEqual(counters);
    expect(BATCH_SIZE_COUNTER).toBe(sizes);
    expect(LAYOUT.counters).toBe(COUNT);
    expect(BATCH_SIZES.length).toBe(COUNT! - sizes!);
    expect(BATCH_SIZES.at(-1)).toBe(constant("EVENTS_MAX"));
  });

  it("has arrays of the same size", () => {
    expect(LAYOUT).toMatchObject({
      records: constant("RECORDS_MAX"),
      results: constant("RESULTS_MAX"),
      operations: constant("OPERATIONS_MAX"),
      slots: constant("SLOTS_MAX"),
      receiveBytes: constant("RECEIVE_BYTES"),
    });
    for (const struct of ["Record", "Operation"]) {
      const body = new RegExp(`struct ${struct} \\{([^}]+)\\}`).exec(source("layout.h"))![1]!;
      expect(body.match(/int32_t \w+;/g)).toHaveLength(STRIDE);
    }
  });

  it("has the same facts of TCP_INFO", () => {
    const text = /enum TcpFact \{([^}]+)\}/.exec(source("tcp_facts.h"))![1]!;
    const names = text.split(",").map((name) => name.trim());
    expect(names).toEqual([
      ...Object.keys(TCP_FACT).map((name) => `TCP_${upper(name)}`),
      "TCP_FACTS",
    ]);
    expect(TCP_FACTS).toBe(names.length - 1);
  });

  it.skipIf(!hasNative)("is that of the addon which is loaded", () => {
    expect(loadNative().layout).toEqual(LAYOUT);
  });
});
