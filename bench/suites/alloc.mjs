// What a message leaves for the garbage collector on its way from a received chunk to its handler
// and, where it has one, to its answer: bytes of V8's heap, and how many Buffers or views are made,
// which must be none. Chunks are handed to the listener as a transport does; writes go nowhere.
// Then the same of the native transport alone, with real traffic.
//   npm run bench:alloc
import { dirname, join, resolve } from "node:path";
import { PerformanceObserver } from "node:perf_hooks";
import { fileURLToPath, pathToFileURL } from "node:url";
import { getHeapStatistics } from "node:v8";
import { measureTransport } from "../alloc-transport.mjs";
import { progress, readFlags } from "../command-line.mjs";
import { Result } from "../result.mjs";

const flags = readFlags({
  messages: { default: "1000000", range: [1_000, 100_000_000] },
  dist: { default: join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), "dist") },
});
if (globalThis.gc === undefined) {
  progress("run it as `npm run bench:alloc`: it needs --expose-gc and a large young generation");
  process.exit(2);
}
const load = (module) => import(pathToFileURL(join(resolve(flags.dist), module)).href);
const { Server } = await load("server/server.js");

/** So few that their garbage fits the young generation of 256 MiB and no collection disturbs. */
const ALLOCATED_OVER = 100_000;
const VIEWS_OVER = 1_000;
const SENT = 0;

let collections = 0;
new PerformanceObserver((list) => {
  collections += list.getEntries().length;
}).observe({ entryTypes: ["gc"] });

let handled = 0;
const server = new Server(
  { tcp: { enabled: false }, websocket: { enabled: false }, admin: { enabled: false } },
  { listeners: [{ name: "bench", transport: { kind: "memory" } }] },
);
server.method("echo", (call) => {
  handled++;
  return call.payload;
});
await server.start();
const [listener] = server.listeners;
const peer = listener.transport.connect({ onData: () => {}, onClose: () => {} });
const { channel } = peer;

function frame(...body) {
  const bytes = Buffer.alloc(4 + body.length);
  bytes.writeUInt32BE(body.length);
  bytes.set(body, 4);
  return bytes;
}

function lengthOf(bytes) {
  return bytes.length < 0x80 ? [bytes.length] : [(bytes.length & 0x7f) | 0x80, bytes.length >> 7];
}

function delimited(tag, bytes) {
  return [tag, ...lengthOf(bytes), ...bytes];
}

function callFrame(id, payloadLength) {
  const payload = new Array(payloadLength).fill(0x61);
  const call = [...delimited(0x0a, Buffer.from("echo")), ...delimited(0x12, payload)];
  return frame(...(id === 0 ? [] : [0x08, id]), ...delimited(0x1a, call));
}

function chunk(bytes, start = 0, end = bytes.length) {
  // As if others had been served since: one connection alone would have to take turns.
  listener.context.turn.owner = null;
  listener.onChunk(channel, bytes, start, end);
}

peer.send(frame(0x08, 1, ...delimited(0x12, [0x08, 1])));
await new Promise((done) => setTimeout(done, 50));
const connection = listener.connection(channel);
if (!connection.isOpen) throw new Error(`the connection is ${connection.stateName}`);
listener.transport.write = () => SENT;

const heartbeat = frame();
const unanswered = callFrame(0, 32);
const answered = callFrame(1, 32);
const long = callFrame(1, 4_096);
const event = [...delimited(0x0a, Buffer.from("news")), ...delimited(0x12, new Array(32).fill(97))];
const publish = frame(...delimited(0x22, event));

const kinds = [
  { name: "heartbeat", calls: 0, run: () => chunk(heartbeat) },
  { name: "call without answer", calls: 1, run: () => chunk(unanswered) },
  { name: "call and its result", calls: 1, run: () => chunk(answered) },
  {
    name: "call in two chunks",
    calls: 1,
    run: () => {
      chunk(answered, 0, 20);
      chunk(answered, 20);
    },
  },
  { name: "publish, no subscriber", calls: 0, run: () => chunk(publish) },
  { name: "call of 4 KiB", calls: 1, isLong: true, run: () => chunk(long) },
];

async function settled() {
  await new Promise((done) => setTimeout(done, 20));
  globalThis.gc();
  await new Promise((done) => setTimeout(done, 20));
}

function repeat(run, count) {
  for (let index = 0; index < count; index++) run();
}

/** Bytes of the heap per message, dead or alive. */
async function allocated(run) {
  await settled();
  const collectionsBefore = collections;
  const before = getHeapStatistics().used_heap_size;
  repeat(run, ALLOCATED_OVER);
  const bytes = getHeapStatistics().used_heap_size - before;
  await new Promise((done) => setTimeout(done, 20));
  if (collections > collectionsBefore) throw new Error("a collection disturbed the measurement");
  return bytes / ALLOCATED_OVER;
}

/** Bytes that are still held after the messages have gone, on the heap and off it. */
async function retained(run) {
  await settled();
  const before = process.memoryUsage();
  repeat(run, flags.messages);
  await settled();
  const after = process.memoryUsage();
  return after.heapUsed - before.heapUsed + after.arrayBuffers - before.arrayBuffers;
}

/** Buffers, typed arrays and views of them that are made per message. */
function views(run) {
  let made = 0;
  const undo = [];
  const count = (owner, name) => {
    const original = owner[name];
    const traps = {
      apply: (target, self, args) => {
        made++;
        return Reflect.apply(target, self, args);
      },
      construct: (target, args, newTarget) => {
        made++;
        return Reflect.construct(target, args, newTarget);
      },
    };
    const descriptor = Object.getOwnPropertyDescriptor(owner, name);
    Object.defineProperty(owner, name, { ...descriptor, value: new Proxy(original, traps) });
    undo.push(() => Object.defineProperty(owner, name, descriptor));
  };
  const typedArray = Object.getPrototypeOf(Uint8Array.prototype);
  for (const name of ["subarray", "slice"]) count(typedArray, name);
  for (const name of ["subarray", "slice"]) count(Buffer.prototype, name);
  for (const name of ["alloc", "allocUnsafe", "allocUnsafeSlow", "concat", "from"]) {
    count(Buffer, name);
  }
  for (const name of ["Uint8Array", "ArrayBuffer", "DataView"]) count(globalThis, name);
  repeat(run, VIEWS_OVER);
  for (const restore of undo.reverse()) restore();
  return made / VIEWS_OVER;
}

const result = new Result("alloc", flags);
for (const { name, calls, run, isLong = false } of kinds) {
  progress(name);
  const handledBefore = handled;
  repeat(run, ALLOCATED_OVER);
  if (handled - handledBefore !== calls * ALLOCATED_OVER || !connection.isOpen) {
    throw new Error(`${name}: ${handled - handledBefore} calls, ${connection.stateName}`);
  }
  const add = (figure, value, target = null) =>
    result.add({ side: "holdfast", load: { message: name }, figure, values: [value], target });
  add("allocated", await allocated(run));
  add("retained", await retained(run));
  // A long payload may be copied by way of a view, which is cheaper than a loop.
  add("viewsMade", views(run), isLong ? null : { max: 0 });
}
await server.stop();
await measureTransport(resolve(flags.dist), result);
progress("");
result.finish();
