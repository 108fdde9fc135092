#include "loop_handle.h"

#include <errno.h>
#include <unistd.h>

#include <new>

namespace holdfast {

namespace {

/** Batches of one turn of libuv's loop, so that timers and other handles get theirs. */
constexpr int BATCHES_MAX = 4;

}  // namespace

napi_value LoopHandle::construct(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  auto* handle = new (std::nothrow) LoopHandle(env);
  if (handle == nullptr) {
    napi_throw_error(env, "ENOMEM", "no memory for an epoll loop");
    return nullptr;
  }
  if (!handle->take_arrays(arguments)) {
    for (napi_ref array : handle->arrays_) {
      if (array != nullptr) napi_delete_reference(env, array);
    }
    delete handle;
    napi_throw_error(env, "EINVAL", "the arrays of an epoll loop do not fit its layout");
    return nullptr;
  }
  if (!handle->start(arguments.self(), arguments.value(ARRAYS))) {
    napi_throw_error(env, "ENOSYS", "an epoll instance cannot be made or polled");
  }
  return arguments.self();
}

bool LoopHandle::take_arrays(const Arguments& arguments) {
  struct Wanted {
    napi_typedarray_type type;
    size_t length_min;
    View view;
  };
  Wanted wanted[ARRAYS] = {
      {napi_int32_array, HEADER_WORDS, {}},
      {napi_int32_array, 4 * RECORDS_MAX, {}},
      {napi_int32_array, 4 * RESULTS_MAX, {}},
      {napi_int32_array, 4 * OPERATIONS_MAX, {}},
      {napi_uint8_array, RECEIVE_BYTES, {}},
      {napi_float64_array, COUNTER_COUNT, {}},
      {napi_float64_array, 1, {}},
  };
  for (int index = 0; index < ARRAYS; index++) {
    Wanted& array = wanted[index];
    napi_value value = arguments.value(static_cast<size_t>(index));
    if (!read_view(env_, value, array.type, array.view)) return false;
    if (array.view.length < array.length_min) return false;
    keep(value);
  }
  header_ = static_cast<int32_t*>(wanted[0].view.data);
  records_ = static_cast<Record*>(wanted[1].view.data);
  results_ = static_cast<Record*>(wanted[2].view.data);
  operations_ = static_cast<Operation*>(wanted[3].view.data);
  shared_.receive = static_cast<uint8_t*>(wanted[4].view.data);
  shared_.counters = static_cast<double*>(wanted[5].view.data);
  shared_.queued = static_cast<double*>(wanted[6].view.data);
  shared_.queued_length = static_cast<int32_t>(wanted[6].view.length);
  return true;
}

void LoopHandle::keep(napi_value value) {
  napi_create_reference(env_, value, 1, &arrays_[array_count_]);
  array_count_++;
}

/** From here on the object is its own: it goes when it is collected and closed. */
bool LoopHandle::start(napi_value self, napi_value on_turn) {
  napi_wrap(env_, self, this, on_collected, nullptr, nullptr);
  napi_create_reference(env_, on_turn, 1, &on_turn_);
  napi_async_init(env_, nullptr, text_value(env_, "HOLDFAST_EPOLL"), &context_);
  napi_add_async_cleanup_hook(env_, on_cleanup, this, &hook_);
  uv_loop_t* uv = nullptr;
  int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  bool is_ready = epoll_fd >= 0 && napi_get_uv_event_loop(env_, &uv) == napi_ok;
  if (!is_ready || uv_poll_init(uv, &poll_, epoll_fd) != 0) {
    if (epoll_fd >= 0) ::close(epoll_fd);
    release();
    return false;
  }
  poll_.data = this;
  open_handles_++;
  uv_prepare_init(uv, &prepare_);
  prepare_.data = this;
  open_handles_++;
  uv_idle_init(uv, &idle_);
  idle_.data = this;
  open_handles_++;
  loop_ = new (std::nothrow) Loop(epoll_fd, shared_);
  if (loop_ == nullptr) {
    close();
    ::close(epoll_fd);
    return false;
  }
  uv_poll_start(&poll_, UV_READABLE, on_poll);
  uv_prepare_start(&prepare_, on_prepare);
  set_active(false);
  // Flushing is no reason to go on: whoever writes has a connection, which is one.
  uv_unref(reinterpret_cast<uv_handle_t*>(&prepare_));
  return true;
}

LoopHandle* LoopHandle::of(napi_env env, const Arguments& arguments) {
  void* data = nullptr;
  if (napi_unwrap(env, arguments.self(), &data) != napi_ok) return nullptr;
  auto* handle = static_cast<LoopHandle*>(data);
  return handle->loop_ == nullptr ? nullptr : handle;
}

int32_t LoopHandle::flush(int32_t count) {
  if (count < 0 || count > OPERATIONS_MAX) return -EINVAL;
  RecordList told = {results_, RESULTS_MAX, 0};
  header_[HEADER_OPERATIONS] = 0;
  loop_->writer().flush(operations_, count, told);
  return told.count;
}

/** Keeps the process alive while there is something to wait for. */
void LoopHandle::set_active(bool is_active) {
  auto* handle = reinterpret_cast<uv_handle_t*>(&poll_);
  if (is_active) uv_ref(handle);
  else uv_unref(handle);
}

void LoopHandle::on_poll(uv_poll_t* poll, int status, int) {
  auto* handle = static_cast<LoopHandle*>(poll->data);
  // Somebody runs the loop from inside a callback: the batch that is under way comes first.
  if (handle->is_in_turn_ || handle->loop_ == nullptr || status != 0) return;
  // More has come while a batch was handled: taken at once it spares a round of libuv's loop.
  for (int batch = 0; batch < BATCHES_MAX; batch++) {
    if (handle->loop_ == nullptr || handle->collect(batch == 0) == 0) return;
    handle->turn();
  }
}

/** Before libuv polls: what was asked for outside of a batch, and what was left of the last one. */
void LoopHandle::on_prepare(uv_prepare_t* prepare) {
  auto* handle = static_cast<LoopHandle*>(prepare->data);
  if (handle->is_in_turn_ || handle->loop_ == nullptr) return;
  int32_t records = handle->loop_->has_more() ? handle->collect(false) : 0;
  if (records > 0 || handle->has_requests()) handle->turn();
  else handle->stay_awake();
}

/** @returns how many records there are. */
int32_t LoopHandle::collect(bool accepts) {
  RecordList told = {records_, RECORDS_MAX, 0};
  loop_->collect(told, accepts);
  header_[HEADER_RECORDS] = told.count;
  header_[HEADER_BEGUN] = 0;
  return told.count;
}

/**
 * Promises that a turn has settled may have asked for something after JavaScript had flushed. After
 * a turn before the poll nobody would come back for it.
 */
void LoopHandle::stay_awake() {
  bool is_active = uv_is_active(reinterpret_cast<uv_handle_t*>(&idle_)) != 0;
  bool has_more = loop_->has_more() || has_requests();
  if (has_more == is_active) return;
  if (has_more) uv_idle_start(&idle_, on_idle);
  else uv_idle_stop(&idle_);
}

/** A handler that throws must not cost the others their records: they are called again. */
void LoopHandle::turn() {
  is_in_turn_ = true;
  int32_t begun = 0;
  do {
    begun = header_[HEADER_BEGUN];
    call();
    // A call that begins with none was not made: the thread is being terminated.
  } while (loop_ != nullptr && header_[HEADER_BEGUN] > begun &&
           header_[HEADER_BEGUN] < header_[HEADER_RECORDS]);
  if (loop_ != nullptr) close_unclaimed();
  header_[HEADER_RECORDS] = 0;
  header_[HEADER_BEGUN] = 0;
  is_in_turn_ = false;
  if (loop_ != nullptr) stay_awake();
}

void LoopHandle::call() {
  napi_handle_scope scope = nullptr;
  napi_open_handle_scope(env_, &scope);
  napi_value on_turn = nullptr;
  napi_value receiver = nullptr;
  napi_get_reference_value(env_, on_turn_, &on_turn);
  napi_get_global(env_, &receiver);
  napi_status status =
      napi_make_callback(env_, context_, receiver, on_turn, 0, nullptr, nullptr);
  if (status == napi_pending_exception) {
    napi_value error = nullptr;
    napi_get_and_clear_last_exception(env_, &error);
    napi_fatal_exception(env_, error);
  } else if (status != napi_ok) {
    // The environment is being torn down: nobody is left to be told.
    close_unclaimed();
  }
  napi_close_handle_scope(env_, scope);
}

/** Files that were accepted and that JavaScript will never hear of. */
void LoopHandle::close_unclaimed() {
  for (int32_t index = header_[HEADER_BEGUN]; index < header_[HEADER_RECORDS]; index++) {
    const Record& record = records_[index];
    if ((record.word & 0xff) == RECORD_ACCEPTED) ::close(record.offset);
  }
  header_[HEADER_BEGUN] = header_[HEADER_RECORDS];
}

void LoopHandle::close() {
  if (open_handles_ == 0) return;
  auto* poll = reinterpret_cast<uv_handle_t*>(&poll_);
  if (uv_is_closing(poll)) return;
  uv_close(poll, on_closed);
  uv_close(reinterpret_cast<uv_handle_t*>(&prepare_), on_closed);
  uv_close(reinterpret_cast<uv_handle_t*>(&idle_), on_closed);
  close_unclaimed();
  delete loop_;
  loop_ = nullptr;
}

void LoopHandle::on_closed(uv_handle_t* handle) {
  auto* self = static_cast<LoopHandle*>(handle->data);
  if (--self->open_handles_ == 0) self->release();
}

/** Lets go of JavaScript, and of itself where JavaScript has let go of it. */
void LoopHandle::release() {
  if (hook_ != nullptr) {
    napi_handle_scope scope = nullptr;
    napi_open_handle_scope(env_, &scope);
    for (napi_ref& array : arrays_) {
      if (array != nullptr) napi_delete_reference(env_, array);
      array = nullptr;
    }
    if (on_turn_ != nullptr) napi_delete_reference(env_, on_turn_);
    on_turn_ = nullptr;
    if (context_ != nullptr) napi_async_destroy(env_, context_);
    context_ = nullptr;
    napi_close_handle_scope(env_, scope);
    napi_remove_async_cleanup_hook(hook_);
    hook_ = nullptr;
  }
  if (is_collected_) delete this;
}

void LoopHandle::on_collected(napi_env, void* data, void*) {
  auto* handle = static_cast<LoopHandle*>(data);
  handle->is_collected_ = true;
  if (handle->open_handles_ > 0) handle->close();
  else handle->release();
}

void LoopHandle::on_cleanup(napi_async_cleanup_hook_handle, void* data) {
  static_cast<LoopHandle*>(data)->close();
}

}  // namespace holdfast
