// `holdfast serve` as one process of its own, for what a test cannot do to itself: few files, CPU
// time of the server alone.

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { setTimeout as delay } from "node:timers/promises";

const PROGRAM = fileURLToPath(new URL("../../dist/cli/holdfast.js", import.meta.url));
const START_MS = 10_000;
/** The kernel's unit of CPU time in /proc: a hundredth of a second on every Linux. */
const TICK_MS = 10;

export class ServerProcess {
  readonly ports: ReadonlyMap<string, number>;
  readonly #child: ChildProcess;
  #exitCode: number | null = null;

  private constructor(child: ChildProcess, ports: ReadonlyMap<string, number>) {
    this.#child = child;
    this.ports = ports;
    child.on("exit", (code) => {
      this.#exitCode = code ?? -1;
    });
  }

  /**
   * @param files the most it may have open.
   * @param atEnd takes what stops it: the running test's onTestFinished.
   * @param flags more of its command line.
   */
  static async start(
    files: number,
    atEnd: (stop: () => Promise<void>) => void,
    flags: readonly string[] = [],
  ): Promise<ServerProcess> {
    if (!existsSync(PROGRAM)) throw new Error("the program is not built: npm run build");
    const program = [
      process.execPath,
      PROGRAM,
      "serve",
      "--workers",
      "0",
      "--log-pretty",
      "false",
      "--log-level",
      "info",
    ];
    const ports = ["--tcp-port", "0", "--websocket-port", "0", "--admin-port", "0"];
    const shell = ["-c", `ulimit -n ${files}; exec "$0" "$@"`, ...program, ...ports, ...flags];
    const child = spawn("sh", shell, { stdio: ["ignore", "pipe", "inherit"] });
    const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    atEnd(async () => {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
      await ended;
    });
    const lines = await firstLines(child);
    const listening = lines.filter((line) => "listener" in line);
    const portOf = (endpoint: unknown): number => Number(/:(\d+)$/.exec(String(endpoint))?.[1]);
    return new ServerProcess(
      child,
      new Map(listening.map(({ listener, endpoint }) => [String(listener), portOf(endpoint)])),
    );
  }

  get isAlive(): boolean {
    return this.#exitCode === null;
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** Files that it has open. */
  get files(): number {
    return readdirSync(`/proc/${this.#child.pid}/fd`).length;
  }

  /** CPU time that it takes, as a share of one core, over the next `ms` milliseconds. */
  async cpuShare(ms: number): Promise<number> {
    const before = this.#cpuMs();
    const start = performance.now();
    await delay(ms);
    return (this.#cpuMs() - before) / (performance.now() - start);
  }

  #cpuMs(): number {
    const stat = readFileSync(`/proc/${this.#child.pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
  }
}

/** Its log until it says that it serves. */
async function firstLines(child: ChildProcess): Promise<Record<string, unknown>[]> {
  const output: Buffer[] = [];
  return await new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error("the server does not start")), START_MS);
    child.once("exit", (code) => reject(new Error(`the server exited with ${code}`)));
    child.stdout!.on("data", (chunk: Buffer) => {
      output.push(chunk);
      const lines = Buffer.concat(output).toString().split("\n").slice(0, -1);
      const records = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
      if (!records.some(({ msg }) => msg === "serving")) return;
      clearTimeout(late);
      child.stdout!.removeAllListeners("data").resume();
      resolve(records);
    });
  });
}
