// Scenarios by name, in words, and at another size than the one they were written for.

import { HoldfastError } from "../base/errors.ts";
import { formatCount, formatDuration, formatRate } from "./quantity.ts";
import { type Phase, type Scenario, SCENARIOS } from "./scenarios.ts";

/** In less time the kernel takes all that those who do not read are sent. */
const SLOW_MS_MIN = 12_000;

/** A scenario's phases in words. */
export function planText(scenario: Scenario): string {
  return scenario.phases.map((phase) => phaseText(scenario, phase)).join("; ");
}

function phaseText({ connections, traffic }: Scenario, phase: Phase): string {
  switch (phase.kind) {
    case "ramp": {
      const count = formatCount(Math.max(1, Math.round(connections * phase.share)));
      const word = phase.name.replace(/ to .*/, "");
      return `${word} to ${count} at ${formatRate(phase.connectPerSecond)}`;
    }
    case "hold":
    case "fault": {
      const time = "durationMs" in phase ? ` ${formatDuration(phase.durationMs)}` : "";
      const noun = traffic === "publish" ? "publishes" : "echoes";
      const rate = phase.perSecond === 0 ? "" : ` with ${noun} at ${formatRate(phase.perSecond)}`;
      return `${phase.name}${time}${rate}`;
    }
    case "recover":
      return `${phase.name} within ${formatDuration(phase.withinMs)}`;
  }
}

/**
 * The scenario at another size.
 * @param scale factor of connections, topics and rates, above 0
 * @param timeScale factor of how long it is held, above 0; a second is the least
 */
export function scaled(scenario: Scenario, scale: number, timeScale: number): Scenario {
  const sized = (count: number): number => Math.max(1, Math.round(count * scale));
  // Everybody has every event of a topic: more subscribers are more deliveries already.
  const isOneTopic = scenario.traffic === "publish" && scenario.topics === 1;
  const rate = (perSecond: number): number =>
    perSecond === 0 || isOneTopic ? perSecond : Math.max(1, perSecond * scale);
  const time = (ms: number): number => Math.max(1_000, Math.round(ms * timeScale));
  const phases = scenario.phases.map((phase): Phase => {
    if (phase.kind === "ramp") {
      return { ...phase, connectPerSecond: Math.max(100, phase.connectPerSecond * scale) };
    }
    if (phase.kind === "recover") return phase;
    const perSecond = rate(phase.perSecond);
    if (!("durationMs" in phase)) return { ...phase, perSecond };
    const isSlow = phase.kind === "fault" && phase.faults.slowReader > 0;
    const durationMs = Math.max(isSlow ? SLOW_MS_MIN : 0, time(phase.durationMs));
    if (phase.kind === "hold") return { ...phase, perSecond, durationMs };
    const churnPerSecond = rate(phase.faults.churnPerSecond);
    return { ...phase, perSecond, durationMs, faults: { ...phase.faults, churnPerSecond } };
  });
  const { connections, topics } = scenario;
  return { ...scenario, phases, connections: sized(connections), topics: sized(topics) };
}

/** The scenarios of these names; `all` is every one. Throws HOLDFAST_OPTIONS_INVALID. */
export function scenariosNamed(names: readonly string[]): readonly Scenario[] {
  if (names.includes("all")) return SCENARIOS;
  return names.map((name) => {
    const found = SCENARIOS.find((scenario) => scenario.name === name);
    if (found !== undefined) return found;
    const known = SCENARIOS.map((scenario) => scenario.name).join(", ");
    const message = `there is no scenario ${JSON.stringify(name)}: there are ${known}, and all`;
    throw new HoldfastError("HOLDFAST_OPTIONS_INVALID", message);
  });
}
