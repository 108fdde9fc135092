// `npm run test:sanitize`: the native addon under AddressSanitizer, UndefinedBehaviorSanitizer and
// LeakSanitizer.
//   node scripts/sanitize.mjs [--long] [--operations N] [--seed S]
// 1. The fuzz of its core (native/fuzz/): 300,000 random operations, with --long 10,000,000.
// 2. Faults that are planted on purpose: the sanitizers must find them in a library of Node's.
// 3. The transport's tests on an addon that is built with them; the leaks that count are those that
//    were allocated by the addon: Node and V8 keep what they like when they exit. With --long also
//    the tests that take longest.
// What was built is kept in .cache/sanitize/. The last line is `N passed, N failed`.
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, homedir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const native = join(root, "native");
const cache = join(root, ".cache", "sanitize");
const logs = join(cache, "reports");
const compiler = process.env.CXX || "g++";
const fuzz = join(cache, "fuzz");
const addon = join(cache, "holdfast.node");
const planted = join(cache, "planted.node");

const sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
const flags = [
  ...["-std=c++17", "-fno-exceptions", "-fno-rtti", "-fPIC", "-DNAPI_VERSION=8"],
  ...["-O1", "-g", "-fno-omit-frame-pointer", "-Wall", "-Wextra", ...sanitizers],
];
// A leak is the addon's where one of so many frames is: the allocator, then what called it.
const framesOfLeak = 5;

// What moves bytes over the addon, in this process and in programs that the tests start.
const tests = [
  "test/contract/tcp-epoll.test.ts",
  "test/integration/epoll-acceptor.test.ts",
  "test/integration/epoll-dialer.test.ts",
  "test/integration/epoll-loop.test.ts",
  "test/integration/epoll-fuzz.test.ts",
  "test/integration/held-socket.test.ts",
  "test/integration/held-server.test.ts",
];
// Their servers take tcp-epoll because it is there.
const longTests = [
  "test/integration/epoll-process.test.ts",
  "test/hostile/network.test.ts",
  "test/hostile/flow.test.ts",
  "test/hostile/framing.test.ts",
];
const longOperations = 10_000_000;

// They alone know Node; the fuzz does without them.
const boundary = ["binding.cc", "loop_handle.cc"].map((name) => join(native, name));

const results = { passed: 0, failed: 0 };

function note(name, start, fault) {
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.log(`${fault === undefined ? "✓" : "✗"} ${name} (${seconds} s)`);
  if (fault === undefined) results.passed += 1;
  else {
    results.failed += 1;
    console.log(fault);
  }
}

function libraryOf(name) {
  const run = spawnSync(compiler, [`-print-file-name=${name}`], { encoding: "utf8" });
  const path = run.stdout?.trim() ?? "";
  // A compiler that has no such file answers with its name.
  return path.includes("/") && existsSync(path) ? path : undefined;
}

// Beside the running Node, where npm was told, or where node-gyp keeps what it has fetched.
function headers() {
  const places = [
    join(dirname(dirname(process.execPath)), "include", "node"),
    join(process.env.npm_config_nodedir ?? "", "include", "node"),
    join(homedir(), ".cache", "node-gyp", process.versions.node, "include", "node"),
  ];
  return places.find((place) => existsSync(join(place, "node_api.h")));
}

function obstacle() {
  if (spawnSync(compiler, ["--version"]).status !== 0) {
    return `there is no C++ compiler (${compiler}): apt-get install g++`;
  }
  if (libraryOf("libasan.so") === undefined) {
    return `${compiler} has no libasan: apt-get install libasan8, or the one of its version`;
  }
  if (headers() === undefined) return "Node's headers are not here: npm run build:native";
  return undefined;
}

function sourcesIn(folder) {
  return readdirSync(folder)
    .filter((name) => name.endsWith(".cc"))
    .map((name) => join(folder, name));
}

function fingerprint() {
  const version = spawnSync(compiler, ["--version"], { encoding: "utf8" }).stdout;
  const hash = createHash("sha256").update(`${version}${flags.join(" ")}${process.version}\n`);
  for (const folder of [native, join(native, "fuzz")]) {
    for (const name of readdirSync(folder).sort()) {
      if (!/\.(?:cc|h)$/.test(name)) continue;
      hash.update(`${name}\n`).update(readFileSync(join(folder, name)));
    }
  }
  return hash.digest("hex");
}

function run(command, args, options = {}) {
  return new Promise((resolve) => {
    let said = "";
    const child = spawn(command, args, { cwd: root, stdio: "pipe", ...options });
    const take = (text) => {
      said += text;
      if (options.isShown) process.stdout.write(text);
    };
    child.stdout.setEncoding("utf8").on("data", take);
    child.stderr.setEncoding("utf8").on("data", take);
    child.on("error", (error) => resolve({ status: -1, said: error.message }));
    child.on("close", (code, signal) => resolve({ status: signal ?? code, said }));
  });
}

/** Compiles each source, as many at a time as there are processors. */
async function compileAll(sources) {
  const waiting = [...sources];
  const faults = [];
  const work = async () => {
    for (let source = waiting.pop(); source !== undefined; source = waiting.pop()) {
      const args = [...flags, `-I${headers()}`, "-c", source, "-o", objectOf(source)];
      const { status, said } = await run(compiler, args);
      if (status !== 0) faults.push(said);
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, work));
  return faults.length > 0 ? faults.join("\n") : undefined;
}

function objectOf(source) {
  return join(cache, `${basename(dirname(source))}-${basename(source)}.o`);
}

async function link(sources, output, ...rest) {
  const args = [...sanitizers, ...sources.map(objectOf), ...rest, "-o", output];
  const { status, said } = await run(compiler, args);
  return status === 0 ? undefined : said;
}

/** @returns {Promise<string | undefined>} why it failed */
async function build() {
  const stamp = join(cache, "built");
  const print = fingerprint();
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === print) return undefined;
  rmSync(cache, { recursive: true, force: true });
  mkdirSync(cache, { recursive: true });
  const core = sourcesIn(native).filter((path) => !boundary.includes(path));
  const fault = join(native, "fuzz", "planted.cc");
  const fuzzing = sourcesIn(join(native, "fuzz")).filter((path) => path !== fault);
  const reason =
    (await compileAll([...core, ...fuzzing, ...boundary, fault])) ??
    (await link([...core, ...fuzzing], fuzz, "-Wl,--wrap=malloc,--wrap=realloc")) ??
    (await link([...core, ...boundary], addon, "-shared")) ??
    (await link([fault], planted, "-shared"));
  if (reason === undefined) writeFileSync(stamp, print);
  return reason;
}

/** Errors end the process by a signal, whatever it makes of its exit code; leaks are only told. */
function environment() {
  const common = `abort_on_error=1:print_stacktrace=1:log_path=${join(logs, "report")}`;
  return {
    ...process.env,
    LD_PRELOAD: libraryOf("libasan.so"),
    ASAN_OPTIONS: `${common}:detect_leaks=1:exitcode=0`,
    UBSAN_OPTIONS: common,
    HOLDFAST_NATIVE_ADDON: addon,
  };
}

function clearReports() {
  rmSync(logs, { recursive: true, force: true });
  mkdirSync(logs, { recursive: true });
}

/** What the processes of the last step have left: every error, and the leaks of a library. */
function reportsOf(library) {
  const found = [];
  for (const name of readdirSync(logs)) {
    const text = readFileSync(join(logs, name), "utf8");
    if (/ERROR: AddressSanitizer|runtime error:/.test(text)) found.push(text);
    for (const leak of text.split("\n\n").filter((part) => / leak of /.test(part))) {
      const frames = leak.split("\n").filter((line) => /^\s+#\d/.test(line));
      if (frames.slice(0, framesOfLeak).some((line) => library.test(line))) found.push(leak);
    }
  }
  return found;
}

/** The fuzz has nothing of Node in it, so that every leak counts and the exit code says it. */
async function runFuzz(args) {
  const start = performance.now();
  const options = { ASAN_OPTIONS: "detect_leaks=1", UBSAN_OPTIONS: "print_stacktrace=1" };
  const { status, said } = await run(fuzz, args, {
    env: { ...process.env, ...options },
    isShown: true,
  });
  const last = said.trim().split("\n").at(-1);
  note(`fuzz: ${last}`, start, status === 0 ? undefined : `it ended with ${status}\n${said}`);
}

/** Without them nobody would see that the sanitizers have stopped working in Node's process. */
async function runPlanted() {
  const call = (name) =>
    `const addon = { exports: {} };
    process.dlopen(addon, ${JSON.stringify(planted)});
    addon.exports.${name}();`;
  for (const [name, told] of [
    ["overflow", /heap-buffer-overflow/],
    ["undefine", /signed integer overflow/],
    ["leak", / leak of 64 byte/],
  ]) {
    const start = performance.now();
    clearReports();
    const { said } = await run(process.execPath, ["-e", call(name)], { env: environment() });
    const found = [...reportsOf(/planted\.(?:cc|node)/), said].join("\n");
    note(`a planted fault is found: ${name}`, start, told.test(found) ? undefined : found);
  }
}

async function runTests(files) {
  const start = performance.now();
  clearReports();
  const report = join(cache, "vitest.json");
  rmSync(report, { force: true });
  const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${report}`];
  // The sanitizers take their time, in which the tests' limits were not set.
  const args = [vitest, "run", ...reporters, "--testTimeout=60000", ...files];
  const { status, said } = await run(process.execPath, args, { env: environment() });
  const counts = existsSync(report) ? JSON.parse(readFileSync(report, "utf8")) : {};
  const failed = Math.max(counts.numFailedTests ?? 0, status === 0 ? 0 : 1);
  results.passed += Math.max((counts.numPassedTests ?? 0) - 1, 0);
  results.failed += Math.max(failed - 1, 0);
  note(`tests on the sanitized addon`, start, failed === 0 ? undefined : said);
  const found = reportsOf(/holdfast\.node|\/native\/\w+\.(?:cc|h)/);
  const reports = found.length === 0 ? undefined : found.join("\n");
  note("no report of the sanitizers", performance.now(), reports);
}

async function sanitize(isLong, rest) {
  if (process.platform !== "linux") {
    console.log("sanitize: the native addon is for Linux, so there is nothing to check here");
    return;
  }
  const start = performance.now();
  const fault = obstacle() ?? (await build());
  note("build with sanitizers", start, fault);
  if (fault !== undefined) return;
  const operations = isLong ? ["--operations", `${longOperations}`] : [];
  // What is said later counts.
  await runFuzz([...operations, ...rest]);
  await runPlanted();
  await runTests(isLong ? [...tests, ...longTests] : tests);
}

const words = process.argv.slice(2);
await sanitize(
  words.includes("--long"),
  words.filter((word) => word !== "--long"),
);
console.log(`${results.passed} passed, ${results.failed} failed`);
process.exitCode = results.failed === 0 ? 0 : 1;
