// Divides connection.max among workers. Each may serve up to its share, and the shares never add
// up to more than the whole: what one is given, another has given back and said so before. Workers
// fill unevenly, since the kernel spreads connections by a hash, so shares follow what is served.

/** It takes one turn to take a share back and one to give it to another. */
const TURNS_EACH = 4;

export interface Sharer {
  readonly served: number;
  /** The share that it has confirmed. */
  readonly confirmed: number;
  /** The share that it was told last; it may not have heard yet. */
  readonly told: number;
  /** It takes new connections; one that drains only keeps what it has. */
  readonly isAccepting: boolean;
}

/**
 * The next share of each, in order. Room that nobody uses is divided evenly among those that
 * accept; where a share grows it grows only by what the others have confirmed giving up.
 * @param turn counts the calls: where there is less room than workers it goes from one to the next.
 */
export function nextShares(max: number, sharers: readonly Sharer[], turn: number): number[] {
  const used = sharers.reduce((sum, { served }) => sum + served, 0);
  const accepting = sharers.filter(({ isAccepting }) => isAccepting).length;
  const room = Math.max(0, max - used);
  const even = accepting === 0 ? 0 : Math.floor(room / accepting);
  const odd = accepting === 0 ? 0 : room % accepting;
  const favoured = favouredIn(sharers, odd, even === 0 ? turn : 0);
  const wanted = sharers.map((sharer) => {
    if (!sharer.isAccepting) return sharer.served;
    return sharer.served + even + (favoured.has(sharer) ? 1 : 0);
  });
  // What each may use until it confirms less.
  const held = sharers.map(({ served, confirmed, told }) => Math.max(served, confirmed, told));
  let free = max - held.reduce((sum, share) => sum + share, 0);
  return wanted.map((share, index) => {
    const { told } = sharers[index]!;
    if (share <= held[index]!) return share;
    const grown = Math.min(share - held[index]!, Math.max(0, free));
    free -= grown;
    return grown === 0 ? told : held[index]! + grown;
  });
}

/** Who gets one more of what cannot be divided. */
function favouredIn(sharers: readonly Sharer[], count: number, turn: number): ReadonlySet<Sharer> {
  const accepting = sharers.filter(({ isAccepting }) => isAccepting);
  const first = accepting.length === 0 ? 0 : Math.floor(turn / TURNS_EACH) % accepting.length;
  return new Set([...accepting.slice(first), ...accepting.slice(0, first)].slice(0, count));
}
