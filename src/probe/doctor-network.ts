// What the kernel's network settings allow: the queues before accept(), local ports, connection
// tracking and the memory of TCP's buffers.

import {
  type Finding,
  finding,
  type Mend,
  quantity,
  roundUp,
  type Scene,
  setSysctl,
  targetText,
} from "./doctor-check.ts";
import type { Host } from "./host.ts";
import { formatBytes, formatCount } from "./quantity.ts";
import { usablePorts } from "./source-facts.ts";

/** Holdfast's own backlog (`tcp.backlog`), and Linux's default of somaxconn since 5.4. */
const BACKLOG = 4_096;
/** 1024 to 65535. */
const PORTS_MAX = 64_512;
/** Bytes of a page where nobody says otherwise: x86-64, and most of arm64. */
const PAGE_BYTES = 4_096;

export function checkSomaxconn({ host, isServer, server }: Scene): Finding | null {
  const { somaxconn } = host;
  if (!isServer || somaxconn === null) return null;
  const backlog = server?.backlog ?? BACKLOG;
  const about = {
    name: "net.core.somaxconn",
    found: quantity(somaxconn, "connections"),
    needed: quantity(backlog, "connections"),
  };
  if (somaxconn >= backlog) return finding(about, "ok", "connections that wait to be accepted");
  const text =
    `cuts every listener's backlog: what comes while ${formatCount(somaxconn)} wait is dropped, ` +
    "and tried again after a second";
  return finding(about, "warn", text, setSysctl("net.core.somaxconn", String(backlog)));
}

/**
 * Linux counts it only where SYN cookies are off (inet_csk_reqsk_queue, tcp_conn_request);
 * otherwise the listener's backlog bounds the handshakes under way, and cookies take the rest.
 */
export function checkSynBacklog({ host, isServer, isUnix, server }: Scene): Finding | null {
  const { synBacklogMax } = host;
  if (!isServer || isUnix || synBacklogMax === null) return null;
  const backlog = server?.backlog ?? BACKLOG;
  const hasCookies = host.settings["net.ipv4.tcp_syncookies"] !== "0";
  const about = {
    name: "net.ipv4.tcp_max_syn_backlog",
    found: quantity(synBacklogMax, "handshakes"),
    needed: hasCookies ? null : quantity(backlog, "handshakes"),
  };
  if (hasCookies) {
    const text = "TCP handshakes under way; not a limit, because tcp_syncookies is on";
    return finding(about, "ok", text);
  }
  if (synBacklogMax >= backlog) return finding(about, "ok", "TCP handshakes under way");
  const text = "TCP handshakes under way; more are dropped, because tcp_syncookies is off";
  const mend = setSysctl("net.ipv4.tcp_max_syn_backlog", String(backlog));
  return finding(about, "warn", text, mend);
}

export function checkSources(scene: Scene, connections: number): Finding | null {
  const { isClient, isUnix, host } = scene;
  if (!isClient || isUnix) return null;
  const name = "local addresses and ports";
  const needed = quantity(connections, "pairs");
  if (isManyLoopback(scene)) {
    const text = "loopback: the probe takes as many addresses of 127.0.0.0/8 as it needs";
    return finding({ name, found: quantity(Infinity, "pairs"), needed }, "ok", text);
  }
  const addresses = addressesFor(scene);
  const ports = portsOf(host);
  const pairs = addresses * ports;
  const about = { name, found: quantity(pairs, "pairs"), needed };
  const which = `to one target, from ${formatCount(ports)} ports of ${addressText(addresses)}`;
  if (2 * connections <= pairs) return finding(about, "ok", `pairs ${which}`);
  if (connections <= pairs) {
    const text = `pairs ${which}: enough, but few are spare for what stays in TIME_WAIT`;
    return finding(about, "warn", text, morePairs(scene, 2 * connections, addresses));
  }
  const mend = morePairs(scene, connections, addresses);
  return finding(about, "fail", `too few pairs ${which}`, mend);
}

export function checkTimeWait(scene: Scene, connections: number): Finding | null {
  const { host, isClient, isUnix, isLocal } = scene;
  const { timeWaitReuse } = host;
  if (!isClient || isUnix || timeWaitReuse === null) return null;
  const name = "net.ipv4.tcp_tw_reuse";
  const found = quantity(timeWaitReuse, "mode");
  if (timeWaitReuse === 1 || (timeWaitReuse === 2 && isLocal)) {
    const text = "a pair in TIME_WAIT can be used again after a second";
    return finding({ name, found, needed: found }, "ok", text);
  }
  const isSpare = isManyLoopback(scene) || 4 * connections <= addressesFor(scene) * portsOf(host);
  if (isSpare) {
    const text = "a pair in TIME_WAIT rests for a minute: there are enough others";
    return finding({ name, found, needed: null }, "ok", text);
  }
  const text = "a closed connection keeps its local address and port in TIME_WAIT for a minute";
  return finding({ name, found, needed: quantity(1, "mode") }, "warn", text, setSysctl(name, "1"));
}

export function checkConntrack({ host, isUnix }: Scene, connections: number): Finding | null {
  if (isUnix) return null;
  const { conntrackMax, conntrackCount } = host;
  const name = "net.netfilter.nf_conntrack_max";
  // Both ends on one host are one entry.
  const needed = connections + (conntrackCount ?? 0);
  if (conntrackMax === null) {
    const text = "connection tracking is not loaded";
    return finding({ name, found: null, needed: null }, "ok", text);
  }
  const found = quantity(conntrackMax, "entries");
  if (conntrackCount === 0 && (host.tcpSockets ?? 0) > 0) {
    const text = "loaded, but it tracks nothing: no firewall rule asks for it";
    return finding({ name, found, needed: null }, "ok", text);
  }
  const about = { name, found, needed: quantity(needed, "entries") };
  if (1.25 * needed <= conntrackMax) {
    return finding(about, "ok", "connections that the firewall remembers");
  }
  const isFull = needed > conntrackMax;
  const text = isFull
    ? "the firewall remembers fewer: packets of further connections are dropped"
    : "the firewall's table gets nearly full";
  return finding(about, isFull ? "fail" : "warn", text, moreEntries(name, roundUp(1.5 * needed)));
}

/** The table and its buckets: one for every four entries, as Linux had it by itself before 5.15. */
function moreEntries(name: string, wanted: number): readonly Mend[] {
  const buckets = Math.ceil(wanted / 4);
  const [now, forGood] = setSysctl(name, String(wanted));
  return [
    now,
    {
      text: "as root, until the next start: the table's buckets",
      command: `echo ${buckets} > /sys/module/nf_conntrack/parameters/hashsize`,
    },
    forGood,
    {
      text: "after a restart too: the table's buckets",
      command: `echo 'options nf_conntrack hashsize=${buckets}' >> /etc/modprobe.d/holdfast.conf`,
    },
  ];
}

/**
 * Pages of TCP's buffers. A socket at rest has next to none; one that has a little to send and a
 * little unread has a page for each. Beyond the second of three numbers the kernel takes pages
 * back, beyond the third it drops.
 */
export function checkTcpMemory(scene: Scene, connections: number): Finding | null {
  const { tcpMemPages, memoryTotalBytes } = scene.host;
  if (scene.isUnix || tcpMemPages === null) return null;
  const needed = 2 * scene.ends * connections + (scene.host.tcpPages ?? 0);
  const about = {
    name: "net.ipv4.tcp_mem",
    found: quantity(tcpMemPages.pressure, "pages"),
    needed: quantity(needed, "pages"),
  };
  if (needed <= tcpMemPages.pressure) {
    const text = "buffers of all sockets: enough for a burst, two pages each at once";
    return finding(about, "ok", text);
  }
  const busy = formatCount(Math.floor(tcpMemPages.pressure / (2 * scene.ends)));
  const bytes = formatBytes(needed * PAGE_BYTES);
  const isLarge = needed * PAGE_BYTES > (memoryTotalBytes ?? Infinity) / 2;
  const text =
    `enough at rest, and for ${busy} connections with a page each way at once; ` +
    `all at once would take ${bytes}${isLarge ? ", over half of this host's memory" : ""}`;
  const pages = [needed * 0.75, needed, needed * 1.5].map((count) => Math.ceil(count)).join(" ");
  return finding(about, "warn", text, isLarge ? [] : setSysctl("net.ipv4.tcp_mem", pages));
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

function morePairs(scene: Scene, pairs: number, addresses: number): readonly Mend[] {
  const ports = "--local-ports 1024-65535";
  if (pairs <= addresses * PORTS_MAX) {
    const own = `holdfast-probe capacity ${ports} ${targetText(scene)}`;
    return [
      { text: "more ports of the probe alone", command: own },
      ...setSysctl("net.ipv4.ip_local_port_range", "1024 65535"),
    ];
  }
  if (scene.isLocal) {
    const four = targetText(scene).replace(/\/\/(\[[^\]]*\]|[^:/]*)/, "//127.0.0.1");
    return [
      { text: "as the target: there the probe takes as many addresses as it needs", setting: four },
    ];
  }
  const more = Math.ceil(pairs / PORTS_MAX) - addresses;
  const count = more === 1 ? "one more" : `${formatCount(more)} more`;
  return [
    {
      text: `as root: ${count}, and ${ports} of holdfast-probe`,
      command: "ip address add ADDRESS/PREFIX dev INTERFACE",
    },
  ];
}

function addressText(addresses: number): string {
  return addresses === 1 ? "one address" : `each of ${formatCount(addresses)} addresses`;
}
