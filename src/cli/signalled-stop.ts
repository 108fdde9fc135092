// The end of a program that serves: the first signal stops it in order, every further one hastens.
import type { Log } from "../observe/log.ts";
import type { Terminal } from "./terminal.ts";

/** Who tells of signals and of what nobody caught: the process, or a test. */
export interface ProcessEvents {
  on(event: string, run: (...args: unknown[]) => void): unknown;
  off(event: string, run: (...args: unknown[]) => void): unknown;
}

/** What is stopped: a server, or a supervisor. */
export interface Stoppable {
  readonly log: Log;
  /** The longest that an orderly stop takes, in milliseconds. */
  stopMs(): number;
  stop(options: { readonly hasten: boolean }): Promise<void>;
}

const SIGNALS = ["SIGTERM", "SIGINT"];

export class SignalledStop {
  /** Resolves when all has stopped. */
  readonly done: Promise<void>;
  readonly #stoppable: Stoppable;
  readonly #terminal: Terminal;
  readonly #events: ProcessEvents;
  readonly #onSignal: (signal: unknown) => void;
  #requests: number = 0;
  /** What is still starting cannot be stopped: the signal waits. */
  #isAllowed: boolean = false;
  #resolve: () => void = () => {};
  #reject: (error: unknown) => void = () => {};

  /** Listens to signals until {@link close}. */
  constructor(stoppable: Stoppable, terminal: Terminal, events: ProcessEvents) {
    this.#stoppable = stoppable;
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
    this.#requests++;
    const withinMs = this.#stoppable.stopMs();
    const what = hasten ? "stopping now" : `stopping within ${withinMs} ms; again stops at once`;
    if (this.#terminal.isInteractive) this.#terminal.write(`${origin}: ${what}\n`);
    else this.#stoppable.log.info({ signal: origin, hasten, withinMs }, "stopping");
    if (this.#isAllowed) this.#stop(hasten);
  }

  /** It has started. */
  allow(): void {
    this.#isAllowed = true;
    if (this.#requests > 0) this.#stop(this.#requests > 1);
  }

  #stop(hasten: boolean): void {
    this.#stoppable.stop({ hasten }).then(this.#resolve, this.#reject);
  }
}
