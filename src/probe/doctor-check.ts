// What every check of the doctor is given and gives, and the commands that mend things.

import type { Host } from "./host.ts";
import { isLoopback, isUnix, type Target } from "./target.ts";

export type Level = "ok" | "warn" | "fail";
export type Role = "server" | "client" | "both";

/** One thing that was looked at. */
export interface Finding {
  readonly name: string;
  readonly level: Level;
  /** What this host has. */
  readonly found: string;
  /** What the connections need. */
  readonly needed: string;
  readonly text: string;
  /**
   * Commands, one a line: the first lines mend it at once, the others for good, which their
   * comments say. "" where it is well, or where no command mends it.
   */
  readonly mend: string;
}

/** What is asked, put so that checks need not ask again. */
export interface Scene {
  readonly host: Host;
  readonly isServer: boolean;
  readonly isClient: boolean;
  /** Ends of every connection on this host: 1 or 2. */
  readonly ends: number;
  /** null: any TCP target. */
  readonly target: Target | null;
  /** Both ends are on this host, by the target or the role. */
  readonly isLocal: boolean;
  readonly isUnix: boolean;
  /** null: one server process; as many generator processes as are needed. */
  readonly processes: number | null;
}

/** null: it does not apply here. The more connections, the worse its finding. */
export type Check = (scene: Scene, connections: number) => Finding | null;

export function sceneOf(
  host: Host,
  role: Role,
  target: Target | null,
  processes: number | null,
): Scene {
  return {
    host,
    isServer: role !== "client",
    isClient: role !== "server",
    ends: role === "both" ? 2 : 1,
    target,
    isLocal: target === null ? role === "both" : isUnix(target) || isLoopback(target),
    isUnix: target !== null && isUnix(target),
    processes,
  };
}

/** Files of a process that are no connections: listeners, pipes, logs, and what closes just now. */
export const FILES_RESERVED = 100;

/** Generator processes that the connections need, by this host's file limit. */
export function generatorsFor({ host, processes }: Scene, connections: number): number {
  const each = (host.fileLimit?.soft ?? Infinity) - FILES_RESERVED;
  return Math.max(processes ?? 1, Math.ceil(connections / Math.max(1, each)));
}

const SYSCTL_FILE = "/etc/sysctl.d/90-holdfast.conf";

/** A kernel setting, now and after the next start. */
export function setSysctl(name: string, value: string): readonly string[] {
  const quoted = /^\d+$/.test(value) ? value : `"${value}"`;
  return [
    `sysctl -w ${name}=${quoted}`,
    `echo '${name} = ${value}' >> ${SYSCTL_FILE}  # after a restart too`,
  ];
}

/** Rounded up to two figures, so that limits look like limits. */
export function roundUp(count: number): number {
  const unit = 10 ** Math.max(0, Math.floor(Math.log10(Math.max(1, count))) - 1);
  return Math.ceil(count / unit) * unit;
}
