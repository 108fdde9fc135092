// `holdfast serve` as a service manager runs it: a process of its own, real signals, exit codes.
import { type ChildProcess, spawn } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { existsSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { runServe } from "../../src/cli/serve.ts";
import { resolveOptions } from "../../src/config/resolve.ts";
import { RawClient } from "../support/raw-client.ts";
import { call } from "../support/raw-message.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const program = join(root, "dist", "cli", "holdfast.js");
const LOOPBACK = "127.0.0.1";
const FREE_PORTS = ["--workers=0", "--tcp-port=0", "--websocket-port=0", "--admin-port=0"];
const ON_LOOPBACK = [`--tcp-host=${LOOPBACK}`, `--websocket-host=${LOOPBACK}`];

let folder: string;
const children: ChildProcess[] = [];

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-process-"));
  // What runs is what was built last: npm test builds first.
  if (!existsSync(program)) throw new Error("dist/ is not there: run npm run build");
});

afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
});

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

interface Run {
  readonly child: ChildProcess;
  readonly ended: Promise<{ code: number | null; signal: string | null }>;
  out(): string;
  error(): string;
  /** Records of the log so far. */
  records(): Record<string, unknown>[];
}

function run(
  args: readonly string[],
  stdout: "pipe" | number = "pipe",
  execArgs: readonly string[] = [],
): Run {
  const child = spawn(process.execPath, [...execArgs, program, ...args], {
    cwd: folder,
    env: { PATH: process.env["PATH"] },
    stdio: ["ignore", stdout, "pipe"],
  });
  children.push(child);
  let out = "";
  let error = "";
  child.stdout?.setEncoding("utf8").on("data", (text: string) => (out += text));
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (error += text));
  const ended = once(child, "close").then(([code, signal]) => ({
    code: code as number | null,
    signal: signal as string | null,
  }));
  const records = (): Record<string, unknown>[] =>
    out
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  return { child, ended, out: () => out, error: () => error, records };
}

interface Serving extends Run {
  readonly ports: { readonly tcp: number; readonly websocket: number; readonly admin: number };
}

async function serve(
  args: readonly string[] = [],
  execArgs: readonly string[] = [],
): Promise<Serving> {
  const running = run(["serve", ...FREE_PORTS, ...ON_LOOPBACK, ...args], "pipe", execArgs);
  await until(() => running.out().includes('"msg":"serving"'), running);
  const portOf = (name: string): number => {
    const record = running.records().find(({ listener }) => listener === name);
    return Number(new URL(String(record?.["endpoint"])).port);
  };
  const ports = { tcp: portOf("tcp"), websocket: portOf("websocket"), admin: portOf("admin") };
  return { ...running, ports };
}

async function until(holds: () => boolean | Promise<boolean>, running: Run): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!(await holds())) {
    if (running.child.exitCode !== null || Date.now() > deadline) {
      throw new Error(`it did not come true: ${running.out()}${running.error()}`);
    }
    await delay(10);
  }
}

const readyz = async ({ ports }: Serving): Promise<number> =>
  (await fetch(`http://${LOOPBACK}:${ports.admin}/readyz`)).status;

const tcpClient = ({ ports }: Serving): Promise<RawClient> =>
  RawClient.active({ port: ports.tcp, transport: "tcp" });

describe("the process of holdfast serve", () => {
  it("goes on at SIGHUP, having no workers to replace, and says so", async () => {
    const serving = await serve();
    serving.child.kill("SIGHUP");
    await until(() => serving.out().includes("SIGHUP: one process has no workers"), serving);
    const client = await tcpClient(serving);
    await client.echo("still there");
    client.end();
    serving.child.kill("SIGTERM");
    expect(await serving.ended).toEqual({ code: 0, signal: null });
  });

  it("serves both transports, and on SIGTERM says GoAway to all and ends with 0", async () => {
    const serving = await serve(["--drain-grace-ms=200", "--drain-close-spread-ms=100"]);
    expect(await readyz(serving)).toBe(200);
    const tcp = await tcpClient(serving);
    const ws = await RawClient.active({ port: serving.ports.websocket, transport: "websocket" });
    await tcp.echo("over TCP");
    await ws.echo("over WebSocket");
    serving.child.kill("SIGTERM");
    const endings = await Promise.all([tcp.ending(), ws.ending()]);
    expect(endings).toMatchObject([
      { how: "fin", goAway: { code: 3_000 } },
      { how: "fin", goAway: { code: 3_000 }, closeCode: 3_000 },
    ]);
    expect(await serving.ended).toEqual({ code: 0, signal: null });
    expect(serving.error()).toBe("");
    const said = serving.records().map(({ msg }) => msg);
    expect(said[0]).toMatch(/^TCP is served by tcp-(?:net|epoll)$/);
    expect(said.slice(1, 5)).toEqual(["listening", "listening", "listening", "serving"]);
    expect(said).toContain("stopping");
    expect(said).toContain("stopped");
  });

  it("says which library serves WebSocket, and within which limits", async () => {
    const serving = await serve(["--connection-max=123", "--node-name=here"]);
    const webSocket = serving.records().find(({ listener }) => listener === "websocket");
    expect(webSocket?.["transport"]).toMatch(/uws.* \d+\.\d+\.\d+$/i);
    const record = serving.records().find(({ msg }) => msg === "serving");
    expect(record).toMatchObject({ node: "here", connectionsMax: 123 });
    serving.child.kill("SIGINT");
    expect((await serving.ended).code).toBe(0);
  });

  it("waits for a client that is stuck until a second signal hastens it", async () => {
    const serving = await serve(["--drain-grace-ms=600000"]);
    const client = await RawClient.active({
      port: serving.ports.tcp,
      transport: "tcp",
      answersFin: false,
    });
    serving.child.kill("SIGTERM");
    await client.until(() => client.goAway !== null, "GoAway");
    await delay(300);
    expect(serving.child.exitCode).toBeNull();
    const start = Date.now();
    serving.child.kill("SIGTERM");
    expect(await serving.ended).toEqual({ code: 0, signal: null });
    expect(Date.now() - start).toBeLessThan(2_000);
    expect(serving.records().filter(({ msg }) => msg === "stopping")).toMatchObject([
      { signal: "SIGTERM", hasten: false, withinMs: 606_000 },
      { signal: "SIGTERM", hasten: true },
    ]);
    client.reset();
  });

  it("ends with 0 when the signal comes before it listens", async () => {
    const events = new EventEmitter();
    const code = {
      tcp: { host: LOOPBACK, port: 0 },
      websocket: { enabled: false },
      workers: { count: 0 },
      admin: { port: 0 },
      log: { level: "silent" },
    } as const;
    let told = "";
    const write = (text: string): void => void (told += text);
    const terminal = { env: {}, isInteractive: true, columns: 80, write, writeError: write };
    const ended = runServe(resolveOptions({ code }), terminal, events);
    events.emit("SIGTERM", "SIGTERM");
    expect(told).toMatch(/^SIGTERM: stopping/);
    expect(await ended).toBe(0);
    expect(events.eventNames()).toEqual([]);
  });

  it.each([
    ["--tcp-port", "TCP"],
    ["--websocket-port", "WebSocket"],
    ["--admin-port", "admin HTTP"],
  ])("ends with 1 and says what to do when %s is taken", async (flag, what) => {
    const blocker = createServer().listen(0, LOOPBACK);
    await once(blocker, "listening");
    const { port } = blocker.address() as { port: number };
    const running = run(["serve", ...FREE_PORTS, ...ON_LOOPBACK, `${flag}=${port}`]);
    expect((await running.ended).code).toBe(1);
    const option = flag.slice(2).replace("-", ".");
    expect(running.error()).toBe(
      `holdfast: cannot listen for ${what} on ${LOOPBACK}:${port}: EADDRINUSE: ` +
        `another process listens there: stop it, or choose another port (${option})\n`,
    );
    blocker.close();
  });

  it.each([
    ["a value out of range", ["--tcp-port=70000"], /tcp\.port.*70000/],
    ["an unknown flag", ["--tpc-port=1"], /tcp-port/],
    ["a file that is not there", ["--config=missing.yaml"], /missing\.yaml/],
    ["nothing to serve", ["--tcp-enabled=false", "--websocket-enabled=false"], /nothing to serve/],
  ])("ends with 2 before it listens when it is given %s", async (_what, args, message) => {
    const running = run(["serve", ...args]);
    expect((await running.ended).code).toBe(2);
    expect(running.error()).toMatch(message);
    expect(running.out()).toBe("");
  });

  it("serves on when whoever reads its log has gone, and ends with 0", async () => {
    const serving = await serve(["--log-level=debug"]);
    serving.child.stdout!.destroy();
    for (let count = 0; count < 5; count++) {
      const client = await tcpClient(serving);
      await client.echo();
      await client.leave();
    }
    const text = await (await fetch(`http://${LOOPBACK}:${serving.ports.admin}/metrics`)).text();
    expect(Number(/^holdfast_log_lost_total (\d+)$/m.exec(text)?.[1])).toBeGreaterThan(0);
    serving.child.kill("SIGTERM");
    expect((await serving.ended).code).toBe(0);
  });

  it("serves on when its log fills the disk, and ends with 0", async () => {
    const full = openSync("/dev/full", "w");
    const socket = join(folder, "full.sock");
    const args = ["serve", ...FREE_PORTS, `--tcp-path=${socket}`, "--websocket-enabled=false"];
    const running = run(args, full);
    await until(() => existsSync(socket), running);
    await delay(200);
    running.child.kill("SIGTERM");
    expect(await running.ended).toEqual({ code: 0, signal: null });
    expect(running.error()).toBe("");
  });

  it("ends within seconds when nobody reads its log any more", async () => {
    const serving = await serve(["--log-level=debug", "--log-sample-per-second=100000"]);
    serving.child.stdout!.pause();
    const pipeBytes = 65_536;
    for (let count = 0; count * 150 < 2 * pipeBytes; count++) {
      const client = await tcpClient(serving);
      await client.leave();
    }
    const start = Date.now();
    serving.child.kill("SIGTERM");
    await once(serving.child, "exit");
    expect(serving.child.exitCode).toBe(0);
    expect(Date.now() - start).toBeLessThan(5_000);
    serving.child.stdout!.destroy();
  });

  it.each([
    ["an exception", "throw defect;"],
    ["a rejection", "Promise.reject(defect);"],
  ])("ends with 70 and one fatal record when nobody catches %s", async (_what, statement) => {
    const code = `
      const timer = setInterval(() => {
        if (process.listenerCount("uncaughtException") === 0) return;
        clearInterval(timer);
        const defect = new Error("a planted defect");
        ${statement}
      }, 20);`;
    const planted = join(folder, "planted.mjs");
    writeFileSync(planted, code);
    const args = ["serve", ...FREE_PORTS, ...ON_LOOPBACK];
    const running = run(args, "pipe", ["--import", planted]);
    expect(await running.ended).toEqual({ code: 70, signal: null });
    const fatal = running.records().filter(({ level }) => level === "fatal");
    expect(fatal).toHaveLength(1);
    expect(fatal[0]).toMatchObject({ err: { message: "a planted defect" } });
    expect(running.error()).toContain("a planted defect");
  });

  it.each(["tcp", "websocket"] as const)(
    "ends with 70 when an invariant breaks while a message is handled over %s",
    async (transport) => {
      const planted = join(folder, "invariant.mjs");
      const router = new URL("../../dist/server/router.js", import.meta.url);
      writeFileSync(
        planted,
        `import { Router } from ${JSON.stringify(router)};
         Router.prototype.call = () => { throw new Error("a broken invariant"); };`,
      );
      const serving = await serve([], ["--import", planted]);
      const client = await RawClient.active({ port: serving.ports[transport], transport });
      client.send(call(2, "echo", "x"));
      expect(await serving.ended).toEqual({ code: 70, signal: null });
      const fatal = serving.records().filter(({ level }) => level === "fatal");
      expect(fatal).toMatchObject([{ err: { message: "a broken invariant" } }]);
      client.reset();
    },
  );
});
