// Options from several sources at a time: which one wins, what is refused, what must fit together.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { HoldfastError } from "../../src/base/errors.ts";
import type { Machine } from "../../src/config/machine.ts";
import { OPTION_PATHS } from "../../src/config/option-table.ts";
import { type OptionIssue, OptionsError } from "../../src/config/options-error.ts";
import type { PartialOptions } from "../../src/config/options.ts";
import { type OptionSources, optionsFrom, resolveOptions } from "../../src/config/resolve.ts";

const machine: Machine = { memoryBytes: 2 ** 33, fileLimit: 20_000, hostname: "host", pid: 42 };
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-resolve-"));
});

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

function write(name: string, text: string): string {
  const file = join(folder, name);
  writeFileSync(file, text);
  return file;
}

function errorOf(sources: OptionSources, on: Machine = machine): OptionsError | null {
  try {
    resolveOptions(sources, on);
  } catch (error) {
    if (error instanceof OptionsError) return error;
    throw error;
  }
  return null;
}

function issuesOf(sources: OptionSources, on: Machine = machine): readonly OptionIssue[] {
  return errorOf(sources, on)?.issues ?? [];
}

describe("the order of sources", () => {
  const layers = ["code", "file", "environment", "flag"] as const;

  it.each(Array.from({ length: 16 }, (_, bits) => layers.filter((_layer, i) => bits & (1 << i))))(
    "takes the last of %s %s %s %s",
    (...given) => {
      const file = write("order.yaml", "debug:\n  closedRing: 2\n");
      const sources: OptionSources = {
        ...(given.includes("code") ? { code: { debug: { closedRing: 1 } } } : {}),
        ...(given.includes("file") ? { file } : {}),
        ...(given.includes("environment") ? { env: { HOLDFAST_DEBUG_CLOSED_RING: "3" } } : {}),
        ...(given.includes("flag") ? { flags: { "--debug-closed-ring": "4" } } : {}),
      };
      const { options, origins } = resolveOptions(sources, machine);
      const last = given.at(-1);
      const origin = {
        code: "code",
        file: `${file}:2`,
        environment: "environment HOLDFAST_DEBUG_CLOSED_RING",
        flag: "flag --debug-closed-ring",
      };
      expect(options.debug.closedRing).toBe(last === undefined ? 256 : layers.indexOf(last) + 1);
      expect(origins["debug.closedRing"]).toBe(last === undefined ? "default" : origin[last]);
    },
  );

  it("keeps what earlier sources set in the same area", () => {
    const { options } = resolveOptions(
      {
        code: { tcp: { port: 1 } },
        env: { HOLDFAST_TCP_HOST: "::1" },
        flags: { "--tcp-backlog": "9" },
      },
      machine,
    );
    expect(options.tcp).toMatchObject({ port: 1, host: "::1", backlog: 9, noDelay: true });
  });

  it("reads the file that HOLDFAST_CONFIG names, unless another is named", () => {
    const one = write("one.yaml", "tcp: {port: 1}");
    const two = write("two.yaml", "tcp: {port: 2}");
    const env = { HOLDFAST_CONFIG: one };
    expect(resolveOptions({ env }, machine).options.tcp.port).toBe(1);
    expect(resolveOptions({ env, file: two }, machine).options.tcp.port).toBe(2);
  });

  it("refuses a wrong value even where a later source overrides it", () => {
    const issues = issuesOf({
      env: { HOLDFAST_TCP_PORT: "70000" },
      flags: { "--tcp-port": "7400" },
    });
    expect(issues.map((issue) => issue.origin)).toEqual(["environment HOLDFAST_TCP_PORT"]);
  });
});

describe("the result", () => {
  it("has every option, and an origin for each", () => {
    const { options, origins } = resolveOptions({}, machine);
    expect(Object.keys(origins)).toEqual(OPTION_PATHS);
    const paths = Object.entries(options).flatMap(([area, group]) =>
      Object.keys(group as object).map((name) => `${area}.${name}`),
    );
    expect(paths).toEqual(OPTION_PATHS);
  });

  it("is frozen to its depth, lists included", () => {
    const { options, origins } = resolveOptions({}, machine);
    expect(() => Object.assign(options, { tcp: {} })).toThrow(TypeError);
    expect(() => Object.assign(options.tcp, { port: 1 })).toThrow(TypeError);
    expect(() => (options.websocket.origins as string[]).push("x")).toThrow(TypeError);
    expect(() => Object.assign(origins, { "tcp.port": "x" })).toThrow(TypeError);
  });

  it("shares nothing with what was given, nor with another result", () => {
    const origins = ["https://a.example"];
    const first = optionsFrom({ websocket: { origins } });
    origins.push("https://b.example");
    expect(first.websocket.origins).toEqual(["https://a.example"]);
    expect(Object.isFrozen(origins)).toBe(false);
    expect(optionsFrom({})).not.toBe(optionsFrom({}));
  });
});

describe("options in code", () => {
  it("count as not given where they are undefined", () => {
    const partial = { tcp: { port: undefined }, log: undefined };
    expect(optionsFrom(partial)).toEqual(optionsFrom({}));
  });

  it("look at no environment", () => {
    process.env["HOLDFAST_TCP_PORT"] = "nonsense";
    try {
      expect(optionsFrom({}).tcp.port).toBe(7_400);
    } finally {
      delete process.env["HOLDFAST_TCP_PORT"];
    }
  });

  it.each([
    [{ tcp: 7400 }, "tcp is a group of options"],
    [{ tcp: [7400] }, "tcp is a group of options"],
    [{ tcp: "x" }, "tcp is a group of options"],
    [{ tpc: { port: 1 } }, "unknown option tpc.port"],
    [{ tcp: { prot: 1 } }, "unknown option tcp.prot"],
    [{ port: 1 }, "unknown option port"],
    [{ "tcp.port": 1 }, "tcp.port must be nested"],
    [JSON.parse('{"__proto__": {"port": 1}}') as object, "unknown option __proto__.port"],
    [{ tcp: { port: () => 7400 } }, "not [Function: port]"],
    [{ tcp: { port: Symbol("p") } }, "not Symbol(p)"],
    [{ tcp: { host: "x".repeat(5_000) } }, 'not "xxxxxxxxxx'],
  ])("are refused where they do not fit the table: case %#", (partial, message) => {
    const issues = issuesOf({ code: partial });
    expect(issues).toHaveLength(1);
    expect(issues[0]?.message).toContain(message);
    expect(issues[0]?.message.length).toBeLessThan(250);
    expect(issues[0]?.origin).toBe("code");
  });

  it.each([[null], ["tcp"], [5], [[]], [() => ({})]])("must be an object, not %j", (partial) => {
    expect(() => optionsFrom(partial as unknown as PartialOptions)).toThrow(OptionsError);
  });
});

describe("the environment", () => {
  it.each([
    ["HOLDFAST_TCP_PROT", "HOLDFAST_TCP_PORT"],
    ["HOLDFAST_CONNECTION_IDLE_TIMEOUT", "HOLDFAST_CONNECTION_IDLE_TIMEOUT_MS"],
    ["HOLDFAST_CONFIG_FILE", "HOLDFAST_CONFIG"],
    ["HOLDFAST_tcp_port", "HOLDFAST_TCP_PORT"],
    ["HOLDFAST_TOKEN", null],
  ])("refuses the unknown variable %s and suggests %j", (name, suggestion) => {
    const issues = issuesOf({ env: { [name]: "s3cret" } });
    expect(issues).toHaveLength(1);
    expect(issues[0]).toMatchObject({ key: name, origin: "environment", suggestion });
  });

  it("never repeats the value of a variable it does not know", () => {
    const error = errorOf({ env: { HOLDFAST_TOKEN: "s3cret" } });
    expect(error?.message).toContain("HOLDFAST_TOKEN");
    expect(JSON.stringify(error?.issues) + error?.message).not.toContain("s3cret");
  });

  it("leaves variables alone that are not ours", () => {
    expect(
      issuesOf({ env: { HOLDFASTER: "1", holdfast_tcp_port: "x", PATH: "/", HOLDFAST: "" } }),
    ).toEqual([]);
  });

  it("ignores what Kubernetes sets for a Service called holdfast", () => {
    const env = {
      HOLDFAST_SERVICE_HOST: "10.0.0.1",
      HOLDFAST_SERVICE_PORT: "7400",
      HOLDFAST_SERVICE_PORT_TCP: "7400",
      HOLDFAST_PORT: "tcp://10.0.0.1:7400",
      HOLDFAST_PORT_7400_TCP: "tcp://10.0.0.1:7400",
      HOLDFAST_PORT_7400_TCP_ADDR: "10.0.0.1",
      HOLDFAST_PORT_7400_TCP_PORT: "7400",
      HOLDFAST_PORT_7400_TCP_PROTO: "tcp",
      HOLDFAST_EDGE_SERVICE_HOST: "10.0.0.1",
    };
    expect(issuesOf({ env })).toEqual([]);
  });

  it("explains itself where Kubernetes sets an option by a Service called holdfast-tcp", () => {
    const issues = issuesOf({ env: { HOLDFAST_TCP_PORT: "tcp://10.0.0.1:7400" } });
    expect(issues).toHaveLength(1);
    expect(issues[0]?.message).toContain("enableServiceLinks");
  });

  it("leaves what builds and finds the native addon to those who do", () => {
    const env = { HOLDFAST_NATIVE: "skip", HOLDFAST_NATIVE_ADDON: "/tmp/holdfast.node" };
    expect(issuesOf({ env })).toEqual([]);
    expect(issuesOf({ env: { HOLDFAST_NATIVE_ADDONS: "1" } })).toHaveLength(1);
  });

  it("reads lists at commas and null as null", () => {
    const env = {
      HOLDFAST_WEBSOCKET_ORIGINS: "https://a.example, https://b.example:8443",
      HOLDFAST_CONNECTION_MAX: "null",
      HOLDFAST_LOG_PRETTY: "false",
    };
    const { options } = resolveOptions({ env, code: { connection: { max: 5 } } }, machine);
    expect(options.websocket.origins).toEqual(["https://a.example", "https://b.example:8443"]);
    expect(options.connection.max).toBe(null);
    expect(options.log.pretty).toBe(false);
  });
});

describe("flags", () => {
  it.each([
    ["--tcp-prot", "--tcp-port"],
    ["--port", "--tcp-port"],
    ["--idle-timeout", "--connection-idle-timeout-ms"],
    ["--confg", "--config"],
    ["--transprot", "--transport"],
    ["--verbose", null],
    ["-x", null],
  ])("refuses the unknown flag %s and suggests %j", (name, suggestion) => {
    expect(issuesOf({ flags: { [name]: "1" } })).toMatchObject([{ key: name, suggestion }]);
  });

  it("have --transport for --tcp-transport", () => {
    const { options, origins } = resolveOptions({ flags: { "--transport": "tcp-net" } }, machine);
    expect(options.tcp.transport).toBe("tcp-net");
    expect(origins["tcp.transport"]).toBe("flag --transport");
    const wrong = issuesOf({ flags: { "--transport": "tcp-epol" } });
    expect(wrong).toMatchObject([{ key: "tcp.transport", suggestion: "tcp-epoll" }]);
  });

  it.each([
    ["--transport", "--tcp-transport"],
    ["--tcp-transport", "--transport"],
  ])("cannot say the same option twice, by %s and by %s", (first, second) => {
    const flags = { [first]: "tcp-net", [second]: "tcp-epoll" };
    expect(issuesOf({ flags }).map(({ message }) => message)).toEqual([
      `tcp.transport is given twice: by ${first} and by ${second}`,
    ]);
  });
});

describe("the word auto", () => {
  const three: PartialOptions = { workers: { count: 3 } };
  it.each<[string, () => OptionSources]>([
    ["a flag", () => ({ flags: { "--workers-count": "auto" } })],
    ["the short flag", () => ({ flags: { "--workers": "auto" } })],
    ["the environment", () => ({ env: { HOLDFAST_WORKERS_COUNT: "auto" } })],
    ["a file", () => ({ file: write("auto.yaml", "workers:\n  count: auto\n") })],
    ["null in a flag", () => ({ flags: { "--workers": "null" } })],
    ["null in a file", () => ({ file: write("null.yaml", "workers:\n  count: null\n") })],
  ])("stands for null in %s", (_name, sources) => {
    const { options } = resolveOptions({ code: three, ...sources() }, machine);
    expect(options.workers.count).toBeNull();
  });

  it.each(["Auto", "AUTO", " auto", "automatic", "", "-1", "257", "2.5"])(
    "is not %j, nor is that a number of workers",
    (text) => {
      const [issue] = issuesOf({ flags: { "--workers": text } });
      expect(issue).toMatchObject({ key: "workers.count", origin: "flag --workers" });
      expect(issue!.message).toMatch(
        /^workers\.count must be an integer from 0 to 256 \(workers\) or auto, not /,
      );
    },
  );

  it("means nothing where a row has no such word", () => {
    expect(issuesOf({ flags: { "--connection-max": "auto" } })).toMatchObject([
      { key: "connection.max" },
    ]);
    const { options } = resolveOptions({ flags: { "--node-name": "auto" } }, machine);
    expect(options.node.name).toBe("auto");
  });

  it("has company: --workers 0 and --strict", () => {
    const { options } = resolveOptions(
      { flags: { "--workers": "0", "--strict": "true" } },
      machine,
    );
    expect([options.workers.count, options.preflight.strict]).toEqual([0, true]);
    expect(issuesOf({ flags: { "--workers": "2", "--workers-count": "2" } })).toMatchObject([
      { key: "workers.count" },
    ]);
  });
});

describe("the error", () => {
  it("has a code and every issue, from all sources, each on its line of the message", () => {
    const file = write("bad.yaml", "tcp:\n  port: high\n  prot: 1\nsend: {policy: drop-newst}\n");
    const error = errorOf({
      file,
      env: { HOLDFAST_LOG_LEVEL: "loud", HOLDFAST_NOPE: "1" },
      flags: { "--frame-bytes-max": "1", "--tpc-port": "1" },
      code: { label: { max: -1 } },
    });
    expect(error).toBeInstanceOf(HoldfastError);
    expect(error?.code).toBe("HOLDFAST_OPTIONS_INVALID");
    expect(error?.issues).toHaveLength(8);
    expect(error?.message.split("\n")).toHaveLength(9);
    expect(error?.message).toContain(
      `${file}:2: tcp.port must be an integer from 0 to 65535, not "high"`,
    );
    expect(error?.message).toContain(`${file}:3: unknown option tcp.prot; did you mean tcp.port?`);
    expect(error?.message).toContain('not "drop-newst"; did you mean drop-newest?');
  });

  it("stays on one line for each issue, whatever the values hold", () => {
    const error = errorOf({ flags: { "--tcp-host": "a\nb\u001b[31m", "--x\ny": "\n" } });
    expect(error?.issues).toHaveLength(2);
    expect(error?.message.split("\n")).toHaveLength(3);
    expect(error?.message).not.toContain("\u001b");
  });
});

describe("relations between options", () => {
  it.each<[PartialOptions, string, string]>([
    [{ connection: { idleTimeoutMs: 27_500 } }, "connection.idleTimeoutMs", "27500"],
    [{ connection: { idleTimeoutMs: 75_001 } }, "connection.idleTimeoutMs", "75000"],
    [{ connection: { heartbeatMs: 19_999 } }, "connection.heartbeatMs", "59997"],
    [{ connection: { heartbeatMs: 60_000 } }, "connection.heartbeatMs", "66000"],
    [
      { connection: { heartbeatMs: 50_000, heartbeatJitter: 0.2 } },
      "connection.heartbeatMs",
      "must be greater than",
    ],
    [{ send: { lowBytes: 262_144 } }, "send.lowBytes", "less than send.highBytes"],
    [{ send: { highBytes: 65_536 } }, "send.highBytes", "less than send.highBytes (65536)"],
    [{ send: { highBytes: 1_048_577 } }, "send.highBytes", "at most send.queueBytesMax"],
    [{ send: { queueBytesMax: 262_143 } }, "send.queueBytesMax", "at most send.queueBytesMax"],
    [
      { send: { budgetBytes: 1_048_575 } },
      "send.budgetBytes",
      "at most send.budgetBytes (1048575)",
    ],
    [{ call: { timeoutMs: 300_001 } }, "call.timeoutMs", "at most call.timeoutMsMax"],
    [{ call: { timeoutMsMax: 29_999 } }, "call.timeoutMsMax", "at most call.timeoutMsMax"],
    [{ tcp: { fd: 3, path: "/run/hf.sock" } }, "tcp.fd", "must not both be given"],
    [{ tcp: { transport: "tcp-net", userTimeoutMs: 1 } }, "tcp.userTimeoutMs", "(1) must be 0"],
    [{ tcp: { port: 7_401 } }, "tcp.port", "both 7401"],
    [{ websocket: { port: 7_402 } }, "websocket.port", "both 7402"],
    [{ admin: { port: 7_400 } }, "admin.port", "both 7400"],
    [
      { admin: { port: 7_400, host: "::1" }, tcp: { host: "::" } },
      "admin.port",
      "listen on the same address",
    ],
  ])("are told with their numbers where they are broken: %j", (code, key, part) => {
    const issues = issuesOf({ code });
    expect(issues.map((issue) => issue.key)).toEqual([key]);
    expect(issues[0]?.message).toContain(part);
    expect(issues[0]?.origin).toBe("code");
  });

  it("keep a frame that could never be answered from being taken", () => {
    const send = { lowBytes: 64, highBytes: 128, queueBytesMax: 65_535 };
    expect(issuesOf({ code: { send } }).map((i) => i.key)).toEqual(["send.queueBytesMax"]);
    expect(issuesOf({ code: { send, frame: { bytesMax: 65_535 } } })).toEqual([]);
  });

  it("count the budget from the machine's memory where none is set", () => {
    const small: Machine = { ...machine, memoryBytes: 4 * 1_048_576 - 4 };
    const issues = issuesOf({}, small);
    expect(issues).toMatchObject([{ key: "send.queueBytesMax", origin: "default" }]);
    expect(issues[0]?.message).toContain("a quarter of the memory here");
    expect(issuesOf({}, { ...machine, memoryBytes: 4 * 1_048_576 })).toEqual([]);
  });

  it.each<[PartialOptions]>([
    [{ connection: { idleTimeoutMs: 27_501 } }],
    [{ connection: { idleTimeoutMs: 75_000 } }],
    [{ connection: { heartbeatMs: 60_000, heartbeatJitter: 0, idleTimeoutMs: 60_001 } }],
    [{ connection: { heartbeatMs: 50, idleTimeoutMs: 150 } }],
    [{ send: { lowBytes: 262_143 } }],
    [{ send: { highBytes: 1_048_576 } }],
    [{ send: { budgetBytes: 1_048_576 } }],
    [{ call: { timeoutMs: 0, timeoutMsMax: 1 } }],
    [{ tcp: { port: 0 }, websocket: { port: 0 }, admin: { port: 0 } }],
    [{ tcp: { port: 7_401 }, websocket: { enabled: false } }],
    [{ tcp: { port: 7_401, path: "/run/holdfast.sock" } }],
    [{ tcp: { port: 7_402, host: "10.0.0.1" } }],
  ])("hold to the last value: %j", (code) => {
    expect(issuesOf({ code })).toEqual([]);
  });

  it("are not laid to a value that is refused anyway", () => {
    const issues = issuesOf({ code: { connection: { heartbeatMs: -1, idleTimeoutMs: 1_000 } } });
    expect(issues.map((issue) => issue.key)).toEqual(["connection.heartbeatMs"]);
  });

  it("are all looked at, and told beside other faults", () => {
    const issues = issuesOf({
      code: {
        send: { lowBytes: 300_000 },
        call: { timeoutMsMax: 1 },
        log: { level: "x" as "info" },
      },
    });
    expect(issues.map((issue) => issue.key)).toEqual([
      "log.level",
      "send.lowBytes",
      "call.timeoutMsMax",
    ]);
  });
});

describe("origins of WebSocket requests", () => {
  it.each([
    "*",
    "null",
    "https://a.example",
    "http://localhost:3000",
    "http://[::1]:8080",
    "chrome-extension://abcdef",
  ])("may be %s", (origin) => {
    expect(issuesOf({ code: { websocket: { origins: [origin] } } })).toEqual([]);
  });

  it.each([
    "a.example",
    "https://A.example",
    "https://a.example/",
    "https://a.example/path",
    "https://a.example:443",
    "http://a.example:80",
    "https://*.a.example/",
    "https://a.example?x",
    "https://user@a.example",
    "https://",
    "https:a.example",
    "ftp:",
    "**",
    " *",
  ])("may not be %j, which would never match", (origin) => {
    const issues = issuesOf({ code: { websocket: { origins: ["*", origin] } } });
    expect(issues.map((issue) => issue.key)).toEqual(["websocket.origins"]);
    expect(issues[0]?.message).toContain(JSON.stringify(origin));
  });
});
