// A bare echo on node:net: what Holdfast over TCP is measured against.
import { createServer } from "node:net";

const server = createServer({ noDelay: true }, (socket) => {
  socket.on("data", (chunk) => socket.write(chunk));
  socket.on("error", () => {});
});
server.listen(0, "127.0.0.1", () => {
  console.log(JSON.stringify({ tcp: server.address().port }));
});
// Whoever started this is gone.
process.stdin.on("end", () => process.exit()).resume();
