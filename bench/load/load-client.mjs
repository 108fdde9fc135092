// Which load client is used: load.c, compiled when it is first needed, or load.mjs where there is
// no C compiler.
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { compiled } from "../c-program.mjs";
import { progress } from "../command-line.mjs";
import { watchCores } from "../machine.mjs";
import { Answering, LOAD_CORE } from "../processes.mjs";

const folder = dirname(fileURLToPath(import.meta.url));

let command = null;

function loadCommand() {
  if (command !== null) return command;
  const isNode = process.env.HOLDFAST_BENCH_LOAD === "node";
  const program = isNode ? null : compiled(join(folder, "load.c"));
  if (program === null) progress("the load client in Node is used, slower than the servers");
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

/** Bytes of all messages that are under way at once, at most: kernel and server hold them. */
export const UNDER_WAY_BYTES_MAX = 256 * 1024 * 1024;
/** A server that used less of its core than this waited for the client, which was the slower. */
const SERVER_BOUND_MIN = 0.85;

/**
 * One measurement of an echo. Latencies are in milliseconds and of the client's CPU time, the time
 * in which it only looked for answers is not counted. `behind`, with a rate: how many that were due
 * had no answer in the end.
 * @returns {Promise<{messages: number, seconds: number, cpuMicros: number, errors: number,
 *   lost: number, p50: number, p99: number, generatorCpuPerMessage: number | null,
 *   behind?: number, conditions: {steal: number, foreign: number}}>}
 */
export async function runEcho(flags) {
  const client = startLoad({ ...flags, mode: "echo" });
  const conditions = watchCores([flags.pid, client.pid]);
  try {
    const result = await client.next((Number(flags.warmup) + Number(flags.seconds) + 90) * 1000);
    return { ...result, conditions: conditions() };
  } finally {
    await client.stop();
  }
}

/** @returns a note for a closed loop in which the server was not the slower one; else "" */
export function generatorNote(cpuMicros, seconds) {
  const cores = cpuMicros / 1e6 / seconds;
  if (cores >= SERVER_BOUND_MIN) return "";
  return `the generator was the limit: the server used ${cores.toFixed(2)} of its core`;
}

/**
 * A client that holds connections. It answers `open N` (N more), `stat` and `close` with
 * {open, lost, errors, heartbeats, seconds, cpuMicros}.
 */
export function startHolder(flags) {
  return startLoad({ ...flags, mode: "hold" });
}

/**
 * A client whose connections come and go (lives.c; it needs a C compiler). It answers `hold N` with
 * {held, seconds, cpuMicros, answers, errors} and `cycle N HELD` with the same but for {cycles}.
 */
export function startLives(flags) {
  const program = compiled(join(folder, "lives.c"));
  if (program === null) throw new Error("connections that come and go need a C compiler");
  const args = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)]);
  return new Answering(LOAD_CORE, program, args, "the load client");
}
