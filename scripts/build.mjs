// Compiles src/ to dist/ and brings along what tsc does not: the generated protocol code and the
// executable bit of the commands. Knows nothing of tests or packaging.
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
} from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const src = join(root, "src");
const dist = join(root, "dist");
const buildInfo = join(root, ".cache", "build.tsbuildinfo");
const generated = join("wire", "generated");
const commands = ["holdfast.js", "holdfast-probe.js"].map((name) => join(dist, "cli", name));

function fail(message) {
  console.error(`build: ${message}`);
  process.exit(1);
}

function filesUnder(directory) {
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(directory, join(entry.parentPath ?? entry.path, entry.name)));
}

// What dist/ must hold when a build is done, as paths inside dist/.
function expectedOutputs() {
  const outputs = new Set();
  for (const file of filesUnder(src)) {
    if (file.startsWith(generated)) {
      outputs.add(file);
    } else if (file.endsWith(".ts") && !file.endsWith(".d.ts")) {
      const stem = file.slice(0, -".ts".length);
      for (const extension of [".js", ".js.map", ".d.ts", ".d.ts.map"]) {
        outputs.add(stem + extension);
      }
    }
  }
  return outputs;
}

function compile() {
  const tsc = join(root, "node_modules", "typescript", "bin", "tsc");
  return spawnSync(process.execPath, [tsc, "-p", join(root, "tsconfig.json")], {
    cwd: root,
    stdio: "inherit",
  }).status;
}

// Through a rename, so that a server which starts meanwhile never loads half a file.
function copyGenerated() {
  for (const file of filesUnder(join(src, generated))) {
    const from = join(src, generated, file);
    const to = join(dist, generated, file);
    if (existsSync(to) && readFileSync(to).equals(readFileSync(from))) continue;
    mkdirSync(dirname(to), { recursive: true });
    const partial = `${to}.${process.pid}`;
    copyFileSync(from, partial);
    renameSync(partial, to);
  }
}

if (!existsSync(join(root, "node_modules", "typescript", "package.json"))) {
  fail("dependencies are not installed: run npm ci");
}
if (!existsSync(join(src, generated, "messages.js"))) {
  fail("src/wire/generated is missing: run npm run generate");
}

const outputs = expectedOutputs();
mkdirSync(dirname(buildInfo), { recursive: true });
// The build record alone would have tsc believe that a deleted dist/ is still there.
const missing = [...outputs].some(
  (file) => !file.startsWith(generated) && !existsSync(join(dist, file)),
);
if (missing) rmSync(buildInfo, { force: true });
// A module whose source is gone must not stay importable or be published.
for (const file of filesUnder(dist)) {
  if (!outputs.has(file)) rmSync(join(dist, file), { force: true });
}

const status = compile();
copyGenerated();
for (const command of commands) if (existsSync(command)) chmodSync(command, 0o755);
process.exit(status ?? 1);
