// Replaces every worker by a new one, slot by slot: the next slot waits until the old worker of the
// one before has gone, so that clients which are told to go find somebody.

import type { Clock } from "../base/clock.ts";
import type { Log } from "../observe/log.ts";
import type { ReloadState } from "../server/admin-source.ts";
import type { Slot } from "./slot.ts";

const STOPS = "the server stops";
/** Outcomes that are remembered. */
const PAST_MAX = 16;

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
  #report: ReloadState;
  #running: Promise<ReloadState> | null = null;
  /** Asked for while one was running: what has been replaced may have been too early. */
  #next: Promise<ReloadState> | null = null;
  #isStopped: boolean = false;

  constructor(slots: readonly Slot[], log: Log, clock: Clock, steps: RollingSteps) {
    this.#slots = slots;
    this.#log = log;
    this.#clock = clock;
    this.#steps = steps;
    const counts = { completed: 0, failed: 0, slotsDone: 0, slots: slots.length };
    this.#report = { state: "idle", ...counts, problem: null, past: [] };
  }

  get report(): ReloadState {
    return this.#report;
  }

  /** Many requests while one is running make one more. Resolves when the requested one is over. */
  run(): Promise<ReloadState> {
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

  async #replaceAll(): Promise<ReloadState> {
    const startedAt = this.#clock.now();
    this.#report = { ...this.#report, state: "running", slotsDone: 0, problem: null };
    this.#log.info({ slots: this.#slots.length }, "rolling restart: begins");
    for (const slot of this.#slots) {
      if (this.#isStopped) return this.#end(STOPS);
      const problem = await slot.replace();
      if (this.#isStopped) return this.#end(STOPS);
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

  #end(problem: string | null): ReloadState {
    const { completed, failed } = this.#report;
    const counts =
      problem === null ? { completed: completed + 1, failed } : { completed, failed: failed + 1 };
    const { slotsDone, past } = this.#report;
    const outcome = { run: counts.completed + counts.failed, slotsDone, problem };
    const remembered = [outcome, ...past].slice(0, PAST_MAX);
    this.#report = { ...this.#report, ...counts, state: "idle", problem, past: remembered };
    if (problem === STOPS) this.#log.info({}, "rolling restart: ended, since the server stops");
    else if (problem !== null) this.#log.error({ problem }, "rolling restart: stopped half way");
    return this.#report;
  }
}
