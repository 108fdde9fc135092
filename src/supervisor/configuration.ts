// The configuration of all workers. What is wanted may be ahead of what runs: live options are
// swapped in at once, in all workers or in none; others wait for a rolling restart, or for a new
// supervisor.

import type { Clock } from "../base/clock.ts";
import {
  configHash,
  liveFaults,
  optionChanges,
  withLive,
  withRolling,
} from "../config/option-changes.ts";
import type { OptionPath, Options } from "../config/options.ts";
import type { Log } from "../observe/log.ts";
import { isWell } from "./adoption.ts";
import { ConfigSwap } from "./config-swap.ts";
import type { WorkerConfig, WorkerHandle } from "./worker-handle.ts";

export interface ConfigurationReport {
  /** Of what workers run, or are about to. */
  readonly hash: string;
  /** Of the newest configuration that was accepted. */
  readonly wantedHash: string;
  /** Options that differ between the two, and what they wait for. */
  readonly pending: {
    readonly rolling: readonly OptionPath[];
    readonly supervisor: readonly OptionPath[];
  };
  /** Changes since the start. */
  readonly accepted: number;
  readonly refused: number;
  /** Why the last one was refused; null: it was not. */
  readonly problem: string | null;
}

export class Configuration {
  readonly #log: Log;
  readonly #workers: () => readonly WorkerHandle[];
  readonly #swap: ConfigSwap;
  /** Told of what workers run from now on. */
  onRunning: (options: Options) => void = () => {};
  #running: Options;
  #hash: string;
  #wanted: Options;
  /** The newest that is to be looked at once the swap under way is over. */
  #queued: Options | null = null;
  #underWay: Promise<void> | null = null;
  #accepted: number = 0;
  #refused: number = 0;
  #problem: string | null = null;

  constructor(options: Options, log: Log, clock: Clock, workers: () => readonly WorkerHandle[]) {
    this.#running = options;
    this.#hash = configHash(options);
    this.#wanted = options;
    this.#log = log;
    this.#workers = workers;
    this.#swap = new ConfigSwap(clock);
  }

  get running(): Options {
    return this.#running;
  }

  /** What workers that start now are given. */
  get forNewWorkers(): WorkerConfig {
    return { options: this.#running, hash: this.#hash };
  }

  get report(): ConfigurationReport {
    const { rolling, supervisor } = optionChanges(this.#running, this.#wanted);
    return {
      hash: this.#hash,
      wantedHash: configHash(this.#wanted),
      pending: { rolling, supervisor },
      accepted: this.#accepted,
      refused: this.#refused,
      problem: this.#problem,
    };
  }

  /** Resolves when no change is under way. */
  async settled(): Promise<void> {
    while (this.#underWay !== null) await this.#underWay;
  }

  /** The whole of a new configuration. While one is being swapped in the newest of others waits. */
  change(wanted: Options): Promise<void> {
    this.#queued = wanted;
    this.#underWay ??= this.#takeQueued().finally(() => {
      this.#underWay = null;
    });
    return this.#underWay;
  }

  /** One that could not even be read. */
  refuse(problem: string): void {
    this.#refused++;
    this.#problem = problem;
    this.#log.error(
      { problem, hash: this.#hash },
      "the configuration is refused: the old one stays",
    );
  }

  /** Workers that start from now on take up what could only wait for that. */
  takeRolling(): void {
    const options = withRolling(this.#running, this.#wanted);
    if (options !== null) this.#run(options);
  }

  voted(worker: WorkerHandle, change: number, refusal: string | null): void {
    this.#swap.voted(worker, change, refusal);
  }

  ended(worker: WorkerHandle): void {
    this.#swap.ended(worker);
  }

  /** It may run something older: it was starting, or stopped, when the others changed. */
  reported(worker: WorkerHandle): void {
    if (this.#underWay !== null || worker.report!.configHash === worker.config.hash) return;
    this.#swap.catchUp(worker);
  }

  async #takeQueued(): Promise<void> {
    while (this.#queued !== null) {
      const next: Options = this.#queued;
      this.#queued = null;
      await this.#take(next);
    }
  }

  async #take(wanted: Options): Promise<void> {
    const options = withLive(this.#running, wanted);
    if (options === null) {
      const faults = liveFaults(this.#running, wanted).join("; ");
      this.refuse(`together with what only a restart changes it is invalid: ${faults}`);
      return;
    }
    const { live, rolling, supervisor } = optionChanges(this.#running, wanted);
    if (live.length > 0) {
      const refusal = await this.#swapIn(wanted);
      if (refusal !== null) {
        this.refuse(refusal);
        return;
      }
      this.#run(options);
    }
    this.#wanted = wanted;
    this.#accepted++;
    this.#problem = null;
    this.#log.info(
      { hash: this.#hash, live, rolling, supervisor },
      "the configuration has changed",
    );
    if (rolling.length > 0) {
      this.#log.warn({ rolling }, "these options wait for a rolling restart: holdfast reload");
    }
    if (supervisor.length > 0) {
      this.#log.warn({ supervisor }, "these options wait until the server is started anew");
    }
  }

  /** Each worker keeps what only a restart changes: that may differ during a rolling restart. */
  async #swapIn(wanted: Options): Promise<string | null> {
    const configs = new Map<WorkerHandle, WorkerConfig>();
    const others = new Map<WorkerHandle, WorkerConfig>();
    for (const worker of this.#workers()) {
      const options = withLive(worker.config.options, wanted);
      if (options === null) return `worker ${worker.worker} cannot take it before it is restarted`;
      (isWell(worker) ? configs : others).set(worker, { options, hash: configHash(options) });
    }
    const refusal = await this.#swap.run(configs);
    // They catch up when they are heard of again.
    if (refusal === null) for (const [worker, config] of others) worker.config = config;
    return refusal;
  }

  #run(options: Options): void {
    this.#running = options;
    this.#hash = configHash(options);
    this.onRunning(options);
  }
}
