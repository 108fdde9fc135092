import { describe, expect, it } from "vitest";
import {
  nearestObjective,
  phaseFigures,
  scenarioFigures,
  usedFigure,
} from "../../src/probe/scenario-figures.ts";
import type { ObjectiveResult } from "../../src/probe/scenario-report.ts";
import { SCENARIOS } from "../../src/probe/scenarios.ts";
import { scenarioNamed } from "../support/probe-scenarios.ts";

function objective(
  text: string,
  actual: number | null,
  limit: number,
  passed = true,
): ObjectiveResult {
  const base = { phase: "hold", metric: text.split(":")[0]!, unit: "ms", worstAtMs: null };
  return { ...base, text, actual, limit, passed };
}

function nearestOf(...objectives: readonly ObjectiveResult[]) {
  const nearest = nearestObjective({ ...scenarioNamed("echo-steady"), objectives });
  return nearest === null ? null : [nearest.objective.text, nearest.share];
}

describe("the objective nearest to its limit", () => {
  it("is the one that used most of it", () => {
    expect(
      nearestOf(
        objective("connect:p(99)<2s", 500, 2_000),
        objective("response:p(99)<100ms", 60, 100),
      ),
    ).toEqual(["response:p(99)<100ms", 0.6]);
  });

  it("is one that was missed, where any was", () => {
    expect(
      nearestOf(
        objective("response:p(99)<100ms", 99, 100),
        objective("held>=1000", 900, 1_000, false),
      ),
    ).toEqual(["held>=1000", 1_000 / 900]);
    expect(
      nearestOf(
        objective("response:p(99)<100ms", 99, 100),
        objective("errors:count==0", 3, 0, false),
      ),
    ).toEqual(["errors:count==0", Infinity]);
  });

  it("is one that was not measured, before those that were missed by so much", () => {
    const unmeasured = objective("response:p(99)<100ms", null, 100, false);
    expect(nearestOf(objective("connect:p(99)<1s", 1_100, 1_000, false), unmeasured)).toEqual([
      "response:p(99)<100ms",
      null,
    ]);
  });

  it("is not what is at its limit when all is well, unless there is nothing else", () => {
    const complete = [objective("held>=1000", 1_000, 1_000), objective("errors:count==0", 0, 0)];
    expect(nearestOf(...complete, objective("response:p(99)<100ms", 1, 100))).toEqual([
      "response:p(99)<100ms",
      0.01,
    ]);
    expect(nearestOf(...complete)).toEqual(["held>=1000", 1]);
    expect(nearestOf()).toBeNull();
  });

  it("may be a time that something took, which has no operator", () => {
    expect(
      nearestOf(
        objective("all connected again", 12_000, 30_000),
        objective("errors<0.1%", 0, 0.001),
      ),
    ).toEqual(["all connected again", 0.4]);
  });

  it("is written as a share of its limit, or as a dash", () => {
    expect([0.0556, 1.6, null, Infinity].map(usedFigure)).toEqual(["6%", "160%", "-", "-"]);
  });
});

describe("the phase that stands for a scenario", () => {
  it.each([
    ["steady-idle", "hold"],
    ["staged-ramp", "hold at 100%"],
    ["connect-storm", "hold"],
    ["reconnect-stampede", "hold again"],
    ["echo-burst", "burst"],
    ["slow-consumers", "5% stop reading"],
    ["churn-half-open", "churn, 5% fall silent"],
  ])("of %s is %s", (name, phase) => {
    expect(scenarioFigures(scenarioNamed(name))?.stage.name).toBe(phase);
  });

  it("is there for every scenario that ran, and for none that did not", () => {
    for (const { name } of SCENARIOS) {
      const result = scenarioNamed(name);
      expect(scenarioFigures(result) === null, name).toBe(result.report === null);
    }
  });

  it("is a phase that ran, where a scenario ended before those that count", () => {
    const result = scenarioNamed("echo-steady");
    const report = { ...result.report!, stages: result.report!.stages.slice(0, 1) };
    expect(scenarioFigures({ ...result, report })?.stage.name).toBe("ramp");
    expect(scenarioFigures({ ...result, report: { ...report, stages: [] } })).toBeNull();
  });
});

describe("a phase's figures", () => {
  const churn = scenarioNamed("churn-half-open");
  const stage = churn.report!.stages.find(({ kind }) => kind === "fault")!;

  it("are about the latency that is asked for, deliveries before answers before connects", () => {
    expect(phaseFigures(stage, churn.objectives).latency?.name).toBe("response");
    const connects = churn.objectives.filter(({ metric }) => metric === "connect");
    expect(phaseFigures(stage, connects).latency?.name).toBe("connect");
    const [, hold] = scenarioNamed("fan-out").report!.stages;
    expect(phaseFigures(hold!, []).latency?.name).toBe("delivery");
  });

  it("are of operations where there are any, and of connects in a ramp", () => {
    expect(phaseFigures(stage, []).rate).toBe(stage.operations.echo);
    const [ramp] = churn.report!.stages;
    expect(phaseFigures(ramp!, []).rate).toBe(ramp!.operations.connect);
  });
});
