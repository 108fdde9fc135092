// What a message leaves for the garbage collector on the path of tcp-epoll itself: from the file to
// a handler that keeps nothing and, for an echo, back to the file. The traffic is real.
import { dirname, join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { progress } from "./command-line.mjs";
import { runEcho } from "./load/load-client.mjs";
import { LOAD_CORE, startPinned, startServer } from "./processes.mjs";

const here = dirname(fileURLToPath(import.meta.url));

/** Code is compiled by then, and connections are open. */
const WARMUP_MS = 2_000;
const WINDOW_MS = 3_000;
/** A young generation so large that nothing is collected meanwhile. */
const NODE_FLAGS = ["--expose-gc", "--min-semi-space-size=256", "--max-semi-space-size=256"];
/**
 * Bytes of heap that a batch may take, whatever is in it: Node's call from native code takes 58 of
 * them. And what each chunk of a batch may take on top.
 */
const BATCH_BYTES_MAX = 100;
const CHUNK_BYTES_MAX = 1;

/** The first of a kind has about one chunk in a batch, so it shows what the batch itself takes. */
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

/**
 * @returns rows: bytes of heap per batch and, where batches are large, per chunk on top of it
 */
export async function measureTransport(dist) {
  const rows = [];
  let one = null;
  for (const part of parts) {
    progress(`tcp-epoll: ${part.name}`);
    const { chunks, batches, bytes } = await measure(dist, part);
    const row = { name: part.name, chunks, batches, bytesPerBatch: bytes / batches };
    row.chunksPerBatch = chunks / batches;
    if (part.connections === 1) {
      one = row;
      row.passed = row.bytesPerBatch <= BATCH_BYTES_MAX;
    } else {
      const added = row.chunksPerBatch - one.chunksPerBatch;
      // Below zero by as much, the measurement was disturbed.
      row.bytesPerChunk = (row.bytesPerBatch - one.bytesPerBatch) / added;
      row.passed = added > 0.3 && Math.abs(row.bytesPerChunk) < CHUNK_BYTES_MAX;
    }
    rows.push(row);
  }
  return rows;
}

/** @returns the line of a row in a table under {@link TRANSPORT_HEAD} */
export function transportLine({ name, chunks, passed, ...row }) {
  const { chunksPerBatch, bytesPerBatch, bytesPerChunk } = row;
  const bound =
    bytesPerChunk === undefined
      ? `<= ${BATCH_BYTES_MAX} B per batch`
      : `< ${CHUNK_BYTES_MAX} B per chunk`;
  const words = [
    name.padEnd(24),
    String(chunks).padStart(10),
    chunksPerBatch.toFixed(1).padStart(10),
    bytesPerBatch.toFixed(1).padStart(13),
    (bytesPerChunk?.toFixed(3) ?? "").padStart(20),
  ];
  return `${words.join("")}  ${bound.padEnd(18)} ${passed ? "pass" : "FAIL"}`;
}

export const TRANSPORT_HEAD =
  "tcp-epoll alone             chunks per batch  heap B/batch  on top of it, /chunk";
