// Bytes of one connection that the kernel has not taken yet. It exists only while there are some.
#pragma once

#include <cstddef>
#include <cstdint>

namespace holdfast {

class OutputQueue {
 public:
  OutputQueue() = default;
  ~OutputQueue();
  OutputQueue(const OutputQueue&) = delete;
  OutputQueue& operator=(const OutputQueue&) = delete;

  /** Copies. @returns false: there is no memory, and nothing was added. */
  bool append(const uint8_t* bytes, size_t length);
  void consume(size_t length) { head_ += length; }
  const uint8_t* data() const { return memory_ + head_; }
  size_t size() const { return tail_ - head_; }

 private:
  bool reserve(size_t length);

  uint8_t* memory_ = nullptr;
  size_t head_ = 0;
  size_t tail_ = 0;
  size_t capacity_ = 0;
};

}  // namespace holdfast
