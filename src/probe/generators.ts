// The controller's side of the generator processes: forks them, tells each its share, and hands on
// what they report. Losing one is the probe's own failure.

import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Clock } from "../base/clock.ts";
import type {
  FromGenerator,
  GeneratorReport,
  GeneratorSetup,
  GeneratorState,
  ScheduledKind,
  ToGenerator,
} from "./generator-messages.ts";

const PROGRAM: string = fileURLToPath(new URL("./generator-process.js", import.meta.url));
/**
 * The young generation is kept small: left to itself it grows to 48 MB, several kilobytes for every
 * connection that is held.
 */
const NODE_FLAGS: readonly string[] = ["--max-semi-space-size=4"];
/** A process that has just been forked is ready after 0.1 s; this is for a machine under load. */
const READY_MS_MAX = 30_000;
const STOP_MS_MAX = 5_000;

interface Generator {
  readonly child: ChildProcess;
  state: GeneratorState | null;
  lastReportMs: number;
  /** The stage whose last report is awaited, and who waits. */
  onLast: (() => void) | null;
  isGone: boolean;
}

export interface GeneratorsEvents {
  onReport(report: GeneratorReport): void;
  /** A process died, or has found a defect in itself. Said once per process. */
  onLost(index: number, why: string): void;
}

export class Generators {
  readonly #clock: Clock;
  readonly #events: GeneratorsEvents;
  readonly #setup: (index: number) => GeneratorSetup;
  readonly #processes: Generator[] = [];
  #isStopping: boolean = false;

  constructor(clock: Clock, setup: (index: number) => GeneratorSetup, events: GeneratorsEvents) {
    this.#clock = clock;
    this.#setup = setup;
    this.#events = events;
  }

  get count(): number {
    return this.#processes.length;
  }

  /** By process; null before its first report. */
  get states(): readonly (GeneratorState | null)[] {
    return this.#processes.map(({ state }) => state);
  }

  get pids(): readonly number[] {
    return this.#processes.map(({ child }) => child.pid).filter((pid) => pid !== undefined);
  }

  /** When each was heard of last. */
  get lastReportMs(): readonly number[] {
    return this.#processes.map(({ lastReportMs }) => lastReportMs);
  }

  sum(figure: (state: GeneratorState) => number): number {
    let total = 0;
    for (const { state } of this.#processes) if (state !== null) total += figure(state);
    return total;
  }

  /** Forks as many as are missing; resolves when all are ready. */
  async grow(count: number): Promise<void> {
    const added: Promise<void>[] = [];
    while (this.#processes.length < count) added.push(this.#fork(this.#processes.length));
    await Promise.all(added);
  }

  tell(index: number, message: ToGenerator): void {
    const { child, isGone } = this.#processes[index]!;
    if (!isGone && child.connected) child.send(message);
  }

  tellAll(message: ToGenerator): void {
    for (let index = 0; index < this.#processes.length; index++) this.tell(index, message);
  }

  halt(kind: ScheduledKind): void {
    this.tellAll({ type: "halt", kind });
  }

  /** Resolves when every process has reported the end of what came before. */
  async beginStage(stage: number): Promise<void> {
    const ended = this.#processes.map(
      (generator) =>
        new Promise<void>((resolve) => {
          if (generator.isGone) resolve();
          else generator.onLast = resolve;
        }),
    );
    this.tellAll({ type: "stage", stage });
    await Promise.all(ended);
  }

  /** Closes every connection and ends the processes; those that do not end are killed. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    const ended = this.#processes.map(
      ({ child }) =>
        new Promise<void>((resolve) => {
          if (child.exitCode !== null || child.signalCode !== null) resolve();
          else child.once("exit", () => resolve());
        }),
    );
    this.tellAll({ type: "stop" });
    const deadline = this.#clock.after(STOP_MS_MAX, () => {
      for (const { child } of this.#processes) child.kill("SIGKILL");
    });
    await Promise.all(ended);
    deadline.cancel();
  }

  #fork(index: number): Promise<void> {
    const child = fork(PROGRAM, [], { execArgv: [...NODE_FLAGS], serialization: "advanced" });
    const generator: Generator = {
      child,
      state: null,
      lastReportMs: this.#clock.now(),
      onLast: null,
      isGone: false,
    };
    this.#processes.push(generator);
    return new Promise((resolve) => {
      const lose = (why: string): void => {
        if (!generator.isGone && !this.#isStopping) this.#events.onLost(index, why);
        generator.isGone = true;
        generator.onLast?.();
        resolve();
      };
      const deadline = this.#clock.after(READY_MS_MAX, () => lose("it did not get ready"));
      child.on("message", (message: FromGenerator) => {
        if (message.type === "failed") {
          lose(message.message);
        } else if (message.type === "ready") {
          deadline.cancel();
          resolve();
        } else {
          this.#onReport(generator, message.report);
        }
      });
      child.on("error", (error) => lose(error.message));
      child.on("exit", (code, signal) => {
        deadline.cancel();
        lose(signal === null ? `it exited with ${code}` : `it was ended by ${signal}`);
      });
      child.send({ type: "setup", setup: this.#setup(index) } satisfies ToGenerator);
    });
  }

  #onReport(generator: Generator, report: GeneratorReport): void {
    generator.state = report.state;
    generator.lastReportMs = this.#clock.now();
    this.#events.onReport(report);
    if (!report.isLast) return;
    generator.onLast?.();
    generator.onLast = null;
  }
}
