// Starts worker processes. Each inherits every listening socket by systemd's convention, one end of
// a socket pair to the bus, and Node's own channel for messages.

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, realpathSync } from "node:fs";
import type { Socket } from "node:net";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ProcessHandler, WorkerProcess } from "./worker-handle.ts";

/** The first file of systemd's convention. */
export const FIRST_FILE = 3;
const PROGRAM = "holdfast-worker.js";
// Only a process knows its own id before its program runs.
const SHELL = 'LISTEN_PID=$$ exec "$0" "$@"';

/** A listening socket and its name in LISTEN_FDNAMES. */
export interface NamedSocket {
  readonly name: string;
  /** Of this process. */
  readonly file: number;
}

export interface Spawned {
  readonly process: WorkerProcess;
  /**
   * This end of the pair whose other end is the worker's file {@link busFileOf}. Null where the
   * process could not be started.
   */
  readonly bus: Socket | null;
}

/** The number that the bus has in a worker that inherits so many listening sockets. */
export function busFileOf(sockets: number): number {
  return FIRST_FILE + sockets;
}

/**
 * Where the program is now: a link that was turned to other code since the supervisor began leads
 * there.
 */
export function workerProgram(): string {
  const started = process.argv[1];
  if (started !== undefined && existsSync(started)) {
    const beside = join(dirname(realpathSync(started)), PROGRAM);
    if (existsSync(beside)) return beside;
  }
  return fileURLToPath(new URL(`../cli/${PROGRAM}`, import.meta.url));
}

/**
 * Starts one. `handler.onExit` is called exactly once and later, also where it could not be
 * started: files or memory may be short. Workers write to this process's standard output and error.
 */
export function spawnWorker(sockets: readonly NamedSocket[], handler: ProcessHandler): Spawned {
  const files = sockets.map(({ file }) => file);
  let child: ChildProcess;
  try {
    child = spawnWith(sockets, files);
  } catch (error) {
    queueMicrotask(() => handler.onExit(null, null, (error as Error).message));
    return { process: { pid: 0, send: () => {}, kill: () => {} }, bus: null };
  }
  tellEnd(child, handler);
  child.on("message", (message) => handler.onMessage(message));
  // Where files are short there is a child without any of its pipes, and an error to come.
  const stdio = child.stdio as unknown as readonly (Socket | null)[] | undefined;
  const bus = stdio?.[busFileOf(files.length)] ?? null;
  // An error is followed by "close", and by the end of the process.
  bus?.on("error", () => {});
  return {
    bus,
    process: {
      pid: child.pid ?? 0,
      send(message) {
        // It may be ending: then nobody wants it.
        if (child.connected) child.send(message, () => {});
      },
      kill: (signal) => void child.kill(signal),
    },
  };
}

function spawnWith(sockets: readonly NamedSocket[], files: readonly number[]): ChildProcess {
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    LISTEN_FDS: String(files.length),
    LISTEN_FDNAMES: sockets.map(({ name }) => name).join(":"),
  };
  const program = [process.execPath, ...process.execArgv, workerProgram()];
  return spawn("/bin/sh", ["-c", SHELL, ...program], {
    env,
    stdio: ["ignore", "inherit", "inherit", ...files, "pipe", "ipc"],
  });
}

function tellEnd(child: ChildProcess, handler: ProcessHandler): void {
  let isTold = false;
  const tell = (code: number | null, signal: string | null, problem: string | null): void => {
    if (isTold) return;
    isTold = true;
    handler.onExit(code, signal, problem);
  };
  child.once("exit", (code, signal) => tell(code, signal, null));
  // Without a process no exit comes; a failed kill() or send() says so here too, and one does.
  child.on("error", (error) => {
    if (child.pid === undefined) tell(null, null, error.message);
  });
}
