// A device that reports measurements and takes commands, and the service that it reports to.
//
//   node examples/device.mjs serve
//   node examples/device.mjs run DEVICE [ENDPOINT]
//
// The device names itself with a label; the service finds it by that label and pushes commands.
// When it sees a temperature above 30 it tells the device to cool.

import { createServer, STATUS, StatusError } from "holdfast";
import { connect } from "holdfast/client";

const [command, device, endpoint = "tcp://127.0.0.1:7400"] = process.argv.slice(2);

async function serve() {
  const server = createServer(
    {
      tcp: { port: Number(process.env.DEVICE_TCP_PORT ?? 7400) },
      websocket: { enabled: false },
      admin: { enabled: false },
    },
    {
      hooks: {
        onConnect: ({ labels }) => console.log(`+ ${labels?.get("device") ?? "unknown"}`),
        onDisconnect: ({ labels }, reason, cause) =>
          console.log(`- ${labels?.get("device") ?? "unknown"} (${reason}: ${cause})`),
      },
    },
  );

  server.method("report", (call) => {
    const name = call.connection.labels?.get("device");
    if (name === undefined) {
      throw new StatusError(STATUS.FAILED_PRECONDITION, "connect with a label `device`");
    }
    const { celsius } = call.payload.json();
    if (typeof celsius !== "number") {
      throw new StatusError(STATUS.INVALID_ARGUMENT, "a report has a number `celsius`");
    }
    console.log(`${name}: ${celsius.toFixed(1)} °C`);
    if (celsius > 30) {
      for (const connection of server.find("device", name)) connection.send("command", "cool");
    }
    return "ok";
  });

  await server.start();
  console.log(`devices report to tcp://127.0.0.1:${server.addresses().tcp.port}`);
  process.once("SIGTERM", () => server.stop());
  process.once("SIGINT", () => server.stop());
}

async function run() {
  const client = connect(endpoint, { name: "device-example", labels: { device } });
  let celsius = 25;
  client.onPush((push) => {
    if (push.topic !== "command") return;
    const text = new TextDecoder().decode(push.payload);
    console.log(`command: ${text}`);
    if (text === "cool") celsius = 25;
  });
  client.onState((state, error) => {
    if (state === "waiting") console.log(`no connection (${error?.message}), trying again`);
  });
  await client.ready();
  console.log(`${device} is connected as ${client.connectionId}`);

  const timer = setInterval(
    async () => {
      celsius += 1 + Math.random();
      try {
        await client.call("report", JSON.stringify({ celsius }), { timeoutMs: 2_000 });
      } catch (error) {
        // A report that was lost is not repeated: the next one says more.
        console.error(`${error.code}: ${error.message}`);
      }
    },
    Number(process.env.DEVICE_INTERVAL_MS ?? 1_000),
  );

  const stop = () => {
    clearInterval(timer);
    client.close().catch((error) => console.error(`${error.code}: ${error.message}`));
  };
  process.once("SIGTERM", stop);
  process.once("SIGINT", stop);
}

function fail(error) {
  console.error(`${error.code ?? error.name}: ${error.message}`);
  process.exitCode = 1;
}

if (command === "serve") await serve().catch(fail);
else if (command === "run" && device !== undefined) await run().catch(fail);
else {
  console.error("usage: device.mjs serve | device.mjs run DEVICE [ENDPOINT]");
  process.exitCode = 2;
}
