import { describe, expect, it } from "vitest";
import { capacitySentence } from "../../src/probe/capacity-sentence.ts";
import { loadSentence } from "../../src/probe/load-sentence.ts";
import { OUTCOMES } from "../../src/probe/report.ts";
import { capacityReport, loadReport } from "../support/probe-report.ts";

const capacity = capacityReport();
const load = loadReport();

describe("the verdict of capacity", () => {
  const facts = {
    outcome: "passed",
    capacity: capacity.capacity!,
    limit: capacity.limit,
    last: capacity.stages.at(-1)!,
    why: "",
    options: { max: 1_000_000, atLeast: null },
  } as const;

  it("names what was found, what was confirmed, and the limit", () => {
    expect(capacitySentence(facts)).toBe(
      "182,041 connections (172,938 held for 30 s to confirm); limit: the server's file limit: " +
        "182,082 of 182,082 files in use.",
    );
  });

  it("says that there was no limit only where --max was reached", () => {
    const reached = { ...facts.capacity, failedAt: null, maxReached: true };
    expect(capacitySentence({ ...facts, capacity: reached, limit: null })).toBe(
      "At least 182,041 connections (172,938 held for 30 s to confirm): no limit up to --max.",
    );
    expect(capacitySentence({ ...facts, limit: null })).toMatch(/; limit: unknown\.$/);
  });

  it("says what was asked for where it is less, and not where it is as much", () => {
    const less = { ...facts, options: { max: 1_000_000, atLeast: 200_000 } };
    expect(capacitySentence({ ...less, outcome: "failed" })).toMatch(
      /to confirm\), fewer than the 200,000 asked for; limit: /,
    );
    const enough = { ...facts, options: { max: 1_000_000, atLeast: 182_041 } };
    expect(capacitySentence(enough)).not.toMatch(/fewer/);
  });

  it("does not call nothing a capacity", () => {
    const none = { ...facts.capacity, connections: 0, confirmed: null };
    expect(capacitySentence({ ...facts, capacity: none, outcome: "failed" })).toMatch(
      /^Not even one connection met the objectives; limit: /,
    );
  });

  it("never blames the server for the generator's trouble", () => {
    const bound = { ...facts, outcome: "generator-bound", limit: null } as const;
    expect(capacitySentence({ ...bound, why: "generator process 0 was lost: why" })).toBe(
      "GENERATOR-BOUND, no verdict on the server: generator process 0 was lost: why; " +
        "182,041 connections had held.",
    );
    // The limit of an earlier level is the server's, and not why this ended.
    expect(capacitySentence({ ...bound, limit: capacity.limit })).not.toContain("file limit");
    const ports = { ...capacity.limit!, party: "prober", text: "the probe's ports" } as const;
    expect(capacitySentence({ ...bound, limit: ports })).toContain("server: the probe's ports;");
  });

  it.each(OUTCOMES)("is one sentence, with a full stop, when it is %s", (outcome) => {
    for (const limit of [null, capacity.limit]) {
      for (const last of [null, facts.last]) {
        const sentence = capacitySentence({ ...facts, outcome, limit, last, why: "it broke" });
        expect(sentence).toMatch(/^[A-Z0-9][^\n]*[^.]\.$/);
        expect(sentence).not.toMatch(/undefined|null|NaN/);
      }
    }
  });
});

describe("the verdict of load", () => {
  const facts = {
    outcome: "passed",
    stages: load.stages,
    thresholds: [],
    baseline: null,
    why: "",
    ended: "",
    limit: null,
    options: { traffic: "echo", connections: 200 },
  } as const;
  const threshold = {
    text: "errors<1%",
    metric: "errors",
    actual: 0.5,
    limit: 0.01,
    unit: "ratio",
    passed: false,
    worstAtMs: null,
  };

  it("adds up what was answered beside what was scheduled, over all stages of the load", () => {
    const stages = load.stages.filter(({ kind }) => kind === "load");
    const of = (name: "scheduled" | "succeeded"): string =>
      stages
        .reduce((sum, { operations }) => sum + (operations.echo?.[name] ?? 0), 0)
        .toLocaleString("en-US");
    expect(loadSentence(facts)).toContain(
      `${of("succeeded")} of ${of("scheduled")} echoes answered over `,
    );
  });

  it("names thresholds that were missed, and counts those that hold", () => {
    expect(loadSentence({ ...facts, outcome: "failed", thresholds: [threshold] })).toMatch(
      /; missed: errors<1%\.$/,
    );
    const held = { ...threshold, passed: true };
    expect(loadSentence({ ...facts, thresholds: [held] })).toMatch(/; the threshold holds\.$/);
    expect(loadSentence({ ...facts, thresholds: [held, held] })).toMatch(
      /; all 2 thresholds hold\.$/,
    );
  });

  it("names what is worse than the baseline, and nothing else of it", () => {
    const row = { metric: "response p99 ms", before: 2, now: 9.5, ratio: 4.75, isRegression: true };
    const fine = { ...row, metric: "service p50 ms", isRegression: false };
    const baseline = { file: "before.json", rows: [fine, row] };
    expect(loadSentence({ ...facts, outcome: "regression", baseline })).toMatch(
      /; worse than the baseline: response p99 ms 2\.00 -> 9\.50\.$/,
    );
    expect(loadSentence({ ...facts, baseline })).toMatch(/; no worse than the baseline\.$/);
  });

  it("gives no verdict on the server where the generator was the limit", () => {
    const why = "generator process 1 was lost: it was ended by SIGKILL";
    expect(loadSentence({ ...facts, outcome: "generator-bound", why })).toMatch(
      /^GENERATOR-BOUND, no verdict on the server: generator process 1 was lost: .*; /,
    );
  });

  it.each(OUTCOMES)("is one sentence, with a full stop, when it is %s", (outcome) => {
    for (const stages of [[], load.stages]) {
      for (const traffic of ["echo", "publish", "none"] as const) {
        const options = { ...facts.options, traffic };
        const sentence = loadSentence({ ...facts, outcome, stages, options, why: "it broke" });
        expect(sentence).toMatch(/^[A-Z0-9][^\n]*[^.]\.$/);
        expect(sentence).not.toMatch(/undefined|null|NaN/);
      }
    }
  });
});
