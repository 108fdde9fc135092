// The load clients, compiled when they are first needed: load.c, and lives.c for connections that
// come and go.
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { compiled } from "../c-program.mjs";
import { refuse } from "../command-line.mjs";
import { watchCores } from "../machine.mjs";
import { Answering, LOAD_CORE } from "../processes.mjs";

const folder = dirname(fileURLToPath(import.meta.url));

/** @returns a program of this folder, answering; ends this process where there is no compiler. */
function start(source, flags) {
  const program = compiled(join(folder, source));
  if (program === null) refuse("load clients are written in C: install a compiler (cc)");
  const args = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)]);
  return new Answering(LOAD_CORE, program, args, "the load client");
}

const startLoad = (flags) => start("load.c", flags);

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
 * A client whose connections come and go (lives.c). It answers `hold N` with
 * {held, seconds, cpuMicros, answers, errors} and `cycle N HELD` with the same but for {cycles}.
 */
export function startLives(flags) {
  return start("lives.c", flags);
}
