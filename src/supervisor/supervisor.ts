// Many processes as one server: the supervisor holds the listening sockets, keeps a worker in every
// slot, joins them by the bus, shares connection.max among them, and changes their configuration
// together. It serves no client itself, so that nothing a client does can end it.

import type { Socket } from "node:net";
import type { Clock, Scheduled } from "../base/clock.ts";
import { HoldfastError } from "../base/errors.ts";
import { Prng } from "../base/prng.ts";
import { Hub } from "../bus/hub.ts";
import type { Options } from "../config/options.ts";
import type { Log } from "../observe/log.ts";
import type { ReloadState } from "../server/admin-source.ts";
import { Adoption } from "./adoption.ts";
import { sent } from "./config-swap.ts";
import { Configuration } from "./configuration.ts";
import { IPC_VERSION, REPORT_MS, type StartMessage } from "./ipc.ts";
import type { ListeningSockets } from "./listening-sockets.ts";
import { RestartPolicy } from "./restart-policy.ts";
import { RollingRestart } from "./rolling-restart.ts";
import { nextShares, type Sharer } from "./shares.ts";
import { reasonOf, Slot, type SlotOwner } from "./slot.ts";
import { busFileOf, type NamedSocket, type Spawned } from "./spawn.ts";
import {
  type ProcessHandler,
  type WorkerEnd,
  WorkerHandle,
  type WorkerHandler,
} from "./worker-handle.ts";

/** A hard stop waits this much longer for workers than they wait for their clients. */
const EXIT_MS = 5_000;
/** After a second signal. */
const HASTENED_EXIT_MS = 2_000;

/** Who has a share and does not run yet. */
const NOBODY: Sharer = { served: 0, confirmed: 0, told: 0, isAccepting: true };

/** What a supervisor asks of its listening sockets. */
export type HeldListeners = Pick<
  ListeningSockets,
  "close" | "inheritedFiles" | "ofSlot" | "ofSlotAlone" | "sockets"
>;

export interface SupervisorParts {
  /** With node.name given, so that all workers have one. */
  readonly options: Options;
  readonly slots: number;
  /** Workers that are started at a time; more would only wait for a core, within their patience. */
  readonly startsMax: number;
  readonly sockets: HeldListeners;
  readonly clock: Clock;
  readonly log: Log;
  readonly spawn: (sockets: readonly NamedSocket[], handler: ProcessHandler) => Spawned;
  readonly seed?: number;
}

export type SupervisorState = "new" | "starting" | "serving" | "draining" | "stopped";

export class Supervisor implements SlotOwner, WorkerHandler {
  readonly sockets: HeldListeners;
  readonly slots: readonly Slot[];
  readonly hub: Hub;
  readonly configuration: Configuration;
  readonly rolling: RollingRestart;
  readonly adoption: Adoption;
  readonly log: Log;
  /** What it was started with. */
  readonly options: Options;
  /** Told of every worker that ended, with the number it had. */
  onWorkerEnded: (worker: WorkerHandle) => void = () => {};
  #state: SupervisorState = "new";
  #lastWorker: number = 0;
  #shareTurn: number = 0;
  #tickDue: number = 0;
  readonly #parts: SupervisorParts;
  readonly #clock: Clock;
  readonly #workers: Map<number, WorkerHandle> = new Map();
  /** Of workers that do not serve yet. */
  readonly #buses: Map<number, Socket> = new Map();
  #ticker: Scheduled | null = null;
  #hardStop: Scheduled | null = null;
  /** While workers are awaited: a slot's first, or the last that drains. */
  #waiting: (() => void)[] = [];
  #startFailure: WorkerEnd | null = null;

  constructor(parts: SupervisorParts) {
    const { clock, log, options } = parts;
    this.#parts = parts;
    this.#clock = clock;
    this.log = log;
    this.options = options;
    this.sockets = parts.sockets;
    this.hub = new Hub({ clock, onFault: (worker, error) => this.#busFailed(worker, error) });
    this.configuration = new Configuration(options, log, clock, () => this.workers);
    const prng = new Prng(parts.seed ?? Prng.randomSeed());
    this.slots = Array.from({ length: parts.slots }, (_, index) => {
      const policy = new RestartPolicy(prng);
      const readyTimeoutMs = (): number => this.configuration.running.workers.readyTimeoutMs;
      return new Slot(index, this, { clock, log, policy, readyTimeoutMs });
    });
    this.rolling = new RollingRestart(this.slots, log, clock, {
      begins: () => this.configuration.beginRolling(),
      ends: () => this.configuration.endRolling(),
      drained: (slot) => this.#drained(slot),
    });
    this.adoption = new Adoption(this.slots, (slot) => this.sockets.ofSlotAlone(slot));
  }

  get state(): SupervisorState {
    return this.#state;
  }

  /** All that have not ended, those that drain included. */
  get workers(): readonly WorkerHandle[] {
    return [...this.#workers.values()];
  }

  worker(number: number): WorkerHandle | null {
    return this.#workers.get(number) ?? null;
  }

  /**
   * Starts a worker in every slot; resolves when all serve. Rejects with HOLDFAST_WORKER_FAILED
   * where one ends before that; nothing is left then.
   */
  async start(): Promise<void> {
    this.#state = "starting";
    this.#beginSlots();
    this.#tickDue = this.#clock.now();
    // After the last was begun: the first must not be given all.
    this.#tick();
    await this.#until(
      () =>
        this.#startFailure !== null ||
        this.#state !== "starting" ||
        this.slots.every(({ serving }) => serving !== null),
    );
    if (this.#startFailure !== null) {
      await this.stop({ hasten: true });
      throw startError(this.#startFailure);
    }
    if (this.#state === "starting") this.#state = "serving";
  }

  /**
   * Replaces every worker, slot by slot. The rolling part of the configuration comes into force.
   * Requests while one is running make one more.
   */
  reload(): Promise<ReloadState> {
    if (this.#state !== "serving") return Promise.resolve(this.rolling.report);
    return this.rolling.run();
  }

  /**
   * Workers drain: see {@link Server.stop}. New clients are refused at once. Resolves when no
   * worker is left. Again with `hasten`: their clients are cut off now.
   */
  async stop({ hasten = false }: { readonly hasten?: boolean } = {}): Promise<void> {
    if (this.#state === "stopped") return;
    if (this.#state !== "draining") {
      this.#state = "draining";
      this.rolling.stop();
      for (const slot of this.slots) slot.stop();
      this.sockets.close();
    }
    for (const worker of this.workers) {
      // One that has not begun has nobody to tell.
      if (worker.state === "starting") worker.kill();
      else worker.drain(hasten);
    }
    const withinMs = hasten ? HASTENED_EXIT_MS : this.#drainMs();
    this.#hardStop?.cancel();
    this.#hardStop = this.#clock.after(withinMs, () => this.#killAll());
    this.#wake();
    await this.#until(() => this.#workers.size === 0);
    this.#hardStop?.cancel();
    this.#ticker?.cancel();
    this.hub.close();
    this.#state = "stopped";
  }

  startWorker(slot: Slot, isReplacement: boolean): WorkerHandle {
    const config = this.configuration.forNew(isReplacement);
    const number = ++this.#lastWorker;
    const worker = new WorkerHandle(number, slot.index, config, this, this.#clock);
    this.#workers.set(worker.worker, worker);
    const { sockets } = this.sockets;
    const { process, bus } = this.#parts.spawn(sockets, worker);
    worker.attach(process);
    if (bus !== null) this.#buses.set(worker.worker, bus);
    const start = this.#startMessage(worker);
    worker.send(start);
    if (this.#state === "serving") this.#share();
    const fields = { slot: slot.index, worker: worker.worker, pid: worker.pid };
    this.log.info(fields, "a worker starts");
    return worker;
  }

  onServing(): void {
    if (this.#state === "starting") this.#beginSlots();
    this.#wake();
  }

  onReady(worker: WorkerHandle): void {
    this.configuration.proved(worker);
    this.#join(worker);
    this.#slotOf(worker).ready(worker);
    const { pid, startedAt } = worker;
    const fields = { slot: worker.slot, worker: worker.worker, pid };
    const elapsedMs = Math.round(this.#clock.now() - startedAt);
    this.log.info({ ...fields, elapsedMs }, "a worker serves");
    this.#wake();
  }

  onReport(worker: WorkerHandle): void {
    this.configuration.reported(worker);
  }

  onPrepared(worker: WorkerHandle, change: number, refusal: string | null): void {
    this.configuration.voted(worker, change, refusal);
  }

  onLeaving(worker: WorkerHandle): void {
    this.#slotOf(worker).leaving(worker);
  }

  onEnded(worker: WorkerHandle, end: WorkerEnd): void {
    this.#workers.delete(worker.worker);
    this.hub.detach(worker.worker);
    this.#buses.get(worker.worker)?.destroy();
    this.#buses.delete(worker.worker);
    this.configuration.ended(worker);
    try {
      this.onWorkerEnded(worker);
    } catch (error) {
      this.log.error({ worker: worker.worker, err: error }, "its last figures are not understood");
    }
    if (this.#state === "starting") {
      this.#startFailure ??= end;
      for (const slot of this.slots) slot.stop();
    }
    this.#slotOf(worker).ended(worker, end);
    this.#wake();
  }

  #beginSlots(): void {
    let free =
      this.#parts.startsMax - this.slots.filter(({ state }) => state === "starting").length;
    for (const slot of this.slots) if (slot.state === "idle" && free-- > 0) slot.begin();
  }

  #startMessage(worker: WorkerHandle): StartMessage {
    const { sockets, inheritedFiles } = this.sockets;
    const { config } = worker;
    return {
      type: "start",
      version: IPC_VERSION,
      worker: worker.worker,
      slot: worker.slot,
      config: sent(config),
      sockets: this.sockets.ofSlot(worker.slot),
      inherited: inheritedFiles,
      busFile: busFileOf(sockets.length),
      isSharing: config.options.connection.max !== null,
      workers: this.slots.length,
    };
  }

  #tick(): void {
    this.#ticker = this.#clock.after(REPORT_MS, () => this.#tick());
    const now = this.#clock.now();
    const lateMs = now - this.#tickDue;
    this.#tickDue = now + REPORT_MS;
    // Timers run before what has come meanwhile is read.
    if (lateMs > REPORT_MS) for (const worker of this.workers) worker.wasDeaf(lateMs);
    if (this.#state !== "draining") this.adoption.look(now);
    this.#share();
    for (const worker of this.workers) this.#endIfStuck(worker);
  }

  /** One that is starting has its slot's patience. */
  #endIfStuck(worker: WorkerHandle): void {
    if (worker.state === "starting") return;
    const { unresponsiveMs } = this.configuration.running.workers;
    const drainMs = this.#drainMs();
    let why: string;
    if (worker.silentMs >= unresponsiveMs) why = `it did not answer for ${unresponsiveMs} ms`;
    else if (worker.drainingMs >= drainMs) why = `it did not end within ${drainMs} ms`;
    else return;
    const fields = { slot: worker.slot, worker: worker.worker, pid: worker.pid };
    this.log.error(fields, `a worker is killed: ${why}`);
    worker.kill(why);
  }

  /** The longest that a worker takes for its clients, and then for itself. */
  #drainMs(): number {
    const { graceMs, closeSpreadMs } = this.configuration.running.drain;
    return graceMs + closeSpreadMs + EXIT_MS;
  }

  #share(): void {
    const { max } = this.configuration.running.connection;
    const sharers = this.workers;
    if (max === null) {
      for (const worker of sharers) this.#tellShare(worker, null);
      return;
    }
    const known = sharers.map((worker) => ({
      served: worker.served,
      confirmed: worker.report?.connectionsMax ?? 0,
      told: worker.toldMax ?? 0,
      isAccepting: worker.state === "starting" || worker.state === "serving",
    }));
    // Room is kept for those that are to come.
    const idle = this.slots.filter(({ state }) => state === "idle").map(() => NOBODY);
    const shares = nextShares(max, [...known, ...idle], this.#shareTurn++);
    for (const [index, worker] of sharers.entries()) this.#tellShare(worker, shares[index]!);
  }

  #tellShare(worker: WorkerHandle, connectionsMax: number | null): void {
    if (connectionsMax === worker.toldMax) return;
    worker.toldMax = connectionsMax;
    worker.send({ type: "share", connectionsMax });
  }

  /** Who serves nobody yet is not asked whom it reaches; what it sent waits. */
  #join({ worker }: WorkerHandle): void {
    const bus = this.#buses.get(worker);
    this.#buses.delete(worker);
    if (bus !== undefined) this.hub.attach(worker, bus);
  }

  /** Without the bus it is no part of the server any more. */
  #busFailed(number: number, error: Error): void {
    const worker = this.worker(number);
    this.log.error({ worker: number, err: error }, "a worker broke the bus protocol: it is ended");
    worker?.kill();
  }

  #slotOf(worker: WorkerHandle): Slot {
    return this.slots[worker.slot]!;
  }

  #drained(slot: Slot): Promise<void> {
    const isDraining = (worker: WorkerHandle): boolean =>
      worker.slot === slot.index && worker.state === "draining";
    return this.#until(() => !this.workers.some(isDraining));
  }

  #killAll(): void {
    for (const worker of this.workers) {
      this.log.error({ worker: worker.worker, pid: worker.pid }, "a worker did not end: killed");
      worker.kill();
    }
  }

  /** Resolves when it holds; looked at whenever a worker has come or gone. */
  #until(holds: () => boolean): Promise<void> {
    if (holds()) return Promise.resolve();
    return new Promise((resolve) => {
      const look = (): void => {
        if (holds()) resolve();
        else this.#waiting.push(look);
      };
      this.#waiting.push(look);
    });
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const look of waiting) look();
  }
}

function startError(end: WorkerEnd): HoldfastError {
  return new HoldfastError("HOLDFAST_WORKER_FAILED", `a worker did not start: ${reasonOf(end)}`);
}
