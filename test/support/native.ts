// Whether the native addon was built: where it was not, what is about it is left out. In CI the
// installation fails without it.

import { PROBE_TRANSPORTS, type ProbeTransport } from "../../src/probe/probe-network.ts";
import { loadNative } from "../../src/transport/native.ts";

export const hasNative: boolean = isLoadable();

function isLoadable(): boolean {
  try {
    loadNative();
    return true;
  } catch {
    return false;
  }
}

/** Transports of TCP that can be had here. */
export const LOADABLE_TRANSPORTS: readonly ProbeTransport[] = PROBE_TRANSPORTS.filter(
  (name) => name === "tcp-net" || hasNative,
);
