// Memory and cores.

import { type Finding, generatorsFor, type Scene } from "./doctor-check.ts";
import { formatBytes, formatCount } from "./quantity.ts";

/** Resident bytes of a Holdfast server per connection at rest: README, `npm run bench:hold`. */
const SERVER_TCP_BYTES = 1_618;
const SERVER_WEBSOCKET_BYTES = 945;
/** What the probe may use for a connection that it holds. */
const PROBE_BYTES = 6_144;
/** The kernel's part of an idle TCP socket, as it was measured: 6.2 KB for both on loopback. */
const KERNEL_BYTES = 3_100;
/** A process before its first connection: `holdfast serve` has 77 MB on Node 20. */
const PROCESS_BYTES = 80_000_000;
/** Share of what is free that may be used without a warning. */
const COMFORTABLE_SHARE = 0.8;

export function checkMemory(scene: Scene, connections: number): Finding | null {
  const { memoryAvailableBytes, memoryLimitBytes } = scene.host;
  if (memoryAvailableBytes === null) return null;
  const available = Math.min(memoryAvailableBytes, memoryLimitBytes ?? Infinity);
  const needed = memoryFor(scene, connections);
  const about = {
    name: "memory",
    found: `${formatBytes(available)} free`,
    needed: formatBytes(needed),
    mend: "",
  };
  const each = `${formatCount(bytesPerConnection(scene))} bytes a connection, at rest`;
  const tls = scene.target?.isTls === true ? "; TLS takes more, which was not measured" : "";
  if (needed <= COMFORTABLE_SHARE * available) return { ...about, level: "ok", text: each + tls };
  const isCgroup = available === memoryLimitBytes;
  const limit = isCgroup ? "; the limit is this control group's (memory.max)" : "";
  const isFull = needed > available;
  const text = isFull ? `${each}: too much` : `${each}: little is left for traffic`;
  return { ...about, level: isFull ? "fail" : "warn", text: text + limit + tls };
}

/** An event loop has one core; two of them on one core are late for each other. */
export function checkCores({ host, ends }: Scene): Finding | null {
  const about = { name: "cores", found: String(host.cores), needed: String(ends), mend: "" };
  if (host.cores >= ends) {
    const text = ends === 1 ? "one for an event loop" : "one for the server, one for the probe";
    return { ...about, level: "ok", text };
  }
  const text = "server and probe share one core: expect GENERATOR-BOUND verdicts under load";
  return { ...about, level: "warn", text };
}

function memoryFor(scene: Scene, connections: number): number {
  const servers = scene.isServer ? (scene.processes ?? 1) : 0;
  const generators = scene.isClient ? generatorsFor(scene, connections) : 0;
  return connections * bytesPerConnection(scene) + (servers + generators) * PROCESS_BYTES;
}

function bytesPerConnection({ isServer, isClient, target, ends }: Scene): number {
  const server = target?.isWebSocket === true ? SERVER_WEBSOCKET_BYTES : SERVER_TCP_BYTES;
  return (isServer ? server : 0) + (isClient ? PROBE_BYTES : 0) + ends * KERNEL_BYTES;
}
