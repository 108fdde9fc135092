// Every row of the option table as a flag of a command, and the flags that were given.
import { type Command, Option } from "commander";
import {
  CONFIG_FILE_FLAG,
  environmentName,
  FLAG_ALIASES,
  flagName,
} from "../config/option-names.ts";
import { allowed, nullText, type OptionRow, RELOAD_MEANS } from "../config/option-row.ts";
import { OPTION_AREAS, OPTION_PATHS, OPTION_TABLE } from "../config/option-table.ts";
import type { OptionArea, OptionPath } from "../config/options.ts";

/** Gives `command` a flag for each option; hidden ones work alike and are left out of its help. */
export function addOptionFlags(command: Command, shown: "shown" | "hidden"): void {
  for (const path of OPTION_PATHS) {
    const area = path.slice(0, path.indexOf(".")) as OptionArea;
    const option = optionOf(path, OPTION_TABLE[path])
      .helpGroup(`${area}: ${OPTION_AREAS[area]}`)
      .hideHelp(shown === "hidden");
    command.addOption(option);
  }
  for (const [flag, path] of Object.entries(FLAG_ALIASES)) {
    // The option's own entry names it: help says everything once.
    const option = new Option(`${flag} ${placeholder(OPTION_TABLE[path])}`).hideHelp();
    command.addOption(option);
  }
  // Unknown flags are reported together with all other faults, by the code that checks options.
  command.allowUnknownOption().allowExcessArguments();
}

function optionOf(path: OptionPath, row: OptionRow): Option {
  return new Option(`${flagName(path)} ${placeholder(row)}`, description(path, row));
}

function placeholder(row: OptionRow): string {
  switch (row.type) {
    case "integer":
      return `<${row.unit === "" ? "number" : row.unit}>`;
    case "number":
      return "<number>";
    case "boolean":
      return "[true|false]";
    case "text":
      return "<text>";
    case "choice":
      return `<${row.choices.join("|")}>`;
    case "list":
      return "<text,text,...>";
  }
}

function description(path: OptionPath, row: OptionRow): string {
  const means = row.nullable ? ` (${row.nullMeans})` : "";
  return (
    `${row.doc}\nDefault ${defaultText(row)}${means}; ${allowed(row)}; or set ` +
    `${environmentName(path)}. A new value in the file counts ${RELOAD_MEANS[row.reload]}.`
  );
}

function defaultText(row: OptionRow): string {
  if (row.default === null) return nullText(row);
  return Array.isArray(row.default) ? row.default.join(",") : String(row.default);
}

/**
 * The flags that `command` was given, by name with dashes, unknown ones included. Arguments that
 * belong to no flag are a usage error.
 */
export function givenFlags(command: Command): Record<string, string> {
  const flags: Record<string, string> = {};
  const values = command.opts<Record<string, unknown>>();
  for (const option of command.options) {
    const value = values[option.attributeName()];
    if (typeof option.long !== "string") continue;
    if (typeof value === "string") flags[option.long] = value;
    // A switch of the table given without its value: `--log-pretty`.
    if (value === true && option.optional) flags[option.long] = "true";
  }
  delete flags[CONFIG_FILE_FLAG];
  collectUnknown(command, flags);
  return flags;
}

function collectUnknown(command: Command, flags: Record<string, string>): void {
  const rest = [...command.args];
  while (rest.length > 0) {
    const argument = rest.shift() ?? "";
    if (!argument.startsWith("-")) command.error(`error: unexpected argument '${argument}'`);
    const equals = argument.indexOf("=");
    if (equals > 0) {
      flags[argument.slice(0, equals)] = argument.slice(equals + 1);
    } else {
      flags[argument] = rest[0]?.startsWith("-") === false ? (rest.shift() ?? "") : "";
    }
  }
}
