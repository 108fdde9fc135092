// The load client where there is no C compiler: the same command line, the same results as load.c,
// on node:net. It costs as much as the servers it loads, so they may be waiting for it: compare its
// figures only with each other.
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";

const PAYLOAD = Buffer.from("thirty-two bytes there and back.");
const PORTS_PER_SOURCE = 4_000;
const OPENING_MAX = 200;
const STUCK_MS_MAX = 10_000;
const CLOSE_MS_MAX = 20_000;
const SETTLE_MS_MAX = 2_000;
/** What /proc counts CPU time in, a hundredth of a second, in microseconds. */
const TICK_MICROS = 10_000;

const text = (fallback) => ({ type: "string", default: fallback });
const { values: flags } = parseArgs({
  options: {
    mode: text("echo"),
    host: text("127.0.0.1"),
    port: text("0"),
    transport: text("tcp"),
    protocol: text("raw"),
    pid: text("0"),
    connections: text("1"),
    "in-flight": text("1"),
    warmup: text("1"),
    seconds: text("3"),
    "source-base": text("0"),
  },
});
const isWebSocket = flags.transport === "websocket";
const isHoldfast = flags.protocol === "holdfast";
const inFlight = Number(flags["in-flight"]);

const counts = { messages: 0, errors: 0, lost: 0, heartbeats: 0 };
let running = false;

function die(why) {
  process.stderr.write(`load: ${why}\n`);
  process.exit(1);
}

function wrong(what) {
  if (counts.errors++ === 0) process.stderr.write(`load: ${what}\n`);
}

function serverCpuMicros() {
  if (flags.pid === "0") return 0;
  const stat = readFileSync(`/proc/${flags.pid}/stat`, "utf8");
  // The name in parentheses may hold spaces; user and system time are 12 and 13 after it.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * TICK_MICROS;
}

/** A client's WebSocket frame of less than 126 bytes. */
function masked(opcode, bytes) {
  const mask = [0x5a, 0xc3, 0x17, 0x9e];
  const body = bytes.map((byte, index) => byte ^ mask[index & 3]);
  return Buffer.from([0x80 | opcode, 0x80 | bytes.length, ...mask, ...body]);
}

function wrapped(bytes) {
  return isWebSocket ? masked(2, bytes) : bytes;
}

function framed(body) {
  return Buffer.from([0, 0, 0, body.length, ...body]);
}

function callOf(id) {
  const call = [0x0a, 4, ...Buffer.from("echo"), 0x12, PAYLOAD.length, ...PAYLOAD];
  return wrapped(framed([0x08, id, 0x1a, call.length, ...call]));
}

function resultOf(id) {
  return framed([0x08, id, 0x1a, 2 + PAYLOAD.length, 0x0a, PAYLOAD.length, ...PAYLOAD]);
}

const ids = Array.from({ length: inFlight + 1 }, (_, id) => id);
const requests = isHoldfast ? ids.map(callOf) : ids.map(() => wrapped(PAYLOAD));
const replies = isHoldfast ? ids.map(resultOf) : ids.map(() => PAYLOAD);
const hello = wrapped(framed([0x08, 1, 0x12, 8, 0x08, 1, 0x1a, 4, ...Buffer.from("load")]));
const heartbeat = wrapped(Buffer.alloc(4));
const farewell = masked(8, Buffer.from([0x03, 0xe8]));

class Client {
  /** "upgrading", "greeting", "ready", "leaving" or "closed". */
  phase = isWebSocket ? "upgrading" : "greeting";
  #socket;
  #rest = Buffer.alloc(0);
  #out = [];
  #waiting = new Set();

  constructor(index) {
    const source = Math.floor(index / PORTS_PER_SOURCE) + 1;
    const { host, port } = flags;
    const localAddress = `127.${flags["source-base"]}.0.${source + 1}`;
    this.#socket = connect({ host, port: Number(port), localAddress, noDelay: true });
    this.#socket.on("connect", () => this.#connected());
    this.#socket.on("data", (bytes) => this.#take(bytes));
    this.#socket.on("error", () => {});
    this.#socket.on("close", () => this.#closed());
  }

  get isWaiting() {
    return this.#waiting.size > 0;
  }

  ask(id) {
    this.#waiting.add(id);
    this.#out.push(requests[id]);
  }

  flush() {
    if (this.#out.length === 0) return;
    this.#socket.write(this.#out.length === 1 ? this.#out[0] : Buffer.concat(this.#out));
    this.#out = [];
  }

  leave() {
    if (this.phase !== "ready") return;
    this.phase = "leaving";
    if (isWebSocket) this.#socket.write(farewell);
    else this.#socket.end();
  }

  #become(phase) {
    const isOpening = this.phase === "upgrading" || this.phase === "greeting";
    this.phase = phase;
    if (!isOpening) return;
    opening--;
    openMissing();
  }

  #connected() {
    if (!isWebSocket) {
      this.#greet();
    } else {
      const protocol = isHoldfast ? "Sec-WebSocket-Protocol: holdfast.v1\r\n" : "";
      this.#socket.write(
        `GET / HTTP/1.1\r\nHost: ${flags.host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
          "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
          `${protocol}\r\n`,
      );
    }
  }

  #greet() {
    if (isHoldfast) {
      this.phase = "greeting";
      this.#socket.write(hello);
    } else {
      this.#become("ready");
    }
  }

  #closed() {
    if (this.phase !== "leaving") counts.lost++;
    this.#become("closed");
  }

  #take(chunk) {
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    if (this.phase === "upgrading") {
      const end = bytes.indexOf("\r\n\r\n");
      if (end !== -1 && !bytes.toString("latin1", 0, 12).endsWith(" 101")) {
        die("the upgrade was refused");
      }
      if (end !== -1) this.#greet();
      bytes = end === -1 ? bytes : bytes.subarray(end + 4);
    }
    const isUpgraded = this.phase !== "upgrading";
    const taken = isUpgraded ? (isWebSocket ? this.#messages(bytes) : this.#replies(bytes)) : 0;
    this.#rest = bytes.subarray(taken);
    this.flush();
  }

  #messages(bytes) {
    let at = 0;
    while (bytes.length - at >= 4) {
      const size = bytes[at + 1] === 126 ? bytes.readUInt16BE(at + 2) : bytes[at + 1];
      const start = at + (bytes[at + 1] === 126 ? 4 : 2);
      if (bytes.length < start + size) break;
      const opcode = bytes[at] & 15;
      const body = bytes.subarray(start, start + size);
      if (opcode === 2 && this.#replies(body) !== size) wrong("a message that ends in an answer");
      else if (opcode === 9) this.#out.push(masked(10, body));
      else if (opcode !== 2 && opcode !== 8) wrong("a WebSocket message that is not binary");
      at = start + size;
    }
    return at;
  }

  #replies(bytes) {
    let at = 0;
    if (!isHoldfast) {
      for (; bytes.length - at >= PAYLOAD.length; at += PAYLOAD.length) {
        const [id] = this.#waiting;
        this.#answered(bytes.subarray(at, at + PAYLOAD.length), id);
      }
      return at;
    }
    while (bytes.length - at >= 4) {
      const end = at + 4 + bytes.readUInt32BE(at);
      if (end > bytes.length) break;
      this.#frame(bytes.subarray(at, end));
      at = end;
    }
    return at;
  }

  #frame(frame) {
    if (frame.length === 4) {
      counts.heartbeats++;
      if (this.phase === "ready") this.#out.push(heartbeat);
    } else if (this.phase === "greeting") {
      if (frame[4] === 0x08 && frame[5] === 1 && frame[6] === 0x12) this.#become("ready");
      else wrong("no Welcome");
    } else if (this.phase === "ready" && frame[4] !== 0x3a) {
      this.#answered(frame, frame[5]);
    }
  }

  #answered(bytes, id) {
    if (!this.#waiting.delete(id) || !replies[id].equals(bytes)) {
      wrong("an answer that is not what was asked for");
      return;
    }
    counts.messages++;
    if (running) this.ask(id);
  }
}

let clients = [];
let target = 0;
let opening = 0;
let onAllOpened = () => {};

/** Opens what is missing, a few at a time. */
function openMissing() {
  while (opening < OPENING_MAX && clients.length < target) {
    opening++;
    clients.push(new Client(clients.length));
  }
  if (opening === 0) onAllOpened();
}

function openMore(count) {
  target = clients.length + count;
  return new Promise((done) => {
    onAllOpened = done;
    openMissing();
  });
}

function wait(ms) {
  return new Promise((done) => setTimeout(done, ms));
}

async function runFor(seconds) {
  const end = performance.now() + seconds * 1000;
  let before = -1;
  while (performance.now() < end) {
    const left = end - performance.now();
    if (counts.messages === before) die(`no answer for ${STUCK_MS_MAX} ms`);
    before = counts.messages;
    await wait(Math.max(0, Math.min(left, STUCK_MS_MAX)));
  }
}

/** Nothing new is asked: all that was asked is answered, and nothing else comes. */
async function settle() {
  const limit = performance.now() + SETTLE_MS_MAX;
  const isWaiting = () => clients.some((client) => client.isWaiting);
  running = false;
  while (isWaiting() && performance.now() < limit) await wait(10);
  if (isWaiting()) wrong("not everything was answered");
  await wait(50);
}

async function echo() {
  await openMore(Number(flags.connections));
  running = true;
  for (const client of clients) {
    for (let id = 1; id <= inFlight; id++) client.ask(id);
    client.flush();
  }
  await runFor(Number(flags.warmup));
  const { messages } = counts;
  const began = performance.now();
  const cpu = serverCpuMicros();
  await runFor(Number(flags.seconds));
  const measured = {
    messages: counts.messages - messages,
    seconds: (performance.now() - began) / 1000,
    cpuMicros: serverCpuMicros() - cpu,
  };
  await settle();
  const result = { ...measured, errors: counts.errors, lost: counts.lost };
  const failed = counts.errors > 0 || counts.lost > 0;
  process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(failed ? 1 : 0));
}

async function closeAll() {
  const limit = performance.now() + CLOSE_MS_MAX;
  for (const client of clients) client.leave();
  while (clients.some(({ phase }) => phase !== "closed")) {
    if (performance.now() > limit) die("not all connections were closed");
    await wait(20);
  }
  clients = [];
  target = 0;
}

async function hold() {
  for await (const line of createInterface({ input: process.stdin })) {
    const [command, count] = line.split(" ");
    if (command === "open") await openMore(Number(count));
    else if (command === "close") await closeAll();
    const { lost, errors, heartbeats } = counts;
    const open = clients.filter(({ phase }) => phase === "ready").length;
    const seconds = performance.now() / 1000;
    const answer = { open, lost, errors, heartbeats, seconds, cpuMicros: serverCpuMicros() };
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
  process.exit();
}

if (!flags.host.startsWith("127.")) die("only loopback addresses are loaded");
if (flags.mode === "hold") await hold();
else await echo();
