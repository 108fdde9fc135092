// Which known key somebody meant who wrote an unknown one. For messages only.
import { editDistance } from "../base/edit-distance.ts";
import { keyWords } from "./option-names.ts";

/**
 * The candidate nearest to `key`: the one few edits away, else the one that has all of its words
 * (`maxFrameBytes` is near `frame.bytesMax`), else one that begins it or that it begins. Null where
 * none is near. Case and separators do not count. Of equally near ones the first is taken.
 */
export function nearestKey(key: string, candidates: readonly string[]): string | null {
  // Keys come from users: nobody needs a suggestion for a page of text, and the cost is quadratic.
  if (key.length > 100) return null;
  const words = keyWords(key);
  const joined = words.join("");
  if (joined === "") return null;
  const editsMax = Math.max(2, Math.floor(joined.length / 5));
  return (
    best(candidates, (candidate) => {
      const edits = editDistance(joined, keyWords(candidate).join(""));
      return edits <= editsMax && edits < joined.length ? edits : null;
    }) ??
    best(candidates, (candidate) => {
      const known = keyWords(candidate);
      return words.every((word) => known.includes(word)) ? known.length : null;
    }) ??
    best(candidates, (candidate) => {
      const known = keyWords(candidate).join("");
      return known.startsWith(joined) || joined.startsWith(known)
        ? Math.abs(known.length - joined.length)
        : null;
    })
  );
}

function best(
  candidates: readonly string[],
  cost: (candidate: string) => number | null,
): string | null {
  let found: string | null = null;
  let foundCost = Number.POSITIVE_INFINITY;
  for (const candidate of candidates) {
    const candidateCost = cost(candidate);
    if (candidateCost !== null && candidateCost < foundCost) {
      found = candidate;
      foundCost = candidateCost;
    }
  }
  return found;
}
