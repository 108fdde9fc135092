// Profiles of one server under a load of the benchmarks: where its time goes (flame), whether its
// loop keeps up (doctor), what waits for what (bubbleprof), who allocates (heap).
//   npm run profile -- flame|doctor|bubbleprof|heap SCENARIO [--seconds N] [--out FOLDER]
//     [--tool clinic|node|perf] [--json]
import { existsSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { progress, refuse } from "./command-line.mjs";
import { KINDS, SYSTEM_CALL } from "./profile/frame-tree.mjs";
import { SCENARIOS } from "./profile/scenarios.mjs";
import { TOOLS } from "./profile/tools.mjs";
import { makeFolder } from "./result.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const PROFILES = {
  flame: "where the CPU time goes",
  doctor: "does the event loop keep up, and what does garbage collection take",
  bubbleprof: "which asynchronous resources are made, how long each kind waits and runs",
  heap: "who allocates",
};
const SECONDS_MAX = 60;
const TOP = 15;
const SYSTEM_CALLS = 6;
const NAME_CHARACTERS = 70;

function listed(entries) {
  return entries.map(([name, title]) => `  ${name.padEnd(28)} ${title}`);
}

const scenarioList = () =>
  listed(Object.entries(SCENARIOS).map(([name, { title }]) => [name, title]));

function help() {
  return [
    "npm run profile -- KIND SCENARIO [flags]",
    "",
    "KIND, what is asked:",
    ...listed(Object.entries(PROFILES)),
    "",
    "SCENARIO, the load (--list prints these):",
    ...scenarioList(),
    "",
    "Flags, with what they take and (their defaults):",
    `  --seconds    how long is looked at the loaded server, 0.5 to ${SECONDS_MAX} (5)`,
    "  --tool       clinic | node | perf: who looks on (auto: clinic, or node where it fails)",
    "               perf knows flame alone, and sees native and kernel frames",
    "  --out        folder of what is written (.cache/profile/KIND-SCENARIO)",
    "  --dist       another build of Holdfast (dist)",
    "  --json       print the frames and facts as JSON",
    "  --list       print the scenarios",
    "",
    "How to read what comes of it: docs/performance.md",
  ].join("\n");
}

function readArguments() {
  let given;
  try {
    given = parseArgs({
      allowPositionals: true,
      options: {
        seconds: { type: "string", default: "5" },
        tool: { type: "string", default: "auto" },
        out: { type: "string" },
        dist: { type: "string", default: join(root, "dist") },
        json: { type: "boolean", default: false },
        list: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    });
  } catch (error) {
    refuse(`${error.message}\n\n${help()}`);
  }
  const { values, positionals } = given;
  if (values.help || values.list) {
    console.log(values.help ? help() : scenarioList().join("\n"));
    process.exit(0);
  }
  return checked(values, positionals);
}

function checked(values, [kind, name, ...more]) {
  if (!Object.hasOwn(PROFILES, kind ?? "")) {
    const what = kind === undefined ? "a kind of profile is missing" : `no such kind: ${kind}`;
    refuse(`${what}. There are\n${listed(Object.entries(PROFILES)).join("\n")}`);
  }
  if (!Object.hasOwn(SCENARIOS, name ?? "")) {
    const what = name === undefined ? "a scenario is missing" : `no such scenario: ${name}`;
    refuse(`${what}. There are\n${scenarioList().join("\n")}`);
  }
  if (more.length > 0) refuse(`one profile at a time, without ${more.join(" ")}`);
  const seconds = Number(values.seconds);
  if (!(seconds >= 0.5 && seconds <= SECONDS_MAX)) {
    refuse(`--seconds is 0.5 to ${SECONDS_MAX}: not ${values.seconds}`);
  }
  const tools = Object.keys(TOOLS).filter((tool) => TOOLS[tool].kinds.includes(kind));
  if (values.tool !== "auto" && !tools.includes(values.tool)) {
    refuse(`--tool for ${kind} is one of ${tools.join(", ")}, not ${values.tool}`);
  }
  const dist = resolve(values.dist);
  if (!existsSync(join(dist, "server/server.js"))) refuse(`${dist} holds no build: npm run build`);
  const out = resolve(values.out ?? join(root, ".cache", "profile", `${kind}-${name}`));
  return { kind, name, seconds, tool: values.tool, dist, out, json: values.json };
}

/** @returns what the tool saw, its name, and why another one was not used. */
async function take(asked, job) {
  const notes = [];
  for (const tool of asked === "auto" ? ["clinic", "node"] : [asked]) {
    const { missing, run } = TOOLS[tool];
    const why = missing();
    if (why === "") {
      progress(`${job.kind} with ${tool}: ${job.title}, ${job.seconds} s`);
      try {
        return { tool, notes, ...(await run(job)) };
      } catch (error) {
        notes.push(`${tool} failed: ${error.message}`);
      }
    } else {
      notes.push(`${tool} was not used: ${why}`);
    }
    progress(notes.at(-1));
  }
  process.exit(1);
}

function percent(share) {
  return `${(100 * share).toFixed(1)}%`.padStart(6);
}

function frameTable({ frames, kinds, idleShare, systemCalls }) {
  const shorten = (text) =>
    text.length > NAME_CHARACTERS ? `${text.slice(0, NAME_CHARACTERS - 3)}...` : text;
  const shares = KINDS.filter((kind) => kinds[kind] > 0).map(
    (kind) => `${kind} ${percent(kinds[kind]).trim()}`,
  );
  const calls = systemCalls
    .slice(0, SYSTEM_CALLS)
    .map(({ name, share }) => `${name} ${percent(share).trim()}`);
  const idle = idleShare > 0 ? `, idle ${percent(idleShare).trim()} of the time` : "";
  return [
    `  self  kind    frame`,
    ...frames.map(
      ({ name, kind, share }) => `${percent(share)}  ${kind.padEnd(6)}  ${shorten(name)}`,
    ),
    `by kind: ${shares.join(", ")}${idle}`,
    ...(calls.length === 0 ? [] : [`in system calls: ${calls.join(", ")}`]),
  ].join("\n");
}

function bubbleTable({ seconds, types }) {
  const rows = Object.entries(types).sort(([, a], [, b]) => b.ranMs - a.ranMs);
  const line = (cells) => cells.map((cell, at) => (at === 0 ? cell.padEnd(28) : cell.padStart(12)));
  return [
    line(["type", "made /s", "ran /s", "ms ran /s", "ms waited"]).join(""),
    ...rows
      .slice(0, TOP)
      .map(([type, { made, ran, ranMs, waitedMs }]) =>
        line([
          type,
          ...[made / seconds, ran / seconds, ranMs / seconds].map((value) => value.toFixed(1)),
          ran === 0 ? "-" : (waitedMs / ran).toFixed(3),
        ]).join(""),
      ),
  ].join("\n");
}

function doctorText({ loopUtilization, loopDelayMs, cpu, gc, seconds, memory, resources }) {
  const open = Object.entries(resources).map(([type, count]) => `${count} ${type}`);
  const perSecond = (ms) => `${(ms / seconds).toFixed(2)} ms/s`;
  const share = (value) => percent(value).trim();
  const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
  return [
    `event loop    busy ${share(loopUtilization)} of the time`,
    `timer of 10 ms  p50 ${loopDelayMs.p50.toFixed(1)} ms, p99 ${loopDelayMs.p99.toFixed(1)} ms`,
    `CPU           user ${share(cpu.user)}, system ${share(cpu.system)} of a core`,
    `collections   ${gc.count}, ${perSecond(gc.totalMs)}, longest ${gc.maxMs.toFixed(2)} ms`,
    `memory        ${megabytes(memory.rss)} resident, ${megabytes(memory.heapUsed)} heap`,
    `open          ${open.join(", ")}`,
  ].join("\n");
}

function print({ json, ...result }) {
  if (json) {
    console.log(JSON.stringify(result, null, 2));
    return;
  }
  const { kind, frames, facts, files, look, tool } = result;
  if (frames !== null) console.log(frameTable(result));
  if (facts !== null) console.log(kind === "doctor" ? doctorText(facts) : bubbleTable(facts));
  console.log([`written by ${tool}: ${files.join(", ")}`, look].join("\n"));
}

const { kind, name, seconds, tool: asked, dist, out, json } = readArguments();
const scenario = SCENARIOS[name];
makeFolder(out);
const title = `${name}: ${scenario.title}`;
const seen = await take(asked, { kind, title, scenario, dist, seconds, out });
const { tree, tool, notes, files, look, facts } = seen;
print({
  ...{ json, kind, scenario: name, seconds, tool, notes, files, look, facts },
  frames: tree?.top(TOP) ?? null,
  systemCalls: tree?.within(SYSTEM_CALL) ?? null,
  kinds: tree?.kinds() ?? null,
  idleShare: tree === null ? null : tree.idle / (tree.idle + tree.total),
});
process.exit(0);
