// The server that is measured: both transports, method `echo`, no log, no admin.
//   holdfast-server.mjs DIST [CONNECTION_MAX [tcp-epoll|tcp-net]]
// Prints its ports as one line of JSON; a line on standard input has it print what it holds.
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { nativeCounters } from "./bare-transport.mjs";
import { collectGarbage, fileCount } from "./facts.mjs";

const [dist, connectionMax = "null", transport = "auto"] = process.argv.slice(2);
const load = (module) => import(pathToFileURL(join(dist, module)).href);
const { Server } = await load("server/server.js");
const { COUNTER } = await load("transport/epoll-layout.js");
const { STATE_NAMES } = await load("connection/state.js");

const server = new Server({
  tcp: { host: "127.0.0.1", port: 0, transport },
  websocket: { host: "127.0.0.1", port: 0 },
  admin: { enabled: false },
  connection: { max: JSON.parse(connectionMax) },
  log: { level: "silent" },
});
server.method("echo", (call) => call.payload);
await server.start();

function facts() {
  const states = Object.fromEntries(STATE_NAMES.map((name) => [name, 0]));
  for (const { context } of server.listeners) {
    context.stateCounts.forEach((count, state) => {
      states[STATE_NAMES[state]] += count;
    });
  }
  const { pool, wheel, budget, counters } = server.shared;
  const { epollLoop } = server;
  return {
    states,
    served: server.admission.served,
    opened: counters.opened,
    registry: [...server.registry.all()].length,
    labels: server.registry.labelCount,
    leases: pool.leased,
    timers: wheel.live,
    queueBytes: budget.bytes,
    files: fileCount(),
    native: epollLoop === null ? null : nativeCounters(epollLoop, COUNTER),
    heartbeatsOut: counters.heartbeatsOut,
    closedByCause: Object.fromEntries(
      Object.entries(server.closedByCause).filter(([, count]) => count > 0),
    ),
  };
}

const lines = createInterface({ input: process.stdin });
lines.on("line", async () => {
  await collectGarbage();
  const memory = process.memoryUsage();
  console.log(JSON.stringify({ memory, ...facts() }));
});
// Whoever started this is gone.
lines.on("close", () => process.exit());

const { tcp, websocket } = server.addresses();
console.log(JSON.stringify({ tcp: tcp?.port, websocket: websocket?.port }));
