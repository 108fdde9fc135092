// What the commands of operators print for people: a page of figures, and tables. What clients call
// themselves is shown without control characters, so that no client drives a terminal.

import { formatBytes, formatCount, formatDuration, formatRate } from "../probe/quantity.ts";
import { plain, textTable } from "../probe/text-layout.ts";
import type { ConnectionReport } from "../server/inspect.ts";
import type { StatsReport } from "../server/stats.ts";

/** /stats of a supervisor has these beside a server's own. */
export interface ServerStats extends StatsReport {
  readonly workers?: readonly WorkerFigures[];
  readonly missing?: readonly number[];
  readonly supervisor?: {
    readonly slots: number;
    readonly crashes: number;
    readonly breakersOpen: readonly number[];
    readonly slotStates: readonly string[];
    readonly config: {
      readonly hash: string;
      readonly pending: {
        readonly rolling: readonly string[];
        readonly supervisor: readonly string[];
      };
      readonly problem: string | null;
    };
  };
}

interface WorkerFigures {
  readonly slot: number;
  readonly worker: number;
  readonly pid: number;
  readonly state: string;
  readonly configHash: string | null;
  readonly connections: number | null;
  readonly queueBytes: number | null;
  readonly rssBytes: number | null;
  readonly fds: number | null;
  readonly fdLimit: number | null;
  readonly uptimeMs: number | null;
  readonly lagP99Ms: number | null;
}

const UNKNOWN = "-";

export function statsPage(stats: ServerStats, width: number): string {
  const { connections, rates, queue, loop, admission } = stats;
  const cpuMs = (stats.cpuMicros.user + stats.cpuMicros.system) / 1_000;
  const places = stats.listeners.map(({ name, address }) => `${name} ${address ?? "(closed)"}`);
  const rows = [
    [
      "connections",
      `${formatCount(connections.total)} of ${formatCount(connections.max)}; ` +
        `${formatRate(rates.opens)} opened, ${formatRate(rates.closes)} closed` +
        (admission.accepting ? "" : "; NOT ACCEPTING: files are running out"),
    ],
    ["frames", `${formatRate(rates.framesIn)} in, ${formatRate(rates.framesOut)} out`],
    ["bytes", `${formatBytes(rates.bytesIn)}/s in, ${formatBytes(rates.bytesOut)}/s out`],
    [
      "queues",
      `${formatBytes(queue.bytes)} of ${formatBytes(queue.budgetBytes)}, ` +
        `for ${formatCount(queue.backlogged)} connections`,
    ],
    [
      "loop",
      `p99 ${Math.ceil(loop.lagP99Ms)} ms late, worst ${Math.ceil(loop.lagMaxMs)} ms, ` +
        `${loop.stalls} stalls`,
    ],
    [
      "process",
      `${formatBytes(stats.rssBytes)} memory, ${formatDuration(cpuMs)} CPU time, ` +
        `${files(stats.fds, stats.fdLimit)} files`,
    ],
    ["listeners", places.join(", ") || "none"],
    ...supervisorRows(stats),
  ];
  const { node, version, state, readiness, uptimeMs } = stats;
  const ready = readiness === "ready" ? "" : `, NOT READY: ${readiness}`;
  const head = `${node}: Holdfast ${version}, ${state}${ready}, up ${formatDuration(uptimeMs)}`;
  const lines = [
    plain(head),
    ...textTable(
      rows.map((row) => row.map(plain)),
      "ll",
      width,
    ),
  ];
  return `${[...lines, ...workerTable(stats, width)].join("\n")}\n`;
}

function supervisorRows({ supervisor, missing = [] }: ServerStats): string[][] {
  if (supervisor === undefined) return [];
  const { config, crashes, breakersOpen } = supervisor;
  const { rolling, supervisor: anew } = config.pending;
  const rows = [["configuration", config.hash]];
  if (config.problem !== null) rows.push(["REFUSED", config.problem.replace(/\s*\n\s*/g, " ")]);
  if (rolling.length > 0) rows.push(["waiting", `for holdfast reload: ${rolling.join(", ")}`]);
  if (anew.length > 0) rows.push(["waiting", `for the server's next start: ${anew.join(", ")}`]);
  if (crashes > 0) rows.push(["crashes", formatCount(crashes)]);
  if (breakersOpen.length > 0) {
    const slots = breakersOpen.join(", ");
    const text = "workers end too often; tried again each minute, or by holdfast reload";
    rows.push(["BROKEN", `slot ${slots}: ${text}`]);
  }
  if (missing.length > 0) rows.push(["SILENT", silentText(missing)]);
  return rows;
}

function silentText(missing: readonly number[]): string {
  return `worker ${missing.join(", ")} does not answer: what it holds is not counted`;
}

function workerTable({ workers, supervisor, missing = [] }: ServerStats, width: number): string[] {
  if (workers === undefined) return [];
  const head = ["slot", "worker", "pid", "state", "connections", "queued", "memory", "files"];
  const rows = workers.map((each) => [
    String(each.slot),
    String(each.worker),
    String(each.pid),
    missing.includes(each.worker) ? "silent" : plain(each.state),
    shown(each.connections, formatCount),
    shown(each.queueBytes, formatBytes),
    shown(each.rssBytes, formatBytes),
    files(each.fds, each.fdLimit),
    shown(each.lagP99Ms, (ms) => `${Math.ceil(ms)} ms`),
    shown(each.uptimeMs, formatDuration),
    each.configHash ?? UNKNOWN,
  ]);
  const filled = new Set(workers.map(({ slot }) => slot));
  for (const [slot, state] of (supervisor?.slotStates ?? []).entries()) {
    if (!filled.has(slot)) rows.push([String(slot), UNKNOWN, UNKNOWN, plain(state)]);
  }
  return [
    "",
    ...textTable([[...head, "lag p99", "up", "configuration"], ...rows], "rrrlrrrrrrl", width),
  ];
}

/** @param missing workers that did not answer. */
export function connectionsTable(
  matching: number,
  connections: readonly ConnectionReport[],
  missing: readonly number[],
  width: number,
): string {
  const head = ["id", "state", "transport", "address", "age", "seen", "queued", "in", "out"];
  const rows = connections.map((each) => [
    each.id,
    each.state,
    each.transport,
    plain(each.address),
    formatDuration(each.ageMs),
    formatDuration(each.lastSeenMs),
    formatBytes(each.queueBytes),
    formatBytes(each.bytesIn),
    formatBytes(each.bytesOut),
    plain(each.client),
  ]);
  const lines = textTable([[...head, "client"], ...rows], "llllrrrrrl", width);
  const silent = missing.length === 0 ? "" : `${silentText(missing)}\n`;
  return `${lines.join("\n")}\n${connections.length} of ${formatCount(matching)}\n${silent}`;
}

function files(open: number | null, limit: number | null): string {
  const of = limit === null ? "" : ` of ${formatCount(limit)}`;
  return open === null ? UNKNOWN : `${formatCount(open)}${of}`;
}

function shown(value: number | null, format: (value: number) => string): string {
  return value === null ? UNKNOWN : format(value);
}
