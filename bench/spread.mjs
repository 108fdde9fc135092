/** @returns the middle of some figures, and the least and the most */
export function spread(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  return { median, min: sorted[0], max: sorted.at(-1) };
}

/**
 * Pairs of one round saw the same machine.
 * @param {(number | null)[]} values by round; null: thrown away
 * @param {(number | null)[]} others what they are divided by
 * @returns {(number | null)[]} ratios by round; null where one of the two is missing or the other 0
 */
export function ratiosByRound(values, others) {
  return values.map((value, round) => {
    const other = others[round] ?? null;
    return value === null || other === null || other === 0 ? null : value / other;
  });
}
