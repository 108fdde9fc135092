// One run of `capacity` or `load`, from signals to files: what is shown while it runs, and what is
// written at its end.
import { closeSync, openSync, writeFileSync } from "node:fs";
import { machineClock } from "../base/clock.ts";
import { HoldfastError } from "../base/errors.ts";
import { LiveView } from "../probe/live-view.ts";
import { exitCodeOf, type Report } from "../probe/report.ts";
import { seriesCsv } from "../probe/report-csv.ts";
import { reportText } from "../probe/report-text.ts";
import type { RunContext } from "../probe/run.ts";
import type { OutputFlags } from "./probe-flags.ts";
import type { Terminal } from "./terminal.ts";

/** The report goes to standard output, everything else to standard error. */
export async function runProbe(
  run: (context: RunContext) => Promise<Report>,
  outputs: OutputFlags,
  terminal: Terminal,
): Promise<number> {
  // A place that cannot be written to is told before the run, not after.
  for (const file of [outputs.csv, outputs.html]) if (file !== undefined) checkWritable(file);
  const colour = hasColour(terminal);
  const view = new LiveView({
    write: terminal.writeError,
    isInteractive: terminal.isInteractive,
    columns: terminal.columns,
    colour,
  });
  const interrupt = new AbortController();
  const onSignal = (): void => {
    // A second one means: at once.
    if (interrupt.signal.aborted) process.exit(exitCodeOf("aborted"));
    view.note("interrupted: closing, and reporting what there is (again to end at once)");
    interrupt.abort();
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  try {
    const report = await run({ clock: machineClock(), view, signal: interrupt.signal });
    view.end();
    await writeReport(report, outputs, terminal, colour);
    return report.exitCode;
  } finally {
    view.end();
    process.off("SIGINT", onSignal);
    process.off("SIGTERM", onSignal);
  }
}

async function writeReport(
  report: Report,
  { json, csv, html }: OutputFlags,
  terminal: Terminal,
  colour: boolean,
): Promise<void> {
  if (csv !== undefined) writeFileSync(csv, seriesCsv(report));
  if (html !== undefined) {
    const { reportHtml } = await import("../probe/report-html.ts");
    writeFileSync(html, reportHtml(report));
  }
  if (json === true) terminal.write(`${JSON.stringify(report, null, 2)}\n`);
  else terminal.write(reportText(report, { colour, width: terminal.columns }));
}

function checkWritable(file: string): void {
  try {
    closeSync(openSync(file, "a"));
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "unknown";
    const message = `${file} cannot be written (${code})`;
    throw new HoldfastError("HOLDFAST_OPTIONS_INVALID", message, { cause: error });
  }
}

/** https://no-color.org */
export function hasColour({ isInteractive, env }: Terminal): boolean {
  return isInteractive && (env["NO_COLOR"] ?? "") === "";
}
