// Which of its two networks the probe uses, and how it is made.

import { BufferPool } from "../base/buffer-pool.ts";
import type { Clock } from "../base/clock.ts";
import { EpollDialer } from "../transport/epoll-dialer.ts";
import { EpollLoop } from "../transport/epoll-loop.ts";
import { loadNative } from "../transport/native.ts";
import { EpollNetwork } from "./epoll-socket.ts";
import { NetNetwork } from "./net-socket.ts";
import type { ProbeNetwork } from "./probe-socket.ts";

export const PROBE_TRANSPORTS = ["tcp-net", "tcp-epoll"] as const;
export type ProbeTransport = (typeof PROBE_TRANSPORTS)[number];

/**
 * The one that is asked for; "auto": tcp-epoll where the native addon loads.
 * Throws HOLDFAST_TRANSPORT_UNAVAILABLE where tcp-epoll is asked for and cannot be had.
 */
export function chooseTransport(wanted: ProbeTransport | "auto"): ProbeTransport {
  if (wanted === "tcp-net") return wanted;
  try {
    loadNative();
    return "tcp-epoll";
  } catch (error) {
    if (wanted === "tcp-epoll") throw error;
    return "tcp-net";
  }
}

/** @param isInsecure certificates are not verified. */
export function probeNetwork(
  transport: ProbeTransport,
  isInsecure: boolean,
  clock: Clock,
): ProbeNetwork {
  const net = new NetNetwork(isInsecure);
  if (transport === "tcp-net") return net;
  return new EpollNetwork(
    new EpollDialer(new EpollLoop(loadNative()), clock, new BufferPool()),
    net,
  );
}
