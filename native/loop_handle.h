// A loop's life between JavaScript and libuv: when it is collected, called, kept awake and closed.
#pragma once

#include <node_api.h>
#include <uv.h>

#include <cstdint>

#include "arguments.h"
#include "loop.h"

namespace holdfast {

/**
 * A loop under libuv's. It lives until both its JavaScript object is collected and libuv has let go
 * of its handles; the JavaScript object lives at least until close(), which `on_turn` holds.
 */
class LoopHandle {
 public:
  static napi_value construct(napi_env env, napi_callback_info info);
  static LoopHandle* of(napi_env env, const Arguments& arguments);

  Loop* loop() { return loop_; }
  int32_t flush(int32_t count);
  void close();
  void set_active(bool is_active);

 private:
  explicit LoopHandle(napi_env env) : env_(env) {}
  ~LoopHandle() = default;

  bool take_arrays(const Arguments& arguments);
  bool start(napi_value self, napi_value on_turn);
  void keep(napi_value value);
  int32_t collect(bool accepts);
  void turn();
  void call();
  void stay_awake();
  bool has_requests() const {
    return header_[HEADER_OPERATIONS] != 0 || header_[HEADER_WANTED] != 0;
  }
  void close_unclaimed();
  void release();

  static void on_poll(uv_poll_t* poll, int status, int events);
  static void on_prepare(uv_prepare_t* prepare);
  static void on_idle(uv_idle_t*) {}
  static void on_closed(uv_handle_t* handle);
  static void on_collected(napi_env env, void* data, void* hint);
  static void on_cleanup(napi_async_cleanup_hook_handle hook, void* data);

  napi_env env_;
  Loop* loop_ = nullptr;
  napi_async_context context_ = nullptr;
  napi_async_cleanup_hook_handle hook_ = nullptr;
  napi_ref on_turn_ = nullptr;
  /** Arrays that are shared, so that they are not collected. */
  static constexpr int ARRAYS = 7;
  napi_ref arrays_[ARRAYS] = {};
  int array_count_ = 0;
  int32_t* header_ = nullptr;
  Record* records_ = nullptr;
  Record* results_ = nullptr;
  Operation* operations_ = nullptr;
  SharedMemory shared_;
  uv_poll_t poll_;
  uv_prepare_t prepare_;
  /** Active while there is more to collect: libuv then polls without waiting. */
  uv_idle_t idle_;
  int open_handles_ = 0;
  bool is_in_turn_ = false;
  bool is_collected_ = false;
};

}  // namespace holdfast
