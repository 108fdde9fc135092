// A bare echo on uWebSockets.js: what Holdfast over WebSocket is measured against. The library is
// the very one that Holdfast loads. By default it drops what a client has not taken beyond 64 KB
// and takes messages up to 16 KB: an echo that is to lose nothing needs more of both.
//   uws.mjs DIST
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const { loadUws } = await import(pathToFileURL(join(process.argv[2], "transport/uws.js")).href);
const { uws } = loadUws();
uws
  .App()
  .ws("/*", {
    // 0: no limit.
    maxBackpressure: 0,
    maxPayloadLength: 65_536,
    message: (ws, message) => ws.send(message, true),
  })
  .listen("127.0.0.1", 0, (token) => {
    console.log(JSON.stringify({ websocket: uws.us_socket_local_port(token) }));
  });
// Whoever started this is gone.
process.stdin.on("end", () => process.exit()).resume();
