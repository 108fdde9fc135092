// An addon with faults, to see that scripts/sanitize.mjs finds them where it looks for those of the
// real one: in a library that Node has loaded.
#include <node_api.h>

#include <cstdint>
#include <cstdlib>

namespace {

// Volatile, or the compiler would see that nothing comes of what is done.
volatile size_t length = 64;

napi_value overflow(napi_env, napi_callback_info) {
  auto* volatile bytes = static_cast<volatile uint8_t*>(std::malloc(64));
  bytes[length] = 1;
  std::free(const_cast<uint8_t*>(bytes));
  return nullptr;
}

napi_value undefine(napi_env env, napi_callback_info) {
  volatile int32_t number = INT32_MAX;
  number = number + 1;
  napi_value value = nullptr;
  napi_create_int32(env, number, &value);
  return value;
}

napi_value leak(napi_env, napi_callback_info) {
  auto* volatile bytes = static_cast<uint8_t*>(std::malloc(64));
  bytes[0] = 1;
  bytes = nullptr;
  return nullptr;
}

}  // namespace

NAPI_MODULE_INIT() {
  const napi_property_descriptor faults[] = {
      {"overflow", nullptr, overflow, nullptr, nullptr, nullptr, napi_default, nullptr},
      {"undefine", nullptr, undefine, nullptr, nullptr, nullptr, napi_default, nullptr},
      {"leak", nullptr, leak, nullptr, nullptr, nullptr, napi_default, nullptr},
  };
  napi_define_properties(env, exports, sizeof faults / sizeof faults[0], faults);
  return exports;
}
