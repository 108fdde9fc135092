// One run of `capacity` or `load`, from signals to files: what is shown while it runs, and what is
// written at its end.
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

/** Runs it, and shows and writes what came out. Rejects with what is wrong with the options. */
export async function runProbe(
  run: (context: RunContext) => Promise<Report>,
  outputs: OutputFlags,
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
async function writeReport(
  report: Report,
  { json, csv, html }: OutputFlags,
  terminal: ProbeTerminal,
): Promise<boolean> {
  const { columns: width } = terminal;
  terminal.write(
    json === true
      ? `${JSON.stringify(report, null, 2)}\n`
      : reportText(report, { colour: hasColour(terminal), width }),
  );
  let isWritten = true;
  if (csv !== undefined) isWritten = writeFile(csv, seriesCsv(report), terminal);
  if (html !== undefined) {
    const { reportHtml } = await import("../probe/report-html.ts");
    isWritten = writeFile(html, reportHtml(report), terminal) && isWritten;
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
function checkOutputs({ csv, html }: OutputFlags): void {
  if (csv !== undefined && csv === html) throw invalid(`--csv and --html are both ${csv}`);
  for (const file of [csv, html]) {
    if (file === undefined) continue;
    try {
      closeSync(openSync(file, "a"));
    } catch (error) {
      throw invalid(`${file} cannot be written (${codeOf(error)})`);
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
