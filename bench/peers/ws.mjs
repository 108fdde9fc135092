// A bare echo on ws: no target is tied to it, it shows where the other figures stand.
import { WebSocketServer } from "ws";

const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: false });
server.on("connection", (socket) => {
  socket.on("message", (message) => socket.send(message));
  socket.on("error", () => {});
});
server.on("listening", () => {
  console.log(JSON.stringify({ websocket: server.address().port }));
});
// Whoever started this is gone.
process.stdin.on("end", () => process.exit()).resume();
