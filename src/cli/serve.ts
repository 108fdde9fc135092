// `holdfast serve`: from options to the orderly end, in one process or with workers.
import { systemClock } from "../base/clock.ts";
import { nodeName, readMachine } from "../config/machine.ts";
import { OptionsError } from "../config/options-error.ts";
import type { OptionSources, ResolvedOptions } from "../config/resolve.ts";
import { createLog, type ProcessLog } from "../observe/log.ts";
import { EXIT, type ExitCode } from "./exit-code.ts";
import { serveAlone } from "./serve-alone.ts";
import type { ProcessEvents } from "./signalled-stop.ts";
import type { Terminal } from "./terminal.ts";

/** What a command that serves is given. */
export interface ServeParts {
  readonly resolved: ResolvedOptions;
  /** Where the options come from: a file among them is watched. */
  readonly sources: OptionSources;
  readonly terminal: Terminal;
  readonly events: ProcessEvents;
  readonly log: ProcessLog;
}

/**
 * Serves until SIGTERM or SIGINT has stopped it; a second one hastens. Rejects with
 * HOLDFAST_LISTEN_FAILED, HOLDFAST_TRANSPORT_UNAVAILABLE, HOLDFAST_WORKER_FAILED,
 * HOLDFAST_PREFLIGHT_FAILED or HOLDFAST_OPTIONS_INVALID, with nothing left open.
 */
export async function runServe(
  resolved: ResolvedOptions,
  terminal: Terminal,
  events: ProcessEvents = process,
  sources: OptionSources = {},
): Promise<ExitCode> {
  const { options, origins } = resolved;
  if (!options.tcp.enabled && !options.websocket.enabled) {
    throw nothingToServe(origins["tcp.enabled"]);
  }
  const { level, samplePerSecond } = options.log;
  const pretty = options.log.pretty ?? terminal.isInteractive;
  const node = nodeName(options, readMachine());
  const log = createLog({ level, pretty, samplePerSecond, node }, systemClock);
  const crash = (error: unknown, origin: unknown): void => endNow(log, terminal, error, origin);
  events.on("uncaughtException", crash);
  try {
    const parts = { resolved, sources, terminal, events, log };
    if (options.workers.count === 0) await serveAlone(parts);
    else await (await import("./serve-workers.ts")).serveWorkers(parts);
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
