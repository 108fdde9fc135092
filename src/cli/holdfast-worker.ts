#!/usr/bin/env node
// A worker process of `holdfast serve`: started by the supervisor, of no use by itself.
import { writeFileSync } from "node:fs";
import { systemClock } from "../base/clock.ts";
import { nodeName, readMachine } from "../config/machine.ts";
import { createLog } from "../observe/log.ts";
import type { Envelope, ToWorker } from "../supervisor/ipc.ts";
import { Worker } from "../supervisor/worker.ts";
import { EXIT } from "./exit-code.ts";

/** When memory runs out the kernel ends a worker, whose sockets others hold, not the supervisor. */
const OOM_SCORE = "500";

for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});

if (process.send === undefined) {
  process.stderr.write("holdfast-worker: it is started by `holdfast serve`\n");
  process.exit(EXIT.USAGE);
}

const worker = new Worker({
  clock: systemClock,
  log(options, number) {
    const { level, samplePerSecond, pretty } = options.log;
    const node = nodeName(options, readMachine());
    const written = { level, samplePerSecond, pretty: pretty === true };
    return createLog({ ...written, node, worker: number }, systemClock);
  },
  channel: {
    send(message) {
      if (!process.connected) return Promise.resolve();
      return new Promise((resolve) => {
        const envelope: Envelope = { holdfast: message };
        process.send!(envelope, undefined, undefined, () => resolve());
      });
    },
  },
});

process.on("uncaughtException", (error: unknown, origin: string) => {
  // What the process knows may be wrong, so it serves nobody any more.
  const text = "nobody caught an error, of Holdfast or of the application: the worker ends";
  if (worker.log === null) process.stderr.write(`holdfast-worker: ${text}: ${String(error)}\n`);
  else worker.log.fatal({ err: error, origin }, text);
  process.exit(EXIT.DEFECT);
});
process.on("message", (message) => worker.take(message as ToWorker));
process.on("disconnect", () => {
  worker.log?.error({}, "the supervisor has gone: this worker drains and ends");
  worker.orphaned();
});
// The terminal's Ctrl+C goes to all processes: the supervisor says what it means.
process.on("SIGINT", () => {});
process.on("SIGHUP", () => {});
let isDraining = false;
process.on("SIGTERM", () => {
  worker.drain(isDraining);
  isDraining = true;
});

try {
  writeFileSync("/proc/self/oom_score_adj", OOM_SCORE);
} catch {
  // Elsewhere than on Linux there is none.
}

const failure = await worker.done;
await worker.log?.close();
process.exit(failure === null ? EXIT.OK : EXIT.FAILED);
