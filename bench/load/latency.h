// How long answers took: a histogram whose buckets are at most 1.6% wide, in a few kilobytes.
#ifndef LATENCY_H
#define LATENCY_H
#include <stdint.h>

// A time of day is kept in so many seconds, as 32 bits: a difference holds for seven minutes.
#define TICK_SECONDS 1e-7
// Each power of two has 64 buckets; below that a bucket is a tick.
#define BITS 6
#define BUCKETS ((32 - BITS + 1) << BITS)

static uint64_t latencies[BUCKETS];
static uint64_t latency_count;

static inline uint32_t tick_of(double seconds) {
  return (uint32_t)(uint64_t)(seconds / TICK_SECONDS);
}

static inline uint32_t bucket_of(uint32_t ticks) {
  if (ticks < 1u << BITS) return ticks;
  uint32_t shift = 31u - (uint32_t)__builtin_clz(ticks) - BITS;
  return (shift << BITS) + (ticks >> shift);
}

// The middle of a bucket, in milliseconds.
static inline double milliseconds_of(uint32_t bucket) {
  uint32_t shift = bucket < 2u << BITS ? 0 : (bucket >> BITS) - 1;
  double least = (double)((uint64_t)(bucket - (shift << BITS)) << shift);
  return (least + (double)(1ull << shift) / 2) * TICK_SECONDS * 1e3;
}

static inline void latency_add(uint32_t ticks) {
  latencies[bucket_of(ticks)]++;
  latency_count++;
}

// @returns the time in milliseconds that a share of the answers took at most; 0 where none came
static inline double latency_at(double share) {
  uint64_t rank = (uint64_t)(share * (double)latency_count), seen = 0;
  if (latency_count == 0) return 0;
  if (rank >= latency_count) rank = latency_count - 1;
  for (uint32_t bucket = 0; bucket < BUCKETS; bucket++) {
    seen += latencies[bucket];
    if (seen > rank) return milliseconds_of(bucket);
  }
  return 0;
}

#endif
