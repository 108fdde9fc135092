// The flags of `holdfast-probe` as options of a run: quantities, lists and grammars are read here,
// and whatever is wrong is said before anything starts.
import { HoldfastError } from "../base/errors.ts";
import { Prng } from "../base/prng.ts";
import type { DoctorQuestion } from "../probe/doctor.ts";
import { EVENT_BYTES_MIN } from "../probe/dialogue.ts";
import type { Faults, Protocol, Traffic } from "../probe/generator-messages.ts";
import { chooseTransport, type ProbeTransport } from "../probe/probe-network.ts";
import type {
  CapacityOptions,
  ClientOptions,
  LoadOptions,
  ProbeOptions,
} from "../probe/probe-options.ts";
import {
  formatCount,
  parseBytes,
  parseCount,
  parseDurationMs,
  parseRate,
  parseShare,
  parseStages,
} from "../probe/quantity.ts";
import type { Arrival, RateSegment } from "../probe/schedule.ts";
import { parseServerSources } from "../probe/server-watch.ts";
import { expandLocalIps } from "../probe/source-addresses.ts";
import { parseTargets, resolveTargets } from "../probe/target.ts";
import { parseThreshold, parseThresholds } from "../probe/threshold.ts";

/** Output flags. */
export interface OutputFlags {
  readonly json?: boolean;
  readonly csv?: string;
  readonly html?: string;
}

/** How the probe is a client. */
export interface ClientFlags {
  readonly protocol: Protocol;
  readonly connectTimeout: string;
  readonly echoTimeout: string;
  readonly token?: string;
  readonly insecure?: boolean;
  readonly serverStats?: readonly string[];
  readonly localIps?: string;
  readonly localPorts?: string;
  readonly generators: string;
  readonly transport?: ProbeTransport;
  readonly seed?: string;
}

interface CommonFlags extends ClientFlags, OutputFlags {
  readonly connectRate: string;
  readonly payload: string;
}

export interface CapacityFlags extends CommonFlags {
  readonly start: string;
  readonly max: string;
  readonly search: "exp" | "stairs";
  readonly step?: string;
  readonly warmUp?: string;
  readonly precision: string;
  readonly pingRate: string;
  readonly levelHold: string;
  readonly hold: string;
  readonly slo: string;
  readonly atLeast?: string;
  readonly scram: boolean;
}

export interface LoadFlags extends CommonFlags {
  readonly connections: string;
  readonly rate?: string;
  readonly duration?: string;
  readonly stages?: string;
  readonly arrival: Arrival;
  readonly traffic: Traffic;
  readonly topics: string;
  readonly fault?: string;
  readonly threshold?: readonly string[];
  readonly baseline?: string;
}

export interface DoctorFlags {
  readonly connections?: string;
  readonly as?: "server" | "client" | "both";
  readonly processes?: string;
  readonly json?: boolean;
}

interface Surroundings {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** Metrics that a level has, and those of them that need echoes. */
const ECHO_METRICS: readonly string[] = ["response", "service", "lateness"];
const LEVEL_METRICS: readonly string[] = [
  ...["connect", "connectService", "connectLateness", "errors", "held"],
  ...ECHO_METRICS,
];
const CONNECTIONS_MAX = 10_000_000;
const GENERATORS_MAX = 1_000;
const PAYLOAD_BYTES_MAX = 60_000;
const RATE_DEFAULT = "1k";
const DURATION_DEFAULT = "30s";

export function capacityOptions(
  targets: readonly string[],
  flags: CapacityFlags,
  surroundings: Surroundings,
  /** Whether the user gave it: what is only a default gives way. */
  isGiven: (flag: "pingRate" | "slo" | "start") => boolean,
): CapacityOptions {
  const max = countOf("--max", flags.max, CONNECTIONS_MAX);
  const wanted = countOf("--start", flags.start, CONNECTIONS_MAX);
  const start = isGiven("start") ? wanted : Math.min(wanted, max);
  const atLeast =
    flags.atLeast === undefined ? null : countOf("--at-least", flags.atLeast, CONNECTIONS_MAX);
  if (atLeast !== null && atLeast > max) {
    throw invalid("--at-least", flags.atLeast!, `is above --max, ${flags.max}: it cannot be met`);
  }
  if (max < start) throw invalid("--max", flags.max, `is below --start, ${flags.start}`);
  const pingPerSecond = named("--ping-rate", flags.pingRate, parseRate);
  // A server whose protocol is not known may not echo.
  const isPinging = pingPerSecond > 0 && (flags.protocol === "holdfast" || isGiven("pingRate"));
  const objectives = named("--slo", flags.slo, parseThresholds);
  const windowed = objectives.find(({ overMs, abort }) => overMs !== null || abort);
  if (windowed !== undefined) {
    throw invalid("--slo", windowed.text, "has a window or abort: levels are judged as a whole");
  }
  const about = objectives.find(({ metric }) => !LEVEL_METRICS.includes(metric));
  if (about !== undefined) {
    throw invalid(
      "--slo",
      about.text,
      `is not about levels, which have ${LEVEL_METRICS.join(", ")}`,
    );
  }
  const unmeasured = objectives.find(({ metric }) => !isPinging && ECHO_METRICS.includes(metric));
  if (unmeasured !== undefined && isGiven("slo")) {
    throw invalid("--slo", unmeasured.text, "needs echoes: give --ping-rate");
  }
  return {
    ...commonOptions(targets, flags, isPinging ? "echo" : "none", surroundings),
    search: flags.search,
    start,
    max,
    step: flags.step === undefined ? start : countOf("--step", flags.step, CONNECTIONS_MAX),
    warmUp: flags.warmUp === undefined ? 0 : countOf("--warm-up", flags.warmUp, CONNECTIONS_MAX),
    precision: shareOf("--precision", flags.precision),
    pingPerSecond,
    levelHoldMs: timeOf("--level-hold", flags.levelHold),
    holdMs: timeOf("--hold", flags.hold),
    objectives: objectives.filter(({ metric }) => isPinging || !ECHO_METRICS.includes(metric)),
    isScramArmed: flags.scram,
    atLeast,
  };
}

export function loadOptions(
  targets: readonly string[],
  flags: LoadFlags,
  surroundings: Surroundings,
): LoadOptions {
  if (flags.traffic === "publish" && flags.protocol === "raw") {
    throw invalid("--traffic", "publish", "needs --protocol holdfast");
  }
  return {
    ...commonOptions(targets, flags, flags.traffic, surroundings),
    connections: countOf("--connections", flags.connections, CONNECTIONS_MAX),
    arrival: flags.arrival,
    segments: segmentsOf(flags),
    topics: countOf("--topics", flags.topics, 1_000_000),
    faults: faultsOf(flags.fault),
    thresholds: (flags.threshold ?? []).map((text) => named("--threshold", text, parseThreshold)),
    baselineFile: flags.baseline ?? null,
  };
}

export async function doctorQuestion(
  target: string | undefined,
  flags: DoctorFlags,
): Promise<DoctorQuestion> {
  const { connections, processes, as } = flags;
  const resolved = target === undefined ? [] : await resolveTargets(parseTargets([target]));
  return {
    connections:
      connections === undefined ? null : countOf("--connections", connections, 100_000_000),
    role: as ?? null,
    target: resolved[0] ?? null,
    processes: processes === undefined ? null : countOf("--processes", processes, 100_000),
  };
}

function commonOptions(
  targets: readonly string[],
  flags: CommonFlags,
  traffic: Traffic,
  surroundings: Surroundings,
): ProbeOptions {
  const payloadBytes = named("--payload", flags.payload, parseBytes);
  if (payloadBytes < EVENT_BYTES_MIN || payloadBytes > PAYLOAD_BYTES_MAX) {
    throw invalid("--payload", flags.payload, `is not in ${EVENT_BYTES_MIN} to 60000 bytes`);
  }
  const connectPerSecond = named("--connect-rate", flags.connectRate, parseRate);
  if (connectPerSecond === 0) throw invalid("--connect-rate", flags.connectRate, "is nothing");
  return {
    ...clientOptions(flags, surroundings),
    targets: parseTargets(targets),
    traffic,
    payloadBytes,
    serverSources: flags.serverStats === undefined ? [] : parseServerSources(flags.serverStats),
    connectPerSecond,
  };
}

/** What does not depend on what is done to which server. */
export function clientOptions(flags: ClientFlags, { argv, env }: Surroundings): ClientOptions {
  return {
    protocol: flags.protocol,
    connectTimeoutMs: timeOf("--connect-timeout", flags.connectTimeout),
    operationTimeoutMs: timeOf("--echo-timeout", flags.echoTimeout),
    token: flags.token ?? env["HOLDFAST_PROBE_TOKEN"] ?? "",
    isInsecure: flags.insecure === true,
    transport: chooseTransport(flags.transport ?? "auto"),
    localIps: flags.localIps === undefined ? [] : expandLocalIps(flags.localIps),
    localPorts: portsOf(flags.localPorts),
    generators: countOf("--generators", flags.generators, GENERATORS_MAX),
    seed: seedOf(flags.seed),
    argv: withoutToken(argv),
  };
}

function segmentsOf(flags: LoadFlags): readonly RateSegment[] {
  if (flags.stages !== undefined) {
    if (flags.duration !== undefined) {
      throw invalid("--duration", flags.duration, "is said by --stages already");
    }
    const from = flags.rate === undefined ? 0 : named("--rate", flags.rate, parseRate);
    return named("--stages", flags.stages, (text) => parseStages(text, from));
  }
  const perSecond = named("--rate", flags.rate ?? RATE_DEFAULT, parseRate);
  const durationMs = timeOf("--duration", flags.duration ?? DURATION_DEFAULT);
  return [{ durationMs, fromPerSecond: perSecond, toPerSecond: perSecond }];
}

function faultsOf(text: string | undefined): Faults {
  const faults = { slowReader: 0, halfOpen: 0, churnPerSecond: 0 };
  for (const entry of text === undefined ? [] : text.split(",")) {
    const [name, value = ""] = entry.split("=", 2);
    if (name === "slow-reader") faults.slowReader = faultShare(entry, value);
    else if (name === "half-open") faults.halfOpen = faultShare(entry, value);
    else if (name === "churn") faults.churnPerSecond = named("--fault", value, parseRate);
    else throw invalid("--fault", entry, "is none of slow-reader=, half-open= and churn=");
  }
  if (faults.slowReader + faults.halfOpen > 1) {
    throw invalid("--fault", text!, "leaves no connection that is well");
  }
  return faults;
}

function faultShare(entry: string, value: string): number {
  const share = named("--fault", value, parseShare);
  if (share > 1) throw invalid("--fault", entry, "is more than all connections");
  return share;
}

function portsOf(text: string | undefined): ProbeOptions["localPorts"] {
  if (text === undefined) return null;
  const [, first, last] = /^(\d{1,5})-(\d{1,5})$/.exec(text) ?? [];
  const ports = { first: Number(first), last: Number(last) };
  if (first !== undefined && ports.first >= 1 && ports.first <= ports.last && ports.last < 65_536) {
    return ports;
  }
  throw invalid("--local-ports", text, "is no range such as 20000-60999");
}

function seedOf(text: string | undefined): number {
  if (text === undefined) return Prng.randomSeed();
  const seed = Number(text);
  if (/^\d+$/.test(text) && seed < 2 ** 32) return seed;
  throw invalid("--seed", text, "is no whole number below 4294967296");
}

function countOf(flag: string, text: string, max: number): number {
  const count = named(flag, text, parseCount);
  if (count >= 1 && count <= max) return count;
  throw invalid(flag, text, `is not in 1 to ${formatCount(max)}`);
}

function timeOf(flag: string, text: string): number {
  const ms = named(flag, text, parseDurationMs);
  if (ms > 0) return ms;
  throw invalid(flag, text, "is no time");
}

function shareOf(flag: string, text: string): number {
  const share = named(flag, text, parseShare);
  if (share > 0 && share <= 0.5) return share;
  throw invalid(flag, text, "is not above 0% and at most 50%");
}

/** What reads a value does not know the flag it was given to. */
function named<Value>(flag: string, text: string, parse: (text: string) => Value): Value {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    const message = error.message.startsWith(flag) ? error.message : `${flag}: ${error.message}`;
    throw new HoldfastError(error.code, message, { cause: error });
  }
}

function invalid(flag: string, value: string, problem: string): HoldfastError {
  return new HoldfastError("HOLDFAST_OPTIONS_INVALID", `${flag}: "${value}" ${problem}`);
}

/** Reports are shown around. */
function withoutToken(argv: readonly string[]): readonly string[] {
  return argv.map((argument, index) => {
    if (argument.startsWith("--token=")) return "--token=...";
    return argv[index - 1] === "--token" ? "..." : argument;
  });
}
