// What every check of the doctor is given and gives, and how its answers are put together.

import type { Host } from "./host.ts";
import { isLoopback, isUnix, type Target } from "./target.ts";

export type Level = "ok" | "warn" | "fail";
export type Role = "server" | "client" | "both";

export type Unit =
  | "bytes"
  | "connections"
  | "cores"
  | "entries"
  | "files"
  | "files per process"
  | "handshakes"
  /** A setting whose number counts nothing. */
  | "mode"
  | "pages"
  | "pairs";

export interface Quantity {
  /** null: unlimited. */
  readonly value: number | null;
  readonly unit: Unit;
}

/** What a line is about: its beginning. */
export interface Subject {
  readonly name: string;
  /** What this host has; null: nothing of the kind. */
  readonly found: Quantity | null;
  /** What the connections need; null: it is no limit here. */
  readonly needed: Quantity | null;
}

/** One thing that was looked at. Made by {@link finding}, so that its keys have one order. */
export interface Finding extends Subject {
  readonly level: Level;
  readonly text: string;
  /** Ways to mend it, the quickest first. None where it is well, or where nothing here mends it. */
  readonly mend: readonly Mend[];
}

/** A command for a shell, or else a line or flag to be put where the text says. */
export type Mend =
  | { readonly text: string; readonly command: string }
  | { readonly text: string; readonly setting: string };

/** What a Holdfast server knows of itself; of others the usual is assumed. */
export interface ServerFacts {
  /** `tcp.backlog` */
  readonly backlog: number;
  /** Files of a process that are no connections, or are for those beyond its even share. */
  readonly filesReserved: number;
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
  /** null: the server is not the one that asks. */
  readonly server: ServerFacts | null;
}

/** null: it does not apply here. The more connections, the worse its finding. */
export type Check = (scene: Scene, connections: number) => Finding | null;

export function finding(
  { name, found, needed }: Subject,
  level: Level,
  text: string,
  mend: readonly Mend[] = [],
): Finding {
  return { name, level, found, needed, text, mend };
}

/** Of how much there is, or is needed. Infinity is unlimited. */
export function quantity(value: number, unit: Unit): Quantity {
  return { value: value === Infinity ? null : value, unit };
}

/** What a host is to be where nobody says it: a target elsewhere has its server elsewhere. */
export function roleFor(host: Host, target: Target | null): Role {
  if (target === null || isUnix(target) || isLoopback(target)) return "both";
  const isOwn = Object.values(host.interfaces).some((all) => all.includes(target.address));
  return isOwn ? "both" : "client";
}

export function sceneOf(
  host: Host,
  role: Role,
  target: Target | null,
  processes: number | null,
  server: ServerFacts | null,
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
    server,
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
export function setSysctl(name: string, value: string): readonly [Mend, Mend] {
  const quoted = /^\d+$/.test(value) ? value : `"${value}"`;
  return [
    { text: "as root, until the next start", command: `sysctl -w ${name}=${quoted}` },
    { text: "after a restart too", command: `echo '${name} = ${value}' >> ${SYSCTL_FILE}` },
  ];
}

/** The target as it was written, or its place in a command. */
export function targetText({ target }: Scene): string {
  return target?.text ?? "TARGET";
}

/** Rounded up to two figures, so that limits look like limits. */
export function roundUp(count: number): number {
  const unit = 10 ** Math.max(0, Math.floor(Math.log10(Math.max(1, count))) - 1);
  return Math.ceil(count / unit) * unit;
}
