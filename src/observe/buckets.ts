// A histogram with fixed bounds: observing costs a short search and two additions, so it may stand
// on the path of every call. observe/metrics.ts shows it as a Prometheus histogram.

export class Buckets {
  /** Upper bounds, rising; the last bucket has none. */
  readonly bounds: readonly number[];
  /** One more than there are bounds. */
  readonly counts: number[];
  sum: number = 0;
  count: number = 0;
  max: number = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = new Array<number>(bounds.length + 1).fill(0);
  }

  observe(value: number): void {
    let index = 0;
    while (index < this.bounds.length && value > this.bounds[index]!) index++;
    this.counts[index]!++;
    this.sum += value;
    this.count++;
    if (value > this.max) this.max = value;
  }
}

/** Milliseconds, from what a synchronous handler takes to the longest deadline that makes sense. */
export const CALL_MS: readonly number[] = [
  0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000,
];
/** Milliseconds that a tick came late. */
export const LAG_MS: readonly number[] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 5_000];
