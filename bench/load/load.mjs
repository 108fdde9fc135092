// The load client where there is no C compiler: the same command line, the same results as load.c,
// on node:net. It costs as much as the servers it loads, so they may be waiting for it: compare its
// figures only with each other.
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";

const PAYLOAD_BYTES_MAX = 60_000;
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
    bytes: text("32"),
    rate: text("0"),
    mark: text("0"),
  },
});
const isWebSocket = flags.transport === "websocket";
const isHoldfast = flags.protocol === "holdfast";
const inFlight = Number(flags["in-flight"]);
const PAYLOAD = Buffer.alloc(Math.min(Number(flags.bytes), PAYLOAD_BYTES_MAX));
PAYLOAD.fill("thirty-two bytes there and back.");

const counts = { messages: 0, errors: 0, lost: 0, heartbeats: 0 };
let running = false;
let measuring = false;
/** Of all answers that came within the measurement, in milliseconds. */
const latencies = [];

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

const MASK = [0x5a, 0xc3, 0x17, 0x9e];

/** A client's WebSocket frame of less than 64 KB. */
function masked(opcode, bytes) {
  const { length } = bytes;
  const size = length < 126 ? [0x80 | length] : [0x80 | 126, length >> 8, length & 255];
  const body = bytes.map((byte, index) => byte ^ MASK[index & 3]);
  return Buffer.concat([Buffer.from([0x80 | opcode, ...size, ...MASK]), body]);
}

function wrapped(bytes) {
  return isWebSocket ? masked(2, bytes) : bytes;
}

function framed(body) {
  const head = Buffer.alloc(4);
  head.writeUInt32BE(body.length);
  return Buffer.concat([head, Buffer.from(body)]);
}

/** A field of protobuf that holds bytes. */
function field(tag, bytes) {
  const head = [tag];
  let size = bytes.length;
  for (; size >= 128; size >>= 7) head.push((size & 127) | 128);
  return Buffer.concat([Buffer.from([...head, size]), bytes]);
}

function callOf(id) {
  const call = Buffer.concat([field(0x0a, Buffer.from("echo")), field(0x12, PAYLOAD)]);
  return wrapped(framed(Buffer.concat([Buffer.from([0x08, id]), field(0x1a, call)])));
}

function resultOf(id) {
  const result = field(0x1a, field(0x0a, PAYLOAD));
  return framed(Buffer.concat([Buffer.from([0x08, id]), result]));
}

const ids = Array.from({ length: inFlight + 1 }, (_, id) => id);
const requests = isHoldfast ? ids.map(callOf) : ids.map(() => wrapped(PAYLOAD));
const replies = isHoldfast ? ids.map(resultOf) : ids.map(() => PAYLOAD);
const hello = wrapped(framed([0x08, 1, 0x12, 8, 0x08, 1, 0x1a, 4, ...Buffer.from("load")]));
const heartbeat = wrapped(Buffer.alloc(4));
const farewell = masked(8, Buffer.from([0x03, 0xe8]));

/** How long the header of a server's WebSocket message is, by its second byte. */
function headBytes(second) {
  return second === 127 ? 10 : second === 126 ? 4 : 2;
}

function sizeOf(bytes, at) {
  if (bytes[at + 1] === 127) return Number(bytes.readBigUInt64BE(at + 2));
  return bytes[at + 1] === 126 ? bytes.readUInt16BE(at + 2) : bytes[at + 1];
}

class Client {
  /** "upgrading", "greeting", "ready", "leaving" or "closed". */
  phase = isWebSocket ? "upgrading" : "greeting";
  #socket;
  #rest = Buffer.alloc(0);
  #out = [];
  /** When each of the ids was asked that wait for their answer. */
  #waiting = new Map();

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
    this.#waiting.set(id, performance.now());
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
    while (bytes.length - at >= 2) {
      const head = headBytes(bytes[at + 1]);
      if (bytes.length - at < head) break;
      const size = sizeOf(bytes, at);
      const start = at + head;
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
        const [id] = this.#waiting.keys();
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
    const asked = this.#waiting.get(id);
    if (!this.#waiting.delete(id) || !replies[id].equals(bytes)) {
      wrong("an answer that is not what was asked for");
      return;
    }
    counts.messages++;
    if (measuring) latencies.push(performance.now() - asked);
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

function latencyAt(share) {
  return latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))] ?? 0;
}

function mark() {
  if (flags.mark === "1") process.kill(Number(flags.pid), "SIGUSR2");
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
  mark();
  measuring = true;
  const began = performance.now();
  const cpu = serverCpuMicros();
  const own = process.cpuUsage();
  await runFor(Number(flags.seconds));
  const measured = {
    messages: counts.messages - messages,
    seconds: (performance.now() - began) / 1000,
    cpuMicros: serverCpuMicros() - cpu,
  };
  const { user, system } = process.cpuUsage(own);
  measuring = false;
  mark();
  await settle();
  latencies.sort((a, b) => a - b);
  const latency = { p50: latencyAt(0.5), p99: latencyAt(0.99) };
  const generatorCpuPerMessage = (user + system) / measured.messages;
  const result = {
    ...measured,
    ...latency,
    generatorCpuPerMessage,
    errors: counts.errors,
    lost: counts.lost,
  };
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
if (!["raw", "holdfast"].includes(flags.protocol)) {
  die(`${flags.protocol} is spoken by the load client in C alone: install a C compiler (cc)`);
}
if (Number(flags.rate) > 0) die("a rate is kept by the load client in C alone: install cc");
if (flags.mode === "hold") await hold();
else await echo();
