// What JavaScript and this addon share: the layout of records, operations and counters. The same
// numbers stand in src/transport/epoll-layout.ts; a test compares them with what `layout` exports.
#pragma once

#include <cstdint>

namespace holdfast {

/** One thing that JavaScript is told: four 32-bit words. */
struct Record {
  /** Kind in the low byte, the member that it concerns above it. */
  int32_t word;
  int32_t channel;
  int32_t offset;
  int32_t length;
};

enum RecordKind : int32_t {
  /** Bytes at offset .. offset + length of the receive buffer. */
  RECORD_DATA = 0,
  /** The peer will send no more. */
  RECORD_END = 1,
  /** All that was queued has been taken by the kernel. */
  RECORD_DRAIN = 2,
  /** Bytes of an earlier write wait: the kernel did not take them. */
  RECORD_QUEUED = 3,
  /** The file is closed. Offset: errno, 0 where it ended in order. Nothing follows. */
  RECORD_CLOSED = 4,
  /** Channel: the acceptor; offset: the new file, which is JavaScript's to adopt or to refuse. */
  RECORD_ACCEPTED = 5,
  /** Channel: the acceptor, which waits until it is retried; offset: errno. */
  RECORD_ACCEPT_ERROR = 6,
  /** An outbound connection is open. */
  RECORD_CONNECTED = 7,
};

/** One thing that JavaScript asks for: four 32-bit words. */
struct Operation {
  /** Kind in the low byte, for writes the slot of the slab above it. */
  int32_t word;
  int32_t channel;
  int32_t start;
  int32_t end;
};

enum OperationKind : int32_t {
  /** Bytes start .. end of the slab in a slot. */
  OPERATION_WRITE = 0,
  OPERATION_PAUSE = 1,
  OPERATION_RESUME = 2,
  /** FIN, after what is queued. */
  OPERATION_CLOSE = 3,
  /** RST, at once. */
  OPERATION_RESET = 4,
  /** The channel was told closed and may be given to another connection. */
  OPERATION_FREE = 5,
};

/** Words of the array that both sides write. */
enum HeaderWord : int32_t {
  /** Operations that wait to be flushed. */
  HEADER_OPERATIONS = 0,
  /** Not 0: JavaScript wants to be called before the loop polls again. */
  HEADER_WANTED = 1,
  /** Records of the current batch that JavaScript has begun with. */
  HEADER_BEGUN = 2,
  /** Records of the current batch. */
  HEADER_RECORDS = 3,
  HEADER_WORDS = 4,
};

enum Counter : int32_t {
  COUNTER_BATCHES = 0,
  COUNTER_EVENTS = 1,
  COUNTER_READS = 2,
  COUNTER_BYTES_IN = 3,
  COUNTER_WRITES = 4,
  COUNTER_BYTES_OUT = 5,
  /** Reads that found nothing, and writes that the kernel did not take whole. */
  COUNTER_READ_AGAIN = 6,
  COUNTER_WRITE_AGAIN = 7,
  /** Gauge: bytes that wait for the kernel, and the connections that have some. */
  COUNTER_QUEUE_BYTES = 8,
  COUNTER_QUEUES = 9,
  /** Gauge: files of connections. */
  COUNTER_SOCKETS = 10,
  COUNTER_ACCEPTED = 11,
  /** Accepted with the reserve file, only to be closed. */
  COUNTER_ACCEPT_REFUSED = 12,
  COUNTER_ACCEPT_ERRORS = 13,
  COUNTER_CONNECTS = 14,
  COUNTER_FLUSHES = 15,
  /** Events of a connection that had gone, dropped by their generation. */
  COUNTER_STALE_EVENTS = 16,
  /** Operations that made no sense: always a defect of the caller. */
  COUNTER_INVALID_OPERATIONS = 17,
  /** Batches by events: at most 1, 2, 4 .. 512. */
  COUNTER_BATCH_SIZES = 18,
  COUNTER_COUNT = 28,
};

/** Events of one batch; what is ready beyond it has its turn after timers and other handles. */
constexpr int32_t EVENTS_MAX = 512;
/** One read takes at most this many bytes, then other connections get their turn. */
constexpr int32_t READ_BYTES_MAX = 65536;
/** All reads of a batch lie here one after another. */
constexpr int32_t RECEIVE_BYTES = 8 * READ_BYTES_MAX;
/** An event gives three records at most (drain, end, closed), an acceptor one per connection. */
constexpr int32_t RECORDS_MAX = 4096;
constexpr int32_t OPERATIONS_MAX = 1024;
/** An operation gives two records at most (queued, closed). */
constexpr int32_t RESULTS_MAX = 2 * OPERATIONS_MAX;
/** Slabs that operations can refer to at a time. */
constexpr int32_t SLOTS_MAX = 256;
/** Connections that one acceptor takes in one batch. */
constexpr int32_t ACCEPTS_MAX = 64;
/** A process may accept for all others while they are down. */
constexpr int32_t ACCEPTORS_MAX = 1024;

}  // namespace holdfast
