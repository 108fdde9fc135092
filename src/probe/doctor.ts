// `holdfast-probe doctor`: is this host fit to hold, or to make, so many connections; what is in
// the way, and which command removes it. A judgement over what host.ts has read: nothing is asked.

import {
  type Check,
  type Finding,
  type Level,
  type Mend,
  type Quantity,
  type Role,
  roleFor,
  sceneOf,
  type ServerFacts,
  type Unit,
} from "./doctor-check.ts";
import {
  checkClientFiles,
  checkFileLimitMax,
  checkServerFiles,
  checkSystemFiles,
  connectionMaxFor,
} from "./doctor-files.ts";
import { checkCores, checkMemory } from "./doctor-machine.ts";
import {
  checkConntrack,
  checkSomaxconn,
  checkSources,
  checkSynBacklog,
  checkTcpMemory,
  checkTimeWait,
} from "./doctor-network.ts";
import type { Host } from "./host.ts";
import { formatBytes, formatCount } from "./quantity.ts";
import type { Target } from "./target.ts";

export const DOCTOR_SCHEMA = "holdfast-probe.doctor/1";

export interface DoctorQuestion {
  /** null: as many as this host allows. */
  readonly connections: number | null;
  /**
   * What this host is to be; "both": server and probe side by side. null: "client" where the target
   * is another host, or else "both".
   */
  readonly role: Role | null;
  readonly target: Target | null;
  /** Processes that share the connections; null: one server, as many generators as needed. */
  readonly processes: number | null;
  /** Of the server that asks about itself. */
  readonly server?: ServerFacts;
}

/** What `doctor --json` prints; docs/probe.md describes it. */
export interface Diagnosis {
  readonly schema: typeof DOCTOR_SCHEMA;
  readonly role: Role;
  /** As it was written. */
  readonly target: string | null;
  /** What was asked for; null: nothing was. */
  readonly connections: number | null;
  /** What the lines are about: what was asked for, or else the safe maximum. */
  readonly judgedConnections: number;
  readonly lines: readonly Finding[];
  /** Most connections at which no line fails, with the settings of now. */
  readonly safeMaximum: number;
  /** Name of the line that would fail first beyond it; null: none would. */
  readonly boundBy: string | null;
  /** What makes a Holdfast server take the safe maximum; null where it does by itself. */
  readonly safeMaximumMend: Mend | null;
  /** 0, or 99 where a line fails. */
  readonly exitCode: number;
}

const CHECKS: readonly Check[] = [
  checkServerFiles,
  checkClientFiles,
  checkFileLimitMax,
  checkSystemFiles,
  checkSomaxconn,
  checkSynBacklog,
  checkSources,
  checkTimeWait,
  checkConntrack,
  checkTcpMemory,
  checkMemory,
  checkCores,
];

/** More is not asked for: where nothing bounds them, this is the safe maximum. */
const CONNECTIONS_MAX = 100_000_000;
const EXIT_CODE_FAILED = 99;

export function examine(host: Host, question: DoctorQuestion): Diagnosis {
  const { connections, target, processes } = question;
  const role = question.role ?? roleFor(host, target);
  const scene = sceneOf(host, role, target, processes, question.server ?? null);
  const findings = (count: number): readonly Finding[] =>
    CHECKS.map((check) => check(scene, count)).filter((finding) => finding !== null);
  const firstFailure = (count: number): Finding | undefined => findings(count).find(hasFailed);
  const safeMaximum = mostWithout((count) => firstFailure(count) !== undefined);
  const bound = safeMaximum < CONNECTIONS_MAX ? firstFailure(safeMaximum + 1) : undefined;
  const judgedConnections = connections ?? safeMaximum;
  const lines = findings(judgedConnections);
  return {
    schema: DOCTOR_SCHEMA,
    role,
    target: target?.text ?? null,
    connections,
    judgedConnections,
    lines,
    safeMaximum,
    boundBy: bound?.name ?? null,
    safeMaximumMend: connectionMaxFor(scene, safeMaximum),
    exitCode: lines.some(hasFailed) ? EXIT_CODE_FAILED : 0,
  };
}

function hasFailed({ level }: Finding): boolean {
  return level === "fail";
}

/** The most at which it does not fail; whatever fails goes on failing beyond. */
function mostWithout(fails: (count: number) => boolean): number {
  let low = 0;
  let high = CONNECTIONS_MAX;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (fails(middle)) high = middle - 1;
    else low = middle;
  }
  return low;
}

const MARKS: Readonly<Record<Level, string>> = { ok: "ok", warn: "WARN", fail: "FAIL" };
/** ANSI: green, yellow, red. The words say it as well. */
const COLOURS: Readonly<Record<Level, number>> = { ok: 32, warn: 33, fail: 31 };
const ROLES: Readonly<Record<Role, string>> = {
  server: "as server",
  client: "as client",
  both: "as server and client",
};
const INDENT = " ".repeat(6);
const WIDTH_MIN = 60;

/** For people. Commands have lines of their own and are never wrapped: they can be copied. */
export function diagnosisText(diagnosis: Diagnosis, width: number, colour: boolean): string {
  const { lines } = diagnosis;
  const nameWidth = Math.max(0, ...lines.map(({ name }) => name.length));
  const foundWidth = Math.max(0, ...lines.map((line) => foundText(line).length));
  const out: string[] = [...titleLines(diagnosis), ""];
  for (const line of lines) {
    const mark = paint(MARKS[line.level].padEnd(4), COLOURS[line.level], colour);
    const head = `${line.name.padEnd(nameWidth)}  ${foundText(line).padEnd(foundWidth)}`;
    out.push(`${mark}  ${head}  ${neededText(line)}`.trimEnd());
    for (const row of wrap(line.text, Math.max(width, WIDTH_MIN) - INDENT.length)) {
      out.push(INDENT + row);
    }
    for (const mend of line.mend) out.push(`${INDENT}  ${paint(mendText(mend), 1, colour)}`);
  }
  out.push("", ...resultLines(diagnosis));
  return `${out.join("\n")}\n`;
}

function titleLines({ judgedConnections, connections, role, target }: Diagnosis): string[] {
  const where = target === null ? "" : ` (${target})`;
  const title = `doctor: ${formatCount(judgedConnections)} connections, ${ROLES[role]}${where}`;
  if (connections !== null) return [title];
  return [title, "No number was asked for (-c): this is the most at which nothing fails."];
}

/** Its unit stands in the second column, where there is one. */
function foundText({ found, needed }: Finding): string {
  if (found === null) return "-";
  return needed === null ? quantityText(found) : numberText(found);
}

function neededText({ needed }: Finding): string {
  return needed === null ? "" : `needed ${quantityText(needed)}`;
}

/** Units that the number or the line's name says already. */
const UNITS_UNSAID: readonly Unit[] = ["bytes", "cores", "mode"];

function quantityText(quantity: Quantity): string {
  const text = numberText(quantity);
  return UNITS_UNSAID.includes(quantity.unit) ? text : `${text} ${quantity.unit}`;
}

function numberText({ value, unit }: Quantity): string {
  if (value === null) return "unlimited";
  return unit === "bytes" ? formatBytes(value) : formatCount(value);
}

/** What was looked at and found, on one line. */
export function findingText(finding: Finding): string {
  const found = finding.found === null ? "" : ` ${foundText(finding)}`;
  const needed = finding.needed === null ? "" : ` (${neededText(finding)})`;
  return `${finding.name}${found}${needed}: ${finding.text}`;
}

/** A shell takes what follows the command for a comment. */
export function mendText(mend: Mend): string {
  return `${"command" in mend ? mend.command : mend.setting}  # ${mend.text}`;
}

function resultLines(diagnosis: Diagnosis): string[] {
  const { lines, safeMaximum, boundBy, judgedConnections, safeMaximumMend } = diagnosis;
  const fails = lines.filter(hasFailed).length;
  const warnings = lines.filter(({ level }) => level === "warn").length;
  const bound = boundBy === null ? "nothing that this host tells" : `"${boundBy}"`;
  const verdict =
    fails > 0
      ? `NOT FIT: ${plural(fails, "failure")}, ${plural(warnings, "warning")}.`
      : `FIT${warnings > 0 ? `, with ${plural(warnings, "warning")}` : ""}.`;
  const safe = `Safe maximum as it is now: ${formatCount(safeMaximum)}, bound by ${bound}.`;
  const isSaid = safeMaximumMend === null || judgedConnections === safeMaximum;
  return [`RESULT ${verdict} ${safe}`, ...(isSaid ? [] : [`  ${mendText(safeMaximumMend)}`])];
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

function paint(text: string, code: number, colour: boolean): string {
  return colour ? `\u001b[${code}m${text}\u001b[0m` : text;
}

function wrap(text: string, width: number): readonly string[] {
  const rows: string[] = [];
  let row = "";
  for (const word of text.split(" ")) {
    if (row !== "" && row.length + 1 + word.length > width) {
      rows.push(row);
      row = word;
    } else {
      row = row === "" ? word : `${row} ${word}`;
    }
  }
  return [...rows, row];
}
