#include "output_queue.h"

#include <cstdlib>
#include <cstring>

namespace holdfast {

namespace {
constexpr size_t FIRST_CAPACITY = 4096;
}

OutputQueue::~OutputQueue() { std::free(memory_); }

bool OutputQueue::append(const uint8_t* bytes, size_t length) {
  if (length == 0) return true;
  if (capacity_ - tail_ < length && !reserve(length)) return false;
  std::memcpy(memory_ + tail_, bytes, length);
  tail_ += length;
  return true;
}

/** Moves to the front where half of the memory is free there, otherwise grows. */
bool OutputQueue::reserve(size_t length) {
  size_t held = size();
  if (head_ >= capacity_ / 2 && capacity_ - held >= length) {
    if (held > 0) std::memmove(memory_, memory_ + head_, held);
  } else {
    size_t capacity = capacity_ == 0 ? FIRST_CAPACITY : capacity_;
    while (capacity - held < length) capacity *= 2;
    auto* memory = static_cast<uint8_t*>(std::malloc(capacity));
    if (memory == nullptr) return false;
    if (held > 0) std::memcpy(memory, memory_ + head_, held);
    std::free(memory_);
    memory_ = memory;
    capacity_ = capacity;
  }
  head_ = 0;
  tail_ = held;
  return true;
}

}  // namespace holdfast
