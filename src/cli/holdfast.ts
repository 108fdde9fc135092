#!/usr/bin/env node
// The command `holdfast`.
// `serve` takes it for a request to reload, and must not end by one that comes while it is loading.
if (process.argv[2] === "serve") process.on("SIGHUP", () => {});

const { runCommandLine } = await import("./command-line.ts");

// Whoever reads the output may stop reading (`| head`); that is no reason to fail.
for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});

process.exitCode = await runCommandLine(process.argv.slice(2), {
  env: process.env,
  isInteractive: process.stdout.isTTY === true,
  columns: Math.min(process.stdout.columns ?? 100, 120),
  write: (text) => void process.stdout.write(text),
  writeError: (text) => void process.stderr.write(text),
});
