// Worker processes that a test plays itself: what they are told is kept, what they say is the
// test's to decide.

import { PassThrough } from "node:stream";
import type { Socket } from "node:net";
import { optionsFrom } from "../../src/config/resolve.ts";
import type { Options, PartialOptions } from "../../src/config/options.ts";
import { silentLog } from "../../src/observe/log.ts";
import type { ServerState } from "../../src/server/server.ts";
import type { SentConfig, SocketFiles, StartMessage, ToWorker } from "../../src/supervisor/ipc.ts";
import type { Spawned } from "../../src/supervisor/spawn.ts";
import { Supervisor } from "../../src/supervisor/supervisor.ts";
import type { ProcessHandler, WorkerProcess } from "../../src/supervisor/worker-handle.ts";
import { ManualClock } from "./manual-clock.ts";

/** Connections that each can hold. */
const CAPACITY = 1_000;

export class FakeWorker implements WorkerProcess {
  readonly pid: number;
  readonly told: ToWorker[] = [];
  /** Agrees to every configuration unless a test says otherwise. */
  refusal: string | null = null;
  votes: boolean = true;
  served: number = 0;
  state: ServerState = "serving";
  options: Options | null = null;
  /** What it was told first. */
  startedWith: Options | null = null;
  share: number = 0;
  isGone: boolean = false;
  /** A signal does not end it at once: the test does. */
  endsSlowly: boolean = false;
  hasStarted: boolean = false;
  #hash: string = "";
  #prepared: SentConfig | null = null;
  readonly #handler: ProcessHandler;

  constructor(pid: number, handler: ProcessHandler) {
    this.pid = pid;
    this.#handler = handler;
  }

  get start(): StartMessage {
    return this.told.find((message): message is StartMessage => message.type === "start")!;
  }

  /** What it was told of one kind. */
  heard(type: ToWorker["type"]): ToWorker[] {
    return this.told.filter((message) => message.type === type);
  }

  send(message: ToWorker): void {
    this.told.push(message);
    switch (message.type) {
      case "start":
        this.#take(message.config);
        return;
      case "share":
        this.share = message.connectionsMax ?? CAPACITY;
        return;
      case "prepare":
        this.#prepared = message.config;
        if (!this.votes) return;
        this.say({ type: "prepared", change: message.change, refusal: this.refusal });
        return;
      case "commit":
        this.#take(this.#prepared!);
        return;
      case "drain":
        this.state = "draining";
        if (message.hasten && !this.endsSlowly) this.exit(0);
        return;
      default:
    }
  }

  kill(): void {
    if (!this.endsSlowly) this.exit(null, "SIGKILL");
  }

  say(message: unknown): void {
    if (!this.isGone) this.#handler.onMessage({ holdfast: message });
  }

  /** As an application's own process.send() would. */
  sayBare(message: unknown): void {
    this.#handler.onMessage(message);
  }

  ready(): void {
    this.hasStarted = true;
    this.say({ type: "ready", listeners: [], connectionsMax: CAPACITY });
    this.report();
  }

  report(): void {
    const { state, served, share: connectionsMax } = this;
    this.say({ type: "report", state, served, connectionsMax, configHash: this.#hash });
  }

  #take({ options, hash }: SentConfig): void {
    this.options = optionsFrom(options);
    this.startedWith ??= this.options;
    this.#hash = hash;
  }

  exit(code: number | null, signal: string | null = null): void {
    if (this.isGone) return;
    this.isGone = true;
    this.#handler.onExit(code, signal, null);
  }
}

/** A supervisor whose time and workers are the test's. */
export class SupervisorStage {
  readonly clock: ManualClock = new ManualClock();
  readonly workers: FakeWorker[] = [];
  readonly supervisor: Supervisor;
  isClosed: boolean = false;
  /** Of workers that are started from now on. */
  endsSlowly: boolean = false;

  constructor(slots: number, options: PartialOptions = {}, startsMax: number = slots) {
    const name = "stage";
    this.supervisor = new Supervisor({
      options: optionsFrom({ ...options, node: { name } }),
      slots,
      startsMax,
      sockets: {
        sockets: [],
        inheritedFiles: [],
        ofSlot: (slot): SocketFiles => ({ tcp: [3 + slot] }),
        ofSlotAlone: (slot): SocketFiles => ({ tcp: [3 + slot] }),
        close: () => {
          this.isClosed = true;
        },
      },
      clock: this.clock,
      log: silentLog,
      spawn: (_sockets, handler) => this.#spawn(handler),
      seed: 1,
    });
  }

  /** The worker that was started last. */
  get newest(): FakeWorker {
    return this.workers.at(-1)!;
  }

  /** Begins, with every first worker ready. */
  async serve(): Promise<this> {
    const started = this.supervisor.start();
    for (const worker of this.workers) worker.ready();
    await started;
    return this;
  }

  /** Lets time pass, in which those that are named report as they should. */
  async pass(ms: number, well: readonly FakeWorker[] | null = null): Promise<void> {
    for (let passed = 0; passed < ms; passed += 50) {
      await this.clock.advance(50);
      const isTime = (this.clock.now() / 50) % 5 === 0;
      for (const worker of isTime ? (well ?? this.workers) : []) {
        if (!worker.isGone && worker.hasStarted) worker.report();
      }
    }
    await this.clock.settle();
  }

  #spawn(handler: ProcessHandler): Spawned {
    const process = new FakeWorker(1_000 + this.workers.length, handler);
    process.endsSlowly = this.endsSlowly;
    this.workers.push(process);
    return { process, bus: new PassThrough() as unknown as Socket };
  }
}
