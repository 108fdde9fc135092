// The install script, run on a small package of its own: what it builds, and what it says and
// leaves where it cannot.
import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

const root = join(import.meta.dirname, "..", "..");
const isLinux = process.platform === "linux";
const canBuild = isLinux && ["g++", "make", "python3"].every(isInstalled);
const SOURCE = `#include <node_api.h>
NAPI_MODULE_INIT() {
  napi_value version;
  napi_create_int32(env, 1, &version);
  napi_set_named_property(env, exports, "version", version);
  return exports;
}
`;
const FOREIGN = `#include <node_api.h>
NAPI_MODULE_INIT() { return exports; }
`;
const GYP = JSON.stringify({ targets: [{ target_name: "holdfast", sources: ["binding.cc"] }] });

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-install-"));
  mkdirSync(join(folder, "native"));
  cpSync(join(root, "scripts", "install-native.mjs"), at("scripts", "install-native.mjs"));
  writeFileSync(at("native", "binding.gyp"), GYP);
  writeFileSync(at("native", "binding.cc"), SOURCE);
});

afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

function at(...path: string[]): string {
  return join(folder, ...path);
}

function addon(): string {
  return at("native", "build", "Release", "holdfast.node");
}

function isInstalled(command: string): boolean {
  return spawnSync(command, ["--version"], { stdio: "ignore" }).status === 0;
}

interface Ended {
  readonly code: number | null;
  readonly lines: readonly string[];
}

function install(env: Readonly<Record<string, string>> = {}): Ended {
  const { HOLDFAST_NATIVE: _, ...inherited } = process.env;
  const run = spawnSync(process.execPath, [at("scripts", "install-native.mjs")], {
    env: { ...inherited, ...env },
    encoding: "utf8",
  });
  return { code: run.status, lines: `${run.stdout}${run.stderr}`.trim().split("\n") };
}

function skippedReason(): unknown {
  const text = readFileSync(at("native", "build", "skipped.json"), "utf8");
  return (JSON.parse(text) as { reason: unknown }).reason;
}

describe.runIf(isLinux)("where the addon cannot be built", () => {
  const nothing = { PATH: "/nonexistent", CXX: "", MAKE: "", PYTHON: "" };

  it("installing succeeds, in three lines: what is missing, what that means, what to do", () => {
    const { code, lines } = install(nothing);
    expect(code).toBe(0);
    expect(lines).toHaveLength(3);
    expect(lines[0]).toContain("a C++ compiler (g++) and make (make) and Python (python3)");
    expect(lines[1]).toContain("node:net");
    expect(lines[2]).toContain("apt-get install g++ make python3");
    expect(lines[2]).toContain("npm run build:native");
  });

  it("the reason is left for the server", () => {
    install(nothing);
    expect(skippedReason()).toMatch(/^it needs a C\+\+ compiler .*, not found here$/);
    expect(existsSync(addon())).toBe(false);
  });

  it("an addon of an earlier release is not left for this one", () => {
    mkdirSync(at("native", "build", "Release"), { recursive: true });
    writeFileSync(addon(), "");
    install(nothing);
    expect(existsSync(addon())).toBe(false);
  });

  it("HOLDFAST_NATIVE=require makes it an error", () => {
    expect(install({ ...nothing, HOLDFAST_NATIVE: "require" }).code).toBe(1);
  });

  it("HOLDFAST_NATIVE=skip does not even try, and says so", () => {
    const { code, lines } = install({ ...nothing, HOLDFAST_NATIVE: "skip" });
    expect(code).toBe(0);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain("HOLDFAST_NATIVE=skip");
    expect(skippedReason()).toContain("HOLDFAST_NATIVE=skip");
  });

  it("a package without sources is no failure either", () => {
    rmSync(at("native"), { recursive: true });
    const { code, lines } = install();
    expect(code).toBe(0);
    expect(lines[0]).toMatch(/was not built: ENOENT/);
  });
});

describe.runIf(canBuild)("where the addon can be built", () => {
  it("one line says so, and the next time that nothing had to be done", () => {
    const first = install();
    expect(first.lines).toEqual(["holdfast: built the native TCP transport (tcp-epoll)"]);
    expect(first.code).toBe(0);
    const built = statSync(addon()).mtimeMs;
    expect(install().lines).toEqual(["holdfast: the native TCP transport is built already"]);
    expect(statSync(addon()).mtimeMs).toBe(built);
  });

  it("changed sources are built, and those that do not compile leave no addon", () => {
    install();
    writeFileSync(at("native", "binding.cc"), "no C++ at all");
    const { code, lines } = install();
    expect(code).toBe(0);
    expect(lines[0]).toMatch(/the build failed: .*binding\.cc:1:\d+: error: /);
    expect(existsSync(addon())).toBe(false);
    writeFileSync(at("native", "binding.cc"), SOURCE);
    expect(install().lines[0]).toMatch(/^holdfast: built/);
    expect(existsSync(at("native", "build", "skipped.json"))).toBe(false);
  });

  it("another addon is not taken for it", () => {
    writeFileSync(at("native", "binding.cc"), FOREIGN);
    expect(install().lines[0]).toContain("it is another addon");
    expect(existsSync(addon())).toBe(false);
  });

  it("a file that is no addon is built anew", () => {
    install();
    writeFileSync(addon(), "half of it");
    expect(install().lines[0]).toMatch(/^holdfast: built/);
    expect(statSync(addon()).size).toBeGreaterThan(1_000);
  });

  it("what compiles but cannot be loaded counts as not built", () => {
    writeFileSync(
      at("native", "binding.cc"),
      `extern "C" int missing();\n${SOURCE.replace("return", "missing(); return")}`,
    );
    const { code, lines } = install();
    expect(code).toBe(0);
    expect(lines[0]).toMatch(/cannot be loaded: .*missing/);
    expect(skippedReason()).toMatch(/cannot be loaded/);
  });
});
