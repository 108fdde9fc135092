// What a message leaves for the garbage collector on the path of tcp-epoll itself: from the file to
// a handler that keeps nothing and, for an echo, back to the file. The traffic is real.
import { dirname, join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { getHeapStatistics } from "node:v8";
import { startBareTransport } from "./bare-transport.mjs";
import { progress } from "./command-line.mjs";
import { runEcho } from "./load/load-client.mjs";
import { LOAD_CORE, startPinned } from "./processes.mjs";

const here = dirname(fileURLToPath(import.meta.url));

const CONNECTIONS = 200;
const PAYLOAD_BYTES = 32;
/** Code is compiled by then, and connections are open. */
const WARMUP_MS = 2_000;
const WINDOW_MS = 3_000;
/**
 * Bytes of heap per message, of everything that the process does meanwhile. What is allocated once
 * per batch has a share in it.
 */
const BYTES_MAX = 1;

const parts = [
  { name: "tcp-epoll: sink", isSink: true },
  { name: "tcp-epoll: echo, 1 in flight", inFlight: 1 },
  { name: "tcp-epoll: echo, 16 in flight", inFlight: 16 },
];

/** @returns a function that ends the load */
function startLoad(port, { isSink = false, inFlight }) {
  if (isSink) {
    const script = join(here, "load", "flood.mjs");
    const args = [script, String(port), String(CONNECTIONS)];
    const flood = startPinned(LOAD_CORE, process.execPath, args, ["pipe", "inherit", "inherit"]);
    return () => flood.kill("SIGKILL");
  }
  const load = runEcho({
    port,
    pid: process.pid,
    transport: "tcp",
    protocol: "raw",
    connections: CONNECTIONS,
    "in-flight": inFlight,
    warmup: WARMUP_MS / 1_000,
    seconds: WINDOW_MS / 1_000 + 0.5,
  });
  return () => load;
}

/**
 * @param {() => number} collections how many garbage collections there were
 * @returns rows: bytes per message and per batch, with how many messages
 */
export async function measureTransport(dist, collections) {
  const rows = [];
  for (const part of parts) {
    progress(part.name);
    const { port, held, counters, transport } = await startBareTransport(dist, part);
    const endLoad = startLoad(port, part);
    await wait(WARMUP_MS);
    globalThis.gc();
    await wait(20);
    const from = snapshot(held, counters, collections);
    await wait(WINDOW_MS);
    const to = snapshot(held, counters, collections);
    await endLoad();
    transport.destroy();
    await wait(20);
    // The observer is told late; what falls behind the window fails it as well.
    if (collections() > from.collections) throw new Error("a collection disturbed the measurement");
    const messages = (to.bytes - from.bytes) / PAYLOAD_BYTES;
    const heapBytes = to.heap - from.heap;
    const bytesPerMessage = heapBytes / messages;
    const bytesPerBatch = heapBytes / (to.batches - from.batches);
    const passed = messages > 0 && bytesPerMessage < BYTES_MAX;
    rows.push({ name: part.name, messages, bytesPerMessage, bytesPerBatch, passed });
  }
  return rows;
}

function snapshot(held, counters, collections) {
  const { batches } = counters();
  const heap = getHeapStatistics().used_heap_size;
  return { bytes: held.bytes, batches, heap, collections: collections() };
}
