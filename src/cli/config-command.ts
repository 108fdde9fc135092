// `holdfast config`: looks at options without starting anything.
import { formatConfig } from "../config/config-file.ts";
import { connectionMax, type Machine, nodeName, sendBudgetBytes } from "../config/machine.ts";
import { optionAt, OPTION_PATHS } from "../config/option-table.ts";
import type { ResolvedOptions } from "../config/resolve.ts";

/** What `config check` says of options that are valid. */
export function checkReport({ options, origins }: ResolvedOptions, machine: Machine): string {
  const set = OPTION_PATHS.filter((path) => origins[path] !== "default");
  const files =
    machine.fileLimit === null ? "an unknown number of files" : `${machine.fileLimit} files`;
  const lines = [
    `The options are valid. Set, of ${OPTION_PATHS.length}: ${set.length}`,
    ...set.map(
      (path) => `  ${path}: ${JSON.stringify(optionAt(options, path))} # ${origins[path]}`,
    ),
    `With ${files} and ${machine.memoryBytes} bytes of memory:`,
    `  connection.max: ${connectionMax(options, machine)}`,
    `  send.budgetBytes: ${sendBudgetBytes(options, machine)}`,
    `  node.name: ${JSON.stringify(nodeName(options, machine))}`,
  ];
  return `${lines.join("\n")}\n`;
}

/** What `config print` prints: a configuration file, or the same as JSON. */
export function printReport(
  { options, origins }: ResolvedOptions,
  form: { readonly json: boolean; readonly origins: boolean },
): string {
  if (!form.json) return formatConfig(options, form.origins ? origins : null);
  const printed = form.origins ? { options, origins } : options;
  return `${JSON.stringify(printed, null, 2)}\n`;
}
