// One run of the probe: its generator processes, the watch on the server, and all that they
// report, by stage and by second. `capacity` and `load` decide what happens in it.

import { randomInt } from "node:crypto";
import type { Clock } from "../base/clock.ts";
import { HoldfastError } from "../base/errors.ts";
import { packageVersion } from "../observe/package-version.ts";
import type { ArrivalPlan, Faults, GeneratorReport, GeneratorSetup } from "./generator-messages.ts";
import {
  type GeneratorPlan,
  generatorsFor,
  planConnectionsMax,
  planGenerators,
  planLimit,
} from "./generator-plan.ts";
import { Generators } from "./generators.ts";
import { connectPlans } from "./connect-lanes.ts";
import { type Host, readHost, readListenDrops, readMemoryAvailable, sysctls } from "./host.ts";
import type { Progress } from "./live-view.ts";
import { readMachineMemory } from "./machine-memory.ts";
import type { ProbeOptions } from "./probe-options.ts";
import type { Environment, Limit, MemoryFigures, Report, StageReport } from "./report.ts";
import { SecondTally, Tally } from "./run-tally.ts";
import type { Vitals } from "./scram.ts";
import { type ServerSample, ServerWatch } from "./server-watch.ts";
import { sourceTuples } from "./source-addresses.ts";
import { checkLocalIps, readSourceFacts, type SourceFacts } from "./source-facts.ts";
import { isLoopback, resolveTargets, type Target } from "./target.ts";
import { VitalSigns } from "./vitals.ts";
import { shareOut, waterLevel } from "./water-level.ts";

/** Where a run shows what it does. */
export interface RunView {
  progress(progress: Progress): void;
  stage(stage: StageReport): void;
  note(text: string): void;
}

export interface RunContext {
  readonly clock: Clock;
  readonly view: RunView;
  /** Fires when the user wants it to end: what there is, is reported. */
  readonly signal: AbortSignal;
}

/**
 * So few are forked at the start, and warm up while levels are small: a process that opens its
 * first connections at full rate is late.
 */
const GENERATORS_AT_ONCE = 8;
const POLL_MS = 50;
const PROGRESS_MS = 250;
/** Plans begin so much later than they are sent, so that every process has its own in time. */
export const LEAD_MS = 50;
/** A generator that is silent for longer is said to be, and is waited for this long. */
const SILENT_MS = 2_000;
const SILENT_MS_MAX = 60_000;
const ABORT_MS_MAX = 2_000;

/** Timeouts are noticed, and reported, so much later at most. */
export const TIMEOUT_SLACK_MS = 500;

/** What a run is to do. */
export interface RunJob {
  readonly command: Report["command"];
  readonly faults: Faults;
  /** Whether clients that lose their server come back. */
  readonly isReturning: boolean;
  readonly topics: number;
  /** Connections at most. */
  readonly connectionsMax: number;
}

/** Why a run ends before its time. */
export class RunEnded extends Error {
  override readonly name: string = "RunEnded";
  readonly kind: "aborted" | "generator-lost";

  constructor(kind: "aborted" | "generator-lost", message: string) {
    super(message);
    this.kind = kind;
  }
}

/** A stage that is under way. */
export interface Stage {
  readonly index: number;
  readonly kind: string;
  readonly name: string;
  readonly intended: number;
  readonly startMs: number;
  readonly heldBefore: number;
  readonly tally: Tally;
  readonly serverBefore: ServerSample | null;
  readonly serverSamples: ServerSample[];
  readonly listenBefore: ReturnType<typeof readListenDrops>;
  /** The least within the stage. */
  memoryAvailableBytes: number | null;
  /** By party, at the end. */
  memory: MemoryFigures | null;
  /** How long connections were opened and operations went on, and how many connects were asked. */
  connectMs: number;
  operateMs: number;
  connectPerSecond: number;
  phase: string;
  phaseStartMs: number;
  phaseOfMs: number | null;
  endMs: number;
}

export class Run {
  readonly options: ProbeOptions;
  readonly context: RunContext;
  readonly targets: readonly Target[];
  readonly generators: Generators;
  readonly host: Host;
  readonly startMs: number;
  readonly startedAt: string;
  readonly watch: ServerWatch | null;
  readonly seconds: SecondTally;
  readonly total: Tally = new Tally();
  readonly #signs: VitalSigns = new VitalSigns();
  #memoryAvailableBytes: number | null = null;
  readonly serverSamples: ServerSample[] = [];
  /** Before the first connection, by party. */
  memoryBefore: MemoryFigures | null = null;
  /** Whether the server runs on this machine. */
  readonly isLocal: boolean;
  #stage: Stage | null = null;
  /** By the index of a stage: where its reports are added up. */
  readonly #tallies: Map<number, Tally> = new Map();
  #stages: number = 0;
  #lost: string | null = null;
  /** Generators that hold connections, or are about to. */
  #carriers: readonly number[] = [];
  #progressMs: number = 0;
  #silentNoted: boolean = false;
  readonly #plan: GeneratorPlan;
  readonly #sourceBase: number;
  readonly #job: RunJob;
  /** Resident bytes of the generators before they held anything, by process. */
  readonly #rssBefore: Map<number, number> = new Map();

  private constructor(
    options: ProbeOptions,
    job: RunJob,
    context: RunContext,
    targets: readonly Target[],
    host: Host,
    facts: SourceFacts,
  ) {
    this.options = options;
    this.context = context;
    this.targets = targets;
    this.#job = job;
    this.host = host;
    this.isLocal = targets.some((target) => target.address === "" || isLoopback(target));
    this.startMs = context.clock.now();
    this.startedAt = new Date(context.clock.wall()).toISOString();
    this.seconds = new SecondTally(this.startMs);
    this.#sourceBase = facts.base;
    this.#plan = planGenerators(options, job.connectionsMax, targets, host, facts);
    this.generators = new Generators(context.clock, (index) => this.#setup(index), {
      onReport: (report) => this.#onReport(report),
      onLost: (index, why) => {
        this.#lost ??= `generator process ${index} was lost: ${why}`;
      },
    });
    const { serverSources } = options;
    this.watch = serverSources.length === 0 ? null : new ServerWatch(serverSources, context.clock);
  }

  /**
   * Resolves names, takes the server's baseline, forks the first generators, and lets `use` do what
   * it is for; whatever comes of it, nothing is left running.
   */
  static async conduct<Result>(
    options: ProbeOptions,
    job: RunJob,
    context: RunContext,
    use: (run: Run) => Promise<Result>,
  ): Promise<Result> {
    await checkLocalIps(options.localIps);
    const targets = await resolveTargets(options.targets);
    const host = readHost();
    // Two probes at once should seldom meet: that is no part of the schedule, and is not seeded.
    const base = randomInt(0, 1 << 16);
    const facts = await readSourceFacts(targets, host, base);
    const run = new Run(options, job, context, targets, host, facts);
    try {
      await run.#start();
      return await use(run);
    } finally {
      await run.#stop();
    }
  }

  async #start(): Promise<void> {
    await this.watch?.start().catch((error: unknown) => {
      // Nothing has been connected to yet: it is the option that is wrong.
      const { message } = error as Error;
      throw new HoldfastError("HOLDFAST_OPTIONS_INVALID", message, { cause: error });
    });
    await this.grow(this.#plan.generatorsMax <= GENERATORS_AT_ONCE ? this.connectionsMax : 1);
    this.memoryBefore = await this.#readMemory();
  }

  /** A server elsewhere has a kernel of its own. */
  async #readMemory(): Promise<MemoryFigures | null> {
    if (!this.isLocal) return null;
    const processes = this.watch?.last?.processes ?? [];
    const server = processes.map(({ pid }) => pid).filter((pid) => pid !== null);
    return await readMachineMemory({
      server: server.length === 0 ? null : server,
      probe: [process.pid, ...this.generators.pids],
    });
  }

  // Generators.

  /** Most connections that the probe's own files and addresses allow. */
  get connectionsMax(): number {
    return planConnectionsMax(this.#plan);
  }

  /** What the probe's own means come to, as a limit. */
  ownLimit(): Limit {
    return planLimit(this.#plan, this.host);
  }

  async grow(connections: number): Promise<void> {
    const count = generatorsFor(connections, this.options, this.#plan);
    if (count <= this.generators.count) return;
    await this.generators.grow(count);
    this.#check();
    await this.waitFor(() => this.generators.states.every((state) => state !== null));
    for (const [index, state] of this.generators.states.entries()) {
      if (!this.#rssBefore.has(index)) this.#rssBefore.set(index, state!.rssBytes);
    }
  }

  get held(): number {
    return this.generators.sum((state) => state.held);
  }

  /** Those held, and those that were made to misbehave and ended for it, as they should. */
  get accountedFor(): number {
    return this.generators.sum(({ held, faultyEnded }) => held + faultyEnded);
  }

  /** Resident bytes of the generators per connection held; null where there are too few. */
  get generatorBytesPerConnection(): number | null {
    const held = this.held;
    if (held < CONNECTIONS_FOR_BYTES) return null;
    let before = 0;
    for (const bytes of this.#rssBefore.values()) before += bytes;
    return Math.round((this.generators.sum((state) => state.rssBytes) - before) / held);
  }

  get generatorRssBytes(): number {
    return this.generators.sum((state) => state.rssBytes);
  }

  // Work.

  /**
   * Opens so many more, shared out so that the generators hold alike.
   * @param perSecond all generators together
   * @returns how many: fewer where the probe's own means end.
   */
  connect(
    count: number,
    startAtMs: number,
    perSecond: number = this.options.connectPerSecond,
  ): number {
    const shares = shareOut(
      count,
      this.generators.states.map((state) => state?.held ?? 0),
      this.#plan.connectionsPerGenerator,
    );
    const states = this.generators.states;
    this.#carriers = shares.flatMap((share, index) =>
      share + (states[index]?.held ?? 0) > 0 ? [index] : [],
    );
    const plans = connectPlans(shares, perSecond, startAtMs);
    for (const [index, plan] of plans) this.generators.tell(index, { type: "arrivals", plan });
    const total = shares.reduce((sum, share) => sum + share, 0);
    return total;
  }

  /**
   * Echoes and publishes that are still to start or to be answered; Infinity while a generator has
   * not said that it has halted.
   */
  get operationsUnderWay(): number {
    return this.generators.sum(({ waiting, toCome }) => waiting + toCome.echo + toCome.publish);
  }

  /** Attempts under way. */
  get connecting(): number {
    return this.generators.sum((state) => state.connecting);
  }

  /** From there until the last connection was ready; until now where none has become so. */
  connectingMs(startAtMs: number): number {
    const last = Math.max(...this.generators.states.map((state) => state?.connectedAtMs ?? 0));
    return (last > startAtMs ? last : this.context.clock.now()) - startAtMs;
  }

  /** One schedule over the generators that have connections: each takes every n-th arrival. */
  schedule(plan: Omit<ArrivalPlan, "stripe" | "countMax">): void {
    const count = this.#carriers.length;
    for (const [index, generator] of this.#carriers.entries()) {
      const stripe = { index, count };
      this.generators.tell(generator, {
        type: "arrivals",
        plan: { ...plan, countMax: Infinity, stripe },
      });
    }
  }

  /** Closes the youngest until so many are left; resolves when that is so. */
  async shrinkTo(connections: number, perSecond: number): Promise<void> {
    const states = this.generators.states;
    const excess = this.held - connections;
    if (excess <= 0) return;
    // The fullest give first, so that they hold alike again.
    const level = waterLevel(
      states.map((state) => state?.held ?? 0),
      connections,
    );
    for (const [index, state] of states.entries()) {
      const held = state?.held ?? 0;
      const to = Math.min(held, level[index]!);
      if (to === held) continue;
      const share = Math.max(1, (perSecond * (held - to)) / excess);
      this.generators.tell(index, { type: "shrink", to, perSecond: share });
    }
    await this.waitFor(() => this.held <= connections);
  }

  /** What the safety stop looks at. */
  vitals(): Vitals {
    const atMs = this.context.clock.now();
    return {
      atMs,
      ...this.#signs.read(atMs),
      held: this.held,
      server: this.watch?.last ?? null,
      baseline: this.watch?.baseline ?? null,
      memoryAvailableBytes: this.isLocal ? this.#memoryAvailableBytes : null,
      memoryTotalBytes: this.isLocal ? this.host.memoryTotalBytes : null,
    };
  }

  // Stages.

  /** Ends the stage before, if there is one: nothing that happens falls between them. */
  async beginStage(kind: string, name: string, intended: number): Promise<Stage> {
    const { clock } = this.context;
    const before = this.#stage;
    const tally = new Tally();
    const index = this.#stages++;
    this.#tallies.set(index, tally);
    await this.#listen(() => this.generators.beginStage(index));
    this.#check();
    const startMs = clock.now();
    if (before !== null) before.endMs = startMs;
    const stage: Stage = {
      index,
      kind,
      name,
      intended,
      startMs,
      heldBefore: this.held,
      tally,
      serverBefore: this.watch?.last ?? null,
      serverSamples: [],
      listenBefore: this.isLocal ? readListenDrops() : null,
      memoryAvailableBytes: null,
      memory: null,
      connectMs: 0,
      operateMs: 0,
      connectPerSecond: 0,
      phase: "connecting",
      phaseStartMs: startMs,
      phaseOfMs: null,
      endMs: 0,
    };
    this.#stage = stage;
    return stage;
  }

  phase(name: string, ofMs: number | null): void {
    const stage = this.#stage!;
    stage.phase = name;
    stage.phaseStartMs = this.context.clock.now();
    stage.phaseOfMs = ofMs;
    stage.tally.isResting = name === "draining" || name === "waiting";
  }

  /** What comes after this belongs to no stage. */
  async endStage(): Promise<void> {
    const stage = this.#stage!;
    await this.#listen(() => this.generators.beginStage(-1));
    stage.endMs = this.context.clock.now();
    const last = await this.watch?.sample();
    if (last !== undefined) this.#addServerSample(last);
    stage.memory = await this.#readMemory();
    this.#stage = null;
  }

  /**
   * Looks at the run until `isDone`, many times a second. Rejects with {@link RunEnded} when the
   * user ends it or a generator is lost.
   */
  async waitFor(isDone: () => boolean): Promise<void> {
    for (;;) {
      this.#look();
      this.#check();
      if (isDone()) return;
      await this.#sleep(POLL_MS);
    }
  }

  async waitMs(ms: number): Promise<void> {
    const end = this.context.clock.now() + ms;
    await this.waitFor(() => this.context.clock.now() >= end);
  }

  /** Ends the generators and the watch. */
  async #stop(): Promise<void> {
    this.watch?.stop();
    await this.generators.stop();
  }

  environment(): Environment {
    const { options, context, host } = this;
    return {
      probeVersion: packageVersion(),
      nodeVersion: process.versions.node,
      kernel: host.kernel ?? "",
      cpus: host.cores,
      memoryBytes: host.memoryTotalBytes ?? 0,
      startedAt: this.startedAt,
      durationMs: Math.round(context.clock.now() - this.startMs),
      argv: options.argv,
      seed: options.seed,
      targets: this.targets.map(({ text }) => text),
      protocol: options.protocol,
      transport: options.transport,
      sysctls: sysctls(host),
      generatorProcesses: this.generators.count,
      generatorFileLimit: host.fileLimit?.soft ?? null,
      sourceTuples: this.#plan.sources === null ? null : sourceTuples(this.#plan.sources),
    };
  }

  async #sleep(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      this.context.clock.after(ms, resolve);
    });
  }

  /** Waits for the generators, and says so where one of them is silent. */
  async #listen(ask: () => Promise<void>): Promise<void> {
    let isDone = false;
    const asked = ask().then(() => {
      isDone = true;
    });
    const { clock, signal } = this.context;
    let abortedMs = Infinity;
    while (!isDone) {
      this.#look();
      this.#checkSilence();
      if (signal.aborted) abortedMs = Math.min(abortedMs, clock.now());
      // Who wants to leave does not wait for a process that stands still.
      if (this.#lost !== null || clock.now() - abortedMs > ABORT_MS_MAX) break;
      await Promise.race([asked, this.#sleep(POLL_MS)]);
    }
  }

  #check(): void {
    if (this.context.signal.aborted) throw new RunEnded("aborted", "it was interrupted");
    this.#checkSilence();
    if (this.#lost !== null) throw new RunEnded("generator-lost", this.#lost);
  }

  #checkSilence(): void {
    const now = this.context.clock.now();
    const oldest = Math.min(...this.generators.lastReportMs, now);
    const silentMs = now - oldest;
    if (silentMs < SILENT_MS) {
      this.#silentNoted = false;
    } else if (silentMs > SILENT_MS_MAX) {
      this.#lost ??= `a generator process has been silent for ${SILENT_MS_MAX / 1_000} s`;
    } else if (!this.#silentNoted) {
      this.#silentNoted = true;
      const index = this.generators.lastReportMs.indexOf(oldest);
      this.context.view.note(`generator process ${index} does not answer; waiting for it`);
    }
  }

  #look(): void {
    const now = this.context.clock.now();
    if (this.watch?.last != null) this.#addServerSample(this.watch.last);
    if (now - this.#progressMs < PROGRESS_MS) return;
    this.#progressMs = now;
    this.#memoryAvailableBytes = readMemoryAvailable();
    const stage = this.#stage;
    if (stage === null) return;
    stage.memoryAvailableBytes = least(stage.memoryAvailableBytes, this.#memoryAvailableBytes);
    this.#showProgress(stage, now);
  }

  #showProgress(stage: Stage, now: number): void {
    const { tally } = stage;
    const second = this.seconds.recent(now);
    const quantile = (name: "response" | "lateness"): number | null => {
      const histogram = tally.histogram(name);
      return histogram.count === 0 ? null : histogram.percentileMs(99);
    };
    this.context.view.progress({
      atMs: now - this.startMs,
      title: `${this.#job.command} ${this.targets.map(({ text }) => text).join(" ")}`,
      stageName: stage.name,
      phase: stage.phase,
      phaseMs: now - stage.phaseStartMs,
      phaseOfMs: stage.phaseOfMs,
      held: this.held,
      intended: stage.intended,
      connectsPerSecond: second?.counts.connect.succeeded ?? 0,
      operationsPerSecond:
        (second?.counts.echo.succeeded ?? 0) + (second?.counts.publish.succeeded ?? 0),
      responseP99Ms: quantile("response"),
      latenessP99Ms: quantile("lateness"),
      failures: tally.failureCount,
      deaths: tally.deathCount,
      generatorLoop: tally.loopUtilisation,
      server: this.watch?.last?.figures ?? null,
    });
  }

  #addServerSample(sample: ServerSample): void {
    if (this.serverSamples.at(-1) !== sample) this.serverSamples.push(sample);
    const stage = this.#stage;
    if (stage === null || sample === stage.serverBefore) return;
    if (stage.serverSamples.at(-1) !== sample) stage.serverSamples.push(sample);
  }

  #onReport(report: GeneratorReport): void {
    this.#signs.add(report);
    this.seconds.add(report);
    this.total.add(report);
    this.#tallies.get(report.stage)?.add(report);
  }

  #setup(index: number): GeneratorSetup {
    const { options } = this;
    return {
      index,
      generators: this.#plan.generatorsMax,
      seed: options.seed,
      protocol: options.protocol,
      targets: this.targets,
      sources: this.#plan.sources?.[index] ?? null,
      sourceStart: this.#sourceBase,
      traffic: options.traffic,
      payloadBytes: options.payloadBytes,
      connectTimeoutMs: options.connectTimeoutMs,
      operationTimeoutMs: options.operationTimeoutMs,
      token: options.token,
      isInsecure: options.isInsecure,
      transport: options.transport,
      topics: this.#job.topics,
      faults: this.#job.faults,
      isReturning: this.#job.isReturning,
    };
  }
}

/** Below this many, the memory of the process itself would count as the connections'. */
const CONNECTIONS_FOR_BYTES = 5_000;

function least(a: number | null, b: number | null): number | null {
  return a === null ? b : b === null ? a : Math.min(a, b);
}
