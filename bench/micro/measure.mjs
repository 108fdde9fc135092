// Measures one side of one case, in a process that has done nothing else: what one case teaches the
// compiler is no other's. Needs --expose-gc.
//   measure.mjs DIST DEADLINES CASE SIDE [quick]
// Says that it is ready as a line of JSON, measures when it gets a line, and says what it found.
import { once } from "node:events";
import { PerformanceObserver } from "node:perf_hooks";
import { createInterface } from "node:readline";
import { setTimeout as wait } from "node:timers/promises";
import { getHeapStatistics } from "node:v8";
import { spread } from "../spread.mjs";
import { casesWith } from "./cases.mjs";
import { Missing } from "./work.mjs";

const [dist, deadlines, index, side, mode = ""] = process.argv.slice(2);
const { load, isHeld = false, sides } = casesWith(Number(deadlines))[Number(index)];
const isQuick = mode === "quick";

/** A sample lasts so long that the clock's steps do not show in it. */
const SAMPLE_MICROS_MIN = isQuick ? 5_000 : 20_000;
const SAMPLES = isQuick ? 1 : 15;
const WARM_UP_MICROS = isQuick ? 5_000 : 200_000;
/** Cases that need a run of many operations warm up with fewer. */
const WARM_DEADLINES = isQuick ? 2_000 : 20_000;
const WARM_RUNS = isQuick ? 1 : 5;
/** Allocation is counted over so many operations, fewer where garbage is collected meanwhile. */
const ALLOCATED_OVER = isQuick ? 20_000 : 100_000;
/** Until the observer of collections was told. */
const OBSERVED_MS = isQuick ? 5 : 20;

let collections = 0;
new PerformanceObserver((list) => {
  collections += list.getEntries().length;
}).observe({ entryTypes: ["gc"] });

/** CPU time of this process so far, all threads. */
function cpuMicros() {
  const { user, system } = process.cpuUsage();
  return user + system;
}

function check(work, counted) {
  if (counted === work.expected) return;
  throw new Error(`${side}: counted ${counted}, expected ${work.expected} of ${caseText()}`);
}

/** Looks closer than what a run counted. */
function assertRight(work) {
  if (work.isRight?.() !== false) return;
  throw new Error(`${side}: ${caseText()} is not what it has to be`);
}

function caseText() {
  return JSON.stringify(load);
}

async function runOnce(work) {
  work.setUp?.();
  const from = cpuMicros();
  const counted = await work.run();
  const micros = cpuMicros() - from;
  check(work, counted);
  return micros;
}

/** CPU time of `runs` runs, which are all checked. */
function runMany({ run, expected }, runs) {
  let wrong = 0;
  const from = cpuMicros();
  for (let done = 0; done < runs; done++) if (run() !== expected) wrong++;
  const micros = cpuMicros() - from;
  if (wrong !== 0) throw new Error(`${side}: ${caseText()} counts differently after a while`);
  return micros;
}

async function settled() {
  for (let round = 0; round < 2; round++) {
    await wait(OBSERVED_MS);
    globalThis.gc();
  }
  await wait(OBSERVED_MS);
}

function heldBytes() {
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** Of a case whose runs cannot be repeated one after another: one run, which is long enough. */
async function measureOnce(work) {
  await settled();
  const before = heldBytes();
  const micros = await runOnce(work);
  const figures = { time: (micros * 1_000) / work.operations };
  if (isHeld) {
    await settled();
    figures.heldPerDeadline = (heldBytes() - before) / work.operations;
  }
  assertRight(work);
  work.tearDown?.();
  return figures;
}

async function allocatedPerOperation(work) {
  let runs = Math.max(1, Math.ceil(ALLOCATED_OVER / work.operations));
  for (;;) {
    await settled();
    const collectionsBefore = collections;
    const before = getHeapStatistics().used_heap_size + process.memoryUsage().arrayBuffers;
    runMany(work, runs);
    const after = getHeapStatistics().used_heap_size + process.memoryUsage().arrayBuffers;
    await wait(OBSERVED_MS);
    if (collections === collectionsBefore) {
      return Math.max(0, after - before) / (runs * work.operations);
    }
    if (runs === 1) return null;
    runs >>= 1;
  }
}

async function measureMany(work) {
  let runs = 1;
  let micros = runMany(work, runs);
  for (let spent = micros; spent < WARM_UP_MICROS; spent += micros) {
    if (micros < SAMPLE_MICROS_MIN) runs *= 2;
    micros = runMany(work, runs);
  }
  while (micros < SAMPLE_MICROS_MIN) {
    runs *= 2;
    micros = runMany(work, runs);
  }
  const samples = Array.from({ length: SAMPLES }, () => runMany(work, runs));
  return {
    time: (spread(samples).median * 1_000) / (runs * work.operations),
    allocatedPerOperation: await allocatedPerOperation(work),
  };
}

/** A smaller one of the same kind, to compile everything; it is checked closely. */
async function warmUp() {
  const small = await sides[side]({ dist, load: { ...load, deadlines: WARM_DEADLINES } });
  for (let run = 0; run < WARM_RUNS; run++) {
    await runOnce(small);
    if (run === 0) assertRight(small);
    small.tearDown?.();
  }
}

async function prepare() {
  const work = await sides[side]({ dist, load });
  if (work.setUp !== undefined) {
    await warmUp();
    return () => measureOnce(work);
  }
  check(work, work.run());
  return () => measureMany(work);
}

let measure;
try {
  measure = await prepare();
} catch (error) {
  if (!(error instanceof Missing)) throw error;
  console.log(JSON.stringify({ missing: error.message }));
  process.exit(0);
}
console.log(JSON.stringify({ ready: true }));
const lines = createInterface({ input: process.stdin });
// Whoever started this is gone.
lines.on("close", () => process.exit());
await once(lines, "line");
console.log(JSON.stringify(await measure()));
