import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { HoldfastError } from "../../src/base/errors.ts";
import { EpollLoop } from "../../src/transport/epoll-loop.ts";
import { loadNative } from "../../src/transport/native.ts";
import { TcpEpollTransport } from "../../src/transport/tcp-epoll.ts";
import { TcpNetTransport } from "../../src/transport/tcp-net.ts";
import type { Transport } from "../../src/transport/transport.ts";
import { WebSocketTransport } from "../../src/transport/websocket.ts";
import { hasNative } from "../support/native.ts";
import { Recorder } from "../support/transport-bench.ts";
import { ACCEPTED_BY, type AcceptedBy, loopFor, uwsIfAny } from "./websocket-harness.ts";

const loaded = uwsIfAny();
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-listen-"));
});

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

interface Where {
  readonly host?: string;
  readonly port?: number;
  readonly path?: string;
}

function tcp({ host = "127.0.0.1", port = 0, path }: Where): Transport {
  const options = { host, port, path: path ?? null, backlog: 16, noDelay: true };
  return new TcpNetTransport(options, new Recorder());
}

function epoll({ host = "127.0.0.1", port = 0, path }: Where): Transport {
  const where = { host, port, path: path ?? null, fd: null };
  const sockets = { backlog: 16, noDelay: true, keepAliveMs: 0, userTimeoutMs: 0 };
  const options = { ...where, ...sockets, queueBytesMax: 1_048_576 };
  return new TcpEpollTransport(options, new Recorder(), new EpollLoop(loadNative()), systemClock);
}

function webSocket(by: AcceptedBy): (where: Where) => Transport {
  const quiet = { messageBytesMax: 1_000, subprotocol: null, origins: ["*"] };
  const told = { onUpgradeRefused: () => {}, onOwnListener: () => {} };
  return ({ host = "127.0.0.1", port = 0 }) => {
    const options = { host, port, ...quiet, ...told };
    return new WebSocketTransport(options, new Recorder(), loaded!, systemClock, loopFor(by));
  };
}

async function errorOf(transport: Transport): Promise<HoldfastError> {
  const error: unknown = await transport.listen().then(
    () => null,
    (rejected: unknown) => rejected,
  );
  transport.destroy();
  expect(error).toBeInstanceOf(HoldfastError);
  expect((error as HoldfastError).code).toBe("HOLDFAST_LISTEN_FAILED");
  return error as HoldfastError;
}

type Open = (where: Where) => Transport;
const TCP: [string, Open][] = [["tcp-net", tcp]];
if (hasNative) TCP.push(["tcp-epoll", epoll]);
const KINDS: [string, string, Open][] = TCP.map(([name, open]) => [name, "TCP", open]);
if (loaded !== null) {
  for (const by of ACCEPTED_BY) {
    KINDS.push([`websocket, accepted by ${by}`, "WebSocket", webSocket(by)]);
  }
}

describe.each(KINDS)("listening fails with a code and with what to do: %s", (_name, kind, open) => {
  it("where another process listens there", async () => {
    const taken = tcp({});
    const { port } = await taken.listen();
    const { message, cause } = await errorOf(open({ port }));
    expect(message).toContain(`cannot listen for ${kind} on 127.0.0.1:${port}: EADDRINUSE`);
    expect(message).toContain("stop it, or choose another port");
    expect((cause as NodeJS.ErrnoException).code).toBe("EADDRINUSE");
    taken.destroy();
  });

  it("where the machine has no such address", async () => {
    const { message } = await errorOf(open({ host: "203.0.113.7" }));
    expect(message).toContain(`cannot listen for ${kind} on 203.0.113.7:0: EADDRNOTAVAIL`);
    expect(message).toContain("use one of its own");
  });

  it("where the port was taken while accepting was stopped, and not once it is free", async () => {
    const transport = open({});
    const { port } = await transport.listen();
    transport.stopAccepting();
    const thief = tcp({ port });
    await thief.listen();
    await expect(transport.resumeAccepting()).rejects.toThrow("EADDRINUSE");
    thief.destroy();
    await transport.resumeAccepting();
    transport.destroy();
  });
});

describe.each(TCP)("listening on a Unix socket by %s", (_name, open) => {
  it("fails where its folder does not exist", async () => {
    const path = join(folder, "none", "a.sock");
    const { message } = await errorOf(open({ path }));
    expect(message).toMatch(/cannot listen for TCP on .*none\/a\.sock: (ENOENT|EACCES)/);
  });

  it("fails where its path runs through a file", async () => {
    writeFileSync(join(folder, "file"), "");
    const { message } = await errorOf(open({ path: join(folder, "file", "a.sock") }));
    expect(message).toContain("cannot listen for TCP on");
  });

  it("fails where another process listens, and leaves that one alone", async () => {
    const path = join(folder, "live.sock");
    const first = open({ path });
    await first.listen();
    const { message } = await errorOf(open({ path }));
    expect(message).toContain("EADDRINUSE");
    await expect(errorOf(open({ path }))).resolves.toBeDefined();
    first.destroy();
  });

  it("fails where a file stands in the way, and does not remove it", async () => {
    const path = join(folder, "precious");
    writeFileSync(path, "data");
    const { message } = await errorOf(open({ path }));
    expect(message).toContain("EADDRINUSE");
    expect(readFileSync(path, "utf8")).toBe("data");
  });

  it("takes over what a process that is gone has left behind", async () => {
    const path = join(folder, "stale.sock");
    const program = `
      const die = () => process.kill(process.pid, "SIGKILL");
      require("node:net").createServer().listen(${JSON.stringify(path)}, die);
    `;
    const { signal } = spawnSync(process.execPath, ["--eval", program]);
    expect(signal).toBe("SIGKILL");
    const blocked = createServer();
    const code = await new Promise((resolve) => {
      blocked.once("error", (error: NodeJS.ErrnoException) => resolve(error.code));
      blocked.listen(path, () => resolve("listening"));
    });
    expect(code).toBe("EADDRINUSE");
    const transport = open({ path });
    expect(await transport.listen()).toEqual({ host: "", port: 0, path });
    transport.destroy();
  });
});

describe("the address that a transport gives", () => {
  it.each(KINDS)("by %s has the port that was chosen for it", async (_name, _kind, open) => {
    const transport = open({});
    const { host, port, path } = await transport.listen();
    expect([host, path]).toEqual(["127.0.0.1", null]);
    expect(port).toBeGreaterThan(0);
    transport.destroy();
  });
});
