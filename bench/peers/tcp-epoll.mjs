// A bare echo on tcp-epoll: the native transport alone, measured against plain C and node:net.
//   tcp-epoll.mjs DIST
// Prints its port as one line of JSON; a line on standard input has it print what it holds.
import { createInterface } from "node:readline";
import { startBareTransport } from "../bare-transport.mjs";
import { collectGarbage, fileCount } from "../facts.mjs";

const { port, held, leases, counters } = await startBareTransport(process.argv[2]);

const lines = createInterface({ input: process.stdin });
lines.on("line", async () => {
  await collectGarbage();
  const memory = process.memoryUsage();
  const facts = {
    memory,
    files: fileCount(),
    open: held.open,
    leases: leases(),
    native: counters(),
  };
  console.log(JSON.stringify(facts));
});
// Whoever started this is gone.
lines.on("close", () => process.exit());
console.log(JSON.stringify({ tcp: port }));
