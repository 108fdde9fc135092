// A chat over topics: every room is a topic, whoever is subscribed to it reads along.
//
//   node examples/chat.mjs serve
//   node examples/chat.mjs join NAME [ROOM] [ENDPOINT]     type lines; Ctrl-D leaves
//
// ENDPOINT is tcp://127.0.0.1:7400 by default; ws://127.0.0.1:7401 does as well.

import { stdin, stdout } from "node:process";
import { createInterface } from "node:readline";
import { createServer } from "holdfast";
import { connect } from "holdfast/client";

const [command, name, room = "lobby", endpoint = "tcp://127.0.0.1:7400"] = process.argv.slice(2);

async function serve() {
  // A chat reader that cannot keep up loses old lines and is told how many.
  const server = createServer({
    tcp: { port: Number(process.env.CHAT_TCP_PORT ?? 7400) },
    websocket: { port: Number(process.env.CHAT_WEBSOCKET_PORT ?? 7401) },
    admin: { enabled: false },
    send: { policy: "drop-oldest" },
  });
  await server.start();
  const { tcp, websocket } = server.addresses();
  console.log(`chat serves on tcp://127.0.0.1:${tcp.port} and ws://127.0.0.1:${websocket.port}`);
  process.once("SIGTERM", () => server.stop());
  process.once("SIGINT", () => server.stop());
}

async function join() {
  const client = connect(endpoint, { name: "chat-example" });
  client.onState((state, error) => {
    if (state === "waiting") console.log(`* no connection (${error?.message}), trying again`);
  });
  const topic = `chat/${room}`;
  const messages = await client.subscribe(topic);
  console.log(`* ${name} has joined ${room}`);

  const lines = createInterface({ input: stdin, output: stdin.isTTY ? stdout : undefined });
  const said = [];
  lines.on("line", (text) => {
    said.push(client.publish(topic, JSON.stringify({ from: name, text })).catch(report));
  });
  // What was said is out before we leave.
  lines.on("close", () => Promise.all(said).then(() => client.close().catch(report)));

  for await (const message of messages) {
    if (message.type === "gap") {
      console.log(`* ${message.missed ?? "some"} lines were missed`);
    } else {
      const { from, text } = JSON.parse(new TextDecoder().decode(message.payload));
      console.log(`${from}: ${text}`);
    }
  }
}

function fail(error) {
  report(error);
  process.exitCode = 1;
}

function report(error) {
  console.error(`* ${error.code ?? error.name}: ${error.message}`);
}

if (command === "serve") await serve().catch(fail);
else if (command === "join" && name !== undefined) await join().catch(fail);
else {
  console.error("usage: chat.mjs serve | chat.mjs join NAME [ROOM] [ENDPOINT]");
  process.exitCode = 2;
}
