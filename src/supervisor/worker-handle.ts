// A worker as the supervisor sees it: a process with a literal state, what it last reported, and
// the questions that it has not answered yet.

import { assert } from "../base/assert.ts";
import type { Clock, Scheduled } from "../base/clock.ts";
import type { Options } from "../config/options.ts";
import type { OperatorAnswer, OperatorRequest } from "../server/operator.ts";
import {
  type LastFigures,
  readReply,
  type ReadyMessage,
  REPORT_MS,
  type ReportMessage,
} from "./ipc.ts";
import type { ToSupervisor, ToWorker } from "./ipc.ts";

/** A process that was started; the real one is in spawn.ts. */
export interface WorkerProcess {
  readonly pid: number;
  /** Does nothing where the process is gone. */
  send(message: ToWorker): void;
  kill(signal: "SIGTERM" | "SIGKILL"): void;
}

export interface ProcessHandler {
  onMessage(message: unknown): void;
  /**
   * Last, and exactly once; `code` is null where a signal ended it. `problem` says why it could not
   * be started, where it could not.
   */
  onExit(code: number | null, signal: string | null, problem: string | null): void;
}

export const WORKER_STATES = ["starting", "serving", "draining", "ended"] as const;
export type WorkerState = (typeof WORKER_STATES)[number];

const MOVES: Readonly<Record<WorkerState, readonly WorkerState[]>> = {
  starting: ["serving", "draining", "ended"],
  serving: ["draining", "ended"],
  draining: ["ended"],
  ended: [],
};

export interface WorkerEnd {
  readonly code: number | null;
  readonly signal: string | null;
  /** What it said before it ended; null: nothing. */
  readonly failure: { readonly code: string; readonly message: string } | null;
}

/** Told by a worker. */
export interface WorkerHandler {
  onReady(worker: WorkerHandle): void;
  onReport(worker: WorkerHandle): void;
  onPrepared(worker: WorkerHandle, change: number, refusal: string | null): void;
  /** It began to drain without having been told to. */
  onLeaving(worker: WorkerHandle): void;
  /** Last, and exactly once. */
  onEnded(worker: WorkerHandle, end: WorkerEnd): void;
}

/** A worker that has not reported for so long is not served by: it is stuck, or stopped. */
export const SILENT_MS: number = 4 * REPORT_MS;

export interface WorkerConfig {
  readonly options: Options;
  readonly hash: string;
}

interface Question {
  readonly resolve: (answer: OperatorAnswer | null) => void;
  readonly timeout: Scheduled;
}

export class WorkerHandle implements ProcessHandler {
  /** Which worker this is, counted since the supervisor began. */
  readonly worker: number;
  readonly slot: number;
  readonly startedAt: number;
  report: ReportMessage | null = null;
  ready: ReadyMessage | null = null;
  /** What it counted, once it has stopped in order. */
  last: LastFigures | null = null;
  /** The share of connection.max that it was told last; null: it was told of none. */
  toldMax: number | null = null;
  /** What it runs with, or is about to. */
  config: WorkerConfig;
  /** Hash of what it was sent apart from the others; "" where it was not. */
  caughtUpTo: string = "";
  #state: WorkerState = "starting";
  #process: WorkerProcess | null = null;
  #failure: WorkerEnd["failure"] = null;
  #lastHeard: number;
  #drainingSince: number = Infinity;
  #lastSeq: number = 0;
  readonly #questions: Map<number, Question> = new Map();
  readonly #handler: WorkerHandler;
  readonly #clock: Clock;

  constructor(
    worker: number,
    slot: number,
    config: WorkerConfig,
    handler: WorkerHandler,
    clock: Clock,
  ) {
    this.worker = worker;
    this.slot = slot;
    this.config = config;
    this.#handler = handler;
    this.#clock = clock;
    this.startedAt = clock.now();
    this.#lastHeard = this.startedAt;
  }

  get state(): WorkerState {
    return this.#state;
  }

  /** 0 until it runs. */
  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  /** Milliseconds since it was heard of. */
  get silentMs(): number {
    return this.#clock.now() - this.#lastHeard;
  }

  /** Milliseconds since it began to drain; 0 where it did not. */
  get drainingMs(): number {
    return Math.max(0, this.#clock.now() - this.#drainingSince);
  }

  /** Connections that it serves, as far as it has said. */
  get served(): number {
    return this.report?.served ?? 0;
  }

  /** The supervisor itself stood still for so long: nobody could be heard. */
  wasDeaf(ms: number): void {
    this.#lastHeard += ms;
  }

  /** Once, right after it was started. */
  attach(process: WorkerProcess): void {
    this.#process = process;
  }

  send(message: ToWorker): void {
    if (this.#state !== "ended") this.#process?.send(message);
  }

  /** @param why told as what it failed by; null: it is its own affair. */
  kill(why: string | null = null): void {
    if (why !== null) this.#failure ??= { code: "HOLDFAST_WORKER_FAILED", message: why };
    if (this.#state !== "ended") this.#process?.kill("SIGKILL");
  }

  /** Stops accepting, tells its clients to go, and ends. Again with `hasten`: at once. */
  drain(hasten: boolean): void {
    if (this.#state === "ended") return;
    if (this.#state !== "draining") this.#leave();
    this.send({ type: "drain", hasten });
  }

  /** Null where it does not answer in time, or ends before. */
  ask(request: OperatorRequest, timeoutMs: number): Promise<OperatorAnswer | null> {
    if (this.#state === "ended" || this.#process === null) return Promise.resolve(null);
    const seq = ++this.#lastSeq;
    return new Promise((resolve) => {
      const timeout = this.#clock.after(timeoutMs, () => this.#answered(seq, null));
      this.#questions.set(seq, { resolve, timeout });
      this.send({ type: "ask", seq, request });
    });
  }

  onMessage(given: unknown): void {
    const message = readReply(given);
    if (message === null || this.#state === "ended") return;
    this.#lastHeard = this.#clock.now();
    try {
      this.#take(message);
    } catch (error) {
      // Other code than ours, or a defect of it, that does not keep to what was agreed.
      this.kill(`it sent what cannot be understood (${message.type}): ${String(error)}`);
    }
  }

  onExit(code: number | null, signal: string | null, problem: string | null): void {
    this.#move("ended");
    if (problem !== null) this.#failure ??= { code: "HOLDFAST_WORKER_FAILED", message: problem };
    for (const seq of [...this.#questions.keys()]) this.#answered(seq, null);
    this.#handler.onEnded(this, { code, signal, failure: this.#failure });
  }

  #take(message: ToSupervisor): void {
    switch (message.type) {
      case "ready":
        if (this.#state !== "starting") return;
        this.ready = message;
        this.#move("serving");
        this.#handler.onReady(this);
        return;
      case "report":
        this.report = message;
        // By a signal of its own, or because its application has stopped the server.
        if (message.state !== "serving" && this.#state === "serving") {
          this.drain(false);
          this.#handler.onLeaving(this);
        }
        this.#handler.onReport(this);
        return;
      case "failed":
        this.#failure = { code: message.code, message: message.message };
        return;
      case "prepared":
        this.#handler.onPrepared(this, message.change, message.refusal);
        return;
      case "last":
        this.last = message;
        return;
      case "answer":
        this.#answered(message.seq, message.answer);
    }
  }

  #leave(): void {
    this.#move("draining");
    this.#drainingSince = this.#clock.now();
  }

  #answered(seq: number, answer: OperatorAnswer | null): void {
    const question = this.#questions.get(seq);
    if (question === undefined) return;
    this.#questions.delete(seq);
    question.timeout.cancel();
    question.resolve(answer);
  }

  #move(next: WorkerState): void {
    const isLegal = MOVES[this.#state].includes(next);
    assert(isLegal, `worker: ${next} cannot follow ${this.#state}`);
    this.#state = next;
  }
}
