// A finished run of all scenarios with made-up figures that could be real: most pass, one fails, of
// one the probe was the limit, and one had nothing to run against.

import type {
  OperationKind,
  Report,
  SeriesPoint,
  ServerFigures,
  StageReport,
} from "../../src/probe/report.ts";
import {
  type ObjectiveResult,
  type ScenarioResult,
  SCENARIOS_SCHEMA,
  type ScenariosReport,
  type ScenarioVerdict,
} from "../../src/probe/scenario-report.ts";
import { type Phase, type Scenario, SCENARIOS } from "../../src/probe/scenarios.ts";
import { parseThreshold } from "../../src/probe/threshold.ts";
import { capacityReport, failures, noise, operations, percentileShape } from "./probe-report.ts";

const MIB = 1_048_576;
/** What every report has that is of no interest here. */
const CAPACITY = capacityReport();
const TEMPLATE = CAPACITY.stages[0]!;

const VERDICTS: Readonly<Record<string, ScenarioVerdict>> = {
  "slow-consumers": "failed",
  "echo-burst": "generator-bound",
  "rolling-restart": "skipped",
};
const REASONS: Readonly<Record<string, string>> = {
  "slow-consumers": "an objective was missed in 5% stop reading",
  "echo-burst": "the probe was late in burst: lateness p99 61.2 ms, 50.0 ms are allowed",
  "rolling-restart":
    "it needs a server with workers that the probe may restart: leave --target away",
};

/** As long as the phase of a made-up run takes. */
function secondsOf(phase: Phase, { connections }: Scenario): number {
  if (phase.kind === "ramp") return Math.max(1, Math.round(connections / phase.connectPerSecond));
  if (!("durationMs" in phase)) return 4;
  return Math.max(2, Math.round(phase.durationMs / 1_000));
}

/** A phase with the time in which it ran. */
interface Part {
  readonly phase: Phase;
  readonly from: number;
  readonly to: number;
  readonly held: number;
  readonly perSecond: number;
}

function partsOf(scenario: Scenario): Part[] {
  let from = 0;
  let held = 0;
  return scenario.phases.map((phase) => {
    const to = from + secondsOf(phase, scenario);
    if (phase.kind === "ramp") held = Math.round(scenario.connections * phase.share);
    const perSecond = "perSecond" in phase ? phase.perSecond : 0;
    const part = { phase, from, to, held, perSecond };
    from = to;
    return part;
  });
}

function isFailing({ name }: Scenario, { phase }: Part): boolean {
  return VERDICTS[name] === "failed" && phase.kind === "fault";
}

function isBound({ name }: Scenario, { phase }: Part): boolean {
  return VERDICTS[name] === "generator-bound" && phase.kind === "fault";
}

function serverFigures(held: number, perSecond: number, at: number): ServerFigures {
  return {
    processes: 1,
    rssBytes: 96 * MIB + held * 1_120 + Math.round(noise(at) * MIB),
    cpuCores: 0.02 + perSecond / 28_000 + held / 400_000 + noise(at) * 0.02,
    fds: held + 31,
    fdLimit: 20_000,
    connections: held,
    loopLagP99Ms: 0.6 + perSecond / 6_000 + noise(at * 3) * 0.5,
    bytesPerConnection: held < 500 ? null : 1_120 + Math.round(noise(at) * 30),
  };
}

function operationsOf(scenario: Scenario, part: Part): StageReport["operations"] {
  const { phase, from, to, held, perSecond } = part;
  if (phase.kind === "ramp" || phase.kind === "recover") {
    const rate = phase.kind === "ramp" ? phase.connectPerSecond : 4_000;
    return { connect: operations(held, held, rate, rate * 0.996) };
  }
  const kind: OperationKind | "none" = scenario.traffic;
  const count = perSecond * (to - from);
  if (kind === "none" || count === 0) return {};
  const churned = "faults" in phase ? phase.faults.churnPerSecond * (to - from) : 0;
  return {
    ...(churned === 0 ? {} : { connect: operations(churned, churned, 100, 99.8) }),
    [kind]: operations(count, count, perSecond, perSecond * 0.9994),
  };
}

function latenciesOf(scenario: Scenario, part: Part): StageReport["latencies"] {
  const { phase, from, to, held, perSecond } = part;
  const connects = operationsOf(scenario, part).connect?.succeeded ?? 0;
  const connectP99 = phase.name === "storm" ? 1_610 : 60 + held / 400;
  const connect = connects === 0 ? {} : { connect: percentileShape(1.4, connectP99, connects) };
  const count = perSecond * (to - from);
  if (count === 0) return connect;
  const ms = isFailing(scenario, part) ? 361 : 9;
  const p99 = ms + scenario.payloadBytes / 600 + perSecond / 300;
  const lateness = percentileShape(0.05, isBound(scenario, part) ? 61.2 : 1.4, count, 90);
  const service = percentileShape(0.4, p99 * 0.9, count);
  const response = percentileShape(0.5, p99, count);
  if (scenario.traffic !== "publish") return { ...connect, lateness, service, response };
  const delivery = percentileShape(0.9, p99 * 1.1, count * 20);
  return { ...connect, lateness, service, response, delivery };
}

function stageOf(scenario: Scenario, part: Part, index: number): StageReport {
  const { phase, from, to, held, perSecond } = part;
  const isMissed = isFailing(scenario, part);
  const late = isBound(scenario, part);
  const loss = { expected: 180_000, received: 179_412, missed: 588, announced: 588, duplicates: 0 };
  return {
    ...TEMPLATE,
    index,
    kind: phase.kind,
    name: phase.name,
    fromMs: from * 1_000,
    toMs: to * 1_000,
    verdict: isMissed ? "missed" : late ? "generator-bound" : "ok",
    reasons: isMissed ? ["loss:count==0: 588"] : late ? [REASONS[scenario.name]!] : [],
    connections: { intended: held, held, deaths: 0 },
    operations: operationsOf(scenario, part),
    deliveries: isMissed ? loss : null,
    latencies: latenciesOf(scenario, part),
    failures: isMissed ? failures({ "app.missed": 588 }) : [],
    deaths: [],
    generator: {
      ...TEMPLATE.generator,
      processes: 1,
      latenessP99Ms: late ? 61.2 : 1.4 + noise(index) * 0.6,
      latenessLimitMs: 25,
    },
    server: serverFigures(held, perSecond, to),
    memory: null,
  };
}

function pointOf(parts: readonly Part[], atMs: number): SeriesPoint {
  const at = atMs / 1_000;
  const stage = parts.findIndex(({ from, to }) => at > from && at <= to);
  const part = parts[stage]!;
  const before = parts[stage - 1]?.held ?? 0;
  const { phase, perSecond } = part;
  const isCrash = phase.kind === "fault" && phase.fault === "crash";
  const isBack = phase.kind === "recover" && phase.name === "stampede";
  const start = isBack ? 0 : phase.kind === "ramp" ? before : part.held;
  const target = isCrash ? 0 : part.held;
  const done = Math.min(1, (at - part.from) / (part.to - part.from));
  const held = isCrash ? 0 : Math.round(start + (target - start) * done);
  const p99 = perSecond === 0 ? null : 9 + (perSecond / 300) * (0.8 + noise(at) * 0.4);
  return {
    atMs,
    stage,
    intended: part.held,
    held,
    connectsPerSecond: held <= start ? 0 : Math.round((target - start) / (part.to - part.from)),
    operationsScheduledPerSecond: perSecond,
    operationsPerSecond: Math.round(perSecond * (0.985 + noise(at) * 0.015)),
    failures: 0,
    deaths: isCrash ? part.held : 0,
    responseP50Ms: p99 === null ? null : 0.5 + noise(at) * 0.1,
    responseP99Ms: p99,
    serviceP50Ms: p99 === null ? null : 0.4 + noise(at * 2) * 0.1,
    connectP99Ms: held === start ? null : 60 + noise(at) * 20,
    latenessP99Ms: 1.4 + noise(at * 11) * 0.5,
    generatorLoopUtilisation: 0.1 + perSecond / 40_000,
    generatorRssBytes: 180 * MIB,
    server: isCrash ? null : serverFigures(held, perSecond, at),
  };
}

function objectivesOf(scenario: Scenario, stages: readonly StageReport[]): ObjectiveResult[] {
  return scenario.phases.flatMap((phase, index) =>
    phase.objectives.map((text) => {
      const { metric, limit, unit } = parseThreshold(text);
      const stage = stages[index]!;
      const latencies: Readonly<Record<string, { p99: number } | undefined>> = stage.latencies;
      const lost = stage.deliveries?.missed ?? 0;
      const actual = unit === "ms" ? (latencies[metric]?.p99 ?? null) : lost;
      const passed = actual !== null && (limit === 0 ? actual === 0 : actual < limit);
      return { phase: phase.name, text, metric, actual, limit, unit, passed, worstAtMs: null };
    }),
  );
}

export function scenarioResult(scenario: Scenario): ScenarioResult {
  const { name, title, question, connections } = scenario;
  const verdict = VERDICTS[name] ?? "passed";
  const reason = REASONS[name] ?? "";
  const plan = `${connections.toLocaleString("en-US")} connections; ${scenario.phases
    .map((phase) => phase.name)
    .join(", then ")}`;
  const about = { name, title, question, plan, verdict, reason };
  if (verdict === "skipped") return { ...about, objectives: [], report: null };
  const parts = partsOf(scenario);
  const stages = parts.map((part, index) => stageOf(scenario, part, index));
  const objectives = objectivesOf(scenario, stages);
  return { ...about, objectives, report: reportOf(scenario, parts, stages, objectives) };
}

function reportOf(
  { name }: Scenario,
  parts: readonly Part[],
  stages: readonly StageReport[],
  objectives: readonly ObjectiveResult[],
): Report {
  const seconds = parts.at(-1)!.to;
  const isFailed = VERDICTS[name] === "failed";
  return {
    ...CAPACITY,
    command: "scenario",
    sentence: isFailed ? `FAILED: ${REASONS[name]}.` : `${name}: every objective held.`,
    outcome: isFailed ? "failed" : "passed",
    exitCode: isFailed ? 99 : 0,
    limit: null,
    capacity: null,
    load: {
      faults: isFailed ? { slowReaders: 10, halfOpen: 0, ended: 10, churned: 0 } : null,
      thresholds: objectives.map(({ text, metric, actual, limit, unit, passed, worstAtMs }) => {
        return { text, metric, actual, limit, unit, passed, worstAtMs };
      }),
      baseline: null,
    },
    environment: {
      ...CAPACITY.environment,
      argv: ["scenario", "all"],
      targets: ["tcp://127.0.0.1:7400"],
      durationMs: seconds * 1_000,
      transport: "tcp-epoll",
      generatorProcesses: 1,
      cpus: 2,
    },
    stages,
    series: Array.from({ length: seconds }, (_, index) => pointOf(parts, (index + 1) * 1_000)),
    failures: isFailed ? failures({ "app.missed": 588 }) : [],
    deaths: [],
    memory: null,
  };
}

/** One scenario of the twelve. */
export function scenarioNamed(name: string): ScenarioResult {
  return scenarioResult(SCENARIOS.find((scenario) => scenario.name === name)!);
}

export function scenariosReport(): ScenariosReport {
  return {
    schema: SCENARIOS_SCHEMA,
    sentence:
      "FAILED: 9 of 12 scenarios passed, 1 failed (slow-consumers), 1 has no verdict on the " +
      "server, 1 was skipped.",
    outcome: "failed",
    exitCode: 99,
    startedAt: "2026-11-21T12:00:00.000Z",
    durationMs: 372_300,
    argv: ["scenario", "all", "--html", "scenarios.html", "--markdown", "scenarios.md"],
    server: "holdfast serve, started by the probe",
    scale: 1,
    timeScale: 1,
    scenarios: SCENARIOS.map(scenarioResult),
  };
}
