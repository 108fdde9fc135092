// The load of one process: opens connections by its share of the schedules, holds them, sends what
// is due over them, and counts. One timer drives all of it; a report goes to the controller four
// times a second.

import type { Bytes } from "../base/buffer-pool.ts";
import type { Clock, Scheduled } from "../base/clock.ts";
import { Prng } from "../base/prng.ts";
import { Arrivals } from "./arrivals.ts";
import { Dialogue, type DialogueEvents } from "./dialogue.ts";
import type { FailureCode } from "./failure.ts";
import type {
  ArrivalPlan,
  FaultCounts,
  Faults,
  GeneratorHealth,
  GeneratorReport,
  GeneratorSetup,
  ScheduledKind,
} from "./generator-messages.ts";
import { GeneratorTally, noFaults } from "./generator-tally.ts";
import { HeldConnections } from "./held-connections.ts";
import { InFlight, wireId } from "./in-flight.ts";
import { type ConnectionOwner, ProbeConnection, STATE, type State } from "./probe-connection.ts";
import type { ProbeNetwork } from "./probe-socket.ts";
import { OPERATION_KINDS, type OperationKind } from "./report.ts";
import { type Return, Returns } from "./returns.ts";
import { SourceAddresses } from "./source-addresses.ts";
import type { Target } from "./target.ts";
import { TopicLedger } from "./topic-ledger.ts";

export const REPORT_MS = 250;
/** The probe's own ticks: ten a second, each on its place of an absolute grid. */
const TICK_MS = 100;
/** What net may hold back for one connection before nothing more is sent over it. */
const QUEUE_BYTES_MAX = 262_144;
/** Composed for one connection before it is written. */
const WRITE_BYTES_MAX = 32_768;
/** Clients that come back in one turn: then sockets are looked at. */
const RETURNS_PER_TURN = 128;
/** So late do arrivals start between timers: sooner, each would be a turn of its own. */
const OVERDUE_MS = 0.25;

export class Generator implements ConnectionOwner, DialogueEvents {
  readonly targets: readonly Target[];
  readonly subprotocol: string;
  readonly network: ProbeNetwork;
  readonly #setup: GeneratorSetup;
  readonly #clock: Clock;
  readonly #report: (report: GeneratorReport) => void;
  readonly #health: () => GeneratorHealth;
  readonly #dialogue: Dialogue;
  readonly #arrivals: Arrivals;
  readonly #tally: GeneratorTally = new GeneratorTally();
  readonly #prng: Prng;
  readonly #sources: SourceAddresses | null;
  readonly #attempts: InFlight<ProbeConnection> = new InFlight();
  readonly #operations: InFlight<ProbeConnection> = new InFlight();
  readonly #held: HeldConnections = new HeldConnections();
  readonly #returns: Returns;
  readonly #startedMs: number;
  readonly #topics: TopicLedger;
  #nextTarget: number;
  /** Operations whose answer may still come; those of connections that ended are over. */
  #waiting: number = 0;
  /** The connection that operations are being composed for, and how many more it carries. */
  #carrier: ProbeConnection | null = null;
  #carries: number = 0;
  /** Echoes that one connection carries in this turn: more than one where more are due. */
  #perCarrier: number = 1;
  #stage: number = -1;
  #shrinkTo: number = Infinity;
  #shrinkPerSecond: number = 0;
  #shrinkAtMs: number = 0;
  #nextTickMs: number;
  #nextReportMs: number;
  #reportedMs: number;
  #timer: Scheduled | null = null;
  #connectedAtMs: number = 0;
  /** Since the start, or since we closed the last one ourselves. */
  #hasConnected: boolean = false;
  readonly #faults: FaultCounts = noFaults();
  readonly #backlog: Record<OperationKind, number> = { connect: 0, echo: 0, publish: 0 };
  #isLooking: boolean = false;
  readonly #look: () => void = () => {
    this.#isLooking = false;
    const now = this.#clock.now();
    if (this.#arrivals.nextMs <= now - OVERDUE_MS) this.#startDue(now);
  };

  constructor(
    setup: GeneratorSetup,
    network: ProbeNetwork,
    clock: Clock,
    health: () => GeneratorHealth,
    report: (report: GeneratorReport) => void,
  ) {
    this.#setup = setup;
    this.#clock = clock;
    this.#health = health;
    this.#report = report;
    this.targets = setup.targets;
    this.network = network;
    this.#dialogue = new Dialogue(setup, this);
    this.subprotocol = this.#dialogue.subprotocol;
    this.#arrivals = new Arrivals(setup.seed);
    this.#prng = new Prng(setup.seed + setup.index);
    this.#returns = new Returns(this.#prng);
    this.#sources =
      setup.sources === null
        ? null
        : new SourceAddresses(setup.sources, setup.targets.length, setup.sourceStart);
    this.#topics = new TopicLedger(setup.topics, setup.generators);
    this.#nextTarget = setup.index % setup.targets.length;
    const now = clock.now();
    this.#startedMs = now;
    this.#nextTickMs = now + TICK_MS;
    this.#nextReportMs = now + REPORT_MS;
    this.#reportedMs = now;
    this.#sleep(now);
  }

  /** Ends the stage with a report; everything after counts for this one. */
  beginStage(stage: number): void {
    this.#sendReport(this.#clock.now(), true);
    this.#stage = stage;
  }

  addArrivals(plan: ArrivalPlan): void {
    this.#arrivals.add(plan);
    this.#wake();
  }

  /**
   * Starts what is due, as much as one turn may, and no more. What is left then stays scheduled,
   * and is missing from what was started.
   */
  halt(kind: ScheduledKind): void {
    this.#arrivals.run(this.#clock.now(), this.#startArrival);
    this.#dismissCarrier();
    const counts = this.#tally.counts[kind === "churn" ? "connect" : kind];
    counts.scheduled += this.#arrivals.backlog(kind, this.#clock.now());
    this.#arrivals.halt(kind);
  }

  shrink(to: number, perSecond: number): void {
    this.#shrinkTo = to;
    this.#shrinkPerSecond = perSecond;
    this.#shrinkAtMs = this.#clock.now();
  }

  /** Events up to these numbers were published; those that did not come were missed. */
  settle(published: readonly (readonly number[])[]): void {
    this.#topics.settle(this.#held.fit, published, this.#tally.deliveries);
  }

  /** Closes every connection, and reports a last time. */
  stop(): void {
    this.#timer?.cancel();
    for (const kind of ["connect", "echo", "publish", "churn"] as const) this.#arrivals.halt(kind);
    this.#returns.clear();
    let attempt: number;
    while ((attempt = this.#attempts.oldest(Infinity)) !== 0) {
      this.#attempts.ownerOf(attempt)!.close();
      this.#attempts.remove(attempt);
    }
    for (const connection of this.#held.all) this.#retire(connection);
    this.#sendReport(this.#clock.now(), true);
  }

  // What is due.

  #wake(): void {
    this.#timer?.cancel();
    this.#timer = this.#clock.afterPoll(() => this.#turn());
  }

  #sleep(now: number): void {
    const next = Math.min(this.#arrivals.nextMs, this.#nextTickMs, this.#returns.nextMs);
    this.#timer =
      next <= now
        ? this.#clock.afterPoll(() => this.#turn())
        : this.#clock.after(Math.max(1, next - now), () => this.#turn());
  }

  #startDue(now: number): void {
    const due = this.#arrivals.backlog("echo", now);
    this.#perCarrier = Math.ceil(due / Math.max(1, this.#held.fit.length));
    this.#arrivals.run(now, this.#startArrival);
    this.#dismissCarrier();
  }

  /** Timers come a millisecond apart or more; where answers come meanwhile, the loop is awake. */
  #lookAfterPoll(): void {
    if (this.#isLooking) return;
    this.#isLooking = true;
    this.#clock.afterPoll(this.#look);
  }

  #turn(): void {
    const now = this.#clock.now();
    this.#startDue(now);
    this.#returns.take(now, RETURNS_PER_TURN, this.#startReturn);
    while (this.#nextTickMs <= now) {
      this.#tally.histogram("lateness").recordMs(now - this.#nextTickMs);
      this.#nextTickMs += TICK_MS;
    }
    // After a standstill, what has arrived in time lies in the sockets and is to be read first.
    if (this.#isOverdue(now)) this.#clock.afterPoll(() => this.#expire(now));
    this.#shrinkSome(now);
    if (now >= this.#nextReportMs) {
      this.#sendReport(now, false);
      this.#nextReportMs += Math.ceil((now - this.#nextReportMs + 1) / REPORT_MS) * REPORT_MS;
    }
    this.#sleep(this.#clock.now());
  }

  readonly #startArrival = (kind: ScheduledKind, intendedMs: number): void => {
    if (kind === "connect") this.#connect(intendedMs);
    else if (kind === "churn") this.#churn(intendedMs);
    else this.#operate(kind, intendedMs);
  };

  #isOverdue(now: number): boolean {
    const { connectTimeoutMs, operationTimeoutMs } = this.#setup;
    return (
      this.#attempts.oldest(now - connectTimeoutMs) !== 0 ||
      this.#operations.oldest(now - operationTimeoutMs) !== 0
    );
  }

  /** Overdue attempts and operations: both lists are in the order of their start. */
  #expire(now: number): void {
    const { connectTimeoutMs, operationTimeoutMs } = this.#setup;
    let attempt: number;
    while ((attempt = this.#attempts.oldest(now - connectTimeoutMs)) !== 0) {
      const connection = this.#attempts.ownerOf(attempt)!;
      const isSearching = connection.state === STATE.CONNECTING && connection.searchMs > 0;
      if (isSearching) connection.fail("connect.local_exhausted");
      else connection.timeOut();
    }
    let operation: number;
    while ((operation = this.#operations.oldest(now - operationTimeoutMs)) !== 0) {
      const connection = this.#operations.ownerOf(operation)!;
      this.#operations.remove(operation);
      // Those of a connection that has ended were counted when it did.
      if (connection.state === STATE.CLOSED) continue;
      this.#operationFailed(`${this.#operationKind}.timeout`);
      this.#operationEnded(connection);
    }
  }

  // Connections.

  #connect(intendedMs: number, returns: number = 0): void {
    this.#dismissCarrier();
    const now = this.#clock.now();
    const connection = new ProbeConnection(this, this.#nextTarget);
    connection.returns = returns;
    this.#nextTarget = (this.#nextTarget + 1) % this.targets.length;
    if (this.#setup.traffic === "publish") connection.topic = this.#topics.nextSubscription();
    this.#tally.counts.connect.started++;
    this.#tally.histogram("connectLateness").recordMs(now - intendedMs);
    connection.attempt = this.#attempts.add(connection, intendedMs, now);
    this.#open(connection);
  }

  #open(connection: ProbeConnection): void {
    const sources = this.#sources;
    if (sources === null) {
      connection.open("", 0);
      return;
    }
    const pair = sources.take(connection.target);
    if (pair === -1) {
      this.onGone(connection, STATE.CONNECTING, "connect.local_exhausted");
      return;
    }
    connection.pair = pair;
    connection.open(sources.addressOf(pair), sources.portOf(pair));
  }

  onAddressTaken(connection: ProbeConnection): boolean {
    if (this.#sources === null || connection.pair === -1) return false;
    this.#sources.skip(connection.target, connection.pair);
    connection.pair = -1;
    const startedMs = this.#attempts.startedMs(connection.attempt);
    const searchMs = this.#clock.now() - startedMs;
    if (searchMs > this.#setup.connectTimeoutMs) return false;
    connection.searchMs = Math.max(1, Math.round(searchMs));
    this.#open(connection);
    return true;
  }

  onSecure(connection: ProbeConnection): void {
    this.#dialogue.requestUpgrade(connection);
  }

  onTransport(connection: ProbeConnection): void {
    this.#dialogue.begin(connection);
  }

  onStream(connection: ProbeConnection, bytes: Bytes, start: number, end: number): number {
    return this.#dialogue.read(connection, bytes, start, end);
  }

  onPing(connection: ProbeConnection, bytes: Bytes, start: number, end: number): void {
    if (!connection.isSilent) this.#dialogue.pong(connection, bytes, start, end);
  }

  onReady(connection: ProbeConnection): void {
    const now = this.#clock.now();
    const { attempt } = connection;
    const { counts } = this.#tally;
    connection.move(STATE.HELD);
    connection.returns = 0;
    connection.waiting = 0;
    connection.heldAtMs = Math.round(now - this.#startedMs);
    counts.connect.succeeded++;
    this.#connectedAtMs = now;
    this.#hasConnected = true;
    this.#tally.histogram("connect").recordMs(now - this.#attempts.intendedMs(attempt));
    // Looking for a free pair was our own affair.
    const serviceMs = now - this.#attempts.startedMs(attempt) - connection.searchMs;
    this.#tally.histogram("connectService").recordMs(serviceMs);
    this.#attempts.remove(attempt);
    connection.attempt = 0;
    this.#enlist(connection);
  }

  #enlist(connection: ProbeConnection): void {
    const { slowReader, halfOpen } = this.#setup.faults;
    const draw = slowReader + halfOpen === 0 ? 1 : this.#prng.float();
    if (draw < slowReader + halfOpen) {
      this.#spoil(connection, draw >= slowReader);
    } else {
      this.#held.addFit(connection);
      const isFlowing = this.#arrivals.toCome("publish") > 0;
      if (connection.topic !== -1) this.#topics.subscribe(connection, isFlowing);
    }
  }

  /** Makes it misbehave from here on. */
  #spoil(connection: ProbeConnection, isSilent: boolean): void {
    connection.isFaulty = true;
    connection.isSilent = isSilent;
    if (isSilent) {
      this.#faults.halfOpen++;
    } else {
      this.#faults.slowReaders++;
      connection.stopReading();
    }
    this.#held.faulty.add(connection);
  }

  /** Draws these shares of the connections, at least one of each that is asked for. */
  misbehave({ slowReader, halfOpen }: Pick<Faults, "slowReader" | "halfOpen">): void {
    this.#dismissCarrier();
    const drawn = this.#held.drawMany(this.#prng, slowReader + halfOpen);
    const silent = Math.round((drawn.length * halfOpen) / (slowReader + halfOpen));
    for (const [index, connection] of drawn.entries()) {
      this.#held.remove(connection);
      this.#spoil(connection, index < silent);
    }
  }

  onGone(connection: ProbeConnection, from: State, failure: FailureCode): void {
    const { attempt, returns, isReplaced } = connection;
    connection.state = STATE.CLOSED;
    this.#giveBack(connection);
    if (from !== STATE.HELD) {
      if (attempt !== 0) this.#attempts.remove(attempt);
      connection.attempt = 0;
      this.#tally.counts.connect.failed++;
      this.#tally.failed(failure);
      this.#return(returns + 1);
      return;
    }
    // A misbehaving one is expected to be closed; whether it was is told apart.
    if (connection.isFaulty) {
      this.#faults.faultyEnded++;
      return;
    }
    if (!isReplaced) {
      const ageMs = this.#clock.now() - this.#startedMs - connection.heldAtMs;
      this.#tally.died(failure, ageMs);
      this.#return(0);
    }
    if (connection.waiting > 0) {
      this.#waiting -= connection.waiting;
      this.#operationFailed(`${this.#operationKind}.lost`, connection.waiting);
    }
  }

  /** Its client tries again, where clients do so. */
  #return(attempts: number): void {
    if (!this.#setup.isReturning) return;
    this.#returns.add(this.#clock.now(), attempts);
    this.#wake();
  }

  onGoAway(connection: ProbeConnection, reconnectAfterMs: number): boolean {
    if (!this.#setup.isReturning || connection.state !== STATE.HELD) return false;
    if (connection.isReplaced) return true;
    this.#faults.moved++;
    connection.isReplaced = true;
    this.#returns.move(this.#clock.now(), connection, reconnectAfterMs);
    this.#wake();
    return true;
  }

  /** One that was told to go has used its old connection until now. */
  readonly #startReturn = (dueMs: number, { attempts, old }: Return): void => {
    this.#dismissCarrier();
    if (old !== null && old.state === STATE.HELD) this.#leave(old);
    this.#connect(dueMs, attempts);
  };

  /** Closes it ourselves, with whatever is under way over it. */
  #retire(connection: ProbeConnection): void {
    if (!connection.isSilent) this.#dialogue.sayGoodbye(connection);
    connection.close();
    this.#waiting -= connection.waiting;
    this.#giveBack(connection);
  }

  /** Carries nothing more, and is closed when its answers have come. */
  #leave(connection: ProbeConnection): void {
    connection.isReplaced = true;
    this.#delist(connection);
    if (connection.waiting === 0) this.#retire(connection);
    else this.#held.leaving.add(connection);
  }

  #giveBack(connection: ProbeConnection): void {
    if (connection.pair !== -1) this.#sources!.release(connection.target, connection.pair);
    connection.pair = -1;
    this.#delist(connection);
  }

  /** It is no longer one of those held. */
  #delist(connection: ProbeConnection): void {
    if (this.#carrier === connection) {
      this.#dialogue.discard();
      this.#carrier = null;
    }
    this.#held.remove(connection);
  }

  #churn(intendedMs: number): void {
    this.#dismissCarrier();
    const leaver = this.#held.draw(this.#prng);
    if (leaver !== null) {
      this.#faults.churned++;
      this.#leave(leaver);
    }
    this.#connect(intendedMs);
  }

  #shrinkSome(now: number): void {
    if (this.#shrinkTo === Infinity) return;
    const budget = Math.floor(((now - this.#shrinkAtMs) / 1_000) * this.#shrinkPerSecond);
    if (budget === 0 && this.#held.count > this.#shrinkTo) return;
    this.#shrinkAtMs = now;
    for (let left = budget; left > 0 && this.#held.count > this.#shrinkTo; left--) {
      this.#retire(this.#held.youngest!);
    }
    if (this.#held.count <= this.#shrinkTo) this.#shrinkTo = Infinity;
    if (this.#held.count === 0) this.#hasConnected = false;
  }

  // Operations.

  get #operationKind(): "echo" | "publish" {
    return this.#setup.traffic === "publish" ? "publish" : "echo";
  }

  #operationFailed(failure: FailureCode, count: number = 1): void {
    this.#tally.counts[this.#operationKind].failed += count;
    this.#tally.failed(failure, count);
  }

  #operate(kind: "echo" | "publish", intendedMs: number): void {
    // Until the first connection is there, nothing is due over it yet.
    const isOpening = this.#attempts.count > 0 || this.#arrivals.toCome("connect") > 0;
    if (!this.#hasConnected && isOpening) return;
    const now = this.#clock.now();
    this.#tally.counts[kind].started++;
    this.#tally.histogram("lateness").recordMs(now - intendedMs);
    const topic = kind === "publish" ? this.#topics.nextPublish() : -1;
    const connection =
      topic === -1 ? this.#nextCarrier() : this.#topics.publisherOf(topic, this.#held.fit);
    if (connection === null) {
      this.#operationFailed(`${kind}.unconnected`);
      return;
    }
    if (connection.queuedBytes > QUEUE_BYTES_MAX) {
      this.#operationFailed(`${kind}.blocked`);
      return;
    }
    if (connection !== this.#carrier) this.#dismissCarrier();
    this.#carrier = connection;
    const id = wireId(this.#operations.add(connection, intendedMs, now));
    connection.waiting++;
    this.#waiting++;
    if (kind === "publish") {
      const sequence = ++this.#topics.published[topic]!;
      this.#dialogue.publish(topic, id, sequence, intendedMs);
    } else {
      this.#dialogue.echo(id);
    }
    if (this.#dialogue.composedBytes > WRITE_BYTES_MAX) this.#dialogue.flush(connection);
  }

  #nextCarrier(): ProbeConnection | null {
    if (this.#carrier !== null && this.#carries > 0) {
      this.#carries--;
      return this.#carrier;
    }
    this.#carries = this.#perCarrier - 1;
    return this.#held.next();
  }

  /** Sends what was composed. Must come before anything else is written. */
  #dismissCarrier(): void {
    if (this.#carrier === null) return;
    this.#dialogue.flush(this.#carrier);
    this.#carrier = null;
  }

  onAnswer(connection: ProbeConnection, id: number, failure: FailureCode | null): void {
    const operation = this.#operations.fromWireId(id);
    // An answer to what was given up, or to nothing: an echo of ours came to another connection.
    if (this.#operations.ownerOf(operation) !== connection) return;
    this.#operations.remove(operation);
    this.#lookAfterPoll();
    if (failure === null) this.#operationSucceeded(operation);
    else this.#operationFailed(failure);
    this.#operationEnded(connection);
  }

  #operationSucceeded(operation: number): void {
    const now = this.#clock.now();
    this.#tally.counts[this.#operationKind].succeeded++;
    this.#tally.histogram("service").recordMs(now - this.#operations.startedMs(operation));
    this.#tally.histogram("response").recordMs(now - this.#operations.intendedMs(operation));
  }

  #operationEnded(connection: ProbeConnection): void {
    connection.waiting--;
    this.#waiting--;
    if (connection.waiting === 0 && this.#held.leaving.has(connection)) this.#retire(connection);
  }

  onEvent(connection: ProbeConnection, publisher: number, sequence: number, atMs: number): void {
    const { deliveries } = this.#tally;
    if (!this.#topics.receive(connection, publisher, sequence, deliveries)) return;
    this.#tally.histogram("delivery").recordMs(this.#clock.now() - atMs);
  }

  onGap(_connection: ProbeConnection, missed: number): void {
    this.#tally.deliveries.announced += missed;
  }

  // Reports.

  #sendReport(now: number, isLast: boolean): void {
    const { counts, ...rest } = this.#tally.take();
    for (const kind of OPERATION_KINDS) {
      let backlog = this.#arrivals.backlog(kind, now);
      if (kind === "connect") backlog += this.#arrivals.backlog("churn", now);
      counts[kind].scheduled += counts[kind].started + backlog - this.#backlog[kind];
      this.#backlog[kind] = backlog;
    }
    const fromMs = this.#reportedMs;
    this.#reportedMs = now;
    this.#report({
      index: this.#setup.index,
      stage: this.#stage,
      isLast,
      fromMs,
      toMs: now,
      counts,
      ...rest,
      state: {
        held: this.#held.count,
        ...this.#faults,
        connecting: this.#attempts.count,
        returning: this.#returns.count,
        connectedAtMs: this.#connectedAtMs,
        waiting: this.#waiting,
        published: [...this.#topics.published],
        toCome: this.#arrivals.allToCome,
        sourcesFree: this.#sources?.free(0) ?? null,
        ...this.#health(),
      },
    });
  }
}
