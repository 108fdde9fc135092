/** Why reading is paused: bits, because several reasons may hold at once. */
export const PAUSED_BY = {
  /** The send queue is above its high watermark. */
  QUEUE: 1,
  /** As many calls as allowed are under way. */
  CALLS: 2,
  /** It had its share of this turn. */
  TURN: 4,
} as const;
