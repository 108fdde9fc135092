// Memory that runs out when it is told to. The fuzz is linked with --wrap=malloc,--wrap=realloc.
#pragma once

#include <cstdint>

namespace holdfast::fuzz {

struct FailingMemory {
  /** Every allocation fails while it is true. */
  bool is_out = false;
  uint64_t failures = 0;
};
extern FailingMemory failing_memory;

}  // namespace holdfast::fuzz
