// What a message leaves for the garbage collector on the path of tcp-epoll itself: from the file to
// a handler that keeps nothing and, for an echo, back to the file. The traffic is real.
import { dirname, join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { progress } from "./command-line.mjs";
import { runEcho } from "./load/load-client.mjs";
import { LOAD_CORE, startPinned, startServer } from "./processes.mjs";
import { words } from "./rounds.mjs";

const here = dirname(fileURLToPath(import.meta.url));

/** Code is compiled by then, and connections are open. */
const WARMUP_MS = 2_000;
const WINDOW_MS = 3_000;
/** A young generation so large that nothing is collected meanwhile. */
const NODE_FLAGS = ["--expose-gc", "--min-semi-space-size=256", "--max-semi-space-size=256"];
/**
 * Bytes that a batch may leave, however many chunks are in it: Node's call from native code leaves
 * 57. Where batches are large that is less than a byte for each chunk.
 */
const BATCH_BYTES_MAX = 100;

const loads = [
  { traffic: "sink", connections: 1 },
  { traffic: "sink", connections: 200 },
  { traffic: "echo", connections: 1, inFlight: 1 },
  { traffic: "echo", connections: 200, inFlight: 1 },
  { traffic: "echo", connections: 200, inFlight: 16 },
];

/** @returns a function that ends the load. */
function startLoad(port, pid, { traffic, connections, inFlight }) {
  if (traffic === "sink") {
    const args = [join(here, "load", "flood.mjs"), String(port), String(connections)];
    const flood = startPinned(LOAD_CORE, process.execPath, args, ["pipe", "inherit", "inherit"]);
    return () => flood.kill("SIGKILL");
  }
  const load = runEcho({
    port,
    pid,
    transport: "tcp",
    protocol: "raw",
    connections,
    "in-flight": inFlight,
    warmup: WARMUP_MS / 1_000,
    seconds: WINDOW_MS / 1_000 + 0.5,
  });
  return () => load;
}

/** What came in a time without a garbage collection, and how much was allocated in it. */
async function measure(dist, load) {
  const script = join(here, "peers", "tcp-epoll.mjs");
  const args = [dist, load.traffic === "sink" ? "sink" : "loop"];
  const { server, ports } = await startServer(script, args, NODE_FLAGS);
  try {
    const endLoad = startLoad(ports.tcp, server.pid, load);
    await wait(WARMUP_MS);
    await server.ask("facts");
    const from = await server.ask("heap");
    await wait(WINDOW_MS);
    const to = await server.ask("heap");
    await endLoad();
    if (to.collections > from.collections) throw new Error(`${words(load)}: garbage was collected`);
    const chunks = to.chunks - from.chunks;
    if (chunks === 0) throw new Error(`${words(load)}: nothing came`);
    return { chunks, batches: to.batches - from.batches, bytes: to.bytes - from.bytes };
  } finally {
    await server.stop();
  }
}

/** Adds to the result what a batch leaves, and how that is for each chunk in it. */
export async function measureTransport(dist, result) {
  for (const load of loads) {
    progress(`tcp-epoll: ${words(load)}`);
    const { chunks, batches, bytes } = await measure(dist, load);
    const add = (figure, value, target = null) =>
      result.add({ side: "tcp-epoll bare", load, figure, values: [value], target });
    add("allocatedPerBatch", bytes / batches, { max: BATCH_BYTES_MAX });
    add("allocatedPerChunk", bytes / chunks);
    add("chunksPerBatch", chunks / batches);
  }
}
