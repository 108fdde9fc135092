// A bare echo on tcp-epoll: the native transport alone, measured against plain C and node:net.
//   tcp-epoll.mjs DIST [sink|loop]
// A sink drops what comes; `loop` copies it without a view, so that the echo itself leaves nothing.
// Prints its port as one line of JSON. A line on standard input has it print what it holds, and
// `heap` how large V8's young generation is as it stands.
import { PerformanceObserver } from "node:perf_hooks";
import { createInterface } from "node:readline";
import { getHeapSpaceStatistics } from "node:v8";
import { startBareTransport } from "../bare-transport.mjs";
import { collectGarbage, fileCount } from "../facts.mjs";

const [dist, variant] = process.argv.slice(2);

function copyByLoop(from, start, end, to, at) {
  for (let index = start, target = at; index < end; index++, target++) to[target] = from[index];
}

const { port, held, leases, counters } = await startBareTransport(dist, {
  isSink: variant === "sink",
  copy: variant === "loop" ? copyByLoop : null,
});

let collections = 0;
new PerformanceObserver((list) => {
  collections += list.getEntries().length;
}).observe({ entryTypes: ["gc"] });

async function facts() {
  await collectGarbage();
  const memory = process.memoryUsage();
  return { memory, files: fileCount(), ...held, leases: leases(), native: counters() };
}

function heap() {
  // What is allocated lies here; elsewhere V8 sweeps and compiles as it likes.
  const { space_used_size: bytes } = getHeapSpaceStatistics().find(
    ({ space_name: name }) => name === "new_space",
  );
  return { bytes, chunks: held.chunks, batches: counters().batches, collections };
}

const lines = createInterface({ input: process.stdin });
lines.on("line", async (line) => {
  console.log(JSON.stringify(line === "heap" ? heap() : await facts()));
});
// Whoever started this is gone.
lines.on("close", () => process.exit());
console.log(JSON.stringify({ tcp: port }));
