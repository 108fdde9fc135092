// The commands of the benchmarks as somebody runs them: what they refuse, before they measure
// anything, and that nothing of theirs is left running when they are told to end.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { afterAll, afterEach, describe, expect, it } from "vitest";

const folder = mkdtempSync(join(tmpdir(), "holdfast-commands-"));
const started: ChildProcess[] = [];

function run(script: string, ...args: string[]): { code: number | null; out: string; err: string } {
  const done = spawnSync(process.execPath, [`bench/${script}`, ...args], { encoding: "utf8" });
  return { code: done.status, out: done.stdout, err: done.stderr };
}

/** Processes that were started by one, and by those, as far as they still are theirs. */
function descendants(pid: number): number[] {
  let listed: string;
  try {
    listed = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8");
  } catch {
    return [];
  }
  const children = listed.split(" ").filter(Boolean).map(Number);
  return [...children, ...children.flatMap(descendants)];
}

/** Gone, or only not yet waited for. */
function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

async function until(isDone: () => boolean, ms: number): Promise<boolean> {
  for (const limit = performance.now() + ms; performance.now() < limit; ) {
    if (isDone()) return true;
    await wait(20);
  }
  return isDone();
}

afterEach(() => {
  for (const child of started.splice(0)) child.kill("SIGKILL");
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("a suite", () => {
  it.each([
    [["--rounds", "1.5"], "--rounds is a whole number, 1 to 50: not 1.5"],
    [["--rounds", ""], "--rounds is a whole number, 1 to 50: not "],
    [["--rounds", "51"], "--rounds is a whole number, 1 to 50: not 51"],
    [["--only", "parser,nonsense"], "--only is some of parser"],
    [["--out", "package.json/a.json"], "--out package.json/a.json cannot be written (E"],
  ])("refuses %j with 2, and measures nothing", (args, text) => {
    const { code, out, err } = run("suites/micro.mjs", "--quick", ...args);
    expect(err).toContain(text);
    expect(err).not.toContain("round 1/1");
    expect([code, out]).toEqual([2, ""]);
  });

  it("takes fractions where they make sense, and makes the folder of its result", () => {
    const file = join(folder, "of", "its", "own", "micro.json");
    const { code, out } = run("suites/micro.mjs", "--quick", "--only", "ring", "--out", file);
    expect(out).toContain("PASSED in ");
    expect(code).toBe(0);
    expect(JSON.parse(readFileSync(file, "utf8"))).toMatchObject({ suite: "micro", passed: true });
    const refused = run("suites/echo.mjs", "--seconds", "0.5", "--warmup", "0.2", "--rounds", "0");
    expect(refused.err).toContain("--rounds is");
  });
});

describe.skipIf(process.platform !== "linux")("npm run bench", () => {
  it.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)(
    "ends its suite and the suite's processes on %s",
    async (signal) => {
      const flags = ["--only", "micro", "--quick", "--out", folder];
      const child = spawn(process.execPath, ["bench/all.mjs", ...flags], { stdio: "ignore" });
      started.push(child);
      const exited = once(child, "exit");
      // The suite, and what it measures.
      expect(await until(() => descendants(child.pid!).length >= 2, 20_000)).toBe(true);
      const pids = descendants(child.pid!);
      child.kill(signal);
      expect(await exited).toEqual([130, null]);
      expect(await until(() => !pids.some(isRunning), 5_000)).toBe(true);
    },
    30_000,
  );
});
