// A bare fan-out on uWebSockets.js: every connection is subscribed to one topic, and what one sends
// is published to all others, and each line on standard input to everybody. The library is the very
// one that Holdfast loads.
//   uws-fanout.mjs DIST
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const { loadUws } = await import(pathToFileURL(join(process.argv[2], "transport/uws.js")).href);
const { uws } = loadUws();
const app = uws
  .App()
  .ws("/*", {
    // Without pings, as the server that it is compared with is asked for none.
    idleTimeout: 0,
    open: (ws) => ws.subscribe("t"),
    message: (ws, message) => ws.publish("t", message, true),
  })
  .listen("127.0.0.1", 0, (token) => {
    console.log(JSON.stringify({ websocket: uws.us_socket_local_port(token) }));
  });
const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => app.publish("t", Buffer.from(line), true));
// Whoever started this is gone.
lines.on("close", () => process.exit());
