// Starting worker processes where it cannot be done.

import { execFileSync, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

const DIST = fileURLToPath(new URL("../../dist/supervisor/spawn.js", import.meta.url));

/** In a process of its own, whose files are short. @returns what the handler was told. */
function spawnWithFiles(files: number, atSpawn: number): Promise<string> {
  if (!existsSync(DIST)) throw new Error("the program is not built: npm run build");
  const program = `
    import { execFileSync } from "node:child_process";
    import { openSync } from "node:fs";
    import { spawnWorker } from ${JSON.stringify(DIST)};
    const open = [];
    try { while (open.length < ${atSpawn}) open.push(openSync("/dev/null")); } catch {}
    const told = [];
    const handler = { onMessage() {}, onExit: (...given) => told.push(given) };
    const { bus } = spawnWorker([], handler);
    setTimeout(() => {
      process.stdout.write(JSON.stringify({ hasBus: bus !== null, told }));
      process.exit(0);
    }, 500);
  `;
  const shell = `ulimit -n ${files}; exec "$0" --input-type=module -e "$1"`;
  const child = spawn("sh", ["-c", shell, process.execPath, program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  return new Promise((resolve) => {
    let out = "";
    child.stdout.on("data", (text: Buffer) => {
      out += text.toString();
    });
    child.once("close", () => resolve(out));
  });
}

it("a worker that cannot be started for want of files is told of as one that ended", async () => {
  const found = JSON.parse(await spawnWithFiles(40, 1_000)) as { told: unknown[][] };
  expect(found).toMatchObject({ hasBus: false });
  expect(found.told).toHaveLength(1);
  expect(found.told[0]).toEqual([null, null, expect.stringContaining("EMFILE")]);
});

it("a worker's program without a supervisor says who starts it", () => {
  const program = fileURLToPath(new URL("../../dist/cli/holdfast-worker.js", import.meta.url));
  let failure: { status: number; stderr: string } | null = null;
  try {
    execFileSync(process.execPath, [program], { encoding: "utf8", stdio: "pipe" });
  } catch (error) {
    failure = error as { status: number; stderr: string };
  }
  expect(failure).toMatchObject({ status: 2 });
  expect(failure!.stderr).toContain("holdfast serve");
});
