import { spawnSync } from "node:child_process";
import { stripVTControlCharacters } from "node:util";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type DoctorQuestion, diagnosisText, examine } from "../../src/probe/doctor.ts";
import type { Finding } from "../../src/probe/doctor-check.ts";
import type { Host } from "../../src/probe/host.ts";
import type { Target } from "../../src/probe/target.ts";

const GIB = 1_073_741_824;

/** A machine on which everything is well for 200,000 connections. */
const HOST: Host = {
  fileLimit: { soft: 1_000_000, hard: 1_000_000 },
  fileMax: 9_000_000,
  filesOpen: 500,
  fileLimitMax: 1_048_576,
  somaxconn: 4_096,
  synBacklogMax: 2_048,
  portRange: { first: 32_768, last: 60_999 },
  reservedPorts: [],
  timeWaitReuse: 2,
  conntrackMax: null,
  conntrackCount: null,
  tcpMemPages: { low: 1_000_000, pressure: 1_500_000, high: 2_000_000 },
  tcpPages: 100,
  tcpSockets: 10,
  memoryTotalBytes: 24 * GIB,
  memoryAvailableBytes: 22 * GIB,
  memoryLimitBytes: null,
  cores: 4,
  interfaces: { eth0: ["10.0.0.2", "fd00::2"] },
  kernel: "6.1.0",
  settings: { "net.ipv4.tcp_syncookies": "1" },
};

/** Soft and hard limits of 20,000 files, two cores. */
const NARROW: Host = { ...HOST, fileLimit: { soft: 20_000, hard: 20_000 }, cores: 2 };

function target(text: string, address: string): Target {
  const isWebSocket = text.startsWith("ws");
  const isTls = text.startsWith("wss") || text.startsWith("tls");
  const family = address.includes(":") ? 6 : 4;
  return { text, isTls, isWebSocket, host: address, address, family, port: 1, path: "" };
}

const LOOPBACK = target("tcp://127.0.0.1:7400", "127.0.0.1");
const REMOTE = target("ws://10.9.9.9:8080", "10.9.9.9");
const UNIX = target("unix:/run/holdfast", "");

function question(changes: Partial<DoctorQuestion> = {}): DoctorQuestion {
  return { connections: 200_000, role: "both", target: null, processes: null, ...changes };
}

function line(name: string, host: Host, changes: Partial<DoctorQuestion> = {}): Finding {
  const found = examine(host, question(changes)).lines.find((one) => one.name.startsWith(name));
  expect(found, `a line about ${name}`).toBeDefined();
  return found!;
}

function names(changes: Partial<DoctorQuestion>): string[] {
  return examine(HOST, question(changes)).lines.map(({ name }) => name);
}

describe("a host that is fit", () => {
  it("has nothing to mend, and exit code 0", () => {
    const diagnosis = examine(HOST, question());
    expect(diagnosis.lines.filter(({ level }) => level !== "ok")).toEqual([]);
    expect(diagnosis.lines.every(({ mend }) => mend === "")).toBe(true);
    expect(diagnosis).toMatchObject({
      schema: "holdfast-probe.doctor/1",
      exitCode: 0,
      connections: 200_000,
      judgedConnections: 200_000,
      safeMaximum: 999_900,
      boundBy: "files, server",
    });
  });

  it("is asked only what concerns its part", () => {
    expect(names({ role: "server" })).not.toContain("files, probe");
    expect(names({ role: "server" })).not.toContain("net.ipv4.tcp_tw_reuse");
    expect(names({ role: "client" })).not.toContain("net.core.somaxconn");
    expect(names({ role: "client" })).not.toContain("files, server");
    expect(names({ target: UNIX }).filter((name) => /ipv4|conntrack|ports/.test(name))).toEqual([]);
    expect(names({ target: UNIX })).toContain("net.core.somaxconn");
  });

  it("tells the safe maximum, and judges it, where no number is asked for", () => {
    const diagnosis = examine(NARROW, question({ connections: null }));
    expect(diagnosis).toMatchObject({
      connections: null,
      judgedConnections: 19_900,
      safeMaximum: 19_900,
      boundBy: "files, server",
      exitCode: 0,
    });
  });

  it("may be one of which nothing is known", () => {
    const known = { reservedPorts: [], cores: 2, interfaces: {}, settings: {} };
    const unknown = Object.fromEntries(Object.keys(HOST).map((name) => [name, null]));
    const host = { ...unknown, ...known } as unknown as Host;
    expect(examine(host, question()).exitCode).toBe(0);
    expect(examine(host, question({ role: "server" }))).toMatchObject({
      safeMaximum: 100_000_000,
      boundBy: "",
    });
  });
});

describe("the safe maximum", () => {
  it("is the last number at which no line fails", () => {
    const arbitraryHost = fc.record({
      soft: fc.integer({ min: 50, max: 2_000_000 }),
      fileMax: fc.integer({ min: 2_000, max: 4_000_000 }),
      conntrackMax: fc.option(fc.integer({ min: 100, max: 1_000_000 })),
      memoryAvailableBytes: fc.integer({ min: 0, max: 8 * GIB }),
      lastPort: fc.integer({ min: 32_768, max: 65_535 }),
    });
    const role = fc.constantFrom<DoctorQuestion["role"]>("server", "client", "both");
    const where = fc.constantFrom(null, LOOPBACK, REMOTE, UNIX);
    const processes = fc.option(fc.integer({ min: 1, max: 20 }));
    fc.assert(
      fc.property(arbitraryHost, role, where, processes, (limits, asRole, to, count) => {
        const host: Host = {
          ...HOST,
          ...limits,
          fileLimit: { soft: limits.soft, hard: limits.soft },
          conntrackCount: limits.conntrackMax === null ? null : 20,
          portRange: { first: 32_768, last: limits.lastPort },
        };
        const at = (connections: number | null): ReturnType<typeof examine> =>
          examine(host, { connections, role: asRole, target: to, processes: count });
        const { safeMaximum, boundBy } = at(null);
        if (safeMaximum > 0) expect(at(safeMaximum).exitCode).toBe(0);
        const beyond = at(safeMaximum + 1);
        expect(beyond.exitCode).toBe(99);
        expect(beyond.lines.find(({ level }) => level === "fail")!.name).toBe(boundBy);
        expect(at(2 * safeMaximum + 1).exitCode).toBe(99);
      }),
    );
  });
});

describe("the file limit of a server", () => {
  it("fails where its one process cannot hold them, and names how many could", () => {
    const files = line("files, server", NARROW);
    expect(files).toMatchObject({ level: "fail", found: "20,000", needed: "200,100" });
    expect(files.text).toContain("over 11 server processes");
    expect(files.mend.split("\n")).toEqual([
      "ulimit -n 230000  # as root: beyond the hard limit of 20,000",
      "LimitNOFILE=230000  # for good, of services: [Service] of the systemd unit",
      "printf '%s nofile 230000\\n' '* -' 'root -' >> " +
        "/etc/security/limits.conf  # for good, of logins",
    ]);
  });

  it("is well with as many processes as that", () => {
    expect(line("files, 13 servers", NARROW, { processes: 13 }).level).toBe("ok");
    expect(line("files, 11 servers", NARROW, { processes: 11 }).level).toBe("warn");
    expect(line("files, 10 servers", NARROW, { processes: 10 }).level).toBe("fail");
  });

  it("is raised without root where the hard limit allows it", () => {
    const host = { ...HOST, fileLimit: { soft: 1_024, hard: 524_288 } };
    const { level, found, mend } = line("files, server", host);
    expect([level, found]).toEqual(["fail", "1,024 (hard 524,288)"]);
    expect(mend.split("\n")[0]).toBe("ulimit -Sn 230000");
  });

  it("warns where a Holdfast server would stop at nine tenths of it", () => {
    const host = { ...HOST, fileLimit: { soft: 201_000, hard: 201_000 } };
    expect(line("files, server", host)).toMatchObject({
      level: "warn",
      text: expect.stringContaining("takes 180,900 unless its connection.max is set"),
    });
  });

  it("needs fs.nr_open raised first where that is lower still", () => {
    const host = { ...NARROW, fileLimitMax: 100_000 };
    expect(line("files, server", host).mend).toMatch(
      /^sysctl -w fs.nr_open=230000\n.*\nulimit -n/s,
    );
    expect(line("fs.nr_open", host).level).toBe("fail");
    expect(line("fs.nr_open", host, { processes: 11 }).level).toBe("ok");
  });

  it("is enough where it is unlimited", () => {
    const host = { ...HOST, fileLimit: { soft: Infinity, hard: Infinity } };
    expect(line("files, server", host)).toMatchObject({ level: "ok", found: "unlimited" });
    expect(line("files, probe", host)).toMatchObject({ level: "ok" });
  });
});

describe("the file limit of a probe", () => {
  it("warns where it takes more processes than there are cores, and never fails for that", () => {
    const files = line("files, probe", NARROW, { role: "client", target: LOOPBACK });
    expect(files).toMatchObject({ level: "warn", needed: "18,282 x 11" });
    expect(files.mend.split("\n")[0]).toContain("--generators 11 tcp://127.0.0.1:7400");
    expect(examine(NARROW, question({ role: "client", target: LOOPBACK })).exitCode).toBe(0);
  });

  it("is well where a process for each core will do, or as many as are wanted anyhow", () => {
    expect(line("files, probe", NARROW, { connections: 39_800 }).level).toBe("ok");
    expect(line("files, probe", NARROW, { connections: 39_801 }).level).toBe("warn");
    expect(line("files, probe", NARROW, { role: "client", processes: 11 }).level).toBe("ok");
  });

  it("fails where nothing is left for connections", () => {
    const host = { ...HOST, fileLimit: { soft: 100, hard: 100 } };
    expect(line("files, probe", host, { role: "client", connections: 1 }).level).toBe("fail");
  });
});

describe("the files of the system", () => {
  it("are needed twice where both ends are here", () => {
    const host = { ...HOST, fileMax: 300_000 };
    expect(line("fs.file-max", host, { role: "server" }).level).toBe("ok");
    expect(line("fs.file-max", host)).toMatchObject({
      level: "fail",
      needed: "401,500",
      mend: expect.stringMatching(/^sysctl -w fs.file-max=410000\necho 'fs.file-max = 410000' >>/),
    });
  });
});

describe("the queues before accept()", () => {
  it("warn below 4,096", () => {
    const host = { ...HOST, somaxconn: 128 };
    expect(line("net.core.somaxconn", host)).toMatchObject({
      level: "warn",
      mend:
        "sysctl -w net.core.somaxconn=4096\n" +
        "echo 'net.core.somaxconn = 4096' >> /etc/sysctl.d/90-holdfast.conf  # after a restart too",
    });
  });

  it.each([
    ["1", 128, "ok"],
    ["0", 128, "warn"],
    ["0", 4_096, "ok"],
  ])("count handshakes where tcp_syncookies is %s and the limit %i: %s", (cookies, max, level) => {
    const settings = { "net.ipv4.tcp_syncookies": cookies };
    const host = { ...HOST, synBacklogMax: max, settings };
    expect(line("net.ipv4.tcp_max_syn_backlog", host).level).toBe(level);
  });
});

describe("local addresses and ports", () => {
  const client = { role: "client", target: REMOTE } as const;

  it("are many on IPv4's loopback, and one's ports on IPv6's", () => {
    expect(line("local addresses", HOST, { target: LOOPBACK }).found).toBe("unlimited");
    const six = line("local addresses", HOST, { target: target("tcp://[::1]:1", "::1") });
    expect(six).toMatchObject({ level: "fail", found: "28,232 (one address)" });
    expect(six.mend).toContain("127.0.0.1");
  });

  it("are those of the interface that has most, of the target's family, elsewhere", () => {
    const interfaces = { lo: ["10.1.1.1"], eth0: ["10.0.0.2", "fd00::2", "10.0.0.3"] };
    const host = { ...HOST, interfaces };
    const found = (to: Target): string =>
      line("local addresses", host, { ...client, target: to }).found;
    expect(found(REMOTE)).toBe("56,464 (2 addresses)");
    expect(found(target("tcp://[fd00::9]:1", "fd00::9"))).toBe("28,232 (one address)");
  });

  it.each([
    [14_116, "ok"],
    [14_117, "warn"],
    [28_232, "warn"],
    [28_233, "fail"],
  ])("for %i connections from one address: %s", (connections, level) => {
    expect(line("local addresses", HOST, { ...client, connections }).level).toBe(level);
  });

  it("are fewer by those that are reserved", () => {
    const host = { ...HOST, reservedPorts: [{ first: 33_000, last: 33_999 }] };
    expect(line("local addresses", host, client).found).toBe("27,232 (one address)");
  });

  it("are mended by a wider range while that is enough, and by more addresses beyond", () => {
    const mend = (connections: number): string =>
      line("local addresses", HOST, { ...client, connections }).mend;
    expect(mend(64_512)).toContain('sysctl -w net.ipv4.ip_local_port_range="1024 65535"');
    expect(mend(64_513)).toMatch(/^ip address add .* # one more; and --local-ports 1024-65535$/);
    expect(mend(200_000)).toContain("# 3 more");
  });

  it.each([
    [0, REMOTE, 20_000, "warn"],
    [2, REMOTE, 20_000, "warn"],
    [1, REMOTE, 20_000, "ok"],
    [2, REMOTE, 7_058, "ok"],
    [0, LOOPBACK, 20_000, "ok"],
  ])(
    "may rest in TIME_WAIT with tcp_tw_reuse %i, to %o: %i connections",
    (reuse, to, connections, level) => {
      const host = { ...HOST, timeWaitReuse: reuse };
      const asked = { role: "client", target: to, connections } as const;
      expect(line("net.ipv4.tcp_tw_reuse", host, asked).level).toBe(level);
    },
  );
});

describe("connection tracking", () => {
  it.each([
    [null, null, 10, "ok"],
    [100_000, 0, 10, "ok"],
    [100_000, 5, 10, "fail"],
    [100_000, 0, 0, "fail"],
    [220_000, 5, 10, "warn"],
    [260_000, 5, 10, "ok"],
  ])("with a table of %s, %s of it in use by %i sockets: %s", (max, count, sockets, level) => {
    const host = { ...HOST, conntrackMax: max, conntrackCount: count, tcpSockets: sockets };
    expect(line("net.netfilter", host).level).toBe(level);
  });

  it("is mended together with its buckets", () => {
    const host = { ...HOST, conntrackMax: 1_000, conntrackCount: 1 };
    expect(line("net.netfilter", host).mend.split("\n").slice(0, 2)).toEqual([
      "sysctl -w net.netfilter.nf_conntrack_max=310000",
      "echo 77500 > /sys/module/nf_conntrack/parameters/hashsize",
    ]);
  });
});

describe("memory", () => {
  it("of TCP's buffers warns of bursts, and never fails", () => {
    const host = { ...HOST, tcpMemPages: { low: 287_898, pressure: 383_867, high: 575_796 } };
    expect(line("net.ipv4.tcp_mem", host)).toMatchObject({
      level: "warn",
      needed: "800,100 in a burst",
      text: expect.stringContaining("for 95,966 connections with a page each way at once"),
      mend: expect.stringContaining('sysctl -w net.ipv4.tcp_mem="600075 800100 1200150"'),
    });
    expect(line("net.ipv4.tcp_mem", host, { connections: 95_000 }).level).toBe("ok");
  });

  it("of TCP's buffers is not to be raised beyond half of the host's", () => {
    const tcpMemPages = { low: 10, pressure: 20, high: 30 };
    const host = { ...HOST, tcpMemPages, memoryTotalBytes: 4 * GIB };
    expect(line("net.ipv4.tcp_mem", host)).toMatchObject({
      level: "warn",
      mend: "",
      text: expect.stringContaining("over half of this host's memory"),
    });
  });

  it("is that of both ends, with the kernel's part", () => {
    const bytes = (changes: Partial<DoctorQuestion>): string => line("memory", HOST, changes).text;
    expect(bytes({ role: "both" })).toContain("13,962 bytes a connection");
    expect(bytes({ role: "server" })).toContain("4,718 bytes");
    expect(bytes({ role: "server", target: REMOTE })).toContain("4,045 bytes");
    expect(bytes({ role: "client" })).toContain("9,244 bytes");
    const secure = target("tls://10.9.9.9:1", "10.9.9.9");
    expect(bytes({ role: "client", target: secure })).toContain("TLS takes more");
  });

  it.each([
    [5 * GIB, null, "ok"],
    [3.2 * GIB, null, "warn"],
    [2 * GIB, null, "fail"],
    [22 * GIB, 2 * GIB, "fail"],
    [2 * GIB, 22 * GIB, "fail"],
  ])("of %i bytes, and of a group's %s, is %s", (memoryAvailableBytes, memoryLimitBytes, level) => {
    const found = line("memory", { ...HOST, memoryAvailableBytes, memoryLimitBytes });
    expect(found.level).toBe(level);
    expect(found.text.includes("memory.max")).toBe(memoryLimitBytes === 2 * GIB);
  });
});

describe("cores", () => {
  it("are to be one for each end", () => {
    expect(line("cores", { ...HOST, cores: 1 })).toMatchObject({ level: "warn", needed: "2" });
    expect(line("cores", { ...HOST, cores: 1 }, { role: "client" }).level).toBe("ok");
  });
});

describe("commands", () => {
  const sick: Host = {
    ...NARROW,
    fileMax: 10_000,
    fileLimitMax: 30_000,
    somaxconn: 128,
    synBacklogMax: 128,
    timeWaitReuse: 0,
    conntrackMax: 1_000,
    conntrackCount: 500,
    tcpMemPages: { low: 10, pressure: 20, high: 30 },
    settings: { "net.ipv4.tcp_syncookies": "0" },
  };

  it("are ones that a shell understands", () => {
    const asked = [
      question(),
      question({ role: "client", target: REMOTE }),
      question({ role: "client", target: REMOTE, connections: 50_000 }),
    ];
    const commands = asked.flatMap((one) =>
      examine(sick, one).lines.flatMap(({ mend }) => (mend === "" ? [] : mend.split("\n"))),
    );
    expect(commands.length).toBeGreaterThan(25);
    const { status, stderr } = spawnSync("bash", ["-n"], { input: commands.join("\n") });
    expect([status, String(stderr)]).toEqual([0, ""]);
  });

  it("stand on every line that is not well, but where no command can help", () => {
    const { lines } = examine({ ...sick, memoryAvailableBytes: 1 }, question());
    const bare = lines.filter(({ level, mend }) => level !== "ok" && mend === "");
    expect(bare.map(({ name }) => name)).toEqual(["memory"]);
  });
});

describe("the diagnosis as text", () => {
  const text = diagnosisText(examine(NARROW, question()), 80, false);

  it("says what was asked first and the result last", () => {
    const rows = text.trimEnd().split("\n");
    expect(rows[0]).toBe("doctor: 200,000 connections, as server and client");
    expect(rows.at(-1)).toBe(
      "RESULT NOT FIT: 1 failure, 1 warning. " +
        "Safe maximum as it is now: 19,900 (then: files, server).",
    );
  });

  it("aligns what was found and what is needed", () => {
    const rows = text.split("\n").filter((row) => row.includes("  needed "));
    expect(new Set(rows.map((row) => row.indexOf("  needed "))).size).toBe(1);
  });

  it("wraps words, but no command", () => {
    const narrow = diagnosisText(examine(NARROW, question()), 40, false).split("\n");
    const command = /^ {8}(ulimit|LimitNOFILE|printf|holdfast-probe)/;
    const prose = narrow.filter((row) => /^ {6}\w/.test(row));
    expect(prose.every((row) => row.length <= 60)).toBe(true);
    expect(narrow.filter((row) => command.test(row)).length).toBe(7);
  });

  it("says it in words as well as in colour", () => {
    expect(text).not.toContain("\u001b");
    const coloured = diagnosisText(examine(NARROW, question()), 80, true);
    expect(coloured).toContain("\u001b[31mFAIL\u001b[0m");
    expect(stripVTControlCharacters(coloured)).toBe(text);
  });

  it("says that the safe maximum is the subject where nothing was asked", () => {
    const safe = diagnosisText(
      examine(HOST, question({ connections: null, target: REMOTE })),
      80,
      false,
    );
    expect(safe).toMatch(
      /^doctor: the safe maximum of 28,232 connections, .* \(ws:\/\/10.9.9.9:8080\)/,
    );
    expect(safe).toContain("RESULT FIT");
  });
});
