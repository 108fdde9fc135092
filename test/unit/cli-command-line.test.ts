// The command line as a user types it: what is printed where, and the exit code.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runCommandLine } from "../../src/cli/command-line.ts";
import { parseConfig } from "../../src/config/config-file.ts";
import { environmentName, flagName } from "../../src/config/option-names.ts";
import { OPTION_AREAS, OPTION_PATHS, OPTION_TABLE } from "../../src/config/option-table.ts";
import { optionsFrom } from "../../src/config/resolve.ts";

interface Run {
  readonly code: number;
  readonly out: string;
  readonly error: string;
}

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-cli-"));
});

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

async function run(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Run> {
  let out = "";
  let error = "";
  const code = await runCommandLine(args, {
    env,
    isInteractive: false,
    columns: 100,
    write: (text) => {
      out += text;
    },
    writeError: (text) => {
      error += text;
    },
  });
  return { code, out, error };
}

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

describe("holdfast", () => {
  it("prints the version of the package", async () => {
    const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
    const { version } = JSON.parse(text) as { version: string };
    expect(await run(["--version"])).toEqual({ code: 0, out: `${version}\n`, error: "" });
  });

  it("prints its commands and its exit codes with --help", async () => {
    const { code, out, error } = await run(["--help"]);
    expect([code, error]).toEqual([0, ""]);
    expect(out).toMatch(/serve.*Listen/);
    expect(out).toMatch(/Exit codes: 0 .*; 1 .*; 2 /s);
  });

  it.each([
    [[], "Usage: holdfast"],
    [["config"], "Usage: holdfast config"],
    [["srve"], "Did you mean serve?"],
    [["config", "chek"], "Did you mean check?"],
    [["--nonsense"], "unknown option '--nonsense'"],
    [["serve", "now"], "unexpected argument 'now'"],
    [["config", "check", "a.yaml"], "unexpected argument 'a.yaml'"],
    [["config", "check", "--config"], "argument missing"],
    [["config", "check", "--tcp-port"], "argument missing"],
  ])("ends with 2 and says what is wrong: %j", async (args, part) => {
    const { code, out, error } = await run(args);
    expect([code, out]).toEqual([2, ""]);
    expect(error).toContain(part);
  });
});

describe("holdfast serve --help", () => {
  it("tells flag, meaning, default, range and variable of every option", async () => {
    const { code, out } = await run(["serve", "--help"]);
    expect(code).toBe(0);
    const text = out.replace(/\s+/g, " ");
    for (const path of OPTION_PATHS) {
      const row = OPTION_TABLE[path];
      expect(text).toContain(` ${flagName(path)} `);
      expect(text).toContain(row.doc);
      expect(text).toContain(`or set ${environmentName(path)}.`);
    }
    expect(text).toContain("Default 7400; an integer from 0 to 65535; or set HOLDFAST_TCP_PORT.");
    expect(text).toContain("--config <file>");
  });

  it("groups the options by area, in lines that fit the terminal", async () => {
    const { out } = await run(["serve", "--help"]);
    const headings = [...out.matchAll(/^(\w+): .*\n {2}--/gm)].map((match) => match[1]);
    expect(headings).toEqual(Object.keys(OPTION_AREAS));
    expect(out.split("\n").filter((line) => line.length > 100)).toEqual([]);
  });
});

describe("holdfast config check", () => {
  it("says what is set, from where, and what this machine adds", async () => {
    const config = file("good.yaml", "tcp:\n  port: 7500\n");
    const { code, out, error } = await run(
      ["config", "check", "--config", config, "--log-level=debug"],
      { HOLDFAST_ADMIN_PORT: "0" },
    );
    expect([code, error]).toEqual([0, ""]);
    expect(out).toContain("The options are valid.");
    expect(out).toContain(`  tcp.port: 7500 # ${config}:2\n`);
    expect(out).toContain("  admin.port: 0 # environment HOLDFAST_ADMIN_PORT\n");
    expect(out).toContain('  log.level: "debug" # flag --log-level\n');
    expect(out).toMatch(/ {2}connection\.max: \d+\n/);
    expect(out).toMatch(/ {2}send\.budgetBytes: \d+\n/);
  });

  it("ends with 2 and prints every fault of every source", async () => {
    const config = file("bad.yaml", "tcp:\n  prot: 1\n  port: -1\n");
    const { code, out, error } = await run(
      ["config", "check", "--config", config, "--tcp-prot=5", "--call-timeout-ms", "-5", "--zap"],
      { HOLDFAST_NOPE: "secret" },
    );
    expect([code, out]).toEqual([2, ""]);
    expect(error.trimEnd().split("\n").sort()).toEqual([
      `  ${config}:2: unknown option tcp.prot; did you mean tcp.port?`,
      `  ${config}:3: tcp.port must be an integer from 0 to 65535, not -1`,
      "  command line: unknown option --tcp-prot; did you mean --tcp-port?",
      "  command line: unknown option --zap",
      "  environment: unknown option HOLDFAST_NOPE",
      "  flag --call-timeout-ms: call.timeoutMs must be an integer from 0 to 86400000 (ms), not -5",
      "holdfast: 6 things to correct in the options:",
    ]);
  });

  it("ends with 2 where the file is missing, named by flag or by environment", async () => {
    const none = join(folder, "none.yaml");
    const byFlag = await run(["config", "check", "--config", none]);
    const byVariable = await run(["config", "check"], { HOLDFAST_CONFIG: none });
    for (const { code, error } of [byFlag, byVariable]) {
      expect(code).toBe(2);
      expect(error).toContain(`${none} does not exist`);
    }
  });

  it("takes the flag's file where the environment names another", async () => {
    const config = file("chosen.yaml", "tcp: {port: 7500}");
    const env = { HOLDFAST_CONFIG: join(folder, "none.yaml") };
    expect((await run(["config", "check", "--config", config], env)).code).toBe(0);
  });
});

describe("flags", () => {
  async function printed(...args: string[]): Promise<Record<string, unknown>> {
    const { code, out, error } = await run(["config", "print", "--json", ...args]);
    expect([code, error]).toEqual([0, ""]);
    return JSON.parse(out) as Record<string, unknown>;
  }

  it("of switches stand for true alone, and take true or false", async () => {
    expect(await printed("--log-pretty")).toMatchObject({ log: { pretty: true } });
    expect(await printed("--log-pretty", "false")).toMatchObject({ log: { pretty: false } });
    expect(await printed("--log-pretty=null")).toMatchObject({ log: { pretty: null } });
  });

  it("may be given with a space or an equals sign, and the last of two counts", async () => {
    expect(await printed("--tcp-port", "1", "--tcp-port=2")).toMatchObject({ tcp: { port: 2 } });
  });

  it("may hold lists and texts with spaces and equals signs", async () => {
    const options = await printed("--websocket-origins=http://a,http://b", "--node-name", "a = b");
    expect(options).toMatchObject({
      websocket: { origins: ["http://a", "http://b"] },
      node: { name: "a = b" },
    });
  });

  it.each([
    [["--log-pretty", "maybe"], "log.pretty must be true, false or null"],
    [["--tcp-port="], 'tcp.port must be an integer from 0 to 65535, not ""'],
    [["--tcp-port", "--log-pretty"], 'not "--log-pretty"'],
    [["-p", "7400"], "unknown option -p"],
    [["--TCP-PORT", "1"], "unknown option --TCP-PORT; did you mean --tcp-port?"],
    [["--tcp.port", "1"], "unknown option --tcp.port; did you mean --tcp-port?"],
    [["--=5"], "unknown option"],
    [["--no-tcp-enabled"], "unknown option --no-tcp-enabled; did you mean --tcp-enabled?"],
  ])("are refused where they are wrong: %j", async (args, part) => {
    const { code, error } = await run(["config", "check", ...args]);
    expect(code).toBe(2);
    expect(error).toContain(part);
  });
});

describe("holdfast config print", () => {
  it("prints a file that gives the same options, with and without origins", async () => {
    const args = ["--tcp-port", "7500", "--node-name", "edge: 1 # 2"];
    const plain = await run(["config", "print", ...args]);
    const config = file("printed.yaml", plain.out);
    expect((await run(["config", "print", "--config", config])).out).toBe(plain.out);
    const { out } = await run(["config", "print", "--origins", ...args]);
    expect(out).toContain("  port: 7500 # flag --tcp-port\n");
    expect(out.replaceAll(/ # (default|flag --[a-z-]+)$/gm, "")).toBe(plain.out);
    expect(parseConfig(out, "f").entries).toHaveLength(OPTION_PATHS.length);
  });

  it("prints JSON, with origins beside where asked for", async () => {
    const { out } = await run(["config", "print", "--json"]);
    expect(JSON.parse(out)).toEqual(optionsFrom({}));
    const both = await run(["config", "print", "--json", "--origins"], {
      HOLDFAST_TCP_PORT: "1",
    });
    expect(JSON.parse(both.out)).toMatchObject({
      options: { tcp: { port: 1 } },
      origins: { "tcp.port": "environment HOLDFAST_TCP_PORT", "tcp.host": "default" },
    });
  });

  it("prints nothing where an option is wrong", async () => {
    const { code, out } = await run(["config", "print", "--tcp-port", "x"]);
    expect([code, out]).toEqual([2, ""]);
  });
});
