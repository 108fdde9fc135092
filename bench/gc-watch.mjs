// Loaded into a server before its own program (node --import), it watches the collections of
// garbage: the first SIGUSR2 begins, the second ends and prints one line of JSON on standard
// output.
//
// V8 tells of every collection how large the heap was when it began and when it ended, and how long
// JavaScript stood still for it. Between two collections nothing is given back, so what the heap
// grew by, from the end of one to the beginning of the next, is what was allocated. The memory of
// Buffers lies outside of the heap and is given back in the background, so that this cannot tell
// how much of it there was: it is not counted, and shows in the CPU time alone. Marking in small
// steps between collections is not in the pauses.
import { GCProfiler, getHeapStatistics } from "node:v8";

const MICROS_PER_MS = 1_000;

let profiler = null;
let atStart = null;

function begin() {
  profiler = new GCProfiler();
  profiler.start();
  atStart = getHeapStatistics().used_heap_size;
}

function end() {
  const atEnd = getHeapStatistics().used_heap_size;
  const { statistics } = profiler.stop();
  profiler = null;
  const sum = { count: statistics.length, totalMs: 0, maxMs: 0, allocatedBytes: 0 };
  let last = atStart;
  for (const { beforeGC, afterGC, cost } of statistics) {
    sum.totalMs += cost / MICROS_PER_MS;
    sum.maxMs = Math.max(sum.maxMs, cost / MICROS_PER_MS);
    sum.allocatedBytes += beforeGC.heapStatistics.usedHeapSize - last;
    last = afterGC.heapStatistics.usedHeapSize;
  }
  sum.allocatedBytes += atEnd - last;
  console.log(JSON.stringify(sum));
}

process.on("SIGUSR2", () => (profiler === null ? begin() : end()));
