// The twelve scenarios: what a fleet of long-lived clients does to a server on good days and on bad
// ones, each with objectives. Sizes are for one machine of two cores that has the server and the
// probe; --scale and --time-scale change them. docs/probe-scenarios.md is made from this table.

import type { Faults, Traffic } from "./generator-messages.ts";

export interface Scenario {
  /** On the command line. */
  readonly name: string;
  readonly title: string;
  readonly question: string;
  readonly connections: number;
  readonly traffic: Traffic;
  /** Bytes of an echo's or event's payload. */
  readonly payloadBytes: number;
  readonly topics: number;
  /** Clients that lose their server, or are told to go, come back. */
  readonly isReturning: boolean;
  /** Of a server that is started for the scenario: flags of `holdfast serve`. */
  readonly serverFlags: readonly string[];
  readonly phases: readonly Phase[];
}

interface PhaseBase {
  readonly name: string;
  /** What must hold in this phase: thresholds without windows. */
  readonly objectives: readonly string[];
}

/** Connections are opened until this share of the scenario's is there. */
export interface RampPhase extends PhaseBase {
  readonly kind: "ramp";
  readonly share: number;
  readonly connectPerSecond: number;
}

/** The connections are held, with so many operations a second over all of them. */
export interface HoldPhase extends PhaseBase {
  readonly kind: "hold";
  readonly durationMs: number;
  readonly perSecond: number;
}

/**
 * Something goes wrong with the clients, while operations go on: more of them than before; or
 * connections that stop reading, fall silent, or come and go.
 */
export interface FaultPhase extends PhaseBase {
  readonly kind: "fault";
  readonly fault: "burst" | "misbehave";
  readonly durationMs: number;
  readonly perSecond: number;
  readonly faults: Faults;
}

/**
 * Something is done to the server: it crashes and is started again; or it replaces its workers,
 * which is over when all clients are connected again.
 */
export interface DisruptionPhase extends PhaseBase {
  readonly kind: "fault";
  readonly fault: "crash" | "rolling-restart";
  readonly withinMs: number;
  readonly perSecond: number;
}

/** The time until all is well again. */
export interface RecoverPhase extends PhaseBase {
  readonly kind: "recover";
  /** `held`: every client is connected; `ended`: those that fell silent were noticed and ended. */
  readonly until: "held" | "ended";
  readonly withinMs: number;
}

export type Phase = RampPhase | HoldPhase | FaultPhase | DisruptionPhase | RecoverPhase;

export const NO_FAULTS: Faults = { slowReader: 0, halfOpen: 0, churnPerSecond: 0 };
const CONNECTED = ["errors<0.1%", "connect:p(99)<2s"];
const ALL_HELD = ["errors:count==0"];
/** Nothing of what the subscribers were to have is missing, and none of them is. */
const DELIVERED = ["errors:count==0", "loss:count==0", "delivery:p(99)<250ms"];

/** A scenario of echoes, unless it says otherwise. */
const ECHO = {
  traffic: "echo",
  payloadBytes: 64,
  topics: 1,
  isReturning: false,
  serverFlags: [],
} as const;
const PUBLISH = { ...ECHO, traffic: "publish" } as const;

function ramp(connectPerSecond: number, share: number = 1): RampPhase {
  const name = share === 1 ? "ramp" : `ramp to ${share * 100}%`;
  return { kind: "ramp", name, share, connectPerSecond, objectives: CONNECTED };
}

function hold(
  seconds: number,
  perSecond: number,
  objectives: readonly string[],
  name: string = "hold",
): HoldPhase {
  return { kind: "hold", name, durationMs: seconds * 1_000, perSecond, objectives };
}

function misbehave(
  name: string,
  seconds: number,
  perSecond: number,
  faults: Partial<Faults>,
  objectives: readonly string[],
): FaultPhase {
  return {
    ...{ kind: "fault", fault: "misbehave", name, durationMs: seconds * 1_000, perSecond },
    ...{ faults: { ...NO_FAULTS, ...faults }, objectives },
  };
}

export const SCENARIOS: readonly Scenario[] = [
  {
    ...ECHO,
    name: "steady-idle",
    title: "Steady idle",
    question: "Are clients that say nothing held, and does none of them end by itself?",
    connections: 20_000,
    traffic: "none",
    phases: [ramp(4_000), hold(60, 0, ALL_HELD)],
  },
  {
    ...ECHO,
    name: "staged-ramp",
    title: "Staged ramp",
    question: "Do answers take longer, step by step, as there are more connections?",
    connections: 16_000,
    phases: [0.25, 0.5, 0.75, 1].flatMap((share) => [
      ramp(4_000, share),
      hold(8, 1_000, ["errors<0.1%", "response:p(99)<250ms"], `hold at ${share * 100}%`),
    ]),
  },
  {
    ...ECHO,
    name: "connect-storm",
    title: "Connect storm",
    question: "What happens when very many clients come within a second or two?",
    connections: 16_000,
    phases: [
      { ...ramp(8_000), name: "storm" },
      hold(10, 1_000, ["errors:count==0", "response:p(99)<250ms"]),
    ],
  },
  {
    ...ECHO,
    name: "reconnect-stampede",
    title: "Reconnect stampede",
    question: "The server crashes and is started again: do all its clients find back?",
    connections: 10_000,
    isReturning: true,
    phases: [
      ramp(4_000),
      hold(5, 500, ["errors:count==0", "response:p(99)<250ms"]),
      {
        ...{ kind: "fault", fault: "crash", name: "crash", withinMs: 60_000, perSecond: 0 },
        objectives: [],
      },
      { kind: "recover", name: "stampede", until: "held", withinMs: 30_000, objectives: [] },
      hold(10, 500, ["errors:count==0", "response:p(99)<250ms"], "hold again"),
    ],
  },
  {
    ...ECHO,
    name: "echo-steady",
    title: "Echo, steady",
    question: "How long do answers take under an even load?",
    connections: 1_000,
    phases: [ramp(2_000), hold(30, 5_000, ["errors:count==0", "response:p(99)<100ms"])],
  },
  {
    ...ECHO,
    name: "echo-burst",
    title: "Echo, burst",
    question: "Is a burst of ten times the load answered, and is it forgotten when it is over?",
    connections: 1_000,
    phases: [
      ramp(2_000),
      hold(8, 1_000, ["errors:count==0", "response:p(99)<250ms"]),
      {
        ...{ kind: "fault", fault: "burst", name: "burst", durationMs: 5_000, perSecond: 10_000 },
        ...{ faults: NO_FAULTS, objectives: ["errors:count==0", "response:p(99)<500ms"] },
      },
      hold(8, 1_000, ["errors:count==0", "response:p(99)<250ms"], "hold again"),
    ],
  },
  {
    ...PUBLISH,
    name: "fan-out",
    title: "Fan-out",
    question: "How soon has every subscriber of one topic an event?",
    connections: 1_000,
    phases: [ramp(2_000), hold(20, 10, DELIVERED)],
  },
  {
    ...PUBLISH,
    name: "many-topics",
    title: "Many small topics",
    question: "Are a thousand topics with few subscribers each served as one with many is?",
    connections: 5_000,
    topics: 1_000,
    phases: [ramp(4_000), hold(20, 1_000, DELIVERED)],
  },
  {
    ...PUBLISH,
    name: "slow-consumers",
    title: "Slow consumers",
    question: "Do all others get everything in time while some stop reading?",
    connections: 100,
    // Large enough that the kernel does not take all of it for those who do not read: 4 MB each.
    payloadBytes: 32_768,
    phases: [
      ramp(500),
      hold(8, 20, DELIVERED),
      misbehave("5% stop reading", 20, 20, { slowReader: 0.05 }, DELIVERED),
    ],
  },
  {
    ...ECHO,
    name: "large-frames",
    title: "Large frames",
    question: "Are frames of 60,000 bytes, some forty packets each, echoed in time?",
    connections: 100,
    payloadBytes: 60_000,
    phases: [ramp(500), hold(20, 200, ["errors:count==0", "response:p(99)<250ms"])],
  },
  {
    ...ECHO,
    name: "churn-half-open",
    title: "Churn with half-open peers",
    question: "Clients come and go while others vanish without a word: is anybody else hurt?",
    connections: 2_000,
    serverFlags: ["--connection-heartbeat-ms", "2000", "--connection-idle-timeout-ms", "5000"],
    phases: [
      ramp(2_000),
      hold(5, 1_000, ["errors:count==0", "response:p(99)<250ms"]),
      misbehave("churn, 5% fall silent", 20, 1_000, { halfOpen: 0.05, churnPerSecond: 100 }, [
        "errors<0.1%",
        "response:p(99)<250ms",
        "connect:p(99)<1s",
      ]),
      { kind: "recover", name: "notice", until: "ended", withinMs: 10_000, objectives: [] },
    ],
  },
  {
    ...ECHO,
    name: "rolling-restart",
    title: "Rolling restart under load",
    question: "Every worker is replaced: is a call lost, or a client left outside?",
    connections: 2_000,
    isReturning: true,
    phases: [
      ramp(2_000),
      hold(5, 1_000, ["errors:count==0", "response:p(99)<250ms"]),
      {
        ...{ kind: "fault", fault: "rolling-restart", name: "rolling restart" },
        ...{ withinMs: 90_000, perSecond: 1_000 },
        objectives: ["errors:count==0", "response:p(99)<1s"],
      },
      hold(5, 1_000, ["errors:count==0", "response:p(99)<250ms"], "hold again"),
    ],
  },
];
