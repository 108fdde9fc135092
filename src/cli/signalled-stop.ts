// The end of a program that serves: the first signal stops it in order, every further one hastens.
import type { Log } from "../observe/log.ts";
import type { Terminal } from "./terminal.ts";

/** Who tells of signals and of what nobody caught: the process, or a test. */
export interface ProcessEvents {
  on(event: string, run: (...args: unknown[]) => void): unknown;
  off(event: string, run: (...args: unknown[]) => void): unknown;
}

/** Stops a server or a supervisor; again with `hasten`, at once. */
type Stop = (options: { readonly hasten: boolean }) => Promise<void>;

const SIGNALS = ["SIGTERM", "SIGINT"];

export class SignalledStop {
  /** Resolves when all has stopped. */
  readonly done: Promise<void>;
  readonly #log: Log;
  readonly #stopMs: () => number;
  readonly #terminal: Terminal;
  readonly #events: ProcessEvents;
  readonly #onSignal: (signal: unknown) => void;
  #requests: number = 0;
  /** Null while there is nothing to stop yet: a signal waits. */
  #run: Stop | null = null;
  #resolve: () => void = () => {};
  #reject: (error: unknown) => void = () => {};

  /**
   * Listens to signals until {@link close}.
   * @param stopMs the longest that an orderly stop takes, in milliseconds.
   */
  constructor(log: Log, terminal: Terminal, events: ProcessEvents, stopMs: () => number) {
    this.#log = log;
    this.#stopMs = stopMs;
    this.#terminal = terminal;
    this.#events = events;
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#onSignal = (signal) => this.request(String(signal), this.#requests > 0);
    for (const signal of SIGNALS) events.on(signal, this.#onSignal);
  }

  close(): void {
    for (const signal of SIGNALS) this.#events.off(signal, this.#onSignal);
  }

  /** Whether somebody has asked for the end. */
  get isRequested(): boolean {
    return this.#requests > 0;
  }

  /** @param origin a signal's name, or who asks instead of a signal. */
  request(origin: string, hasten: boolean): void {
    const isFirst = this.#requests++ === 0;
    // It is on its way: asking again in the same way changes nothing.
    if (!isFirst && !hasten) return;
    const withinMs = this.#stopMs();
    const seconds = Math.ceil(withinMs / 1_000);
    const what = hasten
      ? "stopping now"
      : `stopping, which takes ${seconds} s at most; another SIGTERM or Ctrl+C ends it at once`;
    if (this.#terminal.isInteractive) this.#terminal.write(`${origin}: ${what}\n`);
    else this.#log.info({ signal: origin, hasten, withinMs }, "stopping");
    this.#stop(hasten);
  }

  /** From now on `run` can be called, and is where a signal has come already. */
  allow(run: Stop): void {
    this.#run = run;
    if (this.#requests > 0) this.#stop(this.#requests > 1);
  }

  #stop(hasten: boolean): void {
    this.#run?.({ hasten }).then(this.#resolve, this.#reject);
  }
}
