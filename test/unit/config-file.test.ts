import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { formatConfig, parseConfig, readConfigFile } from "../../src/config/config-file.ts";
import { optionsFrom, resolveOptions } from "../../src/config/resolve.ts";

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-config-"));
});

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

function faults(text: string): string[] {
  const { issues } = parseConfig(text, "f.yaml");
  return issues.map(({ origin, message, suggestion }) =>
    [origin, message, suggestion].filter((part) => part !== null).join(" | "),
  );
}

function entries(text: string): unknown[] {
  const reading = parseConfig(text, "f.yaml");
  expect(reading.issues).toEqual([]);
  return reading.entries.map(({ path, value, origin }) => [path, value, origin]);
}

describe("a configuration file that is fine", () => {
  it("gives each value with the line of its key", () => {
    expect(
      entries("# mine\ntcp:\n  port: 1\n\n  host: '::'\nlog: {level: debug, pretty: null}\n"),
    ).toEqual([
      ["tcp.port", 1, "f.yaml:3"],
      ["tcp.host", "::", "f.yaml:5"],
      ["log.level", "debug", "f.yaml:6"],
      ["log.pretty", null, "f.yaml:6"],
    ]);
  });

  it("may come from Windows: a byte order mark and CRLF", () => {
    expect(entries("\uFEFFtcp:\r\n  port: 1\r\n  backlog: 2\r\n")).toEqual([
      ["tcp.port", 1, "f.yaml:2"],
      ["tcp.backlog", 2, "f.yaml:3"],
    ]);
  });

  it.each([
    ["is empty", ""],
    ["holds only comments", "# nothing\n\n# here\n"],
    ["holds only null", "~\n"],
    ["begins a document and says nothing", "---\n"],
    ["names an area and nothing in it", "tcp:\n"],
    ["has an area whose options are all commented out", "tcp:\n  # port: 1\nlog:\n"],
    ["has an empty mapping for an area", "tcp: {}\n"],
  ])("changes nothing where it %s", (_case, text) => {
    expect(entries(text)).toEqual([]);
  });

  it("may use anchors and aliases for values and for areas", () => {
    expect(
      entries("tcp: &listen {host: &here '::1'}\nwebsocket: *listen\nadmin: {host: *here}"),
    ).toEqual([
      ["tcp.host", "::1", "f.yaml:1"],
      ["websocket.host", "::1", "f.yaml:1"],
      ["admin.host", "::1", "f.yaml:3"],
    ]);
  });
});

describe("a configuration file that is not YAML, or not a mapping", () => {
  it.each([
    ["an open bracket", "tcp:\n  port: [1\n", /^f\.yaml:\d+ \| cannot be read as YAML: /],
    ["a tab as indentation", "tcp:\n\tport: 1\n", /^f\.yaml:2 \| .*Tabs/],
    ["an open quote", "tcp:\n  host: 'a\n", /^f\.yaml:\d+ \| .*quote/],
    ["an unknown tag", "log:\n  level: !env LEVEL\n", /^f\.yaml:2 \| .*Unresolved tag: !env/],
    ["an alias without anchor", "tcp: *nowhere\n", /^f\.yaml \| cannot be read as YAML: .*nowhere/],
    ["several documents", "tcp: {}\n---\ntcp: {}\n", /^f\.yaml:2 \| .*several documents/],
    ["a list", "- tcp\n", /^f\.yaml:1 \| the file must be a mapping/],
    ["a number", "7400\n", /^f\.yaml:1 \| the file must be a mapping/],
    ["prose", "listen on 7400 please\n", /^f\.yaml:1 \| the file must be a mapping/],
    ["JSON cut short", '{"tcp": {"port": 1}', /^f\.yaml:1 \| cannot be read as YAML: /],
  ])("is refused with its line: %s", (_case, text, fault) => {
    const found = faults(text);
    expect(found.length).toBeGreaterThan(0);
    expect(found[0]).toMatch(fault);
    expect(parseConfig(text, "f.yaml").entries).toEqual([]);
  });

  it("is refused where aliases would unfold to something huge", () => {
    const levels = Array.from({ length: 12 }, (_, level) => {
      const inner =
        level === 0
          ? "x"
          : Array(10)
              .fill(`*a${level - 1}`)
              .join(", ");
      return `  k${level}: &a${level} [${inner}]`;
    });
    expect(faults(`tcp:\n${levels.join("\n")}\n`)[0]).toMatch(/^f\.yaml \| .*[Aa]lias/);
  });

  it("is refused where a key is given twice, with the others' faults beside it", () => {
    expect(faults("tcp:\n  port: 1\n  port: 2\nlog: 5\n")).toEqual([
      "f.yaml:3 | port is given twice",
      "f.yaml:4 | log is a group of options, not a value: write its options inside it",
    ]);
    expect(faults("tcp: {port: 1}\ntcp: {port: 1}\n")).toEqual(["f.yaml:2 | tcp is given twice"]);
  });
});

describe("a configuration file with keys that are not known", () => {
  it.each([
    ["tcp:\n  prot: 1", "f.yaml:2 | unknown option tcp.prot | tcp.port"],
    ["tpc:\n  port: 1", "f.yaml:2 | unknown option tpc.port | tcp.port"],
    ["conection: {}", "f.yaml:1 | unknown option conection | connection"],
    ["port: 1", "f.yaml:1 | unknown option port | tcp.port"],
    ["tcp.port: 1", "f.yaml:1 | tcp.port must be nested: port inside tcp"],
    ["tcp: 7400", "f.yaml:1 | tcp is a group of options, not a value: write its options inside it"],
    [
      "tcp: [7400]",
      "f.yaml:1 | tcp is a group of options, not a value: write its options inside it",
    ],
    ["7400: tcp", "f.yaml:1 | unknown option 7400"],
    ["? [a, b]\n: 1", 'f.yaml:1 | unknown option "[\\"a\\",\\"b\\"]"'],
    ["'': 1", 'f.yaml:1 | unknown option ""'],
    ["__proto__:\n  port: 1", "f.yaml:2 | unknown option __proto__.port"],
    ["constructor: 1", "f.yaml:1 | unknown option constructor"],
    ["tcp:\n  toString: 1", "f.yaml:2 | unknown option tcp.toString"],
    ["<<: {port: 1}", 'f.yaml:1 | unknown option "<<.port" | tcp.port'],
  ])("is refused with the line and the key: %j", (text, fault) => {
    expect(faults(text)).toEqual([fault]);
  });

  it("is refused once for each of them", () => {
    expect(faults("a: 1\nb: {c: 1, d: 2}\nlog:\n  x: 1\n")).toHaveLength(4);
  });
});

describe("a configuration file that cannot be read", () => {
  function readFaults(file: string): string[] {
    return readConfigFile(file, "who said so").issues.map((i) => `${i.origin}: ${i.message}`);
  }

  it("is refused by name where it does not exist, is a folder, or is not text", () => {
    const none = join(folder, "none.yaml");
    const binary = join(folder, "binary.yaml");
    writeFileSync(binary, Buffer.from([0x74, 0xff, 0xfe]));
    expect(readFaults(none)).toEqual([`who said so: ${none} does not exist`]);
    expect(readFaults(folder)).toEqual([`who said so: ${folder} is a directory`]);
    expect(readFaults(binary)).toEqual([`who said so: ${binary} is not UTF-8 text`]);
    expect(readFaults("a\u0000b")).toHaveLength(1);
  });
});

describe("options written as a configuration file", () => {
  it("give the same options when they are read again", () => {
    const options = optionsFrom({
      tcp: { path: "/run/a b: #c.sock", host: "null" },
      websocket: { origins: ["https://a.example", "*"] },
      log: { pretty: true },
      connection: { heartbeatJitter: 0.25, max: 5 },
      node: { name: 'quote " and \\ and é' },
    });
    const file = join(folder, "written.yaml");
    writeFileSync(file, formatConfig(options, null));
    expect(resolveOptions({ file }).options).toEqual(options);
  });

  it("may say after each value where it came from", () => {
    const { options, origins } = resolveOptions({ env: { HOLDFAST_LOG_LEVEL: "warn" } });
    const text = formatConfig(options, origins);
    expect(text).toContain('  level: "warn" # environment HOLDFAST_LOG_LEVEL\n');
    expect(text).toContain("  port: 7400 # default\n");
    expect(parseConfig(text, "f.yaml").issues).toEqual([]);
  });
});
