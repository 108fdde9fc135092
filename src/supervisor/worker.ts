// A worker: one server whose sockets, configuration and end are the supervisor's affair. It serves
// as long as the supervisor lives, and drains when it does not.

import { closeSync, unlinkSync } from "node:fs";
import { Socket } from "node:net";
import type { Clock, Scheduled } from "../base/clock.ts";
import { HoldfastError } from "../base/errors.ts";
import { LocalBus } from "../bus/local-bus.ts";
import { requireLive } from "../config/option-changes.ts";
import { filesConnectionMax, readMachine } from "../config/machine.ts";
import type { Options } from "../config/options.ts";
import { optionsFrom } from "../config/resolve.ts";
import type { ProcessLog } from "../observe/log.ts";
import { Operator } from "../server/operator.ts";
import { Server, type ServerHooks } from "../server/server.ts";
import { transportName } from "../server/listener.ts";
import { isDeadSocket } from "../transport/unix-path.ts";
import { loadApplication } from "./application.ts";
import {
  IPC_VERSION,
  REPORT_MS,
  type SentConfig,
  type StartMessage,
  type ToSupervisor,
  type ToWorker,
} from "./ipc.ts";

/** The supervisor as a worker sees it: Node's channel, or a test's. */
export interface SupervisorChannel {
  /** Resolves when it has left this process, or cannot. */
  send(message: ToSupervisor): Promise<void>;
}

export interface WorkerParts {
  readonly clock: Clock;
  readonly log: (options: Options, worker: number) => ProcessLog;
  readonly channel: SupervisorChannel;
}

/** All may be taken by others; then it serves nobody until some is free. */
const SHARE_WAIT_MS = 1_000;

interface Prepared {
  readonly change: number;
  readonly options: Options;
  readonly hash: string;
}

export class Worker {
  /** Resolves with null when it has stopped in order, and with what kept it from starting. */
  readonly done: Promise<HoldfastError | null>;
  readonly #parts: WorkerParts;
  #start: StartMessage | null = null;
  #log: ProcessLog | null = null;
  #server: Server | null = null;
  #operator: Operator | null = null;
  #reporter: Scheduled | null = null;
  #prepared: Prepared | null = null;
  #configHash: string = "";
  /** Of connection.max; 0 until it is told. */
  #share: number = 0;
  #onShare: () => void = () => {};
  /** Asked to stop. */
  #stop: { hasten: boolean } | null = null;
  #isUp: boolean = false;
  #isOrphan: boolean = false;
  #resolve: (failure: HoldfastError | null) => void = () => {};

  constructor(parts: WorkerParts) {
    this.#parts = parts;
    this.done = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  /** Null until it knows its options. */
  get log(): ProcessLog | null {
    return this.#log;
  }

  /** From the supervisor. */
  take(message: ToWorker): void {
    switch (message.type) {
      case "start":
        this.#begin(message).catch((error: unknown) => this.#fail(error));
        return;
      case "adopt":
        this.#server?.adopt(message.sockets).catch((error: Error) => {
          this.#log?.error({ err: error }, "cannot accept for a slot that is down");
        });
        return;
      case "release":
        if (this.#server?.state === "serving") this.#server.release(message.sockets);
        return;
      case "share":
        this.#share = message.connectionsMax ?? filesConnectionMax(readMachine());
        this.#server?.setConnectionsMax(this.#share);
        this.#onShare();
        return;
      case "prepare":
        this.#prepare(message);
        return;
      case "commit":
      case "abort":
        this.#settle(message.change, message.type === "commit");
        return;
      case "drain":
        this.drain(message.hasten);
        return;
      case "ask":
        this.#answer(message.seq, message.request);
    }
  }

  /** The supervisor has gone: who is connected is served to the end. */
  orphaned(): void {
    this.#isOrphan = true;
    this.drain(false);
  }

  drain(hasten: boolean): void {
    this.#stop = { hasten: hasten || this.#stop?.hasten === true };
    if (this.#isUp) this.#end();
    // One that serves nobody yet has nothing to end in order.
    else this.#resolve(null);
  }

  async #begin(message: StartMessage): Promise<void> {
    this.#start = message;
    if (message.version !== IPC_VERSION) {
      const text = `the supervisor speaks version ${message.version}, not ${IPC_VERSION}`;
      throw new HoldfastError("HOLDFAST_WORKER_FAILED", `${text}: start the server anew`);
    }
    // Checked again: this may be newer code than the supervisor's.
    const options = optionsFrom(message.config.options);
    this.#configHash = message.config.hash;
    this.#log = this.#parts.log(options, message.worker);
    const application = await loadApplication(options.workers.application, this.#parts.clock);
    const server = this.#newServer(options, message, application.hooks);
    this.#server = server;
    await application.setUp(server);
    if (message.isSharing) {
      server.setConnectionsMax(this.#share);
      await this.#shareOrTime();
    }
    await server.start();
    this.#operator = new Operator(server);
    this.#operator.start();
    this.#isUp = true;
    this.#report();
    void this.#parts.channel.send(this.#ready(server));
  }

  /** Whoever connects before it has a share would be refused. */
  #shareOrTime(): Promise<void> {
    if (this.#share > 0) return Promise.resolve();
    return new Promise((resolve) => {
      const timeout = this.#parts.clock.after(SHARE_WAIT_MS, resolve);
      this.#onShare = () => {
        if (this.#share === 0) return;
        timeout.cancel();
        resolve();
      };
    });
  }

  #newServer(options: Options, message: StartMessage, hooks: ServerHooks): Server {
    const { worker, sockets, workers, busFile } = message;
    const bus = new LocalBus(
      worker,
      new Socket({ fd: busFile, readable: true, writable: true }),
      this.#parts.clock,
    );
    return new Server(options, {
      clock: this.#parts.clock,
      log: this.#log!,
      admin: false,
      worker,
      sockets,
      // In a rolling restart two of them listen at a time, even where there is one slot.
      sharesPorts: true,
      processes: workers,
      hooks,
      bus,
    });
  }

  #ready(server: Server): ToSupervisor {
    const listeners = server.listeners
      .filter(({ address }) => address !== null)
      .map((listener) => ({
        listener: listener.name,
        transport: transportName(listener),
        framing: listener.context.framing.name,
        address: listener.address!,
      }));
    const connectionsMax = filesConnectionMax(readMachine());
    return { type: "ready", listeners, connectionsMax };
  }

  #report(): void {
    this.#reporter = this.#parts.clock.after(REPORT_MS, () => this.#report());
    const { admission, state } = this.#server!;
    void this.#parts.channel.send({
      type: "report",
      state,
      served: admission.served,
      connectionsMax: admission.connectionsMax,
      configHash: this.#configHash,
    });
  }

  #prepare({ change, config }: { readonly change: number; readonly config: SentConfig }): void {
    let refusal: string | null = null;
    try {
      const options = optionsFrom(config.options);
      requireLive(this.#server!.options, options);
      this.#prepared = { change, options, hash: config.hash };
    } catch (error) {
      refusal = this.#server === null ? "it is still starting" : (error as Error).message;
    }
    void this.#parts.channel.send({ type: "prepared", change, refusal });
  }

  #settle(change: number, isCommit: boolean): void {
    const prepared = this.#prepared;
    if (prepared?.change !== change) return;
    this.#prepared = null;
    if (!isCommit) return;
    this.#server!.reconfigure(prepared.options);
    this.#configHash = prepared.hash;
  }

  #answer(seq: number, request: Parameters<Operator["answer"]>[0]): void {
    const send = (answer: Awaited<ReturnType<Operator["answer"]>> | null): void =>
      void this.#parts.channel.send({ type: "answer", seq, answer });
    if (this.#operator === null) {
      send(null);
      return;
    }
    this.#operator.answer(request).then(send, (error: Error) => {
      this.#log?.error({ err: error, what: request.what }, "an operator's question failed");
      send(null);
    });
  }

  #end(): void {
    const { hasten } = this.#stop!;
    const stopped = this.#server!.stop({ hasten });
    // Its copies of the listening sockets would let clients wait for nobody.
    this.#closeInherited();
    stopped.then(() => this.#finish()).catch((error: unknown) => this.#fail(error));
  }

  #closeInherited(): void {
    const taken = this.#server!.listeners.filter(
      ({ transport }) => transport.kind === "tcp-net",
    ).flatMap(({ name }) => this.#start!.sockets[name] ?? []);
    for (const file of this.#start!.inherited) {
      // node:net takes over the file that it listens on, and closes it itself.
      if (taken.includes(file)) continue;
      try {
        closeSync(file);
      } catch {
        // It is closed already.
      }
    }
    this.#start = { ...this.#start!, inherited: [] };
  }

  #fail(error: unknown): void {
    const failure =
      error instanceof HoldfastError
        ? error
        : new HoldfastError("HOLDFAST_WORKER_FAILED", String(error), { cause: error });
    const { code, message } = failure;
    this.#log?.error({ err: failure.cause ?? failure }, message);
    this.#over(this.#parts.channel.send({ type: "failed", code, message }), failure);
  }

  async #finish(): Promise<void> {
    const operator = this.#operator!;
    const { path } = this.#server!.options.tcp;
    // Its supervisor would have removed it. A new server that listens there already keeps it.
    if (this.#isOrphan && path !== null && (await isDeadSocket(path))) unlinkSync(path);
    const [stats, metrics] = await Promise.all([
      operator.answer({ what: "stats" }),
      operator.answer({ what: "metrics" }),
    ]);
    this.#over(this.#parts.channel.send({ type: "last", stats, metrics }), null);
  }

  /** Who drains may be told so again: what comes second changes nothing. */
  #over(told: Promise<void>, failure: HoldfastError | null): void {
    this.#reporter?.cancel();
    this.#operator?.stop();
    void told.then(() => this.#resolve(failure));
  }
}
