#!/usr/bin/env node
// The command `holdfast-probe`.
import { runProbeCommandLine } from "./probe-command-line.ts";

let isOutputLost = false;
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    // Whoever reads the output may stop reading (`| head`); that is no reason to fail.
    if (error.code === "EPIPE" || stream === process.stderr) return;
    isOutputLost = true;
    process.exitCode = 1;
    process.stderr.write(`holdfast-probe: the report was not written (${error.code})\n`);
  });
}

const exitCode = await runProbeCommandLine(process.argv.slice(2), {
  env: process.env,
  isInteractive: process.stdout.isTTY === true,
  isErrorInteractive: process.stderr.isTTY === true,
  columns: Math.min(process.stderr.columns || 100, 160),
  write: (text) => void process.stdout.write(text),
  writeError: (text) => void process.stderr.write(text),
});
if (!isOutputLost) process.exitCode = exitCode;
