/** What has come about on a connection and stays so: bits, since five booleans are 40 bytes. */
export const MARK = {
  /** The application has been told of it: its Hello was accepted, or it is raw. */
  TOLD: 1,
  /** A raw listener's handler knows of it. */
  RAW_OPENED: 2,
  /** The peer will send no more. */
  PEER_ENDED: 4,
  /** It came when the server was full, only to be told so. */
  TURNED_AWAY: 8,
  /** It was told to go away, and ends when its calls have. */
  DRAINING: 16,
} as const;
