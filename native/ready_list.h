// Connections that are to be read although epoll will not tell of them again: first come, first
// served. Each stands in it once at most (SOCKET_LISTED), so that it is as long as the table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace holdfast {

class ReadyList {
 public:
  ReadyList() = default;
  ~ReadyList() { std::free(keys_); }
  ReadyList(const ReadyList&) = delete;
  ReadyList& operator=(const ReadyList&) = delete;

  size_t size() const { return tail_ - head_; }

  /** @returns false where there is no memory. */
  bool push(uint64_t key) {
    if (tail_ == capacity_ && !make_room()) return false;
    keys_[tail_++] = key;
    return true;
  }

  uint64_t shift() {
    uint64_t key = keys_[head_++];
    if (head_ == tail_) head_ = tail_ = 0;
    return key;
  }

 private:
  bool make_room() {
    size_t held = size();
    if (head_ > capacity_ / 2) {
      std::memmove(keys_, keys_ + head_, held * sizeof *keys_);
    } else {
      size_t capacity = capacity_ == 0 ? 64 : 2 * capacity_;
      auto* keys = static_cast<uint64_t*>(std::malloc(capacity * sizeof *keys_));
      if (keys == nullptr) return false;
      if (held > 0) std::memcpy(keys, keys_ + head_, held * sizeof *keys_);
      std::free(keys_);
      keys_ = keys;
      capacity_ = capacity;
    }
    head_ = 0;
    tail_ = held;
    return true;
  }

  uint64_t* keys_ = nullptr;
  size_t head_ = 0;
  size_t tail_ = 0;
  size_t capacity_ = 0;
};

}  // namespace holdfast
