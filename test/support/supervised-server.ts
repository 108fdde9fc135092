// `holdfast serve` with workers as processes of their own: its log, what it tells operators, its
// processes, and the proof that nothing of it is left.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { createServer } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";

export const PROGRAM: string = fileURLToPath(
  new URL("../../dist/cli/holdfast.js", import.meta.url),
);
export const LOOPBACK = "127.0.0.1";
/** Other work on the machine may make everything slow; a correct server never needs so long. */
const PATIENCE_MS = 20_000;
const QUEUE_MS = 50;
const ORDER = { method: "POST", headers: { "x-holdfast-control": "1" } } as const;

export type LogRecord = Readonly<Record<string, unknown>>;

/** A row of `workers` in /stats. */
export interface WorkerRow {
  readonly slot: number;
  readonly worker: number;
  readonly pid: number;
  readonly state: string;
  readonly configHash: string | null;
  readonly connections: number | null;
  readonly queueBytes: number | null;
}

/** What the tests read of /stats. */
export interface StatsRead {
  readonly workers: readonly WorkerRow[];
  readonly connections: { readonly total: number; readonly max: number };
  readonly supervisor: {
    readonly crashes: number;
    readonly restarts: number;
    readonly breakersOpen: readonly number[];
    readonly config: {
      readonly hash: string;
      readonly pending: {
        readonly rolling: readonly string[];
        readonly supervisor: readonly string[];
      };
      readonly taken: number;
      readonly refused: number;
    };
  };
}

export interface ReloadRead {
  readonly state: "idle" | "running";
  readonly completed: number;
  readonly failed: number;
  readonly problem: string | null;
}

export interface SupervisedOptions {
  readonly workers: number;
  readonly flags?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Where its standard output goes instead of here: then {@link SupervisedServer.log} is empty. */
  readonly stdout?: number;
  /** Stands before the program: who starts it, and how. */
  readonly launcher?: readonly string[];
  /** Its files from 3 on. */
  readonly files?: readonly number[];
  /** Ports that are known, where the log cannot tell them. */
  readonly ports?: Ports;
}

export interface Ports {
  readonly tcp: number;
  readonly websocket: number;
  readonly admin: number;
}

export class SupervisedServer {
  readonly child: ChildProcess;
  /** Every record that it, or one of its workers, has written so far. */
  readonly log: LogRecord[] = [];
  /** Exit code, or the signal that ended it. */
  readonly ended: Promise<number | string>;
  errorText: string = "";
  hasEnded: boolean = false;
  #ports: Ports | null;
  #rest: string = "";
  readonly #pids: Set<number> = new Set();

  private constructor(options: SupervisedOptions) {
    const { launcher = [], files = [], flags = [], stdout = "pipe" } = options;
    const ports = options.ports ?? { tcp: 0, websocket: 0, admin: 0 };
    const given = [
      `--workers=${options.workers}`,
      `--tcp-host=${LOOPBACK}`,
      `--websocket-host=${LOOPBACK}`,
      `--tcp-port=${ports.tcp}`,
      `--websocket-port=${ports.websocket}`,
      `--admin-port=${ports.admin}`,
      "--log-pretty=false",
    ];
    const [command, ...args] = [
      ...launcher,
      process.execPath,
      PROGRAM,
      "serve",
      ...given,
      ...flags,
    ];
    this.child = spawn(command!, args, {
      env: { PATH: process.env["PATH"], ...options.env },
      stdio: ["ignore", stdout, "pipe", ...files],
    });
    this.#ports = options.ports ?? null;
    this.child.stdout?.setEncoding("utf8").on("data", (text: string) => this.#logged(text));
    this.child.stderr?.setEncoding("utf8").on("data", (text: string) => (this.errorText += text));
    this.ended = once(this.child, "exit").then(([code, signal]) => {
      this.hasEnded = true;
      return (code ?? signal) as number | string;
    });
  }

  /**
   * Starts it without waiting.
   * @param atEnd takes what ends all of its processes: the running test's onTestFinished.
   */
  static launch(
    options: SupervisedOptions,
    atEnd: (stop: () => Promise<void>) => void,
  ): SupervisedServer {
    if (!existsSync(PROGRAM)) throw new Error("the program is not built: npm run build");
    const server = new SupervisedServer(options);
    atEnd(() => server.#endAll());
    return server;
  }

  /** Starts it and waits until it serves. */
  static async start(
    options: SupervisedOptions,
    atEnd: (stop: () => Promise<void>) => void,
  ): Promise<SupervisedServer> {
    const server = SupervisedServer.launch(options, atEnd);
    await server.serving();
    return server;
  }

  get pid(): number {
    return this.child.pid!;
  }

  get ports(): Ports {
    if (this.#ports === null) throw new Error("it does not serve yet");
    return this.#ports;
  }

  /** Process ids of all workers that it ever started. */
  get workerPids(): ReadonlySet<number> {
    return this.#pids;
  }

  async serving(): Promise<void> {
    await this.logged(({ msg }) => msg === "serving", "it serves");
    const portOf = (name: string): number => {
      const record = this.log.find(({ listener, msg }) => listener === name && msg === "listening");
      return Number(/:(\d+)\/?$/.exec(String(record?.["endpoint"]))?.[1]);
    };
    this.#ports ??= { tcp: portOf("tcp"), websocket: portOf("websocket"), admin: portOf("admin") };
  }

  /** The first record, written or to come, that fits. */
  async logged(fits: (record: LogRecord) => boolean, what: string): Promise<LogRecord> {
    await this.until(() => this.log.some(fits), what);
    return this.log.find(fits)!;
  }

  async until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
    const deadline = performance.now() + PATIENCE_MS;
    while (!(await holds())) {
      if (this.hasEnded || performance.now() > deadline) {
        const last = this.log.slice(-12).map((record) => JSON.stringify(record));
        const why = this.hasEnded ? "it has ended" : `not in ${PATIENCE_MS} ms`;
        throw new Error([`${what}: ${why}`, ...last, this.errorText].join("\n"));
      }
      await delay(20);
    }
  }

  get(path: string): Promise<Response> {
    return fetch(`http://${LOOPBACK}:${this.ports.admin}${path}`);
  }

  order(path: string): Promise<Response> {
    return fetch(`http://${LOOPBACK}:${this.ports.admin}${path}`, ORDER);
  }

  async stats(): Promise<StatsRead> {
    return (await (await this.get("/stats")).json()) as StatsRead;
  }

  /** Those that serve, by slot. */
  async workers(): Promise<WorkerRow[]> {
    const { workers } = await this.stats();
    return workers.filter(({ state }) => state === "serving").sort((a, b) => a.slot - b.slot);
  }

  /** @param row a name, with its labels as they are written; NaN where there is none. */
  async metric(row: string): Promise<number> {
    const text = await (await this.get("/metrics")).text();
    const line = text.split("\n").find((each) => each.startsWith(`${row} `));
    return Number(line?.slice(row.length + 1) ?? Number.NaN);
  }

  async reloadState(): Promise<ReloadRead> {
    return (await (await this.get("/reload")).json()) as ReloadRead;
  }

  /** One rolling restart, to its end. */
  async reload(): Promise<ReloadRead> {
    const before = await this.reloadState();
    const answer = await this.order("/reload");
    if (!answer.ok) throw new Error(`no reload: ${answer.status} ${await answer.text()}`);
    let now = before;
    await this.until(async () => {
      now = await this.reloadState();
      const isOver = now.completed + now.failed > before.completed + before.failed;
      return isOver && now.state === "idle";
    }, "the rolling restart is over");
    return now;
  }

  /** Stops it in order. Gives its exit code. */
  async stop(): Promise<number | string> {
    this.child.kill("SIGTERM");
    return await this.ended;
  }

  /** Throws where a process of it lives, or a port of it cannot be opened again. */
  async nothingIsLeft(): Promise<void> {
    const deadline = performance.now() + PATIENCE_MS;
    const all = [this.pid, ...this.#pids];
    for (let left = all.filter(isAlive); left.length > 0; left = all.filter(isAlive)) {
      if (performance.now() > deadline) throw new Error(`processes are left: ${left.join(", ")}`);
      await delay(20);
    }
    for (const [name, port] of Object.entries(this.ports)) {
      if (Number.isNaN(port)) continue;
      const again = createServer().listen({ port, host: LOOPBACK, exclusive: true });
      try {
        await once(again, "listening");
      } catch (error) {
        throw new Error(`the port of ${name} is still taken`, { cause: error });
      }
      again.close();
      await once(again, "close");
    }
  }

  #logged(text: string): void {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop()!;
    for (const line of lines) {
      // Lines of several processes that write to one pipe at once.
      if (line === "") continue;
      const record = JSON.parse(line) as LogRecord;
      this.log.push(record);
      if (record["msg"] === "a worker starts") this.#pids.add(Number(record["pid"]));
    }
  }

  async #endAll(): Promise<void> {
    for (const pid of [this.pid, ...this.#pids]) signal(pid, "SIGKILL");
    await this.ended;
  }
}

/** Does nothing where the process has gone. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has.
  }
}

/** One that waits to be reaped has ended: whose child it was may have ended before. */
export function isAlive(pid: number): boolean {
  return !["", "Z", "X"].includes(stateOf(pid));
}

/** As in /proc; "" where there is no such process. */
function stateOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2, stat.lastIndexOf(")") + 3);
  } catch {
    return "";
  }
}

/**
 * Stops a process where it stands, notes whose connections it had accepted, and kills it.
 * @returns the clients' ends, as address:port; who waits to be accepted is not among them
 */
export async function killNoting(pid: number): Promise<Set<string>> {
  signal(pid, "SIGSTOP");
  while (!["T", "Z", ""].includes(stateOf(pid))) await delay(1);
  // Meanwhile clients connect that it does not accept: its end must not be theirs.
  await delay(QUEUE_MS);
  const accepted = acceptedBy(pid);
  signal(pid, "SIGKILL");
  return accepted;
}

/** A connection that nobody has accepted yet has no inode, so no process has it. */
function acceptedBy(pid: number): Set<string> {
  const inodes = new Set<string>();
  for (const file of readdirSync(`/proc/${pid}/fd`)) {
    const inode = /^socket:\[(\d+)\]$/.exec(linkOf(`/proc/${pid}/fd/${file}`))?.[1];
    if (inode !== undefined) inodes.add(inode);
  }
  const clients = new Set<string>();
  for (const line of readFileSync("/proc/net/tcp", "utf8").split("\n").slice(1)) {
    const fields = line.trim().split(/\s+/);
    if (inodes.has(fields[9] ?? "")) clients.add(peerOf(fields[2]!));
  }
  return clients;
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}

/** 0100007F:1CE8 -> 127.0.0.1:7400. */
function peerOf(text: string): string {
  const [address = "", port = ""] = text.split(":");
  const bytes = address.match(/../g)?.toReversed() ?? [];
  return `${bytes.map((byte) => Number.parseInt(byte, 16)).join(".")}:${Number.parseInt(port, 16)}`;
}
