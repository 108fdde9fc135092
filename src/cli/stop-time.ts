// How long an orderly stop may take.
import type { Options } from "../config/options.ts";
import { FLUSH_MS } from "../server/drain.ts";

/** Milliseconds until the last connection is reset, from the first signal on. */
export function stopMs({ drain }: Options): number {
  return drain.graceMs + drain.closeSpreadMs + FLUSH_MS;
}
