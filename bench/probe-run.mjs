// What the benchmarks of the probe have in common: servers to probe, and one run of
// `holdfast-probe`.
import { once } from "node:events";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { progress } from "./command-line.mjs";
import { startPinned } from "./processes.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const program = (name) => join(root, "dist", "cli", name);
const stdio = ["ignore", "pipe", "inherit"];

/** A server with hundreds of thousands of connections needs some seconds to close them. */
const STOP_MS_MAX = 20_000;

/**
 * Starts `holdfast serve` on free ports of 127.0.0.1; without `--workers` it is one process.
 * @param nodeFlags its workers have them too
 * @returns the process; its endpoints as the probe is told them: tcp, websocket, admin; and its
 *   limits: workers, connectionsMax
 */
export async function startHoldfast(core, flags = [], nodeFlags = []) {
  const hosts = ["--tcp-host", "127.0.0.1", "--websocket-host", "127.0.0.1"];
  const ports = ["--tcp-port", "0", "--websocket-port", "0", "--admin-port", "0"];
  const log = ["--log-pretty", "false", "--log-level", "info"];
  const alone = flags.includes("--workers") ? [] : ["--workers", "0"];
  const args = [
    ...nodeFlags,
    program("holdfast.js"),
    "serve",
    ...hosts,
    ...ports,
    ...log,
    ...alone,
    ...flags,
  ];
  const server = startPinned(core, process.execPath, args, stdio);
  const endpoints = {};
  for await (const line of createInterface({ input: server.stdout })) {
    const entry = JSON.parse(line);
    if (entry.listener !== undefined) endpoints[entry.listener] = entry.endpoint;
    if (entry.msg !== "serving") continue;
    // What it logs from now on nobody reads, and a full pipe would hold it up.
    server.stdout.resume();
    return { server, endpoints, limits: entry };
  }
  throw new Error("a server ended before it listened");
}

/** Ends a server with its connections, and its workers with it. */
export async function stopHoldfast(server) {
  const exited = once(server, "exit");
  const kill = setTimeout(() => server.kill("SIGKILL"), STOP_MS_MAX);
  server.kill("SIGTERM");
  // A second signal: connections are cut off at once.
  const hasten = setTimeout(() => server.kill("SIGTERM"), 500);
  await exited;
  clearTimeout(kill);
  clearTimeout(hasten);
}

/** @returns what it exits with, and its report; ends this process where there is none. */
export async function runProbe(core, args) {
  progress(`holdfast-probe ${args.join(" ")}`);
  const argv = [program("holdfast-probe.js"), ...args, "--json"];
  const probe = startPinned(core, process.execPath, argv, stdio);
  const chunks = [];
  probe.stdout.on("data", (chunk) => chunks.push(chunk));
  const [code] = await once(probe, "close");
  if (chunks.length > 0) return { code, report: JSON.parse(Buffer.concat(chunks).toString()) };
  progress(`holdfast-probe ended with ${code} and no report`);
  process.exit(1);
}
