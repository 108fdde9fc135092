// The server: listeners, what they share, and the life of the whole. Everything else in this folder
// is a part that is put together here.

import { availableParallelism } from "node:os";
import { type Clock, systemClock } from "../base/clock.ts";
import { HoldfastError } from "../base/errors.ts";
import type { TimerWheel } from "../base/timer-wheel.ts";
import type { Bus } from "../bus/bus.ts";
import {
  connectionMax,
  countOpenFiles,
  type Machine,
  nodeName,
  readMachine,
  sendBudgetBytes,
} from "../config/machine.ts";
import { requireLive } from "../config/option-changes.ts";
import type { Options, PartialOptions } from "../config/options.ts";
import { optionsFrom } from "../config/resolve.ts";
import { CLOSE_CAUSES, CLOSE_REASONS } from "../connection/close-reason.ts";
import type { CloseCause, CloseReason } from "../connection/close-reason.ts";
import type { ClientConnection } from "../connection/client-connection.ts";
import type { Connection } from "../connection/connection.ts";
import type { ProcessContext } from "../connection/connection-context.ts";
import { MARK } from "../connection/mark.ts";
import type { SlowConsumerPolicy } from "../connection/send-queue.ts";
import { Buckets, CALL_MS, LAG_MS } from "../observe/buckets.ts";
import { type CountBy, countBy } from "../observe/counters.ts";
import { type Log, silentLog } from "../observe/log.ts";
import type { EpollLoop } from "../transport/epoll-loop.ts";
import type { TransportAddress } from "../transport/transport.ts";
import { UPGRADE_REFUSALS } from "../transport/upgrade-check.ts";
import { FrameWriter } from "../wire/frame-writer.ts";
import type { ClientMessage } from "../wire/messages.ts";
import type { PayloadScope } from "../wire/payload.ts";
import { Admin } from "./admin.ts";
import { Admission, FILES_RESERVED } from "./admission.ts";
import { Broadcast } from "./broadcast.ts";
import { bytesOf, Delivery, type DeliveryOutcome } from "./delivery.ts";
import { ClosedRing } from "./closed-ring.ts";
import { Drain } from "./drain.ts";
import { type Listener, SERIALS_PER_WORKER } from "./listener.ts";
import type { ListenerSpec } from "./listener-spec.ts";
import { type InheritedSockets, Listeners, type ListenersOwner } from "./listeners.ts";
import { processContext } from "./process-context.ts";
import { Registry } from "./registry.ts";
import { type CallHandler, Router } from "./router.ts";
import { serverControl, ServerSource } from "./server-source.ts";
import { Session } from "./session.ts";
import { Ticker } from "./ticker.ts";
import { type TopicLimits, Topics } from "./topics.ts";

/** Files are counted so often, in milliseconds: the kernel walks all of them for it. */
const LOOK_MS = 1_000;

/** What a server is built from; the defaults are the real ones. */
export interface ServerParts {
  readonly clock?: Clock;
  /** Seeds jitter; default: random. */
  readonly seed?: number;
  readonly log?: Log;
  /** Listeners beside those of the options. */
  readonly listeners?: readonly ListenerSpec[];
  /**
   * Listening sockets that the process was started with, by listener: each accepts on these instead
   * of opening its own. They stay open. More than one needs the native addon.
   */
  readonly sockets?: InheritedSockets;
  /**
   * Other processes of the same server open the same ports themselves, which uWebSockets.js does
   * where it is handed no sockets. Default: false, a port that is taken is an error.
   */
  readonly sharesPorts?: boolean;
  /**
   * Which of the processes it is that make up one server: 1 and above, each number used once, so
   * that ids of connections are unique among them and tell theirs. Default: 0, the only one.
   */
  readonly worker?: number;
  /** How many processes share the machine's memory; a budget that follows from it is divided. */
  readonly processes?: number;
  readonly hooks?: ServerHooks;
  /** To the other workers of the server; its member is `worker`. */
  readonly bus?: Bus;
  /** False: somebody else answers operators, whatever `admin.enabled` says. */
  readonly admin?: false;
  /** What an operator's order to drain does; default: stop(). */
  readonly drain?: (hasten: boolean) => void;
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

export class Server implements ListenersOwner {
  readonly node: string;
  readonly shared: ProcessContext;
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
  #options: Options;
  readonly #machine: Machine;
  /** What it was told to serve instead of connection.max. */
  #connectionsMax: number | null = null;
  #state: ServerState = "new";
  #serial: number;
  #ticks: number = 0;
  readonly #hooks: ServerHooks;
  readonly #session: Session;
  readonly #ticker: Ticker;
  readonly #listeners: Listeners;
  readonly #policies: Map<string, SlowConsumerPolicy> = new Map();
  readonly #bus: Bus | null;
  readonly #delivery: Delivery;
  readonly #admin: Admin | null;
  #drain: Drain | null = null;
  #gone: Promise<void> | null = null;

  /** Throws HOLDFAST_OPTIONS_INVALID, HOLDFAST_TRANSPORT_UNAVAILABLE, HOLDFAST_FRAMING_INVALID. */
  constructor(partial: PartialOptions = {}, parts: ServerParts = {}) {
    const options = optionsFrom(partial);
    const machine = readMachine(parts.processes);
    const clock = parts.clock ?? systemClock;
    this.#options = options;
    this.#machine = machine;
    this.node = nodeName(options, machine);
    this.fileLimit = machine.fileLimit;
    this.log = parts.log ?? silentLog;
    this.#hooks = parts.hooks ?? {};
    this.#bus = parts.bus ?? null;
    const isCrowded = (parts.processes ?? 1) > availableParallelism();
    const budgetBytes = sendBudgetBytes(options, machine);
    this.shared = processContext(clock, parts.seed, budgetBytes, isCrowded);
    const { wheel, counters, pool, scope } = this.shared;
    this.router = this.#newRouter(wheel, scope, clock);
    this.#serial = (parts.worker ?? 0) * SERIALS_PER_WORKER;
    this.#listeners = new Listeners(this, parts);
    this.admission = this.#newAdmission();
    this.registry = new Registry(this.listeners);
    this.topics = new Topics(
      topicLimits(options),
      pool,
      clock,
      this.#writers(),
      this.shared.turn,
      (topic) => this.#policies.get(topic) ?? null,
      this.#bus,
    );
    this.#session = new Session(options, this.node, this.router, this.topics, this.registry);
    const broadcast = new Broadcast(pool, clock, this.#writers());
    this.#delivery = new Delivery(this.registry, broadcast, this.#bus, (error) => {
      this.topics.goLocal();
      const fields = error === null ? {} : { err: error };
      this.log.warn(fields, "the bus to the other workers has ended: serving alone");
    });
    this.closedRing = new ClosedRing(options.debug.closedRing, clock);
    this.#ticker = new Ticker(clock, wheel, counters, (lag) => this.#onTick(lag));
    this.#admin = this.#newAdmin(parts);
  }

  /** Deep frozen; replaced by {@link reconfigure}. */
  get options(): Options {
    return this.#options;
  }

  get state(): ServerState {
    return this.#state;
  }

  get listeners(): readonly Listener[] {
    return this.#listeners.all;
  }

  /** Of every native listener; it ends with the last of them. Null where there is none. */
  get epollLoop(): EpollLoop | null {
    return this.#listeners.epollLoop;
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
    this.#tellConnectionsMax();
    this.#ticker.start();
    try {
      await this.#admin?.start();
      await this.#listeners.listen();
    } catch (error) {
      await this.#letGo();
      throw error;
    }
    this.#state = "serving";
  }

  /**
   * Accepts on these inherited sockets too, those of a sibling that is down say, until they are
   * released. Those that it has make no difference. Rejects with HOLDFAST_LISTEN_FAILED, and with
   * HOLDFAST_SERVER_STATE where it does not serve or a listener cannot.
   */
  async adopt(sockets: InheritedSockets): Promise<void> {
    await this.#listeners.adopt(sockets);
  }

  /**
   * Accepts on these no more: who waits there waits for whoever else has them. Throws
   * HOLDFAST_SERVER_STATE as {@link adopt} does.
   */
  release(sockets: InheritedSockets): void {
    this.#listeners.release(sockets);
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
   * Takes up the live options of `options`, at once and all of them, for the connections that are
   * there as well. Deadlines that have begun may still run as long as they were, and a stop that
   * is under way goes on as it began.
   *
   * Throws HOLDFAST_OPTIONS_INVALID, with nothing changed, where options are not valid or one that
   * is not live differs.
   */
  reconfigure(options: Options): void {
    const next = optionsFrom(options);
    requireLive(this.#options, next);
    this.#options = next;
    this.#session.options = next;
    this.#listeners.reconfigure();
    this.router.timeouts = next.call;
    this.topics.limits = topicLimits(next);
    this.shared.budget.bytesMax = sendBudgetBytes(next, this.#machine);
    this.admission.setConnectionsMax(this.#admissible());
    this.closedRing.setCapacity(next.debug.closedRing);
    this.log.configure?.(next.log);
    this.#tellConnectionsMax();
  }

  /**
   * How many connections are served at most, instead of connection.max: the share of one process
   * of several. 0 serves nobody. Where more are there already they stay, and newcomers are refused.
   */
  setConnectionsMax(connectionsMax: number): void {
    this.#connectionsMax = connectionsMax;
    this.admission.setConnectionsMax(this.#admissible());
  }

  /**
   * Drains: no new connections, GoAway to all with a jittered time to come back; then clients may
   * leave and calls end. What is left after drain.graceMs is closed in order, spread over
   * drain.closeSpreadMs, and reset a second later. A second call with `hasten` resets everything
   * at once. Resolves when nothing is left.
   */
  async stop(options: { readonly hasten?: boolean } = {}): Promise<void> {
    if (this.#state === "new") this.#state = "stopped";
    if (this.#state === "stopped") return;
    if (this.#state === "starting") this.#misuse("stop() while starting");
    this.#state = "draining";
    if (this.#drain === null) {
      // Kept before it begins: what it ends may ask to stop again.
      this.#drain = new Drain(this, this.options.drain);
      this.#listeners.stopForGood();
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

  /**
   * A push to one connection; "closed" where there is none, "forwarded" where another worker
   * holds it, and "dropped" where that worker is too far behind.
   */
  send(id: string, topic: string, payload: Uint8Array | string): DeliveryOutcome {
    return this.#delivery.send(id, topic, payload);
  }

  /** A push to each of many connections of this process, encoded once. @returns to how many. */
  sendMany(
    connections: Iterable<ClientConnection>,
    topic: string,
    payload: Uint8Array | string,
  ): Promise<number> {
    return this.#delivery.sendMany(connections, topic, payload);
  }

  /** A push to all with this label, on every worker. @returns to how many, as far as is known. */
  sendToLabel(
    key: string,
    value: string,
    topic: string,
    payload: Uint8Array | string,
  ): Promise<number> {
    return this.#delivery.reach([key, value], topic, payload);
  }

  /** A push to all, on every worker, in slices. @returns to how many, as far as is known. */
  broadcast(topic: string, payload: Uint8Array | string): Promise<number> {
    return this.#delivery.reach(null, topic, payload);
  }

  // What follows is called by listeners and connections.

  refusal(): "overloaded" | "shutdown" | null {
    if (this.#drain?.isClosing === true) return "shutdown";
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
    this.#drain?.tell(connection);
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
    if (++this.#ticks % (LOOK_MS / this.shared.wheel.tickMs) === 0) this.admission.look();
  }

  #newAdmin(parts: ServerParts): Admin | null {
    if (!this.options.admin.enabled || parts.admin === false) return null;
    const drain = parts.drain ?? ((hasten: boolean): void => void this.stop({ hasten }));
    const control = serverControl(this, drain);
    return new Admin(new ServerSource(this), control, this.options.admin, (error) =>
      this.log.error({ err: error }, "an admin request failed"),
    );
  }

  async #letGo(): Promise<void> {
    this.#ticker.stop();
    this.#listeners.destroy();
    await this.#bus?.close();
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

  #filesMax(): number {
    const { fileLimit } = this;
    return fileLimit === null ? Infinity : Math.max(1, fileLimit - FILES_RESERVED);
  }

  #admissible(): number {
    const wanted = this.#connectionsMax ?? connectionMax(this.#options, this.#machine);
    return Math.min(wanted, this.#filesMax());
  }

  #tellConnectionsMax(): void {
    if (this.#connectionsMax !== null) return;
    const wanted = connectionMax(this.#options, this.#machine);
    const { connectionsMax } = this.admission;
    if (connectionsMax >= wanted) return;
    const fields = { connectionMax: wanted, fileLimit: this.fileLimit };
    const text = `only ${connectionsMax} connections fit the file limit: raise it (ulimit -n)`;
    this.log.warn(fields, text);
  }

  #newAdmission(): Admission {
    return new Admission(
      this.#admissible(),
      this.#filesMax(),
      countOpenFiles,
      () => this.#listeners.pendingFiles,
      (accepting) => this.#listeners.setAccepting(accepting),
    );
  }

  #writers(): FrameWriter[] {
    const sessions = this.listeners.filter(({ context }) => context.raw === null);
    const framings = new Set(sessions.map(({ context }) => context.framing));
    return [...framings].map((framing) => new FrameWriter(framing));
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
  | "sendToLabel"
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

function topicLimits({ topic }: Options): TopicLimits {
  const { perConnectionMax, nameBytesMax, max, backlogEventsMax } = topic;
  return { perConnectionMax, nameBytesMax, topicsMax: max, backlogEventsMax };
}

/** What every log line about a connection carries. */
function fieldsOf(connection: Connection): { connection: string; transport: string } {
  return { connection: connection.id, transport: connection.context.transport.kind };
}
