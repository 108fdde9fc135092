// The program of a generator process: the controller forks it and speaks to it over node's channel.
// It ends with the controller, however that ends.

import { statSync } from "node:fs";
import { performance } from "node:perf_hooks";
import { machineClock } from "../base/clock.ts";
import { Generator } from "./generator.ts";
import type {
  FromGenerator,
  GeneratorHealth,
  GeneratorReport,
  GeneratorSetup,
  ToGenerator,
} from "./generator-messages.ts";
import { probeNetwork } from "./probe-network.ts";

/** After `stop`, sockets have this long to send what they still hold. */
const LINGER_MS = 1_000;

const clock = machineClock();
let generator: Generator | null = null;
let loopBefore = performance.eventLoopUtilization();
let cpuBefore = process.cpuUsage();

function tell(message: FromGenerator): void {
  if (process.connected) process.send!(message);
}

function health(): GeneratorHealth {
  const loop = performance.eventLoopUtilization();
  const cpu = process.cpuUsage();
  const { utilization } = performance.eventLoopUtilization(loop, loopBefore);
  const cpuMicros = cpu.user - cpuBefore.user + (cpu.system - cpuBefore.system);
  loopBefore = loop;
  cpuBefore = cpu;
  return {
    loopUtilisation: utilization,
    cpuMs: cpuMicros / 1_000,
    rssBytes: process.memoryUsage.rss(),
    fds: statSync("/proc/self/fd", { throwIfNoEntry: false })?.size ?? null,
  };
}

function setUp(setup: GeneratorSetup): void {
  const network = probeNetwork(setup.transport, setup.isInsecure, clock);
  const report = (report: GeneratorReport): void => tell({ type: "report", report });
  generator = new Generator(setup, network, clock, health, report);
  tell({ type: "ready" });
}

function onMessage(message: ToGenerator): void {
  if (message.type === "setup") {
    setUp(message.setup);
    return;
  }
  if (generator === null) return;
  switch (message.type) {
    case "stage":
      generator.beginStage(message.stage);
      break;
    case "arrivals":
      generator.addArrivals(message.plan);
      break;
    case "halt":
      generator.halt(message.kind);
      break;
    case "misbehave":
      generator.misbehave(message.faults);
      break;
    case "shrink":
      generator.shrink(message.to, message.perSecond);
      break;
    case "settle":
      generator.settle(message.published);
      break;
    case "stop":
      generator.stop();
      generator = null;
      process.disconnect();
      setTimeout(() => process.exit(0), LINGER_MS).unref();
      break;
  }
}

// A terminal's Ctrl-C reaches the whole group; the controller says when to end.
process.on("SIGINT", () => {});
process.on("SIGTERM", () => {});
process.on("disconnect", () => {
  if (generator !== null) process.exit(1);
});
process.on("message", onMessage);
process.on("uncaughtException", (error) => {
  tell({ type: "failed", message: error.stack ?? String(error) });
  clock.after(100, () => process.exit(1));
});
