// What the machine gives this process, and the options whose default depends on it.
import { readFileSync, statSync } from "node:fs";
import { hostname, totalmem } from "node:os";
import type { Options } from "./options.ts";

export interface Machine {
  /** Bytes of memory this process may use: the machine's, or its container's where that is less. */
  readonly memoryBytes: number;
  /** How many files this process may have open. Null where the system does not say. */
  readonly fileLimit: number | null;
  readonly hostname: string;
  readonly pid: number;
}

/**
 * Asks the system. Reads a file: call it once, at start.
 * @param processes that share the memory evenly.
 */
export function readMachine(processes: number = 1): Machine {
  // Zero, or a number beyond any memory, where there is no limit.
  const constrained = process.constrainedMemory();
  const total = totalmem();
  const memoryBytes = constrained > 0 ? Math.min(constrained, total) : total;
  return {
    memoryBytes: Math.floor(memoryBytes / processes),
    fileLimit: readFileLimit(),
    hostname: hostname(),
    pid: process.pid,
  };
}

function readFileLimit(): number | null {
  try {
    return parseFileLimit(readFileSync("/proc/self/limits", "utf8"));
  } catch {
    return null;
  }
}

/** The soft limit of open files in the text of Linux's /proc/PID/limits; null if it has none. */
export function parseFileLimit(limits: string): number | null {
  const soft = /^Max open files\s+(\d+)\s/m.exec(limits)?.[1];
  return soft === undefined ? null : Number(soft);
}

/**
 * Files that the process has open; null where the system does not say at once (Linux before 6.2).
 */
export function countOpenFiles(): number | null {
  const folder = statSync("/proc/self/fd", { throwIfNoEntry: false });
  return folder === undefined || folder.size === 0 ? null : folder.size;
}

// The rest is for listeners, files, and sockets that are closed here but not yet gone.
const FILE_SHARE = 0.9;
const CONNECTION_MAX_UNKNOWN_LIMIT = 10_000;
const MEMORY_SHARE = 0.25;

/**
 * `connection.max`, or its default on this machine for so many processes together: 10,000 in each
 * where the file limit is not known.
 */
export function connectionMax(options: Options, machine: Machine, processes: number = 1): number {
  return options.connection.max ?? processes * filesConnectionMax(machine);
}

/** Connections that one process can hold by its files. */
export function filesConnectionMax({ fileLimit }: Machine): number {
  if (fileLimit === null) return CONNECTION_MAX_UNKNOWN_LIMIT;
  return Math.max(1, Math.floor(fileLimit * FILE_SHARE));
}

/** `send.budgetBytes`, or its default on this machine. */
export function sendBudgetBytes(options: Options, machine: Machine): number {
  return options.send.budgetBytes ?? Math.floor(machine.memoryBytes * MEMORY_SHARE);
}

/** `node.name`, or its default on this machine. */
export function nodeName(options: Options, machine: Machine): string {
  return options.node.name ?? `${machine.hostname}-${machine.pid.toString(36)}`;
}
