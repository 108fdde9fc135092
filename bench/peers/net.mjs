// A bare echo on node:net: what Holdfast over TCP is measured against.
import { createServer } from "node:net";

const server = createServer({ noDelay: true }, (socket) => {
  socket.on("data", (chunk) => socket.write(chunk));
  socket.on("error", () => {});
});
// As many may wait to be accepted as with the others: Node's own 511 are soon full in a storm, and
// whoever comes then tries again a second later.
server.listen({ port: 0, host: "127.0.0.1", backlog: 4_096 }, () => {
  console.log(JSON.stringify({ tcp: server.address().port }));
});
// Whoever started this is gone.
process.stdin.on("end", () => process.exit()).resume();
