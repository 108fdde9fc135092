// The subscribers of the benchmarks (bench/load/subscribers.c): what they count is a figure, so
// they are held to it here with servers that cut messages, lose some, and end connections. Skipped
// where there is no C compiler.

import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as wait } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";

const hasCompiler = process.platform === "linux" && spawnSync("cc", ["--version"]).status === 0;
const folder = mkdtempSync(join(tmpdir(), "holdfast-bench-"));
const program = join(folder, "subscribers");

const UPGRADED = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
const STAMP = "T=0000000000000000";

type Answer = Record<string, number>;

/** A client that is told commands and answers each with a line. */
class Client {
  readonly child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  #said: string = "";

  constructor(flags: Readonly<Record<string, string | number>>) {
    const args = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)]);
    this.child = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"] });
    this.#lines = createInterface({ input: this.child.stdout! })[Symbol.asyncIterator]();
    this.child.stderr!.on("data", (text) => {
      this.#said += String(text);
    });
    this.child.stdin!.on("error", () => {});
    clients.push(this);
  }

  async ask(command: string): Promise<Answer> {
    this.child.stdin!.write(`${command}\n`);
    const { value } = await this.#lines.next();
    if (value === undefined) throw new Error(this.#said);
    return JSON.parse(value) as Answer;
  }
}

const clients: Client[] = [];
const servers: Server[] = [];

/** @returns its port, and its sockets in the order in which they came. */
async function serve(
  onSocket: (socket: Socket) => void = () => {},
): Promise<{ port: number; sockets: Socket[] }> {
  const sockets: Socket[] = [];
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on("error", () => {});
    sockets.push(socket);
    onSocket(socket);
  });
  servers.push(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { port: (server.address() as AddressInfo).port, sockets };
}

/** Where nobody is greeted, clients may be ready before this process has accepted them. */
async function accepted(sockets: readonly Socket[], count: number): Promise<void> {
  while (sockets.length < count) await wait(5);
}

/** Each byte in a segment of its own, as far as that can be had. */
async function drip(socket: Socket, bytes: Buffer): Promise<void> {
  for (const byte of bytes) {
    socket.write(Buffer.from([byte]));
    await wait(1);
  }
}

function hex(text: string | Buffer): string {
  return Buffer.from(text).toString("hex");
}

/** A server's WebSocket message. */
function message(payload: string | Buffer, opcode: number = 2): Buffer {
  const { length } = Buffer.from(payload);
  const header =
    length < 126
      ? [0x80 | opcode, length]
      : length < 65_536
        ? [0x80 | opcode, 126, length >> 8, length & 255]
        : [0x80 | opcode, 127, 0, 0, 0, 0, 0, length >> 16, (length >> 8) & 255, length & 255];
  return Buffer.concat([Buffer.from(header), Buffer.from(payload)]);
}

/** Holdfast's frame of a body whose field says what it is: 2 Welcome, 3 Result, 5 Event. */
function frame(field: number, payload: string | Buffer): Buffer {
  const body = Buffer.concat([Buffer.from([(field << 3) | 2]), Buffer.from(payload)]);
  const header = Buffer.alloc(4);
  header.writeUInt32BE(body.length);
  return Buffer.concat([header, body]);
}

function mqtt(type: number, rest: Buffer): Buffer {
  const length = rest.length < 128 ? [rest.length] : [(rest.length & 127) | 128, rest.length >> 7];
  return Buffer.concat([Buffer.from([type, ...length]), rest]);
}

const DRIPPED_BYTES = 1_500;
const LONG = "x".repeat(300);
/** What a server says to one that has connected, and then six messages, among other things. */
const DIALECTS = [
  {
    dialect: "raw",
    flags: { bytes: 40 },
    ready: "",
    messages: Buffer.from("m".repeat(240)),
  },
  {
    dialect: "websocket",
    flags: {},
    ready: UPGRADED,
    messages: Buffer.concat([
      ...["", "a", "x".repeat(125), "x".repeat(126), LONG].map((text) => message(text)),
      ...[message("", 10), message("x".repeat(70_000))],
    ]),
  },
  {
    dialect: "holdfast",
    flags: { greeting: hex("hi"), answers: 2 },
    ready: Buffer.concat([frame(2, "welcome"), frame(3, "")]),
    messages: Buffer.concat([
      Buffer.alloc(4),
      ...["a", "b", "c", "d", LONG, LONG].map((text) => frame(5, text)),
    ]),
  },
  {
    dialect: "holdfast-websocket",
    flags: { greeting: hex("hi"), answers: 2 },
    ready: Buffer.concat([
      Buffer.from(UPGRADED),
      message(Buffer.concat([frame(2, "welcome"), frame(3, "")])),
    ]),
    messages: Buffer.concat([
      message(Buffer.alloc(4)),
      message(Buffer.concat(["a", "b", LONG, "c"].map((text) => frame(5, text)))),
      ...["d", LONG].map((text) => message(frame(5, text))),
    ]),
  },
  {
    dialect: "socket.io",
    flags: { greeting: hex("hi"), answers: 1 },
    ready: Buffer.concat([
      Buffer.from(UPGRADED),
      ...['0{"sid":"a"}', '40{"sid":"b"}'].map((text) => message(text, 1)),
    ]),
    messages: Buffer.concat(
      ["2", ...["a", "b", "c", "d", LONG, LONG].map((text) => `42["t","${text}"]`)].map((text) =>
        message(text, 1),
      ),
    ),
  },
  {
    dialect: "nats",
    flags: { greeting: hex("hi"), answers: 1 },
    ready: `INFO {"server_id":"${LONG}"}\r\nPONG\r\n`,
    messages: Buffer.from(
      `PING\r\n+OK\r\n${["a", "MSG t 1 3", "c", "d", LONG, "\r\n"]
        .map((text) => `MSG t 1 ${text.length}\r\n${text}\r\n`)
        .join("")}`,
    ),
  },
  {
    dialect: "mqtt",
    flags: { greeting: hex("hi"), answers: 2 },
    ready: Buffer.concat([mqtt(0x20, Buffer.from([0, 0])), mqtt(0x90, Buffer.from([0, 1, 0]))]),
    messages: Buffer.concat(
      ["a", "b", "c", "d", LONG, LONG].map((text) => mqtt(0x30, Buffer.from(`\0\x01t${text}`))),
    ),
  },
] as const;

/** A server of raw messages: what one sends goes to the others, but for those left out. */
async function serveRaw(isLeftOut: (index: number) => boolean = () => false): Promise<number> {
  const { port, sockets } = await serve((socket) => {
    socket.on("data", (bytes) => {
      for (const [index, other] of sockets.entries()) {
        if (other !== socket && !isLeftOut(index)) other.write(bytes);
      }
    });
  });
  return port;
}

const RAW = { dialect: "raw", bytes: 64, message: hex(STAMP.padEnd(64, "x")) };

describe.skipIf(!hasCompiler)("the subscribers of the benchmarks", () => {
  beforeAll(() => {
    const flags = ["-O1", "-g", "-Wall", "-Wextra", "-Werror"];
    const source = "bench/load/subscribers.c";
    const sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    execFileSync("cc", [...flags, ...sanitizers, "-o", program, source]);
  }, 60_000);

  afterEach(() => {
    for (const { child } of clients.splice(0)) child.kill("SIGKILL");
    for (const server of servers.splice(0)) server.close();
  });

  afterAll(() => rmSync(folder, { recursive: true }));

  describe.each(DIALECTS)("$dialect", ({ dialect, flags, ready, messages }) => {
    const upgrade = ready.toString().startsWith("HTTP") ? { request: hex("GET") } : {};
    const greet = (socket: Socket): void => {
      if ("answers" in flags || "request" in upgrade)
        socket.once("data", () => socket.write(ready));
    };

    it("counts six messages that come at once", async () => {
      const { port, sockets } = await serve(greet);
      const client = new Client({ port, dialect, ...flags, ...upgrade });
      expect(await client.ask("open 3")).toMatchObject({ open: 3, received: 0 });
      await accepted(sockets, 3);
      for (const socket of sockets) socket.write(messages);
      expect(await client.ask("expect 18")).toMatchObject({ received: 18, lost: 0, gaps: 0 });
    });

    it("counts them in whatever pieces they come", async () => {
      const { port, sockets } = await serve((socket) => {
        if (!("answers" in flags || "request" in upgrade)) return;
        socket.once("data", () => void drip(socket, Buffer.from(ready)));
      });
      const client = new Client({ port, dialect, ...flags, ...upgrade });
      await client.ask("open 1");
      await accepted(sockets, 1);
      const [socket] = sockets;
      // All headers are in there; what is left is the payload of the longest.
      await drip(socket!, messages.subarray(0, DRIPPED_BYTES));
      socket!.write(messages.subarray(DRIPPED_BYTES));
      expect(await client.ask("expect 6")).toMatchObject({ received: 6, lost: 0 });
    });
  });

  it("answers signs of life in the words of the dialect", async () => {
    const { port, sockets } = await serve((socket) => {
      socket.once("data", () => socket.write("PONG\r\n"));
    });
    const client = new Client({ port, dialect: "nats", greeting: hex("hi"), answers: 1 });
    await client.ask("open 1");
    sockets[0]!.write("PING\r\n");
    const [pong] = (await once(sockets[0]!, "data")) as [Buffer];
    expect(pong.toString()).toBe("PONG\r\n");
  });

  it("publishes when everybody has the message before, and takes the time", async () => {
    const client = new Client({ ...RAW, port: await serveRaw(), pid: process.pid });
    await client.ask("open 5");
    const answer = await client.ask("publish 0.05 20");
    expect(answer["publishes"]).toBeGreaterThanOrEqual(20);
    expect(answer["received"]).toBe(answer["publishes"]! * 5);
    expect(answer["expected"]).toBe(answer["received"]);
    expect(answer["p50"]).toBeGreaterThan(0);
    expect(answer["p99"]).toBeGreaterThanOrEqual(answer["p50"]!);
    expect(answer["lastMs"]).toBeGreaterThan(0);
    expect(answer["cpuMicros"]).toBeGreaterThan(0);
    // What is counted begins anew.
    expect(await client.ask("stat")).toMatchObject({ open: 5, publishes: 0, received: 0, p99: 0 });
  });

  it("counts a delay from when a message was due", async () => {
    const { port, sockets } = await serve();
    const client = new Client({ ...RAW, port });
    await client.ask("open 1");
    await accepted(sockets, 1);
    const ns = process.hrtime.bigint() - 250_000_000n;
    sockets[0]!.write(`T=${ns.toString(16).padStart(16, "0")}`.padEnd(64, "x"));
    const { p50, max } = await client.ask("expect 1");
    expect(p50).toBeGreaterThan(245);
    expect(p50).toBeLessThan(5_000);
    expect(max).toBeGreaterThan(250);
  });

  it("publishes at a rate", async () => {
    const client = new Client({ ...RAW, port: await serveRaw() });
    await client.ask("open 2");
    const { publishes, received, seconds } = await client.ask("rate 200 0.5");
    expect({ publishes, received }).toEqual({ publishes: 100, received: 200 });
    expect(seconds).toBeGreaterThan(0.49);
  });

  it("leaves unread what comes to those that stall, and waits for the others alone", async () => {
    const client = new Client({ ...RAW, port: await serveRaw(), stalled: 2 });
    expect(await client.ask("open 5")).toMatchObject({ open: 3, stalled: 2 });
    const { publishes, received } = await client.ask("publish 0 10");
    expect({ publishes, received }).toEqual({ publishes: 10, received: 30 });
  });

  it("lets the server feel soon that one has stalled", async () => {
    const { port, sockets } = await serve();
    const client = new Client({ ...RAW, port, stalled: 1 });
    await client.ask("open 2");
    await accepted(sockets, 2);
    for (const socket of sockets) socket.write(Buffer.alloc(640_000));
    expect(await client.ask("expect 10000")).toMatchObject({ received: 10_000 });
    const unsent = sockets.map((socket) => socket.writableLength > 0);
    expect(unsent).toEqual([true, false]);
  });

  it("notices connections that a server ended, those that stall among them", async () => {
    const { port, sockets } = await serve();
    const client = new Client({ ...RAW, port, stalled: 1 });
    await client.ask("open 4");
    await accepted(sockets, 4);
    sockets[0]!.resetAndDestroy();
    sockets[1]!.end();
    sockets[2]!.resetAndDestroy();
    await wait(200);
    const answer = { open: 1, stalled: 0, lost: 2, stalledLost: 1 };
    expect(await client.ask("stat")).toMatchObject(answer);
  });

  it("ends a publish at once that lost somebody, with what is missing", async () => {
    const { port, sockets } = await serve((socket) => {
      socket.on("data", () => sockets[0]!.end());
    });
    const client = new Client({ ...RAW, port });
    await client.ask("open 2");
    expect(await client.ask("publish 5 1")).toMatchObject({ received: 0, expected: 2, lost: 1 });
  });

  it("notices that one has everybody's messages, though their number is right", async () => {
    const { port, sockets } = await serve((socket) => {
      socket.on("data", (bytes) => {
        for (let count = 1; count < sockets.length; count++) sockets[0]!.write(bytes);
      });
    });
    const client = new Client({ ...RAW, port });
    await client.ask("open 3");
    const answer = await client.ask("publish 0 4");
    expect(answer).toMatchObject({ received: 12, expected: 12, uneven: 3, wrong: 0 });
    // What is counted begins anew.
    expect(await client.ask("stat")).toMatchObject({ uneven: 0, wrong: 0 });
  });

  it.each([
    ["nothing that was sent", "x".repeat(64)],
    ["what was sent another time", `T=${"1".repeat(16)}`.padEnd(64, "x")],
  ])("notices messages that say %s", async (_, text) => {
    const { port, sockets } = await serve((socket) => {
      socket.on("data", () => {
        for (const other of sockets) if (other !== socket) other.write(text);
      });
    });
    const client = new Client({ ...RAW, port });
    await client.ask("open 2");
    const answer = await client.ask("publish 0 1");
    expect(answer).toMatchObject({ received: 2, expected: 2, uneven: 0, wrong: 2 });
  });

  it("tells what it cost itself, where that can be told", async () => {
    const client = new Client({ ...RAW, port: await serveRaw() });
    await client.ask("open 2");
    const { generatorMicros, seconds } = await client.ask("publish 0.1 10");
    if (generatorMicros === null) return;
    expect(generatorMicros).toBeGreaterThan(0);
    expect(generatorMicros).toBeLessThan(seconds! * 1e6);
  });

  it("says what is missing where a message does not come", async () => {
    const client = new Client({ ...RAW, port: await serveRaw((index) => index === 1) });
    await client.ask("open 3");
    const answer = await client.ask("publish 0 1");
    expect(answer).toMatchObject({ publishes: 1, received: 2, expected: 3, lost: 0 });
  }, 20_000);

  it.each([
    ["holdfast", Buffer.from([0, 0, 0, 4, 0x08, 1, 0x22, 0]), "not expected"],
    ["nats", Buffer.from("-ERR 'Authorization Violation'\r\n"), "not expected"],
    ["mqtt", Buffer.from([0x20, 2, 0, 5]), "not expected"],
    ["websocket", Buffer.from("HTTP/1.1 403 Forbidden\r\n\r\n"), "no upgrade"],
  ])("ends where a server refuses it: %s", async (dialect, refusal, reason) => {
    const { port } = await serve((socket) => socket.write(refusal));
    const client = new Client({ port, dialect, greeting: hex("hi"), answers: 1 });
    await expect(client.ask("open 1")).rejects.toThrow(reason);
  });

  it("counts Gap and GoAway of Holdfast's", async () => {
    const { port, sockets } = await serve((socket) => {
      socket.once("data", () => socket.write(frame(2, "")));
    });
    const client = new Client({ port, dialect: "holdfast", greeting: hex("hi"), answers: 1 });
    await client.ask("open 2");
    sockets[0]!.write(Buffer.concat([frame(6, "t"), frame(5, "after")]));
    sockets[1]!.write(frame(7, ""));
    expect(await client.ask("expect 1")).toMatchObject({ received: 1, gaps: 1 });
    await wait(100);
    expect(await client.ask("stat")).toMatchObject({ open: 1, lost: 1 });
  });

  it.each(["dance", "publish", "rate 0 1"])("refuses the command %s", async (command) => {
    const { port } = await serve();
    await expect(new Client({ ...RAW, port }).ask(command)).rejects.toThrow("no such command");
  });

  it.each([
    [{ dialect: "raw" }, "--port is missing"],
    [{ port: 1, dialect: "morse" }, "no such dialect"],
    [{ port: 1, dialect: "raw", bytes: 0 }, "--bytes"],
  ])("refuses the flags %o", async (flags, reason) => {
    await expect(new Client(flags).ask("stat")).rejects.toThrow(reason);
  });

  it("does not publish what carries no time", async () => {
    const { port } = await serve();
    const client = new Client({ port, dialect: "raw", message: hex("no time") });
    await expect(client.ask("publish 0 1")).rejects.toThrow("--message");
  });
});
