// A change of the configuration in every worker or in none: each is asked whether it would take it,
// and only when all have agreed is it swapped in.

import type { Clock, Scheduled } from "../base/clock.ts";
import { withoutDefaults } from "../config/option-changes.ts";
import type { SentConfig } from "./ipc.ts";
import type { WorkerConfig, WorkerHandle } from "./worker-handle.ts";

/**
 * So long a worker may take to check options, in milliseconds. One that is busy for longer has no
 * vote: nothing but newer code could make it refuse what the supervisor has checked.
 */
const VOTE_MS = 5_000;

interface Vote {
  readonly change: number;
  readonly voters: Set<WorkerHandle>;
  readonly resolve: (refusal: string | null) => void;
  readonly timeout: Scheduled;
}

export class ConfigSwap {
  readonly #clock: Clock;
  #changes: number = 0;
  #vote: Vote | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * One at a time. Resolves with why it was refused, by all of them then; null: all have swapped
   * or do so once they are heard of. A worker that ends meanwhile has no vote.
   */
  async run(configs: ReadonlyMap<WorkerHandle, WorkerConfig>): Promise<string | null> {
    const change = ++this.#changes;
    const workers = [...configs.keys()];
    const refusal = await new Promise<string | null>((resolve) => {
      const timeout = this.#clock.after(VOTE_MS, () => this.#decide(null));
      this.#vote = { change, voters: new Set(workers), resolve, timeout };
      for (const [worker, config] of configs) {
        worker.send({ type: "prepare", change, config: sent(config) });
      }
      if (workers.length === 0) this.#decide(null);
    });
    const type = refusal === null ? "commit" : "abort";
    for (const worker of workers) worker.send({ type, change });
    return refusal;
  }

  /** One worker alone, which missed what the others have: it started before, or was stopped. */
  catchUp(worker: WorkerHandle): void {
    const change = ++this.#changes;
    worker.send({ type: "prepare", change, config: sent(worker.config) });
    worker.send({ type: "commit", change });
  }

  voted(worker: WorkerHandle, change: number, refusal: string | null): void {
    if (this.#vote === null || this.#vote.change !== change) return;
    if (!this.#vote.voters.delete(worker)) return;
    if (refusal !== null) this.#decide(`worker ${worker.worker}: ${refusal}`);
    else if (this.#vote.voters.size === 0) this.#decide(null);
  }

  ended(worker: WorkerHandle): void {
    if (this.#vote === null || !this.#vote.voters.delete(worker)) return;
    if (this.#vote.voters.size === 0) this.#decide(null);
  }

  #decide(refusal: string | null): void {
    const vote = this.#vote!;
    this.#vote = null;
    vote.timeout.cancel();
    vote.resolve(refusal);
  }
}

/** As it goes to a worker. */
export function sent({ options, hash }: WorkerConfig): SentConfig {
  return { options: withoutDefaults(options), hash };
}
