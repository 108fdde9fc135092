// `holdfast serve` with real sockets on loopback, in this process: signals come from an emitter.
import { EventEmitter, once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import {
  type AddressInfo,
  connect,
  createServer,
  type Server as NetServer,
  type Socket,
} from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runServe } from "../../src/cli/serve.ts";
import type { PartialOptions } from "../../src/config/options.ts";
import { resolveOptions } from "../../src/config/resolve.ts";
import { loadUws } from "../../src/transport/uws.ts";
import { holdfast } from "../../src/wire/generated/messages.js";

const { ClientMessage, ServerMessage } = holdfast.v1;
const loopback = "127.0.0.1";
const hasWebSocket = canLoadUws();
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-serve-"));
});

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** The binary in node_modules fits one Node release: the one that installed it. */
function canLoadUws(): boolean {
  try {
    return loadUws().version !== "";
  } catch {
    return false;
  }
}

interface Serving {
  readonly signals: EventEmitter;
  readonly ended: Promise<number>;
  /** All that was written to the terminal so far. */
  output(): string;
  /** Resolves with the output once it matches. */
  until(pattern: RegExp): Promise<string>;
}

function serve(options: PartialOptions, isInteractive = true): Serving {
  const signals = new EventEmitter();
  const written = new EventEmitter();
  let output = "";
  const write = (text: string): void => {
    output += text;
    written.emit("text");
  };
  const code = {
    ...options,
    tcp: { host: loopback, port: 0, ...options.tcp },
    websocket: { enabled: false, host: loopback, port: 0, ...options.websocket },
    admin: { enabled: false },
    workers: { count: 0 },
    log: { level: "silent" as const },
  };
  const terminal = { env: {}, isInteractive, columns: 100, write, writeError: write };
  const ended = runServe(resolveOptions({ code }), terminal, signals);
  const until = async (pattern: RegExp): Promise<string> => {
    const tooEarly = ended.then(() => Promise.reject(new Error(`it has ended: ${output}`)));
    while (!pattern.test(output)) await Promise.race([once(written, "text"), tooEarly]);
    tooEarly.catch(() => {});
    return output;
  };
  return { signals, ended, output: () => output, until };
}

async function portOf(serving: Serving, scheme: "tcp" | "ws"): Promise<number> {
  const output = await serving.until(/Ctrl\+C/);
  return Number(new RegExp(`${scheme}://127\\.0\\.0\\.1:(\\d+)`).exec(output)?.[1]);
}

function frame(message: object): Buffer {
  const body = ClientMessage.encode(ClientMessage.create(message)).finish();
  const header = Buffer.alloc(4);
  header.writeUInt32BE(body.length);
  return Buffer.concat([header, body]);
}

/** Reads whole frames off a socket, one at a time. */
async function* messages(socket: Socket): AsyncGenerator<holdfast.v1.ServerMessage> {
  let bytes = Buffer.alloc(0);
  for await (const chunk of socket) {
    bytes = Buffer.concat([bytes, chunk as Buffer]);
    while (bytes.length >= 4 && bytes.length >= 4 + bytes.readUInt32BE()) {
      const end = 4 + bytes.readUInt32BE();
      yield ServerMessage.decode(bytes.subarray(4, end));
      bytes = bytes.subarray(end);
    }
  }
}

/** A connection whose Hello was accepted. */
async function greeted(
  port: number,
): Promise<{ socket: Socket; incoming: AsyncGenerator<holdfast.v1.ServerMessage> }> {
  const socket = connect(port, loopback);
  const incoming = messages(socket);
  socket.write(frame({ id: 1, hello: { version: 1 } }));
  expect((await incoming.next()).value?.body).toBe("welcome");
  return { socket, incoming };
}

describe("holdfast serve", () => {
  it("says where it listens, answers echo and time there, and ends with 0 on SIGTERM", async () => {
    const serving = serve({});
    const { socket, incoming } = await greeted(await portOf(serving, "tcp"));
    const payload = Buffer.from("as it was");
    socket.write(frame({ id: 2, call: { method: "echo", payload } }));
    const echoed = await incoming.next();
    expect(Buffer.from(echoed.value?.result?.payload ?? [])).toEqual(payload);
    const before = Date.now();
    socket.write(frame({ id: 3, call: { method: "time" } }));
    const told = Buffer.from((await incoming.next()).value?.result?.payload ?? []);
    expect(told).toHaveLength(8);
    expect(Math.abs(Number(told.readBigInt64BE()) - before)).toBeLessThan(5_000);
    socket.end();
    serving.signals.emit("SIGTERM", "SIGTERM");
    expect(await serving.ended).toBe(0);
    expect(serving.output()).toMatch(/SIGTERM: stopping, which takes 16 s at most/);
  });

  it.skipIf(!hasWebSocket)("names every listener with its transport and framing", async () => {
    const path = join(folder, "hf.sock");
    const serving = serve({ tcp: { path, framing: "varint" }, websocket: { enabled: true } });
    const output = await serving.until(/Ctrl\+C/);
    serving.signals.emit("SIGINT", "SIGINT");
    expect(await serving.ended).toBe(0);
    expect(output).toMatch(/unix:\/\S+hf\.sock {2}tcp-(?:net|epoll), varint frames\n/);
    expect(output).toMatch(/ws:\/\/127\.0\.0\.1:\d+ +\S*uws\S* \d+\.\d+\.\d+, uint32 frames\n/i);
    expect(output).toMatch(/at most \d+ connections; \d+ bytes may be queued\n/);
  });

  it("tells its clients to leave, and is hastened by a second signal", async () => {
    const serving = serve({ drain: { graceMs: 60_000, reconnectSpreadMs: 0 } });
    const { socket, incoming } = await greeted(await portOf(serving, "tcp"));
    socket.on("error", () => {});
    serving.signals.emit("SIGTERM", "SIGTERM");
    expect((await incoming.next()).value?.goAway?.code).toBe(3_000);
    serving.signals.emit("SIGTERM", "SIGTERM");
    expect(await serving.ended).toBe(0);
    expect(serving.output()).toContain("stopping now");
    socket.destroy();
  });

  it("leaves no signal handler behind", async () => {
    const serving = serve({});
    await portOf(serving, "tcp");
    expect(serving.signals.listenerCount("SIGTERM")).toBe(1);
    serving.signals.emit("SIGTERM", "SIGTERM");
    await serving.ended;
    expect(serving.signals.eventNames()).toEqual([]);
  });

  it("writes nothing for people where nobody reads", async () => {
    const path = join(folder, "quiet.sock");
    const serving = serve({ tcp: { path } }, false);
    while (serving.signals.listenerCount("SIGTERM") === 0) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    serving.signals.emit("SIGTERM", "SIGTERM");
    expect(await serving.ended).toBe(0);
    expect(serving.output()).toBe("");
  });
});

describe("holdfast serve that cannot start", () => {
  async function taken(): Promise<{ other: NetServer; port: number }> {
    const other = createServer().listen(0, loopback);
    await once(other, "listening");
    return { other, port: (other.address() as AddressInfo).port };
  }

  it("says that the port is in use, and what to do", async () => {
    const { other, port } = await taken();
    await expect(serve({ tcp: { port } }).ended).rejects.toMatchObject({
      code: "HOLDFAST_LISTEN_FAILED",
      message: expect.stringMatching(new RegExp(`127\\.0\\.0\\.1:${port}.*stop it, or choose`)),
    });
    other.close();
  });

  it.skipIf(!hasWebSocket)("lets go of what it had opened", async () => {
    const { other, port } = await taken();
    const path = join(folder, "freed.sock");
    const sources = { tcp: { path }, websocket: { enabled: true, port } };
    await expect(serve(sources).ended).rejects.toMatchObject({ code: "HOLDFAST_LISTEN_FAILED" });
    const refused = connect(path);
    await expect(once(refused, "connect")).rejects.toThrow(/ENOENT|ECONNREFUSED/);
    other.close();
  });

  it.each([
    ["an address of another machine", { host: "192.0.2.1" }],
    ["a folder that does not exist", { path: "/nonexistent-holdfast/a.sock" }],
  ])("names %s", async (_case, tcp) => {
    const serving = serve({ tcp });
    await expect(serving.ended).rejects.toMatchObject({ code: "HOLDFAST_LISTEN_FAILED" });
    expect(serving.signals.eventNames()).toEqual([]);
  });

  it("refuses to serve nothing", async () => {
    await expect(serve({ tcp: { enabled: false } }).ended).rejects.toMatchObject({
      code: "HOLDFAST_OPTIONS_INVALID",
      issues: [{ key: "tcp.enabled", origin: "code" }],
    });
  });
});
