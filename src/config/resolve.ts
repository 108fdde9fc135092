// Options from all their sources. Each source overrides those before it: defaults, code, file,
// environment, flags. Nothing here listens or logs; a fault is thrown before anything starts.
import { parseConfig, readConfigFile } from "./config-file.ts";
import { type Machine, readMachine } from "./machine.ts";
import { nearestKey } from "./nearest-key.ts";
import { CONFIG_FILE_VARIABLE } from "./option-names.ts";
import { type OptionRelation, OPTION_RELATIONS } from "./option-relations.ts";
import { allowed, type OptionRow } from "./option-row.ts";
import { complete, isAllowed } from "./option-schema.ts";
import {
  type OptionEntry,
  readCode,
  readEnvironment,
  readFlags,
  type SourceReading,
} from "./option-sources.ts";
import { optionAt, OPTION_PATHS, OPTION_TABLE } from "./option-table.ts";
import { type OptionIssue, OptionsError, shown } from "./options-error.ts";
import type { OptionPath, Options, PartialOptions } from "./options.ts";

export interface OptionSources {
  /** What the program itself wants where nobody says otherwise. */
  readonly code?: PartialOptions;
  /** A YAML file. Without it the environment's HOLDFAST_CONFIG names one, if set. */
  readonly file?: string;
  /** What the file holds, where it has been read already. */
  readonly text?: string;
  /** Usually process.env. Variables that begin with HOLDFAST_ and are unknown are refused. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** By name with dashes (`--tcp-port`), with the text given. */
  readonly flags?: Readonly<Record<string, string>>;
}

export interface ResolvedOptions {
  readonly options: Options;
  /** Whence each value: "default", "code", "file.yaml:12", "environment NAME", "flag --name". */
  readonly origins: Readonly<Record<OptionPath, string>>;
}

const DEFAULT_ORIGIN = "default";

/**
 * The options that `sources` give, complete and deep frozen. Values that a later source overrides
 * must be valid too.
 *
 * @throws OptionsError (HOLDFAST_OPTIONS_INVALID) with every fault found.
 */
export function resolveOptions(
  sources: OptionSources,
  machine: Machine = readMachine(),
): ResolvedOptions {
  const readings = readSources(sources);
  const issues = readings.flatMap((reading) => reading.issues);
  const values = new Map<OptionPath, unknown>();
  const origins = new Map<OptionPath, string>();
  const refused = new Set<OptionPath>();
  for (const entry of readings.flatMap((reading) => reading.entries)) {
    if (!isAllowed(entry.path, entry.value)) {
      issues.push(refusal(entry));
      refused.add(entry.path);
      continue;
    }
    values.set(entry.path, entry.value);
    origins.set(entry.path, entry.origin);
  }
  const options = complete(values);
  // A refused value says nothing about others: its relations are looked at once it is corrected.
  const relations = OPTION_RELATIONS.filter(({ keys }) => !keys.some((key) => refused.has(key)));
  issues.push(...relationIssues(relations, options, origins, machine));
  if (issues.length > 0) throw new OptionsError(issues);
  const named = OPTION_PATHS.map((path) => [path, origins.get(path) ?? DEFAULT_ORIGIN]);
  return {
    options: deepFreeze(options),
    origins: Object.freeze(Object.fromEntries(named) as Record<OptionPath, string>),
  };
}

/**
 * The options of a server made in code: defaults where `partial` says nothing. Neither a file nor
 * the environment is looked at.
 *
 * @throws OptionsError (HOLDFAST_OPTIONS_INVALID) with every fault found.
 */
export function optionsFrom(partial: PartialOptions): Options {
  return resolveOptions({ code: partial }).options;
}

function readSources(sources: OptionSources): SourceReading[] {
  const { code, env = {}, flags = {} } = sources;
  const readings: SourceReading[] = [];
  if (code !== undefined) readings.push(readCode(code));
  if (sources.file !== undefined) {
    const { file, text } = sources;
    const reading =
      text === undefined ? readConfigFile(file, "configuration file") : parseConfig(text, file);
    readings.push(reading);
  } else if (env[CONFIG_FILE_VARIABLE] !== undefined) {
    readings.push(readConfigFile(env[CONFIG_FILE_VARIABLE], `environment ${CONFIG_FILE_VARIABLE}`));
  }
  readings.push(readEnvironment(env), readFlags(flags));
  return readings;
}

function refusal({ path, value, origin, hint }: OptionEntry): OptionIssue {
  const row: OptionRow = OPTION_TABLE[path];
  const why = hint === undefined ? "" : ` (${hint})`;
  const message = `${path} must be ${allowed(row)}, not ${shown(value)}${why}`;
  const suggestion =
    row.type === "choice" && typeof value === "string" ? nearestKey(value, row.choices) : null;
  return { key: path, origin, value, message, suggestion };
}

function relationIssues(
  relations: readonly OptionRelation[],
  options: Options,
  origins: ReadonlyMap<OptionPath, string>,
  machine: Machine,
): OptionIssue[] {
  const issues: OptionIssue[] = [];
  for (const { keys, fault } of relations) {
    const message = fault(options, machine);
    if (message === null) continue;
    const key = keys.find((candidate) => origins.has(candidate)) ?? keys[0];
    const origin = origins.get(key) ?? DEFAULT_ORIGIN;
    issues.push({ key, origin, value: optionAt(options, key), message, suggestion: null });
  }
  return issues;
}

function deepFreeze<T>(value: T): T {
  if (typeof value !== "object" || value === null) return value;
  for (const inner of Object.values(value)) deepFreeze(inner);
  return Object.freeze(value);
}
