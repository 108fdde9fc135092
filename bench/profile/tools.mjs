// Who looks on: clinic, Node itself, or perf. Each gives what it wrote and, where it knows, frames.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { flameGraph } from "./flame-graph.mjs";
import {
  fromClinicSamples,
  fromCpuProfile,
  fromHeapProfile,
  fromPerfScript,
} from "./frame-tree.mjs";
import { profile } from "./run.mjs";

const CLINIC = "clinic@13.0.0";
/** It asks for consent to be counted where there is nobody to answer, and ends without a word. */
const CLINIC_COMMAND = ["env", "NO_INSIGHT=1", "NO_UPDATE_NOTIFIER=1", "npx", "-y", CLINIC];
const CLINIC_FETCH_MS_MAX = 90_000;
const CLINIC_KINDS = {
  flame: "flame",
  doctor: "doctor",
  bubbleprof: "bubbleprof",
  heap: "heapprofiler",
};
/** Samples a second; odd, so that nothing that comes every millisecond is always or never seen. */
const PERF_HZ = 1_999;
const PERF_TEXT_BYTES_MAX = 1024 * 1024 * 1024;

/**
 * @typedef {{files: string[], look: string, tree: import("./frame-tree.mjs").FrameTree | null,
 *   facts: object | null}} Seen  `look`: how what was written is looked at
 * @typedef {{kind: string, title: string, scenario: import("./scenarios.mjs").Scenario,
 *   dist: string, seconds: number, out: string}} Job
 */

/** Each tool: the kinds of profile that it knows; why it cannot be used here ("": it can); run. */
export const TOOLS = {
  clinic: { kinds: Object.keys(CLINIC_KINDS), missing: clinicMissing, run: runClinic },
  node: { kinds: ["flame", "doctor", "bubbleprof", "heap"], missing: () => "", run: runNode },
  perf: { kinds: ["flame"], missing: perfMissing, run: runPerf },
};

/** The first line of what a command that failed said. */
function reason({ error, stderr = "", status }) {
  if (error !== undefined) return error.code ?? error.message;
  const [line = ""] = stderr
    .split("\n")
    .filter((text) => text !== "" && !text.startsWith("npm warn"));
  return line === "" ? `exit code ${status}` : line;
}

function clinicMissing() {
  const [file, ...args] = [...CLINIC_COMMAND, "--version"];
  const run = spawnSync(file, args, { encoding: "utf8", timeout: CLINIC_FETCH_MS_MAX });
  return run.status === 0 ? "" : `npx cannot run ${CLINIC}: ${reason(run)}`;
}

/** @returns {Promise<Seen>} its HTML report, of the server's whole life */
async function runClinic({ kind, scenario, dist, seconds, out }) {
  const name = CLINIC_KINDS[kind];
  const before = new Set(readdirSync(out));
  await profile(scenario, {
    command: [...CLINIC_COMMAND, name, "--open=false", "--dest", out, "--", "node"],
    dist,
    seconds,
    watch: () => wait(seconds * 1_000),
  });
  const made = readdirSync(out).filter((file) => !before.has(file));
  const report = made.find((file) => file.endsWith(`.clinic-${name}.html`));
  if (report === undefined) throw new Error(`clinic ${name} wrote no report`);
  const data = join(out, report.replace(/\.html$/, ""));
  return {
    files: [join(out, report)],
    look: "open the HTML file in a browser",
    tree: kind === "flame" ? clinicTree(data, report.split(".")[0]) : null,
    facts: null,
  };
}

function clinicTree(folder, pid) {
  const file = join(folder, `${pid}.clinic-flame-samples`);
  return existsSync(file) ? fromClinicSamples(JSON.parse(readFileSync(file, "utf8"))) : null;
}

/** @returns {Promise<Seen>} */
async function runNode({ kind, title, scenario, dist, seconds, out }) {
  const ends = { flame: ".cpuprofile", heap: ".heapprofile", doctor: ".json", bubbleprof: ".json" };
  const file = join(out, `${kind}${ends[kind]}`);
  const facts = await profile(scenario, {
    command: [process.execPath],
    dist,
    seconds,
    watch: async (server) => {
      await server.ask(`begin ${kind}`);
      await wait(seconds * 1_000);
      return (await server.ask(`end ${file}`)).facts;
    },
  });
  if (kind === "doctor" || kind === "bubbleprof") {
    return { files: [file], look: "it is what is printed here", tree: null, facts };
  }
  const read = kind === "flame" ? fromCpuProfile : fromHeapProfile;
  const tree = read(JSON.parse(readFileSync(file, "utf8")));
  const graph = writeGraph(out, tree, title);
  const look = "open flame.html in a browser, or the profile in Chrome's developer tools";
  return { files: [file, graph], look, tree, facts: null };
}

function writeGraph(out, tree, title) {
  const file = join(out, "flame.html");
  writeFileSync(file, flameGraph(tree, title));
  return file;
}

function perfMissing() {
  const run = spawnSync("perf", ["record", "-q", "-g", "-o", "/dev/null", "--", "true"], {
    encoding: "utf8",
  });
  return run.status === 0 ? "" : `perf cannot record here: ${reason(run)}`;
}

/** @returns {Promise<Seen>} with native and kernel frames; inlined JavaScript is not told apart */
async function runPerf({ title, scenario, dist, seconds, out }) {
  const data = join(out, "perf.data");
  // With the flag V8 begins a log as well, in the folder where it was started.
  const log = join(out, "v8.log");
  const noLog = ["--no-logfile-per-isolate", `--logfile=${log}`];
  // It would be kept as another file.
  rmSync(data, { force: true });
  let map = "";
  let tree;
  try {
    await profile(scenario, {
      command: [process.execPath, "--perf-basic-prof", ...noLog],
      dist,
      seconds,
      watch: async ({ pid }) => {
        map = `/tmp/perf-${pid}.map`;
        await record(pid, seconds, data);
      },
    });
    tree = fromPerfScript(perfScript(data));
  } finally {
    if (map !== "") rmSync(map, { force: true });
    rmSync(log, { force: true });
  }
  if (tree.total === 0) throw new Error("perf saw nothing");
  const look = "open flame.html in a browser; `perf report -i perf.data` knows less of JavaScript";
  return { files: [writeGraph(out, tree, title), data], look, tree, facts: null };
}

async function record(pid, seconds, data) {
  const args = ["record", "-q", "-g", "-F", PERF_HZ, "-e", "cpu-clock", "-p", pid, "-o", data];
  const perf = spawn("perf", [...args, "--", "sleep", seconds].map(String), {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  perf.stderr.on("data", (text) => {
    said += text;
  });
  const [code] = await once(perf, "exit");
  if (code !== 0) throw new Error(`perf record: ${said.trim()}`);
}

function perfScript(data) {
  const args = ["script", "-i", data, "-F", "ip,sym,dso"];
  const run = spawnSync("perf", args, { encoding: "utf8", maxBuffer: PERF_TEXT_BYTES_MAX });
  if (run.status !== 0) throw new Error(`perf script: ${reason(run)}`);
  return run.stdout;
}
