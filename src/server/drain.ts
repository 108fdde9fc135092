// The graceful end: every client is told to go and when to come back, and chooses its moment. Those
// that are left after the grace period are closed in order, spread over some time so that they do
// not come back at once; what has still not ended then is reset.

import type { Clock, Scheduled } from "../base/clock.ts";
import type { ProcessContext } from "../connection/connection-context.ts";
import type { Connection } from "../connection/connection.ts";
import type { Admission } from "./admission.ts";
import type { Listener } from "./listener.ts";
import type { Registry } from "./registry.ts";
import { inSlices, SLICE } from "./slices.ts";

/** All in milliseconds. */
export interface DrainOptions {
  /** How long clients that were told may stay. */
  readonly graceMs: number;
  /** Each client is given a time to come back, drawn uniformly from 1 ms to this. */
  readonly reconnectSpreadMs: number;
  /** Over how long those that are left after graceMs are closed, evenly. */
  readonly closeSpreadMs: number;
}

/** How often it looks whose turn it is to be closed. */
const STEP_MS = 50;
/** What those that are closed last have, to take what is queued for them. */
export const FLUSH_MS = 1_000;

interface Draining {
  readonly shared: ProcessContext;
  readonly admission: Admission;
  readonly listeners: readonly Listener[];
  readonly registry: Registry;
}

export class Drain {
  /** Resolves when no connection is left. */
  readonly done: Promise<void>;
  readonly #server: Draining;
  readonly #options: DrainOptions;
  readonly #clock: Clock;
  /** What comes next. */
  #next: Scheduled | null = null;
  /** While only files are left that are no connections yet. */
  #look: Scheduled | null = null;
  /** Those that were there at the end of the grace period, in the order of their closing. */
  #rest: readonly Connection[] | null = null;
  #closed: number = 0;
  #closingSinceMs: number = 0;
  #resolve: () => void = () => {};

  constructor(server: Draining, options: DrainOptions) {
    this.#server = server;
    this.#options = options;
    this.#clock = server.shared.clock;
    this.done = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  /**
   * Whether connections are being closed. Until then those whose connecting had begun are served:
   * they are told to go once they have said Hello, and no attempt to connect was in vain.
   */
  get isClosing(): boolean {
    return this.#rest !== null;
  }

  begin(): void {
    const { listeners, registry } = this.#server;
    for (const { transport } of listeners) transport.stopAccepting();
    this.#next = this.#clock.after(this.#options.graceMs, () => this.#beginClosing());
    inSlices(
      this.#clock,
      registry.all(),
      (connection) => this.tell(connection),
      () => {},
    );
    this.left();
  }

  /** A client is told to go, where it can be told and was not yet. */
  tell(connection: Connection): void {
    connection.drain(this.#reconnectAfterMs());
  }

  /** Ends what is left now. */
  hasten(): void {
    this.#next?.cancel();
    this.#rest ??= [];
    for (const connection of [...this.#server.registry.all()]) {
      connection.note("reset: the server stops");
      connection.close("shutdown", "draining");
      connection.context.transport.reset(connection.channel);
    }
    this.left();
  }

  /** A connection may have gone: was it the last? */
  left(): void {
    const { served, turnedAway } = this.#server.admission;
    if (served + turnedAway > 0) return;
    // A WebSocket that is being upgraded is no connection yet, and nobody tells when it ends.
    if (!this.isClosing && this.#pendingFiles() > 0) {
      this.#look ??= this.#clock.after(STEP_MS, () => {
        this.#look = null;
        this.left();
      });
      return;
    }
    this.#next?.cancel();
    this.#look?.cancel();
    this.#resolve();
  }

  #pendingFiles(): number {
    return this.#server.listeners.reduce((sum, { transport }) => sum + transport.pendingFiles, 0);
  }

  #beginClosing(): void {
    this.#closingSinceMs = this.#clock.now();
    this.#rest = [...this.#server.registry.all()];
    this.#closeDue(this.#rest);
  }

  /** Closes those whose turn has come, at most a slice of them. */
  #closeDue(rest: readonly Connection[]): void {
    const { closeSpreadMs } = this.#options;
    const passedMs = this.#clock.now() - this.#closingSinceMs;
    const hardStopMs = closeSpreadMs + FLUSH_MS;
    const share = passedMs >= closeSpreadMs ? 1 : passedMs / closeSpreadMs;
    const due = Math.ceil(rest.length * share);
    const end = Math.min(due, this.#closed + SLICE);
    const again = (): void => this.#closeDue(rest);
    if (due > end) this.#next = this.#clock.afterPoll(again);
    else if (due < rest.length) this.#next = this.#clock.after(STEP_MS, again);
    else this.#next = this.#clock.after(Math.max(0, hardStopMs - passedMs), () => this.hasten());
    while (this.#closed < end) this.#close(rest[this.#closed++]!);
  }

  #close(connection: Connection): void {
    const reconnectAfterMs = this.#reconnectAfterMs();
    connection.close("shutdown", "draining", { reconnectAfterMs });
  }

  #reconnectAfterMs(): number {
    return this.#server.shared.prng.int(1, Math.max(1, this.#options.reconnectSpreadMs));
  }
}
