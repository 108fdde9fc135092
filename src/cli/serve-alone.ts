// `holdfast serve --workers 0`: the server in this one process.
import { systemClock } from "../base/clock.ts";
import { connectionMax, readMachine } from "../config/machine.ts";
import { packageVersion } from "../observe/package-version.ts";
import { Server } from "../server/server.ts";
import { loadApplication } from "../supervisor/application.ts";
import { announcement, listenerFacts, NO_WEBSOCKET } from "./announcement.ts";
import { runPreflight } from "./preflight.ts";
import type { ServeParts } from "./serve.ts";
import { SignalledStop } from "./signalled-stop.ts";
import { stopMs } from "./stop-time.ts";
import type { Terminal } from "./terminal.ts";

/** Resolves when a signal, or an operator, has stopped it. */
export async function serveAlone({ resolved, terminal, events, log }: ServeParts): Promise<void> {
  const { options } = resolved;
  const stop = new SignalledStop(log, terminal, events, () => stopMs(options));
  const onHangUp = (): void => {
    if (terminal.isInteractive) stop.request("SIGHUP", false);
    else log.warn({}, "SIGHUP: one process has no workers to replace; it goes on as it is");
  };
  events.on("SIGHUP", onHangUp);
  try {
    runPreflight(options, 0, connectionMax(options, readMachine()), log);
    const application = await loadApplication(options.workers.application, systemClock);
    const server = new Server(options, {
      log,
      hooks: application.hooks,
      drain: (hasten) => stop.request("an operator", hasten),
    });
    await application.setUp(server);
    await server.start();
    announce(server, terminal);
    stop.allow((how) => server.stop(how));
    await stop.done;
    log.info({}, "stopped");
  } finally {
    events.off("SIGHUP", onHangUp);
    stop.close();
  }
}

/** A terminal gets it for people, a log gets it as records. */
function announce(server: Server, terminal: Terminal): void {
  const version = packageVersion();
  const facts = listenerFacts(server);
  const { fileLimit, admission, shared, options, node, log } = server;
  const { connectionsMax } = admission;
  const queueBytesMax = shared.budget.bytesMax;
  if (terminal.isInteractive) {
    const hasWebSocket = facts.some(({ listener }) => listener === "websocket");
    const notes = [
      ...(options.websocket.enabled && !hasWebSocket ? [NO_WEBSOCKET] : []),
      `at most ${connectionsMax} connections; ${queueBytesMax} bytes may be queued`,
    ];
    terminal.write(announcement({ version, node, facts, notes }));
    return;
  }
  for (const entry of facts) log.info({ ...entry }, "listening");
  const limits = { connectionsMax, queueBytesMax, fileLimit };
  log.info({ version, nodeVersion: process.versions.node, ...limits }, "serving");
}
