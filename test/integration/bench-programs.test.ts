// The C programs of the benchmarks: a figure is worth what they count, so they are held to it here
// with servers that misbehave. Skipped where there is no C compiler.

import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";

const hasCompiler = process.platform === "linux" && spawnSync("cc", ["--version"]).status === 0;
const folder = mkdtempSync(join(tmpdir(), "holdfast-bench-"));
const lives = join(folder, "lives");
const floor = join(folder, "epoll");
const load = join(folder, "load");

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

function startLives(port: number, ...args: readonly string[]): ChildProcess {
  return start(lives, ["--port", String(port), "--pid", String(process.pid), ...args]);
}

async function run(port: number, command: string): Promise<Record<string, number>> {
  const client = startLives(port);
  client.stdin!.write(`${command}\n`);
  return await line(client);
}

/** One measurement of a fifth of a second, in so many connections. */
async function measure(port: number, ...args: readonly string[]): Promise<Record<string, number>> {
  const fixed = ["--port", String(port), "--warmup", "0", "--seconds", "0.2"];
  return await line(start(load, [...fixed, "--connections", "4", ...args]));
}

/** What a client sent in a WebSocket message, or null where not all of it is there yet. */
function unmasked(bytes: Buffer): Buffer | null {
  const isLong = bytes.length > 3 && (bytes[1]! & 127) === 126;
  const size = isLong ? bytes.readUInt16BE(2) : bytes[1]! & 127;
  const head = isLong ? 8 : 6;
  if (bytes.length < head + size) return null;
  const mask = bytes.subarray(head - 4, head);
  return Buffer.from(bytes.subarray(head, head + size).map((byte, at) => byte ^ mask[at & 3]!));
}

/** A server's WebSocket message, in pieces so small that none has all of it. */
function trickle(socket: Socket, head: readonly number[], body: Buffer): void {
  const bytes = Buffer.concat([Buffer.from(head), body]);
  for (let at = 0; at < bytes.length; at += 1_000) socket.write(bytes.subarray(at, at + 1_000));
}

describe.skipIf(!hasCompiler)("the C programs of the benchmarks", () => {
  beforeAll(() => {
    const flags = ["-O1", "-Wall", "-Wextra", "-Werror"];
    execFileSync("cc", [...flags, "-o", lives, "bench/load/lives.c"]);
    execFileSync("cc", [...flags, "-o", floor, "bench/peers/epoll.c"]);
    const checked = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    execFileSync("cc", [...flags, ...checked, "-o", load, "bench/load/load.c"]);
  }, 60_000);

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

  it("counts WebSocket connections as held when they are upgraded", async () => {
    const port = await serve((socket) =>
      socket.once("data", () => socket.write("HTTP/1.1 101 Switching Protocols\r\n\r\n")),
    );
    const client = startLives(port, "--transport", "websocket");
    client.stdin!.write("hold 20\n");
    expect(await line(client)).toMatchObject({ held: 20, answers: 20, errors: 0 });
  });

  it("greets a server of Socket.IO, which speaks first, and waits to be let in", async () => {
    const port = await serve((socket) =>
      socket.once("data", () => {
        // The first message comes with the end of the upgrade, the second when it was answered.
        socket.write("HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x030{}", "latin1");
        socket.once("data", (bytes) => {
          const isAsked = unmasked(bytes)?.toString() === "40";
          socket.write(isAsked ? "\x81\x0440{}" : "\x81\x0444{}", "latin1");
        });
      }),
    );
    const client = startLives(port, "--transport", "websocket", "--protocol", "socket.io");
    client.stdin!.write("hold 20\n");
    expect(await line(client)).toMatchObject({ held: 20, answers: 20, errors: 0 });
  });

  it("calls a refused upgrade an error", async () => {
    const port = await serve((socket) =>
      socket.once("data", () => socket.write("HTTP/1.1 503 Service Unavailable\r\n\r\n")),
    );
    const client = startLives(port, "--transport", "websocket");
    client.stdin!.write("hold 10\n");
    expect((await line(client))["errors"]).toBeGreaterThanOrEqual(10);
  });

  it("needs a port and a process", async () => {
    expect(await once(start(lives, ["--pid", "1"]), "exit")).toEqual([1, null]);
    expect(await once(start(lives, ["--port", "1"]), "exit")).toEqual([1, null]);
  });

  it.each([
    [["--protocol", "foo"], "--protocol does not take foo"],
    [["--source-base", "7x"], "--source-base is 0 to 200, not 7x"],
  ])("refuses %j", async (args, text) => {
    const client = startLives(1, ...args);
    let said = "";
    client.stderr!.on("data", (bytes) => (said += String(bytes)));
    expect(await once(client, "exit")).toEqual([1, null]);
    expect(said).toContain(text);
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

  it("the floor loses nothing where a peer is slow to read", async () => {
    const { tcp } = await line(start(floor));
    const socket = connect({ host: "127.0.0.1", port: tcp! });
    // More than both sockets hold, so that it is left with some of it.
    const sent = Buffer.alloc(16_000_000, "holdfast");
    const pieces: Buffer[] = [];
    let length = 0;
    socket.write(sent);
    await sleep(300);
    for await (const bytes of socket) {
      pieces.push(bytes as Buffer);
      length += (bytes as Buffer).length;
      if (length === sent.length) break;
    }
    expect(Buffer.concat(pieces).equals(sent)).toBe(true);
  });

  it.each([
    ["32", "16"],
    ["16384", "16"],
    // More than a socket takes: neither the client nor the floor may lose what is left over.
    ["60000", "127"],
  ])(
    "loads the floor with messages of %s bytes, %s in flight, and has every answer",
    async (bytes, inFlight) => {
      const { tcp } = await line(start(floor));
      const result = await measure(tcp!, "--bytes", bytes, "--in-flight", inFlight);
      expect(result).toMatchObject({ errors: 0, lost: 0 });
      expect(result["messages"]).toBeGreaterThan(0);
      expect(result["p50"]).toBeGreaterThan(0);
      expect(result["p99"]).toBeGreaterThanOrEqual(result["p50"]!);
    },
  );

  it("notices one byte of a large answer that is not what was sent", async () => {
    let count = 0;
    const port = await serve((socket) =>
      socket.on("data", (bytes) => {
        const from = count;
        count += bytes.length;
        // One of a million bytes, wherever it is in its message.
        if (from <= 1_000_000 && count > 1_000_000) bytes[1_000_000 - from]! ^= 1;
        socket.write(bytes);
      }),
    );
    const result = await measure(port, "--bytes", "16384", "--in-flight", "16");
    expect(count).toBeGreaterThan(1_000_000);
    expect(result["errors"]).toBeGreaterThan(0);
  });

  it("notices an answer that does not come", async () => {
    const port = await serve((socket) => {
      let isFirst = true;
      socket.on("data", (bytes) => {
        socket.write(isFirst ? bytes.subarray(32) : bytes);
        isFirst = false;
      });
    });
    expect((await measure(port, "--in-flight", "4"))["errors"]).toBeGreaterThan(0);
  });

  it("notices a connection that is lost", async () => {
    let accepted = 0;
    const port = await serve((socket) => {
      socket.pipe(socket);
      if (accepted++ === 0) setTimeout(() => socket.destroy(), 50);
    });
    expect((await measure(port))["lost"]).toBe(1);
  });

  it("speaks WebSocket with long messages, however they are cut", async () => {
    const port = await serve((socket) => {
      let isUpgraded = false;
      let rest = Buffer.alloc(0);
      socket.on("data", (bytes) => {
        if (!isUpgraded) {
          socket.write("HTTP/1.1 101 Switching Protocols\r\n\r\n");
          isUpgraded = true;
          return;
        }
        rest = Buffer.concat([rest, bytes]);
        for (let body = unmasked(rest); body !== null; body = unmasked(rest)) {
          rest = rest.subarray(8 + body.length);
          trickle(socket, [0x82, 126, body.length >> 8, body.length & 255], body);
          if (rest.length < 6) break;
        }
      });
    });
    const args = ["--transport", "websocket", "--bytes", "20000", "--in-flight", "3"];
    const result = await measure(port, ...args);
    expect(result).toMatchObject({ errors: 0, lost: 0 });
    expect(result["messages"]).toBeGreaterThan(0);
  });

  it("takes many of Holdfast's answers out of one WebSocket message", async () => {
    const port = await serve((socket) => {
      let step = 0;
      socket.on("data", () => {
        // The upgrade, the Hello; then whatever is asked is answered once: ids 1 and 2.
        if (step === 0) socket.write("HTTP/1.1 101 Switching Protocols\r\n\r\n");
        if (step === 1) socket.write(Buffer.from("820b0000000708011203010203", "hex"));
        if (step === 2) {
          const text = Buffer.from("thirty-two bytes there and back.");
          const answer = (id: number): Buffer =>
            Buffer.concat([Buffer.from([0, 0, 0, 38, 8, id, 0x1a, 34, 0x0a, 32]), text]);
          const body = Buffer.concat([answer(1), answer(2)]);
          trickle(socket, [0x82, body.length], body);
        }
        step++;
      });
    });
    const args = ["--transport", "websocket", "--protocol", "holdfast", "--in-flight", "2"];
    const client = start(load, [
      "--port",
      String(port),
      "--warmup",
      "0",
      "--seconds",
      "0.2",
      ...args,
    ]);
    const result = await line(client);
    // Asked again, they had no second answer: that is the error.
    expect(result).toMatchObject({ messages: 2, errors: 1, lost: 0 });
  });

  it("keeps the rate that it was told, however quick the server is", async () => {
    const { tcp } = await line(start(floor));
    const result = await measure(tcp!, "--rate", "500");
    expect(result).toMatchObject({ errors: 0, lost: 0 });
    const due = result["messages"]! + result["behind"]!;
    expect(Math.abs(due - 500 * result["seconds"]!)).toBeLessThan(5);
  });

  it("counts latency from when a message was due, also of those that wait", async () => {
    // Each answer takes 50 ms and one connection has one in flight: of 100 a second most wait.
    const port = await serve((socket) =>
      socket.on("data", (bytes) => setTimeout(() => socket.write(bytes), 50)),
    );
    const fixed = ["--port", String(port), "--warmup", "0", "--seconds", "0.5", "--rate", "100"];
    const result = await line(start(load, fixed));
    expect(result["p99"]).toBeGreaterThan(150);
    expect(result["behind"]).toBeGreaterThan(10);
  });

  it("refuses what it cannot do, and says so", async () => {
    const refused = async (...args: string[]): Promise<unknown> =>
      await once(start(load, ["--port", "1", ...args]), "exit");
    expect(await refused("--bytes", "31")).toEqual([1, null]);
    expect(await refused("--bytes", "60001")).toEqual([1, null]);
    expect(await refused("--protocol", "morse")).toEqual([1, null]);
    expect(await refused("--protocol", "socket.io")).toEqual([1, null]);
    const under = ["--connections", "5000", "--in-flight", "16", "--bytes", "16384"];
    expect(await refused(...under)).toEqual([1, null]);
  });
});
