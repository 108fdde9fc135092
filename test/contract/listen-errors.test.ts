import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { HoldfastError } from "../../src/base/errors.ts";
import { TcpNetTransport } from "../../src/transport/tcp-net.ts";
import type { Transport } from "../../src/transport/transport.ts";
import { WebSocketTransport } from "../../src/transport/websocket.ts";
import { Recorder } from "../support/transport-bench.ts";
import { uwsIfAny } from "./websocket-harness.ts";

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

function webSocket({ host = "127.0.0.1", port = 0 }: Where): Transport {
  const quiet = { messageBytesMax: 1_000, subprotocol: null, origins: ["*"] };
  const options = { host, port, ...quiet, onUpgradeRefused: () => {} };
  return new WebSocketTransport(options, new Recorder(), loaded!, systemClock);
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

const KINDS: [string, (where: Where) => Transport][] = [["TCP", tcp]];
if (loaded !== null) KINDS.push(["WebSocket", webSocket]);

describe.each(KINDS)("listening for %s fails with a code and with what to do", (kind, open) => {
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

describe("listening on a Unix socket", () => {
  it("fails where its folder does not exist", async () => {
    const path = join(folder, "none", "a.sock");
    const { message } = await errorOf(tcp({ path }));
    expect(message).toMatch(/cannot listen for TCP on .*none\/a\.sock: (ENOENT|EACCES)/);
  });

  it("fails where its path runs through a file", async () => {
    writeFileSync(join(folder, "file"), "");
    const { message } = await errorOf(tcp({ path: join(folder, "file", "a.sock") }));
    expect(message).toContain("cannot listen for TCP on");
  });

  it("fails where another process listens, and leaves that one alone", async () => {
    const path = join(folder, "live.sock");
    const first = tcp({ path });
    await first.listen();
    const { message } = await errorOf(tcp({ path }));
    expect(message).toContain("EADDRINUSE");
    await expect(errorOf(tcp({ path }))).resolves.toBeDefined();
    first.destroy();
  });

  it("fails where a file stands in the way, and does not remove it", async () => {
    const path = join(folder, "precious");
    writeFileSync(path, "data");
    const { message } = await errorOf(tcp({ path }));
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
    const transport = tcp({ path });
    expect(await transport.listen()).toEqual({ host: "", port: 0, path });
    transport.destroy();
  });
});

describe("the address that a transport gives", () => {
  it.each(KINDS)("for %s has the port that was chosen for it", async (_kind, open) => {
    const transport = open({});
    const { host, port, path } = await transport.listen();
    expect([host, path]).toEqual(["127.0.0.1", null]);
    expect(port).toBeGreaterThan(0);
    transport.destroy();
  });
});
