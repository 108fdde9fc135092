// What a server that is measured says of its own process.
import { readdirSync } from "node:fs";
import { setTimeout as wait } from "node:timers/promises";

/** Files that this process has open; 0 where the system does not say. */
export function fileCount() {
  try {
    // The folder itself is open while it is read.
    return readdirSync("/proc/self/fd").length - 1;
  } catch {
    return 0;
  }
}

/** As far as it can be forced (--expose-gc). */
export async function collectGarbage() {
  for (let round = 0; round < 4; round++) {
    globalThis.gc?.();
    // Sockets that were closed are let go in later turns, and only then are garbage.
    await wait(50);
  }
}
