// What `holdfast serve` answers without an application: enough to try a client and to measure.
import type { Clock } from "../base/clock.ts";
import type { Server } from "./server.ts";

/** `echo` gives the payload back, `time` the milliseconds since the epoch as int64 big-endian. */
export function addBuiltInMethods(server: Server, clock: Clock): void {
  server.method("echo", (call) => call.payload);
  server.method("time", () => {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigInt64(0, BigInt(Math.trunc(clock.wall())));
    return bytes;
  });
}
