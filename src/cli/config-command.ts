// `holdfast config`: looks at options without starting anything.
import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import { HoldfastError } from "../base/errors.ts";
import { formatConfig } from "../config/config-file.ts";
import { connectionMax, type Machine, nodeName, sendBudgetBytes } from "../config/machine.ts";
import { optionAt, OPTION_PATHS } from "../config/option-table.ts";
import type { ResolvedOptions } from "../config/resolve.ts";
import { workerCount } from "../supervisor/worker-count.ts";
import { preflight, preflightFailure } from "./preflight.ts";

/**
 * What `config check` says of options that are valid. Throws HOLDFAST_WORKER_FAILED where the
 * application is missing, and with preflight.strict HOLDFAST_PREFLIGHT_FAILED.
 */
export function checkReport({ options, origins }: ResolvedOptions, machine: Machine): string {
  const workers = workerCount(options, machine.fileLimit, availableParallelism());
  const connectionsMax = connectionMax(options, machine, Math.max(1, workers));
  const { application } = options.workers;
  if (application !== null && !existsSync(application)) {
    const text = `workers.application: there is no file ${resolve(application)}`;
    throw new HoldfastError("HOLDFAST_WORKER_FAILED", text);
  }
  const failure = preflightFailure(preflight(options, workers, connectionsMax));
  if (failure !== null && options.preflight.strict) throw failure;
  const set = OPTION_PATHS.filter((path) => origins[path] !== "default");
  const files =
    machine.fileLimit === null ? "an unknown number of files" : `${machine.fileLimit} files`;
  const lines = [
    `The options are valid. Set, of ${OPTION_PATHS.length}: ${set.length}`,
    ...set.map(
      (path) => `  ${path}: ${JSON.stringify(optionAt(options, path))} # ${origins[path]}`,
    ),
    `With ${files} and ${machine.memoryBytes} bytes of memory:`,
    `  workers: ${workers === 0 ? "none, one process" : workers}`,
    `  connection.max: ${connectionsMax}${failure === null ? "" : "; this machine holds fewer"}`,
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
