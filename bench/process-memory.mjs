// How much memory a server has from outside: what the kernel says of its process.
import { readFileSync, writeFileSync } from "node:fs";
import { setTimeout as wait } from "node:timers/promises";
import { cpuSeconds } from "./machine.mjs";

/**
 * For servers in Node. Their young generation grows with use, whatever the number of connections;
 * with one that does not change, what is added is the connections' (as in bench:hold). And their
 * garbage is collected before they are looked at.
 */
export const MEMORY_NODE_FLAGS = [
  ...["--expose-gc", "--min-semi-space-size=16", "--max-semi-space-size=16"],
  ...["--import", new URL("./collect-on-request.mjs", import.meta.url).href],
];
/** A process that has not worked for so long has done what it was about to do. */
const QUIET_MS = 300;
/** One that others keep from working looks quiet too: it is not looked at earlier. */
const QUIET_MS_MIN = 600;
const QUIET_MS_MAX = 5_000;

function fieldOf(pid, file, name) {
  const text = readFileSync(`/proc/${pid}/${file}`, "utf8");
  const kibibytes = new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(text)?.[1];
  if (kibibytes === undefined) throw new Error(`/proc/${pid}/${file} has no ${name}`);
  return Number(kibibytes) * 1_024;
}

/** Exactly, which costs the process a pause; /proc/PID/status is off by some pages. */
export function residentBytes(pid) {
  return fieldOf(pid, "smaps_rollup", "Rss");
}

/** The most that was resident since the last time that this was asked to begin anew. */
export function residentPeakBytes(pid) {
  return fieldOf(pid, "status", "VmHWM");
}

export function beginResidentPeak(pid) {
  writeFileSync(`/proc/${pid}/clear_refs`, "5");
}

/** @param isNode whether it was started with MEMORY_NODE_FLAGS: its garbage is collected first */
export async function settledResidentBytes(pid, isNode) {
  if (isNode) process.kill(pid, "SIGUSR2");
  const beganMs = performance.now();
  let [busyMs, seconds] = [beganMs, cpuSeconds(pid)];
  for (;;) {
    await wait(50);
    const nowMs = performance.now();
    if (cpuSeconds(pid) > seconds) [busyMs, seconds] = [nowMs, cpuSeconds(pid)];
    const isQuiet = nowMs - busyMs > QUIET_MS && nowMs - beganMs > QUIET_MS_MIN;
    if (isQuiet || nowMs - beganMs > QUIET_MS_MAX) return residentBytes(pid);
  }
}
