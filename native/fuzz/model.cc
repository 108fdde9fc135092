#include "model.h"

#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <vector>

#include "prng.h"

namespace holdfast::fuzz {

Position position;

void breach(const char* format, ...) {
  std::fflush(stdout);
  std::fprintf(stderr, "BREACH at operation %llu (%s): ",
               static_cast<unsigned long long>(position.operation), position.action);
  va_list arguments;
  va_start(arguments, format);
  std::vfprintf(stderr, format, arguments);
  va_end(arguments);
  std::fprintf(stderr, "\nreplay: --seed %llu --episode %llu\n",
               static_cast<unsigned long long>(position.seed),
               static_cast<unsigned long long>(position.episode));
  std::fflush(stderr);
  // At once: what is held now would only be reported as a leak beside it.
  _exit(1);
}

namespace {

/** A prime, so that no power of two of bytes left out or repeated looks right. */
constexpr uint32_t PERIOD = 65521;

std::vector<uint8_t> make_pattern() {
  std::vector<uint8_t> bytes(PERIOD + PATTERN_BYTES);
  Prng prng(1);
  for (size_t at = 0; at < bytes.size(); at++) {
    bytes[at] = at < PERIOD ? static_cast<uint8_t>(prng.next()) : bytes[at - PERIOD];
  }
  return bytes;
}

}  // namespace

const uint8_t* pattern(uint32_t key, uint64_t offset) {
  static const std::vector<uint8_t> bytes = make_pattern();
  return bytes.data() + (key + offset) % PERIOD;
}

}  // namespace holdfast::fuzz
