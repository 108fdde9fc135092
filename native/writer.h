// Carries out what JavaScript has asked for since the last flush. Writes of one connection are
// gathered, however they are interleaved with those of others: contiguous bytes become one piece,
// several pieces one system call.
#pragma once

#include <cstddef>
#include <cstdint>

#include "connections.h"
#include "layout.h"
#include "record_list.h"

namespace holdfast {

/** Memory of a slab that operations refer to. */
struct Slot {
  uint8_t* bytes = nullptr;
  size_t length = 0;
};

class Writer {
 public:
  Writer(Connections& connections, double* counters)
      : connections_(connections), counters_(counters) {}

  /** The slab is JavaScript's and stays where it is until the slot is set anew. */
  void set_slot(int32_t slot, Slot memory) { slots_[slot] = memory; }
  void flush(const Operation* operations, int32_t count, RecordList& told);

 private:
  void chain(const Operation* operations, int32_t count);
  void carry_out(const Operation* operations, int32_t channel, RecordList& told);
  void apply(int32_t kind, int32_t channel, RecordList& told);
  bool gather(const Operation& operation);
  void send(int32_t channel, RecordList& told);
  void invalid() { counters_[COUNTER_INVALID_OPERATIONS]++; }

  Connections& connections_;
  double* const counters_;
  Slot slots_[SLOTS_MAX];
  /** Operation -> the next one of the same channel. */
  int32_t next_[OPERATIONS_MAX];
  /** Channels of this flush, in the order in which they were first met. */
  int32_t channels_[OPERATIONS_MAX];
  int32_t channel_count_ = 0;
  static constexpr int PIECES_MAX = 64;
  iovec pieces_[PIECES_MAX];
  int piece_count_ = 0;
};

}  // namespace holdfast
