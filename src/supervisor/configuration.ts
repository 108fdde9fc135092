// The configuration of all workers. What is wanted may be ahead of what runs: live options are
// swapped in at once, in all workers or in none; others wait for a rolling restart, or for a new
// supervisor.

import type { Clock } from "../base/clock.ts";
import { configHash, optionChanges, withLive, withRolling } from "../config/option-changes.ts";
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
  /** What a rolling restart tries, until a worker serves with it. */
  #candidate: WorkerConfig | null = null;
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

  /** What a worker that starts now is given. */
  forNew(isReplacement: boolean): WorkerConfig {
    const running = { options: this.#running, hash: this.#hash };
    return isReplacement ? (this.#candidate ?? running) : running;
  }

  get report(): ConfigurationReport {
    return {
      hash: this.#hash,
      wantedHash: configHash(this.#wanted),
      pending: this.#pending(),
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

  /**
   * Workers that replace others take up what could only wait for that. The first of them that
   * serves has proved it; until then one that crashes is followed by one with what served before.
   */
  beginRolling(): void {
    this.#candidate = configOf(withRolling(this.#running, this.#wanted));
  }

  endRolling(): void {
    this.#candidate = null;
  }

  /** It serves with what it was given. */
  proved({ config }: WorkerHandle): void {
    if (this.#candidate === null || config.hash !== this.#candidate.hash) return;
    this.#candidate = null;
    this.#run(config.options);
  }

  voted(worker: WorkerHandle, change: number, refusal: string | null): void {
    this.#swap.voted(worker, change, refusal);
  }

  ended(worker: WorkerHandle): void {
    this.#swap.ended(worker);
  }

  /** It may run something older: it was starting, or stopped, when the others changed. */
  reported(worker: WorkerHandle): void {
    const { hash } = worker.config;
    if (this.#underWay !== null || worker.report!.configHash === hash) return;
    // Once: it would answer the same a second time.
    if (worker.caughtUpTo === hash) return;
    worker.caughtUpTo = hash;
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
    const { live } = optionChanges(this.#running, wanted);
    const options = live.length === 0 ? this.#running : withLive(this.#running, wanted);
    const configs = options === null ? null : this.#withLiveOf(wanted);
    if (options !== null && configs !== null && live.length > 0) {
      const refusal = await this.#swapIn(configs, wanted);
      if (refusal !== null) {
        this.refuse(refusal);
        return;
      }
      this.#run(options);
    }
    this.#wanted = wanted;
    this.#accepted++;
    this.#problem = null;
    if (this.#candidate !== null) this.beginRolling();
    const taken = configs === null ? [] : live;
    this.#log.info({ hash: this.#hash, live: taken }, "the configuration has changed");
    this.#tellPending();
  }

  #pending(): ConfigurationReport["pending"] {
    const { live, rolling, supervisor } = optionChanges(this.#running, this.#wanted);
    // Live ones wait only where they do not go together with what runs.
    const isRollingEnough = withRolling(this.#running, this.#wanted) !== null;
    return isRollingEnough
      ? { rolling: [...live, ...rolling], supervisor }
      : { rolling: [], supervisor: [...live, ...rolling, ...supervisor] };
  }

  #tellPending(): void {
    const { rolling, supervisor } = this.#pending();
    if (rolling.length > 0) {
      this.#log.warn({ rolling }, "these options wait for a rolling restart: holdfast reload");
    }
    if (supervisor.length > 0) {
      this.#log.warn({ supervisor }, "these options wait until the server is started anew");
    }
  }

  /**
   * Each worker keeps what only a restart changes: that may differ during a rolling restart. Null
   * where one of them cannot take the live ones with what it keeps.
   */
  #withLiveOf(wanted: Options): ReadonlyMap<WorkerHandle, WorkerConfig> | null {
    const configs = new Map<WorkerHandle, WorkerConfig>();
    for (const worker of this.#workers()) {
      const config = configOf(withLive(worker.config.options, wanted));
      if (config === null) return null;
      configs.set(worker, config);
    }
    return configs;
  }

  async #swapIn(
    configs: ReadonlyMap<WorkerHandle, WorkerConfig>,
    wanted: Options,
  ): Promise<string | null> {
    const voters = new Map([...configs].filter(([worker]) => isWell(worker)));
    const refusal = await this.#swap.run(voters);
    if (refusal !== null) return refusal;
    for (const worker of this.#workers()) {
      // The rest catch up when they are heard of; one may have been started meanwhile.
      const config = configs.get(worker) ?? configOf(withLive(worker.config.options, wanted));
      if (config !== null) worker.config = config;
    }
    return null;
  }

  #run(options: Options): void {
    this.#running = options;
    this.#hash = configHash(options);
    this.onRunning(options);
  }
}

function configOf(options: Options | null): WorkerConfig | null {
  return options === null ? null : { options, hash: configHash(options) };
}
