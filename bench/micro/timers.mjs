// A deadline for each of very many connections: set when one opens, moved with every message, and
// met when nothing comes. Heartbeats are due in 20 to 30 s, each at a time of its own.
import { BinaryHeap } from "./binary-heap.mjs";
import { built, OURS } from "./work.mjs";

const TICK_MS = 50;
const EARLIEST_MS = 20_000;
const LATEST_MS = 30_000;
/** A message moves a deadline by so much. */
const MOVED_MS = 5_000;
/** Node's timers cannot be shown another time than the clock's: they are met within this. */
const SOON_MS = 50;

/** Times from..to in milliseconds, spread evenly, the same ones every time. */
function dueTimes(count, from, to) {
  const times = new Int32Array(count);
  let state = 1;
  for (let index = 0; index < count; index++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    times[index] = from + (state % (to - from));
  }
  return times;
}

/** Counts the deadlines that were met. A side says how many it has besides. */
class Owner {
  met = 0;

  onDeadline() {
    this.met++;
  }
}

/**
 * What the three cases do, by the four things that a side can do.
 * @param {{timers: string, deadlines: number}} load
 * @param {() => {arm: (owner: Owner, ms: number) => number, count: () => number,
 *   move: (timer: number, ms: number) => void, expire: (ms: number) => void}} make
 */
function works({ timers: task, deadlines }, make) {
  const times = dueTimes(deadlines, EARLIEST_MS, LATEST_MS);
  const timers = new Int32Array(deadlines);
  let owner;
  let side;
  const begin = () => {
    owner = new Owner();
    side = make();
  };
  const arm = () => {
    for (let index = 0; index < deadlines; index++) timers[index] = side.arm(owner, times[index]);
    return side.count();
  };
  /** Whether none is met too early, and all are when they are due. */
  const areDueFrom = (earliest, latest) => {
    side.expire(earliest - TICK_MS);
    const early = owner.met;
    side.expire(latest);
    return early === 0 && owner.met === deadlines;
  };
  const base = { operations: deadlines, expected: deadlines };
  if (task === "armed") {
    const isRight = () => areDueFrom(EARLIEST_MS, LATEST_MS);
    return { ...base, setUp: begin, run: arm, isRight };
  }
  const setUp = () => {
    begin();
    arm();
  };
  const move = () => {
    for (let index = 0; index < deadlines; index++) {
      side.move(timers[index], times[index] + MOVED_MS);
    }
    return side.count();
  };
  if (task === "moved") {
    const isRight = () => areDueFrom(EARLIEST_MS + MOVED_MS, LATEST_MS + MOVED_MS);
    return { ...base, setUp, run: move, isRight };
  }
  const run = () => {
    for (let ms = 0; ms <= LATEST_MS; ms += TICK_MS) side.expire(ms);
    return owner.met;
  };
  return { ...base, setUp, run };
}

async function wheel({ dist, load }) {
  const { TimerWheel } = await built(dist, "base/timer-wheel.js", "TimerWheel");
  return works(load, () => {
    const timers = new TimerWheel(TICK_MS);
    return {
      arm(owner, ms) {
        const timer = timers.create(owner);
        timers.arm(timer, timers.ticks(ms));
        return timer;
      },
      count: () => timers.armed,
      move: (timer, ms) => timers.arm(timer, timers.ticks(ms)),
      expire: (ms) => timers.advance(ms / TICK_MS - timers.nowTick),
    };
  });
}

function heap({ load }) {
  return works(load, () => {
    const timers = new BinaryHeap();
    return {
      arm: (owner, ms) => timers.add(owner, ms),
      count: () => timers.length,
      move: (timer, ms) => timers.move(timer, ms),
      expire: (ms) => timers.expire(ms),
    };
  });
}

/** Node's own, one for each. */
function nodeTimers({ load: { timers: task, deadlines } }) {
  const isSoon = task === "met";
  const times = isSoon
    ? dueTimes(deadlines, 1, SOON_MS)
    : dueTimes(deadlines, EARLIEST_MS, LATEST_MS);
  const timers = new Array(deadlines).fill(null);
  let met = 0;
  let allMet = () => {};
  const onTimeout = () => {
    if (++met === deadlines) allMet();
  };
  const arm = () => {
    for (let index = 0; index < deadlines; index++) {
      timers[index] = setTimeout(onTimeout, times[index]);
    }
    return deadlines;
  };
  /** Whether all are under way, each since its last `refresh`. */
  const isRight = () => {
    const active = process.getActiveResourcesInfo().filter((what) => what === "Timeout").length;
    return met === 0 && active >= deadlines;
  };
  const tearDown = () => {
    for (const timer of timers) clearTimeout(timer);
  };
  const base = { operations: deadlines, expected: deadlines, tearDown };
  if (task === "armed") return { ...base, run: arm, setUp: () => {}, isRight };
  if (task === "moved") {
    const run = () => {
      for (const timer of timers) timer.refresh();
      return timers.length;
    };
    return { ...base, setUp: arm, run, isRight };
  }
  const setUp = () => {
    met = 0;
    arm();
    // All are due when the loop goes on, and nothing but meeting them is timed.
    const from = performance.now();
    while (performance.now() - from < SOON_MS + 10);
  };
  const run = async () => {
    await new Promise((done) => {
      allMet = done;
    });
    return met;
  };
  return { ...base, setUp, run };
}

/** @returns {import("./work.mjs").Case[]} */
export function timerCases(deadlines) {
  return ["armed", "moved", "met"].map((timers) => ({
    group: "timers",
    load: { timers, deadlines },
    isHeld: timers === "armed",
    sides: { [OURS]: wheel, "binary heap": heap, setTimeout: nodeTimers },
  }));
}
