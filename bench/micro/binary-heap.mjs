// The smallest honest peer of a timer wheel: a binary heap of deadlines that knows where each timer
// stands, so that one can be moved.

export class BinaryHeap {
  #deadlines = new Float64Array(1_024);
  /** Place -> timer, and timer -> place. */
  #order = new Int32Array(1_024);
  #places = new Int32Array(1_024);
  #owners = [];
  #length = 0;

  get length() {
    return this.#length;
  }

  /** @returns the timer's number */
  add(owner, deadline) {
    const timer = this.#owners.push(owner) - 1;
    if (timer === this.#order.length) this.#grow();
    this.#deadlines[timer] = deadline;
    this.#up(this.#length++, timer);
    return timer;
  }

  move(timer, deadline) {
    const isEarlier = deadline < this.#deadlines[timer];
    this.#deadlines[timer] = deadline;
    if (isEarlier) this.#up(this.#places[timer], timer);
    else this.#down(this.#places[timer], timer);
  }

  /** Calls the owner of every timer that is due, the earliest first. */
  expire(now) {
    while (this.#length > 0 && this.#deadlines[this.#order[0]] <= now) {
      const timer = this.#order[0];
      const last = this.#order[--this.#length];
      if (this.#length > 0) this.#down(0, last);
      this.#owners[timer].onDeadline(timer, now);
    }
  }

  #up(place, timer) {
    const deadline = this.#deadlines[timer];
    let at = place;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = this.#order[parent];
      if (this.#deadlines[above] <= deadline) break;
      this.#put(at, above);
      at = parent;
    }
    this.#put(at, timer);
  }

  #down(place, timer) {
    const deadline = this.#deadlines[timer];
    let at = place;
    for (let child = 2 * at + 1; child < this.#length; child = 2 * at + 1) {
      const right = child + 1;
      if (right < this.#length && this.#at(right) < this.#at(child)) child = right;
      if (this.#at(child) >= deadline) break;
      this.#put(at, this.#order[child]);
      at = child;
    }
    this.#put(at, timer);
  }

  #at(place) {
    return this.#deadlines[this.#order[place]];
  }

  #put(place, timer) {
    this.#order[place] = timer;
    this.#places[timer] = place;
  }

  #grow() {
    const length = 2 * this.#order.length;
    const grown = (from, to) => {
      to.set(from);
      return to;
    };
    this.#deadlines = grown(this.#deadlines, new Float64Array(length));
    this.#order = grown(this.#order, new Int32Array(length));
    this.#places = grown(this.#places, new Int32Array(length));
  }
}
