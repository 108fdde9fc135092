// The servers that scenarios are run against: one that the user has, or a `holdfast serve` of our
// own for each scenario, which may be crashed and have its workers replaced.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Clock } from "../base/clock.ts";
import { HoldfastError } from "../base/errors.ts";
import type { ScenarioServer, ScenarioServers } from "../probe/scenario-series.ts";
import type { Scenario } from "../probe/scenarios.ts";
import { parseServerSources } from "../probe/server-watch.ts";
import { parseTargets } from "../probe/target.ts";
import { AdminClient } from "./admin-client.ts";

const PROGRAM: string = fileURLToPath(new URL("./holdfast.js", import.meta.url));
/** A machine under load starts a dozen workers in some seconds. */
const READY_MS_MAX = 60_000;
/** A server with many connections needs some seconds to close them all. */
const STOP_MS_MAX = 20_000;
/** The kernel spreads connections by a hash, so that some workers get more than their share. */
const ROOM_SHARE = 1.5;
const ROOM_LEAST = 1_000;

type Listener = "tcp" | "websocket" | "admin";
type Ports = Readonly<Record<Listener, number>>;
const ANY_PORT: Ports = { tcp: 0, websocket: 0, admin: 0 };

/** A server that somebody else runs: the scenarios that restart it are left out. */
export function givenServer(
  targets: readonly string[],
  serverStats: readonly string[],
): ScenarioServers {
  const server: ScenarioServer = {
    targets: parseTargets(targets),
    serverSources: parseServerSources(serverStats),
    control: null,
    stop: async () => {},
  };
  const isWatched = serverStats.some((source) => source.startsWith("http"));
  return { text: targets.join(" "), isOwn: false, isWatched, start: async () => server };
}

/** @param over which of its listeners is probed */
export function ownServers(
  over: "tcp" | "websocket",
  workers: string,
  clock: Clock,
): ScenarioServers {
  return {
    text: `holdfast serve --workers ${workers}, over ${over}, started anew for each scenario`,
    isOwn: true,
    isWatched: true,
    start: (scenario) => OwnServer.start(scenario, over, workers, clock),
  };
}

class OwnServer implements ScenarioServer {
  readonly targets: ScenarioServer["targets"];
  readonly serverSources: ScenarioServer["serverSources"];
  readonly control: ScenarioServer["control"] = this;
  readonly #flags: readonly string[];
  readonly #admin: string;
  readonly #ports: Ports;
  readonly #clock: Clock;
  #child: ChildProcess;
  /** Resolves with the process that follows one that was crashed. */
  #next: Promise<unknown> = Promise.resolve();

  private constructor(
    flags: readonly string[],
    over: "tcp" | "websocket",
    { child, endpoints }: Started,
    clock: Clock,
  ) {
    this.#flags = flags;
    this.#child = child;
    this.#clock = clock;
    this.#admin = endpoints.admin;
    this.#ports = {
      tcp: portOf(endpoints.tcp),
      websocket: portOf(endpoints.websocket),
      admin: portOf(endpoints.admin),
    };
    this.targets = parseTargets([endpoints[over]]);
    this.serverSources = parseServerSources([endpoints.admin]);
  }

  static async start(
    { connections, serverFlags }: Scenario,
    over: "tcp" | "websocket",
    workers: string,
    clock: Clock,
  ): Promise<OwnServer> {
    const room = Math.ceil(connections * ROOM_SHARE) + ROOM_LEAST;
    const flags = ["--workers", workers, "--connection-max", String(room), ...serverFlags];
    return new OwnServer(flags, over, await startServe(flags, ANY_PORT, clock), clock);
  }

  async crash(): Promise<void> {
    const { body } = await new AdminClient(this.#admin).get("/stats");
    const workers = body["workers"] as readonly { readonly pid: number }[] | undefined;
    const ended = once(this.#child, "exit");
    // Workers that outlived their supervisor would say goodbye to their clients.
    for (const { pid } of workers ?? []) process.kill(pid, "SIGKILL");
    this.#child.kill("SIGKILL");
    await ended;
    const next = startServe(this.#flags, this.#ports, this.#clock, (child) => {
      this.#child = child;
    });
    this.#next = next.catch(() => {});
    await next;
  }

  async replaceWorkers(): Promise<void> {
    const args = [PROGRAM, "reload", "--wait", "--admin", this.#admin];
    const reload = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "pipe"] });
    let complaint = "";
    reload.stderr.setEncoding("utf8").on("data", (text: string) => {
      complaint += text;
    });
    const [code] = (await once(reload, "close")) as [number | null];
    if (code !== 0) throw failed(`holdfast reload --wait: ${complaint.trim()}`);
  }

  async stop(): Promise<void> {
    // One that is being started would not hear that it is to end.
    await this.#next;
    const child = this.#child;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill("SIGTERM");
    // A second signal: what is left is cut off at once.
    const hasten = this.#clock.after(500, () => void child.kill("SIGTERM"));
    const kill = this.#clock.after(STOP_MS_MAX, () => void child.kill("SIGKILL"));
    await ended;
    hasten.cancel();
    kill.cancel();
  }
}

interface Started {
  readonly child: ChildProcess;
  readonly endpoints: Readonly<Record<Listener, string>>;
}

/**
 * Resolves when it serves.
 * @param onSpawned is told of the process at once
 */
async function startServe(
  flags: readonly string[],
  ports: Ports,
  clock: Clock,
  onSpawned: (child: ChildProcess) => void = () => {},
): Promise<Started> {
  const hosts = ["--tcp-host", "127.0.0.1", "--websocket-host", "127.0.0.1"];
  const places = ["tcp", "websocket", "admin"] as const;
  const given = places.flatMap((place) => [`--${place}-port`, String(ports[place])]);
  const log = ["--log-pretty", "false", "--log-level", "info"];
  const args = [PROGRAM, "serve", ...hosts, ...given, ...log, ...flags];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
  onSpawned(child);
  // A probe that is ended at once takes its server along.
  const onExit = (): void => void child.kill("SIGKILL");
  process.once("exit", onExit);
  child.once("exit", () => void process.off("exit", onExit));
  let complaint = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    complaint += text;
  });
  const deadline = clock.after(READY_MS_MAX, () => void child.kill("SIGKILL"));
  const endpoints: Record<string, string> = {};
  for await (const line of createInterface({ input: child.stdout })) {
    const entry = entryOf(line);
    if (entry.listener !== undefined) endpoints[entry.listener] = entry.endpoint ?? "";
    if (entry.msg !== "serving") continue;
    deadline.cancel();
    // What it logs from now on nobody reads, and a full pipe would hold it up.
    child.stdout.resume();
    return { child, endpoints: endpoints as Started["endpoints"] };
  }
  deadline.cancel();
  throw failed(`holdfast serve ${flags.join(" ")} did not start: ${complaint.trim()}`);
}

interface LogEntry {
  readonly msg?: string;
  readonly listener?: string;
  readonly endpoint?: string;
}

function entryOf(line: string): LogEntry {
  try {
    return JSON.parse(line) as LogEntry;
  } catch {
    return {};
  }
}

function portOf(endpoint: string): number {
  return Number(new URL(endpoint).port);
}

function failed(message: string): HoldfastError {
  return new HoldfastError("HOLDFAST_WORKER_FAILED", message);
}
