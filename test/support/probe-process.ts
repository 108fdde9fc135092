// `holdfast-probe` as its users run it: a process, its exit code, and what it prints.

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Report } from "../../src/probe/report.ts";

const PROGRAM = fileURLToPath(new URL("../../dist/cli/holdfast-probe.js", import.meta.url));

export interface ProbeEnd {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly durationMs: number;
}

export interface Reported extends ProbeEnd {
  readonly report: Report;
}

export class ProbeProcess {
  readonly #child: ChildProcess;
  readonly #output: { stdout: string; stderr: string } = { stdout: "", stderr: "" };
  readonly ended: Promise<ProbeEnd>;

  /** @param atEnd takes what stops it: the running test's onTestFinished. */
  constructor(args: readonly string[], atEnd: (stop: () => void) => void) {
    if (!existsSync(PROGRAM)) throw new Error("the program is not built: npm run build");
    const startMs = performance.now();
    const child = spawn(process.execPath, [PROGRAM, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child = child;
    for (const name of ["stdout", "stderr"] as const) {
      child[name].setEncoding("utf8").on("data", (text: string) => {
        this.#output[name] += text;
      });
    }
    this.ended = new Promise((resolve) => {
      child.once("close", (code) => {
        resolve({ code, ...this.#output, durationMs: performance.now() - startMs });
      });
    });
    atEnd(() => {
      for (const pid of this.generatorPids) endProcess(pid);
      child.kill("SIGKILL");
    });
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** Its generator processes that live. */
  get generatorPids(): readonly number[] {
    const file = `/proc/${this.pid}/task/${this.pid}/children`;
    if (!existsSync(file)) return [];
    return readFileSync(file, "utf8").split(" ").filter(Boolean).map(Number);
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Resolves with what it says of its progress when this stands in it. */
  async wrote(pattern: RegExp): Promise<string> {
    let isOver = false;
    void this.ended.then(() => {
      isOver = true;
    });
    while (!pattern.test(this.#output.stderr)) {
      if (isOver) throw new Error(`it ended, and wrote no ${pattern}: ${this.#output.stderr}`);
      await delay(20);
    }
    return this.#output.stderr;
  }

  /** Its end, with the report that `--json` printed. */
  async reported(): Promise<Reported> {
    const end = await this.ended;
    try {
      return { ...end, report: JSON.parse(end.stdout) as Report };
    } catch {
      throw new Error(`no report: exit ${end.code}, ${end.stderr}${end.stdout.slice(0, 2_000)}`);
    }
  }
}

export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

function endProcess(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended by itself.
  }
}
