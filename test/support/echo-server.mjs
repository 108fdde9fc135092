// A server that sends bytes back, as a process of its own: it may stall, run out of files or accept
// slowly without holding up the test. Its one argument is JSON; it says `{ port }` over node's
// channel once it listens, and answers `connections` with how many it holds.

import { createServer, Socket } from "node:net";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";

const BACKLOG = 4_096;
/** What a throttled server leaves to the kernel. */
const BACKLOG_THROTTLED = 32;

const sleeper = new Int32Array(new SharedArrayBuffer(4));

/** Stands still, as a loop does that computes. */
function block(ms) {
  Atomics.wait(sleeper, 0, 0, ms);
}

const held = new Set();

function echo(socket) {
  held.add(socket);
  socket.setNoDelay(true);
  socket.on("data", (bytes) => socket.write(bytes));
  socket.on("error", () => {});
  socket.on("close", () => held.delete(socket));
}

function listen() {
  const server = createServer(echo);
  server.listen({ host: "127.0.0.1", port: 0, backlog: BACKLOG }, () => {
    process.send({ port: server.address().port });
  });
}

/**
 * Accepts in a thread that stands still after every connection, so that the kernel's queue fills;
 * the echo runs here, and is not held up.
 */
function listenThrottled(acceptsPerSecond) {
  const worker = new Worker(new URL(import.meta.url), { workerData: { acceptsPerSecond } });
  worker.on("message", ({ port, fd }) => {
    if (port !== undefined) process.send({ port });
    else echo(new Socket({ fd, readable: true, writable: true }));
  });
}

function acceptSlowly({ acceptsPerSecond }, tell) {
  // What is not read from and not let go of stays open for the other thread.
  const accepted = [];
  const server = createServer({ pauseOnConnect: true }, (socket) => {
    accepted.push(socket);
    tell({ fd: socket._handle.fd });
    block(1_000 / acceptsPerSecond);
  });
  server.listen({ host: "127.0.0.1", port: 0, backlog: BACKLOG_THROTTLED }, () => {
    tell({ port: server.address().port });
  });
}

function serve({ stallMs = 0, stallEveryMs = 0, acceptsPerSecond = 0 }) {
  if (acceptsPerSecond > 0) listenThrottled(acceptsPerSecond);
  else listen();
  if (stallMs > 0) setInterval(() => block(stallMs), stallEveryMs);
  process.on("message", () => process.send({ connections: held.size }));
  process.on("disconnect", () => process.exit(0));
}

if (isMainThread) {
  serve(JSON.parse(process.argv[2]));
} else {
  acceptSlowly(workerData, (message) => parentPort.postMessage(message));
}
