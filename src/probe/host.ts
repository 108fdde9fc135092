// What this host allows, as Linux tells it under /proc and /sys. Whatever is missing there is null:
// nothing here throws. The limit of open files is read here once more than in config/machine.ts,
// which the probe must not import, because the probe needs the hard limit as well.

import { readFileSync } from "node:fs";
import { availableParallelism, type NetworkInterfaceInfo, networkInterfaces } from "node:os";
import { join } from "node:path";

/** Both ends are included. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** Infinity: unlimited. */
export interface FileLimit {
  readonly soft: number;
  readonly hard: number;
}

/** null: not known, or there is none. */
export interface Host {
  /** RLIMIT_NOFILE of this process, which its children inherit. */
  readonly fileLimit: FileLimit | null;
  /** fs.file-max: open files of the whole system. */
  readonly fileMax: number | null;
  /** Open files of the whole system now. */
  readonly filesOpen: number | null;
  /** fs.nr_open: the highest RLIMIT_NOFILE that a process may be given. */
  readonly fileLimitMax: number | null;
  readonly somaxconn: number | null;
  readonly synBacklogMax: number | null;
  readonly portRange: PortRange | null;
  readonly reservedPorts: readonly PortRange[];
  /** net.ipv4.tcp_tw_reuse: 0 off, 1 on, 2 on loopback alone. */
  readonly timeWaitReuse: number | null;
  /** null where connection tracking is not loaded. */
  readonly conntrackMax: number | null;
  readonly conntrackCount: number | null;
  /** net.ipv4.tcp_mem: pages of all TCP buffers together. */
  readonly tcpMemPages: {
    readonly low: number;
    readonly pressure: number;
    readonly high: number;
  } | null;
  /** Pages of TCP buffers in use, and TCP sockets, now. */
  readonly tcpPages: number | null;
  readonly tcpSockets: number | null;
  readonly memoryTotalBytes: number | null;
  readonly memoryAvailableBytes: number | null;
  /** The limit of this process's cgroup, or of one above it; null where there is none. */
  readonly memoryLimitBytes: number | null;
  readonly cores: number;
  /** Addresses that connections can leave this host from, by interface. */
  readonly interfaces: Readonly<Record<string, readonly string[]>>;
  /** Such as `6.18.44`. */
  readonly kernel: string | null;
  /** {@link sysctls} */
  readonly settings: Readonly<Record<string, string>>;
}

const SYSCTLS = [
  "fs.file-max",
  "fs.nr_open",
  "net.core.somaxconn",
  "net.ipv4.tcp_max_syn_backlog",
  "net.ipv4.tcp_syncookies",
  "net.ipv4.ip_local_port_range",
  "net.ipv4.ip_local_reserved_ports",
  "net.ipv4.tcp_tw_reuse",
  "net.ipv4.tcp_mem",
  "net.ipv4.tcp_rmem",
  "net.ipv4.tcp_wmem",
  "net.netfilter.nf_conntrack_max",
] as const;

/** @param root where `proc` and `sys` lie. */
export function readHost(root: string = "/"): Host {
  const settings = readSettings(root);
  const [tcpLow, tcpPressure, tcpHigh] = numbersIn(settings["net.ipv4.tcp_mem"]);
  const [firstPort, lastPort] = numbersIn(settings["net.ipv4.ip_local_port_range"]);
  const memory = readText(root, "proc/meminfo");
  const sockets = readText(root, "proc/net/sockstat");
  return {
    fileLimit: parseFileLimit(readText(root, "proc/self/limits")),
    fileMax: numberIn(settings["fs.file-max"]),
    filesOpen: numberIn(readText(root, "proc/sys/fs/file-nr")),
    fileLimitMax: numberIn(settings["fs.nr_open"]),
    somaxconn: numberIn(settings["net.core.somaxconn"]),
    synBacklogMax: numberIn(settings["net.ipv4.tcp_max_syn_backlog"]),
    portRange: lastPort === undefined ? null : { first: firstPort!, last: lastPort },
    reservedPorts: parsePorts(settings["net.ipv4.ip_local_reserved_ports"] ?? ""),
    timeWaitReuse: numberIn(settings["net.ipv4.tcp_tw_reuse"]),
    conntrackMax: numberIn(settings["net.netfilter.nf_conntrack_max"]),
    conntrackCount: numberIn(readText(root, "proc/sys/net/netfilter/nf_conntrack_count")),
    tcpMemPages:
      tcpHigh === undefined ? null : { low: tcpLow!, pressure: tcpPressure!, high: tcpHigh },
    tcpPages: matched(sockets, /^TCP:.* mem (\d+)/m),
    tcpSockets: matched(sockets, /^TCP: inuse (\d+)/m),
    memoryTotalBytes: kibibytes(memory, "MemTotal"),
    memoryAvailableBytes: kibibytes(memory, "MemAvailable"),
    memoryLimitBytes: readMemoryLimit(root),
    cores: availableParallelism(),
    interfaces: readInterfaces(),
    kernel: readText(root, "proc/sys/kernel/osrelease")?.trim() || null,
    settings,
  };
}

/** The part of {@link readHost} that is worth asking for again and again. */
export function readMemoryAvailable(root: string = "/"): number | null {
  return kibibytes(readText(root, "proc/meminfo"), "MemAvailable");
}

/** Kernel settings that bear on connections, by name; those that this kernel has. */
export function sysctls(host: Host): Readonly<Record<string, string>> {
  return host.settings;
}

/**
 * How often, since the machine's start, a listening socket's queue was full, and how often a
 * connection was dropped there for any reason. Of all listeners of this network namespace.
 */
export function readListenDrops(root: string = "/"): { overflows: number; drops: number } | null {
  const lines = readText(root, "proc/net/netstat")?.split("\n") ?? [];
  const [names, values] = lines
    .filter((line) => line.startsWith("TcpExt:"))
    .map((line) => line.split(" "));
  const valueOf = (name: string): number => Number(values?.[names!.indexOf(name)] ?? Number.NaN);
  const found = { overflows: valueOf("ListenOverflows"), drops: valueOf("ListenDrops") };
  return Number.isNaN(found.overflows + found.drops) ? null : found;
}

function readInterfaces(): Readonly<Record<string, readonly string[]>> {
  const found: Record<string, readonly string[]> = {};
  for (const [name, entries] of Object.entries(allInterfaces())) {
    const addresses = entries!.filter(isSource).map((entry) => entry.address);
    if (addresses.length > 0) found[name] = addresses;
  }
  return found;
}

/** Node's throws where a sandbox forbids netlink, as systemd's RestrictAddressFamilies= does. */
function allInterfaces(): ReturnType<typeof networkInterfaces> {
  try {
    return networkInterfaces();
  } catch {
    return {};
  }
}

/** Loopback addresses stay on this host, link-local ones on their link. */
export function isSource(entry: NetworkInterfaceInfo): boolean {
  if (entry.family === "IPv4") return !entry.address.startsWith("127.");
  return entry.address !== "::1" && entry.scopeid === 0;
}

function readSettings(root: string): Readonly<Record<string, string>> {
  const settings: Record<string, string> = {};
  for (const name of SYSCTLS) {
    const text = readText(root, `proc/sys/${name.replaceAll(".", "/")}`);
    if (text !== null) settings[name] = text.trim().replace(/\s+/g, " ");
  }
  return settings;
}

function parseFileLimit(limits: string | null): FileLimit | null {
  const [, soft, hard] = /^Max open files\s+(\S+)\s+(\S+)/m.exec(limits ?? "") ?? [];
  if (soft === undefined || hard === undefined) return null;
  const limit = { soft: limitIn(soft), hard: limitIn(hard) };
  return Number.isNaN(limit.soft + limit.hard) ? null : limit;
}

function limitIn(text: string): number {
  return text === "unlimited" ? Infinity : Number(text);
}

/** `8080,9000-9005`, as the kernel writes it. */
function parsePorts(text: string): readonly PortRange[] {
  return text
    .split(",")
    .map((part) => /^(\d+)(?:-(\d+))?$/.exec(part.trim()))
    .filter((match) => match !== null)
    .map(([, first, last]) => ({ first: Number(first), last: Number(last ?? first) }));
}

/**
 * The lowest limit of the process's memory cgroup and those above it. In a container the path may
 * be one of the host's, which is not visible: then what is mounted is the container's own.
 */
function readMemoryLimit(root: string): number | null {
  const groups = readText(root, "proc/self/cgroup") ?? "";
  const unified = /^0::(\/.*)$/m.exec(groups)?.[1];
  const legacy = /^\d+:(?:[^:]*,)?memory(?:,[^:]*)?:(\/.*)$/m.exec(groups)?.[1];
  const limits = [
    ...foldersUpFrom(unified).map((folder) => `sys/fs/cgroup${folder}/memory.max`),
    ...foldersUpFrom(legacy).map((folder) => `sys/fs/cgroup/memory${folder}/memory.limit_in_bytes`),
  ]
    .map((file) => numberIn(readText(root, file)))
    // The first version writes "no limit" as a number beyond any memory.
    .filter((bytes) => bytes !== null && bytes < Number.MAX_SAFE_INTEGER);
  return limits.length === 0 ? null : Math.min(...(limits as number[]));
}

/** `/a/b` -> `/a/b`, `/a` and ``. */
function foldersUpFrom(path: string | undefined): readonly string[] {
  if (path === undefined) return [];
  const parts = path.split("/").filter((part) => part !== "" && part !== "..");
  return [...parts.keys(), parts.length]
    .map((count) =>
      parts
        .slice(0, count)
        .map((part) => `/${part}`)
        .join(""),
    )
    .toReversed();
}

function kibibytes(text: string | null, name: string): number | null {
  const count = matched(text, new RegExp(`^${name}:\\s+(\\d+) kB`, "m"));
  return count === null ? null : count * 1_024;
}

function matched(text: string | null, pattern: RegExp): number | null {
  const digits = pattern.exec(text ?? "")?.[1];
  return digits === undefined ? null : Number(digits);
}

/** The first number in a text that begins with one. */
function numberIn(text: string | null | undefined): number | null {
  return numbersIn(text)[0] ?? null;
}

function numbersIn(text: string | null | undefined): readonly number[] {
  const parts = (text ?? "").trim().split(/\s+/);
  return parts.every((part) => /^\d+$/.test(part)) ? parts.map(Number) : [];
}

function readText(root: string, file: string): string | null {
  try {
    return readFileSync(join(root, file), "utf8");
  } catch {
    return null;
  }
}
