// `npm test`: every check of the repository, one line each, then the tests. The static steps all
// run even if one fails, so that one run shows everything. The last line is `N passed, N failed`:
// tests plus static steps. With --static the tests are left out.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const report = join(root, ".cache", "vitest.json");
const docsGenerator = "scripts/generate-docs.mjs";

// What they do, and the command: a script of ours, or a tool of node_modules/.bin.
const steps = [
  ["build", "scripts/build.mjs"],
  ["format", "biome", "format", "--colors=off"],
  ["lint", "oxlint"],
  ["house rules", "scripts/tidy.mjs"],
  ["types", "tsc", "-p", "tsconfig.check.json"],
  ["unused code", "knip"],
  ["package", "publint", "--strict"],
  ["lockfile", "scripts/complete-lockfile.mjs", "--check"],
  ["protocol drift", "scripts/generate-protocol.mjs", "--check"],
  ["docs drift", docsGenerator, "--check"],
];

/** @returns {[string, string[]]} what spawnSync() takes */
function commandOf([tool, ...args]) {
  if (tool.endsWith(".mjs")) return [process.execPath, [join(root, tool), ...args]];
  return [join(root, "node_modules", ".bin", tool), args];
}

function seconds(since) {
  return `${((performance.now() - since) / 1000).toFixed(1)} s`;
}

function runStep([name, ...command]) {
  const start = performance.now();
  const [file, args] = commandOf(command);
  const run = spawnSync(file, args, { cwd: root, encoding: "utf8", maxBuffer: 64 << 20 });
  const passed = run.status === 0;
  console.log(`${passed ? "✓" : "✗"} ${name} (${seconds(start)})`);
  if (!passed) console.log(`${run.stdout ?? ""}${run.stderr ?? ""}${run.error?.message ?? ""}`);
  return passed;
}

// A file that does not even load has no failed tests but still fails the run: it counts as one.
function runTests() {
  const start = performance.now();
  rmSync(report, { force: true });
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${report}`];
  const [file, args] = commandOf(["vitest", "run", ...reporters]);
  const run = spawnSync(file, args, { cwd: root, stdio: "inherit" });
  const counts = existsSync(report) ? JSON.parse(readFileSync(report, "utf8")) : {};
  const passed = counts.numPassedTests ?? 0;
  const failed = Math.max(counts.numFailedTests ?? 0, run.status === 0 ? 0 : 1);
  const skipped = (counts.numPendingTests ?? 0) + (counts.numTodoTests ?? 0);
  const mark = failed === 0 ? "✓" : "✗";
  console.log(`${mark} tests (${seconds(start)})${skipped > 0 ? `, ${skipped} skipped` : ""}`);
  return { passed, failed };
}

if (!existsSync(join(root, "node_modules", ".bin", "vitest"))) {
  console.error("check: dependencies are not installed: run npm ci");
  process.exit(1);
}
mkdirSync(dirname(report), { recursive: true });
const results = steps
  .filter(([, command]) => command !== docsGenerator || existsSync(join(root, docsGenerator)))
  .map(runStep);
const total = {
  passed: results.filter((passed) => passed).length,
  failed: results.filter((passed) => !passed).length,
};
if (!process.argv.includes("--static")) {
  const tests = runTests();
  total.passed += tests.passed;
  total.failed += tests.failed;
}
console.log(`${total.passed} passed, ${total.failed} failed`);
process.exitCode = total.failed === 0 ? 0 : 1;
