// What `holdfast serve` looks at before it serves: whether this machine holds what the options
// promise. The judgement is the doctor's (src/probe/doctor.ts); here are the server's own numbers,
// and the one kernel setting that it sets by itself.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { HoldfastError } from "../base/errors.ts";
import type { Options } from "../config/options.ts";
import type { Log } from "../observe/log.ts";
import { type Finding, type Level, setSysctl } from "../probe/doctor-check.ts";
import { examine, findingText, mendText } from "../probe/doctor.ts";
import { readHost, readListenDrops } from "../probe/host.ts";
import { DEVIATIONS, FILES_OF_WORKER } from "../supervisor/worker-count.ts";

export interface PreflightCheck {
  /** fail: `connection.max` was set, and cannot be held. */
  readonly level: Level;
  /** What was looked at: `files, 4 servers`, `net.core.somaxconn`. */
  readonly what: string;
  /** The numbers and what they mean, as a sentence without its full stop. */
  readonly text: string;
  /** Commands and settings that mend it, the quickest first, each with a remark. */
  readonly advice: readonly string[];
}

export interface PreflightReport {
  /** Of all workers together. */
  readonly connectionsMax: number;
  /** Processes that share them, 1 or more. */
  readonly workers: number;
  readonly checks: readonly PreflightCheck[];
}

const NOT_PROMISED = "connection.max is not set, so this is about as many as there are files for";

/**
 * Looks at this machine, in some milliseconds, and changes nothing. Where something cannot be read
 * there is no check of it.
 *
 * @param workers as workers.count was resolved; 0: one process without a supervisor.
 * @param connectionsMax of all workers together.
 * @param root where `proc` and `sys` lie.
 */
export function preflight(
  options: Options,
  workers: number,
  connectionsMax: number,
  root: string = "/",
): PreflightReport {
  const processes = Math.max(1, workers);
  const ports = Number(options.tcp.enabled) + Number(options.websocket.enabled);
  const spread = processes === 1 ? 0 : DEVIATIONS * Math.sqrt(connectionsMax / processes);
  const { lines } = examine(readHost(root), {
    connections: connectionsMax,
    role: "server",
    target: null,
    processes,
    server: {
      backlog: options.tcp.backlog,
      filesReserved: FILES_OF_WORKER + ports * processes + Math.ceil(spread),
    },
  });
  // Where nobody said how many, nothing was promised: the default is as many as there are files.
  const isPromised = options.connection.max !== null;
  const checks = lines.map((line) => checkOf(line, isPromised));
  const drops = listenDrops(root);
  return {
    connectionsMax,
    workers: processes,
    checks: drops === null ? checks : [...checks, drops],
  };
}

function checkOf(line: Finding, isPromised: boolean): PreflightCheck {
  // How much they send nobody knows yet: connections at rest can be held by fewer cores.
  const isLenient = !isPromised || line.name === "cores";
  const level = line.level === "fail" && isLenient ? "warn" : line.level;
  const why = level !== "ok" && !isPromised ? `; ${NOT_PROMISED}` : "";
  const text = findingText(line) + why;
  return { level, what: line.name, text, advice: line.mend.map(mendText) };
}

/** They may be anybody's, of long ago: no warning, but what later counts are compared with. */
function listenDrops(root: string): PreflightCheck | null {
  const found = readListenDrops(root);
  if (found === null) return null;
  const text =
    `since the machine's start ${found.overflows} times a listener's queue was full, and ` +
    `${found.drops} connections were dropped there`;
  return { level: "ok", what: "listen drops", text, advice: [] };
}

const MIGRATE = "net.ipv4.tcp_migrate_req";
const MIGRATE_WHY =
  "lets connections that wait at a listening socket go on at another one when it is closed";

/**
 * Sets net.ipv4.tcp_migrate_req to 1 where that is allowed; never throws. Listening sockets are
 * held open all the same: this is for the day on which one is closed.
 *
 * @param root where `proc` lies.
 */
export function enableMigration(root: string = "/"): PreflightCheck & { readonly isSet: boolean } {
  const file = join(root, "proc/sys", MIGRATE.replaceAll(".", "/"));
  const check = { level: "ok", what: MIGRATE, advice: [], isSet: false } as const;
  try {
    if (readFileSync(file, "utf8").trim() === "1") {
      return { ...check, text: `${MIGRATE} is 1: it ${MIGRATE_WHY}` };
    }
    writeFileSync(file, "1", { flag: "r+" });
    return { ...check, isSet: true, text: `${MIGRATE} was set to 1: it ${MIGRATE_WHY}` };
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? String(error);
    if (code === "ENOENT") return { ...check, text: `${MIGRATE} is not in this kernel` };
    const text = `${MIGRATE} could not be set to 1 (${code}): it ${MIGRATE_WHY}`;
    return { ...check, level: "warn", text, advice: setSysctl(MIGRATE, "1").map(mendText) };
  }
}

/**
 * Looks, logs one line for each thing that is amiss, and sets what the server sets by itself.
 *
 * @throws HoldfastError (HOLDFAST_PREFLIGHT_FAILED) with preflight.strict, where the connections
 * cannot be held.
 */
export function runPreflight(
  options: Options,
  workers: number,
  connectionsMax: number,
  log: Log,
  root: string = "/",
): PreflightReport {
  const report = preflight(options, workers, connectionsMax, root);
  const failure = preflightFailure(report);
  if (failure !== null && options.preflight.strict) throw failure;
  const checks = [...report.checks];
  if (workers > 0) {
    const { isSet, ...migration } = enableMigration(root);
    if (isSet) log.info({ check: migration.what }, migration.text);
    checks.push(migration);
  }
  for (const { level, what, text, advice } of checks) {
    if (level === "ok") continue;
    log.warn({ check: what, level, connectionsMax, advice: advice[0] }, text);
  }
  return { ...report, checks };
}

/** What strictness refuses, with all that is to be done; null: nothing. */
export function preflightFailure(report: PreflightReport): HoldfastError | null {
  const fails = report.checks.filter(({ level }) => level === "fail");
  if (fails.length === 0) return null;
  const { connectionsMax, workers } = report;
  const lines = fails.flatMap(({ text, advice }) => [
    `  ${text}`,
    ...advice.map((line) => `    ${line}`),
  ]);
  const command = `holdfast-probe doctor --as server -c ${connectionsMax} --processes ${workers}`;
  const message =
    `this machine cannot hold connection.max ${connectionsMax} in ` +
    `${workers === 1 ? "one process" : `${workers} processes`}:\n${lines.join("\n")}\n` +
    `  Mend that, lower connection.max, or leave preflight.strict (--strict) off; ${command} ` +
    `says what else there is`;
  return new HoldfastError("HOLDFAST_PREFLIGHT_FAILED", message);
}
