// One timing wheel holds every deadline of a process: arming, moving and cancelling cost O(1), and
// a deadline costs 28 bytes in parallel arrays. Deadlines beyond one turn of the wheel stay in
// their slot and are looked at once per turn. Moving a deadline later only stores it: the timer
// goes to its new slot when the old one comes round, so an active connection pays nothing per
// message.

import { assert } from "./assert.ts";

/** What a timer belongs to. */
export interface TimerOwner {
  /**
   * The deadline has passed; the timer is disarmed and may be armed again here.
   * @param nowTick the tick that the wheel has reached.
   */
  onDeadline(timer: TimerId, nowTick: number): void;
}

export type TimerId = number;

const UNARMED = -1;
/** Power of two, so that a slot is a mask; 1024 slots of 50 ms are one turn of 51 s. */
const SLOTS = 1024;
/** Head of the list of timers that are being expired; timers are numbered after it. */
const DUE = SLOTS;
const FIRST_TIMER = SLOTS + 1;
const FIRST_LENGTH = FIRST_TIMER + 63;

export class TimerWheel {
  /** Milliseconds per tick: the precision of every deadline. */
  readonly tickMs: number;
  #nowTick: number = 0;
  /** Deadlines up to this tick were met. */
  #expiredTick: number = 0;
  #armed: number = 0;
  #live: number = 0;

  // Index -> timer. Lists are circular through the slot heads, which come first, then DUE.
  #next: Int32Array = new Int32Array(FIRST_LENGTH);
  #prev: Int32Array = new Int32Array(FIRST_LENGTH);
  #deadline: Float64Array = new Float64Array(FIRST_LENGTH);
  readonly #owners: (TimerOwner | null)[] = [];
  #free: number = UNARMED;
  #used: number = FIRST_TIMER;

  constructor(tickMs: number) {
    assert(tickMs > 0, "a tick lasts longer than nothing");
    this.tickMs = tickMs;
    for (let slot = 0; slot <= DUE; slot++) {
      this.#next[slot] = slot;
      this.#prev[slot] = slot;
    }
  }

  /** The tick that the wheel has reached: a timestamp that costs nothing to read. */
  get nowTick(): number {
    return this.#nowTick;
  }

  /** Timers that wait for a deadline. */
  get armed(): number {
    return this.#armed;
  }

  /** Timers that exist, armed or not. */
  get live(): number {
    return this.#live;
  }

  /** Whole ticks in `ms`, rounded up, at least one: a deadline is never early. */
  ticks(ms: number): number {
    return Math.max(1, Math.ceil(ms / this.tickMs));
  }

  /** A new timer, not armed. It must be given back with {@link destroy}. */
  create(owner: TimerOwner): TimerId {
    let timer = this.#free;
    if (timer === UNARMED) {
      if (this.#used === this.#next.length) this.#grow();
      timer = this.#used++;
    } else {
      this.#free = this.#next[timer]!;
    }
    this.#next[timer] = UNARMED;
    this.#prev[timer] = UNARMED;
    this.#deadline[timer] = 0;
    this.#owners[timer - FIRST_TIMER] = owner;
    this.#live++;
    return timer;
  }

  destroy(timer: TimerId): void {
    assert(this.#owners[timer - FIRST_TIMER] != null, "a timer is destroyed once");
    this.cancel(timer);
    this.#owners[timer - FIRST_TIMER] = null;
    this.#next[timer] = this.#free;
    this.#free = timer;
    this.#live--;
  }

  /** Sets the deadline to `tick`; a tick that has passed fires at the next advance. */
  arm(timer: TimerId, tick: number): void {
    assert(this.#owners[timer - FIRST_TIMER] != null, "a destroyed timer is not armed");
    const wanted = Math.max(tick, this.#nowTick + 1);
    if (this.#prev[timer] !== UNARMED) {
      const isLater = wanted >= this.#deadline[timer]!;
      this.#deadline[timer] = wanted;
      if (isLater) return;
      this.#unlink(timer);
    } else {
      this.#deadline[timer] = wanted;
      this.#armed++;
    }
    this.#link(timer, wanted);
  }

  cancel(timer: TimerId): void {
    if (this.#prev[timer] === UNARMED) return;
    this.#unlink(timer);
    this.#armed--;
  }

  isArmed(timer: TimerId): boolean {
    return this.#prev[timer] !== UNARMED;
  }

  /** Moves on by whole ticks and calls the owner of every deadline that has been reached. */
  advance(ticks: number): void {
    this.moveOn(ticks);
    this.expire();
  }

  /** Moves on by whole ticks; deadlines that have been reached wait for {@link expire}. */
  moveOn(ticks: number): void {
    this.#nowTick += ticks;
  }

  /** Calls the owner of every deadline that has been reached. */
  expire(): void {
    // After more than a turn every slot has been looked at; looking again would find nothing new.
    const target = this.#nowTick;
    let tick = Math.max(this.#expiredTick, target - SLOTS);
    this.#expiredTick = target;
    while (tick < target) {
      tick++;
      this.#expire(tick & (SLOTS - 1));
    }
  }

  #expire(slot: number): void {
    if (this.#next[slot] === slot) return;
    this.#moveToDue(slot);
    // An owner may arm, cancel or destroy any timer, so the list is read anew from its head.
    for (let timer = this.#next[DUE]!; timer !== DUE; timer = this.#next[DUE]!) {
      const deadline = this.#deadline[timer]!;
      this.#unlink(timer);
      if (deadline > this.#nowTick) {
        this.#link(timer, deadline);
      } else {
        this.#armed--;
        this.#owners[timer - FIRST_TIMER]!.onDeadline(timer, this.#nowTick);
      }
    }
  }

  /** Without this a timer that is armed again for the slot would be met in the same round. */
  #moveToDue(slot: number): void {
    const first = this.#next[slot]!;
    const last = this.#prev[slot]!;
    this.#next[DUE] = first;
    this.#prev[first] = DUE;
    this.#prev[DUE] = last;
    this.#next[last] = DUE;
    this.#next[slot] = slot;
    this.#prev[slot] = slot;
  }

  #link(timer: TimerId, tick: number): void {
    const slot = tick & (SLOTS - 1);
    const last = this.#prev[slot]!;
    this.#next[last] = timer;
    this.#prev[timer] = last;
    this.#next[timer] = slot;
    this.#prev[slot] = timer;
  }

  #unlink(timer: TimerId): void {
    const next = this.#next[timer]!;
    const prev = this.#prev[timer]!;
    this.#next[prev] = next;
    this.#prev[next] = prev;
    this.#next[timer] = UNARMED;
    this.#prev[timer] = UNARMED;
  }

  #grow(): void {
    const length = this.#next.length * 2;
    const next = new Int32Array(length);
    next.set(this.#next);
    this.#next = next;
    const prev = new Int32Array(length);
    prev.set(this.#prev);
    this.#prev = prev;
    const deadline = new Float64Array(length);
    deadline.set(this.#deadline);
    this.#deadline = deadline;
  }
}
