// Arguments of calls from JavaScript, and what is given back.
#pragma once

#include <node_api.h>

#include <cstddef>
#include <cstdint>

namespace holdfast {

struct View {
  void* data = nullptr;
  size_t length = 0;
};

inline bool read_view(napi_env env, napi_value value, napi_typedarray_type wanted, View& view) {
  napi_typedarray_type type;
  bool is_array = false;
  if (napi_is_typedarray(env, value, &is_array) != napi_ok || !is_array) return false;
  napi_status status =
      napi_get_typedarray_info(env, value, &type, &view.length, &view.data, nullptr, nullptr);
  return status == napi_ok && type == wanted;
}

/** Arguments of one call. A missing one reads as 0 or "". */
class Arguments {
 public:
  static constexpr size_t COUNT_MAX = 12;

  Arguments(napi_env env, napi_callback_info info) : env_(env) {
    napi_get_cb_info(env, info, &count_, values_, &self_, nullptr);
  }

  napi_value self() const { return self_; }
  napi_value value(size_t index) const { return values_[index]; }

  int32_t integer(size_t index) const {
    int32_t number = 0;
    if (index < count_) napi_get_value_int32(env_, values_[index], &number);
    return number;
  }

  double number(size_t index) const {
    double number = 0;
    if (index < count_) napi_get_value_double(env_, values_[index], &number);
    return number;
  }

  /** Cut off where it is longer: no address is. */
  template <size_t N>
  void text(size_t index, char (&target)[N]) const {
    size_t length = 0;
    target[0] = '\0';
    if (index < count_) napi_get_value_string_utf8(env_, values_[index], target, N, &length);
  }

 private:
  napi_env env_;
  size_t count_ = COUNT_MAX;
  napi_value values_[COUNT_MAX] = {};
  napi_value self_ = nullptr;
};

inline napi_value int_value(napi_env env, int32_t number) {
  napi_value value = nullptr;
  napi_create_int32(env, number, &value);
  return value;
}

inline napi_value text_value(napi_env env, const char* text) {
  napi_value value = nullptr;
  napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &value);
  return value;
}

}  // namespace holdfast
