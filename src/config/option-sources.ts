// Turns what a source holds (a tree of keys, the environment, flags) into option values and issues.
// Whether a value is in range is resolve.ts; here a key is known or not.
import { nearestKey } from "./nearest-key.ts";
import {
  CONFIG_FILE_FLAG,
  CONFIG_FILE_VARIABLE,
  environmentName,
  ENVIRONMENT_PREFIX,
  FLAG_ALIASES,
  flagName,
  NATIVE_VARIABLES,
} from "./option-names.ts";
import { nullText, type OptionRow } from "./option-row.ts";
import { isOptionPath, OPTION_AREAS, OPTION_PATHS, OPTION_TABLE } from "./option-table.ts";
import { type OptionIssue, shown } from "./options-error.ts";
import type { OptionPath } from "./options.ts";

export interface OptionEntry {
  readonly path: OptionPath;
  readonly value: unknown;
  readonly origin: string;
  /** Why this source may hold such a value by accident; told when the value is refused. */
  readonly hint?: string;
}

export interface SourceReading {
  readonly entries: readonly OptionEntry[];
  readonly issues: readonly OptionIssue[];
}

/** A value somewhere in a tree: one key for a leaf at the top, two inside an area. */
export interface TreeLeaf {
  readonly keys: readonly [string] | readonly [string, string];
  readonly value: unknown;
  readonly origin: string;
}

const PATHS_BY_VARIABLE: ReadonlyMap<string, OptionPath> = new Map(
  OPTION_PATHS.map((path) => [environmentName(path), path]),
);
const PATHS_BY_FLAG: ReadonlyMap<string, OptionPath> = new Map([
  ...OPTION_PATHS.map((path) => [flagName(path), path] as const),
  ...Object.entries(FLAG_ALIASES),
]);

export function readTree(leaves: readonly TreeLeaf[]): SourceReading {
  const entries: OptionEntry[] = [];
  const issues: OptionIssue[] = [];
  for (const { keys, value, origin } of leaves) {
    const key = keys.join(".");
    if (keys.length === 2 && isOptionPath(key)) {
      entries.push({ path: key, value, origin });
    } else if (keys.length === 1 && Object.hasOwn(OPTION_AREAS, key)) {
      // An area whose keys are all commented out is no mistake.
      if (value === null || value === undefined) continue;
      const message = `${key} is a group of options, not a value: write its options inside it`;
      issues.push({ key, origin, value, message, suggestion: null });
    } else if (keys.length === 1 && isOptionPath(key)) {
      const [area, name] = key.split(".");
      const message = `${key} must be nested: ${name} inside ${area}`;
      issues.push({ key, origin, value, message, suggestion: null });
    } else {
      const candidates =
        keys.length === 1 ? [...Object.keys(OPTION_AREAS), ...OPTION_PATHS] : OPTION_PATHS;
      issues.push(unknownKey(key, origin, value, nearestKey(key, candidates)));
    }
  }
  return { entries, issues };
}

/** Reads options given in code, by area as in a file. Undefined counts as not given. */
export function readCode(options: unknown): SourceReading {
  const origin = "code";
  if (!isGroup(options)) {
    const message = `the options must be an object of areas, not ${shown(options)}`;
    const issue = { key: origin, origin, value: options, message, suggestion: null };
    return { entries: [], issues: [issue] };
  }
  const leaves: TreeLeaf[] = [];
  for (const [area, group] of Object.entries(options)) {
    if (group === undefined) continue;
    if (!isGroup(group)) {
      leaves.push({ keys: [area], value: group, origin });
      continue;
    }
    for (const [name, value] of Object.entries(group)) {
      if (value !== undefined) leaves.push({ keys: [area, name], value, origin });
    }
  }
  return readTree(leaves);
}

function isGroup(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

// Kubernetes tells every pod of every Service in its namespace by such variables. A Service called
// "holdfast" must not keep Holdfast from starting.
const SERVICE_LINK =
  /_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_(TCP|UDP|SCTP)(_[A-Z]+)?)?)$/;
const SERVICE_LINK_VALUE = /^(tcp|udp|sctp):\/\//;
const SERVICE_LINK_HINT =
  "Kubernetes sets it for a Service of that name; enableServiceLinks: false in the pod ends that";

/** Reads variables that begin with HOLDFAST_. Others are nobody's business here. */
export function readEnvironment(env: Readonly<Record<string, string | undefined>>): SourceReading {
  const entries: OptionEntry[] = [];
  const issues: OptionIssue[] = [];
  for (const [name, text] of Object.entries(env)) {
    if (text === undefined || !name.startsWith(ENVIRONMENT_PREFIX)) continue;
    if (name === CONFIG_FILE_VARIABLE || NATIVE_VARIABLES.includes(name)) continue;
    const origin = `environment ${name}`;
    const path = PATHS_BY_VARIABLE.get(name);
    if (path !== undefined) {
      const hint = SERVICE_LINK_VALUE.test(text) ? { hint: SERVICE_LINK_HINT } : {};
      entries.push({ path, value: parseText(OPTION_TABLE[path], text), origin, ...hint });
    } else if (!SERVICE_LINK.test(name)) {
      const known = [...PATHS_BY_VARIABLE.keys(), CONFIG_FILE_VARIABLE];
      issues.push(unknownKey(name, "environment", undefined, nearestKey(name, known)));
    }
  }
  return { entries, issues };
}

/** Reads flags by their name with its dashes (`--tcp-port`), each with the text it was given. */
export function readFlags(flags: Readonly<Record<string, string>>): SourceReading {
  const entries: OptionEntry[] = [];
  const issues: OptionIssue[] = [];
  const flagOf = new Map<OptionPath, string>();
  for (const [name, text] of Object.entries(flags)) {
    const path = PATHS_BY_FLAG.get(name);
    const other = path === undefined ? undefined : flagOf.get(path);
    if (path !== undefined && other !== undefined) {
      const message = `${path} is given twice: by ${other} and by ${name}`;
      issues.push({ key: path, origin: `flag ${name}`, value: text, message, suggestion: null });
    } else if (path !== undefined) {
      flagOf.set(path, name);
      entries.push({ path, value: parseText(OPTION_TABLE[path], text), origin: `flag ${name}` });
    } else {
      const known = [...PATHS_BY_FLAG.keys(), CONFIG_FILE_FLAG];
      issues.push(unknownKey(name, "command line", text, nearestKey(name, known)));
    }
  }
  return { entries, issues };
}

function unknownKey(
  key: string,
  origin: string,
  value: unknown,
  suggestion: string | null,
): OptionIssue {
  const shownKey = /^[\w.-]{1,100}$/.test(key) ? key : shown(key);
  return { key, origin, value, message: `unknown option ${shownKey}`, suggestion };
}

/**
 * What a text stands for where `row` says what is wanted. A text that stands for nothing of the
 * kind is returned as it is, and refused later like any other value.
 */
export function parseText(row: OptionRow, text: string): unknown {
  if (row.nullable && (text === "null" || text === nullText(row))) return null;
  switch (row.type) {
    case "integer":
      return /^-?\d+$/.test(text) ? Number(text) : text;
    case "number":
      return /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text;
    case "boolean":
      return text === "true" || text === "false" ? text === "true" : text;
    case "text":
    case "choice":
      return text;
    case "list":
      return text.split(",").map((entry) => entry.trim());
  }
}
