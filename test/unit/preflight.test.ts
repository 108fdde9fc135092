import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import os, { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  enableMigration,
  preflight,
  type PreflightCheck,
  preflightFailure,
  runPreflight,
} from "../../src/cli/preflight.ts";
import type { PartialOptions } from "../../src/config/options.ts";
import { optionsFrom } from "../../src/config/resolve.ts";
import { type Log, silentLog } from "../../src/observe/log.ts";

let root: string;

/** A machine on which 390,000 connections in 20 workers are well. */
const MACHINE: Readonly<Record<string, string>> = {
  "proc/self/limits":
    "Limit                     Soft Limit           Hard Limit           Units\n" +
    "Max open files            20480                20480                files\n",
  "proc/meminfo": "MemTotal: 25165824 kB\nMemAvailable: 23068672 kB\n",
  "proc/net/sockstat": "TCP: inuse 10 orphan 0 tw 0 alloc 10 mem 4\n",
  "proc/net/netstat": "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 0 7 9\n",
  "proc/self/cgroup": "0::/\n",
  "proc/sys/fs/file-max": "9000000\n",
  "proc/sys/fs/file-nr": "500 0 9000000\n",
  "proc/sys/fs/nr_open": "1048576\n",
  "proc/sys/net/core/somaxconn": "4096\n",
  "proc/sys/net/ipv4/tcp_max_syn_backlog": "2048\n",
  "proc/sys/net/ipv4/tcp_syncookies": "1\n",
  "proc/sys/net/ipv4/tcp_mem": "1000000 1500000 2000000\n",
  "proc/sys/net/ipv4/tcp_migrate_req": "0\n",
};

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "holdfast-preflight-"));
  for (const [name, text] of Object.entries(MACHINE)) put(name, text);
});

afterEach(() => {
  rmSync(root, { recursive: true, force: true });
});

function put(name: string, text: string): void {
  const file = join(root, name);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
}

function checks(workers: number, max: number, options: PartialOptions = {}): PreflightCheck[] {
  const promised = optionsFrom({ connection: { max }, ...options });
  return [...preflight(promised, workers, max, root).checks];
}

function check(what: string, workers: number, max: number, options?: PartialOptions) {
  const found = checks(workers, max, options).find((one) => one.what.startsWith(what));
  expect(found, `a check of ${what}`).toBeDefined();
  return found!;
}

function recorder(): { log: Log; lines: string[] } {
  const lines: string[] = [];
  const log: Log = {
    ...silentLog,
    info: (fields, text) => lines.push(`info ${String(fields["check"])} ${text}`),
    warn: (fields, text) => lines.push(`warn ${String(fields["check"])} ${text}`),
  };
  return { log, lines };
}

describe("a machine that holds what is wanted", () => {
  it("has no failure, and every check says what it found", () => {
    const options = optionsFrom({ connection: { max: 390_000 } });
    const report = preflight(options, 20, 390_000, root);
    expect(report).toMatchObject({ workers: 20, connectionsMax: 390_000 });
    expect(report.checks.filter(({ level }) => level === "fail")).toEqual([]);
    expect(report.checks.map(({ what }) => what)).toEqual(
      expect.arrayContaining(["files, 20 servers", "fs.file-max", "memory", "listen drops"]),
    );
    expect(preflightFailure(report)).toBeNull();
  });

  it("tells how often listeners were full, without a warning", () => {
    const found = check("listen drops", 20, 100_000);
    expect(found).toMatchObject({ level: "ok", advice: [] });
    expect(found.text).toContain("7 times a listener's queue was full, and 9 connections");
  });

  it("is looked at in less than 50 ms", () => {
    const options = optionsFrom({});
    const times = Array.from({ length: 5 }, () => {
      const start = performance.now();
      preflight(options, 20, 300_000);
      return performance.now() - start;
    });
    expect(Math.min(...times)).toBeLessThan(50);
  });

  it("is looked at in a sandbox that forbids asking for its addresses", () => {
    const { networkInterfaces } = os;
    os.networkInterfaces = () => {
      throw new Error("uv_interface_addresses returned Unknown system error 97");
    };
    syncBuiltinESMExports();
    try {
      expect(() => os.networkInterfaces()).toThrow("uv_interface_addresses");
      expect(checks(20, 100_000).length).toBeGreaterThan(5);
    } finally {
      os.networkInterfaces = networkInterfaces;
      syncBuiltinESMExports();
    }
  });
});

describe("files of a process", () => {
  it("count connections, listening sockets, and what the fullest worker has more", () => {
    // 18,000 each: 104 files of its own, 8 listening sockets, 4 * sqrt(18,000) more connections.
    const each = 18_000;
    const needed = each + 104 + 8 + Math.ceil(4 * Math.sqrt(each));
    const limits = (files: number): string =>
      `Max open files            ${files}                ${files}                files\n`;
    put("proc/self/limits", limits(needed));
    expect(check("files", 4, 4 * each).level).toBe("ok");
    put("proc/self/limits", limits(needed - 1));
    const found = check("files", 4, 4 * each);
    expect(found.level).toBe("fail");
    expect(found.advice.join("\n")).toContain("LimitNOFILE=");
  });

  it("are those of one process where there is no supervisor", () => {
    expect(check("files, server", 0, 19_000).level).toBe("ok");
    expect(check("files, server", 0, 20_400).level).toBe("fail");
  });

  it("say nothing of connection.max, which the server knows", () => {
    expect(JSON.stringify(checks(0, 20_000))).not.toContain("connection-max");
  });
});

describe("what is in the way", () => {
  it("a short queue of the kernel is measured against tcp.backlog", () => {
    expect(check("net.core.somaxconn", 20, 1_000, { tcp: { backlog: 8_192 } })).toMatchObject({
      level: "warn",
      advice: [expect.stringContaining("sysctl -w net.core.somaxconn=8192"), expect.anything()],
    });
    expect(check("net.core.somaxconn", 20, 1_000, { tcp: { backlog: 4_096 } }).level).toBe("ok");
  });

  it("memory of the control group fails", () => {
    put("sys/fs/cgroup/memory.max", "536870912\n");
    const found = check("memory", 20, 300_000);
    expect(found.level).toBe("fail");
    expect(found.text).toContain("control group");
  });

  it.each([
    ["fs.file-max", "proc/sys/fs/file-max", "100000\n", "fail"],
    [
      "net.netfilter.nf_conntrack_max",
      "proc/sys/net/netfilter/nf_conntrack_max",
      "65536\n",
      "fail",
    ],
    ["net.ipv4.tcp_mem", "proc/sys/net/ipv4/tcp_mem", "1000 2000 3000\n", "warn"],
  ])("%s", (what, file, text, level) => {
    put(file, text);
    expect(check(what, 20, 300_000).level).toBe(level);
  });

  it("few cores only warn: connections at rest are held all the same", () => {
    expect(check("cores", 20, 400_000_000, { connection: { max: 10_000_000 } }).level).toBe("warn");
  });

  it("a machine that tells nothing has nothing that fails", () => {
    rmSync(root, { recursive: true });
    const report = preflight(optionsFrom({}), 4, 1_000, root);
    expect(report.checks.filter(({ level }) => level !== "ok")).toEqual([]);
  });
});

describe("tcp_migrate_req", () => {
  const FILE = "proc/sys/net/ipv4/tcp_migrate_req";

  it("is set, and says so", () => {
    expect(enableMigration(root)).toMatchObject({ level: "ok", isSet: true });
    expect(readFileSync(join(root, FILE), "utf8").trim()).toBe("1");
    expect(enableMigration(root)).toMatchObject({ level: "ok", isSet: false });
  });

  it("that cannot be written is a warning with its reason", () => {
    rmSync(join(root, FILE));
    mkdirSync(join(root, FILE));
    expect(enableMigration(root)).toMatchObject({
      level: "warn",
      isSet: false,
      text: expect.stringContaining("could not be set to 1 (EISDIR)"),
      advice: [expect.stringContaining("sysctl -w net.ipv4.tcp_migrate_req=1"), expect.anything()],
    });
  });

  it("that the kernel does not have is no warning, and is not made", () => {
    rmSync(join(root, FILE));
    expect(enableMigration(root)).toMatchObject({ level: "ok", isSet: false });
    expect(() => readFileSync(join(root, FILE))).toThrow("ENOENT");
  });

  it("is left alone where there is no supervisor", () => {
    runPreflight(optionsFrom({}), 0, 1_000, silentLog, root);
    expect(readFileSync(join(root, FILE), "utf8")).toBe("0\n");
  });
});

describe("runPreflight", () => {
  it("logs one line for each thing amiss and for what it set", () => {
    put("proc/sys/net/core/somaxconn", "128\n");
    const { log, lines } = recorder();
    runPreflight(optionsFrom({}), 4, 300_000, log, root);
    expect(lines).toEqual([
      expect.stringMatching(/^info net\.ipv4\.tcp_migrate_req .* was set to 1/),
      expect.stringMatching(/^warn files, 4 servers files, 4 servers 20,480 \(needed /),
      expect.stringMatching(/^warn net\.core\.somaxconn net\.core\.somaxconn 128 \(needed 4,096/),
    ]);
  });

  it("refuses with preflight.strict, says what to do, and sets nothing", () => {
    const options = optionsFrom({ connection: { max: 300_000 }, preflight: { strict: true } });
    let thrown: unknown;
    try {
      runPreflight(options, 4, 300_000, silentLog, root);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toMatchObject({
      code: "HOLDFAST_PREFLIGHT_FAILED",
      message: expect.stringMatching(
        /cannot hold connection\.max 300000 in 4 processes:\n {2}files, 4 servers .*\n {4}ulimit/,
      ),
    });
    expect(readFileSync(join(root, "proc/sys/net/ipv4/tcp_migrate_req"), "utf8")).toBe("0\n");
  });

  it("with preflight.strict lets pass what nobody promised: connection.max is not set", () => {
    const { log, lines } = recorder();
    const options = optionsFrom({ preflight: { strict: true } });
    runPreflight(options, 4, 300_000, log, root);
    expect(lines).toEqual([
      expect.anything(),
      expect.stringMatching(/^warn files, 4 servers .*; connection\.max is not set/),
    ]);
  });

  it("with preflight.strict lets warnings pass", () => {
    put("proc/sys/net/core/somaxconn", "128\n");
    const options = optionsFrom({ connection: { max: 390_000 }, preflight: { strict: true } });
    expect(() => runPreflight(options, 20, 390_000, silentLog, root)).not.toThrow();
  });
});
