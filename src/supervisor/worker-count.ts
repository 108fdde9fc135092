// How many workers a server needs: one per core, and more where the files that one process may open
// do not hold all connections.

import type { Options } from "../config/options.ts";
import { FILES_RESERVED } from "../server/admission.ts";

/** What a worker opens beside connections and listening sockets: log, loops, channels. */
export const FILES_OF_WORKER: number = FILES_RESERVED + 40;
/** The most workers; also the option's bound. */
export const WORKERS_MAX = 256;
/**
 * The kernel spreads connections by a hash, so the fullest worker has more than its share: by four
 * standard deviations at most, in all but one of 30,000.
 */
export const DEVIATIONS = 4;

/** Connections that each of `workers` can hold when the kernel has spread them. */
export function evenlySpread(fileLimit: number, workers: number, ports: number): number {
  const files = fileLimit - FILES_OF_WORKER - workers * ports;
  // The solution of mean + DEVIATIONS * sqrt(mean) = files.
  const root = (Math.sqrt(DEVIATIONS ** 2 + 4 * Math.max(0, files)) - DEVIATIONS) / 2;
  return Math.floor(root ** 2);
}

/** Of these options; 0: the one process serves by itself. */
export function workerCount(
  { workers, connection, tcp, websocket }: Options,
  fileLimit: number | null,
  cores: number,
): number {
  const ports = Number(tcp.enabled) + Number(websocket.enabled);
  return workers.count ?? workersFor(connection.max, fileLimit, cores, ports);
}

/**
 * @param connectionsMax null: whatever that many workers hold.
 * @param fileLimit of a process; null: none.
 * @param ports listening sockets of each worker.
 */
export function workersFor(
  connectionsMax: number | null,
  fileLimit: number | null,
  cores: number,
  ports: number,
): number {
  let workers = Math.min(WORKERS_MAX, Math.max(1, cores));
  if (connectionsMax === null || fileLimit === null) return workers;
  while (
    workers < WORKERS_MAX &&
    workers * evenlySpread(fileLimit, workers, ports) < connectionsMax
  ) {
    workers++;
  }
  return workers;
}
