// What a case of the micro-benchmarks is, and how it gets at the build that is measured.
import { join } from "node:path";
import { pathToFileURL } from "node:url";

/**
 * One side of a case, ready to run. `run` does `operations` of them and returns what it counted,
 * which has to be `expected`: it is checked before anything is timed, and of every timed run.
 * Where there is `setUp`, every run needs it beforehand, and `tearDown` afterwards; neither is
 * timed.
 * `isRight` looks closer at what a run left, once it was timed.
 * @typedef {{operations: number, expected: number, run: () => number | Promise<number>,
 *   isRight?: () => boolean, setUp?: () => void, tearDown?: () => void}} Work
 * @typedef {{group: string, load: import("../result.mjs").Load, isHeld?: boolean,
 *   sides: Record<string, (how: {dist: string, load: import("../result.mjs").Load})
 *     => Promise<Work> | Work>}} Case
 *   isHeld: what a run leaves in memory is a figure too
 */

/** Name of the side that the build is; every other is a peer. */
export const OURS = "holdfast";

/** The build has no such module, or the module no such name: an older revision. */
export class Missing extends Error {}

/** @returns what a module of the build exports; every one of `names` is there. */
export async function built(dist, module, ...names) {
  let exported;
  try {
    exported = await import(pathToFileURL(join(dist, module)).href);
  } catch (error) {
    if (error.code !== "ERR_MODULE_NOT_FOUND") throw error;
    throw new Missing(`the build has no ${module}`);
  }
  for (const name of names) {
    if (exported[name] === undefined) throw new Missing(`${module} of the build has no ${name}`);
  }
  return exported;
}

/** Bytes that differ from each other, the same ones every time. */
export function someBytes(length) {
  return Uint8Array.from({ length }, (_, index) => (index * 31 + 7) & 0xff);
}
