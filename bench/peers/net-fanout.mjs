// A bare fan-out on node:net: what one connection sends goes to all the others.
import { createServer } from "node:net";

const sockets = new Set();
const server = createServer({ noDelay: true }, (socket) => {
  sockets.add(socket);
  socket.on("data", (chunk) => {
    for (const other of sockets) if (other !== socket) other.write(chunk);
  });
  socket.on("close", () => sockets.delete(socket));
  socket.on("error", () => {});
});
server.listen({ host: "127.0.0.1", port: 0, backlog: 4_096 }, () => {
  console.log(JSON.stringify({ tcp: server.address().port }));
});
// Whoever started this is gone.
process.stdin.on("end", () => process.exit()).resume();
