// The loop as JavaScript sees it. Arguments come from src/transport/epoll-loop.ts alone, which is
// typed: what does not fit is answered with -EINVAL, never with undefined behaviour.
#include <errno.h>
#include <node_api.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "arguments.h"
#include "connector.h"
#include "loop_handle.h"
#include "tcp_facts.h"

namespace holdfast {
namespace {

/** Rises whenever layout.h changes in a way that the JavaScript side must know. */
constexpr int32_t LAYOUT_VERSION = 2;

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

/** (host, port, backlog, isShared) -> fd | -errno. It is the caller's, who hands it on. */
napi_value open_listening_ip(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  char host[ADDRESS_TEXT_MAX];
  arguments.text(0, host);
  Address address;
  int fd = parse_ip(host, arguments.integer(1), address);
  if (fd != 0) return int_value(env, fd);
  bool is_shared = arguments.integer(3) != 0;
  fd = open_listening(address, arguments.integer(2), SocketOptions(), is_shared);
  return int_value(env, fd);
}

/** (path, backlog) -> fd | -errno */
napi_value open_listening_path(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  char path[256];
  arguments.text(0, path);
  Address address;
  int fd = parse_path(path, address);
  if (fd == 0) fd = open_listening(address, arguments.integer(1), SocketOptions());
  return int_value(env, fd);
}

/** (fd) -> 0 | -errno */
napi_value share_port_of(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  return int_value(env, share_port(arguments.integer(0)));
}

/** (fd) -> "address:port", "unix:path" | -errno */
napi_value file_listening(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  Address address;
  int failed = listening_address(arguments.integer(0), address);
  if (failed != 0) return int_value(env, failed);
  char text[ADDRESS_TEXT_MAX + sizeof address.storage] = "";
  if (address.family() == AF_UNIX) {
    std::snprintf(text, sizeof text, "unix:%s", path_of(address));
    return text_value(env, text);
  }
  char name[ADDRESS_TEXT_MAX];
  format_address(address, name);
  return text_value(env, name);
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
  const napi_property_descriptor functions[] = {
      METHOD("openListeningIp", open_listening_ip),
      METHOD("openListeningPath", open_listening_path),
      METHOD("sharePort", share_port_of),
      METHOD("fileListening", file_listening),
      METHOD("closeFile", close_file),
      METHOD("filePeer", file_peer),
  };
  napi_define_properties(env, exports, sizeof functions / sizeof functions[0], functions);
  set_number(env, exports, "version", LAYOUT_VERSION);
  napi_set_named_property(env, exports, "layout", layout_of(env));
  napi_set_named_property(env, exports, "Loop", define_loop(env));
  return exports;
}

}  // namespace
}  // namespace holdfast

NAPI_MODULE_INIT() { return holdfast::initialise(env, exports); }
