#!/usr/bin/env node
// The command `holdfast`.
import { runCommandLine } from "./command-line.ts";

// Whoever reads the output may stop reading (`| head`); that is no reason to fail.
for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});

process.exitCode = await runCommandLine(process.argv.slice(2), {
  env: process.env,
  isInteractive: process.stdout.isTTY === true,
  columns: Math.min(process.stdout.columns ?? 100, 120),
  write: (text) => void process.stdout.write(text),
  writeError: (text) => void process.stderr.write(text),
});
