// What lies between two sets of options: what has changed, what of it running servers can take up,
// and a short name for a whole set.
import { createHash } from "node:crypto";
import { type Machine, readMachine } from "./machine.ts";
import { OPTION_RELATIONS } from "./option-relations.ts";
import { type Reload, RELOAD_MEANS } from "./option-row.ts";
import { optionAt, OPTION_PATHS, OPTION_TABLE } from "./option-table.ts";
import { type OptionIssue, OptionsError, shown } from "./options-error.ts";
import type { OptionArea, OptionPath, Options, OptionValue, PartialOptions } from "./options.ts";

/** Hexadecimal digits of a configuration's hash. */
const HASH_DIGITS = 12;
const LIVE: readonly Reload[] = ["live"];

/** The keys whose values differ, in the order of the table, by how new values come into force. */
export function optionChanges(
  from: Options,
  to: Options,
): Readonly<Record<Reload, readonly OptionPath[]>> {
  const changes: Record<Reload, OptionPath[]> = { live: [], rolling: [], supervisor: [] };
  for (const path of OPTION_PATHS) {
    if (isSame(optionAt(from, path), optionAt(to, path))) continue;
    changes[OPTION_TABLE[path].reload].push(path);
  }
  return changes;
}

/**
 * The live values of `wanted` over everything else of `running`, deep frozen. Null where the two
 * do not go together (`liveFaults` says why): then nothing can change before the rest does.
 */
export function withLive(
  running: Options,
  wanted: Options,
  machine: Machine = readMachine(),
): Options | null {
  const options = merged(running, wanted, LIVE);
  return faults(options, machine).length === 0 ? options : null;
}

/**
 * What a worker that starts now can take up: all of `wanted` but what only a new supervisor can.
 * Null as with {@link withLive}.
 */
export function withRolling(
  running: Options,
  wanted: Options,
  machine: Machine = readMachine(),
): Options | null {
  const options = merged(running, wanted, ["live", "rolling"]);
  return faults(options, machine).length === 0 ? options : null;
}

/** What of `options` differs from the defaults: other releases of Holdfast may know fewer. */
export function withoutDefaults(options: Options): PartialOptions {
  const areas: Partial<Record<OptionArea, Record<string, OptionValue>>> = {};
  for (const path of OPTION_PATHS) {
    const value = optionAt(options, path);
    if (isSame(value, OPTION_TABLE[path].default)) continue;
    const [area, name] = path.split(".") as [OptionArea, string];
    (areas[area] ??= {})[name] = value;
  }
  return areas;
}

/**
 * Which relations between options the live values of `wanted` would break over the rest of
 * `running`, as sentences without their full stops. Both are valid by themselves.
 */
export function liveFaults(
  running: Options,
  wanted: Options,
  machine: Machine = readMachine(),
): string[] {
  return faults(merged(running, wanted, LIVE), machine);
}

/**
 * Throws OptionsError (HOLDFAST_OPTIONS_INVALID), naming each, where an option that is not live
 * differs.
 */
export function requireLive(running: Options, wanted: Options): void {
  const { rolling, supervisor } = optionChanges(running, wanted);
  const issues = [...rolling, ...supervisor].map((path) => notLive(path, running, wanted));
  if (issues.length > 0) throw new OptionsError(issues);
}

function notLive(path: OptionPath, running: Options, wanted: Options): OptionIssue {
  const value = optionAt(wanted, path);
  const message =
    `${path} is ${shown(optionAt(running, path))} in this server and cannot become ` +
    `${shown(value)} while it runs: a new value counts ${RELOAD_MEANS[OPTION_TABLE[path].reload]}`;
  return { key: path, origin: "code", value, message, suggestion: null };
}

/**
 * The first 12 hexadecimal digits of the SHA-256 of all values in the order of the table: the same
 * for the same options, wherever they came from. A later version with other options gives another.
 */
export function configHash(options: Options): string {
  const values = OPTION_PATHS.map((path) => [path, optionAt(options, path)]);
  return createHash("sha256").update(JSON.stringify(values)).digest("hex").slice(0, HASH_DIGITS);
}

function faults(options: Options, machine: Machine): string[] {
  return OPTION_RELATIONS.map(({ fault }) => fault(options, machine)).filter(
    (fault) => fault !== null,
  );
}

function merged(running: Options, wanted: Options, taken: readonly Reload[]): Options {
  const areas: Partial<Record<OptionArea, Record<string, OptionValue>>> = {};
  for (const path of OPTION_PATHS) {
    const [area, name] = path.split(".") as [OptionArea, string];
    const source = taken.includes(OPTION_TABLE[path].reload) ? wanted : running;
    (areas[area] ??= {})[name] = frozen(optionAt(source, path));
  }
  for (const group of Object.values(areas)) Object.freeze(group);
  // Every path of the table was set, and the compiler checks the table against Options.
  return Object.freeze(areas) as unknown as Options;
}

function frozen(value: OptionValue): OptionValue {
  return Array.isArray(value) ? Object.freeze([...value]) : value;
}

function isSame(a: OptionValue, b: OptionValue): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
