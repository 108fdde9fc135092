// `holdfast serve` with workers: preflight, listening sockets, the supervisor, operators, and the
// configuration file.
import { statSync } from "node:fs";
import { availableParallelism } from "node:os";
import { systemClock } from "../base/clock.ts";
import { ConfigWatch } from "../config/config-watch.ts";
import { connectionMax, type Machine, nodeName, readMachine } from "../config/machine.ts";
import { CONFIG_FILE_VARIABLE } from "../config/option-names.ts";
import type { Options } from "../config/options.ts";
import { type ResolvedOptions, resolveOptions } from "../config/resolve.ts";
import type { Log } from "../observe/log.ts";
import { packageVersion } from "../observe/package-version.ts";
import { Admin } from "../server/admin.ts";
import type { Control, ControlOutcome } from "../server/admin-source.ts";
import { ListeningSockets } from "../supervisor/listening-sockets.ts";
import { Operators, type SupervisorFacts } from "../supervisor/operators.ts";
import { inheritedSockets } from "../supervisor/socket-activation.ts";
import { spawnWorker } from "../supervisor/spawn.ts";
import { Supervisor } from "../supervisor/supervisor.ts";
import { FILES_OF_WORKER, workerCount } from "../supervisor/worker-count.ts";
import { loadUws } from "../transport/uws.ts";
import {
  adminFacts,
  announcement,
  type ListenerFacts,
  NO_WEBSOCKET,
  placeOf,
} from "./announcement.ts";
import { runPreflight } from "./preflight.ts";
import type { ServeParts } from "./serve.ts";
import { SignalledStop } from "./signalled-stop.ts";
import { stopMs } from "./stop-time.ts";
import type { Terminal } from "./terminal.ts";

/** One reads its code while another compiles. */
const STARTS_PER_CORE = 2;

/** Resolves when a signal, or an operator, has stopped it. */
export async function serveWorkers(parts: ServeParts): Promise<void> {
  const { terminal, events, log } = parts;
  const machine = readMachine();
  const options = settled(parts.resolved.options, machine, terminal);
  let running = options;
  const stop = new SignalledStop(log, terminal, events, () => stopMs(running));
  try {
    const hasWebSocket = canServeWebSocket(options, log);
    const supervisor = await newSupervisor(options, hasWebSocket, machine, parts);
    supervisor.configuration.onRunning = (changed) => {
      running = changed;
      const { level, samplePerSecond } = changed.log;
      log.configure?.({ level, samplePerSecond });
    };
    await superviseUntilStopped(supervisor, stop, machine, hasWebSocket, parts);
    log.info({}, "stopped");
  } finally {
    stop.close();
  }
}

async function newSupervisor(
  options: Options,
  hasWebSocket: boolean,
  machine: Machine,
  { terminal, log }: ServeParts,
): Promise<Supervisor> {
  const cores = availableParallelism();
  const slots = workerCount(options, machine.fileLimit, cores);
  runPreflight(options, slots, connectionMax(options, machine, slots), log);
  const inherited = inheritedSockets(terminal.env, process.pid);
  const sockets = await ListeningSockets.open({ options, slots, inherited, hasWebSocket });
  const spawn = spawnWorker;
  const startsMax = STARTS_PER_CORE * cores;
  return new Supervisor({ options, slots, startsMax, sockets, clock: systemClock, log, spawn });
}

/** Also with the operators' listener and the configuration file, which end with it. */
async function superviseUntilStopped(
  supervisor: Supervisor,
  stop: SignalledStop,
  machine: Machine,
  hasWebSocket: boolean,
  parts: ServeParts,
): Promise<void> {
  const { terminal, events } = parts;
  const watch = watchConfig(supervisor, parts, machine);
  const control = controlOf(supervisor, stop, watch);
  const onHangUp = (): void => hungUp(control, stop, parts);
  events.on("SIGHUP", onHangUp);
  const admin = newAdmin(supervisor, control, machine);
  try {
    await admin?.start();
    stop.allow((how) => supervisor.stop(how));
    if (!stop.isRequested) await supervisor.start();
    if (!stop.isRequested) {
      announce(supervisor, admin, terminal, hasWebSocket);
      watch?.start();
    }
    await stop.done;
  } finally {
    watch?.stop();
    events.off("SIGHUP", onHangUp);
    await supervisor.stop({ hasten: true });
    await admin?.stop();
  }
}

/** With what is the same for all workers: it must not be each one's own default. */
function settled(options: Options, machine: Machine, terminal: Terminal): Options {
  const pretty = options.log.pretty ?? terminal.isInteractive;
  return Object.freeze({
    ...options,
    node: Object.freeze({ ...options.node, name: nodeName(options, machine) }),
    log: Object.freeze({ ...options.log, pretty }),
  });
}

/** False where it is not wanted, or cannot be had and need not be. */
function canServeWebSocket({ websocket }: Options, log: Log): boolean {
  if (!websocket.enabled) return false;
  try {
    loadUws();
    return true;
  } catch (error) {
    if (websocket.required) throw error;
    log.warn({ err: error }, "serving without WebSocket");
    return false;
  }
}

/** Null: there is no file. */
function watchConfig(
  supervisor: Supervisor,
  { resolved, sources, terminal }: ServeParts,
  machine: Machine,
): ConfigWatch | null {
  const file = sources.file ?? sources.env?.[CONFIG_FILE_VARIABLE];
  if (file === undefined || sources.text === undefined) return null;
  if (statSync(file, { throwIfNoEntry: false })?.isFile() === false) {
    supervisor.log.warn({ file }, "the configuration is no regular file: it is not watched");
    return null;
  }
  const { configuration } = supervisor;
  return new ConfigWatch({
    file,
    text: sources.text,
    options: resolved.options,
    clock: systemClock,
    read: (text) => resolveOptions({ ...sources, file, text }),
    onOptions: ({ options }: ResolvedOptions) =>
      void configuration.change(settled(options, machine, terminal)),
    onRefused: (error) => configuration.refuse(error.message),
  });
}

function newAdmin(supervisor: Supervisor, control: Control, { fileLimit }: Machine): Admin | null {
  const { options, log } = supervisor;
  if (!options.admin.enabled) return null;
  const startedAt = systemClock.now();
  const operators = new Operators({
    clock: systemClock,
    workers: () => supervisor.workers,
    facts: () => factsOf(supervisor, systemClock.now() - startedAt, fileLimit),
  });
  supervisor.onWorkerEnded = ({ worker, last }) => operators.retire(worker, last);
  return new Admin(operators, control, options.admin, (error) =>
    log.error({ err: error }, "an admin request failed"),
  );
}

/** Of a terminal it means that nobody is there any more; else it is how daemons reload. */
function hungUp(control: Control, stop: SignalledStop, { terminal, log }: ServeParts): void {
  if (terminal.isInteractive) {
    stop.request("SIGHUP", false);
    return;
  }
  void Promise.resolve(control.reload()).then((outcome) => {
    if (outcome.outcome !== "refused") return;
    log.warn({ problem: outcome.message }, "SIGHUP: no rolling restart");
  });
}

function controlOf(
  supervisor: Supervisor,
  stop: SignalledStop,
  watch: ConfigWatch | null,
): Control {
  return {
    async reload() {
      // Workers are not restarted while the file is not what its writer meant.
      const verdict = await watch?.check();
      if (verdict?.kind === "refused")
        return refused(`no worker was replaced: ${verdict.error.message}`);
      await supervisor.configuration.settled();
      if (supervisor.state !== "serving") return refused(`the server is ${supervisor.state}`);
      const isRunning = supervisor.rolling.report.state === "running";
      void supervisor.reload();
      return { outcome: isRunning ? "running" : "started" };
    },
    reloadState: () => supervisor.rolling.report,
    drain(hasten) {
      const outcome = supervisor.state === "draining" ? "running" : "started";
      stop.request("an operator", hasten);
      return { outcome };
    },
  };
}

/** On one line, whatever the message has. */
function refused(message: string): ControlOutcome {
  return { outcome: "refused", message: message.replace(/\s*\n\s*/g, " ") };
}

function factsOf(
  supervisor: Supervisor,
  uptimeMs: number,
  fileLimit: number | null,
): SupervisorFacts {
  const { slots, hub, rolling, configuration, options, state } = supervisor;
  const { hash, pending, accepted, refused, problem } = configuration.report;
  const { framesIn, bytesIn, dropped } = hub.counters;
  return {
    state,
    node: options.node.name!,
    uptimeMs: Math.round(uptimeMs),
    fileLimit,
    topics: hub.topicCount,
    connectionsMax: configuration.running.connection.max,
    slots: slots.length,
    slotStates: slots.map((slot) => slot.state),
    breakersOpen: slots.filter((slot) => slot.state === "broken").map(({ index }) => index),
    crashes: slots.reduce((sum, { crashes }) => sum + crashes, 0),
    restarts: slots.reduce((sum, { restarts }) => sum + restarts, 0),
    config: {
      hash,
      pending,
      taken: accepted,
      refused,
      problem,
    },
    reload: rolling.report,
    bus: { frames: framesIn, bytes: bytesIn, dropped },
  };
}

/** A terminal gets it for people, a log gets it as records. */
function announce(
  supervisor: Supervisor,
  admin: Admin | null,
  terminal: Terminal,
  hasWebSocket: boolean,
): void {
  const { options, log, slots } = supervisor;
  const version = packageVersion();
  const ready = slots.flatMap(({ serving }) => serving?.ready ?? []);
  const facts: ListenerFacts[] = [
    ...(ready[0]?.listeners ?? []).map(({ listener, framing, transport, address }) => ({
      listener,
      ...placeOf(transport, address),
      framing,
    })),
    ...adminFacts(admin?.address ?? null),
  ];
  const connectionsMax = mostConnections(options, slots.length, readMachine());
  if (terminal.isInteractive) {
    const notes = [
      ...(options.websocket.enabled && !hasWebSocket ? [NO_WEBSOCKET] : []),
      `${slots.length} workers; at most ${connectionsMax} connections`,
    ];
    terminal.write(announcement({ version, node: options.node.name!, facts, notes }));
    return;
  }
  for (const entry of facts) log.info({ ...entry }, "listening");
  const limits = { workers: slots.length, connectionsMax };
  log.info({ version, nodeVersion: process.versions.node, ...limits }, "serving");
}

/** What is asked for, as far as the files of so many workers go. */
function mostConnections(options: Options, workers: number, machine: Machine): number {
  const { fileLimit } = machine;
  const byFiles = fileLimit === null ? Infinity : workers * (fileLimit - FILES_OF_WORKER);
  return Math.min(connectionMax(options, machine, workers), byFiles);
}
