// All listeners of a server: built from what the options say and what the application adds, and
// steered together. Accepting stops for want of files, and at the end.

import { HoldfastError } from "../base/errors.ts";
import type { Options } from "../config/options.ts";
import type { ProcessContext } from "../connection/connection-context.ts";
import type { CountBy } from "../observe/counters.ts";
import type { Log } from "../observe/log.ts";
import { EpollLoop } from "../transport/epoll-loop.ts";
import { loadNative } from "../transport/native.ts";
import type { UpgradeRefusal } from "../transport/upgrade-check.ts";
import { Listener, type ListenerOwner } from "./listener.ts";
import {
  framingOf,
  limitsOf,
  type ListenerSpec,
  type TcpKind,
  transportOf,
} from "./listener-spec.ts";

/** What listeners need of their server. */
export interface ListenersOwner extends ListenerOwner {
  readonly options: Options;
  readonly shared: ProcessContext;
  readonly log: Log;
  readonly fileLimit: number | null;
  readonly upgradesRefused: CountBy<string>;
  readonly state: string;
}

/** Files of listening sockets that the process was started with, by listener. */
export type InheritedSockets = Readonly<Record<string, readonly number[]>>;

/** What listeners are built from beside the options: see ServerParts. */
export interface ListenersParts {
  readonly listeners?: readonly ListenerSpec[];
  readonly sockets?: InheritedSockets;
  readonly sharesPorts?: boolean;
  readonly worker?: number;
}

export class Listeners {
  readonly all: readonly Listener[];
  /** Of every native listener; it ends with the last of them. Null where there is none. */
  epollLoop: EpollLoop | null = null;
  readonly #owner: ListenersOwner;
  readonly #sockets: InheritedSockets;
  readonly #sharesPorts: boolean;
  readonly #isWorker: boolean;
  readonly #tcpKinds: Map<TcpKind["kind"], TcpKind> = new Map();

  /** Throws HOLDFAST_TRANSPORT_UNAVAILABLE, HOLDFAST_FRAMING_INVALID, HOLDFAST_SERVER_STATE. */
  constructor(owner: ListenersOwner, parts: ListenersParts) {
    this.#owner = owner;
    this.#sockets = parts.sockets ?? {};
    this.#sharesPorts = parts.sharesPorts ?? false;
    this.#isWorker = parts.worker !== undefined;
    const specs = specsOf(owner.options, parts.listeners ?? []);
    const names = new Set(specs.map(({ name }) => name));
    for (const name of Object.keys(this.#sockets)) if (!names.has(name)) unknown(name);
    this.all = this.#openable(specs);
  }

  /** Files of connections that are not open yet. */
  get pendingFiles(): number {
    return this.all.reduce((sum, { transport }) => sum + transport.pendingFiles, 0);
  }

  /** Rejects with HOLDFAST_LISTEN_FAILED; those before it listen on. */
  async listen(): Promise<void> {
    this.#tellTcpKinds();
    for (const listener of this.all) await listener.listen();
  }

  /** The owner's options have changed: their limits count for every connection from now on. */
  reconfigure(): void {
    const { options, shared } = this.#owner;
    for (const { context, policy } of this.all) {
      context.limits = limitsOf(options, shared.wheel, policy);
    }
  }

  /** Nothing is accepted any more, ever; connections stay. */
  stopForGood(): void {
    for (const { transport } of this.all) transport.stopAccepting(true);
  }

  /**
   * Accepts on these sockets too. Rejects with HOLDFAST_LISTEN_FAILED, and with
   * HOLDFAST_SERVER_STATE where the server does not serve and where a listener is unknown or takes
   * none; those before it are adopted.
   */
  async adopt(sockets: InheritedSockets): Promise<void> {
    this.#expectServing("adopt");
    for (const [name, files] of Object.entries(sockets)) {
      const { transport } = this.#named(name);
      if (transport.adopt === undefined) takesNone(name, transport.kind);
      await transport.adopt(files);
    }
  }

  /** Throws HOLDFAST_SERVER_STATE as {@link adopt} does. */
  release(sockets: InheritedSockets): void {
    this.#expectServing("release");
    for (const [name, files] of Object.entries(sockets)) {
      const { transport } = this.#named(name);
      if (transport.release === undefined) takesNone(name, transport.kind);
      transport.release(files);
    }
  }

  destroy(): void {
    for (const { transport } of this.all) transport.destroy();
  }

  /** Files are running out, or there are some again. Once the server stops it does nothing. */
  setAccepting(accepting: boolean): void {
    const { state, shared, admission, fileLimit, log } = this.#owner;
    if (state !== "serving") return;
    if (!accepting) shared.counters.acceptPauses++;
    const fields = { served: admission.served, fileLimit };
    if (accepting) log.info(fields, "accepting connections again");
    else log.warn(fields, "files are running out: not accepting until some are free");
    for (const { transport, name } of this.all) {
      if (!accepting) transport.stopAccepting();
      else transport.resumeAccepting().catch((error: Error) => this.#resumeFailed(name, error));
    }
  }

  #expectServing(call: string): void {
    const { state } = this.#owner;
    if (state !== "serving") misuse(`${call}() in state ${state}`);
  }

  #named(name: string): Listener {
    return this.all.find((listener) => listener.name === name) ?? unknown(name);
  }

  #socketsOf(name: string): readonly number[] | null {
    const files = this.#sockets[name] ?? null;
    if (files?.length === 0) misuse(`listener ${name}: there is no socket among its sockets`);
    return files;
  }

  #resumeFailed(listener: string, error: Error): void {
    const { log, shared, admission } = this.#owner;
    log.error({ listener, err: error }, "cannot listen again; trying once more in a second");
    shared.clock.after(1_000, () => this.setAccepting(admission.isAccepting));
  }

  /** Without WebSocket where it cannot be had and need not be. */
  #openable(specs: readonly ListenerSpec[]): Listener[] {
    const { options, log } = this.#owner;
    const listeners: Listener[] = [];
    for (const spec of specs) {
      try {
        listeners.push(this.#listener(spec));
      } catch (error) {
        const isOptional = spec.name === "websocket" && !options.websocket.required;
        if (!isOptional) throw error;
        log.warn({ err: error }, "serving without WebSocket");
      }
    }
    return listeners;
  }

  #listener(spec: ListenerSpec): Listener {
    const { options, shared, log, upgradesRefused } = this.#owner;
    const onUpgradeRefused = ({ cause, status }: UpgradeRefusal): void => {
      upgradesRefused[cause]!++;
      log.event("upgrade_refused", "info", () => ({ listener: spec.name, cause, status }));
    };
    const onOwnListener = (reason: string): void => {
      const isSaid = [...this.#tcpKinds.values()].some((chosen) => chosen.reason === reason);
      const fields = { listener: spec.name, reason: isSaid ? "the same as for TCP" : reason };
      log.info(fields, "uWebSockets.js accepts connections itself");
    };
    return new Listener(
      {
        name: spec.name,
        framing: framingOf(spec),
        raw: spec.raw ?? null,
        limits: limitsOf(options, shared.wheel, spec.policy ?? null),
        policy: spec.policy ?? null,
      },
      shared,
      this.#owner,
      transportOf(spec, options, {
        clock: shared.clock,
        sockets: this.#socketsOf(spec.name),
        sharesPorts: this.#sharesPorts,
        origins: () => this.#owner.options.websocket.origins,
        epollLoop: () => (this.epollLoop ??= new EpollLoop(loadNative())),
        onTcpKind: (chosen) => void this.#tcpKinds.set(chosen.kind, chosen),
        onOwnListener,
        onUpgradeRefused,
      }),
    );
  }

  #tellTcpKinds(): void {
    const { log, options } = this.#owner;
    for (const { kind, reason } of this.#tcpKinds.values()) {
      // Said once: what serves the workers of a supervisor stands in its announcement.
      const tell = this.#isWorker ? log.debug : log.info;
      tell.call(log, { transport: kind, reason }, `TCP is served by ${kind}`);
    }
    const { userTimeoutMs } = options.tcp;
    if (userTimeoutMs > 0 && this.#tcpKinds.has("tcp-net")) {
      log.warn({ userTimeoutMs }, "tcp.userTimeoutMs has no effect: it needs tcp-epoll");
    }
  }
}

function specsOf({ tcp, websocket }: Options, extra: readonly ListenerSpec[]): ListenerSpec[] {
  const specs: ListenerSpec[] = [];
  if (tcp.enabled) {
    specs.push({ name: "tcp", framing: tcp.framing, transport: { kind: "tcp", ...tcp } });
  }
  if (websocket.enabled) specs.push({ name: "websocket", transport: { kind: "websocket" } });
  specs.push(...extra);
  const names = new Set(specs.map(({ name }) => name));
  if (names.size < specs.length) misuse("two listeners have the same name");
  if (names.has("admin")) misuse('"admin" is no name for a listener: it is taken');
  return specs;
}

function unknown(name: string): never {
  misuse(`sockets are given for ${name}, and there is no such listener`);
}

function takesNone(name: string, kind: string): never {
  misuse(`listener ${name}: ${kind} accepts on no sockets but its own`);
}

function misuse(what: string): never {
  throw new HoldfastError("HOLDFAST_SERVER_STATE", what);
}
