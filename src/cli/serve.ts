// `holdfast serve`: one server from its options to its orderly end.
import { systemClock } from "../base/clock.ts";
import { nodeName, readMachine } from "../config/machine.ts";
import { OptionsError } from "../config/options-error.ts";
import type { ResolvedOptions } from "../config/resolve.ts";
import { createLog, type ProcessLog } from "../observe/log.ts";
import { packageVersion } from "../observe/package-version.ts";
import { Server } from "../server/server.ts";
import { announcement, listenerFacts } from "./announcement.ts";
import { addBuiltInMethods } from "./built-in-methods.ts";
import { EXIT, type ExitCode } from "./exit-code.ts";
import type { Terminal } from "./terminal.ts";

/** Who tells of signals and of what nobody caught: the process, or a test. */
export interface ProcessEvents {
  on(event: string, run: (...args: unknown[]) => void): unknown;
  off(event: string, run: (...args: unknown[]) => void): unknown;
}

/**
 * Serves until SIGTERM or SIGINT has stopped it; a second one hastens. Rejects with
 * HOLDFAST_LISTEN_FAILED, HOLDFAST_TRANSPORT_UNAVAILABLE or HOLDFAST_OPTIONS_INVALID, with nothing
 * left open.
 */
export async function runServe(
  { options, origins }: ResolvedOptions,
  terminal: Terminal,
  events: ProcessEvents = process,
): Promise<ExitCode> {
  if (!options.tcp.enabled && !options.websocket.enabled)
    throw nothingToServe(origins["tcp.enabled"]);
  const { level, samplePerSecond } = options.log;
  const pretty = options.log.pretty ?? terminal.isInteractive;
  const node = nodeName(options, readMachine());
  const log = createLog({ level, pretty, samplePerSecond, node }, systemClock);
  const crash = (error: unknown, origin: unknown): void => endNow(log, terminal, error, origin);
  events.on("uncaughtException", crash);
  try {
    const server = new Server(options, { log });
    addBuiltInMethods(server, systemClock);
    await serve(server, terminal, events);
    return EXIT.OK;
  } finally {
    await log.close();
    events.off("uncaughtException", crash);
  }
}

function nothingToServe(origin: string): OptionsError {
  const message = "tcp.enabled and websocket.enabled are both false: there is nothing to serve";
  return new OptionsError([
    { key: "tcp.enabled", origin, value: false, message, suggestion: null },
  ]);
}

/** A defect of ours: what the process knows may be wrong, so it serves nobody any more. */
function endNow(log: ProcessLog, terminal: Terminal, error: unknown, origin: unknown): void {
  log.fatal({ err: error, origin }, "a defect: the process ends");
  terminal.writeError(`holdfast: a defect: ${String(error)}; the process ends\n`);
  process.exit(EXIT.DEFECT);
}

/** Resolves when a signal has come and the server has stopped. */
async function serve(server: Server, terminal: Terminal, events: ProcessEvents): Promise<void> {
  const stop = new SignalledStop(server, terminal);
  const onSignal = (signal: unknown): void => stop.signalled(String(signal));
  events.on("SIGTERM", onSignal);
  events.on("SIGINT", onSignal);
  try {
    await server.start();
    announce(server, terminal);
    stop.allow();
    await stop.done;
    server.log.info({}, "stopped");
  } finally {
    events.off("SIGTERM", onSignal);
    events.off("SIGINT", onSignal);
  }
}

/** A terminal gets it for people, a log gets it as records. */
function announce(server: Server, terminal: Terminal): void {
  const version = packageVersion();
  if (terminal.isInteractive) {
    terminal.write(announcement(server, version));
    return;
  }
  for (const facts of listenerFacts(server)) server.log.info({ ...facts }, "listening");
  const { fileLimit, admission, shared } = server;
  const limits = {
    connectionsMax: admission.connectionsMax,
    queueBytesMax: shared.budget.bytesMax,
    fileLimit,
  };
  server.log.info({ version, nodeVersion: process.versions.node, ...limits }, "serving");
}

/** The first signal stops the server in order, every further one hastens that. */
class SignalledStop {
  /** Resolves when the server has stopped. */
  readonly done: Promise<void>;
  readonly #server: Server;
  readonly #terminal: Terminal;
  #signals: number = 0;
  /** A server that is still starting cannot be stopped: the signal waits. */
  #isAllowed: boolean = false;
  #resolve: () => void = () => {};
  #reject: (error: unknown) => void = () => {};

  constructor(server: Server, terminal: Terminal) {
    this.#server = server;
    this.#terminal = terminal;
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  signalled(signal: string): void {
    const hasten = this.#signals++ > 0;
    const { graceMs } = this.#server.options.drain;
    const what = hasten ? "stopping now" : `stopping within ${graceMs} ms; again stops at once`;
    if (this.#terminal.isInteractive) this.#terminal.write(`${signal}: ${what}\n`);
    else this.#server.log.info({ signal, hasten, graceMs }, "stopping");
    if (this.#isAllowed) this.#stop(hasten);
  }

  /** The server has started. */
  allow(): void {
    this.#isAllowed = true;
    if (this.#signals > 0) this.#stop(this.#signals > 1);
  }

  #stop(hasten: boolean): void {
    this.#server.stop({ hasten }).then(this.#resolve, this.#reject);
  }
}
