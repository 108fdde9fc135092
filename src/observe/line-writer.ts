// Writes lines to a file descriptor without ever waiting for it: whoever reads the log must not be
// able to hold up the loop. What does not fit its bounded buffer is counted and forgotten, and a
// descriptor that fails (EPIPE, ENOSPC) costs lines, not the process. pino's own destination would
// wait for ever when such a descriptor is flushed at exit.

import { write, writeSync } from "node:fs";
import type { Clock, Scheduled } from "../base/clock.ts";

/** What is kept while the descriptor takes nothing. */
const WAITING_BYTES_MAX = 1_048_576;
/** One write takes about this much. */
const WRITE_BYTES = 65_536;
/** How long a reader that is behind is left alone. */
const RETRY_MS = 50;
/** How often the last words of a process are tried, a few milliseconds apart. */
const LAST_WORDS_TRIES = 20;
const LAST_WORDS_WAIT_MS = 5;

export class LineWriter {
  readonly #fd: number;
  readonly #clock: Clock;
  #waiting: string[] = [];
  #waitingBytes: number = 0;
  /** The bytes of the write that is under way or will be tried again, and their lines. */
  #writing: Buffer | null = null;
  #writingLines: number = 0;
  #retry: Scheduled | null = null;
  /** A line was cut off by a failure: the next one begins with a line break. */
  #isTorn: boolean = false;
  #isClosed: boolean = false;
  #onIdle: (() => void) | null = null;
  #lost: number = 0;

  constructor(fd: number, clock: Clock) {
    this.#fd = fd;
    this.#clock = clock;
  }

  /** Lines that were never written, or only in part. */
  get lost(): number {
    return this.#lost;
  }

  /** Takes a line with its line break. Never waits and never throws. */
  write(line: string): void {
    const bytes = Buffer.byteLength(line);
    if (this.#isClosed || this.#waitingBytes + bytes > WAITING_BYTES_MAX) {
      this.#lost++;
      return;
    }
    this.#waiting.push(line);
    this.#waitingBytes += bytes;
    if (this.#writing === null) this.#next();
  }

  /** Writes what waits, for at most `timeoutMs`; the rest is lost. It takes no more after that. */
  async close(timeoutMs: number): Promise<void> {
    if (this.#writing !== null) await this.#idle(timeoutMs);
    this.#retry?.cancel();
    this.#isClosed = true;
    this.#lost += this.#waiting.length + (this.#retry === null ? 0 : this.#writingLines);
    this.#waiting = [];
    this.#waitingBytes = 0;
  }

  /** The last words of a process that ends now: waits for them, though not for long. */
  writeLast(line: string): void {
    let rest = Buffer.from(this.#waiting.join("") + line);
    this.#isClosed = true;
    for (let tries = 0; rest.length > 0 && tries < LAST_WORDS_TRIES; tries++) {
      try {
        rest = rest.subarray(writeSync(this.#fd, rest));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EAGAIN") return;
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LAST_WORDS_WAIT_MS);
      }
    }
  }

  #idle(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const deadline = this.#clock.after(timeoutMs, resolve);
      this.#onIdle = () => {
        deadline.cancel();
        resolve();
      };
    });
  }

  #next(): void {
    if (this.#waiting.length === 0) {
      this.#writing = null;
      this.#onIdle?.();
      return;
    }
    let text = this.#isTorn ? "\n" : "";
    let lines = 0;
    while (lines < this.#waiting.length && text.length < WRITE_BYTES)
      text += this.#waiting[lines++];
    this.#waiting.splice(0, lines);
    this.#writing = Buffer.from(text);
    this.#writingLines = lines;
    this.#waitingBytes -= this.#writing.length - (this.#isTorn ? 1 : 0);
    this.#write(this.#writing);
  }

  #write(bytes: Buffer): void {
    write(this.#fd, bytes, (error, written) => {
      if (error?.code === "EAGAIN" && !this.#isClosed) {
        this.#retry = this.#clock.after(RETRY_MS, () => {
          this.#retry = null;
          this.#write(bytes);
        });
      } else if (error !== null) {
        if (bytes !== this.#writing) this.#isTorn = true;
        this.#lost += this.#writingLines;
        this.#next();
      } else if (written < bytes.length) {
        this.#write(bytes.subarray(written));
      } else {
        this.#isTorn = false;
        this.#next();
      }
    });
  }
}
