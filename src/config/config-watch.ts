// Watches the configuration file. A text is taken when the file, read twice a tenth of a second
// apart, was the same; it is judged once, and told if it changes anything.
import { resolve } from "node:path";
import type { Clock, Scheduled } from "../base/clock.ts";
import { HoldfastError } from "../base/errors.ts";
import {
  closeReading,
  type FileReading,
  fileStamp,
  isUnchanged,
  openReading,
  textError,
  wholeText,
} from "./config-text.ts";
import { FolderWatch, type WatchFolder, watchFolder } from "./folder-watch.ts";
import type { Options } from "./options.ts";
import type { ResolvedOptions } from "./resolve.ts";

/** Between the first sign of a change and reading, and between the two readings of a file. */
const QUIET_MS = 100;
/** Between one reading and the next, however often the file is written. */
const READ_INTERVAL_MS = 1_000;
/** How late a change is noticed of which nobody tells. */
const POLL_MS = 2_000;
/** A file that changed under every reading for so long is told of, once. */
const UNSETTLED_MS = 10_000;

export type ConfigVerdict =
  | { readonly kind: "unchanged" }
  | { readonly kind: "changed"; readonly resolved: ResolvedOptions }
  | { readonly kind: "refused"; readonly error: HoldfastError };

export interface ConfigWatchParts {
  readonly file: string;
  /** The text in force. An end marker in it is asked for from now on. */
  readonly text: string;
  /** The options in force: the same ones again are no change. */
  readonly options: Options;
  /**
   * The options of all sources, as at the start, with `text` as that of the file.
   *
   * @throws OptionsError
   */
  readonly read: (text: string) => ResolvedOptions;
  readonly clock: Clock;
  /** Options that differ from those told last (at first: from `options`). */
  readonly onOptions: (resolved: ResolvedOptions) => void;
  /** Once for each content or state of the file; what was told last stays. */
  readonly onRefused: (error: HoldfastError) => void;
  /** fs.watch, unless a test watches. */
  readonly watchFolder?: WatchFolder;
}

/**
 * From start() to stop() it tells of every content of the file that stays for 100 ms, at most once
 * a second and within 3.5 seconds (0.2 where the kernel tells of changes). Errors of the file
 * system are refusals; nothing is thrown but what the callbacks throw. Its reads are synchronous:
 * a network file system that hangs, hangs it.
 */
export class ConfigWatch {
  readonly #parts: ConfigWatchParts;
  readonly #file: string;
  readonly #clock: Clock;
  readonly #folders: FolderWatch;
  #state: "idle" | "running" | "stopped" = "idle";
  #timer: Scheduled | null = null;
  #timerAtMs: number = Infinity;
  /** Read once; what becomes of it the next look says. */
  #reading: FileReading | null = null;
  #readAtMs: number = -Infinity;
  /** Stamp of what was judged last; null: to be read in any case. */
  #stamp: string | null = null;
  /** When the first of several readings found the file changing; null: it does not. */
  #unsettledAtMs: number | null = null;
  /** What was judged last: bytes, or why there are none. */
  #judged: string;
  #verdict: ConfigVerdict = { kind: "unchanged" };
  /** Text and options that were found good last. */
  #text: string;
  #options: string;
  /** Who asked before this reading was begun, and who has since. */
  #asking: ((verdict: ConfigVerdict) => void)[] = [];
  #waiting: ((verdict: ConfigVerdict) => void)[] = [];

  constructor(parts: ConfigWatchParts) {
    this.#parts = parts;
    // A relative name must not follow a change of the working directory.
    this.#file = resolve(parts.file);
    this.#clock = parts.clock;
    this.#text = parts.text;
    this.#judged = keyOf(Buffer.from(parts.text));
    this.#options = JSON.stringify(parts.options);
    const onEvent = (): void => this.#wakeIn(QUIET_MS);
    this.#folders = new FolderWatch(this.#file, onEvent, parts.watchFolder ?? watchFolder);
  }

  /** Reads the file at once: it may have changed since the text in force was read. */
  start(): void {
    if (this.#state !== "idle") return;
    this.#state = "running";
    this.#look();
  }

  /** Nothing is told and nothing runs any more. Who waits for a check is told "unchanged". */
  stop(): void {
    this.#state = "stopped";
    this.#timer?.cancel();
    this.#timer = null;
    this.#folders.close();
    this.#drop();
    this.#waiting.push(...this.#asking);
    this.#answer(this.#waiting.splice(0), { kind: "unchanged" });
  }

  /**
   * Reads the file now, or as soon as a second has passed since the last reading, changed or not.
   * A change or refusal that it finds is told as always; the answer comes after that, within some
   * ten seconds however the file is written.
   */
  check(): Promise<ConfigVerdict> {
    if (this.#state !== "running") return Promise.resolve({ kind: "unchanged" });
    return new Promise((answer) => {
      this.#waiting.push(answer);
      this.#stamp = null;
      this.#wakeIn(0);
    });
  }

  #wakeIn(delayMs: number): void {
    const atMs = this.#clock.now() + delayMs;
    if (this.#state !== "running" || atMs >= this.#timerAtMs) return;
    this.#timer?.cancel();
    this.#timerAtMs = atMs;
    this.#timer = this.#clock.after(delayMs, () => this.#look());
  }

  #look(): void {
    this.#timer = null;
    this.#timerAtMs = Infinity;
    const settled = this.#settle();
    // The folders first: what changes after that is told.
    this.#folders.renew();
    if (this.#reading === null) this.#readIfChanged();
    this.#wakeIn(this.#reading === null ? POLL_MS : QUIET_MS);
    if (settled !== null) this.#judge(settled);
  }

  #readIfChanged(): void {
    const isForced = this.#stamp === null || this.#waiting.length > 0;
    if (!isForced && fileStamp(this.#file) === this.#stamp) return;
    const now = this.#clock.now();
    const waitMs = this.#readAtMs + READ_INTERVAL_MS - now;
    if (waitMs > 0) {
      this.#wakeIn(waitMs);
      return;
    }
    this.#readAtMs = now;
    this.#reading = openReading(this.#file);
    this.#asking.push(...this.#waiting.splice(0));
  }

  /** The reading, if it is now known to be whole. It is closed. */
  #settle(): FileReading | null {
    const reading = this.#reading;
    if (reading === null) return null;
    // Somebody else's wish may have come before its time.
    const waitMs = this.#readAtMs + QUIET_MS - this.#clock.now();
    if (waitMs > 1) {
      this.#wakeIn(waitMs);
      return null;
    }
    const isWhole = isUnchanged(reading, this.#file);
    this.#drop();
    if (isWhole) {
      this.#unsettledAtMs = null;
      this.#stamp = reading.stamp;
      return reading;
    }
    this.#stamp = null;
    this.#unsettledAtMs ??= this.#readAtMs;
    if (this.#clock.now() - this.#unsettledAtMs < UNSETTLED_MS) return null;
    this.#unsettledAtMs = null;
    const fault = "is being written again and again: nothing of it can be taken for whole";
    return { ...reading, handle: null, fault };
  }

  #drop(): void {
    if (this.#reading !== null) closeReading(this.#reading);
    this.#reading = null;
  }

  #judge(reading: FileReading): void {
    const key = reading.fault ?? keyOf(reading.bytes);
    const isNew = key !== this.#judged;
    this.#judged = key;
    if (isNew) this.#verdict = this.#verdictOn(reading);
    else if (this.#verdict.kind === "changed") this.#verdict = { kind: "unchanged" };
    const verdict = this.#verdict;
    const asking = this.#asking.splice(0);
    try {
      if (isNew && verdict.kind === "changed") this.#parts.onOptions(verdict.resolved);
      if (isNew && verdict.kind === "refused") this.#parts.onRefused(verdict.error);
    } finally {
      this.#answer(asking, verdict);
    }
  }

  #verdictOn(reading: FileReading): ConfigVerdict {
    try {
      const text = wholeText(reading, this.#file, this.#text);
      const resolved = this.#parts.read(text);
      this.#text = text;
      const options = JSON.stringify(resolved.options);
      if (options === this.#options) return { kind: "unchanged" };
      this.#options = options;
      return { kind: "changed", resolved };
    } catch (error) {
      if (error instanceof HoldfastError) return { kind: "refused", error };
      return { kind: "refused", error: textError(this.#file, `cannot be read: ${String(error)}`) };
    }
  }

  #answer(asking: readonly ((verdict: ConfigVerdict) => void)[], verdict: ConfigVerdict): void {
    for (const answer of asking) answer(verdict);
  }
}

/** Every byte is a character of its own: texts that are not UTF-8 differ as well. */
function keyOf(bytes: Buffer): string {
  return bytes.toString("latin1");
}
