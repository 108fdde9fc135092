// The server that is profiled: method `echo`, no log, no admin. Whoever profiles it tells it over a
// Unix socket when to begin, what to do and when to end, so that standard input and output stay the
// tool's, and only the loaded server is in the profile.
//   server.mjs DIST CONTROL_SOCKET TCP_TRANSPORT
// A line in, a line of JSON out: `served`, `begin KIND`, `end FILE`. When the socket ends, the
// server stops in order and the process ends by itself.
import { connect } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { READINGS } from "./readings.mjs";

const [dist, controlPath, transport] = process.argv.slice(2);
const { Server } = await import(pathToFileURL(join(dist, "server/server.js")).href);

const server = new Server({
  tcp: { host: "127.0.0.1", port: 0, transport },
  websocket: { host: "127.0.0.1", port: 0 },
  admin: { enabled: false },
  connection: { max: null },
  log: { level: "silent" },
});
server.method("echo", (call) => call.payload);
await server.start();

let reading = null;

const COMMANDS = {
  served: () => ({ served: server.admission.served }),
  begin: async (kind) => {
    reading = await READINGS[kind]();
    return {};
  },
  end: async (file) => {
    const { end } = reading;
    reading = null;
    return { facts: await end(file) };
  },
};

const control = connect(controlPath);
const say = (message) => control.write(`${JSON.stringify(message)}\n`);
const { tcp, websocket } = server.addresses();
say({ pid: process.pid, ports: { tcp: tcp.port, websocket: websocket.port } });
// Whoever started this is done, or gone.
createInterface({ input: control })
  .on("line", async (line) => {
    const [name, ...rest] = line.split(" ");
    say(await COMMANDS[name](rest.join(" ")));
  })
  .on("close", () => void server.stop({ hasten: true }));
control.on("error", () => process.exit(1));
// Tools stop a server so; it stops by itself when the socket ends.
process.on("SIGINT", () => {});
