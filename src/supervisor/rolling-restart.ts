// Replaces every worker by a new one, slot by slot: the next slot waits until the old worker of the
// one before has gone, so that clients which are told to go find somebody.

import type { Clock } from "../base/clock.ts";
import type { Log } from "../observe/log.ts";
import type { Slot } from "./slot.ts";

export interface ReloadReport {
  readonly state: "idle" | "running";
  /** Rolling restarts that replaced every worker. */
  readonly completed: number;
  /** Ones that stopped at a worker which did not become ready. */
  readonly failed: number;
  /** Of the one that is running, or ran last. */
  readonly slotsDone: number;
  readonly slots: number;
  /** Why the last one failed; null: it did not. */
  readonly problem: string | null;
}

/** What a rolling restart asks of the supervisor. */
export interface RollingSteps {
  begins(): void;
  ends(): void;
  /** Resolves when no worker of the slot is draining. */
  drained(slot: Slot): Promise<void>;
}

export class RollingRestart {
  readonly #slots: readonly Slot[];
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #steps: RollingSteps;
  #report: ReloadReport;
  #running: Promise<ReloadReport> | null = null;
  /** Asked for while one was running: what has been replaced may have been too early. */
  #next: Promise<ReloadReport> | null = null;
  #isStopped: boolean = false;

  constructor(slots: readonly Slot[], log: Log, clock: Clock, steps: RollingSteps) {
    this.#slots = slots;
    this.#log = log;
    this.#clock = clock;
    this.#steps = steps;
    const counts = { completed: 0, failed: 0, slotsDone: 0, slots: slots.length };
    this.#report = { state: "idle", ...counts, problem: null };
  }

  get report(): ReloadReport {
    return this.#report;
  }

  /** Many requests while one is running make one more. Resolves when the requested one is over. */
  run(): Promise<ReloadReport> {
    if (this.#running === null) {
      this.#steps.begins();
      this.#running = this.#replaceAll().finally(() => {
        this.#running = null;
        this.#steps.ends();
      });
      return this.#running;
    }
    this.#next ??= this.#running.then(() => {
      this.#next = null;
      return this.run();
    });
    return this.#next;
  }

  /** Goes to no further slot. */
  stop(): void {
    this.#isStopped = true;
  }

  async #replaceAll(): Promise<ReloadReport> {
    const startedAt = this.#clock.now();
    this.#report = { ...this.#report, state: "running", slotsDone: 0, problem: null };
    this.#log.info({ slots: this.#slots.length }, "rolling restart: begins");
    for (const slot of this.#slots) {
      if (this.#isStopped) return this.#end("the server stops");
      const problem = await slot.replace();
      if (problem !== null) {
        return this.#end(`slot ${slot.index}: the new worker failed: ${problem}`);
      }
      this.#report = { ...this.#report, slotsDone: this.#report.slotsDone + 1 };
      await this.#steps.drained(slot);
    }
    const elapsedMs = Math.round(this.#clock.now() - startedAt);
    this.#log.info({ slots: this.#slots.length, elapsedMs }, "rolling restart: done");
    return this.#end(null);
  }

  #end(problem: string | null): ReloadReport {
    const { completed, failed } = this.#report;
    const counts =
      problem === null ? { completed: completed + 1, failed } : { completed, failed: failed + 1 };
    this.#report = { ...this.#report, ...counts, state: "idle", problem };
    if (problem !== null) this.#log.error({ problem }, "rolling restart: stopped half way");
    return this.#report;
  }
}
