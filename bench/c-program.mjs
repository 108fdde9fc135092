// Programs in C beside the benchmarks: compiled when they are first needed, kept in .cache/bench.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { progress } from "./command-line.mjs";

const cache = join(dirname(dirname(fileURLToPath(import.meta.url))), ".cache", "bench");

const INCLUDE = /^#include "([^"]+)"/gm;

/** The text of a source and of all the headers beside it that it includes, each once. */
function textOf(source, seen = new Set()) {
  if (seen.has(source)) return "";
  seen.add(source);
  const text = readFileSync(source, "utf8");
  const headers = [...text.matchAll(INCLUDE)].map(([, name]) => join(dirname(source), name));
  return text + headers.map((header) => textOf(header, seen)).join("");
}

/** @returns the program's path; null, and a word on standard error, where it cannot be compiled. */
export function compiled(source) {
  const hash = createHash("sha256").update(textOf(source)).digest("hex").slice(0, 12);
  const name = basename(source, ".c");
  const program = join(cache, `${name}-${hash}`);
  if (existsSync(program)) return program;
  mkdirSync(cache, { recursive: true });
  const partial = `${program}.${process.pid}`;
  const run = spawnSync("cc", ["-O2", "-o", partial, source], { encoding: "utf8" });
  if (run.status !== 0) {
    const why = run.error?.code === "ENOENT" ? "there is no C compiler (cc)" : run.stderr;
    progress(`bench: ${basename(source)} is not compiled: ${why}`);
    return null;
  }
  renameSync(partial, program);
  return program;
}
