// The server: listeners, what they share, and the life of the whole. Everything else in this folder
// is a part that is put together here.

import { BufferPool } from "../base/buffer-pool.ts";
import { type Clock, systemClock } from "../base/clock.ts";
import { HoldfastError } from "../base/errors.ts";
import { Prng } from "../base/prng.ts";
import { TimerWheel } from "../base/timer-wheel.ts";
import {
  connectionMax,
  countOpenFiles,
  nodeName,
  readMachine,
  sendBudgetBytes,
} from "../config/machine.ts";
import type { Options, PartialOptions } from "../config/options.ts";
import { optionsFrom } from "../config/resolve.ts";
import { CLOSE_CAUSES, CLOSE_REASONS } from "../connection/close-reason.ts";
import type { CloseCause, CloseReason } from "../connection/close-reason.ts";
import type { ClientConnection } from "../connection/client-connection.ts";
import type { Connection } from "../connection/connection.ts";
import type { ProcessContext } from "../connection/connection-context.ts";
import { Cork } from "../connection/cork.ts";
import { MARK } from "../connection/mark.ts";
import { Outbound, type SendOutcome } from "../connection/outbound.ts";
import { SendBudget } from "../connection/send-budget.ts";
import type { SlowConsumerPolicy } from "../connection/send-queue.ts";
import { Buckets, CALL_MS, LAG_MS } from "../observe/buckets.ts";
import { type CountBy, countBy, Counters } from "../observe/counters.ts";
import { type Log, silentLog } from "../observe/log.ts";
import { EpollLoop } from "../transport/epoll-loop.ts";
import { loadNative } from "../transport/native.ts";
import type { TransportAddress } from "../transport/transport.ts";
import { UPGRADE_REFUSALS, type UpgradeRefusal } from "../transport/upgrade-check.ts";
import { FrameWriter } from "../wire/frame-writer.ts";
import { MessageReader } from "../wire/message-reader.ts";
import type { ClientMessage } from "../wire/messages.ts";
import { PayloadScope } from "../wire/payload.ts";
import { Admin } from "./admin.ts";
import { Admission, FILES_RESERVED } from "./admission.ts";
import { Broadcast } from "./broadcast.ts";
import { ClosedRing } from "./closed-ring.ts";
import { Drain } from "./drain.ts";
import { Listener, type ListenerOwner } from "./listener.ts";
import {
  framingOf,
  limitsOf,
  type ListenerSpec,
  type TcpKind,
  transportOf,
} from "./listener-spec.ts";
import { Registry } from "./registry.ts";
import { type CallHandler, Router } from "./router.ts";
import { Session } from "./session.ts";
import { Ticker } from "./ticker.ts";
import { Topics } from "./topics.ts";

/** Precision of every deadline, in milliseconds. */
const TICK_MS = 50;

/** Files are counted once a second: the kernel walks all of them for it. */
const LOOK_TICKS = 1_000 / TICK_MS;

/** What a server is built from; the defaults are the real ones. */
export interface ServerParts {
  readonly clock?: Clock;
  /** Seeds jitter; default: random. */
  readonly seed?: number;
  readonly log?: Log;
  /** Listeners beside those of the options. */
  readonly listeners?: readonly ListenerSpec[];
  readonly hooks?: ServerHooks;
}

/** Told about connections; what throws is logged. None may be async. */
export interface ServerHooks {
  /** A connection is active: its Hello was accepted, or it is raw. */
  onConnect?(connection: ClientConnection): void;
  onDisconnect?(connection: ClientConnection, reason: CloseReason, cause: CloseCause): void;
  /** Its queue fell to the low watermark after a send said "full". */
  onDrain?(connection: ClientConnection): void;
}

export type ServerState = "new" | "starting" | "serving" | "draining" | "stopped";

export class Server implements ListenerOwner {
  readonly options: Options;
  readonly node: string;
  readonly shared: ProcessContext;
  readonly listeners: readonly Listener[];
  readonly registry: Registry;
  readonly topics: Topics;
  readonly admission: Admission;
  readonly router: Router;
  readonly closedRing: ClosedRing;
  readonly closedByReason: CountBy<CloseReason> = countBy(
    Object.keys(CLOSE_REASONS) as CloseReason[],
  );
  readonly closedByCause: CountBy<CloseCause> = countBy(Object.keys(CLOSE_CAUSES) as CloseCause[]);
  readonly upgradesRefused: CountBy<string> = countBy<string>(UPGRADE_REFUSALS);
  /** Calls answered, by gRPC status; 0 is success. */
  readonly callsByStatus: number[] = new Array<number>(17).fill(0);
  readonly callMs: Buckets = new Buckets(CALL_MS);
  readonly lagMs: Buckets = new Buckets(LAG_MS);
  readonly log: Log;
  readonly fileLimit: number | null;
  startedAt: number = 0;
  /** Of every native listener; it ends with the last of them. Null where there is none. */
  epollLoop: EpollLoop | null = null;
  #state: ServerState = "new";
  #serial: number = 0;
  #ticks: number = 0;
  readonly #hooks: ServerHooks;
  readonly #session: Session;
  readonly #ticker: Ticker;
  readonly #tcpKinds: Map<TcpKind["kind"], TcpKind> = new Map();
  readonly #policies: Map<string, SlowConsumerPolicy> = new Map();
  readonly #broadcast: Broadcast;
  readonly #admin: Admin | null;
  #drain: Drain | null = null;
  #gone: Promise<void> | null = null;

  /** Throws HOLDFAST_OPTIONS_INVALID, HOLDFAST_TRANSPORT_UNAVAILABLE, HOLDFAST_FRAMING_INVALID. */
  constructor(partial: PartialOptions = {}, parts: ServerParts = {}) {
    const options = optionsFrom(partial);
    const machine = readMachine();
    const clock = parts.clock ?? systemClock;
    this.options = options;
    this.node = nodeName(options, machine);
    this.fileLimit = machine.fileLimit;
    this.log = parts.log ?? silentLog;
    this.#hooks = parts.hooks ?? {};
    this.shared = share(clock, parts.seed, sendBudgetBytes(options, machine));
    const { wheel, counters, pool, scope } = this.shared;
    this.router = this.#newRouter(wheel, scope, clock);
    this.listeners = this.#openable(this.#specs(parts.listeners ?? []));
    this.admission = this.#newAdmission(connectionMax(options, machine));
    this.registry = new Registry(this.listeners);
    this.topics = new Topics(
      {
        perConnectionMax: options.topic.perConnectionMax,
        nameBytesMax: options.topic.nameBytesMax,
        topicsMax: options.topic.max,
        backlogEventsMax: options.topic.backlogEventsMax,
      },
      pool,
      clock,
      this.#writers(),
      this.shared.turn,
      (topic) => this.#policies.get(topic) ?? null,
    );
    this.#session = new Session(options, this.node, this.router, this.topics, this.registry);
    this.#broadcast = new Broadcast(pool, clock, this.#writers());
    this.closedRing = new ClosedRing(options.debug.closedRing, clock);
    this.#ticker = new Ticker(clock, wheel, counters, (lag) => this.#onTick(lag));
    this.#admin = options.admin.enabled ? new Admin(this, options.admin) : null;
  }

  get state(): ServerState {
    return this.#state;
  }

  /** Registers a method; see {@link Router.add}. */
  method(name: string, handler: CallHandler): this {
    this.router.add(name, handler);
    return this;
  }

  /** What happens to slow subscribers of this topic, instead of their listener's policy. */
  topicPolicy(name: string, policy: SlowConsumerPolicy): this {
    this.#policies.set(name, policy);
    return this;
  }

  /**
   * Opens every listener, and the admin's. Rejects with HOLDFAST_LISTEN_FAILED, with nothing left
   * open.
   */
  async start(): Promise<void> {
    if (this.#state !== "new") this.#misuse(`start() in state ${this.#state}`);
    this.#state = "starting";
    this.startedAt = this.shared.clock.wall();
    this.#tellTcpKinds();
    this.#ticker.start();
    try {
      await this.#admin?.start();
      for (const listener of this.listeners) await listener.listen();
    } catch (error) {
      await this.#letGo();
      throw error;
    }
    this.#state = "serving";
  }

  /** Where it listens, by listener name; "admin" is the operators' HTTP. */
  addresses(): Readonly<Record<string, TransportAddress>> {
    const entries = [
      ...this.listeners.map(({ name, address }) => [name, address] as const),
      ["admin", this.#admin?.address ?? null] as const,
    ];
    return Object.fromEntries(entries.filter((entry) => entry[1] !== null)) as never;
  }

  /**
   * Drains: no new connections, GoAway to all with a jittered time to come back, calls are
   * finished, queues flushed. After drain.graceMs what is left is reset. A second call with
   * `hasten` does that at once. Resolves when nothing is left.
   */
  async stop(options: { readonly hasten?: boolean } = {}): Promise<void> {
    if (this.#state === "new") this.#state = "stopped";
    if (this.#state === "stopped") return;
    if (this.#state === "starting") this.#misuse("stop() while starting");
    this.#state = "draining";
    if (this.#drain === null) {
      // Kept before it begins: what it ends may ask to stop again.
      this.#drain = new Drain(this, this.options.drain);
      this.#drain.begin();
    }
    if (options.hasten === true) this.#drain.hasten();
    await this.#drain.done;
    this.#gone ??= this.#letGo();
    await this.#gone;
  }

  /**
   * An event to every subscriber. Throws HOLDFAST_TOPIC_INVALID. @returns false: the topic is
   * behind.
   */
  publish(topic: string, payload: Uint8Array | string): boolean {
    this.#checkTopic(topic);
    return this.topics.publish(topic, bytesOf(payload)) === "published";
  }

  /** Null where nobody of that id is connected. */
  connection(id: string): ClientConnection | null {
    return this.registry.byId(id);
  }

  /** Connections whose Hello carried this label. */
  find(key: string, value: string): ReadonlySet<ClientConnection> {
    return this.registry.byLabel(key, value);
  }

  /** A push to one connection; "closed" where there is none. */
  send(id: string, topic: string, payload: Uint8Array | string): SendOutcome {
    return this.registry.byId(id)?.send(topic, payload) ?? "closed";
  }

  /** A push to each of many, encoded once. @returns to how many. */
  sendMany(
    connections: Iterable<ClientConnection>,
    topic: string,
    payload: Uint8Array | string,
  ): Promise<number> {
    return this.#broadcast.send(connections as Iterable<Connection>, topic, bytesOf(payload));
  }

  /** A push to all, in slices. @returns to how many. */
  broadcast(topic: string, payload: Uint8Array | string): Promise<number> {
    return this.sendMany(this.registry.all(), topic, payload);
  }

  // What follows is called by listeners and connections.

  refusal(): "overloaded" | "shutdown" | null {
    if (this.#state === "draining") return "shutdown";
    return this.admission.isFull ? "overloaded" : null;
  }

  nextSerial(): number {
    return ++this.#serial;
  }

  retryAfterMs(): number {
    const base = this.options.overload.retryAfterMs;
    return Math.round(base * (1 + this.shared.prng.float()));
  }

  onHello(connection: Connection, message: ClientMessage): void {
    if (!this.#session.hello(connection, message)) return;
    this.#opened(connection);
  }

  onMessage(connection: Connection, message: ClientMessage): void {
    this.#session.message(connection, message);
  }

  onRawOpen(connection: Connection): void {
    this.#opened(connection);
  }

  onRawError(connection: Connection, error: unknown): void {
    this.#handlerFailed(connection, "raw", error);
  }

  onDrain(connection: Connection): void {
    this.#hook("onDrain", () => this.#hooks.onDrain?.(connection));
  }

  onClosing(connection: Connection): void {
    for (let work = connection.work; work !== null; work = connection.work) work.abandon();
    this.topics.unsubscribeAll(connection);
    this.registry.removeLabels(connection);
  }

  onClosed(connection: Connection): void {
    const { reason, cause, code } = connection.ending!;
    this.closedByReason[reason]++;
    this.closedByCause[cause]++;
    this.closedRing.push(connection);
    this.log.event("connection_closed", cause === "peer_closed" ? "debug" : "info", () => ({
      ...fieldsOf(connection),
      reason,
      cause,
      code,
      ageMs: Math.round(connection.ageMs),
      bytesIn: connection.bytesIn,
      bytesOut: connection.bytesOut,
      bytesDiscarded: connection.bytesDiscarded,
    }));
    if (connection.has(MARK.TOLD)) {
      this.#hook("onDisconnect", () => this.#hooks.onDisconnect?.(connection, reason, cause));
    }
    this.#drain?.left();
  }

  onNote(connection: Connection, note: string): void {
    this.log.event("connection_note", "debug", () => ({ ...fieldsOf(connection), note }));
  }

  onIllegalTransition(connection: Connection, event: string): void {
    const state = connection.stateName;
    const fields = { ...fieldsOf(connection), state, trigger: event };
    this.log.error(fields, "illegal state transition");
  }

  onAcceptError(listener: string, code: string): void {
    this.log.event("accept_failed", "warn", () => ({ listener, code }));
  }

  #opened(connection: Connection): void {
    connection.marks |= MARK.TOLD;
    this.log.event("connection_opened", "debug", () => ({
      ...fieldsOf(connection),
      address: connection.remoteAddress,
      client: connection.clientName,
    }));
    this.#hook("onConnect", () => this.#hooks.onConnect?.(connection));
  }

  #hook(name: string, run: () => void): void {
    try {
      run();
    } catch (error) {
      this.log.event("hook_failed", "warn", () => ({ hook: name, err: error }));
    }
  }

  #handlerFailed(connection: Connection, method: string, error: unknown): void {
    this.log.event("handler_failed", "warn", () => ({
      ...fieldsOf(connection),
      method,
      err: error,
    }));
  }

  #checkTopic(topic: string): void {
    if (this.topics.isNameValid(topic)) return;
    const text = `a topic's name has 1 to ${this.options.topic.nameBytesMax} bytes`;
    throw new HoldfastError("HOLDFAST_TOPIC_INVALID", text);
  }

  #misuse(what: string): never {
    throw new HoldfastError("HOLDFAST_SERVER_STATE", what);
  }

  #onTick(lagMs: number): void {
    this.lagMs.observe(lagMs);
    if (++this.#ticks % LOOK_TICKS === 0) this.admission.look();
  }

  async #letGo(): Promise<void> {
    this.#ticker.stop();
    for (const listener of this.listeners) listener.transport.destroy();
    // Last, so that operators can follow the end.
    await this.#admin?.stop();
    this.#state = "stopped";
  }

  #newRouter(wheel: TimerWheel, scope: PayloadScope, clock: Clock): Router {
    const { timeoutMs, timeoutMsMax } = this.options.call;
    return new Router(
      {
        timeoutMs,
        timeoutMsMax,
        onAnswered: (elapsedMs, status) => {
          this.callsByStatus[status]!++;
          if (elapsedMs !== null) this.callMs.observe(elapsedMs);
        },
        onHandlerError: (connection, method, error) =>
          this.#handlerFailed(connection, method, error),
      },
      wheel,
      scope,
      () => clock.now(),
    );
  }

  #newAdmission(connectionsMax: number): Admission {
    const { fileLimit } = this;
    const filesMax = fileLimit === null ? Infinity : Math.max(1, fileLimit - FILES_RESERVED);
    const most = Math.min(connectionsMax, filesMax);
    if (most < connectionsMax) {
      const fields = { connectionMax: connectionsMax, fileLimit: this.fileLimit };
      this.log.warn(fields, `only ${most} connections fit the file limit: raise it (ulimit -n)`);
    }
    return new Admission(
      most,
      filesMax,
      countOpenFiles,
      () => this.listeners.reduce((sum, { transport }) => sum + transport.pendingFiles, 0),
      (accepting) => this.#setAccepting(accepting),
    );
  }

  #setAccepting(accepting: boolean): void {
    if (this.#state !== "serving") return;
    if (!accepting) this.shared.counters.acceptPauses++;
    const fields = { served: this.admission.served, fileLimit: this.fileLimit };
    if (accepting) this.log.info(fields, "accepting connections again");
    else this.log.warn(fields, "files are running out: not accepting until some are free");
    for (const { transport, name } of this.listeners) {
      if (!accepting) transport.stopAccepting();
      else transport.resumeAccepting().catch((error: Error) => this.#resumeFailed(name, error));
    }
  }

  #resumeFailed(listener: string, error: Error): void {
    this.log.error({ listener, err: error }, "cannot listen again; trying once more in a second");
    this.shared.clock.after(1_000, () => this.#setAccepting(this.admission.isAccepting));
  }

  #writers(): FrameWriter[] {
    const sessions = this.listeners.filter(({ context }) => context.raw === null);
    const framings = new Set(sessions.map(({ context }) => context.framing));
    return [...framings].map((framing) => new FrameWriter(framing));
  }

  #specs(extra: readonly ListenerSpec[]): ListenerSpec[] {
    const { tcp, websocket } = this.options;
    const specs: ListenerSpec[] = [];
    if (tcp.enabled) {
      specs.push({ name: "tcp", framing: tcp.framing, transport: { kind: "tcp", ...tcp } });
    }
    if (websocket.enabled) specs.push({ name: "websocket", transport: { kind: "websocket" } });
    specs.push(...extra);
    const names = new Set(specs.map(({ name }) => name));
    if (names.size < specs.length) this.#misuse("two listeners have the same name");
    if (names.has("admin")) this.#misuse('"admin" is no name for a listener: it is taken');
    return specs;
  }

  /** Without WebSocket where it cannot be had and need not be. */
  #openable(specs: readonly ListenerSpec[]): Listener[] {
    const listeners: Listener[] = [];
    for (const spec of specs) {
      try {
        listeners.push(this.#listener(spec));
      } catch (error) {
        const isOptional = spec.name === "websocket" && !this.options.websocket.required;
        if (!isOptional) throw error;
        this.log.warn({ err: error }, "serving without WebSocket");
      }
    }
    return listeners;
  }

  #listener(spec: ListenerSpec): Listener {
    const onUpgradeRefused = ({ cause, status }: UpgradeRefusal): void => {
      this.upgradesRefused[cause]!++;
      this.log.event("upgrade_refused", "info", () => ({ listener: spec.name, cause, status }));
    };
    const onOwnListener = (reason: string): void => {
      const isSaid = [...this.#tcpKinds.values()].some((chosen) => chosen.reason === reason);
      const fields = { listener: spec.name, reason: isSaid ? "the same as for TCP" : reason };
      this.log.info(fields, "uWebSockets.js accepts connections itself");
    };
    const onTcpKind = (chosen: TcpKind): void => void this.#tcpKinds.set(chosen.kind, chosen);
    return new Listener(
      {
        name: spec.name,
        framing: framingOf(spec),
        raw: spec.raw ?? null,
        limits: limitsOf(this.options, this.shared.wheel, spec.policy),
      },
      this.shared,
      this,
      transportOf(spec, this.options, {
        clock: this.shared.clock,
        epollLoop: () => (this.epollLoop ??= new EpollLoop(loadNative())),
        onTcpKind,
        onOwnListener,
        onUpgradeRefused,
      }),
    );
  }

  #tellTcpKinds(): void {
    for (const { kind, reason } of this.#tcpKinds.values()) {
      this.log.info({ transport: kind, reason }, `TCP is served by ${kind}`);
    }
    const { userTimeoutMs } = this.options.tcp;
    if (userTimeoutMs > 0 && this.#tcpKinds.has("tcp-net")) {
      this.log.warn({ userTimeoutMs }, "tcp.userTimeoutMs has no effect: it needs tcp-epoll");
    }
  }
}

/**
 * A server as an application sees it. The rest of {@link Server} is for the parts of this package.
 */
export type HoldfastServer = Pick<
  Server,
  | "addresses"
  | "broadcast"
  | "connection"
  | "find"
  | "method"
  | "node"
  | "options"
  | "publish"
  | "send"
  | "sendMany"
  | "start"
  | "state"
  | "stop"
  | "topicPolicy"
>;

/**
 * A server that does not listen yet: register methods, then `await start()`.
 * Throws HOLDFAST_OPTIONS_INVALID, HOLDFAST_TRANSPORT_UNAVAILABLE, HOLDFAST_FRAMING_INVALID.
 */
export function createServer(
  options: PartialOptions = {},
  parts: ServerParts = {},
): HoldfastServer {
  return new Server(options, parts);
}

function share(clock: Clock, seed: number | undefined, budgetBytes: number): ProcessContext {
  const pool = new BufferPool();
  const cork = new Cork(pool);
  const counters = new Counters();
  const scope = new PayloadScope();
  const budget = new SendBudget(budgetBytes);
  return {
    clock,
    pool,
    cork,
    counters,
    scope,
    budget,
    wheel: new TimerWheel(TICK_MS),
    prng: new Prng(seed ?? Prng.randomSeed()),
    reader: new MessageReader(scope),
    outbound: new Outbound(pool, cork, counters, budget),
    turn: { owner: null, work: 0 },
  };
}

/** What every log line about a connection carries. */
function fieldsOf(connection: Connection): { connection: string; transport: string } {
  return { connection: connection.id, transport: connection.context.transport.kind };
}

const encoder = new TextEncoder();

function bytesOf(payload: Uint8Array | string): Uint8Array {
  if (typeof payload === "string") return encoder.encode(payload);
  if (payload instanceof Uint8Array) return payload;
  throw new TypeError("a payload is a Uint8Array or a string");
}
