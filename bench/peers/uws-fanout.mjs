// A bare fan-out on uWebSockets.js: every connection is subscribed to one topic, and each line on
// standard input is published to it. The library is the very one that Holdfast loads.
//   uws-fanout.mjs DIST
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const { loadUws } = await import(pathToFileURL(join(process.argv[2], "transport/uws.js")).href);
const { uws } = loadUws();
const app = uws
  .App()
  // Without pings, as the server that it is compared with is asked for none.
  .ws("/*", { idleTimeout: 0, open: (ws) => ws.subscribe("t") })
  .listen("127.0.0.1", 0, (token) => {
    console.log(JSON.stringify({ websocket: uws.us_socket_local_port(token) }));
  });
const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => app.publish("t", Buffer.from(line), true));
// Whoever started this is gone.
lines.on("close", () => process.exit());
