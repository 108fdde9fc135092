// What holds bytes for a while: the send queue of a slow connection, the pool that slabs come from,
// and the ring that remembers the last few.
import { built, OURS } from "./work.mjs";

const FRAME_BYTES = 64;
const SLAB_BYTES = 65_536;

/** Everything waits, then everything is sent, in order. */
async function ourQueue({ dist, load: { waiting } }) {
  const { SendQueue } = await built(dist, "connection/send-queue.js", "SendQueue");
  const { BufferPool } = await built(dist, "base/buffer-pool.js", "BufferPool");
  const slab = new BufferPool().lease(SLAB_BYTES);
  const queue = new SendQueue(0);
  return {
    operations: waiting,
    expected: waiting * FRAME_BYTES,
    run() {
      for (let index = 0; index < waiting; index++) {
        queue.pushBack(slab.retain(), 0, FRAME_BYTES, null);
      }
      let bytes = 0;
      while (queue.head !== null) {
        const entry = queue.shift();
        bytes += entry.end - entry.start;
        entry.slab.release();
      }
      return bytes + queue.bytes;
    },
  };
}

/** As Node's own streams keep what was written: a list that is taken as a whole. */
function arrayQueue({ load: { waiting } }) {
  const buffer = Buffer.alloc(SLAB_BYTES);
  let list = [];
  let waitingBytes = 0;
  return {
    operations: waiting,
    expected: waiting * FRAME_BYTES,
    run() {
      for (let index = 0; index < waiting; index++) {
        list.push({ buffer, start: 0, end: FRAME_BYTES });
        waitingBytes += FRAME_BYTES;
      }
      let bytes = 0;
      for (const entry of list) {
        bytes += entry.end - entry.start;
        waitingBytes -= entry.end - entry.start;
      }
      list = [];
      return bytes + waitingBytes;
    },
  };
}

const LEASES = 16;

async function ourPool({ dist, load: { bytes } }) {
  const { BufferPool } = await built(dist, "base/buffer-pool.js", "BufferPool");
  const pool = new BufferPool();
  const held = new Array(LEASES).fill(null);
  return {
    operations: LEASES,
    expected: LEASES,
    run() {
      let sum = 0;
      for (let index = 0; index < LEASES; index++) {
        held[index] = pool.lease(bytes);
        held[index].bytes[0] = 1;
      }
      for (let index = 0; index < LEASES; index++) {
        sum += held[index].bytes[0];
        held[index].release();
      }
      return sum + pool.leased;
    },
  };
}

function nodeBuffers({ load: { bytes } }) {
  const held = new Array(LEASES).fill(null);
  return {
    operations: LEASES,
    expected: LEASES,
    run() {
      let sum = 0;
      for (let index = 0; index < LEASES; index++) {
        held[index] = Buffer.allocUnsafe(bytes);
        held[index][0] = 1;
      }
      for (let index = 0; index < LEASES; index++) {
        sum += held[index][0];
        held[index] = null;
      }
      return sum;
    },
  };
}

const PUSHES = 1_024;

async function ourRing({ dist, load: { remembered } }) {
  const { Ring } = await built(dist, "base/ring.js", "Ring");
  const ring = new Ring(remembered);
  return {
    operations: PUSHES,
    expected: PUSHES - remembered,
    run() {
      for (let index = 0; index < PUSHES; index++) ring.push(index);
      return ring.toArray()[0];
    },
  };
}

function arrayRing({ load: { remembered } }) {
  const list = [];
  return {
    operations: PUSHES,
    expected: PUSHES - remembered,
    run() {
      for (let index = 0; index < PUSHES; index++) {
        list.push(index);
        if (list.length > remembered) list.shift();
      }
      return list[0];
    },
  };
}

/** @type {import("./work.mjs").Case[]} */
export const QUEUE_CASES = [
  ...[64, 4_096].map((waiting) => ({
    group: "queue",
    load: { frames: "queued", waiting },
    sides: { [OURS]: ourQueue, array: arrayQueue },
  })),
  ...[256, 4_096, 65_536].map((bytes) => ({
    group: "pool",
    load: { buffers: "leased", bytes },
    sides: { [OURS]: ourPool, "Buffer.allocUnsafe": nodeBuffers },
  })),
  {
    group: "ring",
    load: { items: "pushed", remembered: 256 },
    sides: { [OURS]: ourRing, "push and shift": arrayRing },
  },
];
