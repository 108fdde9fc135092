import { spawnSync } from "node:child_process";
import { stripVTControlCharacters } from "node:util";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { runProbeCommandLine } from "../../src/cli/probe-command-line.ts";
import { type DoctorQuestion, diagnosisText, examine } from "../../src/probe/doctor.ts";
import type { Finding, Mend } from "../../src/probe/doctor-check.ts";
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

/** What is to be typed or written, without its explanation. */
function written(mend: readonly Mend[]): string[] {
  return mend.map((one) => ("command" in one ? one.command : one.setting));
}

function names(changes: Partial<DoctorQuestion>): string[] {
  return examine(HOST, question(changes)).lines.map(({ name }) => name);
}

describe("a host that is fit", () => {
  it("has nothing to mend, and exit code 0", () => {
    const diagnosis = examine(HOST, question());
    expect(diagnosis.lines.filter(({ level }) => level !== "ok")).toEqual([]);
    expect(diagnosis.lines.every(({ mend }) => mend.length === 0)).toBe(true);
    expect(diagnosis).toMatchObject({
      schema: "holdfast-probe.doctor/1",
      exitCode: 0,
      connections: 200_000,
      judgedConnections: 200_000,
      safeMaximum: 200_000,
      boundBy: "cores",
      safeMaximumMend: null,
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
      safeMaximum: 200_000,
      boundBy: "cores",
    });
  });

  it("is bound by nothing where there are more cores than anybody asks for", () => {
    const host = { ...HOST, cores: 1_000, memoryAvailableBytes: null, fileMax: null };
    const asked = question({ role: "client", target: LOOPBACK });
    expect(examine(host, asked)).toMatchObject({ safeMaximum: 100_000_000, boundBy: null });
    expect(diagnosisText(examine(host, asked), 80, false)).toContain(
      "100,000,000, bound by nothing that this host tells.",
    );
  });
});

describe("what this host is to be, where nobody says it", () => {
  it.each([
    [null, "both"],
    [LOOPBACK, "both"],
    [target("tcp://[::1]:1", "::1"), "both"],
    [UNIX, "both"],
    [target("tcp://me:1", "10.0.0.2"), "both"],
    [target("tcp://[fd00::2]:1", "fd00::2"), "both"],
    [REMOTE, "client"],
    [target("tcp://[fd00::9]:1", "fd00::9"), "client"],
    [target("tcp://10.0.0.22:1", "10.0.0.22"), "client"],
  ])("with %o as the target: %s", (to, role) => {
    expect(examine(HOST, question({ role: null, target: to })).role).toBe(role);
  });

  it("is what somebody says", () => {
    expect(examine(HOST, question({ role: "both", target: REMOTE })).role).toBe("both");
    expect(examine(HOST, question({ role: "client" })).role).toBe("client");
  });
});

describe("the diagnosis as JSON", () => {
  const unwell = [
    question(),
    question({ connections: null, processes: 3 }),
    question({ role: "client", target: REMOTE, connections: 40_000 }),
  ];

  it.each(unwell)("has lines of one form, whatever is found: %o", (asked) => {
    const { lines } = JSON.parse(JSON.stringify(examine(NARROW, asked))) as { lines: Finding[] };
    for (const one of lines) {
      expect(Object.keys(one)).toEqual(["name", "level", "found", "needed", "text", "mend"]);
      for (const amount of [one.found, one.needed]) {
        if (amount === null) continue;
        expect(Object.keys(amount)).toEqual(["value", "unit"]);
        expect(amount.value === null || Number.isFinite(amount.value)).toBe(true);
      }
      for (const mend of one.mend) {
        expect(Object.keys(mend)).toEqual(["text", "command" in mend ? "command" : "setting"]);
      }
    }
  });

  it("tells unlimited from what there is not", () => {
    const host = { ...HOST, fileLimit: { soft: Infinity, hard: Infinity } };
    const { lines } = JSON.parse(JSON.stringify(examine(host, question()))) as {
      lines: Finding[];
    };
    const foundOf = (name: string): unknown => lines.find((one) => one.name === name)!.found;
    expect(foundOf("files, server")).toEqual({ value: null, unit: "files per process" });
    expect(foundOf("net.netfilter.nf_conntrack_max")).toBeNull();
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
    expect(files).toMatchObject({
      level: "fail",
      found: { value: 20_000, unit: "files per process" },
      needed: { value: 200_100, unit: "files per process" },
    });
    expect(files.text).toContain("over 11 server processes");
    expect(files.mend).toEqual([
      {
        text: "of this shell, as root: it is beyond the hard limit of 20,000",
        command: "ulimit -n 230000",
      },
      {
        text: "for good, of a service: in [Service] of its systemd unit",
        setting: "LimitNOFILE=230000",
      },
      {
        text: "for good, of logins",
        command: "printf '%s nofile 230000\\n' '* -' 'root -' >> /etc/security/limits.conf",
      },
    ]);
  });

  it("is well with as many processes as that", () => {
    expect(line("files, 13 servers", NARROW, { processes: 13 }).level).toBe("ok");
    expect(line("files, 11 servers", NARROW, { processes: 11 }).level).toBe("warn");
    expect(line("files, 10 servers", NARROW, { processes: 10 }).level).toBe("fail");
  });

  it("is raised without root where the hard limit allows it", () => {
    const host = { ...HOST, fileLimit: { soft: 1_024, hard: 524_288 } };
    const { level, text, mend } = line("files, server", host);
    expect(level).toBe("fail");
    expect(text).toContain("the hard one is 524,288");
    expect(mend[0]).toEqual({ text: "of this shell", command: "ulimit -Sn 230000" });
  });

  it("warns where a Holdfast server would stop at nine tenths of it", () => {
    const host = { ...HOST, fileLimit: { soft: 201_000, hard: 201_000 } };
    const { level, mend } = line("files, server", host);
    expect(level).toBe("warn");
    expect(mend[0]).toEqual({
      text: "a Holdfast server takes 180,900 by default, 90% of its files",
      command: "holdfast serve --connection-max 200000",
    });
    expect(line("files, server", host, { connections: 180_900 }).level).toBe("ok");
    expect(line("files, server", host, { connections: 180_901 }).level).toBe("warn");
  });

  it("is one of each process", () => {
    const files = line("files, 11 servers", NARROW, { processes: 11 });
    expect(files.needed!.value).toBe(18_282);
    expect(written(files.mend)[0]).toBe("holdfast serve --connection-max 18182");
  });

  it("needs fs.nr_open raised first where that is lower still", () => {
    const host = { ...NARROW, fileLimitMax: 100_000 };
    const [first, , third] = written(line("files, server", host).mend);
    expect([first, third]).toEqual(["sysctl -w fs.nr_open=230000", "ulimit -n 230000"]);
    expect(line("fs.nr_open", host).level).toBe("fail");
    expect(line("fs.nr_open", host, { processes: 11 }).level).toBe("ok");
  });

  it("is enough where it is unlimited", () => {
    const host = { ...HOST, fileLimit: { soft: Infinity, hard: Infinity } };
    expect(line("files, server", host)).toMatchObject({ level: "ok", found: { value: null } });
    expect(line("files, probe", host)).toMatchObject({ level: "ok" });
  });
});

describe("the file limit of a probe", () => {
  it("warns where it takes more processes than there are cores, and never fails for that", () => {
    const files = line("files, probe", NARROW, { role: "client", target: LOOPBACK });
    expect(files).toMatchObject({ level: "warn", needed: { value: 18_282 } });
    expect(files.text).toContain("starts 11 generator processes");
    // It starts them by itself: nothing but more files is a mend.
    expect(written(files.mend)[0]).toBe("ulimit -n 110000");
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
      needed: { value: 401_500, unit: "files" },
    });
    expect(written(line("fs.file-max", host).mend)).toEqual([
      "sysctl -w fs.file-max=410000",
      "echo 'fs.file-max = 410000' >> /etc/sysctl.d/90-holdfast.conf",
    ]);
  });
});

describe("the queues before accept()", () => {
  it("warn below 4,096", () => {
    const host = { ...HOST, somaxconn: 128 };
    expect(line("net.core.somaxconn", host)).toMatchObject({
      level: "warn",
      found: { value: 128, unit: "connections" },
      needed: { value: 4_096, unit: "connections" },
      mend: [
        {
          text: "as root, until the next start",
          command: "sysctl -w net.core.somaxconn=4096",
        },
        {
          text: "after a restart too",
          command: "echo 'net.core.somaxconn = 4096' >> /etc/sysctl.d/90-holdfast.conf",
        },
      ],
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
    const four = line("local addresses", HOST, { target: LOOPBACK });
    expect(four.found).toEqual({ value: null, unit: "pairs" });
    const six = line("local addresses", HOST, { target: target("tcp://[::1]:1", "::1") });
    expect(six).toMatchObject({ level: "fail", found: { value: 28_232, unit: "pairs" } });
    expect(six.text).toContain("from 28,232 ports of one address");
    expect(written(six.mend)).toEqual(["tcp://127.0.0.1:1"]);
  });

  it("are those of the interface that has most, of the target's family, elsewhere", () => {
    const interfaces = { lo: ["10.1.1.1"], eth0: ["10.0.0.2", "fd00::2", "10.0.0.3"] };
    const host = { ...HOST, interfaces };
    const found = (to: Target): number | null =>
      line("local addresses", host, { ...client, target: to }).found!.value;
    expect(found(REMOTE)).toBe(56_464);
    expect(found(target("tcp://[fd00::9]:1", "fd00::9"))).toBe(28_232);
    expect(line("local addresses", host, client).text).toContain("of each of 2 addresses");
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
    expect(line("local addresses", host, client).found!.value).toBe(27_232);
  });

  it("are mended by a wider range while that is enough, and by more addresses beyond", () => {
    const mend = (connections: number): readonly Mend[] =>
      line("local addresses", HOST, { ...client, connections }).mend;
    expect(written(mend(64_512)).slice(0, 2)).toEqual([
      "holdfast-probe capacity --local-ports 1024-65535 ws://10.9.9.9:8080",
      'sysctl -w net.ipv4.ip_local_port_range="1024 65535"',
    ]);
    expect(mend(64_513)).toEqual([
      {
        text: "as root: one more, and --local-ports 1024-65535 of holdfast-probe",
        command: "ip address add ADDRESS/PREFIX dev INTERFACE",
      },
    ]);
    expect(mend(200_000)[0]!.text).toContain("3 more");
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
    expect(written(line("net.netfilter", host).mend).slice(0, 2)).toEqual([
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
      found: { value: 383_867, unit: "pages" },
      needed: { value: 800_100, unit: "pages" },
      text: expect.stringContaining("for 95,966 connections with a page each way at once"),
    });
    expect(written(line("net.ipv4.tcp_mem", host).mend)[0]).toBe(
      'sysctl -w net.ipv4.tcp_mem="600075 800100 1200150"',
    );
    expect(line("net.ipv4.tcp_mem", host, { connections: 95_000 }).level).toBe("ok");
  });

  it("of TCP's buffers is not to be raised beyond half of the host's", () => {
    const tcpMemPages = { low: 10, pressure: 20, high: 30 };
    const host = { ...HOST, tcpMemPages, memoryTotalBytes: 4 * GIB };
    expect(line("net.ipv4.tcp_mem", host)).toMatchObject({
      level: "warn",
      mend: [],
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
    const host = { ...HOST, cores: 1 };
    const few = { connections: 100_000 };
    expect(line("cores", host, few)).toMatchObject({
      level: "warn",
      found: { value: 1, unit: "cores" },
      needed: { value: 2, unit: "cores" },
    });
    expect(line("cores", host, { ...few, role: "client" }).level).toBe("ok");
  });

  it.each([
    ["server", null, 200_000, "ok"],
    ["server", null, 200_001, "fail"],
    ["server", 2, 400_000, "ok"],
    ["server", 2, 400_001, "fail"],
    // Four cores have no use for more processes than that.
    ["server", 9, 800_001, "fail"],
    ["client", 4, 800_000, "ok"],
    ["client", 4, 800_001, "fail"],
    ["both", 2, 400_000, "ok"],
    ["both", 4, 400_001, "fail"],
  ] as const)(
    "drive 200,000 each: as %s, with %s processes, %i connections: %s",
    (role, processes, connections, level) => {
      expect(line("cores", HOST, { role, processes, connections }).level).toBe(level);
    },
  );

  it("are of use to a probe that has a process for each", () => {
    const asked = { role: "client", target: LOOPBACK, connections: 500_000 } as const;
    const cores = line("cores", HOST, asked);
    expect(cores).toMatchObject({ level: "warn" });
    expect(written(cores.mend)).toEqual([
      "holdfast-probe capacity --generators 3 tcp://127.0.0.1:7400",
    ]);
    expect(line("cores", HOST, { ...asked, processes: 3 }).level).toBe("ok");
  });

  it("say how many server processes it takes, where there are so many cores", () => {
    const text = (connections: number): string =>
      line("cores", HOST, { role: "server", connections }).text;
    expect(text(800_000)).toContain("spread them over 4 processes");
    expect(text(800_001)).not.toContain("spread");
  });

  it("bound the safe maximum of a probe with files and memory in plenty", () => {
    const asked = question({ role: "client", target: LOOPBACK, connections: null });
    expect(examine({ ...NARROW, memoryAvailableBytes: 99 * GIB }, asked)).toMatchObject({
      safeMaximum: 400_000,
      boundBy: "cores",
    });
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
      examine(sick, one).lines.flatMap(({ mend }) => written(mend)),
    );
    expect(commands.length).toBeGreaterThan(25);
    const { status, stderr } = spawnSync("bash", ["-n"], { input: commands.join("\n") });
    expect([status, String(stderr)]).toEqual([0, ""]);
  });

  it("stand on every line that is not well, but where no command can help", () => {
    const { lines } = examine({ ...sick, memoryAvailableBytes: 1 }, question());
    const bare = lines.filter(({ level, mend }) => level !== "ok" && mend.length === 0);
    expect(bare.map(({ name }) => name)).toEqual(["memory"]);
  });
});

describe("the diagnosis as text", () => {
  const text = diagnosisText(examine(NARROW, question()), 80, false);

  it("says what was asked first and the result last, with what the safe maximum takes", () => {
    const rows = text.trimEnd().split("\n");
    expect(rows[0]).toBe("doctor: 200,000 connections, as server and client");
    expect(rows.slice(-2)).toEqual([
      "RESULT NOT FIT: 1 failure, 1 warning. " +
        'Safe maximum as it is now: 19,900, bound by "files, server".',
      "  holdfast serve --connection-max 19900  " +
        "# a Holdfast server takes 18,000 by default, 90% of its files",
    ]);
  });

  it("says once what the safe maximum takes, where it is the subject", () => {
    const safe = diagnosisText(examine(NARROW, question({ connections: null })), 80, false);
    expect(safe.match(/holdfast serve --connection-max 19900/g)).toHaveLength(1);
    expect(safe.trimEnd().split("\n").at(-1)).toMatch(/^RESULT FIT, with 1 warning\. /);
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
    expect(narrow.filter((row) => command.test(row)).length).toBe(6);
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
    expect(safe).toMatch(/^doctor: 28,232 connections, .* \(ws:\/\/10.9.9.9:8080\)\nNo number was/);
    expect(safe).toContain("RESULT FIT");
  });
});

describe("the command line", () => {
  async function said(
    ...args: readonly string[]
  ): Promise<[code: number, out: string, error: string]> {
    let out = "";
    let error = "";
    const code = await runProbeCommandLine(args, {
      env: {},
      isInteractive: false,
      isErrorInteractive: false,
      columns: 100,
      write: (text) => {
        out += text;
      },
      writeError: (text) => {
        error += text;
      },
    });
    return [code, out, error];
  }

  it.each([
    [["bogus", "--help"]],
    [["bogus", "-h"]],
    [["help", "bogus"]],
    [["bogus", "tcp://127.0.0.1:1", "--json", "--help"]],
  ])("knows no such command, whether or not help is asked for: %j", async (args) => {
    const error = "error: unknown command 'bogus'\nSee: holdfast-probe --help\n";
    expect(await said(...args)).toEqual([2, "", error]);
  });

  it.each([
    [["capacity"], "capacity"],
    [["load"], "load"],
    [["load", "tcp://127.0.0.1:1", "--rat", "5"], "load"],
    [["doctor", "--as", "spectator"], "doctor"],
  ])("says where help is after an error: %j", async (args, command) => {
    const [code, out, error] = await said(...args);
    expect([code, out]).toEqual([2, ""]);
    expect(error).toMatch(new RegExp(`\\nSee: holdfast-probe ${command} --help\\n$`));
  });

  it.each([[["--help"]], [["help"]], [["doctor", "--help"]], [["help", "doctor"]]])(
    "gives help where it is asked for: %j",
    async (args) => {
      const [code, out, error] = await said(...args);
      expect([code, error]).toEqual([0, ""]);
      expect(out).toContain("Usage: holdfast-probe");
    },
  );

  it("judges this host as a client of a target elsewhere, unless told otherwise", async () => {
    const roleOf = async (...more: readonly string[]): Promise<string> => {
      const [, out] = await said("doctor", "--json", "-c", "10", ...more);
      return (JSON.parse(out) as { role: string }).role;
    };
    expect(await roleOf()).toBe("both");
    expect(await roleOf("tcp://127.0.0.1:7400")).toBe("both");
    expect(await roleOf("tcp://192.0.2.1:7400")).toBe("client");
    expect(await roleOf("tcp://192.0.2.1:7400", "--as", "both")).toBe("both");
  });
});
