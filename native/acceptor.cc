#include "acceptor.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace holdfast {

namespace {

/** Probes that may go unanswered, and the seconds between them. */
constexpr int KEEP_ALIVE_PROBES = 4;
constexpr int KEEP_ALIVE_INTERVAL_SECONDS = 15;

bool set_option(int fd, int level, int name, int value) {
  return setsockopt(fd, level, name, &value, sizeof value) == 0;
}

int open_reserve() { return open("/dev/null", O_RDONLY | O_CLOEXEC); }

/** Of one connection that ended before it was accepted: the next one may be well. */
bool is_of_connection(int error) {
  switch (error) {
    case ECONNABORTED:
    case EINTR:
    case EPROTO:
    case EPERM:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case ENETUNREACH:
      return true;
    default:
      return false;
  }
}

}  // namespace

int apply_options(int fd, const SocketOptions& options) {
  int domain = 0;
  socklen_t length = sizeof domain;
  if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) != 0) return -errno;
  if (domain == AF_UNIX) return 0;
  if (!set_option(fd, IPPROTO_TCP, TCP_NODELAY, options.no_delay ? 1 : 0)) return -errno;
  int seconds = options.keep_alive_seconds;
  if (seconds > 0) {
    bool is_set = set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1) &&
                  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds) &&
                  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEP_ALIVE_INTERVAL_SECONDS) &&
                  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEP_ALIVE_PROBES);
    if (!is_set) return -errno;
  }
  bool has_timeout = options.user_timeout_ms > 0;
  if (has_timeout && !set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, options.user_timeout_ms)) {
    return -errno;
  }
  return 0;
}

Acceptors::Acceptors(int epoll_fd, double* counters)
    : epoll_fd_(epoll_fd), counters_(counters), reserve_fd_(open_reserve()) {}

Acceptors::~Acceptors() { close_all(); }

void Acceptors::close_all() {
  for (int32_t index = 0; index < ACCEPTORS_MAX; index++) remove(index);
  if (reserve_fd_ >= 0) ::close(reserve_fd_);
  reserve_fd_ = -1;
}

int32_t Acceptors::add(int fd, uint8_t member) {
  for (int32_t index = 0; index < ACCEPTORS_MAX; index++) {
    Acceptor& acceptor = acceptors_[index];
    if (acceptor.fd >= 0) continue;
    acceptor.fd = fd;
    acceptor.member = member;
    acceptor.is_starved = false;
    if (watch(index)) return index;
    int error = errno;
    acceptor.fd = -1;
    return -error;
  }
  return -ENOSPC;
}

void Acceptors::remove(int32_t index) {
  if (index < 0 || index >= ACCEPTORS_MAX || acceptors_[index].fd < 0) return;
  // An inherited socket lives on in other processes, and with it its place in the epoll set.
  epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, acceptors_[index].fd, nullptr);
  ::close(acceptors_[index].fd);
  acceptors_[index].fd = -1;
  acceptors_[index].generation++;
}

bool Acceptors::retry(int32_t index) {
  if (fd_of(index) < 0 || !acceptors_[index].is_starved) return false;
  // It fails where others are being refused still.
  watch(index);
  return true;
}

int Acceptors::fd_of(int32_t index) const {
  return index >= 0 && index < ACCEPTORS_MAX ? acceptors_[index].fd : -1;
}

int32_t Acceptors::index_of(uint64_t key) const {
  auto index = static_cast<int32_t>(key & (EVENT_BIT - 1));
  auto generation = static_cast<uint32_t>(key >> 32);
  if (index >= ACCEPTORS_MAX) return -1;
  const Acceptor& acceptor = acceptors_[index];
  return acceptor.fd >= 0 && acceptor.generation == generation ? index : -1;
}

void Acceptors::on_event(int32_t index, RecordList& told) {
  Acceptor& acceptor = acceptors_[index];
  for (int32_t taken = 0; taken < ACCEPTS_MAX; taken++) {
    int fd = accept4(acceptor.fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      counters_[COUNTER_ACCEPTED]++;
      told.add(RECORD_ACCEPTED, acceptor.member, index, fd, 0);
    } else if (errno == EAGAIN) {
      // Without a free file it would not have come to this.
      acceptor.is_starved = false;
      return;
    } else if (!is_of_connection(errno)) {
      starve(index, errno, told);
      return;
    }
  }
}

/** Told and counted once, until everybody who waits could be accepted again. */
void Acceptors::starve(int32_t index, int error, RecordList& told) {
  Acceptor& acceptor = acceptors_[index];
  if (!acceptor.is_starved) {
    acceptor.is_starved = true;
    counters_[COUNTER_ACCEPT_ERRORS]++;
    told.add(RECORD_ACCEPT_ERROR, acceptor.member, index, error, 0);
  }
  bool is_out_of_files = error == EMFILE || error == ENFILE;
  if (is_out_of_files && refuse_waiting(acceptor)) return;
  // Left in the set, one that was shut down would be reported for ever, whatever is asked for.
  epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, acceptor.fd, nullptr);
}

/**
 * Whoever waits learns that there is no room, instead of waiting for nothing.
 * @returns whether more may wait, who are refused in the next batch.
 */
bool Acceptors::refuse_waiting(Acceptor& acceptor) {
  if (reserve_fd_ < 0) reserve_fd_ = open_reserve();
  for (int32_t refused = 0; refused < ACCEPTS_MAX; refused++) {
    if (reserve_fd_ < 0) return false;
    ::close(reserve_fd_);
    int fd = accept4(acceptor.fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    int error = errno;
    if (fd >= 0) refuse(fd);
    reserve_fd_ = open_reserve();
    if (fd < 0 && !is_of_connection(error)) return false;
  }
  return true;
}

void Acceptors::refuse(int fd) {
  // FIN even where bytes came: unread, they would make it a reset.
  char unread[4096];
  ssize_t length = recv(fd, unread, sizeof unread, MSG_DONTWAIT);
  (void)length;
  ::close(fd);
  counters_[COUNTER_ACCEPT_REFUSED]++;
}

bool Acceptors::watch(int32_t index) {
  epoll_event event = {};
  event.events = EPOLLIN;
  uint64_t generation = acceptors_[index].generation;
  event.data.u64 = (generation << 32) | EVENT_BIT | static_cast<uint64_t>(index);
  return epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, acceptors_[index].fd, &event) == 0;
}

}  // namespace holdfast
