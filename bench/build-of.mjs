// Builds of revisions, side by side, for `bench:compare`.
import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  symlinkSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { progress, refuse } from "./command-line.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));

function run(what, file, args, options = {}) {
  const done = spawnSync(file, args, { encoding: "utf8", maxBuffer: 1 << 28, ...options });
  if (done.status === 0) return done.stdout;
  const said = `${done.stdout ?? ""}${done.stderr ?? ""}${done.error?.message ?? ""}`;
  return refuse(`${what} failed:\n${said.trim()}`);
}

const git = (...args) => spawnSync("git", args, { cwd: root, encoding: "utf8" });

/**
 * @param {string} given a revision; `.`: this working tree as it is built; a folder: that build
 * @param {string} which BASE or HEAD
 * @param {{folder: string, needsNative?: boolean}} how folder: builds go there
 * @returns {{name: string, dist: string}} ends this process where there is no such thing
 */
export function buildOf(given, which, { folder, needsNative = false }) {
  if (given === ".") return { name: "working tree", dist: join(root, "dist") };
  if (existsSync(join(given, "index.js"))) return { name: given, dist: resolve(given) };
  const commit = git("rev-parse", "--verify", "--quiet", "--end-of-options", `${given}^{commit}`);
  if (commit.status !== 0) {
    refuse(
      `${which} is a revision of this repository, a folder with a build, or . for the working ` +
        `tree: there is no ${given}`,
    );
  }
  const sha = commit.stdout.trim();
  const tree = join(folder, `${which.toLowerCase()}-${sha}`);
  checkOut(sha, tree);
  bringModules(tree);
  if (needsNative) bringNative(tree);
  progress(`${which}: building ${sha.slice(0, 12)}`);
  run(`the build of ${given}`, process.execPath, [join(tree, "scripts", "build.mjs")]);
  return { name: given === sha ? sha.slice(0, 12) : given, dist: join(tree, "dist") };
}

/** The files of a revision, and nothing in the repository's own records that could stay behind. */
function checkOut(sha, tree) {
  mkdirSync(tree, { recursive: true });
  const archive = `${tree}.tar`;
  run(`git archive ${sha}`, "git", ["archive", "--output", archive, sha], { cwd: root });
  run(`unpacking ${sha}`, "tar", ["-xf", archive, "-C", tree]);
}

const isSame = (file, tree) =>
  existsSync(join(tree, file)) &&
  readFileSync(join(tree, file)).equals(readFileSync(join(root, file)));

/** This checkout's packages where they are the same ones. */
function bringModules(tree) {
  if (isSame("package-lock.json", tree)) {
    symlinkSync(realpathSync(join(root, "node_modules")), join(tree, "node_modules"));
    return;
  }
  progress("its packages are others: npm ci");
  const flags = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
  run("npm ci", "npm", flags, { cwd: tree });
}

const sourcesOf = (tree) =>
  existsSync(join(tree, "native"))
    ? readdirSync(join(tree, "native")).filter((name) => /\.(?:cc|h|gyp)$/.test(name))
    : [];

/** The addon: this checkout's where the sources are the same, else one that is built. */
function bringNative(tree) {
  const sources = sourcesOf(tree);
  if (sources.length === 0) return;
  const build = join("native", "build");
  const areSame =
    sources.length === sourcesOf(root).length &&
    sources.every((name) => existsSync(join(root, "native", name))) &&
    sources.every((name) => isSame(join("native", name), tree));
  if (areSame && existsSync(join(root, build))) {
    cpSync(join(root, build), join(tree, build), { recursive: true });
    return;
  }
  progress("its addon is another one: building it");
  const env = { ...process.env, HOLDFAST_NATIVE: "require" };
  const script = join(tree, "scripts", "install-native.mjs");
  run("the build of the addon", process.execPath, [script], { cwd: tree, env });
}
