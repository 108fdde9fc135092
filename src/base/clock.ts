// The only place that asks the machine for the time or for a timer. Everything else is given a
// Clock, so that simulated time drives the same code.

/** A timer or deferred call that has not run yet. */
export interface Scheduled {
  cancel(): void;
}

export interface Clock {
  /**
   * Monotonic milliseconds since an arbitrary start; fractional; wall-clock jumps do not move it.
   */
  now(): number;
  /** Milliseconds since the epoch. For people and logs only; it may jump. */
  wall(): number;
  /** Calls `run` once, `delayMs` from now. It keeps the process alive. */
  after(delayMs: number, run: () => void): Scheduled;
  /** Calls `run` once, after input that is already waiting has been read. */
  afterPoll(run: () => void): Scheduled;
}

/** The global is a getter: asked once. */
const monotonic = globalThis.performance;

export const systemClock: Clock = {
  now: () => monotonic.now(),
  wall: () => Date.now(),
  after(delayMs, run) {
    const timer = setTimeout(run, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
  afterPoll(run) {
    // Browsers have no setImmediate; a task of its own comes after the input that is waiting there.
    if (typeof setImmediate === "undefined") {
      const timer = setTimeout(run, 0);
      return { cancel: () => clearTimeout(timer) };
    }
    const immediate = setImmediate(run);
    return { cancel: () => clearImmediate(immediate) };
  },
};

/**
 * {@link systemClock}, but `now` counts from the machine's start: processes of one machine agree on
 * it. Node only.
 */
export function machineClock(): Clock {
  const sinceBoot = Number(process.hrtime.bigint()) / 1e6 - monotonic.now();
  return { ...systemClock, now: () => monotonic.now() + sinceBoot };
}
