// What must hold after any abuse: the process lives; every hostile connection was closed once, for
// one reason that was counted and logged; files, timers, leases, queued bytes and registry entries
// are back where they were; and neighbours, one on each transport, did not notice.

import { readdirSync } from "node:fs";
import { performance } from "node:perf_hooks";
import { setTimeout as delay } from "node:timers/promises";
import { expect, onTestFinished } from "vitest";
import type { PartialOptions, TcpTransportName } from "../../src/config/options.ts";
import { CLOSE_CAUSES, CLOSE_REASONS, type CloseCause } from "../../src/connection/close-reason.ts";
import type { Log, LogEvent, LogFields } from "../../src/observe/log.ts";
import { Server, type ServerParts } from "../../src/server/server.ts";
import { COUNTER } from "../../src/transport/epoll-layout.ts";
import { UPGRADE_REFUSALS } from "../../src/transport/upgrade-check.ts";
import { loadUws } from "../../src/transport/uws.ts";
import { RawClient, type RawOptions, type RawTransport } from "./raw-client.ts";

/**
 * What serves TCP: an option of the server, and of those that are processes of their own. The
 * project hostile-tcp-net runs what concerns TCP once more with "tcp-net".
 */
const TCP_TRANSPORT = process.env["HOLDFAST_TCP_TRANSPORT"] as TcpTransportName | undefined;

/** Without "websocket" where no uWebSockets.js fits this machine. */
export const RAW_TRANSPORTS: readonly RawTransport[] = hasWebSocket()
  ? ["tcp", "websocket"]
  : ["tcp"];

export function hasWebSocket(): boolean {
  if (TCP_TRANSPORT !== undefined) return false;
  try {
    return loadUws().version !== "";
  } catch {
    return false;
  }
}

/** Most milliseconds that a neighbour's echo may take, on a machine that does other things too. */
const NEIGHBOUR_MS = 500;
const ECHO_EVERY_MS = 10;
const SETTLE_MS = 6_000;

/** The log as a list, to be looked at afterwards. */
export class RecordingLog implements Log {
  readonly lines: { readonly level: string; readonly fields: LogFields; readonly text: string }[] =
    [];
  readonly events: { readonly kind: LogEvent; readonly fields: LogFields }[] = [];

  debug(): void {}
  info(fields: LogFields, text: string): void {
    this.lines.push({ level: "info", fields, text });
  }
  warn(fields: LogFields, text: string): void {
    this.lines.push({ level: "warn", fields, text });
  }
  error(fields: LogFields, text: string): void {
    this.lines.push({ level: "error", fields, text });
  }
  event(kind: LogEvent, _level: string, fields: () => LogFields): void {
    this.events.push({ kind, fields: fields() });
  }

  of(kind: LogEvent): LogFields[] {
    return this.events.filter((event) => event.kind === kind).map(({ fields }) => fields);
  }
}

export interface OracleParts extends ServerParts {
  /** Registers methods before the server starts; `echo` is there already. */
  readonly methods?: (server: Server) => void;
}

export interface Verdict {
  /** Most milliseconds for a neighbour's echo; default 500. */
  readonly neighbourMs?: number;
  /** Messages at level error that are expected. */
  readonly errors?: number;
}

/** Everything that connections hold. */
export function holdings(server: Server): Record<string, unknown> {
  const { wheel, pool, budget } = server.shared;
  return {
    leases: pool.leased,
    leasedBytes: pool.leasedBytes,
    timers: wheel.live,
    timersArmed: wheel.armed,
    queuedBytes: budget.bytes,
    backlogged: budget.backlogged.size,
    connections: [...server.registry.all()].length,
    labels: server.registry.labelCount,
    topics: server.topics.count,
    subscriptions: server.topics.subscriptionCount,
    topicBacklog: server.topics.backlogCount,
    served: server.admission.served,
    turnedAway: server.admission.turnedAway,
    pendingFiles: server.listeners.reduce((sum, { transport }) => sum + transport.pendingFiles, 0),
    states: server.listeners.map(({ context }) => [...context.stateCounts]),
  };
}

/** Files of this process; 0 where the system does not say. */
export function openFiles(): number {
  try {
    return readdirSync("/proc/self/fd").length;
  } catch {
    return 0;
  }
}

export class Oracle {
  readonly server: Server;
  readonly log: RecordingLog = new RecordingLog();
  readonly neighbours: RawClient[] = [];
  /** The slowest echo of a neighbour so far. */
  slowestEchoMs: number = 0;
  echoes: number = 0;
  readonly #clients: RawClient[] = [];
  #baseline: Record<string, unknown> = {};
  #files: number = 0;
  #filesBefore: number = 0;
  #isOver: boolean = false;
  /** Null, or why a neighbour could not go on. */
  #echoing: Promise<Error | null> = Promise.resolve(null);

  private constructor(options: PartialOptions, parts: OracleParts) {
    const { methods, ...rest } = parts;
    this.server = new Server(
      {
        ...options,
        tcp: { host: "127.0.0.1", port: 0, transport: TCP_TRANSPORT ?? "auto", ...options.tcp },
        websocket: { host: "127.0.0.1", port: 0, enabled: hasWebSocket(), ...options.websocket },
        admin: { enabled: false, host: "127.0.0.1", port: 0, ...options.admin },
      },
      { log: this.log, seed: 1, ...rest },
    );
    this.server.method("echo", ({ payload }) => payload);
    methods?.(this.server);
  }

  /** Starts a server with neighbours; the test's end stops it. */
  static async watch(options: PartialOptions = {}, parts: OracleParts = {}): Promise<Oracle> {
    const oracle = new Oracle(options, parts);
    oracle.#filesBefore = openFiles();
    onTestFinished(() => oracle.#dispose());
    await oracle.server.start();
    for (const transport of RAW_TRANSPORTS) {
      const neighbour = await RawClient.active({ ...oracle.at(transport) });
      await neighbour.echo("before");
      oracle.neighbours.push(neighbour);
    }
    oracle.#baseline = holdings(oracle.server);
    oracle.#files = openFiles();
    oracle.#echoing = Promise.all(oracle.neighbours.map((each) => oracle.#keepEchoing(each))).then(
      () => null,
      (error: Error) => error,
    );
    return oracle;
  }

  at(transport: RawTransport): RawOptions {
    return { port: this.port(transport), transport };
  }

  /** Of a listener, by its name. */
  port(listener: string): number {
    return this.server.addresses()[listener]!.port;
  }

  /** A hostile client that has said nothing yet. */
  async client(transport: RawTransport, options: Partial<RawOptions> = {}): Promise<RawClient> {
    return this.#keep(await RawClient.connect({ ...this.at(transport), ...options }));
  }

  /** A hostile client that was made welcome. */
  async active(transport: RawTransport, options: Partial<RawOptions> = {}): Promise<RawClient> {
    return this.#keep(await RawClient.active({ ...this.at(transport), ...options }));
  }

  /** Waits for something of the server's that no client is told of. */
  async until(holds: () => boolean, what: string, timeoutMs: number = SETTLE_MS): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (!holds()) {
      if (performance.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`);
      await delay(5);
    }
  }

  /**
   * Judges: every connection but the neighbours has closed, with these causes and no others, and
   * nothing is left of them. Then the server stops, and nothing at all is left.
   */
  async verdict(
    causes: Readonly<Partial<Record<CloseCause, number>>>,
    { neighbourMs = NEIGHBOUR_MS, errors = 0 }: Verdict = {},
  ): Promise<void> {
    const { server } = this;
    const gone = Object.values(causes).reduce((sum, count) => sum + count, 0);
    await this.until(() => this.#closed() >= gone, `${gone} have closed: ${this.#told()}`);
    await this.#afterwards(neighbourMs);
    expect(this.#causes(), "closed, by cause").toEqual(causes);
    expect(sum(server.closedByReason), "each has one reason").toBe(gone);
    await this.#baselineAgain();
    this.#checkLabels(gone, errors);
    await this.#stop();
  }

  #causes(): Partial<Record<CloseCause, number>> {
    const entries = Object.entries(this.server.closedByCause).filter(([, count]) => count > 0);
    return Object.fromEntries(entries);
  }

  #closed(): number {
    return sum(this.server.closedByCause);
  }

  #told(): string {
    return JSON.stringify(this.#causes());
  }

  async #afterwards(neighbourMs: number): Promise<void> {
    const during = this.echoes;
    this.#isOver = true;
    const suffered = await this.#echoing;
    if (suffered !== null) throw suffered;
    for (const neighbour of this.neighbours) await this.#echo(neighbour);
    expect(during, "neighbours echoed meanwhile").toBeGreaterThan(0);
    expect(this.slowestEchoMs, "a neighbour's slowest echo").toBeLessThan(neighbourMs);
  }

  async #baselineAgain(): Promise<void> {
    const { server } = this;
    const isBack = (): boolean =>
      openFiles() === this.#files &&
      JSON.stringify(holdings(server)) === JSON.stringify(this.#baseline);
    await this.until(isBack, "").catch(() => {});
    expect(holdings(server), "what connections hold").toEqual(this.#baseline);
    expect(openFiles(), "files").toBe(this.#files);
  }

  #checkLabels(gone: number, errors: number): void {
    const { server, log } = this;
    expect(server.shared.counters.illegalTransitions, "illegal moves").toBe(0);
    expect(log.lines.filter(({ level }) => level === "error").length, "errors").toBe(errors);
    const closed = log.of("connection_closed");
    expect(closed.length, "one line per closed connection").toBe(gone);
    for (const { reason, cause } of closed) {
      expect(Object.keys(CLOSE_REASONS)).toContain(reason);
      expect(Object.keys(CLOSE_CAUSES)).toContain(cause);
    }
    expect(Object.keys(server.closedByReason)).toEqual(Object.keys(CLOSE_REASONS));
    expect(Object.keys(server.closedByCause)).toEqual(Object.keys(CLOSE_CAUSES));
    expect(Object.keys(server.upgradesRefused)).toEqual([...UPGRADE_REFUSALS]);
    expect(server.callsByStatus.length).toBe(17);
  }

  async #stop(): Promise<void> {
    await this.#dispose();
    const left = { ...holdings(this.server), states: null };
    this.#checkLoop();
    const nothing = Object.fromEntries(Object.keys(left).map((name) => [name, 0]));
    expect(left, "what a stopped server holds").toEqual({ ...nothing, states: null });
    await this.until(() => openFiles() <= this.#filesBefore, "").catch(() => {});
    expect(openFiles(), "files of a stopped server").toBeLessThanOrEqual(this.#filesBefore);
  }

  /** What the native loop held is given back, and it was asked for nothing that made no sense. */
  #checkLoop(): void {
    const counters = this.server.epollLoop?.counters;
    if (counters === undefined) return;
    const { queueBytes, queues, sockets, invalidOperations } = COUNTER;
    const left = [queueBytes, queues, sockets, invalidOperations].map((index) => counters[index]);
    expect(left, "queued bytes, queues, sockets, invalid operations").toEqual([0, 0, 0, 0]);
  }

  async #dispose(): Promise<void> {
    this.#isOver = true;
    for (const client of [...this.neighbours, ...this.#clients]) client.socket.destroy();
    const late = delay(SETTLE_MS, "late" as const, { ref: false });
    if ((await Promise.race([this.server.stop({ hasten: true }), late])) !== "late") return;
    throw new Error(`the server does not stop: ${JSON.stringify(holdings(this.server))}`);
  }

  #keep(client: RawClient): RawClient {
    this.#clients.push(client);
    return client;
  }

  async #keepEchoing(neighbour: RawClient): Promise<void> {
    while (!this.#isOver) {
      await this.#echo(neighbour);
      await delay(ECHO_EVERY_MS);
    }
  }

  async #echo(neighbour: RawClient): Promise<void> {
    const elapsed = await neighbour.echo().catch((error: Error) => {
      if (this.#isOver && neighbour.socket.destroyed) return 0;
      throw new Error(`a neighbour suffers: ${error.message}`);
    });
    this.echoes++;
    this.slowestEchoMs = Math.max(this.slowestEchoMs, elapsed);
  }
}

function sum(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((total, count) => total + count, 0);
}
