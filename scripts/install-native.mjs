// Builds native/ where that can be done: npm runs this as the install script, in a clone and where
// holdfast is a dependency. Everything works without the addon, so whatever is missing is said,
// kept for the server to repeat, and no failure. HOLDFAST_NATIVE=skip builds nothing;
// HOLDFAST_NATIVE=require makes a build that cannot be done an error.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, sep } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const native = join(root, "native");
const build = join(native, "build");
const addon = join(build, "Release", "holdfast.node");
const stamp = join(build, "built.json");
// src/transport/native.ts reads it.
const skipped = join(build, "skipped.json");
const log = join(build, "build.log");

const headersAdvice =
  "node-gyp fetches them from nodejs.org; npm_config_nodedir names a folder that has them";

const mode = process.env.HOLDFAST_NATIVE ?? "";
const again = root.includes(`${sep}node_modules${sep}`)
  ? "npm rebuild holdfast"
  : "npm run build:native";

// Beside the running Node, where it was installed with its headers: nothing needs to be fetched.
function headersBesideNode() {
  const prefix = dirname(dirname(process.execPath));
  const include = join(prefix, "include", "node");
  const isThere = existsSync(join(include, "node_api.h")) && existsSync(join(include, "uv.h"));
  return isThere ? prefix : undefined;
}

// npm and pnpm name their own node-gyp; run by hand, npm is looked for beside Node.
function nodeGyp() {
  const inNpm = join("node_modules", "npm", "node_modules", "node-gyp", "bin", "node-gyp.js");
  const candidates = [
    process.env.npm_config_node_gyp,
    join(dirname(dirname(process.execPath)), "lib", inNpm),
  ];
  const script = candidates.find((path) => path !== undefined && existsSync(path));
  if (script !== undefined) return [process.execPath, script];
  return runs("node-gyp", "--version") ? ["node-gyp"] : undefined;
}

function runs(command, ...args) {
  return spawnSync(command, args, { stdio: "ignore", shell: false }).status === 0;
}

// The build of other sources, flags or another processor is not this one. It serves every Node.
function fingerprint() {
  const hash = createHash("sha256").update(`${process.platform} ${process.arch}\n`);
  for (const name of ["CXX", "CXXFLAGS", "LDFLAGS"]) hash.update(`${process.env[name] ?? ""}\n`);
  const sources = readdirSync(native).filter((name) => /\.(?:cc|h|gyp)$/.test(name));
  for (const name of sources.sort()) {
    hash.update(`${name}\n`).update(readFileSync(join(native, name)));
  }
  return hash.digest("hex");
}

function isBuilt(print) {
  if (!existsSync(addon)) return false;
  if (loadFault() !== undefined) {
    // Built for another system, or half built: nothing of it is used again.
    rmSync(build, { recursive: true });
    return false;
  }
  return existsSync(stamp) && JSON.parse(readFileSync(stamp, "utf8")).fingerprint === print;
}

// In a process of its own: what it breaks by being loaded is not npm.
function loadFault() {
  if (!existsSync(addon)) return "there is no addon";
  const load = `
    const loaded = { exports: {} };
    process.dlopen(loaded, process.argv[1]);
    if (typeof loaded.exports.version !== "number") throw new Error("it is another addon");`;
  const run = spawnSync(process.execPath, ["-e", load, addon], { encoding: "utf8" });
  if (run.status === 0) return undefined;
  return (
    /[Ee]rror: .*/.exec(run.stderr)?.[0] ?? `loading it ended with ${run.signal ?? run.status}`
  );
}

/** @returns {string | undefined} what keeps us from building */
function obstacle(gyp) {
  const compiler = (process.env.CXX || "g++").split(" ")[0];
  const python = process.env.npm_config_python || process.env.PYTHON || "python3";
  const missing = [
    [compiler, "a C++ compiler"],
    [process.env.MAKE || "make", "make"],
    [python, "Python"],
  ].filter(([command]) => !runs(command, "--version"));
  if (missing.length > 0) {
    const names = missing.map(([command, what]) => `${what} (${command})`);
    return `it needs ${names.join(" and ")}, not found here`;
  }
  return gyp === undefined ? "it needs node-gyp, which npm brings, not found here" : undefined;
}

/** @returns {string | undefined} why it failed */
function compile([command, ...args]) {
  const nodedir = process.env.npm_config_nodedir ?? headersBesideNode();
  const headers = nodedir === undefined ? [] : [`--nodedir=${nodedir}`];
  const run = spawnSync(
    command,
    [...args, "configure", "build", `--directory=${native}`, "--release", "--jobs=max", ...headers],
    { encoding: "utf8", maxBuffer: 64 << 20 },
  );
  const said = `${run.stdout ?? ""}${run.stderr ?? ""}${run.error?.message ?? ""}`;
  mkdirSync(build, { recursive: true });
  writeFileSync(log, said);
  if (run.status !== 0 && mode === "require") console.error(said);
  if (run.status !== 0) return `the build failed: ${firstFault(said)} (all of it: ${log})`;
  const fault = loadFault();
  return fault === undefined ? undefined : `it was built but cannot be loaded: ${fault}`;
}

// The compiler's own first complaint, or what node-gyp made of it.
function firstFault(said) {
  const lines = said.split("\n").map((line) => line.trim());
  const isFetched = lines.some((line) => line.startsWith("gyp http GET"));
  const fault =
    lines.find((line) => /(?:fatal )?error: /.test(line)) ??
    (isFetched ? `Node's headers could not be had: ${headersAdvice}` : undefined) ??
    lines.find((line) => line.startsWith("gyp: ")) ??
    lines.find((line) => line.startsWith("gyp ERR! stack")) ??
    lines.find((line) => line.startsWith("gyp ERR!"));
  return (fault ?? "it said nothing of use").replace(
    /^gyp ERR! (?:stack )?(?:Error: )?|^gyp: /,
    "",
  );
}

function keep(file, facts) {
  mkdirSync(build, { recursive: true });
  writeFileSync(file, `${JSON.stringify(facts)}\n`);
}

// An older addon must not be taken for this version's.
function goWithout(reason) {
  try {
    rmSync(addon, { force: true });
    rmSync(stamp, { force: true });
    keep(skipped, { reason });
  } catch {
    // The folder cannot be written to; then there is no addon in it either.
  }
}

function giveUp(reason) {
  goWithout(reason);
  const meaning =
    mode === "require"
      ? "HOLDFAST_NATIVE=require makes that an error."
      : "TCP is served by node:net (tcp-net): all works, at more memory and CPU per connection.";
  console.error(`holdfast: the native TCP transport (tcp-epoll) was not built: ${reason}.
  ${meaning}
  To have it: apt-get install g++ make python3 (or the like), then ${again}`);
  process.exitCode = mode === "require" ? 1 : 0;
}

function install() {
  if (!["", "skip", "require"].includes(mode)) {
    console.error(`holdfast: HOLDFAST_NATIVE is skip, require or not set, and not "${mode}"`);
    process.exitCode = 1;
    return;
  }
  if (process.platform !== "linux") {
    if (mode === "require") giveUp(`it needs Linux, and this is ${process.platform}`);
    return;
  }
  if (mode === "skip") {
    console.log("holdfast: the native TCP transport is not built: HOLDFAST_NATIVE=skip");
    goWithout("HOLDFAST_NATIVE=skip when it was installed");
    return;
  }
  const print = fingerprint();
  if (isBuilt(print)) {
    console.log("holdfast: the native TCP transport is built already");
    return;
  }
  const gyp = nodeGyp();
  const reason = obstacle(gyp) ?? compile(gyp);
  if (reason !== undefined) return giveUp(reason);
  rmSync(skipped, { force: true });
  // The loader compares the size: a file that was cut off would end the process.
  keep(stamp, { fingerprint: print, bytes: statSync(addon).size });
  console.log("holdfast: built the native TCP transport (tcp-epoll)");
}

try {
  install();
} catch (error) {
  // A folder that cannot be written to, say.
  giveUp(error.message);
}
