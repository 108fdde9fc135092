// What the kernel's network settings allow: the queues before accept(), local ports, connection
// tracking and the memory of TCP's buffers.

import { type Finding, roundUp, type Scene, setSysctl } from "./doctor-check.ts";
import type { Host } from "./host.ts";
import { formatBytes, formatCount } from "./quantity.ts";
import { usablePorts } from "./source-facts.ts";

/** Holdfast's own backlog (`tcp.backlog`), and Linux's default of somaxconn since 5.4. */
const BACKLOG = 4_096;
/** 1024 to 65535. */
const PORTS_MAX = 64_512;
/** Bytes of a page where nobody says otherwise: x86-64, and most of arm64. */
const PAGE_BYTES = 4_096;

export function checkSomaxconn({ host, isServer }: Scene): Finding | null {
  const { somaxconn } = host;
  if (!isServer || somaxconn === null) return null;
  const about = {
    name: "net.core.somaxconn",
    found: formatCount(somaxconn),
    needed: formatCount(BACKLOG),
  };
  if (somaxconn >= BACKLOG) {
    return { ...about, level: "ok", text: "connections that wait to be accepted", mend: "" };
  }
  const text =
    `cuts every listener's backlog: what comes while ${formatCount(somaxconn)} wait is dropped, ` +
    "and tried again after a second";
  return { ...about, level: "warn", text, mend: set("net.core.somaxconn", BACKLOG) };
}

/**
 * Linux counts it only where SYN cookies are off (inet_csk_reqsk_queue, tcp_conn_request);
 * otherwise the listener's backlog bounds the handshakes under way, and cookies take the rest.
 */
export function checkSynBacklog({ host, isServer, isUnix }: Scene): Finding | null {
  const { synBacklogMax } = host;
  if (!isServer || isUnix || synBacklogMax === null) return null;
  const hasCookies = host.settings["net.ipv4.tcp_syncookies"] !== "0";
  const about = {
    name: "net.ipv4.tcp_max_syn_backlog",
    found: formatCount(synBacklogMax),
    needed: hasCookies ? "-" : formatCount(BACKLOG),
  };
  if (hasCookies) {
    const text = "TCP handshakes under way; not a limit, because tcp_syncookies is on";
    return { ...about, level: "ok", text, mend: "" };
  }
  if (synBacklogMax >= BACKLOG) {
    return { ...about, level: "ok", text: "TCP handshakes under way", mend: "" };
  }
  const text = "TCP handshakes under way; more are dropped, because tcp_syncookies is off";
  return { ...about, level: "warn", text, mend: set("net.ipv4.tcp_max_syn_backlog", BACKLOG) };
}

export function checkSources(scene: Scene, connections: number): Finding | null {
  const { isClient, isUnix, host } = scene;
  if (!isClient || isUnix) return null;
  const name = "local addresses and ports";
  const needed = formatCount(connections);
  if (isManyLoopback(scene)) {
    const text = "loopback: the probe takes as many addresses of 127.0.0.0/8 as it needs";
    return { name, level: "ok", found: "unlimited", needed, text, mend: "" };
  }
  const addresses = addressesFor(scene);
  const ports = portsOf(host);
  const pairs = addresses * ports;
  const found = `${formatCount(pairs)} (${addressText(addresses)})`;
  const about = { name, found, needed };
  if (2 * connections <= pairs) {
    return { ...about, level: "ok", text: "pairs to one target", mend: "" };
  }
  if (connections <= pairs) {
    const text = "pairs to one target: enough, but few are spare for what stays in TIME_WAIT";
    return { ...about, level: "warn", text, mend: morePairs(scene, 2 * connections, addresses) };
  }
  const text = `too few pairs to one target: ${formatCount(ports)} ports an address`;
  return { ...about, level: "fail", text, mend: morePairs(scene, connections, addresses) };
}

export function checkTimeWait(scene: Scene, connections: number): Finding | null {
  const { host, isClient, isUnix, isLocal } = scene;
  const { timeWaitReuse } = host;
  if (!isClient || isUnix || timeWaitReuse === null) return null;
  const about = { name: "net.ipv4.tcp_tw_reuse", found: String(timeWaitReuse), needed: "1" };
  if (timeWaitReuse === 1 || (timeWaitReuse === 2 && isLocal)) {
    const text = "a pair in TIME_WAIT can be used again after a second";
    return { ...about, needed: isLocal ? "1 or 2" : "1", level: "ok", text, mend: "" };
  }
  const isSpare = isManyLoopback(scene) || 4 * connections <= addressesFor(scene) * portsOf(host);
  if (isSpare) {
    const text = "a pair in TIME_WAIT rests for a minute: there are enough others";
    return { ...about, needed: "-", level: "ok", text, mend: "" };
  }
  const text = "a closed connection keeps its local address and port in TIME_WAIT for a minute";
  return { ...about, level: "warn", text, mend: set("net.ipv4.tcp_tw_reuse", 1) };
}

export function checkConntrack({ host, isUnix }: Scene, connections: number): Finding | null {
  if (isUnix) return null;
  const { conntrackMax, conntrackCount } = host;
  const name = "net.netfilter.nf_conntrack_max";
  // Both ends on one host are one entry.
  const needed = connections + (conntrackCount ?? 0);
  if (conntrackMax === null) {
    const text = "connection tracking is not loaded";
    return { name, level: "ok", found: "-", needed: "-", text, mend: "" };
  }
  const about = { name, found: formatCount(conntrackMax), needed: formatCount(needed) };
  if (conntrackCount === 0 && (host.tcpSockets ?? 0) > 0) {
    const text = "loaded, but it tracks nothing: no firewall rule asks for it";
    return { ...about, needed: "-", level: "ok", text, mend: "" };
  }
  if (1.25 * needed <= conntrackMax) {
    return { ...about, level: "ok", text: "connections that the firewall remembers", mend: "" };
  }
  const wanted = roundUp(1.5 * needed);
  const [now, forGood] = setSysctl(name, String(wanted)) as [string, string];
  // A bucket for every four entries, as Linux had it by itself before 5.15.
  const buckets = Math.ceil(wanted / 4);
  const mend = [
    now,
    `echo ${buckets} > /sys/module/nf_conntrack/parameters/hashsize`,
    forGood,
    `echo 'options nf_conntrack hashsize=${buckets}' >> /etc/modprobe.d/holdfast.conf  # too`,
  ].join("\n");
  const isFull = needed > conntrackMax;
  const text = isFull
    ? "the firewall remembers fewer: packets of further connections are dropped"
    : "the firewall's table gets nearly full";
  return { ...about, level: isFull ? "fail" : "warn", text, mend };
}

/**
 * Pages of TCP's buffers. A socket at rest has next to none; one that has a little to send and a
 * little unread has a page for each. Beyond the third number the kernel drops.
 */
export function checkTcpMemory(scene: Scene, connections: number): Finding | null {
  const { tcpMemPages, memoryTotalBytes } = scene.host;
  if (scene.isUnix || tcpMemPages === null) return null;
  const needed = 2 * scene.ends * connections + (scene.host.tcpPages ?? 0);
  const about = {
    name: "net.ipv4.tcp_mem",
    found: `${formatCount(tcpMemPages.high)} pages`,
    needed: `${formatCount(needed)} in a burst`,
  };
  if (needed <= tcpMemPages.pressure) {
    const text = "buffers of all sockets: enough for two pages each at once";
    return { ...about, level: "ok", text, mend: "" };
  }
  const busy = formatCount(Math.floor(tcpMemPages.pressure / (2 * scene.ends)));
  const bytes = formatBytes(needed * PAGE_BYTES);
  const isLarge = needed * PAGE_BYTES > (memoryTotalBytes ?? Infinity) / 2;
  const text =
    `enough at rest, and for ${busy} connections with a page each way at once; ` +
    `all at once would take ${bytes}${isLarge ? ", over half of this host's memory" : ""}`;
  const pages = [needed * 0.75, needed, needed * 1.5].map((count) => Math.ceil(count)).join(" ");
  const mend = isLarge ? "" : setSysctl("net.ipv4.tcp_mem", pages).join("\n");
  return { ...about, level: "warn", text, mend };
}

/** IPv4's loopback has addresses for everybody. */
function isManyLoopback({ target, isLocal }: Scene): boolean {
  return isLocal && (target?.family ?? 4) === 4;
}

/** Of the interface that has most: which one leads to the target, the probe finds out. */
function addressesFor({ host, target, isLocal }: Scene): number {
  if (isLocal) return 1;
  const isSix = target?.family === 6;
  const counts = Object.values(host.interfaces).map(
    (addresses) => addresses.filter((address) => address.includes(":") === isSix).length,
  );
  return Math.max(1, ...counts);
}

function portsOf(host: Host): number {
  return usablePorts(host).reduce((sum, { first, last }) => sum + last - first + 1, 0);
}

function morePairs(scene: Scene, pairs: number, addresses: number): string {
  if (pairs <= addresses * PORTS_MAX) {
    const range = setSysctl("net.ipv4.ip_local_port_range", "1024 65535");
    return ["--local-ports 1024-65535  # of holdfast-probe; or for all", ...range].join("\n");
  }
  if (scene.isLocal) return "# connect to 127.0.0.1: the probe takes more addresses of its net";
  const more = Math.ceil(pairs / PORTS_MAX) - addresses;
  return (
    "ip address add ADDRESS/PREFIX dev INTERFACE" +
    `  # ${more === 1 ? "one more" : `${formatCount(more)} more`}; and --local-ports 1024-65535`
  );
}

function set(name: string, value: number): string {
  return setSysctl(name, String(value)).join("\n");
}

function addressText(addresses: number): string {
  return addresses === 1 ? "one address" : `${formatCount(addresses)} addresses`;
}
