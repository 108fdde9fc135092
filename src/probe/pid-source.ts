// A server's process as Linux shows it in /proc: memory, CPU time and files of any program, though
// nothing of what it does with them.

import { opendir, readFile, stat } from "node:fs/promises";
import type { Clock } from "../base/clock.ts";
import { type ProcessReading, SourceFailure, type SourceReader } from "./process-sample.ts";

/** /proc counts CPU time in USER_HZ, which is 100 a second on every Linux (`getconf CLK_TCK`). */
const TICK_MS = 10;
/** Entries of a folder that are read in one go. */
const FOLDER_SLICE = 1_024;
/** Zombies and what is being taken apart: such a process serves nobody any more. */
const DEAD_STATES = ["Z", "X", "x"];

export class PidSource implements SourceReader {
  readonly source: string;
  readonly #pid: number;
  readonly #clock: Clock;
  /** When the process began: a number that is used anew belongs to another process. */
  #startTicks: number | null = null;

  constructor(pid: number, clock: Clock) {
    this.source = pidSourceName(pid);
    this.#pid = pid;
    this.#clock = clock;
  }

  async read(): Promise<readonly ProcessReading[]> {
    return [await this.#read()];
  }

  async #read(): Promise<ProcessReading> {
    const folder = `/proc/${this.#pid}`;
    const facts = parseProcessStat((await textOf(`${folder}/stat`)) ?? "");
    // The kernel stamped the CPU time while it wrote that file.
    const atMs = this.#clock.now();
    if (facts === null || DEAD_STATES.includes(facts.state)) throw this.#gone();
    this.#startTicks ??= facts.startTicks;
    if (facts.startTicks !== this.#startTicks) throw this.#gone();
    const [status, limits, fds] = await Promise.all([
      textOf(`${folder}/status`),
      textOf(`${folder}/limits`),
      countFiles(`${folder}/fd`),
    ]);
    return {
      source: this.source,
      pid: this.#pid,
      atMs,
      // Not from `stat`, which counts in pages, whose size Node.js does not tell.
      rssBytes: scaled(/^VmRSS:\s+(\d+) kB$/m.exec(status ?? "")?.[1], 1_024),
      cpuMs: facts.cpuMs,
      cpuAtMs: atMs,
      fds,
      fdLimit: scaled(/^Max open files\s+(\d+)\s/m.exec(limits ?? "")?.[1], 1),
      connections: null,
      connectionsMax: null,
      loopLagP99Ms: null,
      state: null,
      isAccepting: null,
      backlogged: null,
      refused: null,
      turnedAway: null,
      closedByReason: null,
    };
  }

  close(): void {}

  #gone(): SourceFailure {
    const why =
      this.#startTicks === null
        ? `there is no process ${this.#pid} that /proc shows`
        : `process ${this.#pid} has gone`;
    return new SourceFailure("gone", why);
  }
}

export function pidSourceName(pid: number): string {
  return `pid ${pid}`;
}

export interface ProcessStat {
  /** One letter: R, S, D, Z, T, ... */
  readonly state: string;
  /** User and system time. */
  readonly cpuMs: number;
  /** Clock ticks between the machine's start and the process's. */
  readonly startTicks: number;
}

/** The text of /proc/PID/stat (proc_pid_stat(5)); null where it is none. */
export function parseProcessStat(text: string): ProcessStat | null {
  // The program's name stands in parentheses and may hold spaces and parentheses of its own.
  const nameEnd = text.lastIndexOf(")");
  if (nameEnd === -1) return null;
  const fields = text
    .slice(nameEnd + 1)
    .trim()
    .split(/\s+/);
  // Numbered from 3 in the manual: state is 3, utime 14, stime 15, starttime 22.
  const state = fields[0] ?? "";
  const [utime, stime, startTicks] = [fields[11], fields[12], fields[19]].map(Number);
  const cpuMs = (utime! + stime!) * TICK_MS;
  if (state === "" || !Number.isFinite(cpuMs) || !Number.isFinite(startTicks)) return null;
  return { state, cpuMs, startTicks: startTicks! };
}

/** null where the file cannot be read: it has gone, or belongs to somebody else. */
async function textOf(path: string): Promise<string | null> {
  try {
    return await readFile(path, "utf8");
  } catch {
    return null;
  }
}

/** Without holding up the loop, however many there are; null where the system does not say. */
async function countFiles(folder: string): Promise<number | null> {
  try {
    // Linux has given their number as the folder's size since 6.2.
    const { size } = await stat(folder);
    if (size > 0) return size;
    let count = 0;
    for await (const _entry of await opendir(folder, { bufferSize: FOLDER_SLICE })) count++;
    return count;
  } catch {
    return null;
  }
}

function scaled(digits: string | undefined, unit: number): number | null {
  return digits === undefined ? null : Number(digits) * unit;
}
