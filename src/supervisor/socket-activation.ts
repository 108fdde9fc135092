// Listening sockets that this process was started with, by systemd's convention: LISTEN_FDS files
// from 3 on, for the process LISTEN_PID, with names in LISTEN_FDNAMES.

import { HoldfastError } from "../base/errors.ts";
import { FIRST_FILE } from "./spawn.ts";

/** The listeners that sockets can be meant for. */
const LISTENERS: readonly string[] = ["tcp", "websocket"];
const FILES_MAX = 4_096;

/**
 * Listener -> files. A name is the listener's, alone or followed by a dot and anything: "tcp",
 * "tcp.0". Empty where the variables are missing or meant for another process.
 * Throws HOLDFAST_OPTIONS_INVALID where they make no sense.
 */
export function inheritedSockets(
  env: Readonly<Record<string, string | undefined>>,
  pid: number,
): ReadonlyMap<string, readonly number[]> {
  const { LISTEN_FDS: count, LISTEN_PID: meantFor, LISTEN_FDNAMES: names } = env;
  const found = new Map<string, number[]>();
  if (count === undefined || meantFor !== String(pid)) return found;
  const files = /^\d{1,6}$/.test(count) ? Number(count) : Number.NaN;
  if (!(files <= FILES_MAX)) throw invalid(`LISTEN_FDS is no number up to ${FILES_MAX}: ${count}`);
  const given = names === undefined ? [] : names.split(":");
  for (let index = 0; index < files; index++) {
    const listener = given[index]?.split(".")[0] ?? "";
    if (!LISTENERS.includes(listener)) {
      const name = given[index] === undefined ? "has no name" : `is called "${given[index]}"`;
      throw invalid(
        `the inherited socket ${FIRST_FILE + index} ${name}: name it ${LISTENERS.join(" or ")} ` +
          "(FileDescriptorName= in a systemd socket unit)",
      );
    }
    const ofListener = found.get(listener) ?? [];
    found.set(listener, [...ofListener, FIRST_FILE + index]);
  }
  return found;
}

function invalid(message: string): HoldfastError {
  return new HoldfastError("HOLDFAST_OPTIONS_INVALID", message);
}
