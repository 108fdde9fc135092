// How connections come about: pairs, callers of acceptors, outbound connections, and what fails.
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstring>

#include "world.h"

namespace holdfast::fuzz {

namespace {

constexpr int STREAM = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;

const sockaddr* name_of(const Address& address) {
  return reinterpret_cast<const sockaddr*>(&address.storage);
}

Address local_of(int fd) {
  Address address;
  if (local_address(fd, address) != 0) breach("getsockname: %s", strerror(errno));
  return address;
}

bool is_same(const Address& one, const Address& other) {
  if (one.family() != other.family()) return false;
  if (one.family() == AF_UNIX) {
    return one.length == other.length && std::memcmp(&one.storage, &other.storage, one.length) == 0;
  }
  const auto* a = reinterpret_cast<const sockaddr_in*>(&one.storage);
  const auto* b = reinterpret_cast<const sockaddr_in*>(&other.storage);
  return a->sin_port == b->sin_port && a->sin_addr.s_addr == b->sin_addr.s_addr;
}

Address any_port() {
  Address address;
  if (parse_ip("127.0.0.1", 0, address) != 0) breach("127.0.0.1 cannot be parsed");
  return address;
}

}  // namespace

Peer World::new_peer(int fd, bool is_unix) {
  Peer peer;
  peer.fd = fd;
  peer.is_unix = is_unix;
  peer.is_slow = prng_.once_in(4);
  peer.in.key = prng_.next();
  peer.out.key = prng_.next();
  return peer;
}

/**
 * Small buffers fill soon. TCP keeps its receive buffer: one that is smaller than a segment of
 * loopback's makes the kernel drop segments, and wait seconds until they are sent again.
 */
void World::tune(int fd, bool is_unix) {
  int bytes = static_cast<int>(2048u << prng_.below(5));
  if (prng_.once_in(2)) setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
  if (is_unix && prng_.once_in(3)) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
}

/** Loopback has millions of addresses, so ports in TIME_WAIT never run out. */
Address World::random_source() {
  char text[32];
  std::snprintf(text, sizeof text, "127.%u.%u.%u", prng_.below(256), prng_.below(256),
                1 + prng_.below(254));
  Address address;
  if (parse_ip(text, 0, address) != 0) breach("%s cannot be parsed", text);
  return address;
}

void World::listen_for_outbound() {
  SocketOptions options;
  tcp_listener_ = open_listening(any_port(), 4096, options);
  unix_path_ = folder_ + "/outbound";
  if (parse_path(unix_path_.c_str(), unix_address_) != 0) breach("%s is no path", "outbound");
  unix_listener_ = open_listening(unix_address_, 4096, options);
  deaf_socket_ = socket(AF_INET, STREAM, 0);
  Address deaf = any_port();
  bool is_ready = tcp_listener_ >= 0 && unix_listener_ >= 0 &&
                  bind(deaf_socket_, name_of(deaf), deaf.length) == 0;
  if (!is_ready) breach("the fuzz cannot listen: %s", strerror(-tcp_listener_));
  tcp_address_ = local_of(tcp_listener_);
  deaf_address_ = local_of(deaf_socket_);
  // Its queue is full for ever: whoever connects to it goes on connecting.
  full_listener_ = open_listening(any_port(), 0, options);
  if (full_listener_ < 0) breach("the fuzz cannot listen: %s", strerror(-full_listener_));
  full_address_ = local_of(full_listener_);
  for (int& filler : fillers_) filler = open_connecting(full_address_, nullptr, options);
}

/** Room for one more channel in what is shared, as the loop's owner sees to it. */
void World::reserve() {
  if (used_ < queued_length_) return;
  int32_t length = 2 * queued_length_;
  std::unique_ptr<double[]> larger(new double[static_cast<size_t>(length)]);
  std::memcpy(larger.get(), queued_.get(), sizeof(double) * static_cast<size_t>(queued_length_));
  queued_ = std::move(larger);
  queued_length_ = length;
  if (!loop_->set_queued(queued_.get(), length)) breach("an array of %d is refused", length);
}

/** @returns the channel; -1 where there was no memory, and the file is closed. */
int32_t World::adopt(int fd, const Peer& peer, Phase phase) {
  reserve();
  auto member = static_cast<uint8_t>(prng_.next());
  uint64_t failures = failing_memory.failures;
  failing_memory.is_out = may_run_out_ && prng_.once_in(10);
  int32_t channel = loop_->connections().add(fd, member, phase);
  failing_memory.is_out = false;
  if (channel == -ENOMEM && failing_memory.failures > failures) {
    ::close(fd);
    Peer lost = peer;
    close_peer(lost, false);
    return -1;
  }
  if (channel < 0) breach("adopting failed: %s", strerror(-channel));
  if (channel >= static_cast<int32_t>(links_.size())) {
    links_.resize(static_cast<size_t>(channel) + 1);
  }
  Link& link = links_[static_cast<size_t>(channel)];
  if (link.state != State::FREE) breach("channel %d is given out twice", channel);
  link = Link();
  link.state = phase == PHASE_OPEN ? State::OPEN : State::CONNECTING;
  link.member = member;
  link.fd = fd;
  link.peer = peer;
  link.live = static_cast<int32_t>(live_.size());
  live_.push_back(channel);
  used_++;
  open_files_++;
  tally_.opened++;
  return channel;
}

void World::open_pair() {
  if (!is_room()) return;
  int files[2];
  if (socketpair(AF_UNIX, STREAM, 0, files) != 0) breach("socketpair: %s", strerror(errno));
  tune(files[0], true);
  tune(files[1], true);
  adopt(files[0], new_peer(files[1], true), PHASE_OPEN);
}

void World::call_acceptor() {
  if (!is_room() || callers_.size() > 40) return;
  auto index = static_cast<int32_t>(prng_.below(4));
  const Listener& listener = listeners_[index];
  if (!listener.is_open) return;
  bool is_unix = listener.address.family() == AF_UNIX;
  int fd = socket(listener.address.family(), STREAM, 0);
  if (fd < 0) breach("socket: %s", strerror(errno));
  // A name to be known by when it is accepted: Linux gives a Unix socket one that binds to none.
  sockaddr_un nameless = {AF_UNIX, {}};
  Address source = random_source();
  const auto* own = is_unix ? reinterpret_cast<const sockaddr*>(&nameless) : name_of(source);
  socklen_t length = is_unix ? sizeof(sa_family_t) : source.length;
  if (bind(fd, own, length) != 0) breach("bind: %s", strerror(errno));
  tune(fd, is_unix);
  int result = connect(fd, name_of(listener.address), listener.address.length);
  if (result != 0 && errno != EINPROGRESS) {
    ::close(fd);
    return;
  }
  Caller caller = {new_peer(fd, is_unix), index, local_of(fd)};
  if (prng_.once_in(2)) send_some(caller.peer, random_length());
  if (prng_.once_in(10)) {
    ::shutdown(fd, SHUT_WR);
    caller.peer.has_shut = true;
  }
  if (prng_.once_in(16)) close_peer(caller.peer, prng_.once_in(2));
  callers_.push_back(caller);
}

/** A connection for an acceptor of the loop was accepted: it is adopted or refused. */
void World::on_accepted(int32_t acceptor, int fd) {
  int flags = fcntl(fd, F_GETFL);
  bool is_ready = (flags & O_NONBLOCK) != 0 && (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0;
  if (!is_ready) breach("acceptor %d gave a file that blocks or leaks", acceptor);
  Address name;
  bool is_named = remote_address(fd, name) == 0;
  size_t at = callers_.size();
  while (at > 0 && !(is_named && is_same(callers_[at - 1].name, name))) at--;
  Peer peer;
  // Nobody that is known: it was reset meanwhile, or its peer was let go with its acceptor.
  bool is_orphan = at == 0;
  if (!is_orphan) {
    peer = callers_[at - 1].peer;
    callers_.erase(callers_.begin() + static_cast<ptrdiff_t>(at - 1));
  }
  if (prng_.once_in(8)) {
    ::close(fd);
    close_peer(peer, false);
    tally_.refused++;
    return;
  }
  int domain = 0;
  socklen_t length = sizeof domain;
  getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length);
  peer.is_unix = domain == AF_UNIX;
  int32_t channel = adopt(fd, peer, PHASE_OPEN);
  if (channel >= 0) links_[static_cast<size_t>(channel)].is_orphan = is_orphan;
}

void World::connect_tcp() {
  if (!is_room()) return;
  Address source = random_source();
  SocketOptions options = {prng_.once_in(2), static_cast<int>(prng_.below(3)), 0};
  int fd = open_connecting(tcp_address_, prng_.once_in(8) ? nullptr : &source, options);
  if (fd < 0) breach("connecting failed: %s", strerror(-fd));
  tune(fd, false);
  int32_t channel = adopt(fd, new_peer(-1, false), PHASE_CONNECTING);
  if (channel >= 0) links_[static_cast<size_t>(channel)].is_awaited = true;
}

void World::connect_unix() {
  if (!is_room()) return;
  int fd = open_connecting(unix_address_, nullptr, SocketOptions());
  if (fd < 0) breach("connecting failed: %s", strerror(-fd));
  int accepted = accept4(unix_listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (accepted < 0) breach("a Unix socket is not there at once: %s", strerror(errno));
  adopt(fd, new_peer(accepted, true), PHASE_CONNECTING);
}

void World::connect_for_ever() {
  if (!is_room()) return;
  Address source = random_source();
  int fd = open_connecting(full_address_, &source, SocketOptions());
  if (fd < 0) breach("connecting failed: %s", strerror(-fd));
  int32_t channel = adopt(fd, new_peer(-1, false), PHASE_CONNECTING);
  if (channel >= 0) links_[static_cast<size_t>(channel)].is_stuck = true;
}

/**
 * A channel, and its file's number, gets another owner at once: inside a batch, events of the
 * former one may be waiting still.
 */
void World::replace() {
  Link* link = pick();
  if (link == nullptr) return;
  int32_t channel = channel_of(*link);
  append(OPERATION_RESET, channel, 0, 0);
  link->is_reset_appended = true;
  flush();
  while (!closed_.empty()) free_one();
  flush();
  if (prng_.once_in(2)) connect_for_ever();
  else open_pair();
}

void World::connect_nowhere() {
  Address missing;
  std::string path = folder_ + "/nobody";
  if (parse_path(path.c_str(), missing) != 0) breach("nobody's path is none");
  if (open_connecting(missing, nullptr, SocketOptions()) != -ENOENT) breach("nobody listens");
  // An address of another family to bind to, and one that is no address of this machine.
  Address local;
  parse_ip(prng_.once_in(2) ? "::1" : "192.0.2.1", 0, local);
  int refused = open_connecting(tcp_address_, &local, SocketOptions());
  if (refused >= 0) breach("connected from where it is not");
  if (!is_room()) return;
  int fd = open_connecting(deaf_address_, nullptr, SocketOptions());
  if (fd == -ECONNREFUSED) return;
  if (fd < 0) breach("connecting failed: %s", strerror(-fd));
  int32_t channel = adopt(fd, new_peer(-1, false), PHASE_CONNECTING);
  if (channel >= 0) links_[static_cast<size_t>(channel)].is_refused = true;
}

/** The file stays the caller's. */
void World::adopt_wrongly() {
  reserve();
  int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  const int files[] = {-1, null, 1 << 20};
  for (int fd : files) {
    int32_t channel = loop_->connections().add(fd, 0, PHASE_OPEN);
    if (channel >= 0) breach("adopted the file %d", fd);
  }
  ::close(null);
  Link* link = pick();
  if (link == nullptr) return;
  int32_t channel = loop_->connections().add(link->fd, 0, PHASE_OPEN);
  // Not in the epoll set: that is right for one that is detached.
  if (channel == -EEXIST) return;
  if (channel < 0) breach("adopting twice: %s", strerror(-channel));
  breach("%d was adopted twice", channel_of(*link));
}

/** Outbound connections find their peers. */
void World::accept_waiting() {
  for (;;) {
    int fd = accept4(tcp_listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    Address name;
    Link* owner = nullptr;
    if (remote_address(fd, name) == 0) {
      for (int32_t channel : live_) {
        Link& link = links_[static_cast<size_t>(channel)];
        if (link.is_awaited && is_same(local_of(link.fd), name)) owner = &link;
      }
    }
    if (owner == nullptr) {
      ::close(fd);
      continue;
    }
    tune(fd, false);
    owner->peer.fd = fd;
    owner->is_awaited = false;
  }
}

int32_t World::own(int32_t acceptor, Listener listener) {
  if (acceptor < 0) breach("an acceptor was refused: %s", strerror(-acceptor));
  if (listeners_[acceptor].is_open) breach("acceptor %d is given out twice", acceptor);
  listener.is_open = true;
  listeners_[acceptor] = std::move(listener);
  return acceptor;
}

void World::add_acceptor() {
  if (listeners_[3].is_open) return;
  Listener listener;
  listener.member = static_cast<uint8_t>(prng_.next());
  if (prng_.once_in(2)) {
    listener.path = folder_ + "/" + std::to_string(file_names_++);
    if (parse_path(listener.path.c_str(), listener.address) != 0) breach("no path");
  } else {
    listener.address = any_port();
  }
  SocketOptions options = {prng_.once_in(2), static_cast<int>(prng_.below(3)), 1000};
  int fd = open_listening(listener.address, 64, options);
  if (fd < 0) breach("listening failed: %s", strerror(-fd));
  listener.address = local_of(fd);
  own(loop_->acceptors().add(fd, listener.member), std::move(listener));
}

void World::add_inherited() {
  if (listeners_[3].is_open) return;
  Listener listener;
  listener.member = 9;
  listener.inherited = open_listening(any_port(), 1, SocketOptions());
  if (listener.inherited < 0) breach("listening failed: %s", strerror(-listener.inherited));
  int fd = open_inherited(listener.inherited, 64, SocketOptions());
  if (fd < 0) breach("inheriting failed: %s", strerror(-fd));
  listener.address = local_of(fd);
  own(loop_->acceptors().add(fd, listener.member), std::move(listener));
}

void World::add_acceptor_wrongly() {
  Address address;
  if (open_listening(tcp_address_, 1, SocketOptions()) != -EADDRINUSE) breach("a port twice");
  if (open_listening(unix_address_, 1, SocketOptions()) != -EADDRINUSE) breach("a path twice");
  std::string missing = folder_ + "/no/such/folder";
  parse_path(missing.c_str(), address);
  if (open_listening(address, 1, SocketOptions()) != -ENOENT) breach("listens in no folder");
  std::string longer(sizeof(sockaddr_un::sun_path), 'x');
  if (parse_path(longer.c_str(), address) != -ENAMETOOLONG) breach("a path that is too long");
  if (parse_path("", address) != -EINVAL) breach("an empty path");
  for (const char* text : {"", "localhost", "1.2.3.4.5", "::g", "fe80::1%nothing", "127.0.0.1 "}) {
    if (parse_ip(text, 80, address) != -EINVAL) breach("'%s' is an address", text);
  }
  if (parse_ip("127.0.0.1", -1, address) != -EINVAL) breach("the port -1");
  if (parse_ip("127.0.0.1", 65536, address) != -EINVAL) breach("the port 65536");
  int unbound = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int datagrams = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  for (int fd : {-1, unbound, datagrams, loop_->epoll_fd(), 1 << 20}) {
    int inherited = open_inherited(fd, 1, SocketOptions());
    if (inherited >= 0) breach("inherited the file %d", fd);
  }
  int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (loop_->acceptors().add(null, 1) != -EPERM) breach("a file that accepts");
  if (loop_->acceptors().add(-1, 1) != -EBADF) breach("no file that accepts");
  for (int fd : {unbound, datagrams, null}) ::close(fd);
}

void World::remove_acceptor() {
  auto index = static_cast<int32_t>(prng_.below(4));
  Listener& listener = listeners_[index];
  if (!listener.is_open) return;
  loop_->acceptors().remove(index);
  if (!listener.path.empty()) unlink(listener.path.c_str());
  if (listener.inherited >= 0) ::close(listener.inherited);
  listener = Listener();
  // Whoever was not accepted is cut off.
  for (size_t at = callers_.size(); at > 0; at--) {
    if (callers_[at - 1].acceptor != index) continue;
    close_peer(callers_[at - 1].peer, false);
    callers_.erase(callers_.begin() + static_cast<ptrdiff_t>(at - 1));
  }
}

void World::retry_acceptors() {
  for (int32_t index = 0; index < ACCEPTORS_MAX; index++) {
    bool is_starved = loop_->acceptors().retry(index);
    if (is_starved && !listeners_[index].has_starved) breach("acceptor %d starves untold", index);
  }
}

/** No file is left, or a few, while the loop accepts. */
void World::starve() {
  if (is_handling_) return;
  rlimit before;
  getrlimit(RLIMIT_NOFILE, &before);
  int next = fcntl(0, F_DUPFD_CLOEXEC, 0);
  ::close(next);
  rlimit tight = before;
  tight.rlim_cur = static_cast<rlim_t>(next) + prng_.below(3);
  double refused = counters_[COUNTER_ACCEPT_REFUSED];
  setrlimit(RLIMIT_NOFILE, &tight);
  RecordList told = {records_.data(), RECORDS_MAX, 0};
  loop_->collect(told);
  setrlimit(RLIMIT_NOFILE, &before);
  check_records(told, false);
  check_all(false);
  is_handling_ = true;
  handle(told, true);
  is_handling_ = false;
  tally_.refused += static_cast<uint64_t>(counters_[COUNTER_ACCEPT_REFUSED] - refused);
  sweep_callers();
  if (prng_.once_in(2)) retry_acceptors();
}

/** Callers that were refused: they find the end of a connection that nobody adopted. */
void World::sweep_callers() {
  for (size_t at = callers_.size(); at > 0; at--) {
    Peer& peer = callers_[at - 1].peer;
    if (peer.fd < 0) continue;
    char byte;
    ssize_t got = recv(peer.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (got > 0) breach("bytes from a connection that nobody adopted");
    if (got < 0 && errno == EAGAIN) continue;
    close_peer(peer, false);
    callers_.erase(callers_.begin() + static_cast<ptrdiff_t>(at - 1));
  }
}

}  // namespace holdfast::fuzz
