// One run of `capacity`, `load` or `scenario`, from signals to files: what is shown while it runs,
// and what is written at its end.
import { closeSync, openSync, writeFileSync } from "node:fs";
import { machineClock } from "../base/clock.ts";
import { HoldfastError } from "../base/errors.ts";
import { LiveView } from "../probe/live-view.ts";
import { exitCodeOf, type Report } from "../probe/report.ts";
import { seriesCsv } from "../probe/report-csv.ts";
import { reportText } from "../probe/report-text.ts";
import { type RunContext, RunEnded } from "../probe/run.ts";
import type { OutputFlags } from "./probe-flags.ts";
import type { Terminal } from "./terminal.ts";

/** Standard output has the report; progress and notes go to standard error. */
export interface ProbeTerminal extends Terminal {
  /** Whether standard error is read by a person. */
  readonly isErrorInteractive: boolean;
}

/** What a command makes of what came out. */
export interface Outputs<Result> {
  /** JSON, or text for people, on standard output. */
  readonly isJson: boolean;
  text(result: Result, style: { readonly colour: boolean; readonly width: number }): string;
  /** By the flag that names the file. */
  readonly files: Readonly<Record<string, OutputFile<Result>>>;
}

interface OutputFile<Result> {
  /** undefined: it is not wanted. */
  readonly path: string | undefined;
  /** Loaded when it is wanted. */
  render(result: Result): Promise<string>;
}

/** Of `capacity` and `load`. */
export function reportOutputs({ json, csv, html }: OutputFlags): Outputs<Report> {
  return {
    isJson: json === true,
    text: reportText,
    files: {
      "--csv": { path: csv, render: async (report) => seriesCsv(report) },
      "--html": {
        path: html,
        render: async (report) => (await import("../probe/report-html.ts")).reportHtml(report),
      },
    },
  };
}

/** Runs it, and shows and writes what came out. Rejects with what is wrong with the options. */
export async function runProbe<Result extends { readonly exitCode: number }>(
  run: (context: RunContext) => Promise<Result>,
  outputs: Outputs<Result>,
  terminal: ProbeTerminal,
): Promise<number> {
  checkOutputs(outputs);
  const view = new LiveView({
    write: terminal.writeError,
    isInteractive: terminal.isErrorInteractive,
    columns: terminal.columns,
    colour: terminal.isErrorInteractive && mayColour(terminal),
  });
  const interrupt = new AbortController();
  const onSignal = (): void => {
    // A second one means: at once.
    if (interrupt.signal.aborted) {
      view.end();
      process.exit(exitCodeOf("aborted"));
    }
    view.note("interrupted: closing, and reporting what there is (again to end at once)");
    interrupt.abort();
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  try {
    const report = await run({ clock: machineClock(), view, signal: interrupt.signal });
    view.end();
    const isWritten = await writeReport(report, outputs, terminal);
    return isWritten ? report.exitCode : exitCodeOf("error");
  } catch (error) {
    if (!(error instanceof RunEnded)) throw error;
    view.end();
    terminal.writeError(`holdfast-probe: ${error.message} before anything was measured\n`);
    return exitCodeOf(error.kind === "aborted" ? "aborted" : "generator-bound");
  } finally {
    view.end();
    process.off("SIGINT", onSignal);
    process.off("SIGTERM", onSignal);
  }
}

/** Standard output first: a disk that is full must not cost the report. */
async function writeReport<Result>(
  result: Result,
  { isJson, text, files }: Outputs<Result>,
  terminal: ProbeTerminal,
): Promise<boolean> {
  const style = { colour: hasColour(terminal), width: terminal.columns };
  terminal.write(isJson ? `${JSON.stringify(result, null, 2)}\n` : text(result, style));
  let isWritten = true;
  for (const { path, render } of Object.values(files)) {
    if (path === undefined) continue;
    isWritten = writeFile(path, await render(result), terminal) && isWritten;
  }
  return isWritten;
}

function writeFile(file: string, text: string, terminal: Terminal): boolean {
  try {
    writeFileSync(file, text);
    return true;
  } catch (error) {
    terminal.writeError(`holdfast-probe: ${file} was not written (${codeOf(error)})\n`);
    return false;
  }
}

/** What cannot be written is told before the run, not after. */
function checkOutputs({ files }: Pick<Outputs<never>, "files">): void {
  const flags = new Map<string, string>();
  for (const [flag, { path }] of Object.entries(files)) {
    if (path === undefined) continue;
    const other = flags.get(path);
    if (other !== undefined) throw invalid(`${other} and ${flag} are both ${path}`);
    flags.set(path, flag);
    try {
      closeSync(openSync(path, "a"));
    } catch (error) {
      throw invalid(`${path} cannot be written (${codeOf(error)})`);
    }
  }
}

function invalid(message: string): HoldfastError {
  return new HoldfastError("HOLDFAST_OPTIONS_INVALID", message);
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? "unknown";
}

/** Whether what goes to standard output is coloured. */
export function hasColour(terminal: Terminal): boolean {
  return terminal.isInteractive && mayColour(terminal);
}

/** https://no-color.org */
function mayColour({ env }: Terminal): boolean {
  return (env["NO_COLOR"] ?? "") === "";
}
