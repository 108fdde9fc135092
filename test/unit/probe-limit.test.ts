import { describe, expect, it } from "vitest";
import { failureFacts } from "../../src/probe/failure.ts";
import { classifyLimit } from "../../src/probe/limit.ts";
import type { Evidence, HostEvidence, ServerEvidence } from "../../src/probe/limit-evidence.ts";
import type { ProcessSample } from "../../src/probe/process-sample.ts";
import {
  DEATH_AGES_MS,
  type DeathCount,
  type FailureCount,
  type Limit,
  type ThresholdResult,
} from "../../src/probe/report.ts";
import type { FailedSource } from "../../src/probe/server-watch.ts";
import { processSample, serverSample } from "../support/server-sample.ts";

const GIB = 1_073_741_824;
const URL = "http://127.0.0.1:7402/stats";

const NO_HOST: HostEvidence = {
  memoryAvailableBytes: null,
  memoryTotalBytes: null,
  memoryMaxBytes: null,
  listenOverflows: null,
  listenDrops: null,
  conntrackCount: null,
  conntrackMax: null,
};
const NO_GENERATOR = { fds: null, fdLimit: null, sourcesFree: null, boundReasons: [] };

type Changes = Partial<Omit<Evidence, "failures" | "deaths" | "host" | "generator" | "server">> & {
  readonly failures?: Readonly<Record<string, number>>;
  /** By code, with the age in milliseconds of all of them. */
  readonly deaths?: Readonly<Record<string, readonly [count: number, ageMs: number]>>;
  readonly host?: Partial<HostEvidence>;
  readonly generator?: Partial<Evidence["generator"]>;
  readonly server?: ServerEvidence | null;
};

/** A level that was to go from 4,000 to 8,000 connections at 2,000 a second, and got stuck. */
function evidence(changes: Changes = {}): Evidence {
  const { failures = {}, deaths = {}, host, generator, ...rest } = changes;
  const failed = Object.values(failures).reduce((total, count) => total + count, 0);
  const succeeded = Math.max(0, 4_000 - failed);
  return {
    connections: { intended: 8_000, held: 4_000 + succeeded, heldBefore: 4_000 },
    attempts: { scheduled: 4_000, started: 4_000, succeeded },
    connectsPerSecond: { asked: 2_000, reached: 1_990 },
    connectMs: { count: succeeded, p50: 1, p99: 9, max: 30 },
    missed: [],
    isLocal: false,
    server: null,
    ...rest,
    failures: Object.entries(failures).map(([code, count]) => failureCount(code, count)),
    deaths: Object.entries(deaths).map(([code, [count, ageMs]]) => deathCount(code, count, ageMs)),
    host: { ...NO_HOST, ...host },
    generator: { ...NO_GENERATOR, ...generator },
  };
}

function failureCount(code: string, count: number): FailureCount {
  const { phase, cause, party } = failureFacts(code);
  return { code, phase, cause, party, count };
}

function deathCount(code: string, count: number, ageMs: number): DeathCount {
  const byAge = new Array<number>(DEATH_AGES_MS.length + 1).fill(0);
  const index = DEATH_AGES_MS.findIndex((age) => ageMs <= age);
  byAge[index === -1 ? DEATH_AGES_MS.length : index] = count;
  return { code, party: failureFacts(code).party, count, byAge };
}

/** One process, healthy before the level and changed in both samples of it. */
function watched(
  changes: Partial<ProcessSample>,
  failed: readonly FailedSource[] = [],
): ServerEvidence {
  const after = failed.length > 0 ? [] : [processSample(changes)];
  return {
    before: serverSample(0, [processSample()]),
    samples: [serverSample(1_000, [processSample(changes)]), serverSample(2_000, after, failed)],
  };
}

function workers(...changes: readonly Partial<ProcessSample>[]): ServerEvidence {
  const processes = changes.map((change, index) => {
    return processSample({ source: `pid ${index + 1}`, pid: index + 1, ...change });
  });
  return {
    before: null,
    samples: [serverSample(1_000, processes), serverSample(2_000, processes)],
  };
}

function missed(
  metric: string,
  text: string,
  actual: number | null,
  unit: string,
): ThresholdResult {
  return { text, metric, actual, limit: 0, unit, passed: false, worstAtMs: null };
}

const ECHO = missed("echo", "echo:p(99)<50ms", 81.23, "ms");
const CONNECT = missed("connect", "connect:p(99)<250ms", 612, "ms");

function named(limit: Limit): string {
  return `${limit.kind} (${limit.party}, ${limit.confidence}): ${limit.text}`;
}

const limitOf = (changes: Changes): string => named(classifyLimit(evidence(changes)));

describe("the probe's own limits", () => {
  it.each<[string, Changes, string]>([
    [
      "no free port",
      { failures: { "connect.local_exhausted": 512 }, generator: { sourcesFree: 0 } },
      "ports (prober, certain): the probe's local ports: 512 connects found no free address and " +
        "port",
    ],
    [
      "no file, and how many there are is known",
      { failures: { "prober.fd": 2_000 }, generator: { fds: 20_000, fdLimit: 20_000 } },
      "generator-files (prober, certain): the probe's own file limit: 20,000 of 20,000 files " +
        "in use",
    ],
    [
      "no file, and how many there are is not known",
      { failures: { "prober.fd": 2_000 } },
      "generator-files (prober, certain): the probe's own file limit: 2,000 connects found none " +
        "free",
    ],
    [
      "late and busy",
      { generator: { boundReasons: ["lateness p99 12 ms (limit 5 ms)", "loop 91%"] } },
      "generator (prober, certain): the probe itself: lateness p99 12 ms (limit 5 ms) and loop 91%",
    ],
    [
      "no buffers in its kernel",
      { failures: { "prober.memory": 100 } },
      "generator (prober, certain): the probe's kernel: it had no buffers for 100 connects",
    ],
  ])("%s", (_, changes, expected) => {
    expect(limitOf(changes)).toBe(expected);
  });

  it("win over everything that the server could be blamed for", () => {
    const blame: Changes = {
      failures: { "hello.refused.3004": 500, "connect.timeout": 500, "connect.refused": 500 },
      missed: [ECHO, CONNECT],
      connectsPerSecond: { asked: 2_000, reached: 100 },
      connectMs: { count: 100, p50: 900, p99: 7_000, max: 7_000 },
      server: watched({ fds: 20_000, cpuCores: 1, loopLagP99Ms: 900, isAccepting: false }),
      isLocal: true,
      host: { memoryAvailableBytes: 1, memoryTotalBytes: GIB, listenOverflows: 1_000 },
    };
    expect(classifyLimit(evidence(blame)).party).toBe("server");
    const generator = { boundReasons: ["loop 91%"] };
    expect(classifyLimit(evidence({ ...blame, generator })).kind).toBe("generator");
    const failures = { ...blame.failures, "connect.local_exhausted": 500 };
    expect(classifyLimit(evidence({ ...blame, failures, generator })).kind).toBe("ports");
  });
});

describe("a server that dies", () => {
  const gone: FailedSource = { source: URL, kind: "gone", why: "process 4711 has gone" };
  const closed: FailedSource = { source: URL, kind: "refused", why: "nothing listens there" };
  const silent: FailedSource = { source: URL, kind: "silent", why: "no answer within 2 s" };

  it("is known by its process, with what it last used", () => {
    const limit = classifyLimit(
      evidence({
        deaths: { "closed.reset": [4_000, 20_000] },
        server: watched({ rssBytes: 2 * GIB, fds: 8_020 }, [gone]),
      }),
    );
    expect(named(limit)).toBe(
      "server-died (server, certain): the server died: process 4711 has gone",
    );
    expect(limit.evidence[0]).toBe(`${URL}, at last: 2 GiB resident, 8,020 of 20,000 files in use`);
    expect(limit.advice).toContain("dmesg");
  });

  it("is known by another process that answers in its place", () => {
    expect(limitOf({ server: watched({ pid: 4_800 }) })).toBe(
      "server-died (server, certain): the server died: process 4711 was replaced by process 4800",
    );
  });

  it("is known by figures and connections that are both refused", () => {
    const failures = { "connect.refused": 3_000 };
    expect(limitOf({ failures, server: watched({}, [closed]) })).toBe(
      `server-died (server, certain): the server died: ${URL}: nothing listens there`,
    );
  });

  it("is likely where its figures fall silent and its connections end", () => {
    const deaths = { "closed.timeout": [4_000, 20_000] } as const;
    expect(limitOf({ deaths, server: watched({}, [silent]) })).toBe(
      `server-died (server, likely): the server went away, it seems: ${URL}: no answer within 2 s`,
    );
  });

  it("is likely where all connections end and new ones are refused, and it is not watched", () => {
    const deaths = { "closed.reset": [3_998, 20_000] } as const;
    expect(limitOf({ deaths, failures: { "connect.refused": 4_000 } })).toBe(
      "server-died (server, likely): the server went away, it seems: " +
        "3,998 of 4,000 held connections ended and new ones are refused",
    );
  });

  it("is one of several", () => {
    const all = [1, 2, 3].map((pid) => processSample({ source: `pid ${pid}`, pid }));
    const failed: FailedSource = { source: "pid 3", kind: "gone", why: "process 3 has gone" };
    const server = {
      before: serverSample(0, all),
      samples: [serverSample(1_000, all.slice(0, 2), [failed])],
    };
    expect(limitOf({ server, deaths: { "closed.reset": [1_300, 5_000] } })).toBe(
      "server-died (server, certain): 1 of 3 server processes died (process 3 has gone)",
    );
  });

  it.each<[string, FailedSource]>([
    ["refused", closed],
    ["silent", silent],
  ])("is not dead because its figures are %s while its connections do well", (_, failed) => {
    expect(limitOf({ missed: [ECHO], server: watched({}, [failed]) })).toContain("objective");
  });
});

describe("a server out of files", () => {
  it.each<[string, Changes, string]>([
    [
      "is named by the figure",
      {
        failures: { "connect.reset": 3_021 },
        server: watched({ fds: 4_998, fdLimit: 5_000 }),
      },
      "server-files (server, certain): the server's file limit: 4,998 of 5,000 files in use",
    ],
    [
      "is named by 99.9% of many files",
      {
        deaths: { "closed.fin": [900, 40] },
        server: watched({ fds: 99_900, fdLimit: 100_000 }),
      },
      "server-files (server, certain): the server's file limit: 99,900 of 100,000 files in use",
    ],
    [
      "is named where it stops accepting to keep some files",
      {
        failures: { "connect.refused": 3_090 },
        server: watched({ fds: 4_936, fdLimit: 5_000, isAccepting: false }),
      },
      "server-files (server, certain): the server's file limit: 4,936 of 5,000 files in use, and " +
        "it has stopped accepting",
    ],
    [
      "is named with what is known of it where its count is older than its connections",
      {
        failures: { "connect.refused": 3_090 },
        server: watched({ fds: 23, fdLimit: 5_000, connections: 4_910, isAccepting: false }),
      },
      "server-files (server, certain): the server's file limit: at least 4,910 of 5,000 files in " +
        "use, and it has stopped accepting",
    ],
    [
      "is named where it stops accepting and does not count its files",
      {
        failures: { "connect.refused": 3_090 },
        server: watched({ fds: null, fdLimit: null, isAccepting: false }),
      },
      "server-files (server, certain): the server's file limit: it has stopped accepting to keep " +
        "some free",
    ],
    [
      "is two of four workers, of which the fullest is named",
      {
        failures: { "hello.closed": 900 },
        server: workers({ fds: 4_999, fdLimit: 5_000 }, {}, { fds: 5_000, fdLimit: 5_000 }, {}),
      },
      "server-files (server, certain): the server's file limit: 2 of 4 processes are full " +
        "(pid 3: 5,000 of 5,000 files in use)",
    ],
    [
      "is likely where new connections are closed at once while the others stay",
      { failures: { "hello.closed": 1_000 }, deaths: { "closed.fin": [2_000, 90] } },
      "server-files (server, likely): the server's file limit, it seems: 3,000 new connections " +
        "were cut off at once while 7,000 stay",
    ],
    [
      "is likely where new connections are refused while the others stay",
      { failures: { "connect.refused": 3_021 } },
      "server-files (server, likely): the server's file limit, it seems: 3,021 new connections " +
        "were cut off at once while 4,979 stay",
    ],
    [
      "is a limit of its own where it has files left",
      { failures: { "hello.closed": 3_021 }, server: watched({ isAccepting: null, fds: 4_999 }) },
      "policy (server, likely): a limit of the server's own, it seems: 3,021 new connections " +
        "were cut off at once while 4,979 stay, though it has files left",
    ],
  ])("%s", (_, changes, expected) => {
    expect(limitOf(changes)).toBe(expected);
  });

  it("was so within the level, though it is no more at the end", () => {
    const samples = [
      serverSample(1_000, [processSample({ fds: 19_999 })]),
      serverSample(2_000, [processSample({ fds: 12_000 })]),
    ];
    const server = { before: null, samples };
    expect(limitOf({ failures: { "connect.reset": 100 }, server })).toContain("19,999 of 20,000");
  });

  it("asks for the server's figures where it has none", () => {
    const limit = classifyLimit(evidence({ failures: { "connect.refused": 3_021 } }));
    expect(limit.advice).toContain("--server-stats");
  });

  it("is not the limit where every connection is held", () => {
    const server = watched({ fds: 20_000 });
    expect(limitOf({ missed: [ECHO], server })).not.toContain("server-files");
  });
});

describe("a refusal by policy", () => {
  it.each<[string, Changes, string]>([
    ["hello.refused.3004", {}, "refused by policy: GoAway 3004 (overloaded)"],
    ["hello.refused.3006", {}, "refused by policy: GoAway 3006 (rate_limited)"],
    ["hello.refused.3503", {}, "refused by policy: GoAway 3503 (unauthenticated)"],
    ["hello.refused.16", {}, "refused by policy: status 16 (UNAUTHENTICATED)"],
    ["upgrade.status.403", {}, "refused by policy: HTTP status 403 (forbidden)"],
    ["upgrade.status.429", {}, "refused by policy: HTTP status 429 (too many requests)"],
    ["upgrade.status.503", {}, "refused by policy: HTTP status 503 (service unavailable)"],
  ])("%s is named", (code, changes, expected) => {
    const failures = { [code]: 1_000, "connect.timeout": 400 };
    expect(limitOf({ ...changes, failures })).toBe(`policy (server, certain): ${expected}`);
  });

  it.each([
    ["closed.code.3004", "ended by policy: close code 3004 (overloaded)"],
    ["closed.code.3001", "ended by policy: close code 3001 (idle_timeout)"],
    ["closed.code.3000", "ended by policy: close code 3000 (shutdown)"],
  ])("%s ends what was held", (code, expected) => {
    const limit = classifyLimit(evidence({ deaths: { [code]: [700, 60_000] } }));
    expect(named(limit)).toBe(`policy (server, certain): ${expected}`);
    expect(limit.advice).not.toBe("");
  });

  it.each([
    "hello.refused.3008",
    "hello.refused.3500",
    "hello.refused.13",
    "upgrade.status.404",
    "upgrade.status.500",
    "closed.code.1006",
    "closed.code.3002",
    "closed.code.4000",
  ])("is not what %s says", (code) => {
    expect(limitOf({ failures: { [code]: 1_000 } })).toContain("unknown");
  });

  it("is named by the single connection that was one too many", () => {
    const attempts = { scheduled: 30, started: 30, succeeded: 29 };
    const failures = { "hello.refused.3004": 1 };
    const errors = missed("errors", "errors<0.1%", 0.033, "ratio");
    expect(limitOf({ failures, attempts })).toContain("policy");
    expect(limitOf({ failures, attempts, missed: [errors] })).toContain("policy");
  });

  it("is not blamed for a missed latency because of a stray", () => {
    const deaths = { "closed.code.3001": [2, 60_000] } as const;
    expect(limitOf({ deaths, missed: [ECHO] })).toContain("objective");
  });

  it("shows the maximum that the server allows itself", () => {
    const server = watched({ connections: 3_000, connectionsMax: 3_000 });
    const limit = classifyLimit(evidence({ failures: { "hello.refused.3004": 5_000 }, server }));
    expect(limit.evidence[0]).toBe(`${URL}: 3,000 connections, 3,000 served`);
    expect(limit.advice).toContain("connection.max");
  });

  it("is named although files are at 99%, or full, as the server said it in words", () => {
    for (const fds of [19_800, 20_000]) {
      const failures = { "hello.refused.3004": 2_000 };
      expect(limitOf({ failures, server: watched({ fds }) })).toContain("policy");
    }
  });

  it("is not blamed for a wall of another kind in which a few were refused", () => {
    const failures = { "hello.refused.3004": 20, "connect.reset": 2_000 };
    expect(limitOf({ failures, server: watched({ fds: 20_000 }) })).toContain("server-files");
  });

  it("is known by the server's count where the probe does not know the words", () => {
    const deaths = { "closed.fin": [1_000, 50] } as const;
    expect(limitOf({ deaths, server: watched({ refused: 1_000 }) })).toBe(
      "policy (server, certain): refused by policy: the server turned 1,000 connections " +
        "away as full",
    );
    // What it turned away before the level does not count.
    const before = serverSample(0, [processSample({ refused: 1_000 })]);
    const samples = [serverSample(1_000, [processSample({ refused: 1_000, fds: 20_000 })])];
    expect(limitOf({ deaths, server: { before, samples } })).toContain("server-files");
  });
});

describe("the machine", () => {
  it("tracks no more connections", () => {
    const host = { conntrackCount: 262_100, conntrackMax: 262_144 };
    expect(limitOf({ failures: { "connect.timeout": 900 }, host })).toBe(
      "conntrack (network, certain): this machine's connection tracking: " +
        "262,100 of 262,144 entries in use",
    );
    expect(limitOf({ missed: [ECHO], host })).toContain("objective");
    const roomy = { conntrackCount: 100_000, conntrackMax: 262_144 };
    expect(limitOf({ failures: { "connect.timeout": 900 }, host: roomy })).not.toContain("track");
  });

  it("has no memory left, where the server runs on it", () => {
    const host = { memoryAvailableBytes: 0.3 * GIB, memoryTotalBytes: 15.6 * GIB };
    const failures = { "hello.timeout": 900 };
    expect(limitOf({ failures, host, isLocal: true })).toBe(
      "server-memory (server, certain): the memory of the server's machine: " +
        "307 MiB of 15.6 GiB are left",
    );
    expect(limitOf({ failures, host, isLocal: false })).not.toContain("memory");
  });

  it("gives the server no more than its control group may use", () => {
    const changes = { failures: { "hello.timeout": 900 }, isLocal: true };
    const host = { memoryMaxBytes: 2 * GIB };
    expect(limitOf({ ...changes, host, server: watched({ rssBytes: 1.95 * GIB }) })).toBe(
      "server-memory (server, certain): the server's memory: " +
        "1.95 GiB of 2 GiB that its control group may use",
    );
    const server = watched({ rssBytes: 1.5 * GIB });
    expect(limitOf({ ...changes, host, server })).not.toContain("memory");
  });
});

describe("a server whose CPU is used up", () => {
  it.each<[string, Changes]>([
    ["and an objective is missed", { missed: [ECHO] }],
    ["and handshakes time out", { failures: { "hello.timeout": 300 } }],
    ["and echoes time out", { failures: { "echo.timeout": 300 } }],
    ["and it accepts slowly", { connectsPerSecond: { asked: 2_000, reached: 210 } }],
  ])("%s", (_, changes) => {
    expect(limitOf({ ...changes, server: watched({ cpuCores: 0.98 }) })).toBe(
      "server-cpu (server, certain): the server's CPU: its process uses 0.98 cores",
    );
  });

  it("is not the limit where nothing is slow", () => {
    const server = watched({ cpuCores: 1 });
    expect(limitOf({ failures: { "hello.malformed": 900 }, server })).toContain("unknown");
  });

  it("is likely where it was so for one sample of many, or may have more threads", () => {
    const idle = processSample();
    const once = [1, 2, 3].map((second) => serverSample(second * 1_000, [idle]));
    const busy = serverSample(4_000, [processSample({ cpuCores: 0.95 })]);
    const samples = [...once, busy];
    expect(limitOf({ missed: [ECHO], server: { before: null, samples } })).toContain("likely");
    const server = watched({ cpuCores: 0.95, loopLagP99Ms: null });
    expect(limitOf({ missed: [ECHO], server })).toContain("server-cpu (server, likely)");
  });

  it("is some of several workers", () => {
    const server = workers({ cpuCores: 0.99 }, { cpuCores: 0.2 }, { cpuCores: 0.97 });
    expect(limitOf({ missed: [ECHO], server })).toBe(
      "server-cpu (server, certain): the server's CPU: 2 of 3 processes use a core or more " +
        "(0.99 and 0.97)",
    );
  });

  it("is likely where its event loop is late", () => {
    expect(limitOf({ missed: [ECHO], server: watched({ loopLagP99Ms: 200 }) })).toBe(
      "server-cpu (server, likely): the server's event loop: 1 of 100 ticks is 200ms late",
    );
    expect(limitOf({ missed: [ECHO], server: watched({ loopLagP99Ms: 20 }) })).toContain("objec");
  });
});

describe("a server that accepts slowly", () => {
  const slow = { connectsPerSecond: { asked: 2_000, reached: 210 } };

  it("is named with both rates, and the kernel's drops are shown", () => {
    const host = { listenOverflows: 1_200, listenDrops: 1_234 };
    const limit = classifyLimit(evidence({ ...slow, isLocal: true, host }));
    expect(named(limit)).toBe(
      "accept-rate (server, certain): the server accepted 210 connects/s of 2,000/s asked",
    );
    expect(limit.evidence).toContain("accept queues: 1,200 overflows, 1,234 drops");
  });

  it("is likely where the network between could be slow as well", () => {
    expect(limitOf(slow)).toContain("accept-rate (server, likely)");
  });

  it.each<[string, Changes, string]>([
    [
      "SYNs that are sent again",
      { connectMs: { count: 4_000, p50: 2, p99: 3_021, max: 7_030 } },
      "1 of 100 connects took 3.02s while others do well",
    ],
    [
      "handshakes that time out",
      { failures: { "connect.timeout": 100, "hello.timeout": 200, "upgrade.timeout": 12 } },
      "312 handshakes timed out while others do well",
    ],
  ])("is likely by %s", (_, changes, expected) => {
    expect(limitOf(changes)).toBe(
      `accept-rate (server, likely): the rate at which the server accepts, it seems: ${expected}`,
    );
  });

  it("is a backlog too short where the kernel drops connects although the rate is kept", () => {
    const changes = { isLocal: true, host: { listenOverflows: 1_234 } };
    const expected =
      "backlog (server, certain): the server's accept queue in the kernel: " +
      "1,234 connects were dropped";
    expect(limitOf({ ...changes, missed: [CONNECT] })).toBe(expected);
    expect(limitOf({ ...changes, failures: { "connect.timeout": 100 } })).toBe(expected);
    // Elsewhere the counters are another machine's, and an echo has nothing to do with them.
    expect(limitOf({ ...changes, isLocal: false, missed: [CONNECT] })).toContain("objective");
    expect(limitOf({ ...changes, missed: [ECHO] })).toContain("objective");
  });

  it("is not what a rate says that was measured over a moment", () => {
    const attempts = { scheduled: 20, started: 20, succeeded: 20 };
    expect(limitOf({ ...slow, attempts, missed: [ECHO] })).toContain("objective");
  });

  it("is not what a low rate says where attempts fail at once", () => {
    const failures = { "tls.verify": 4_000 };
    const changes = { failures, connectsPerSecond: { asked: 2_000, reached: 0 } };
    expect(limitOf(changes)).toBe(
      "unknown (server, likely): unknown; what failed: tls.verify 4,000",
    );
  });

  it("is not what timeouts say where those that are up do badly too", () => {
    const failures = { "hello.timeout": 300, "echo.timeout": 900 };
    expect(limitOf({ failures })).toContain("unknown");
  });
});

describe("an objective", () => {
  it.each<[readonly ThresholdResult[], string]>([
    [[ECHO], "the objective echo:p(99)<50ms (81.2ms)"],
    [[ECHO, CONNECT], "the objectives echo:p(99)<50ms (81.2ms) and connect:p(99)<250ms (612ms)"],
    [[missed("rate", "rate>=49k", 12_345.6, "per_second")], "the objective rate>=49k (12,346/s)"],
    [[missed("held", "held>=8k", 7_000, "count")], "the objective held>=8k (7,000)"],
    [
      [missed("echo", "echo:avg<1ms", null, "ms")],
      "the objective echo:avg<1ms (nothing was measured)",
    ],
  ])("is named with what it came to", (objectives, expected) => {
    expect(limitOf({ missed: objectives })).toBe(`objective (server, certain): ${expected}`);
  });

  it("about errors is told with what failed", () => {
    const objectives = [missed("errors", "errors<0.1%", 0.0123, "ratio")];
    expect(limitOf({ missed: objectives, failures: { "hello.malformed": 49 } })).toBe(
      "objective (server, certain): the objective errors<0.1% (1.23%; hello.malformed 49)",
    );
  });

  it("is the limit although a few connections were reset, as some always are", () => {
    const failures = { "connect.reset": 3, "connect.refused": 1, "prober.fd": 1 };
    const deaths = { "closed.reset": [4, 20_000] } as const;
    expect(limitOf({ missed: [ECHO], failures, deaths })).toContain("objective");
  });
});

describe("what nothing explains", () => {
  it.each<[string, Changes, string]>([
    ["nothing at all", {}, "unknown (server, likely): unknown, for nothing failed"],
    [
      "a few resets",
      { failures: { "connect.reset": 3 } },
      "unknown (server, likely): unknown; what failed: connect.reset 3",
    ],
    [
      "deaths of one age",
      { deaths: { "closed.timeout": [900, 60_000] }, failures: { "connect.unreachable": 12 } },
      "unknown (network, likely): unknown; what failed: closed.timeout 900, connect.unreachable 12",
    ],
    [
      "a target where nothing listens",
      {
        connections: { intended: 1_000, held: 0, heldBefore: 0 },
        failures: { "connect.refused": 1_000 },
      },
      "unknown (server, likely): unknown; what failed: connect.refused 1,000",
    ],
    [
      "more kinds than a sentence holds",
      {
        failures: {
          "hello.malformed": 60,
          "upgrade.bad_accept": 50,
          "tls.verify": 40,
          "upgrade.bad_response": 30,
          "connect.other": 20,
          "tls.alert.40": 10,
        },
      },
      "unknown (server, likely): unknown; what failed: hello.malformed 60, upgrade.bad_accept " +
        "50, tls.verify 40, upgrade.bad_response 30, connect.other 20, 1 more",
    ],
  ])("is said to be unknown: %s", (_, changes, expected) => {
    expect(limitOf(changes)).toBe(expected);
  });

  it("leads to the server's figures, if there are none", () => {
    expect(classifyLimit(evidence()).advice).toContain("--server-stats");
    expect(classifyLimit(evidence({ server: watched({}) })).advice).toBe("");
  });
});

describe("the evidence", () => {
  it("has all that was looked at", () => {
    const limit = classifyLimit(
      evidence({
        failures: { "connect.timeout": 40 },
        deaths: { "closed.fin": [90, 60_000], "closed.reset": [10, 100] },
        missed: [ECHO],
        isLocal: true,
        host: { memoryAvailableBytes: 8 * GIB, memoryTotalBytes: 16 * GIB },
        server: watched({ cpuCores: 0.5, isAccepting: true }),
      }),
    );
    expect(limit.evidence).toEqual([
      "connections: 7,960 held of 8,000 intended, 4,000 before",
      "attempts: 4,000 started of 4,000 scheduled, 3,960 succeeded",
      "connects: 1,990/s of 2,000/s asked",
      "connect: p50 1ms, p99 9ms, max 30ms",
      "failures: connect.timeout 40",
      "deaths: closed.fin 90, closed.reset 10; most at an age of 30s to 1m",
      "missed: echo:p(99)<50ms, 81.2ms",
      `${URL}: 4,020 of 20,000 files in use, 4,000 connections, 18,000 allowed, 0.50 cores, ` +
        "loop lag p99 2ms, 80 MiB resident",
      "memory: 8 GiB of 16 GiB available",
    ]);
  });

  it("has at most eight processes", () => {
    const server = workers(...Array.from({ length: 20 }, () => ({})));
    const { evidence: lines } = classifyLimit(evidence({ missed: [ECHO], server }));
    expect(lines.filter((line) => line.startsWith("pid "))).toHaveLength(8);
    expect(lines).toContain("12 more processes");
  });
});
