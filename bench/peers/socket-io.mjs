// A bare echo on Socket.IO, over WebSocket alone, its other options as they come: an event `echo`
// whose acknowledgement carries the payload back.
import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http, { transports: ["websocket"], serveClient: false });
io.on("connection", (socket) => {
  socket.on("echo", (payload, answer) => answer(payload));
});
http.listen(0, "127.0.0.1", () => {
  console.log(JSON.stringify({ websocket: http.address().port }));
});
// Whoever started this is gone.
process.stdin.on("end", () => process.exit()).resume();
