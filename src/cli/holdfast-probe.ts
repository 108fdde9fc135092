#!/usr/bin/env node
// The command `holdfast-probe`.
import { runProbeCommandLine } from "./probe-command-line.ts";

// Whoever reads the output may stop reading (`| head`); that is no reason to fail.
for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});

process.exitCode = await runProbeCommandLine(process.argv.slice(2), {
  env: process.env,
  isInteractive: process.stderr.isTTY === true,
  columns: Math.min(process.stderr.columns ?? 100, 160),
  write: (text) => void process.stdout.write(text),
  writeError: (text) => void process.stderr.write(text),
});
