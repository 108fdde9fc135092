// Seeded pseudo-random numbers (xorshift64*): equal seeds give equal runs.
#pragma once

#include <cstdint>

namespace holdfast::fuzz {

class Prng {
 public:
  explicit Prng(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ULL + 0x2545f4914f6cdd1dULL) {
    if (state_ == 0) state_ = 1;
    for (int round = 0; round < 8; round++) next();
  }

  uint32_t next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return static_cast<uint32_t>((state_ * 0x2545f4914f6cdd1dULL) >> 32);
  }
  /** 0 .. limit - 1. */
  uint32_t below(uint32_t limit) {
    return static_cast<uint32_t>((static_cast<uint64_t>(next()) * limit) >> 32);
  }
  /** True once in so many. */
  bool once_in(uint32_t times) { return below(times) == 0; }

 private:
  uint64_t state_;
};

}  // namespace holdfast::fuzz
