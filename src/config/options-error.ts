// What is wrong with a set of options: every fault found, not only the first.
import { inspect } from "node:util";
import { HoldfastError } from "../base/errors.ts";

export interface OptionIssue {
  /** The option (`tcp.port`), or the key as it was written where it is not known. */
  readonly key: string;
  /** Whence it came: `flag --tcp-port`, `environment HOLDFAST_TCP_PORT`, `file.yaml:12`, `code`. */
  readonly origin: string;
  /** Undefined where there is none, and for unknown variables: they may be somebody's secret. */
  readonly value: unknown;
  /** What is wrong and what would be right, as a sentence without its full stop. */
  readonly message: string;
  /** The known key or value that was probably meant. */
  readonly suggestion: string | null;
}

/** Thrown with all issues at once; `message` holds one line for each. */
export class OptionsError extends HoldfastError {
  override readonly name: string = "OptionsError";
  readonly issues: readonly OptionIssue[];

  constructor(issues: readonly OptionIssue[]) {
    const count = issues.length === 1 ? "one thing" : `${issues.length} things`;
    const lines = issues.map((issue) => `  ${issueLine(issue)}`);
    super("HOLDFAST_OPTIONS_INVALID", `${count} to correct in the options:\n${lines.join("\n")}`);
    this.issues = issues;
  }
}

function issueLine(issue: OptionIssue): string {
  const meant = issue.suggestion === null ? "" : `; did you mean ${issue.suggestion}?`;
  return `${issue.origin}: ${issue.message}${meant}`;
}

/** A value as a message shows it: on one line, and short however long it is. */
export function shown(value: unknown): string {
  const long = 60;
  if (typeof value === "string") {
    return JSON.stringify(value.length > long ? `${value.slice(0, long)}...` : value);
  }
  const line = inspect(value, {
    depth: 1,
    breakLength: Number.POSITIVE_INFINITY,
    maxArrayLength: 5,
    maxStringLength: long,
  });
  return line.length > 2 * long ? `${line.slice(0, 2 * long)}...` : line;
}
