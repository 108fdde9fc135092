import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { isSource, readHost, readListenDrops, sysctls } from "../../src/probe/host.ts";

const roots: string[] = [];

/** A folder in the place of `/`. */
function rootOf(files: Readonly<Record<string, string>>): string {
  const root = mkdtempSync(join(tmpdir(), "probe-host-"));
  roots.push(root);
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    writeFileSync(join(root, file), text);
  }
  return root;
}

afterEach(() => {
  for (const root of roots.splice(0)) rmSync(root, { recursive: true });
});

const LIMITS = `Limit                     Soft Limit           Hard Limit           Units     
Max processes             96365                96365                processes 
Max open files            1024                 524288               files     
Max locked memory         8388608              8388608              bytes     
`;

const MEMORY = `MemTotal:       24684084 kB
MemFree:        24080480 kB
MemAvailable:   24187428 kB
`;

const SOCKETS = `sockets: used 12
TCP: inuse 7 orphan 0 tw 3 alloc 9 mem 117
UDP: inuse 1 mem 2
`;

const WHOLE = {
  "proc/self/limits": LIMITS,
  "proc/self/cgroup": "0::/\n",
  "proc/meminfo": MEMORY,
  "proc/net/sockstat": SOCKETS,
  "proc/sys/fs/file-max": "2466170\n",
  "proc/sys/fs/file-nr": "450\t0\t2466170\n",
  "proc/sys/fs/nr_open": "1048576\n",
  "proc/sys/kernel/osrelease": "6.1.0-28-amd64\n",
  "proc/sys/net/core/somaxconn": "4096\n",
  "proc/sys/net/ipv4/tcp_max_syn_backlog": "2048\n",
  "proc/sys/net/ipv4/tcp_syncookies": "1\n",
  "proc/sys/net/ipv4/ip_local_port_range": "32768\t60999\n",
  "proc/sys/net/ipv4/ip_local_reserved_ports": "40000,50000-50009\n",
  "proc/sys/net/ipv4/tcp_tw_reuse": "2\n",
  "proc/sys/net/ipv4/tcp_mem": "287898\t383867\t575796\n",
  "proc/sys/net/netfilter/nf_conntrack_max": "262144\n",
  "proc/sys/net/netfilter/nf_conntrack_count": "31\n",
  "sys/fs/cgroup/memory.max": "max\n",
};

describe("this host", () => {
  it("is read as Linux writes it", () => {
    expect(readHost(rootOf(WHOLE))).toMatchObject({
      fileLimit: { soft: 1_024, hard: 524_288 },
      fileMax: 2_466_170,
      filesOpen: 450,
      fileLimitMax: 1_048_576,
      somaxconn: 4_096,
      synBacklogMax: 2_048,
      portRange: { first: 32_768, last: 60_999 },
      reservedPorts: [
        { first: 40_000, last: 40_000 },
        { first: 50_000, last: 50_009 },
      ],
      timeWaitReuse: 2,
      conntrackMax: 262_144,
      conntrackCount: 31,
      tcpMemPages: { low: 287_898, pressure: 383_867, high: 575_796 },
      tcpPages: 117,
      tcpSockets: 7,
      memoryTotalBytes: 24_684_084 * 1_024,
      memoryAvailableBytes: 24_187_428 * 1_024,
      memoryLimitBytes: null,
      kernel: "6.1.0-28-amd64",
    });
  });

  it("is unknown, and no error, where there is no /proc", () => {
    const host = readHost(join(rootOf({}), "nowhere"));
    const { cores, interfaces, reservedPorts, settings, ...rest } = host;
    expect(cores).toBeGreaterThan(0);
    expect(typeof interfaces).toBe("object");
    expect([reservedPorts, settings]).toEqual([[], {}]);
    expect(new Set(Object.values(rest))).toEqual(new Set([null]));
  });

  it.each(Object.keys(WHOLE))("is known but for what %s would say, where it is missing", (file) => {
    const { [file as keyof typeof WHOLE]: _, ...others } = WHOLE;
    expect(() => readHost(rootOf(others))).not.toThrow();
  });

  it.each(Object.keys(WHOLE))("survives nonsense in %s", (file) => {
    for (const nonsense of ["", "\n", "what?\n", "-5 x\n", "TCP:\n::\n"]) {
      const host = readHost(rootOf({ ...WHOLE, [file]: nonsense }));
      for (const value of Object.values(host)) expect(value).not.toBeNaN();
    }
  });

  it("may have no file limit", () => {
    const limits = LIMITS.replace("1024  ", "unlimited").replace("524288   ", "unlimited");
    const host = readHost(rootOf({ ...WHOLE, "proc/self/limits": limits }));
    expect(host.fileLimit).toEqual({ soft: Infinity, hard: Infinity });
  });

  it("really is this machine by default", () => {
    const host = readHost();
    expect(host.memoryTotalBytes).toBeGreaterThan(host.memoryAvailableBytes!);
    expect(host.fileLimit!.hard).toBeGreaterThanOrEqual(host.fileLimit!.soft);
    expect(host.kernel).toMatch(/^\d+\.\d+/);
  });
});

describe("the memory limit", () => {
  it.each([
    ["of the process's own group", "0::/a/b\n", { "a/b/memory.max": "1000\n" }],
    ["of a group above it", "0::/a/b\n", { "a/b/memory.max": "max\n", "a/memory.max": "1000\n" }],
    ["that is lowest", "0::/a/b\n", { "a/b/memory.max": "2000\n", "a/memory.max": "1000\n" }],
    ["of a container, whose path is the host's", "0::/../x\n", { "memory.max": "1000\n" }],
    [
      "of version 1",
      "4:memory:/docker/x\n0::/\n",
      { "memory/docker/x/memory.limit_in_bytes": "1000\n" },
    ],
    [
      "of version 1 in a container",
      "4:cpu,memory:/docker/x\n",
      { "memory/memory.limit_in_bytes": "1000\n" },
    ],
  ])("is the one %s", (_what, groups, files) => {
    const limits = Object.entries(files).map(([file, text]) => [`sys/fs/cgroup/${file}`, text]);
    const root = rootOf({ "proc/self/cgroup": groups, ...Object.fromEntries(limits) });
    expect(readHost(root).memoryLimitBytes).toBe(1_000);
  });

  it("is none where version 1 writes a number beyond any memory", () => {
    const root = rootOf({
      "proc/self/cgroup": "4:memory:/\n",
      "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    });
    expect(readHost(root).memoryLimitBytes).toBeNull();
  });
});

describe("the kernel settings of a report", () => {
  it("are those that this kernel has, by name, on one line each", () => {
    const { "proc/sys/net/netfilter/nf_conntrack_max": _, ...others } = WHOLE;
    const settings = sysctls(readHost(rootOf(others)));
    expect(settings["net.ipv4.tcp_mem"]).toBe("287898 383867 575796");
    expect(settings["net.ipv4.ip_local_port_range"]).toBe("32768 60999");
    expect(settings).not.toHaveProperty("net.netfilter.nf_conntrack_max");
  });
});

describe("connections that were dropped before accept()", () => {
  const netstat = (values: string): string =>
    `TcpExt: SyncookiesSent ListenOverflows ListenDrops TCPTimeouts\nTcpExt: ${values}\n` +
    "IpExt: InNoRoutes ListenDrops\nIpExt: 0 77\n";

  it("are counted by the kernel", () => {
    const root = rootOf({ "proc/net/netstat": netstat("5 12 14 9") });
    expect(readListenDrops(root)).toEqual({ overflows: 12, drops: 14 });
  });

  it.each([
    ["no file", {}],
    ["an empty file", { "proc/net/netstat": "" }],
    ["names alone", { "proc/net/netstat": "TcpExt: ListenOverflows ListenDrops\n" }],
    ["too few numbers", { "proc/net/netstat": netstat("5 12") }],
    ["no such counter", { "proc/net/netstat": "TcpExt: A B\nTcpExt: 1 2\n" }],
    ["no numbers", { "proc/net/netstat": netstat("a b c d") }],
  ])("are not known from %s", (_what, files) => {
    expect(readListenDrops(rootOf(files))).toBeNull();
  });
});

describe("an address", () => {
  const about = { netmask: "", mac: "", internal: false, cidr: null };
  it.each([
    ["10.0.0.1", true],
    ["127.0.0.1", false],
    ["127.5.5.5", false],
  ])("%s of IPv4 can be left from: %s", (address, expected) => {
    expect(isSource({ ...about, family: "IPv4", address })).toBe(expected);
  });
  it.each([
    ["fd00::2", 0, true],
    ["fe80::1", 4, false],
    ["::1", 0, false],
  ])("%s of IPv6, scope %i, can be left from: %s", (address, scopeid, expected) => {
    expect(isSource({ ...about, family: "IPv6", address, scopeid })).toBe(expected);
  });
});
