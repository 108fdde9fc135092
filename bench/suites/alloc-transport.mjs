// What a message leaves for the garbage collector on the path of tcp-epoll itself: from the file to
// a handler that keeps nothing and, for an echo, back to the file. The traffic is real.
import { dirname, join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { progress } from "../command-line.mjs";
import { runEcho } from "../load/load-client.mjs";
import { LOAD_CORE, startPinned, startServer } from "../processes.mjs";

const here = dirname(dirname(fileURLToPath(import.meta.url)));

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

const parts = [
  { name: "sink, 1 connection", isSink: true, connections: 1 },
  { name: "sink, 200 connections", isSink: true, connections: 200 },
  { name: "echo, 1 connection", connections: 1, inFlight: 1 },
  { name: "echo, 200 connections", connections: 200, inFlight: 1 },
  { name: "echo, 200, 16 in flight", connections: 200, inFlight: 16 },
];

/** @returns a function that ends the load. */
function startLoad(port, pid, { isSink = false, connections, inFlight }) {
  if (isSink) {
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
async function measure(dist, part) {
  const script = join(here, "peers", "tcp-epoll.mjs");
  const args = [dist, part.isSink ? "sink" : "loop"];
  const { server, ports } = await startServer(script, args, NODE_FLAGS);
  try {
    const endLoad = startLoad(ports.tcp, server.pid, part);
    await wait(WARMUP_MS);
    await server.ask("facts");
    const from = await server.ask("heap");
    await wait(WINDOW_MS);
    const to = await server.ask("heap");
    await endLoad();
    if (to.collections > from.collections) throw new Error(`${part.name}: garbage was collected`);
    const chunks = to.chunks - from.chunks;
    if (chunks === 0) throw new Error(`${part.name}: nothing came`);
    return { chunks, batches: to.batches - from.batches, bytes: to.bytes - from.bytes };
  } finally {
    await server.stop();
  }
}

/** @returns rows: bytes left per batch, and how that is for each chunk in it */
export async function measureTransport(dist) {
  const rows = [];
  for (const part of parts) {
    progress(`tcp-epoll: ${part.name}`);
    const { chunks, batches, bytes } = await measure(dist, part);
    const passed = bytes / batches <= BATCH_BYTES_MAX;
    rows.push({ name: part.name, chunks, batches, bytes, passed });
  }
  return rows;
}

export const TRANSPORT_HEAD =
  "tcp-epoll alone             chunks per batch  heap B/batch  heap B/chunk";

/** @returns the line of a row in a table under {@link TRANSPORT_HEAD} */
export function transportLine({ name, chunks, batches, bytes, passed }) {
  const words = [
    name.padEnd(24),
    String(chunks).padStart(10),
    (chunks / batches).toFixed(1).padStart(10),
    (bytes / batches).toFixed(1).padStart(14),
    (bytes / chunks).toFixed(3).padStart(14),
  ];
  return `${words.join("")}  <= ${BATCH_BYTES_MAX} B per batch ${passed ? "pass" : "FAIL"}`;
}
