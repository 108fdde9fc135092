// The processes of a benchmark: each is pinned to a core where there is `taskset`, and none lives
// longer than the benchmark, however that ends.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { createInterface } from "node:readline";
import { compiled } from "./c-program.mjs";

/** Servers run on one core and whoever loads them on another. */
export const SERVER_CORE = 0;
export const LOAD_CORE = 1;
/** Many processes, more than there are cores: the kernel spreads them. */
export const ANY_CORE = -1;

const START_MS_MAX = 10_000;
const ANSWER_MS_MAX = 120_000;

const canPin = availableParallelism() > 1 && spawnSync("taskset", ["-V"]).status === 0;

/** Each with the signal that ends it when this process does. */
const running = new Map();
process.on("exit", () => {
  for (const [child, signal] of running) child.kill(signal);
});
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.once(signal, () => process.exit(130));

/** Files that this process and its children may open; Infinity where the system does not say. */
export function fileLimit() {
  try {
    const limits = readFileSync("/proc/self/limits", "utf8");
    // Node and the load client raise their own limit to the hard one.
    return Number(/^Max open files\s+\d+\s+(\d+)/m.exec(limits)?.[1] ?? Infinity);
  } catch {
    return Infinity;
  }
}

/** @returns a child process; it is ended with this one at the latest. */
export function startPinned(core, file, args, stdio, lastSignal = "SIGKILL") {
  const isPinned = canPin && core !== ANY_CORE;
  const child = isPinned
    ? spawn("taskset", ["-c", String(core), file, ...args], { stdio })
    : spawn(file, args, { stdio });
  running.set(child, lastSignal);
  child.once("exit", () => running.delete(child));
  return child;
}

/**
 * Starts a suite. It has processes of its own, and ends them where it is asked to end: killed it
 * would leave them.
 * @param {string[]} argv of Node
 * @param {"pipe" | "inherit"} progress what becomes of its standard error, where progress goes
 */
export function startSuite(argv, progress) {
  const stdio = ["ignore", progress === "inherit" ? 2 : "ignore", progress];
  return startPinned(ANY_CORE, process.execPath, argv, stdio, "SIGTERM");
}

async function within(promise, ms, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing for ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A process whose standard output is a line of JSON for every question. */
export class Answering {
  #child;
  #what;
  #lines;

  constructor(core, file, args, what) {
    this.#what = what;
    this.#child = startPinned(core, file, args, ["pipe", "pipe", "inherit"]);
    const lines = createInterface({ input: this.#child.stdout });
    this.#lines = lines[Symbol.asyncIterator]();
    // It may be gone already when it is told something; the missing answer tells of it.
    this.#child.stdin.on("error", () => {});
  }

  get pid() {
    return this.#child.pid;
  }

  /** The next line of JSON. Rejects where the process ends or is too late. */
  async next(ms = ANSWER_MS_MAX) {
    const { done, value } = await within(this.#lines.next(), ms, this.#what);
    if (done) throw new Error(`${this.#what} ended without an answer`);
    return JSON.parse(value);
  }

  tell(line) {
    this.#child.stdin.write(`${line}\n`);
  }

  async ask(line) {
    this.tell(line);
    return this.next();
  }

  async stop() {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await ended;
  }
}

/**
 * Starts a server: a script of Node, or a program in C.
 * @param core the servers' where no other is named
 * @returns the process, and its ports by transport
 */
export async function startServer(source, args = [], nodeFlags = [], core = SERVER_CORE) {
  const program = source.endsWith(".c") ? compiled(source) : process.execPath;
  if (program === null) throw new Error(`${source} needs a C compiler`);
  const argv = source.endsWith(".c") ? args : [...nodeFlags, source, ...args];
  const server = new Answering(core, program, argv, source);
  return { server, ports: await server.next(START_MS_MAX) };
}
