#include "connector.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

namespace holdfast {

namespace {

constexpr int STREAM = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;

const sockaddr* name_of(const Address& address) {
  return reinterpret_cast<const sockaddr*>(&address.storage);
}

bool turn_on(int fd, int level, int name) {
  int on = 1;
  return setsockopt(fd, level, name, &on, sizeof on) == 0;
}

int closed_with_error(int fd, int error) {
  ::close(fd);
  return -error;
}

/**
 * Without IP_BIND_ADDRESS_NO_PORT the kernel reserves a port at bind() that no other connection of
 * the address may use, and 28,000 connections exhaust an address, whatever they connect to.
 */
bool bind_local(int fd, const Address& local) {
  bool is_ready = port_of(local) == 0 ? turn_on(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT)
                                      : turn_on(fd, SOL_SOCKET, SO_REUSEADDR);
  return is_ready && bind(fd, name_of(local), local.length) == 0;
}

}  // namespace

int open_connecting(const Address& remote, const Address* local, const SocketOptions& options) {
  int fd = socket(remote.family(), STREAM, 0);
  if (fd < 0) return -errno;
  int failed = apply_options(fd, options);
  if (failed != 0) return closed_with_error(fd, -failed);
  if (local != nullptr && !bind_local(fd, *local)) return closed_with_error(fd, errno);
  int result = connect(fd, name_of(remote), remote.length);
  if (result != 0 && errno != EINPROGRESS) return closed_with_error(fd, errno);
  return fd;
}

int open_listening(const Address& address, int backlog, const SocketOptions& options,
                   bool is_shared) {
  int fd = socket(address.family(), STREAM, 0);
  if (fd < 0) return -errno;
  // A port whose former connections are in TIME_WAIT may be listened on at once. An IPv6 wildcard
  // takes IPv4 too, as node:net has it.
  if (address.family() != AF_UNIX) turn_on(fd, SOL_SOCKET, SO_REUSEADDR);
  if (address.family() == AF_INET6) {
    int off = 0;
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  }
  int failed = is_shared ? share_port(fd) : 0;
  if (failed == 0) failed = apply_options(fd, options);
  if (failed != 0) return closed_with_error(fd, -failed);
  if (bind(fd, name_of(address), address.length) != 0) return closed_with_error(fd, errno);
  if (listen(fd, backlog) != 0) return closed_with_error(fd, errno);
  return fd;
}

int share_port(int fd) { return turn_on(fd, SOL_SOCKET, SO_REUSEPORT) ? 0 : -errno; }

int open_inherited(int fd, int backlog, const SocketOptions& options) {
  int type = 0;
  socklen_t length = sizeof type;
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0) return -errno;
  if (type != SOCK_STREAM) return -ESOCKTNOSUPPORT;
  int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (own < 0) return -errno;
  int failed = apply_options(own, options);
  if (failed != 0) return closed_with_error(own, -failed);
  int flags = fcntl(own, F_GETFL);
  if (flags < 0 || fcntl(own, F_SETFL, flags | O_NONBLOCK) != 0) {
    return closed_with_error(own, errno);
  }
  // Also where it listens already: the backlog is set anew. One that is bound to nothing would be
  // given a port of the kernel's choice, which nobody knows.
  Address address;
  int named = local_address(own, address);
  if (named != 0) return closed_with_error(own, -named);
  bool is_bound = address.family() == AF_UNIX || port_of(address) != 0;
  if (!is_bound) return closed_with_error(own, EINVAL);
  if (listen(own, backlog) != 0) return closed_with_error(own, errno);
  return own;
}

int listening_address(int fd, Address& address) {
  int type = 0;
  int listens = 0;
  socklen_t length = sizeof type;
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0) return -errno;
  if (type != SOCK_STREAM) return -ESOCKTNOSUPPORT;
  length = sizeof listens;
  if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) != 0) return -errno;
  return listens == 0 ? -EINVAL : local_address(fd, address);
}

}  // namespace holdfast
