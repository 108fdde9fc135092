import { describe, expect, it } from "vitest";
import { planText, scaled, scenariosNamed } from "../../src/probe/scenario-plan.ts";
import { scenarioLacks } from "../../src/probe/scenario-run.ts";
import { type Scenario, SCENARIOS } from "../../src/probe/scenarios.ts";
import { parseThreshold } from "../../src/probe/threshold.ts";

const byName = new Map(SCENARIOS.map((scenario) => [scenario.name, scenario]));

function scenario(name: string): Scenario {
  const found = byName.get(name);
  if (found === undefined) throw new Error(`there is no ${name}`);
  return found;
}

describe("the table of scenarios", () => {
  it("has the twelve, each under a name of its own", () => {
    expect([...byName.keys()]).toEqual([
      "steady-idle",
      "staged-ramp",
      "connect-storm",
      "reconnect-stampede",
      "echo-steady",
      "echo-burst",
      "fan-out",
      "many-topics",
      "slow-consumers",
      "large-frames",
      "churn-half-open",
      "rolling-restart",
    ]);
  });

  it.each(SCENARIOS)("$name has a ramp, a hold, and objectives that judge whole phases", (one) => {
    const kinds = one.phases.map(({ kind }) => kind);
    expect(kinds[0]).toBe("ramp");
    expect(kinds).toContain("hold");
    const names = one.phases.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    const objectives = one.phases.flatMap((phase) => phase.objectives.map(parseThreshold));
    expect(objectives.length).toBeGreaterThan(2);
    for (const { overMs, abort } of objectives) expect([overMs, abort]).toEqual([null, false]);
  });

  it.each(SCENARIOS)(
    "$name asks of what it does: deliveries of publishes, answers of echoes",
    (one) => {
      const metrics = one.phases
        .filter(({ kind }) => kind === "hold")
        .flatMap((phase) => phase.objectives.map((text) => parseThreshold(text).metric));
      expect(metrics.includes("delivery")).toBe(one.traffic === "publish");
      expect(metrics.includes("response")).toBe(one.traffic === "echo");
    },
  );

  it("never lets connections or operations be lost unnoticed while they are held", () => {
    for (const { phases } of SCENARIOS) {
      for (const phase of phases) {
        if (phase.kind !== "hold") continue;
        expect(phase.objectives.some((text) => text.startsWith("errors"))).toBe(true);
      }
    }
  });

  it("ends every ramp with all connections", () => {
    for (const { phases } of SCENARIOS) {
      const ramps = phases.filter((phase) => phase.kind === "ramp");
      expect(ramps.at(-1)!.share).toBe(1);
    }
  });
});

describe("a scenario at another size", () => {
  it("has its connections, topics and rates scaled, and its times by themselves", () => {
    const one = scaled(scenario("many-topics"), 0.1, 0.5);
    expect([one.connections, one.topics]).toEqual([500, 100]);
    expect(one.phases[1]).toMatchObject({ perSecond: 100, durationMs: 10_000 });
    // Of one topic everybody has everything.
    expect(scaled(scenario("fan-out"), 0.1, 1)).toMatchObject({
      connections: 100,
      phases: [{}, { perSecond: 10 }],
    });
    expect(scaled(scenario("rolling-restart"), 0.5, 0.1).phases[2]).toMatchObject({
      ...{ perSecond: 500, withinMs: 90_000 },
    });
    expect(scaled(scenario("churn-half-open"), 0.5, 1).phases[2]).toMatchObject({
      faults: { halfOpen: 0.05, churnPerSecond: 50 },
    });
  });

  it("never has nothing of what it had, and nothing of what it had not", () => {
    for (const one of SCENARIOS) {
      const tiny = scaled(one, 1e-6, 1e-6);
      expect([tiny.connections, tiny.topics]).toEqual([1, 1]);
      for (const [index, phase] of tiny.phases.entries()) {
        const before = one.phases[index]!;
        if (phase.kind === "ramp") expect(phase.connectPerSecond).toBeGreaterThanOrEqual(100);
        if (phase.kind !== "hold" || before.kind !== "hold") continue;
        expect(phase.durationMs).toBe(1_000);
        expect(phase.perSecond > 0).toBe(before.perSecond > 0);
      }
    }
  });

  it("keeps the time that a server has to come back", () => {
    expect(scaled(scenario("reconnect-stampede"), 1, 0.01).phases[3]).toMatchObject({
      kind: "recover",
      withinMs: 30_000,
    });
  });
});

describe("scenarios by name", () => {
  it("are taken in the order in which they are named, and all is all", () => {
    const names = scenariosNamed(["fan-out", "echo-steady"]).map(({ name }) => name);
    expect(names).toEqual(["fan-out", "echo-steady"]);
    expect(scenariosNamed(["all"])).toBe(SCENARIOS);
  });

  it.each(["echo", "", "Fan-out", "all,fan-out", "constructor"])("refuse %j", (name) => {
    expect(() => scenariosNamed(["fan-out", name])).toThrow(/there is no scenario .*echo-steady/);
  });

  it("are told in words", () => {
    expect(planText(scenario("reconnect-stampede"))).toBe(
      "ramp to 10,000 at 4k/s; hold 5s with echoes at 500/s; crash; stampede within 30s; " +
        "hold again 10s with echoes at 500/s",
    );
  });
});

const OURS = { isOwn: true, isWatched: true };
const THEIRS = { isOwn: false, isWatched: true };

describe("a scenario cannot be run", () => {
  it.each(["reconnect-stampede", "rolling-restart"])("%s on a server of somebody else", (name) => {
    expect(scenarioLacks(scenario(name), THEIRS, "holdfast")).toMatch(/restarts the server/);
    expect(scenarioLacks(scenario(name), OURS, "holdfast")).toBe("");
  });

  it("where it publishes and nothing is known of the protocol", () => {
    expect(scenarioLacks(scenario("fan-out"), THEIRS, "raw")).toMatch(/--protocol holdfast/);
    expect(scenarioLacks(scenario("echo-burst"), THEIRS, "raw")).toBe("");
  });

  it("where it is about slow readers and nobody can see whether there were any", () => {
    const slow = scenario("slow-consumers");
    expect(scenarioLacks(slow, { ...THEIRS, isWatched: false }, "holdfast")).toMatch(
      /--server-stats/,
    );
    expect(scenarioLacks(slow, THEIRS, "holdfast")).toBe("");
  });
});
