// The loop as JavaScript sees it. Arguments come from src/transport/epoll-loop.ts alone, which is
// typed: what does not fit is answered with -EINVAL, never with undefined behaviour.
#include <errno.h>
#include <node_api.h>
#include <unistd.h>
#include <uv.h>

#include <cstring>
#include <new>

#include "connector.h"
#include "loop.h"
#include "tcp_facts.h"

namespace holdfast {
namespace {

/** Rises whenever layout.h changes in a way that the JavaScript side must know. */
constexpr int32_t LAYOUT_VERSION = 1;

/** Batches of one turn of libuv's loop, so that timers and other handles get theirs. */
constexpr int BATCHES_MAX = 4;

struct View {
  void* data = nullptr;
  size_t length = 0;
};

bool read_view(napi_env env, napi_value value, napi_typedarray_type wanted, View& view) {
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

napi_value int_value(napi_env env, int32_t number) {
  napi_value value = nullptr;
  napi_create_int32(env, number, &value);
  return value;
}

napi_value text_value(napi_env env, const char* text) {
  napi_value value = nullptr;
  napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &value);
  return value;
}

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
  if (hook_ != nullptr && open_handles_ == 0) release();
  if (loop_ == nullptr && open_handles_ == 0) return;
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

napi_value set_queued(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  LoopHandle* handle = LoopHandle::of(env, arguments);
  View view;
  if (handle == nullptr || !read_view(env, arguments.value(0), napi_float64_array, view)) {
    return int_value(env, -EINVAL);
  }
  auto length = static_cast<int32_t>(view.length);
  bool is_taken = handle->loop()->set_queued(static_cast<double*>(view.data), length);
  return int_value(env, is_taken ? 0 : -EINVAL);
}

napi_value set_slot(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  LoopHandle* handle = LoopHandle::of(env, arguments);
  int32_t slot = arguments.integer(0);
  View view;
  bool fits = handle != nullptr && slot >= 0 && slot < SLOTS_MAX &&
              read_view(env, arguments.value(1), napi_uint8_array, view);
  if (!fits) return int_value(env, -EINVAL);
  handle->loop()->writer().set_slot(slot, {static_cast<uint8_t*>(view.data), view.length});
  return int_value(env, 0);
}

napi_value flush(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  LoopHandle* handle = LoopHandle::of(env, arguments);
  if (handle == nullptr) return int_value(env, 0);
  return int_value(env, handle->flush(arguments.integer(0)));
}

napi_value limit_queue(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  LoopHandle* handle = LoopHandle::of(env, arguments);
  double bytes = arguments.number(0);
  if (handle == nullptr || !(bytes > 0)) return int_value(env, -EINVAL);
  handle->loop()->connections().limit_queue(static_cast<size_t>(bytes));
  return int_value(env, 0);
}

SocketOptions options_at(const Arguments& arguments, size_t index) {
  SocketOptions options;
  options.no_delay = arguments.integer(index) != 0;
  options.keep_alive_seconds = arguments.integer(index + 1);
  options.user_timeout_ms = arguments.integer(index + 2);
  return options;
}

uint8_t member_of(const Arguments& arguments) {
  return static_cast<uint8_t>(arguments.integer(0));
}

int32_t accept_on(LoopHandle* handle, int fd, uint8_t member) {
  if (fd < 0) return fd;
  int32_t acceptor = handle->loop()->acceptors().add(fd, member);
  if (acceptor < 0) ::close(fd);
  return acceptor;
}

/** (member, host, port, backlog, noDelay, keepAliveSeconds, userTimeoutMs) -> acceptor | -errno */
napi_value listen_ip(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  LoopHandle* handle = LoopHandle::of(env, arguments);
  if (handle == nullptr) return int_value(env, -EBADF);
  char host[ADDRESS_TEXT_MAX];
  arguments.text(1, host);
  Address address;
  int fd = parse_ip(host, arguments.integer(2), address);
  if (fd == 0) fd = open_listening(address, arguments.integer(3), options_at(arguments, 4));
  return int_value(env, accept_on(handle, fd, member_of(arguments)));
}

/** (member, path, backlog) -> acceptor | -errno */
napi_value listen_path(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  LoopHandle* handle = LoopHandle::of(env, arguments);
  if (handle == nullptr) return int_value(env, -EBADF);
  char path[256];
  arguments.text(1, path);
  Address address;
  int fd = parse_path(path, address);
  if (fd == 0) fd = open_listening(address, arguments.integer(2), SocketOptions());
  return int_value(env, accept_on(handle, fd, member_of(arguments)));
}

/** (member, fd, backlog, noDelay, keepAliveSeconds, userTimeoutMs) -> acceptor | -errno */
napi_value listen_fd(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  LoopHandle* handle = LoopHandle::of(env, arguments);
  if (handle == nullptr) return int_value(env, -EBADF);
  SocketOptions options = options_at(arguments, 3);
  int fd = open_inherited(arguments.integer(1), arguments.integer(2), options);
  return int_value(env, accept_on(handle, fd, member_of(arguments)));
}

napi_value close_acceptor(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  LoopHandle* handle = LoopHandle::of(env, arguments);
  if (handle != nullptr) handle->loop()->acceptors().remove(arguments.integer(0));
  return nullptr;
}

/** (acceptor) -> 1 where it was out of files, and may still be */
napi_value retry_acceptor(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  LoopHandle* handle = LoopHandle::of(env, arguments);
  bool is_starved =
      handle != nullptr && handle->loop()->acceptors().retry(arguments.integer(0));
  return int_value(env, is_starved ? 1 : 0);
}

/** (acceptor) -> "address:port", "" for a Unix socket */
napi_value acceptor_address(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  LoopHandle* handle = LoopHandle::of(env, arguments);
  char text[ADDRESS_TEXT_MAX] = "";
  Address address;
  if (handle != nullptr) {
    int fd = handle->loop()->acceptors().fd_of(arguments.integer(0));
    if (fd >= 0 && local_address(fd, address) == 0) format_address(address, text);
  }
  return text_value(env, text);
}

/** (member, fd) -> channel | -errno; the file is the loop's, or closed. */
napi_value adopt(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  LoopHandle* handle = LoopHandle::of(env, arguments);
  int fd = arguments.integer(1);
  int32_t channel = -EBADF;
  if (handle != nullptr) {
    channel = handle->loop()->connections().add(fd, member_of(arguments), PHASE_OPEN);
  }
  if (channel < 0) ::close(fd);
  return int_value(env, channel);
}

napi_value connect_to(napi_env env, LoopHandle* handle, int fd, uint8_t member) {
  if (fd < 0) return int_value(env, fd);
  int32_t channel = handle->loop()->connections().add(fd, member, PHASE_CONNECTING);
  if (channel < 0) ::close(fd);
  return int_value(env, channel);
}

/**
 * (member, host, port, localHost, localPort, noDelay, keepAliveSeconds, userTimeoutMs)
 * -> channel | -errno
 */
napi_value connect_ip(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  LoopHandle* handle = LoopHandle::of(env, arguments);
  if (handle == nullptr) return int_value(env, -EBADF);
  char host[ADDRESS_TEXT_MAX];
  char local_host[ADDRESS_TEXT_MAX];
  arguments.text(1, host);
  arguments.text(3, local_host);
  bool has_local = local_host[0] != '\0';
  Address remote;
  Address local;
  int fd = parse_ip(host, arguments.integer(2), remote);
  if (fd == 0 && has_local) fd = parse_ip(local_host, arguments.integer(4), local);
  if (fd == 0) fd = open_connecting(remote, has_local ? &local : nullptr, options_at(arguments, 5));
  return connect_to(env, handle, fd, member_of(arguments));
}

/** (member, path) -> channel | -errno */
napi_value connect_path(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  LoopHandle* handle = LoopHandle::of(env, arguments);
  if (handle == nullptr) return int_value(env, -EBADF);
  char path[256];
  arguments.text(1, path);
  Address remote;
  int fd = parse_path(path, remote);
  if (fd == 0) fd = open_connecting(remote, nullptr, SocketOptions());
  return connect_to(env, handle, fd, member_of(arguments));
}

int fd_of_channel(LoopHandle* handle, int32_t channel) {
  if (handle == nullptr) return -1;
  Socket* socket = handle->loop()->connections().table().get(channel);
  return socket == nullptr ? -1 : socket->fd;
}

/** (channel) -> "address:port", "" where there is none */
napi_value peer_address(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  int fd = fd_of_channel(LoopHandle::of(env, arguments), arguments.integer(0));
  char text[ADDRESS_TEXT_MAX] = "";
  Address address;
  if (fd >= 0 && remote_address(fd, address) == 0) format_address(address, text);
  return text_value(env, text);
}

/** (channel, Float64Array of at least TCP_FACTS) -> 0 | -errno */
napi_value tcp_info(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  int fd = fd_of_channel(LoopHandle::of(env, arguments), arguments.integer(0));
  View view;
  bool fits = read_view(env, arguments.value(1), napi_float64_array, view);
  if (!fits || view.length < TCP_FACTS) return int_value(env, -EINVAL);
  double facts[TCP_FACTS];
  int failed = fd < 0 ? -EBADF : read_tcp_facts(fd, facts);
  if (failed == 0) std::memcpy(view.data, facts, sizeof facts);
  return int_value(env, failed);
}

napi_value set_active(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  LoopHandle* handle = LoopHandle::of(env, arguments);
  if (handle != nullptr) handle->set_active(arguments.integer(0) != 0);
  return nullptr;
}

napi_value close_loop(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  LoopHandle* handle = LoopHandle::of(env, arguments);
  if (handle != nullptr) handle->close();
  return nullptr;
}

/** (fd) -> undefined. A file that was accepted and that nobody wants. */
napi_value close_file(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  ::close(arguments.integer(0));
  return nullptr;
}

/** (fd) -> "address:port" of the peer of a file that was accepted */
napi_value file_peer(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  char text[ADDRESS_TEXT_MAX] = "";
  Address address;
  if (remote_address(arguments.integer(0), address) == 0) format_address(address, text);
  return text_value(env, text);
}

void set_number(napi_env env, napi_value object, const char* name, int32_t number) {
  napi_set_named_property(env, object, name, int_value(env, number));
}

/** What src/transport/epoll-layout.ts is compared with when the addon is loaded. */
napi_value layout_of(napi_env env) {
  napi_value layout = nullptr;
  napi_create_object(env, &layout);
  set_number(env, layout, "records", RECORDS_MAX);
  set_number(env, layout, "results", RESULTS_MAX);
  set_number(env, layout, "operations", OPERATIONS_MAX);
  set_number(env, layout, "slots", SLOTS_MAX);
  set_number(env, layout, "receiveBytes", RECEIVE_BYTES);
  set_number(env, layout, "headerWords", HEADER_WORDS);
  set_number(env, layout, "counters", COUNTER_COUNT);
  return layout;
}

#define METHOD(name, function) \
  {name, nullptr, function, nullptr, nullptr, nullptr, napi_default_method, nullptr}

napi_value define_loop(napi_env env) {
  const napi_property_descriptor methods[] = {
      METHOD("setQueued", set_queued),
      METHOD("setSlot", set_slot),
      METHOD("flush", flush),
      METHOD("limitQueue", limit_queue),
      METHOD("listenIp", listen_ip),
      METHOD("listenPath", listen_path),
      METHOD("listenFd", listen_fd),
      METHOD("closeAcceptor", close_acceptor),
      METHOD("retryAcceptor", retry_acceptor),
      METHOD("acceptorAddress", acceptor_address),
      METHOD("adopt", adopt),
      METHOD("connectIp", connect_ip),
      METHOD("connectPath", connect_path),
      METHOD("peerAddress", peer_address),
      METHOD("tcpInfo", tcp_info),
      METHOD("setActive", set_active),
      METHOD("close", close_loop),
  };
  napi_value type = nullptr;
  napi_define_class(env, "Loop", NAPI_AUTO_LENGTH, LoopHandle::construct, nullptr,
                    sizeof methods / sizeof methods[0], methods, &type);
  return type;
}

napi_value initialise(napi_env env, napi_value exports) {
  napi_value close_function = nullptr;
  napi_value peer_function = nullptr;
  napi_create_function(env, "closeFile", NAPI_AUTO_LENGTH, close_file, nullptr, &close_function);
  napi_create_function(env, "filePeer", NAPI_AUTO_LENGTH, file_peer, nullptr, &peer_function);
  napi_set_named_property(env, exports, "closeFile", close_function);
  napi_set_named_property(env, exports, "filePeer", peer_function);
  set_number(env, exports, "version", LAYOUT_VERSION);
  napi_set_named_property(env, exports, "layout", layout_of(env));
  napi_set_named_property(env, exports, "Loop", define_loop(env));
  return exports;
}

}  // namespace
}  // namespace holdfast

NAPI_MODULE_INIT() { return holdfast::initialise(env, exports); }
