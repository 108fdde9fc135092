// What Node itself can tell of a running process, by kind of profile. Each begins when it is called
// and gives a function that ends it, writes a file and returns what is to be shown.
import { createHook } from "node:async_hooks";
import { writeFileSync } from "node:fs";
import { Session } from "node:inspector/promises";
import { monitorEventLoopDelay, performance, PerformanceObserver } from "node:perf_hooks";

/** So often is the stack looked at: every millisecond is Node's own default. */
const SAMPLE_MICROS = 500;
/** Bytes that are allocated between two samples, on average. */
const HEAP_SAMPLE_BYTES = 16_384;

/** What `node --cpu-prof` writes, but of the loaded server alone. */
async function flame() {
  const session = new Session();
  session.connect();
  await session.post("Profiler.enable");
  await session.post("Profiler.setSamplingInterval", { interval: SAMPLE_MICROS });
  await session.post("Profiler.start");
  return {
    async end(file) {
      const { profile } = await session.post("Profiler.stop");
      session.disconnect();
      writeFileSync(file, JSON.stringify(profile));
      return null;
    },
  };
}

/** What `node --heap-prof` writes, but with what was collected since: all that was allocated. */
async function heap() {
  const session = new Session();
  session.connect();
  await session.post("HeapProfiler.startSampling", {
    samplingInterval: HEAP_SAMPLE_BYTES,
    includeObjectsCollectedByMajorGC: true,
    includeObjectsCollectedByMinorGC: true,
  });
  return {
    async end(file) {
      const { profile } = await session.post("HeapProfiler.stopSampling");
      session.disconnect();
      writeFileSync(file, JSON.stringify(profile));
      return null;
    },
  };
}

function count(values) {
  const counts = {};
  for (const value of values) counts[value] = (counts[value] ?? 0) + 1;
  return counts;
}

/** The loop's delay and load, garbage collections, memory and open resources. */
async function doctor() {
  const delay = monitorEventLoopDelay({ resolution: 10 });
  delay.enable();
  const pausesMs = [];
  const observer = new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) pausesMs.push(duration);
  });
  observer.observe({ entryTypes: ["gc"] });
  const loop = performance.eventLoopUtilization();
  const cpu = process.cpuUsage();
  const startedMs = performance.now();
  return {
    async end(file) {
      delay.disable();
      observer.disconnect();
      const elapsedMs = performance.now() - startedMs;
      const { user, system } = process.cpuUsage(cpu);
      const facts = {
        seconds: elapsedMs / 1_000,
        loopUtilization: performance.eventLoopUtilization(loop).utilization,
        // The timer that is looked at is due every 10 ms: what is beyond is delay.
        loopDelayMs: { p50: delay.percentile(50) / 1e6, p99: delay.percentile(99) / 1e6 },
        cpu: { user: user / 1_000 / elapsedMs, system: system / 1_000 / elapsedMs },
        gc: {
          count: pausesMs.length,
          totalMs: pausesMs.reduce((sum, ms) => sum + ms, 0),
          maxMs: Math.max(0, ...pausesMs),
        },
        memory: process.memoryUsage(),
        resources: count(process.getActiveResourcesInfo()),
      };
      writeFileSync(file, `${JSON.stringify(facts, null, 2)}\n`);
      return facts;
    },
  };
}

/** Asynchronous resources by type: how many were made, how often and how long each kind ran. */
async function bubbleprof() {
  const types = new Map();
  /** Type and time of birth by id, of those that live. */
  const living = new Map();
  const running = [];
  const of = (type) => {
    if (!types.has(type)) types.set(type, { made: 0, ran: 0, ranMs: 0, waitedMs: 0 });
    return types.get(type);
  };
  const hook = createHook({
    init(id, type) {
      of(type).made++;
      living.set(id, { type, bornMs: performance.now(), hasRun: false });
    },
    before(id) {
      const one = living.get(id) ?? { type: "(made before)", bornMs: 0, hasRun: true };
      const nowMs = performance.now();
      if (!one.hasRun) of(one.type).waitedMs += nowMs - one.bornMs;
      one.hasRun = true;
      running.push({ id, type: one.type, sinceMs: nowMs });
    },
    after(id) {
      const last = running.pop();
      if (last?.id !== id) return;
      const totals = of(last.type);
      totals.ran++;
      totals.ranMs += performance.now() - last.sinceMs;
    },
    destroy(id) {
      living.delete(id);
    },
  });
  hook.enable();
  const startedMs = performance.now();
  return {
    async end(file) {
      hook.disable();
      const seconds = (performance.now() - startedMs) / 1_000;
      const facts = { seconds, types: Object.fromEntries(types) };
      writeFileSync(file, `${JSON.stringify(facts, null, 2)}\n`);
      return facts;
    },
  };
}

/** `none` is for tools that look on from outside. */
export const READINGS = {
  flame,
  heap,
  doctor,
  bubbleprof,
  none: async () => ({ end: async () => null }),
};
