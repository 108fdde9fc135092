// Work for many connections, done in slices so that none of it holds up the loop.

import type { Clock } from "../base/clock.ts";

/** Connections that are served in one turn. */
export const SLICE = 1_000;

/** Calls `each` for every item: the first slice at once, the others in turns of their own. */
export function inSlices<T>(
  clock: Clock,
  items: Iterable<T>,
  each: (item: T) => void,
  onDone: () => void,
): void {
  const rest = items[Symbol.iterator]();
  const slice = (): void => {
    for (let index = 0; index < SLICE; index++) {
      const next = rest.next();
      if (next.done === true) {
        onDone();
        return;
      }
      each(next.value);
    }
    clock.afterPoll(slice);
  };
  slice();
}
