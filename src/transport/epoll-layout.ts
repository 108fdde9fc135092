// What JavaScript and the native addon share: the same numbers stand in native/layout.h, and a test
// compares both with what the addon says of itself.

/** Rises with every change of what is shared. */
export const LAYOUT_VERSION = 2;

/** Sizes of the shared arrays; see native/layout.h for why. */
export const LAYOUT = {
  records: 4_096,
  results: 2_048,
  operations: 1_024,
  slots: 256,
  receiveBytes: 524_288,
  headerWords: 4,
  counters: 28,
} as const;

/** Words of one record, and of one operation. */
export const STRIDE = 4;

/** First word of a record, low byte. */
export const RECORD = {
  DATA: 0,
  END: 1,
  DRAIN: 2,
  QUEUED: 3,
  CLOSED: 4,
  ACCEPTED: 5,
  ACCEPT_ERROR: 6,
  CONNECTED: 7,
} as const;

/** First word of an operation, low byte. */
export const OPERATION = {
  WRITE: 0,
  PAUSE: 1,
  RESUME: 2,
  CLOSE: 3,
  RESET: 4,
  FREE: 5,
} as const;

/** Words of the header. */
export const HEADER = { OPERATIONS: 0, WANTED: 1, BEGUN: 2, RECORDS: 3 } as const;

/** What the loop counts; the first of the batch sizes is followed by the others. */
export const COUNTER = {
  batches: 0,
  events: 1,
  reads: 2,
  bytesIn: 3,
  writes: 4,
  bytesOut: 5,
  /** Reads that found nothing, and writes that the kernel did not take whole. */
  readAgain: 6,
  writeAgain: 7,
  /** Gauges: bytes that wait for the kernel, and the connections that have some. */
  queueBytes: 8,
  queues: 9,
  /** Gauge: files of connections. */
  sockets: 10,
  accepted: 11,
  /** Accepted when there was no file left, only to be closed. */
  acceptRefused: 12,
  acceptErrors: 13,
  connects: 14,
  flushes: 15,
  /** Events of connections that had gone. */
  staleEvents: 16,
  /** Operations that made no sense; always 0. */
  invalidOperations: 17,
} as const;
/** Batches by their events: index of the first bucket, and what each holds at most. */
export const BATCH_SIZE_COUNTER = 18;
export const BATCH_SIZES: readonly number[] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

/** Fields of TCP_INFO, by index. */
export const TCP_FACT = { rtt: 0, rttVariance: 1, retransmits: 2, unacked: 3, unsent: 4 } as const;
export const TCP_FACTS = 5;
