// Which load client is used: load.c, compiled when it is first needed, or load.mjs where there is
// no C compiler.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { progress } from "../command-line.mjs";
import { Answering, LOAD_CORE } from "../processes.mjs";

const folder = dirname(fileURLToPath(import.meta.url));
const cache = join(dirname(dirname(folder)), ".cache", "bench");

function compiled() {
  const source = join(folder, "load.c");
  const hash = createHash("sha256").update(readFileSync(source)).digest("hex").slice(0, 12);
  const program = join(cache, `load-${hash}`);
  if (existsSync(program)) return program;
  mkdirSync(cache, { recursive: true });
  const partial = `${program}.${process.pid}`;
  const run = spawnSync("cc", ["-O2", "-o", partial, source], { encoding: "utf8" });
  if (run.status !== 0) {
    const why = run.error?.code === "ENOENT" ? "there is no C compiler (cc)" : run.stderr;
    progress(`bench: ${why}: using the load client in Node, which is slower than the servers`);
    return null;
  }
  renameSync(partial, program);
  return program;
}

let command = null;

function loadCommand() {
  if (command !== null) return command;
  const program = process.env.HOLDFAST_BENCH_LOAD === "node" ? null : compiled();
  command = program === null ? [process.execPath, join(folder, "load.mjs")] : [program];
  return command;
}

/** "c" or "node": which one is used. */
export function loadClientName() {
  return loadCommand().length === 1 ? "c" : "node";
}

function startLoad(flags) {
  const [file, ...args] = loadCommand();
  for (const [name, value] of Object.entries(flags)) args.push(`--${name}`, String(value));
  return new Answering(LOAD_CORE, file, args, "the load client");
}

/**
 * One measurement of an echo.
 * @returns {Promise<{messages: number, seconds: number, cpuMicros: number, errors: number,
 *   lost: number}>}
 */
export async function runEcho(flags) {
  const client = startLoad({ ...flags, mode: "echo" });
  try {
    return await client.next((Number(flags.warmup) + Number(flags.seconds) + 90) * 1000);
  } finally {
    await client.stop();
  }
}

/**
 * A client that holds connections. It answers `open N` (N more), `stat` and `close` with
 * {open, lost, errors, heartbeats, seconds, cpuMicros}.
 */
export function startHolder(flags) {
  return startLoad({ ...flags, mode: "hold" });
}
