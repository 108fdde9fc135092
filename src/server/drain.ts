// The graceful end: every client is told when to come back, calls are finished, queues are flushed,
// and what is left after the grace period is reset.

import type { Clock, Scheduled } from "../base/clock.ts";
import type { ProcessContext } from "../connection/connection-context.ts";
import type { Admission } from "./admission.ts";
import type { Listener } from "./listener.ts";
import type { Registry } from "./registry.ts";
import { inSlices } from "./slices.ts";

export interface DrainOptions {
  readonly graceMs: number;
  /** Each client is given a time to come back, drawn uniformly from 0 to this. */
  readonly reconnectSpreadMs: number;
}

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
  #deadline: Scheduled | null = null;
  #resolve: () => void = () => {};

  constructor(server: Draining, options: DrainOptions) {
    this.#server = server;
    this.#options = options;
    this.#clock = server.shared.clock;
    this.done = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  begin(): void {
    for (const { transport } of this.#server.listeners) transport.stopAccepting();
    this.#deadline = this.#clock.after(this.#options.graceMs, () => this.hasten());
    const { registry, shared } = this.#server;
    inSlices(
      this.#clock,
      registry.all(),
      (connection) => connection.drain(shared.prng.int(0, this.#options.reconnectSpreadMs)),
      () => {},
    );
    this.left();
  }

  /** Ends what is left now. */
  hasten(): void {
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
    this.#deadline?.cancel();
    this.#resolve();
  }
}
