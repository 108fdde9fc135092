// `npm run profile`: it profiles a real server under a real load, and says what it knows of where
// it is asked for something else. Skipped where there is no C compiler for the load client.

import { type SpawnSyncReturns, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, describe, expect, it } from "vitest";

const program = resolve("bench/profile.mjs");
const hasCompiler = process.platform === "linux" && spawnSync("cc", ["--version"]).status === 0;
const folder = mkdtempSync(join(tmpdir(), "holdfast-profile-test-"));

function profile(...args: readonly string[]): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, [program, ...args], { encoding: "utf8", timeout: 60_000 });
}

interface Seen {
  readonly tool: string;
  readonly files: readonly string[];
  readonly frames: readonly { readonly name: string; readonly share: number }[];
  readonly facts: { readonly loopUtilization: number; readonly cpu: { readonly user: number } };
}

/** What `--json` printed of a second of a profile by Node. */
function seenOf(kind: string, out: string): Seen {
  const flags = ["--tool", "node", "--seconds", "1", "--out", out, "--json"];
  const run = profile(kind, "echo-tcp-epoll", ...flags);
  expect(run.stderr).not.toMatch(/failed/);
  expect(run.status).toBe(0);
  return JSON.parse(run.stdout) as Seen;
}

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.runIf(hasCompiler)("a profile", () => {
  it("of the processor's time names the frames of an echo, and leaves what can be opened", () => {
    const out = join(folder, "flame");
    const { tool, files, frames } = seenOf("flame", out);
    expect(tool).toBe("node");
    expect(frames.map(({ name }) => name)).toContainEqual(
      expect.stringMatching(/ (connection|wire|server|transport)\/[a-z-]+\.js:\d+$/),
    );
    // The loaded server alone was looked at: nothing of its start is there.
    expect(frames.map(({ name }) => name).join()).not.toMatch(/compileSourceTextModule/);
    const shares = frames.reduce((sum, { share }) => sum + share, 0);
    expect(shares).toBeGreaterThan(0.5);
    expect(shares).toBeLessThanOrEqual(1.000_001);
    for (const file of files) expect(existsSync(file)).toBe(true);
    expect(readdirSync(out).sort()).toEqual(["flame.cpuprofile", "flame.html"]);
    const graph = readFileSync(join(out, "flame.html"), "utf8");
    expect(graph).toContain("echo-tcp-epoll");
    expect(graph).not.toMatch(/https?:/);
  }, 60_000);

  it("of the event loop tells how busy it was", () => {
    const { facts } = seenOf("doctor", join(folder, "doctor"));
    expect(facts.loopUtilization).toBeGreaterThan(0.01);
    expect(facts.loopUtilization).toBeLessThanOrEqual(1);
    expect(facts.cpu.user).toBeGreaterThan(0);
  }, 60_000);
});

describe("a profile that does not exist", () => {
  it.each([
    [["steam", "echo-tcp-epoll"], "no such kind: steam", "bubbleprof"],
    [[], "a kind of profile is missing", "doctor"],
    [["flame", "tea-time"], "no such scenario: tea-time", "echo-websocket"],
    [["flame"], "a scenario is missing", "storm"],
    [["flame", "idle", "storm"], "one profile at a time", "storm"],
    [["heap", "idle", "--tool", "perf"], "--tool for heap is one of", "clinic, node"],
    [["flame", "idle", "--seconds", "0"], "--seconds is 0.5 to 60", "not 0"],
    [["flame", "idle", "--sceonds", "1"], "--sceonds", "npm run profile -- KIND SCENARIO"],
    [["flame", "idle", "--dist", tmpdir()], "holds no build", "npm run build"],
  ])("%j ends with 2 and says what there is", (args, what, advice) => {
    const { status, stderr, stdout } = profile(...args);
    expect(status).toBe(2);
    expect(stderr).toContain(what);
    expect(stderr).toContain(advice);
    expect(stdout).toBe("");
  });

  it("is explained by --help and --list", () => {
    expect(profile("--help").stdout).toMatch(
      /KIND[\s\S]*flame[\s\S]*SCENARIO[\s\S]*storm[\s\S]*--tool/,
    );
    const list = profile("--list");
    expect(list.status).toBe(0);
    expect(list.stdout.trim().split("\n").length).toBeGreaterThan(7);
  });
});
