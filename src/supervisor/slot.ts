// A worker slot: a place among the listening sockets that some worker is to serve at any time. It
// starts workers, starts them again, and replaces one by another without a gap.

import { assert } from "../base/assert.ts";
import type { Clock, Scheduled } from "../base/clock.ts";
import type { Log } from "../observe/log.ts";
import type { RestartPolicy } from "./restart-policy.ts";
import type { WorkerEnd, WorkerHandle } from "./worker-handle.ts";

export const SLOT_STATES = [
  /** Nothing was started yet. */
  "idle",
  /** A worker is starting; nobody serves. */
  "starting",
  "serving",
  /** One serves while its successor starts. */
  "replacing",
  /** A worker ended; the next is started in a moment. */
  "waiting",
  /** Workers crashed too often; the next is tried after a minute, or when told to. */
  "broken",
  /** No worker is started any more. */
  "stopped",
] as const;
export type SlotState = (typeof SLOT_STATES)[number];

const MOVES: Readonly<Record<SlotState, readonly SlotState[]>> = {
  idle: ["starting", "stopped"],
  starting: ["serving", "starting", "waiting", "broken", "stopped"],
  serving: ["replacing", "waiting", "broken", "starting", "stopped"],
  replacing: ["serving", "starting", "stopped"],
  waiting: ["starting", "stopped"],
  broken: ["starting", "stopped"],
  stopped: [],
};

/** What a slot asks of its supervisor. */
export interface SlotOwner {
  /**
   * Starts a worker, in a rolling restart as a replacement; the slot hears of it by
   * {@link Slot.ready} and {@link Slot.ended}.
   */
  startWorker(slot: Slot, isReplacement: boolean): WorkerHandle;
  /** A worker of the slot serves now. */
  onServing(slot: Slot): void;
}

const STOPPING = "the server stops";
/** It drains, and has not ended. */
const LEFT: WorkerEnd = {
  code: null,
  signal: null,
  failure: { code: "HOLDFAST_WORKER_FAILED", message: "it stopped by itself" },
};

export interface SlotParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly policy: RestartPolicy;
  /** How long a worker may take until it is ready. */
  readonly readyTimeoutMs: () => number;
}

/** Null: the worker was replaced. Else why not; the old one serves on. */
export type Replacement = string | null;

export class Slot {
  readonly index: number;
  readonly #owner: SlotOwner;
  readonly #parts: SlotParts;
  #state: SlotState = "idle";
  #serving: WorkerHandle | null = null;
  #starting: WorkerHandle | null = null;
  /** Of the state: until it is ready, or until the next start. */
  #timer: Scheduled | null = null;
  #onReplaced: ((outcome: Replacement) => void) | null = null;
  /** Was starting when another was asked for: it may have old code. */
  #outdated: WorkerHandle | null = null;
  /** Workers started again after one had ended unasked. */
  restarts: number = 0;
  crashes: number = 0;
  /** Since when nobody serves; null: somebody does. */
  downSince: number | null;

  constructor(index: number, owner: SlotOwner, parts: SlotParts) {
    this.index = index;
    this.#owner = owner;
    this.#parts = parts;
    this.downSince = parts.clock.now();
  }

  get state(): SlotState {
    return this.#state;
  }

  get serving(): WorkerHandle | null {
    return this.#serving;
  }

  begin(): void {
    this.#startOne();
  }

  /**
   * Puts a new worker in the place of the one that serves: that one drains once the new one is
   * ready. Where nobody serves, one is started now. One at a time.
   */
  replace(): Promise<Replacement> {
    if (this.#state === "stopped") return Promise.resolve(STOPPING);
    assert(this.#onReplaced === null, "slots are replaced by one rolling restart at a time");
    return new Promise((resolve) => {
      this.#onReplaced = resolve;
      this.#parts.policy.reset();
      this.#outdated = this.#state === "starting" ? this.#starting : null;
      if (this.#outdated === null) this.#startOne();
      else this.#outdated.kill();
    });
  }

  /** Starts nobody any more; who runs is the owner's affair. */
  stop(): void {
    if (this.#state === "stopped") return;
    this.#move("stopped");
    this.#settle(STOPPING);
  }

  ready(worker: WorkerHandle): void {
    if (worker !== this.#starting) return;
    if (this.#state === "stopped") {
      // It was ready in the moment in which it was ended.
      worker.drain(true);
      return;
    }
    this.#starting = null;
    const old = this.#serving;
    this.#serving = worker;
    // Ready before it could be ended: it serves until it is replaced like any other.
    const isOutdated = worker === this.#outdated;
    this.#outdated = null;
    this.downSince = null;
    this.#move("serving");
    this.#owner.onServing(this);
    old?.drain(false);
    if (!isOutdated) this.#settle(null);
  }

  /** It goes by itself: it still serves what it has, and another takes its place. */
  leaving(worker: WorkerHandle): void {
    if (worker !== this.#serving) return;
    this.#serving = null;
    this.#down();
    if (this.#state === "replacing") this.#move("starting", false);
    else if (this.#state === "serving") this.#again(worker, LEFT);
  }

  ended(worker: WorkerHandle, end: WorkerEnd): void {
    if (worker === this.#starting) this.#startFailed(end);
    else if (worker === this.#serving) this.#crashed(end);
  }

  #startOne(): void {
    this.#move(this.#serving === null ? "starting" : "replacing");
    const worker = this.#owner.startWorker(this, this.#onReplaced !== null);
    this.#starting = worker;
    const ms = this.#parts.readyTimeoutMs();
    this.#timer = this.#parts.clock.after(ms, () => {
      this.#timer = null;
      const fields = {
        slot: this.index,
        worker: worker.worker,
        pid: worker.pid,
        readyTimeoutMs: ms,
      };
      this.#parts.log.error(fields, "a worker was not ready in time: it is ended");
      worker.kill(`it was not ready within ${ms} ms`);
    });
  }

  #startFailed(end: WorkerEnd): void {
    const worker = this.#starting!;
    this.#starting = null;
    if (this.#state === "replacing") {
      this.#move("serving");
      this.#tellEnd(worker, end, "the new worker failed: the old one serves on");
      this.#settle(reasonOf(end));
      return;
    }
    if (this.#state === "stopped") return;
    if (worker === this.#outdated) {
      this.#outdated = null;
      this.#startOne();
      return;
    }
    this.#settle(reasonOf(end));
    this.#again(worker, end);
  }

  #crashed(end: WorkerEnd): void {
    const worker = this.#serving!;
    this.#serving = null;
    this.#down();
    if (this.#state === "replacing") {
      this.crashes++;
      this.#tellEnd(worker, end, "a worker ended; its successor is starting");
      this.#move("starting", false);
    } else if (this.#state !== "stopped") {
      this.#again(worker, end);
    }
  }

  #again(worker: WorkerHandle, end: WorkerEnd): void {
    this.crashes++;
    const { waitMs, isBroken } = this.#parts.policy.crashed(this.#parts.clock.now());
    const wait = Math.round(waitMs);
    this.#tellEnd(
      worker,
      end,
      isBroken
        ? `workers of this slot end too often: none is started for ${wait} ms, unless by reload`
        : `a worker ended: another is started in ${wait} ms`,
    );
    this.#move(isBroken ? "broken" : "waiting");
    this.#timer = this.#parts.clock.after(waitMs, () => {
      this.restarts++;
      this.#startOne();
    });
  }

  #down(): void {
    this.downSince = this.#parts.clock.now();
  }

  #settle(outcome: Replacement): void {
    const resolve = this.#onReplaced;
    this.#onReplaced = null;
    resolve?.(outcome);
  }

  #tellEnd(worker: WorkerHandle, { code, signal, failure }: WorkerEnd, text: string): void {
    const { pid } = worker;
    const fields = { slot: this.index, worker: worker.worker, pid, exitCode: code, signal };
    this.#parts.log.error({ ...fields, ...(failure === null ? {} : { failure }) }, text);
  }

  /** @param ends whether the timer of the state that is left is of no use any more. */
  #move(next: SlotState, ends: boolean = true): void {
    const isLegal = MOVES[this.#state].includes(next);
    assert(isLegal, `slot: ${next} cannot follow ${this.#state}`);
    this.#state = next;
    if (!ends) return;
    this.#timer?.cancel();
    this.#timer = null;
  }
}

/** Why a worker that was to serve does not. */
export function reasonOf({ code, signal, failure }: WorkerEnd): string {
  if (failure !== null) return failure.message;
  if (signal !== null) return `signal ${signal} ended it before it was ready`;
  return `it exited with code ${code} before it was ready`;
}
