// `holdfast serve`: one server from its options to its orderly end.
import { systemClock } from "../base/clock.ts";
import { OptionsError } from "../config/options-error.ts";
import type { ResolvedOptions } from "../config/resolve.ts";
import { Server } from "../server/server.ts";
import { announcement, listenerFacts } from "./announcement.ts";
import { addBuiltInMethods } from "./built-in-methods.ts";
import { EXIT, type ExitCode } from "./exit-code.ts";
import { packageVersion } from "./package-version.ts";
import type { Terminal } from "./terminal.ts";

/** Who tells of signals: the process, or a test. */
export interface SignalSource {
  on(signal: "SIGINT" | "SIGTERM", run: (signal: string) => void): unknown;
  off(signal: "SIGINT" | "SIGTERM", run: (signal: string) => void): unknown;
}

/**
 * Serves until SIGTERM or SIGINT has stopped it; a second one hastens. Rejects with
 * HOLDFAST_LISTEN_FAILED, HOLDFAST_TRANSPORT_UNAVAILABLE or HOLDFAST_OPTIONS_INVALID, with nothing
 * left open.
 */
export async function runServe(
  { options, origins }: ResolvedOptions,
  terminal: Terminal,
  signals: SignalSource = process,
): Promise<ExitCode> {
  if (!options.tcp.enabled && !options.websocket.enabled)
    throw nothingToServe(origins["tcp.enabled"]);
  const server = new Server(options);
  addBuiltInMethods(server, systemClock);
  await server.start();
  // Once: a terminal gets it for people, a log gets it as records.
  if (terminal.isInteractive) terminal.write(announcement(server, packageVersion()));
  else for (const facts of listenerFacts(server)) server.log.info({ ...facts }, "listening");
  await stopped(server, terminal, signals);
  return EXIT.OK;
}

function nothingToServe(origin: string): OptionsError {
  const message = "tcp.enabled and websocket.enabled are both false: there is nothing to serve";
  return new OptionsError([
    { key: "tcp.enabled", origin, value: false, message, suggestion: null },
  ]);
}

/** Resolves when a signal has come and the server has stopped. */
async function stopped(server: Server, terminal: Terminal, signals: SignalSource): Promise<void> {
  let onSignal = (_signal: string): void => {};
  const stopping = new Promise<void>((resolve, reject) => {
    let hasten = false;
    onSignal = (signal) => {
      const { graceMs } = server.options.drain;
      const what = hasten ? "stopping now" : `stopping within ${graceMs} ms; again stops at once`;
      if (terminal.isInteractive) terminal.write(`${signal}: ${what}\n`);
      else server.log.info({ signal, hasten, graceMs }, "stopping");
      server.stop({ hasten }).then(resolve, reject);
      hasten = true;
    };
  });
  signals.on("SIGTERM", onSignal);
  signals.on("SIGINT", onSignal);
  try {
    await stopping;
  } finally {
    signals.off("SIGTERM", onSignal);
    signals.off("SIGINT", onSignal);
  }
}
