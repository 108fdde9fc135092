// What `holdfast serve` does with the options of its TCP listener that only a process of its own
// shows: which transport it takes, a socket that it inherits, what the kernel was asked for.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { loadNative } from "../../src/transport/native.ts";

const program = fileURLToPath(new URL("../../dist/cli/holdfast.js", import.meta.url));
const LOOPBACK = "127.0.0.1";
const TCP_ALONE = [
  "--workers=0",
  "--websocket-enabled=false",
  "--admin-enabled=false",
  `--tcp-host=${LOOPBACK}`,
];
/** Who has been told to go need not be waited for. */
const SOON = ["--drain-grace-ms=100", "--drain-close-spread-ms=0"];
const NO_ADDON = { HOLDFAST_NATIVE_ADDON: "/nowhere/holdfast.node" };
const TRANSPORTS = ["tcp-net", ...(hasAddon() ? ["tcp-epoll"] : [])];

const children: ChildProcess[] = [];

beforeAll(() => {
  if (!existsSync(program)) throw new Error("dist/ is not there: run npm run build");
});

afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
});

function hasAddon(): boolean {
  try {
    return loadNative() !== null;
  } catch {
    return false;
  }
}

type LogRecord = Readonly<Record<string, unknown>>;

interface Run {
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  error(): string;
  /** Resolves with the log once it says that it serves. */
  serving(): Promise<LogRecord[]>;
}

/** @param inherited a listening socket that becomes the process's file 3. */
function serve(flags: readonly string[], env: NodeJS.ProcessEnv = {}, inherited?: Server): Run {
  const handle = (inherited as unknown as { _handle: { fd: number } } | undefined)?._handle;
  const child = spawn(process.execPath, [program, "serve", ...TCP_ALONE, ...flags], {
    env: { PATH: process.env["PATH"], ...env },
    stdio: ["ignore", "pipe", "pipe", ...(handle === undefined ? [] : [handle.fd])],
  });
  children.push(child);
  let out = "";
  let error = "";
  child.stdout?.setEncoding("utf8").on("data", (text: string) => (out += text));
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (error += text));
  const ended = once(child, "close").then(([code]) => code as number | null);
  const serving = async (): Promise<LogRecord[]> => {
    const tooEarly = ended.then(() => Promise.reject(new Error(`it has ended: ${out}${error}`)));
    while (!/"serving"/.test(out)) await Promise.race([once(child.stdout!, "data"), tooEarly]);
    tooEarly.catch(() => {});
    return out
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as LogRecord);
  };
  return { child, ended, error: () => error, serving };
}

function portOf(records: readonly LogRecord[]): number {
  const endpoint = records.find(({ listener }) => listener === "tcp")?.["endpoint"];
  return Number(/:(\d+)$/.exec(String(endpoint))?.[1]);
}

async function connected(where: { port: number } | { path: string }): Promise<Socket> {
  const socket = connect({ host: LOOPBACK, ...where });
  socket.on("error", () => {});
  onTestFinished(() => void socket.destroy());
  await once(socket, "connect");
  return socket;
}

/** A Hello without anything: the least that a server answers. */
async function greeted(where: { port: number } | { path: string }): Promise<Socket> {
  const socket = await connected(where);
  socket.write(Buffer.from([0, 0, 0, 6, 8, 1, 18, 2, 8, 1]));
  await once(socket, "data");
  return socket;
}

describe("the transport of TCP", () => {
  it("is tcp-net where the addon is missing, which is told once with why", async () => {
    const records = await serve(["--tcp-port=0"], NO_ADDON).serving();
    const told = records.filter(({ msg }) => String(msg).startsWith("TCP is served by"));
    expect(told).toHaveLength(1);
    expect(told[0]).toMatchObject({ msg: "TCP is served by tcp-net", transport: "tcp-net" });
    expect(told[0]?.["reason"]).toContain("there is no /nowhere/holdfast.node");
    expect(told[0]?.["reason"]).toContain("npm rebuild holdfast");
    expect(records.find(({ listener }) => listener === "tcp")).toMatchObject({
      transport: "tcp-net",
    });
  });

  it("is an error where it is to be tcp-epoll and the addon is missing", async () => {
    const run = serve(["--tcp-port=0", "--transport", "tcp-epoll"], NO_ADDON);
    expect(await run.ended).toBe(1);
    expect(run.error()).toMatch(/^holdfast: tcp-epoll cannot be used: there is no \/nowhere/);
    expect(run.error().trim().split("\n")).toHaveLength(1);
  });

  it.each(TRANSPORTS)("is %s where --transport says so", async (transport) => {
    const records = await serve(["--tcp-port=0", `--transport=${transport}`]).serving();
    expect(records.find(({ listener }) => listener === "tcp")).toMatchObject({ transport });
    const told = records.find(({ msg }) => msg === `TCP is served by ${transport}`);
    expect(told?.["reason"]).toBe("tcp.transport names it");
    await greeted({ port: portOf(records) });
  });

  it("cannot be udp", async () => {
    const run = serve(["--transport", "udp"]);
    expect(await run.ended).toBe(2);
    expect(run.error()).toContain("tcp.transport must be one of auto, tcp-net, tcp-epoll");
  });

  it("is told to have no user timeout where it is tcp-net for want of the addon", async () => {
    const records = await serve(["--tcp-port=0", "--tcp-user-timeout-ms=5000"], NO_ADDON).serving();
    const told = records.find(({ msg }) =>
      String(msg).startsWith("tcp.userTimeoutMs has no effect"),
    );
    expect(told).toMatchObject({ userTimeoutMs: 5_000 });
  });
});

describe.each(TRANSPORTS)("an inherited socket over %s", (transport) => {
  const flags = ["--tcp-fd=3", `--transport=${transport}`];

  it("is listened on, wherever it is bound", async () => {
    const parent = createServer().listen(0, LOOPBACK);
    await once(parent, "listening");
    const { port } = parent.address() as { port: number };
    const run = serve([...flags, ...SOON], {}, parent);
    const records = await run.serving();
    parent.close();
    expect(portOf(records)).toBe(port);
    await greeted({ port });
    run.child.kill("SIGTERM");
    expect(await run.ended).toBe(0);
  });

  it("may be a Unix socket, whose connections can be cut off", async () => {
    const folder = mkdtempSync(join(tmpdir(), "holdfast-fd-"));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const path = join(folder, "hf.sock");
    const parent = createServer().listen(join(folder, "parent.sock"));
    await once(parent, "listening");
    // Under another name, or the parent's close would remove it; while it is open both accept.
    renameSync(join(folder, "parent.sock"), path);
    const run = serve([...flags, "--drain-grace-ms=0"], {}, parent);
    await run.serving();
    parent.close();
    await greeted({ path });
    run.child.kill("SIGTERM");
    run.child.kill("SIGINT");
    expect(await run.ended).toBe(0);
    expect(run.error()).toBe("");
  });

  it("is an error where the file is none", async () => {
    const run = serve(["--tcp-fd=77", `--transport=${transport}`]);
    expect(await run.ended).toBe(1);
    expect(run.error()).toMatch(/^holdfast: /);
    expect(run.error().trim().split("\n")).toHaveLength(1);
  });
});

it("an inherited socket over tcp-net is let go when the server stops", async () => {
  const parent = createServer().listen(0, LOOPBACK);
  await once(parent, "listening");
  const { port } = parent.address() as { port: number };
  const run = serve(["--tcp-fd=3", "--transport=tcp-net"], {}, parent);
  await run.serving();
  parent.close();
  const client = await greeted({ port });
  run.child.kill("SIGTERM");
  await once(client, "data");
  // Nobody else has it here: where somebody has, newcomers wait for him (held-processes.test.ts).
  await expect(connected({ port })).rejects.toMatchObject({ code: "ECONNREFUSED" });
  expect(run.child.exitCode).toBeNull();
  client.destroy();
  expect(await run.ended).toBe(0);
});

describe.each(TRANSPORTS)("keep-alive over %s", (transport) => {
  /** The timer of the server's side: 2 is keep-alive (or a delayed acknowledgement). */
  async function timerOf(flags: readonly string[]): Promise<string | undefined> {
    const options = ["--tcp-port=0", `--transport=${transport}`, ...flags];
    const port = portOf(await serve(options).serving());
    const socket = await greeted({ port });
    const hex = (value: number): string => value.toString(16).toUpperCase().padStart(4, "0");
    const line = readFileSync("/proc/net/tcp", "utf8")
      .split("\n")
      .map((text) => text.trim().split(/\s+/))
      .find((at) => at[1]?.endsWith(hex(port)) && at[2]?.endsWith(hex(socket.localPort!)));
    return line?.[5]?.slice(0, 2);
  }

  it.runIf(process.platform === "linux")("is asked of the kernel", async () => {
    expect(await timerOf(["--tcp-keep-alive-ms=60000"])).toBe("02");
  });

  it.runIf(process.platform === "linux")("is not, where it is 0", async () => {
    expect(await timerOf(["--tcp-keep-alive-ms=0"])).toBe("00");
  });
});
