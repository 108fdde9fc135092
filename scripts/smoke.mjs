// Starts the built server as a user would, uses it over both transports with the built client
// library, and stops it with SIGTERM. Prints what it did; the last line is `N passed, N failed`.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const command = join(root, "dist", "cli", "holdfast.js");
const connections = 200;
const stepMsMax = 20_000;

const results = { passed: 0, failed: 0 };

/** Runs one step, bounded in time, and prints how it went. Later steps run only if it passed. */
async function step(name, run) {
  if (results.failed > 0) return;
  const start = performance.now();
  try {
    await within(run(), stepMsMax, name);
    results.passed += 1;
    console.log(`✓ ${name} (${Math.round(performance.now() - start)} ms)`);
  } catch (error) {
    results.failed += 1;
    console.log(`✗ ${name}`, error);
  }
}

async function within(promise, ms, what) {
  let timer;
  const timeout = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: no result after ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

async function freePorts(count) {
  const servers = Array.from({ length: count }, () => createServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => once(server, "listening")));
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => once(server.close(), "close")));
  return ports;
}

function expectEqual(actual, expected, what) {
  if (actual !== expected) throw new Error(`${what} is ${actual}, expected ${expected}`);
}

async function get(url) {
  const response = await fetch(url, { signal: AbortSignal.timeout(5_000) });
  return { status: response.status, text: await response.text() };
}

async function untilReady(url, server) {
  for (;;) {
    if (server.exitCode !== null) throw new Error(`the server ended with code ${server.exitCode}`);
    const answer = await get(url).catch(() => undefined);
    if (answer?.status === 200) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function echo(client, text) {
  const answer = await client.call("echo", new TextEncoder().encode(text));
  expectEqual(new TextDecoder().decode(answer), text, "the echo");
}

async function untilConnections(url, expected) {
  for (;;) {
    const stats = JSON.parse((await get(url)).text);
    if (stats.connections.total === expected) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function main() {
  const { connect } = await import("../dist/client/node.js");
  const [tcpPort, webSocketPort, adminPort] = await freePorts(3);
  const admin = `http://127.0.0.1:${adminPort}`;
  const endpoints = [`tcp://127.0.0.1:${tcpPort}`, `ws://127.0.0.1:${webSocketPort}/`];
  const server = spawn(process.execPath, [command, "serve"], {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
    env: {
      ...process.env,
      HOLDFAST_TCP_HOST: "127.0.0.1",
      HOLDFAST_TCP_PORT: String(tcpPort),
      HOLDFAST_WEBSOCKET_HOST: "127.0.0.1",
      HOLDFAST_WEBSOCKET_PORT: String(webSocketPort),
      HOLDFAST_ADMIN_PORT: String(adminPort),
    },
  });
  const exited = once(server, "exit");
  const clients = [];
  try {
    await step("the server becomes ready", () => untilReady(`${admin}/readyz`, server));
    for (const endpoint of endpoints) {
      await step(`calls over ${new URL(endpoint).protocol}`, async () => {
        const client = connect(endpoint);
        clients.push(client);
        await client.ready();
        for (const text of ["a", "b".repeat(1_000), "c".repeat(60_000)]) await echo(client, text);
      });
    }
    await step(`${connections} connections, each calls once`, async () => {
      while (clients.length < connections) {
        clients.push(connect(endpoints[clients.length % endpoints.length]));
      }
      await Promise.all(
        clients.map((client, index) => client.ready().then(() => echo(client, `${index}`))),
      );
    });
    await step(`/stats counts ${connections}`, () =>
      untilConnections(`${admin}/stats`, connections),
    );
    await step("clients that close are gone from /stats", async () => {
      const leaving = clients.splice(0, connections / 2);
      await Promise.all(leaving.map((client) => client.close()));
      await untilConnections(`${admin}/stats`, connections / 2);
    });
    await step("SIGTERM ends the server with code 0", async () => {
      server.kill("SIGTERM");
      const [code, signal] = await exited;
      expectEqual(code ?? signal, 0, "the exit code");
    });
  } finally {
    if (server.exitCode === null) server.kill("SIGKILL");
  }
}

if (!existsSync(command)) {
  console.error("smoke: dist/ is not there: run npm run build");
  process.exit(1);
}
await main();
console.log(`${results.passed} passed, ${results.failed} failed`);
process.exit(results.failed === 0 ? 0 : 1);
