// Two finished reports with made-up figures that could be real: what shows reports is tested and
// looked at with them.

import { failureFacts } from "../../src/probe/failure.ts";
import { LatencyHistogram } from "../../src/probe/histogram.ts";
import {
  DEATH_AGES_MS,
  type DeathCount,
  type FailureCount,
  type GeneratorFigures,
  type LatencySummary,
  type MemoryFigures,
  type MemorySummary,
  type OperationFigures,
  REPORT_SCHEMA,
  type Report,
  type SeriesPoint,
  type ServerFigures,
  type StageReport,
} from "../../src/probe/report.ts";

const MIB = 1_048_576;
const FILE_LIMIT = 182_082;
const BYTES_PER_CONNECTION = 1_412;
const BASELINE_BYTES = 214 * MIB;

/** Seconds at which stages begin and end, what was asked, and what came of it. */
const LEVELS = [
  { kind: "climb", from: 0, to: 4, intended: 16_000, held: 16_000, verdict: "ok" },
  { kind: "climb", from: 4, to: 9, intended: 32_000, held: 32_000, verdict: "ok" },
  { kind: "climb", from: 9, to: 15, intended: 64_000, held: 64_000, verdict: "ok" },
  { kind: "climb", from: 15, to: 24, intended: 128_000, held: 128_000, verdict: "ok" },
  { kind: "climb", from: 24, to: 34, intended: 256_000, held: 182_041, verdict: "wall" },
  {
    kind: "verify",
    from: 37,
    to: 43,
    intended: 182_041,
    held: 182_041,
    verdict: "generator-bound",
  },
  { kind: "verify", from: 44, to: 50, intended: 182_041, held: 182_041, verdict: "ok" },
  { kind: "bisect", from: 50, to: 55, intended: 183_861, held: 182_041, verdict: "wall" },
  { kind: "confirm", from: 57, to: 90, intended: 172_938, held: 172_938, verdict: "ok" },
] as const;

/** Between 0 and 1, the same for the same number: figures that look measured. */
export function noise(of: number): number {
  const x = Math.sin(of * 12.9898) * 43_758.5453;
  return x - Math.floor(x);
}

/** With this median and 99th percentile, and a tail to match; no longer than `maxMs`. */
export function percentileShape(
  p50: number,
  p99: number,
  count: number,
  maxMs = 9_800,
): LatencySummary {
  const histogram = new LatencyHistogram();
  const growth = Math.log(p99 / p50) / Math.log(50);
  const steps = 400;
  let counted = 0;
  for (let step = 1; step <= steps; step++) {
    // Even steps in the number of nines, so that the tail has as many points as the middle.
    const left = step === steps ? 0 : 10 ** ((-4.5 * step) / steps);
    const middle = 10 ** ((-4.5 * (step - 0.5)) / steps);
    const ms = Math.min(maxMs, p50 * (2 * middle) ** -growth * (0.98 + 0.04 * noise(step)));
    const more = Math.round((1 - left) * count) - counted;
    counted += more;
    if (more > 0) histogram.addPairs(new Float64Array([Math.max(1, Math.round(ms * 1_000)), more]));
  }
  return histogram.summary();
}

export function failures(rows: Readonly<Record<string, number>>): FailureCount[] {
  return Object.entries(rows).map(([code, count]) => {
    const { phase, cause, party } = failureFacts(code);
    return { code, phase, cause, party, count };
  });
}

export function deaths(rows: Readonly<Record<string, readonly number[]>>): DeathCount[] {
  return Object.entries(rows).map(([code, ages]) => {
    const byAge = [...DEATH_AGES_MS, 0].map((_, index) => ages[index] ?? 0);
    const count = byAge.reduce((sum, one) => sum + one, 0);
    return { code, party: failureFacts(code).party, count, byAge };
  });
}

export function operations(
  scheduled: number,
  succeeded: number,
  intended: number,
  achieved: number,
): OperationFigures {
  return {
    scheduled,
    started: scheduled,
    succeeded,
    failed: scheduled - succeeded,
    intendedPerSecond: intended,
    achievedPerSecond: achieved,
  };
}

function generatorFigures(held: number, isBound: boolean): GeneratorFigures {
  return {
    processes: 10,
    loopUtilisation: isBound ? 0.87 : 0.21 + held / 1_300_000,
    latenessP99Ms: isBound ? 18.4 : 1.1 + held / 900_000,
    latenessLimitMs: 5,
    startedShare: isBound ? 0.984 : 1,
    cpuCores: 0.2 + held / 450_000,
    rssBytes: 512 * MIB + held * 1_812,
    bytesPerConnection: held < 1_000 ? null : 1_812 + Math.round(noise(held) * 40),
    fds: held + 210,
  };
}

function serverFigures(held: number, at: number, rate: number): ServerFigures {
  return {
    processes: 4,
    rssBytes: BASELINE_BYTES + held * BYTES_PER_CONNECTION + Math.round(noise(at) * 2 * MIB),
    cpuCores: 0.08 + held / 600_000 + rate / 20_000 + noise(at) * 0.04,
    fds: Math.min(FILE_LIMIT, held + 41),
    fdLimit: FILE_LIMIT,
    connections: held,
    loopLagP99Ms: 0.6 + rate / 9_000 + noise(at * 3) * 0.5 + (held > 182_000 ? 3.5 : 0),
    bytesPerConnection: held < 500 ? null : BYTES_PER_CONNECTION + Math.round(noise(at) * 12),
  };
}

function capacityStage(level: (typeof LEVELS)[number], index: number): StageReport {
  const { kind, from, to, intended, held, verdict } = level;
  const before = [0, 16_000, 32_000, 64_000, 128_000, 128_000, 128_000, 182_041, 128_000][index]!;
  const asked = intended - before;
  const isWall = verdict === "wall";
  const isBound = verdict === "generator-bound";
  const echoes = Math.round(held * 0.1 * (to - from));
  const lost = isWall ? intended - held : 0;
  const echo = percentileShape(0.9 + held / 90_000, isWall ? 88 : 4 + held / 40_000, echoes);
  const name = (kind === "climb" ? "" : `${kind} `) + intended.toLocaleString("en-US");
  return {
    index,
    kind,
    name,
    fromMs: from * 1_000,
    toMs: to * 1_000,
    verdict,
    reasons: isWall
      ? [`errors<0.1%: ${index === 4 ? "28.9%" : "0.99%"}`]
      : isBound
        ? ["the probe was late: lateness p99 18.4 ms, 5.0 ms are allowed"]
        : [],
    connections: { intended, held, deaths: index === 8 ? 3 : 0 },
    operations: {
      connect: operations(
        asked,
        asked - lost,
        12_000,
        index === 4 ? 4_812 : asked === lost ? 0 : 11_962 + index * 3,
      ),
      echo: operations(echoes, echoes, held * 0.1, held * 0.1 * 0.9991),
    },
    deliveries: null,
    latencies: {
      ...(asked === lost ? {} : connectLatencies(index, asked - lost, isWall, isBound)),
      lateness: percentileShape(0.24, isBound ? 17.2 : 1.2, echoes),
      service: percentileShape(0.6 + held / 110_000, isWall ? 87 : 3.4 + held / 44_000, echoes),
      response: echo,
    },
    failures: index === 4 ? failures(WALL_FAILURES) : index === 7 ? failures(LATE_FAILURES) : [],
    deaths: index === 8 ? deaths(DEATHS) : [],
    generator: generatorFigures(held, isBound),
    server: serverFigures(held, to, 0),
    memory: memoryFigures(held),
  };
}

function memoryFigures(held: number): MemoryFigures {
  const processMemory = (bytes: number) => {
    return { processes: 4, rssBytes: bytes + 90 * MIB, pssBytes: bytes };
  };
  return {
    kernel: {
      bytes: 300 * MIB + held * 6_200,
      slabBytes: 90 * MIB + held * 5_900,
      tcpBufferBytes: 4_096,
      tcpSockets: 12 + held * 2,
    },
    server: processMemory(120 * MIB + held * 400),
    probe: processMemory(150 * MIB + held * 1_100),
  };
}

function connectLatencies(
  index: number,
  count: number,
  isWall: boolean,
  isBound: boolean,
): StageReport["latencies"] {
  return {
    connect: percentileShape(1.4, isWall ? 2_914 : 7 + index * 3.1, count),
    connectService: percentileShape(1.1, isWall ? 2_912 : 6.2 + index * 3, count),
    connectLateness: percentileShape(0.3, isBound ? 18.4 : 1.1, count),
  };
}

const WALL_FAILURES = {
  "connect.timeout": 61_204,
  "hello.closed": 12_310,
  "upgrade.status.503": 371,
  "connect.reset": 62,
  "hello.refused.3004": 12,
};
const LATE_FAILURES = { "connect.timeout": 1_702, "hello.closed": 118 };
const DEATHS = {
  "closed.code.3001": [0, 0, 0, 0, 1, 1],
  "closed.reset": [0, 1],
};

function capacityPoint(atMs: number): SeriesPoint {
  const at = atMs / 1_000;
  const stage = LEVELS.findIndex(({ from, to }) => at > from && at <= to);
  const level = LEVELS[stage];
  const last = LEVELS.findLast(({ to }) => to < at);
  const start = stage > 4 || stage === -1 ? 128_000 : (LEVELS[stage - 1]?.held ?? 0);
  const from = stage === 7 ? 182_041 : start;
  const target = level?.held ?? Math.max(128_000, (last?.held ?? 0) - 30_000);
  const held = level ? Math.min(target, from + Math.round((at - level.from) * 11_980)) : target;
  const rate = held < target || (level && at - level.from <= 1) ? 11_900 : 0;
  const connects = stage === 4 && held >= 182_041 ? 140 : rate;
  const isWall = stage === 4 && at > 28.5;
  const isBound = stage === 5;
  return {
    atMs,
    stage,
    intended: level?.intended ?? 128_000,
    held,
    connectsPerSecond: connects === 0 ? 0 : Math.round(connects + noise(at) * 90),
    operationsScheduledPerSecond: Math.round(held * 0.1),
    operationsPerSecond: Math.round(held * 0.1 - noise(at) * 20),
    failures: isWall ? 13_200 + Math.round(noise(at) * 900) : stage === 7 ? 364 : 0,
    deaths: at === 59 || at === 80 || at === 88 ? 1 : 0,
    responseP50Ms: 0.9 + held / 90_000 + noise(at) * 0.2,
    responseP99Ms: (isWall ? 70 : 3.6 + held / 42_000) * (0.9 + noise(at * 7) * 0.3),
    serviceP50Ms: 0.6 + held / 110_000 + noise(at) * 0.1,
    connectP99Ms: connects === 0 ? null : (isWall ? 2_400 : 9) * (0.8 + noise(at * 5) * 0.6),
    latenessP99Ms: (isBound ? 17 : 1.1) * (0.8 + noise(at * 11) * 0.35),
    generatorLoopUtilisation: (isBound ? 0.86 : 0.2 + held / 1_400_000) + noise(at) * 0.04,
    generatorRssBytes: 512 * MIB + held * 1_812,
    server: at === 31 ? null : serverFigures(held, at, connects),
  };
}

const CAPACITY_ARGV: readonly string[] = [
  ...["capacity", "ws://10.0.0.5:8080", "--start", "16k", "--connect-rate", "12k"],
  ...["--slo", "connect:p(99)<250ms,echo:p(99)<50ms,errors<0.1%"],
  ...["--server-stats", "http://10.0.0.5:9100"],
];

const CAPACITY_MEMORY: MemorySummary = {
  before: memoryFigures(0),
  kernel: { slope: 6_200.4, r2: 0.9999 },
  server: { slope: 400.1, r2: 0.9991 },
  probe: null,
};

/** A search that ended at the server's file limit. */
export function capacityReport(): Report {
  return {
    schema: REPORT_SCHEMA,
    command: "capacity",
    sentence:
      "182,041 connections (172,938 held for 30 s to confirm); limit: the server's file limit: " +
      "182,082 of 182,082 files in use.",
    outcome: "passed",
    exitCode: 0,
    limit: {
      kind: "server-files",
      party: "server",
      confidence: "certain",
      text: "the server's file limit: 182,082 of 182,082 files in use",
      evidence: [
        "connections: 182,041 held of 256,000 intended, 128,000 before",
        "attempts: 128,000 started of 128,000 scheduled, 54,041 succeeded",
        "http://10.0.0.5:9100/stats: 182,082 of 182,082 files in use, 0.71 cores",
      ],
      advice: "raise it with `ulimit -n` or LimitNOFILE=, or run more server processes",
    },
    capacity: {
      connections: 182_041,
      failedAt: 183_861,
      confirmed: { connections: 172_938, holdMs: 30_000 },
      search: "exp",
      maxReached: false,
    },
    load: null,
    environment: {
      probeVersion: "0.1.0",
      nodeVersion: "20.20.2",
      kernel: "6.18.5",
      cpus: 8,
      memoryBytes: 32_768 * MIB,
      startedAt: "2026-11-21T12:00:00.000Z",
      durationMs: 90_412,
      argv: CAPACITY_ARGV,
      seed: 42,
      targets: ["ws://10.0.0.5:8080"],
      protocol: "holdfast",
      sysctls: {
        "net.core.somaxconn": "4096",
        "net.ipv4.ip_local_port_range": "32768 60999",
        "net.ipv4.tcp_tw_reuse": "2",
      },
      transport: "tcp-net",
      generatorProcesses: 10,
      generatorFileLimit: 20_000,
      sourceTuples: 1_016_000,
    },
    stages: LEVELS.map(capacityStage),
    series: Array.from({ length: 90 }, (_, index) => capacityPoint((index + 1) * 1_000)),
    failures: failures({
      ...WALL_FAILURES,
      "connect.timeout": 62_906,
      "hello.closed": 12_428,
    }),
    deaths: deaths(DEATHS),
    server: {
      sources: ["http://10.0.0.5:9100/stats"],
      baselineRssBytes: BASELINE_BYTES,
      bytesPerConnection: { slope: 1_413.2, r2: 0.9998 },
    },
    memory: CAPACITY_MEMORY,
  };
}

const LOADS = [
  { kind: "connect", name: "connect 10,000", from: 0, to: 3, rate: 0 },
  { kind: "load", name: "30s to 50k/s", from: 3, to: 33, rate: 25_000 },
  { kind: "load", name: "57s at 50k/s", from: 33, to: 90, rate: 50_000 },
] as const;

function loadStage(part: (typeof LOADS)[number], index: number): StageReport {
  const { kind, name, from, to, rate } = part;
  const seconds = to - from;
  const count = rate * seconds;
  const isLast = index === 2;
  return {
    index,
    kind,
    name,
    fromMs: from * 1_000,
    toMs: to * 1_000,
    verdict: isLast ? "missed" : "ok",
    reasons: isLast ? ["response:p(99)<50ms over 10s: 81.2 ms"] : [],
    connections: { intended: 10_000, held: isLast ? 9_959 : 10_000, deaths: isLast ? 41 : 0 },
    operations:
      index === 0
        ? { connect: operations(10_000, 10_000, 5_000, 4_988) }
        : {
            echo: operations(count, count - 312 * index, rate, rate * 0.9996),
            publish: operations(seconds * 10, seconds * 10, 10, 10),
          },
    deliveries:
      index === 0
        ? null
        : { expected: 60_000, received: 59_964, missed: 36, announced: 30, duplicates: 2 },
    latencies:
      index === 0
        ? { connect: percentileShape(1.2, 8.4, 10_000) }
        : {
            lateness: percentileShape(0.05, 1.4, count, 9),
            service: percentileShape(0.4, 24, count, 160),
            response: percentileShape(0.5, isLast ? 61 : 31, count, 240),
            delivery: percentileShape(1.6, 40, 60_000, 260),
          },
    failures:
      index === 0 ? [] : failures({ "echo.timeout": 204 * index, "echo.lost": 108 * index }),
    deaths: isLast ? deaths({ "closed.code.3003": [0, 0, 0, 4, 37] }) : [],
    generator: { ...generatorFigures(10_000, false), processes: 2 },
    server: null,
    memory: null,
  };
}

function loadPoint(atMs: number): SeriesPoint {
  const at = atMs / 1_000;
  const stage = LOADS.findIndex(({ to }) => at <= to);
  const rate = at <= 3 ? 0 : Math.min(50_000, ((at - 3) / 30) * 50_000);
  const isStalled = at > 60 && at < 66;
  return {
    atMs,
    stage,
    intended: 10_000,
    held: at > 66 ? 9_959 : Math.min(10_000, at * 4_988),
    connectsPerSecond: at <= 3 ? 4_988 : 0,
    operationsScheduledPerSecond: Math.round(rate),
    operationsPerSecond: Math.round(isStalled ? rate * 0.82 : rate),
    failures: isStalled ? 104 : 0,
    deaths: isStalled ? 8 : 0,
    responseP50Ms: rate === 0 ? null : 0.5 + noise(at) * 0.1,
    responseP99Ms: rate === 0 ? null : (isStalled ? 81 : 22) * (0.9 + noise(at * 7) * 0.3),
    serviceP50Ms: rate === 0 ? null : 0.4 + noise(at) * 0.05,
    connectP99Ms: at <= 3 ? 8.4 : null,
    latenessP99Ms: rate === 0 ? null : 1.4 * (0.8 + noise(at * 11) * 0.3),
    generatorLoopUtilisation: 0.1 + rate / 110_000,
    generatorRssBytes: 230 * MIB,
    server: null,
  };
}

/** An open loop that missed a threshold and is worse than before; nobody watched the server. */
export function loadReport(): Report {
  const capacity = capacityReport();
  return {
    ...capacity,
    command: "load",
    sentence:
      "FAILED: 49,980 echoes/s of 50,000/s intended on 10,000 connections; missed: " +
      "response:p(99)<50ms over 10s (81.2 ms).",
    outcome: "failed",
    exitCode: 99,
    limit: null,
    capacity: null,
    load: {
      faults: { slowReaders: 99, halfOpen: 10, ended: 52, churned: 4_500 },
      thresholds: [
        threshold("response:p(99)<50ms over 10s", "response", 81.2, 50, "ms", false, 60_000),
        threshold("errors<0.1%", "errors", 0.000_31, 0.001, "ratio", true, null),
        threshold("rate>=49k", "rate", 49_980, 49_000, "per_second", true, null),
        threshold("held>=9990", "held", 9_959, 9_990, "count", false, null),
        threshold("connect:p(99)<250ms", "connect", null, 250, "ms", false, null),
      ],
      baseline: {
        file: "previous.json",
        rows: [
          { metric: "response p99 ms", before: 34.1, now: 56.8, ratio: 1.666, isRegression: true },
          {
            metric: "operations/s",
            before: 49_990,
            now: 49_980,
            ratio: 0.9998,
            isRegression: false,
          },
          { metric: "errors %", before: 0, now: 0.0314, ratio: null, isRegression: false },
        ],
      },
    },
    environment: {
      ...capacity.environment,
      argv: ["load", "tcp://10.0.0.5:7400", "-c", "10k", "--stages", "30s:50k,57s:50k"],
      targets: ["tcp://10.0.0.5:7400"],
      transport: "tcp-net",
      generatorProcesses: 2,
    },
    stages: LOADS.map(loadStage),
    series: Array.from({ length: 90 }, (_, index) => loadPoint((index + 1) * 1_000)),
    failures: failures({ "echo.timeout": 612, "echo.lost": 324, "app.missed": 72, "prober.fd": 1 }),
    deaths: deaths({ "closed.code.3003": [0, 0, 0, 4, 37] }),
    server: null,
    memory: null,
  };
}

function threshold(
  text: string,
  metric: string,
  actual: number | null,
  limit: number,
  unit: string,
  passed: boolean,
  worstAtMs: number | null,
): NonNullable<Report["load"]>["thresholds"][number] {
  return { text, metric, actual, limit, unit, passed, worstAtMs };
}
