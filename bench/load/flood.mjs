// Connections that send 32 bytes each, again and again, and expect nothing.
//   flood.mjs PORT CONNECTIONS
import { connect } from "node:net";

const [port, count] = process.argv.slice(2).map(Number);
const payload = Buffer.from("thirty-two bytes and no way back");
const sockets = Array.from({ length: count }, () =>
  connect({ host: "127.0.0.1", port, noDelay: true }).on("error", () => {}),
);

function send() {
  for (const socket of sockets) if (socket.writableLength === 0) socket.write(payload);
  setImmediate(send);
}
send();
// Whoever started this is gone.
process.stdin.on("end", () => process.exit()).resume();
