// Loaded into a server in Node that is measured (--import), so that it may stay as small as it is:
// SIGUSR2 has it collect its garbage, as far as that can be forced (--expose-gc), and then makes
// all of V8's young generation resident. V8 lets go of parts of it and takes them again as it
// likes, by megabytes, which would be counted as the connections' or against them.
import { collectGarbage } from "./facts.mjs";

/** More than both halves of the young generation have. */
const TOUCHED_BYTES = 64_000_000;
const OBJECT_BYTES_MIN = 64;

function touchYoungGeneration() {
  let last = null;
  for (let bytes = 0; bytes < TOUCHED_BYTES; bytes += OBJECT_BYTES_MIN) {
    last = { a: last === null, b: 0, c: 0, d: 0, e: 0, f: 0 };
  }
  return last;
}

process.on("SIGUSR2", async () => {
  await collectGarbage();
  touchYoungGeneration();
});
