// A bare fan-out on ws: what one connection sends goes to all the others.
import { WebSocketServer } from "ws";

const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: false });
server.on("connection", (socket) => {
  socket.on("message", (message) => {
    for (const other of server.clients) if (other !== socket) other.send(message);
  });
  socket.on("error", () => {});
});
server.on("listening", () => {
  console.log(JSON.stringify({ websocket: server.address().port }));
});
// Whoever started this is gone.
process.stdin.on("end", () => process.exit()).resume();
