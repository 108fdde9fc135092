// Memory and cores.

import {
  type Finding,
  finding,
  generatorsFor,
  quantity,
  type Scene,
  targetText,
} from "./doctor-check.ts";
import { formatCount } from "./quantity.ts";

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
/**
 * Connections that one event loop drives. Holding 18,050, with an echo on each every ten seconds
 * (the default of `capacity`), took 7.1% of a generator's loop and 5.2% of a server's core: 200,000
 * come to 79% of the loop, and above 80% the probe calls itself the limit.
 */
const CONNECTIONS_PER_CORE = 200_000;

export function checkMemory(scene: Scene, connections: number): Finding | null {
  const { memoryAvailableBytes, memoryLimitBytes } = scene.host;
  if (memoryAvailableBytes === null) return null;
  const available = Math.min(memoryAvailableBytes, memoryLimitBytes ?? Infinity);
  const needed = memoryFor(scene, connections);
  const about = {
    name: "memory",
    found: quantity(available, "bytes"),
    needed: quantity(needed, "bytes"),
  };
  const each = `${formatCount(bytesPerConnection(scene))} bytes a connection, at rest`;
  const tls = scene.target?.isTls === true ? "; TLS takes more, which was not measured" : "";
  if (needed <= COMFORTABLE_SHARE * available) return finding(about, "ok", each + tls);
  const isCgroup = available === memoryLimitBytes;
  const limit = isCgroup ? "; the limit is this control group's (memory.max)" : "";
  const isFull = needed > available;
  const text = isFull ? `${each}: too much` : `${each}: little is left for traffic`;
  return finding(about, isFull ? "fail" : "warn", text + limit + tls);
}

/** An event loop has one core; two of them on one core are late for each other. */
export function checkCores(scene: Scene, connections: number): Finding | null {
  const { host, ends, isServer, isClient } = scene;
  const each = Math.max(1, Math.ceil(connections / CONNECTIONS_PER_CORE));
  const about = {
    name: "cores",
    found: quantity(host.cores, "cores"),
    needed: quantity(ends * each, "cores"),
  };
  const servers = Math.min(scene.processes ?? 1, host.cores);
  const rate = `a core drives some ${formatCount(CONNECTIONS_PER_CORE)} with an echo every 10 s`;
  if (isServer && connections > servers * CONNECTIONS_PER_CORE) {
    const text = `too many for ${countText(servers, "server process", "es")}`;
    const more = each <= host.cores ? `: spread them over ${formatCount(each)} processes` : "";
    return finding(about, "fail", `${text}; ${rate}${more}`);
  }
  if (ends * connections > host.cores * CONNECTIONS_PER_CORE && connections > 0) {
    return finding(about, "fail", `too many for ${countText(host.cores, "core")}; ${rate}`);
  }
  if (host.cores < ends) {
    const text = "server and probe share one core: expect GENERATOR-BOUND verdicts under load";
    return finding(about, "warn", text);
  }
  const generators = isClient ? generatorsFor(scene, connections) : each;
  if (each > generators) {
    const text = `too many for ${countText(generators, "generator process", "es")}; ${rate}`;
    const command = `holdfast-probe capacity --generators ${each} ${targetText(scene)}`;
    return finding(about, "warn", text, [{ text: "a generator for each core", command }]);
  }
  const text = ends === 1 ? "one for an event loop" : "one for the server, one for the probe";
  return finding(about, "ok", each === 1 ? text : rate);
}

function countText(count: number, noun: string, plural = "s"): string {
  return count === 1 ? `one ${noun}` : `${formatCount(count)} ${noun}${plural}`;
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
