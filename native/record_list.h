// Records on their way to JavaScript: a batch, or the results of a flush.
#pragma once

#include <cstdint>

#include "layout.h"

namespace holdfast {

struct RecordList {
  Record* records = nullptr;
  int32_t capacity = 0;
  int32_t count = 0;

  int32_t room() const { return capacity - count; }

  /** There is room: every step that adds records is bounded, and checked before it begins. */
  void add(RecordKind kind, uint8_t member, int32_t channel, int32_t offset, int32_t length) {
    if (count == capacity) __builtin_trap();
    records[count++] = {kind | (member << 8), channel, offset, length};
  }
};

}  // namespace holdfast
