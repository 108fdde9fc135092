// Who accepts for uWebSockets.js: what is tried before sockets are handed over, and what happens
// while it listens, stops and goes, either way.

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, it } from "vitest";
import { type Clock, systemClock } from "../../src/base/clock.ts";
import { EpollLoop } from "../../src/transport/epoll-loop.ts";
import { loadNative } from "../../src/transport/native.ts";
import type { LoadedUws, UwsApp, UwsModule } from "../../src/transport/uws.ts";
import { adoptionFault } from "../../src/transport/uws-acceptor.ts";
import { WebSocketTransport } from "../../src/transport/websocket.ts";
import { ACCEPTED_BY, loopFor, uwsIfAny } from "../contract/websocket-harness.ts";
import { hasNative } from "../support/native.ts";
import { upgradeRequest } from "../support/raw-websocket.ts";
import { Recorder, until } from "../support/transport-bench.ts";

const loaded = uwsIfAny();
const ways = loaded === null ? [] : ACCEPTED_BY;
const LOOPBACK = "127.0.0.1";
const PROGRAM = fileURLToPath(new URL("../../dist/cli/holdfast.js", import.meta.url));
const hasSs = spawnSync("ss", ["-V"]).status === 0;
/** Waits of 2 s last 40 ms. */
const hasty: Clock = {
  ...systemClock,
  after: (delayMs, run) => systemClock.after(delayMs / 50, run),
};

const sockets: Socket[] = [];
const transports: WebSocketTransport[] = [];
const filesBefore = files();

afterEach(async () => {
  for (const transport of transports.splice(0)) transport.destroy();
  for (const socket of sockets.splice(0)) socket.destroy();
  await until(() => files() === filesBefore, "every file is closed");
});

/** Sockets and epoll instances of this process. */
function files(): number {
  return readdirSync("/proc/self/fd").filter((file) => {
    try {
      return /^socket:|eventpoll/.test(readlinkSync(`/proc/self/fd/${file}`));
    } catch {
      return false;
    }
  }).length;
}

type LogRecord = Readonly<Record<string, unknown>>;

interface Made {
  readonly transport: WebSocketTransport;
  readonly handler: Recorder;
  readonly reasons: string[];
}

function make(uws: LoadedUws, loop: EpollLoop | string): Made {
  const handler = new Recorder();
  const reasons: string[] = [];
  const options = {
    ...{ host: LOOPBACK, port: 0, messageBytesMax: 1_000, subprotocol: null, origins: ["*"] },
    onUpgradeRefused: () => {},
    onOwnListener: (reason: string) => void reasons.push(reason),
  };
  const transport = new WebSocketTransport(options, handler, uws, systemClock, loop);
  transports.push(transport);
  return { transport, handler, reasons };
}

interface Client {
  readonly socket: Socket;
  isUpgraded: boolean;
  hasEnded: boolean;
}

function client(port: number): Client {
  const socket = connect(port, LOOPBACK);
  const it: Client = { socket, isUpgraded: false, hasEnded: false };
  sockets.push(socket);
  socket.on("error", () => {});
  socket.on("data", () => (it.isUpgraded = true));
  socket.on("close", () => (it.hasEnded = true));
  socket.write(upgradeRequest({ "Sec-WebSocket-Protocol": null }));
  return it;
}

async function expectServed({ transport }: Made, port: number): Promise<void> {
  const it = client(port);
  await until(() => it.isUpgraded, "it is served");
  expect(transport.pendingFiles).toBe(0);
}

describe.skipIf(loaded === null || !hasNative)("before sockets are handed over", () => {
  /** uWebSockets.js whose apps do otherwise. */
  function altered(change: (app: UwsApp) => Partial<UwsApp>): UwsModule {
    const { uws } = loaded!;
    return {
      App: () => {
        const app = uws.App();
        return Object.assign(app, change(app));
      },
      us_listen_socket_close: (token) => uws.us_listen_socket_close(token),
      us_socket_local_port: (token) => uws.us_socket_local_port(token),
    };
  }

  async function faultOf(uws: UwsModule): Promise<string | null> {
    const fault = await adoptionFault(uws, new EpollLoop(loadNative()), hasty);
    await until(() => files() === filesBefore, "the trial leaves nothing open");
    return fault;
  }

  const close = (fd: number): void => loadNative().closeFile(fd);
  const kept: number[] = [];

  it("one is tried, and nothing is wrong with it", async () => {
    expect(await faultOf(loaded!.uws)).toBeNull();
  });

  it("they are not where there is no such method", async () => {
    const without = altered(() => ({ adoptSocket: undefined }) as never);
    expect(await faultOf(without)).toBe("uWebSockets.js has no adoptSocket");
  });

  it("they are not where a socket is closed instead", async () => {
    const closing = altered((app) => ({ adoptSocket: (fd) => (close(fd), app) }));
    expect(await faultOf(closing)).toMatch(/an adopted socket was closed|ECONNRESET|EPIPE/);
  });

  it("they are not where nothing comes of it in time", async () => {
    const silent = altered((app) => ({ adoptSocket: (fd) => (kept.push(fd), app) }));
    const loop = new EpollLoop(loadNative());
    expect(await adoptionFault(silent, loop, hasty)).toBe("an adopted socket was silent");
    for (const fd of kept.splice(0)) close(fd);
  });

  it("they are not where its peer is mistaken", async () => {
    const wrong = altered((app) => {
      const { ws } = app;
      return {
        ws: (pattern, behaviour) =>
          ws.call(app, pattern, {
            ...behaviour,
            message(socket, message, isBinary) {
              socket.getRemoteAddressAsText = () => new TextEncoder().encode("10.0.0.1").buffer;
              behaviour.message(socket, message, isBinary);
            },
          }),
      };
    });
    expect(await faultOf(wrong)).toBe("an adopted socket of 127.0.0.1 told 10.0.0.1");
  });

  it("and where they are not, uWebSockets.js listens itself, which is told once", async () => {
    const without = altered(() => ({ adoptSocket: undefined }) as never);
    const made = make({ ...loaded!, uws: without }, new EpollLoop(loadNative()));
    const { port } = await made.transport.listen();
    await expectServed(made, port);
    made.transport.stopAccepting();
    await made.transport.resumeAccepting();
    await expectServed(made, port);
    expect(made.reasons).toEqual(["uWebSockets.js has no adoptSocket"]);
  });

  it.runIf(hasSs)("the kernel holds as many connections as it may, up to 4096", async () => {
    const limit = Number(readFileSync("/proc/sys/net/core/somaxconn", "utf8"));
    const { transport } = make(loaded!, new EpollLoop(loadNative()));
    const { port } = await transport.listen();
    const { stdout } = spawnSync("ss", ["-ltnH", `sport = :${port}`]);
    expect(stdout.toString().trim().split(/\s+/)[2]).toBe(String(Math.min(4_096, limit)));
  });
});

describe.skipIf(loaded === null)("the log of a server", () => {
  /** Its records until it serves. */
  async function logOf(flags: readonly string[], env: NodeJS.ProcessEnv): Promise<LogRecord[]> {
    const alone = ["--workers=0", "--admin-enabled=false", "--websocket-port=0", "--tcp-port=0"];
    const args = [PROGRAM, "serve", ...alone];
    const child = spawn(process.execPath, [...args, ...flags], {
      env: { PATH: process.env["PATH"], ...env },
      stdio: ["ignore", "pipe", "inherit"],
    });
    const ended = once(child, "close");
    let out = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
    try {
      await until(() => out.includes('"serving"'), "it serves");
    } finally {
      child.kill("SIGKILL");
      await ended;
    }
    const records = out.trim().split("\n");
    return records.map((line) => JSON.parse(line) as LogRecord);
  }

  const told = (records: readonly LogRecord[]): LogRecord[] =>
    records.filter(({ msg }) => msg === "uWebSockets.js accepts connections itself");

  it("says once that uWebSockets.js accepts where the addon is missing, and why", async () => {
    const missing = { HOLDFAST_NATIVE_ADDON: "/nowhere/holdfast.node" };
    const records = told(await logOf(["--tcp-enabled=false"], missing));
    expect(records).toHaveLength(1);
    expect(records[0]?.["reason"]).toContain("there is no /nowhere/holdfast.node");
    expect(records[0]?.["listener"]).toBe("websocket");
  });

  it("does not repeat a reason that was given for TCP", async () => {
    const records = told(await logOf(["--transport=tcp-net"], {}));
    expect(records.map(({ reason }) => reason)).toEqual(["the same as for TCP"]);
  });

  it.runIf(hasNative)("says nothing of it where the addon is there", async () => {
    expect(told(await logOf([], {}))).toEqual([]);
  });
});

describe.each(ways)("the WebSocket transport, accepted by %s", (by) => {
  function here(): Made {
    return make(loaded!, loopFor(by));
  }

  it("listens once, however often it is told to at a time", async () => {
    const made = here();
    const all = await Promise.all([1, 2, 3].map(() => made.transport.listen()));
    expect(new Set(all.map(({ port }) => port)).size).toBe(1);
    await expectServed(made, all[0]!.port);
    made.transport.stopAccepting();
    const late = client(all[0]!.port);
    await until(() => late.hasEnded, "nobody listens");
    expect(made.handler.opened.length).toBe(1);
  });

  it("that stops while it opens does not listen, and resumes", async () => {
    const made = here();
    const opening = made.transport.listen();
    made.transport.stopAccepting();
    await opening;
    expect(files()).toBeLessThanOrEqual(filesBefore + 1);
    await made.transport.resumeAccepting();
    const { port } = await made.transport.listen();
    await expectServed(made, port);
  });

  it("that is destroyed while it opens leaves nothing open", async () => {
    const { transport } = here();
    const opening = transport.listen().catch(() => {});
    transport.destroy();
    await opening;
    await until(() => files() === filesBefore, "every file is closed");
    expect(transport.pendingFiles).toBe(0);
  });

  it("does not listen once it was destroyed", async () => {
    const { transport } = here();
    await transport.listen();
    transport.destroy();
    await expect(transport.listen()).rejects.toThrow("ESHUTDOWN: it was destroyed");
  });

  it("refuses a crowd: each gets its end, nothing is opened, no file stays", async () => {
    const { transport, handler } = here();
    const { port } = await transport.listen();
    const before = files();
    handler.isAdmitting = false;
    const crowd = Array.from({ length: 300 }, () => client(port));
    await until(() => crowd.every(({ hasEnded }) => hasEnded), "all are refused");
    expect([handler.refused, handler.opened.length, transport.pendingFiles]).toEqual([300, 0, 0]);
    await until(() => files() === before, "every file is closed");
  });

  it("may be stopped from inside admit, and serves those who are there already", async () => {
    const { transport, handler } = here();
    const { port } = await transport.listen();
    const crowd = Array.from({ length: 20 }, () => client(port));
    handler.admit = () => {
      transport.stopAccepting();
      return true;
    };
    await until(
      () => crowd.every(({ isUpgraded, hasEnded }) => isUpgraded || hasEnded),
      "all know",
    );
    expect(handler.opened.length).toBeGreaterThan(0);
    if (by === "our acceptor") expect(handler.opened.length).toBe(20);
  });

  it("may be destroyed from inside onOpen with others waiting", async () => {
    const { transport, handler } = here();
    const { port } = await transport.listen();
    const crowd = Array.from({ length: 20 }, () => client(port));
    handler.on.onOpen = () => transport.destroy();
    await until(() => crowd.every(({ hasEnded }) => hasEnded), "all are cut off");
    expect(handler.closed.length).toBe(handler.opened.length);
  });

  it("gives the peer's address, and serves on when it has stopped accepting", async () => {
    const made = here();
    const { port } = await made.transport.listen();
    await expectServed(made, port);
    made.transport.stopAccepting();
    expect(made.transport.remoteAddress(made.handler.opened[0]!)).toMatch(/^127\.0\.0\.1/);
    expect(made.handler.closed).toEqual([]);
  });
});

describe.runIf(ways.includes("our acceptor"))("our acceptor", () => {
  it.each([true, false])("may be destroyed from inside admit, which answers %s", async (answer) => {
    const { transport, handler } = make(loaded!, loopFor("our acceptor"));
    const { port } = await transport.listen();
    const crowd = Array.from({ length: 20 }, () => client(port));
    handler.admit = () => {
      transport.destroy();
      return answer;
    };
    await until(() => crowd.every(({ hasEnded }) => hasEnded), "all are cut off");
    expect(handler.opened).toEqual([]);
  });

  it("counts a socket as a pending file until it is closed", async () => {
    const { transport } = make(loaded!, loopFor("our acceptor"));
    const { port } = await transport.listen();
    const silent = connect(port, LOOPBACK);
    sockets.push(silent);
    await until(() => transport.pendingFiles === 1, "it is pending");
    expect(transport.queued.every((bytes) => bytes === 0)).toBe(true);
    silent.destroy();
    await until(() => transport.pendingFiles === 0, "it has gone");
  });

  it("leaves the 12 s of uWebSockets.js to those who ask nothing", async () => {
    const { transport } = make(loaded!, loopFor("our acceptor"));
    const { port } = await transport.listen();
    const silent = connect(port, LOOPBACK);
    sockets.push(silent);
    const begun = performance.now();
    await until(() => transport.pendingFiles === 1, "it is pending");
    await until(() => silent.resume().readableEnded, "it is closed", 16_000);
    expect(performance.now() - begun).toBeGreaterThan(7_000);
    await until(() => transport.pendingFiles === 0, "no file is pending");
  });
});
