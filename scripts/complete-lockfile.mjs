// Adds to package-lock.json the platform packages that npm left out. npm records an optional
// package only if the registry in use has it, and a mirror often has those of its own platform
// alone; then `npm ci` refuses the lockfile on every machine. An added entry has no hash, names the
// platform and is skipped elsewhere. Run it after each `npm install`; --check says what is missing.
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const lockfile = join(dirname(dirname(fileURLToPath(import.meta.url))), "package-lock.json");
const systems = "aix android darwin freebsd linux netbsd openbsd openharmony sunos win32".split(
  " ",
);
const processors = "arm arm64 ia32 loong64 mips64el ppc64 riscv64 s390x wasm32 x64".split(" ");

/** `@biomejs/cli-linux-x64-musl` is for Linux on x64 with musl. */
function platformOf(name) {
  const words = name.split(/[/-]/);
  const os = systems.find((system) => words.includes(system));
  const cpu = processors.find((processor) => words.includes(processor));
  if (os === undefined && cpu !== "wasm32") return undefined;
  const musl = words.some((word) => word.startsWith("musl"));
  const glibc = words.some((word) => word.startsWith("gnu"));
  return {
    cpu: cpu === undefined ? undefined : [cpu],
    libc: musl ? ["musl"] : glibc ? ["glibc"] : undefined,
    os: os === undefined ? undefined : [os],
  };
}

// Where npm would look for `name` when it is needed in the folder `from` of the lockfile.
function isLocked(packages, from, name) {
  for (let folder = from; ; folder = folder.slice(0, folder.lastIndexOf("/node_modules/"))) {
    if (packages[`${folder === "" ? "" : `${folder}/`}node_modules/${name}`]) return true;
    if (!folder.includes("/node_modules/")) return packages[`node_modules/${name}`] !== undefined;
  }
}

function missingEntries(packages) {
  const missing = {};
  for (const [from, { optionalDependencies = {}, dev }] of Object.entries(packages)) {
    for (const [name, range] of Object.entries(optionalDependencies)) {
      if (isLocked(packages, from, name)) continue;
      const version = /\d+\.\d+\.\d+.*/.exec(range)?.[0];
      const platform = platformOf(name);
      if (version === undefined || platform === undefined) {
        throw new Error(`no platform or no version can be told from ${name}@${range}`);
      }
      const { cpu, libc, os } = platform;
      // In npm's order; what is undefined is not written.
      missing[`node_modules/${name}`] = { version, cpu, dev, libc, optional: true, os };
    }
  }
  return missing;
}

const lock = JSON.parse(readFileSync(lockfile, "utf8"));
const missing = missingEntries(lock.packages);
const names = Object.keys(missing);
if (process.argv.includes("--check")) {
  if (names.length > 0) {
    console.error(`package-lock.json lacks ${names.length} packages of other platforms, so that`);
    console.error("npm ci refuses it: run node scripts/complete-lockfile.mjs");
    for (const name of names) console.error(`  ${name}`);
    process.exitCode = 1;
  }
} else if (names.length > 0) {
  const all = Object.entries({ ...lock.packages, ...missing });
  lock.packages = Object.fromEntries(all.sort(([a], [b]) => a.localeCompare(b, "en")));
  writeFileSync(lockfile, `${JSON.stringify(lock, null, 2)}\n`);
  console.log(`added ${names.length} packages to package-lock.json`);
}
