#include "failing_memory.h"

#include <cstdlib>
#include <new>

namespace holdfast::fuzz {
FailingMemory failing_memory;
}

using holdfast::fuzz::failing_memory;

extern "C" {
void* __real_malloc(size_t size);
void* __real_realloc(void* memory, size_t size);

void* __wrap_malloc(size_t size) {
  if (!failing_memory.is_out) return __real_malloc(size);
  failing_memory.failures++;
  return nullptr;
}

void* __wrap_realloc(void* memory, size_t size) {
  if (!failing_memory.is_out) return __real_realloc(memory, size);
  failing_memory.failures++;
  return nullptr;
}
}

// All forms come from here, so that AddressSanitizer sees malloc and free in pairs.
void* operator new(size_t size) {
  void* memory = std::malloc(size);
  if (memory == nullptr) std::abort();
  return memory;
}
void* operator new(size_t size, const std::nothrow_t&) noexcept { return std::malloc(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
