// What a run is asked to do, after the command line was read and checked.

import type { Endpoint } from "../transport/endpoint.ts";
import type { Faults, Protocol, Traffic } from "./generator-messages.ts";
import type { Arrival, RateSegment } from "./schedule.ts";
import type { ProbeTransport } from "./probe-network.ts";
import type { ServerSource } from "./server-watch.ts";
import type { Threshold } from "./threshold.ts";

/** How the probe is a client, whatever it does. */
export interface ClientOptions {
  readonly protocol: Protocol;
  /** From the start of an attempt to a connection that is ready for use. */
  readonly connectTimeoutMs: number;
  /** From the start of an echo or publish to its answer. */
  readonly operationTimeoutMs: number;
  /** Hello's token; "" for none. */
  readonly token: string;
  readonly isInsecure: boolean;
  /** What carries all but TLS. */
  readonly transport: ProbeTransport;
  /** Local addresses; none: chosen by the probe. */
  readonly localIps: readonly string[];
  /** Local ports; null: chosen by the probe. */
  readonly localPorts: { readonly first: number; readonly last: number } | null;
  /** Generator processes at least; more are forked where the file limit asks for them. */
  readonly generators: number;
  readonly seed: number;
  /** The command line, for the report. */
  readonly argv: readonly string[];
}

/** What all runs have in common. */
export interface ProbeOptions extends ClientOptions {
  readonly targets: readonly Endpoint[];
  readonly traffic: Traffic;
  /** Bytes of an echo's or event's payload. */
  readonly payloadBytes: number;
  readonly serverSources: readonly ServerSource[];
  /** New connections per second, all generators together. */
  readonly connectPerSecond: number;
}

export interface CapacityOptions extends ProbeOptions {
  readonly search: "exp" | "stairs";
  readonly start: number;
  readonly max: number;
  readonly step: number;
  /** Connections that are opened and closed before the search, and count nowhere; 0: none. */
  readonly warmUp: number;
  /** Width of the final bracket, as a share of the result. */
  readonly precision: number;
  /** Echoes per second and connection; 0: none. */
  readonly pingPerSecond: number;
  /** How long every level is held. */
  readonly levelHoldMs: number;
  /** How long the result is confirmed. */
  readonly holdMs: number;
  readonly objectives: readonly Threshold[];
  /** Whether trouble at the server stops a level. */
  readonly isScramArmed: boolean;
  /** The result must be this at least; null: any will do. */
  readonly atLeast: number | null;
}

export interface LoadOptions extends ProbeOptions {
  readonly connections: number;
  readonly arrival: Arrival;
  /** Rates of echoes or publishes, all generators together. */
  readonly segments: readonly RateSegment[];
  readonly topics: number;
  readonly faults: Faults;
  readonly thresholds: readonly Threshold[];
  /** Report of an earlier run to compare with; null: none. */
  readonly baselineFile: string | null;
}
