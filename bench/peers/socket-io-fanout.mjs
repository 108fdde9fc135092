// A bare fan-out on Socket.IO, over WebSocket alone, its other options as they come: everybody is
// in one room, and what one connection sends goes to all others that are.
import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http, { transports: ["websocket"], serveClient: false });
io.on("connection", (socket) => {
  void socket.join("t");
  socket.on("publish", (payload) => socket.to("t").emit("t", payload));
});
http.listen(0, "127.0.0.1", () => {
  console.log(JSON.stringify({ websocket: http.address().port }));
});
// Whoever started this is gone.
process.stdin.on("end", () => process.exit()).resume();
