// What a result was measured on, and whether anybody else was at work on it meanwhile.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { cpus, loadavg, release, totalmem } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { fileLimit } from "./processes.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const require = createRequire(join(root, "package.json"));

/** Of /proc/stat and /proc/PID/stat: CPU time is counted in hundredths of a second. */
const TICKS_PER_SECOND = 100;

function textOf(path) {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

export function machineFacts() {
  const limit = fileLimit();
  return {
    cpu: cpus()[0]?.model ?? "",
    cores: cpus().length,
    memoryBytes: totalmem(),
    kernel: release(),
    system: /^PRETTY_NAME="(.*)"$/m.exec(textOf("/etc/os-release"))?.[1] ?? process.platform,
    fileLimit: limit === Infinity ? null : limit,
    loadAverage: loadavg()[0],
  };
}

/** The first line that a program prints; null where it is not installed. */
export function lineOf(file, args) {
  const run = spawnSync(file, args, { encoding: "utf8" });
  return run.error === undefined ? `${run.stdout}${run.stderr}`.trim().split("\n")[0] : null;
}

function packageVersion(name) {
  try {
    return require(`${name}/package.json`).version;
  } catch {
    return null;
  }
}

/** The commit of this checkout; null outside of a repository. */
function commit() {
  const git = (...args) => spawnSync("git", args, { cwd: root, encoding: "utf8" });
  const head = git("rev-parse", "HEAD");
  if (head.status !== 0) return null;
  // Results that were written just now change nothing of what is measured.
  const changed = git("status", "--porcelain", "--", ".", ":!bench/results").stdout !== "";
  return `${head.stdout.trim()}${changed ? " with changes" : ""}`;
}

/** @param dist the build that is measured: of another's the commit is not known */
export function versionFacts(dist = join(root, "dist")) {
  return {
    commit: resolve(dist) === join(root, "dist") ? commit() : null,
    holdfast: packageVersion(root),
    node: process.versions.node,
    v8: process.versions.v8,
    uv: process.versions.uv,
    "uWebSockets.js": packageVersion(
      `@uwsjs/${process.platform}-${process.arch}-${process.versions.node.split(".")[0]}`,
    ),
    ws: packageVersion("ws"),
    "socket.io": packageVersion("socket.io"),
    "nats-server": lineOf("nats-server", ["--version"])?.replace(/^nats-server: v/, "") ?? null,
    mosquitto: lineOf("mosquitto", ["-h"])?.replace(/^mosquitto version /, "") ?? null,
    cc: lineOf("cc", ["--version"]),
  };
}

/** CPU seconds of a process so far, user and system; 0 where it is gone. */
export function cpuSeconds(pid) {
  const stat = textOf(`/proc/${pid}/stat`);
  if (stat === "") return 0;
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** Of all cores together, in seconds: what they worked, and what the host took from them. */
function coreSeconds() {
  const line = textOf("/proc/stat").split("\n", 1)[0] ?? "";
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = line
    .split(/\s+/)
    .slice(1)
    .map((ticks) => Number(ticks) / TICKS_PER_SECOND);
  return { busy: user + nice + system + irq + softirq, steal };
}

/**
 * Watches the cores from here on.
 * @param {number[]} pids whose work is ours; this process's is too
 * @returns {() => {steal: number, foreign: number}} ends it: cores that the host took from this
 *   machine, and cores that were at work for others, on the average
 */
export function watchCores(pids) {
  const own = [process.pid, ...pids];
  const ours = () => own.reduce((sum, pid) => sum + cpuSeconds(pid), 0);
  const from = { ...coreSeconds(), ours: ours(), ms: performance.now() };
  return () => {
    const { busy, steal } = coreSeconds();
    const seconds = (performance.now() - from.ms) / 1_000;
    return {
      steal: (steal - from.steal) / seconds,
      foreign: Math.max(0, busy - from.busy - (ours() - from.ours)) / seconds,
    };
  };
}
