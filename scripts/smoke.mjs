// Starts the built server as a user would, uses it over both transports with the built client
// library, and stops it with SIGTERM; then runs the micro-benchmarks, whose figures it does not
// judge. Prints what it did; the last line is `N passed, N failed`.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { casesWith } from "../bench/micro/cases.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const command = join(root, "dist", "cli", "holdfast.js");
const probe = join(root, "dist", "cli", "holdfast-probe.js");
const micro = join(root, "bench", "suites", "micro.mjs");
const connections = 200;
const stepMsMax = 20_000;
/** About ten seconds of work, on a machine that may have others. */
const microMsMax = 120_000;

const results = { passed: 0, failed: 0 };

/** Runs one step, bounded in time, and prints how it went. Later steps run only if it passed. */
async function step(name, run, msMax = stepMsMax) {
  if (results.failed > 0) return;
  const start = performance.now();
  try {
    await within(run(), msMax, name);
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

/** What a run of the probe with these arguments reports; it must end with code 0. */
async function probed(...args) {
  const stdio = ["ignore", "pipe", "inherit"];
  const child = spawn(process.execPath, [probe, ...args, "--json"], { stdio });
  const chunks = [];
  child.stdout.on("data", (chunk) => chunks.push(chunk));
  const [code] = await once(child, "close");
  const report = JSON.parse(Buffer.concat(chunks).toString());
  expectEqual(code, 0, `the exit code of: ${report.sentence}`);
  return report;
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
    // Objectives that a busy machine keeps: a tenth of them is what the probe may be late.
    const slo = ["--slo", "connect:p(99)<4s,echo:p(99)<4s,errors<0.1%"];
    await step("holdfast-probe finds that 600 connections hold", async () => {
      const short = ["--start", "300", "--max", "600", "--level-hold", "500ms", "--hold", "1s"];
      const stats = ["--server-stats", admin];
      const report = await probed("capacity", ...endpoints, ...short, ...slo, ...stats);
      expectEqual(report.capacity.connections, 600, "the capacity");
    });
    await step("holdfast-probe drives 1,000 echoes a second", async () => {
      const plan = ["-c", "50", "-R", "1k", "-d", "2s", "--threshold", "response:p(99)<4s"];
      const report = await probed("load", endpoints[1], ...plan);
      expectEqual(report.stages.at(-1).operations.echo.succeeded, 2_000, "echoes");
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

/** Every side of every case counts what it should; how fast is no question on such a machine. */
async function runMicro() {
  const child = spawn(process.execPath, [micro, "--quick", "--json"], { stdio: "pipe" });
  const said = { stdout: "", stderr: "" };
  for (const name of Object.keys(said)) {
    child[name].setEncoding("utf8").on("data", (text) => {
      said[name] += text;
    });
  }
  // SIGTERM, so that it ends what it started.
  const timer = setTimeout(() => child.kill("SIGTERM"), microMsMax - 1_000);
  const [code] = await once(child, "close").finally(() => clearTimeout(timer));
  if (code !== 0) throw new Error(`it ended with ${code}:\n${said.stderr}`);
  expectMicro(JSON.parse(said.stdout));
}

function expectMicro({ schema, rows, skipped }) {
  expectEqual(schema, "holdfast-bench.result/1", "the schema");
  expectEqual(JSON.stringify(skipped), "[]", "what was skipped");
  const times = rows.filter(({ figure }) => figure === "time");
  const measured = times.map(({ side, load }) => `${side}: ${JSON.stringify(load)}`);
  // Those of a quick run: the number of deadlines is part of the load.
  const deadlines = times.find(({ load }) => load.timers !== undefined)?.load.deadlines;
  const expected = casesWith(deadlines).flatMap(({ load, sides }) =>
    Object.keys(sides).map((side) => `${side}: ${JSON.stringify(load)}`),
  );
  expectEqual(measured.join("\n"), expected.join("\n"), "what was measured");
  for (const { side, figure, median } of rows) {
    // JSON has null for what is no number.
    if (typeof median === "number" && median >= 0) continue;
    throw new Error(`${figure} of ${side} is ${median}`);
  }
}

if (!existsSync(command)) {
  console.error("smoke: dist/ is not there: run npm run build");
  process.exit(1);
}
await main();
await step("the micro-benchmarks run", runMicro, microMsMax);
console.log(`${results.passed} passed, ${results.failed} failed`);
process.exit(results.failed === 0 ? 0 : 1);
