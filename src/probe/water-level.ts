// Connections shared out among processes so that all hold alike, as water finds its level.

/** How many each is given, so that all hold alike as far as `capacity` each allows. */
export function shareOut(count: number, held: readonly number[], capacity: number): number[] {
  const total = held.reduce((sum, one) => sum + one, 0);
  const level = waterLevel(held, total + count);
  return held.map((one, index) => Math.max(0, Math.min(capacity, level[index]!) - one));
}

/**
 * How many each should hold so that the sum is `total`. Filling, nobody goes below what it has;
 * emptying, nobody goes above.
 */
export function waterLevel(held: readonly number[], total: number): number[] {
  const sum = held.reduce((all, one) => all + one, 0);
  const isFilling = total >= sum;
  const levels = [...held];
  let left = Math.abs(total - sum);
  const order = levels
    .map((_, index) => index)
    .sort((a, b) => (isFilling ? held[a]! - held[b]! : held[b]! - held[a]!));
  // The first k are brought to the level of the next one, together, until nothing is left.
  for (let k = 1; left > 0; k++) {
    const here = levels[order[0]!]!;
    const next = k < order.length ? held[order[k]!]! : isFilling ? Infinity : 0;
    const room = Math.min(left, Math.abs(next - here) * k);
    const each = Math.floor(room / k);
    let rest = room - each * k;
    for (let index = 0; index < k; index++) {
      const extra = rest-- > 0 ? 1 : 0;
      levels[order[index]!]! += (isFilling ? 1 : -1) * (each + extra);
    }
    left -= room;
    if (k >= order.length) break;
  }
  return levels;
}
