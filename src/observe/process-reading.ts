// What the process uses, as the operating system and V8 see it, at one moment.

import { opendir, stat } from "node:fs/promises";
import type { Clock } from "../base/clock.ts";

export interface ProcessReading {
  /** Milliseconds since the epoch. */
  readonly startedAtMs: number;
  /** Since the start, in microseconds. */
  readonly cpuMicros: { readonly user: number; readonly system: number };
  readonly memory: NodeJS.MemoryUsage;
  /** Open files; null where the system does not say. */
  readonly fds: number | null;
}

/** Counting files costs the more the more there are: it is done at most this often. */
const FDS_FRESH_MS = 1_000;
const FDS_FOLDER = "/proc/self/fd";
/** Entries of the folder that are read in one go. */
const FOLDER_SLICE = 1_024;

export class ProcessReader {
  readonly #clock: Clock;
  readonly #startedAtMs: number;
  #fds: Promise<number | null> | null = null;
  #fdsAtMs: number = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#startedAtMs = Math.round(clock.wall() - process.uptime() * 1_000);
  }

  async read(): Promise<ProcessReading> {
    const fds = await this.#openFiles();
    const { user, system } = process.cpuUsage();
    const memory = process.memoryUsage();
    return { startedAtMs: this.#startedAtMs, cpuMicros: { user, system }, memory, fds };
  }

  #openFiles(): Promise<number | null> {
    const now = this.#clock.now();
    if (this.#fds === null || now - this.#fdsAtMs >= FDS_FRESH_MS) {
      this.#fds = countOpenFiles();
      this.#fdsAtMs = now;
    }
    return this.#fds;
  }
}

/** Without holding up the loop, however many there are. */
async function countOpenFiles(): Promise<number | null> {
  try {
    // Linux has given their number as the folder's size since 6.2.
    const { size } = await stat(FDS_FOLDER);
    if (size > 0) return size;
    let count = 0;
    for await (const _entry of await opendir(FDS_FOLDER, { bufferSize: FOLDER_SLICE })) count++;
    // One of them was the folder itself.
    return count - 1;
  } catch {
    return null;
  }
}
