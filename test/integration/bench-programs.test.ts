// The C programs of the benchmarks: a figure is worth what they count, so they are held to it here
// with servers that misbehave. Skipped where there is no C compiler.

import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";

const hasCompiler = process.platform === "linux" && spawnSync("cc", ["--version"]).status === 0;
const folder = mkdtempSync(join(tmpdir(), "holdfast-bench-"));
const lives = join(folder, "lives");
const floor = join(folder, "epoll");

const running: ChildProcess[] = [];
const servers: Server[] = [];

function start(file: string, args: readonly string[] = []): ChildProcess {
  const child = spawn(file, args, { stdio: ["pipe", "pipe", "pipe"] });
  running.push(child);
  return child;
}

async function line(child: ChildProcess): Promise<Record<string, number>> {
  for await (const text of createInterface({ input: child.stdout! })) {
    return JSON.parse(text) as Record<string, number>;
  }
  throw new Error("it ended without a line");
}

/** A server in this process; @returns its port. */
async function serve(onSocket: (socket: Socket) => void): Promise<number> {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    onSocket(socket);
  });
  servers.push(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

function startLives(port: number): ChildProcess {
  return start(lives, ["--port", String(port), "--pid", String(process.pid)]);
}

async function run(port: number, command: string): Promise<Record<string, number>> {
  const client = startLives(port);
  client.stdin!.write(`${command}\n`);
  return await line(client);
}

describe.skipIf(!hasCompiler)("the C programs of the benchmarks", () => {
  beforeAll(() => {
    const flags = ["-O1", "-Wall", "-Wextra", "-Werror"];
    execFileSync("cc", [...flags, "-o", lives, "bench/load/lives.c"]);
    execFileSync("cc", [...flags, "-o", floor, "bench/peers/epoll.c"]);
  });

  afterEach(() => {
    for (const child of running.splice(0)) child.kill("SIGKILL");
    for (const server of servers.splice(0)) server.close();
  });

  afterAll(() => rmSync(folder, { recursive: true }));

  it("counts every connection that it held, when each has been answered", async () => {
    let accepted = 0;
    const port = await serve((socket) => {
      accepted++;
      socket.pipe(socket);
    });
    expect(await run(port, "hold 300")).toMatchObject({ held: 300, answers: 300, errors: 0 });
    expect(accepted).toBe(300);
  });

  it("ends a quarter of the cycles in order and resets the others", async () => {
    let endings = 0;
    const port = await serve((socket) => {
      socket.on("end", () => endings++);
      socket.on("data", (bytes) => socket.write(bytes));
    });
    // Half of them have their answer read, and no more are open than it was told.
    expect(await run(port, "cycle 400 20")).toMatchObject({ cycles: 400, answers: 200, errors: 0 });
    expect(endings).toBe(100);
  });

  it("calls an answer that is not what was sent an error", async () => {
    const port = await serve((socket) => socket.on("data", () => socket.write("x".repeat(32))));
    const { answers, errors } = await run(port, "hold 10");
    expect(answers).toBe(0);
    expect(errors).toBeGreaterThanOrEqual(10);
  });

  it("calls an answer of the wrong length an error", async () => {
    const port = await serve((socket) => socket.on("data", (bytes) => socket.write(bytes + "!")));
    expect((await run(port, "hold 10"))["errors"]).toBeGreaterThanOrEqual(10);
  });

  it("calls a server that closes connections which are held an error", async () => {
    const port = await serve((socket) => socket.end());
    expect((await run(port, "hold 10"))["errors"]).toBeGreaterThanOrEqual(10);
  });

  it("refuses a command that it does not know, and ends with 1", async () => {
    const port = await serve(() => {});
    const client = startLives(port);
    client.stdin!.write("dance\n");
    expect(await once(client, "exit")).toEqual([1, null]);
  });

  it("ends with 1 where nobody listens", async () => {
    const port = await serve(() => {});
    servers.pop()!.close();
    const client = startLives(port);
    client.stdin!.write("hold 1\n");
    expect(await once(client, "exit")).toEqual([1, null]);
  });

  it("needs a port and a process", async () => {
    expect(await once(start(lives, ["--pid", "1"]), "exit")).toEqual([1, null]);
    expect(await once(start(lives, ["--port", "1"]), "exit")).toEqual([1, null]);
  });

  it("the floor sends back what it was sent, however much", async () => {
    const { tcp } = await line(start(floor));
    const socket = connect({ host: "127.0.0.1", port: tcp! });
    const sent = Buffer.alloc(200_000, "holdfast");
    let received = Buffer.alloc(0);
    socket.write(sent);
    for await (const bytes of socket) {
      received = Buffer.concat([received, bytes as Buffer]);
      if (received.length === sent.length) break;
    }
    expect(received.equals(sent)).toBe(true);
  });

  it("the floor ends with its standard input", async () => {
    const server = start(floor);
    await line(server);
    server.stdin!.end();
    expect(await once(server, "exit")).toEqual([0, null]);
  });
});
