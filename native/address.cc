#include "address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <cstdio>
#include <cstring>

namespace holdfast {

namespace {

using NameCall = int (*)(int, sockaddr*, socklen_t*);

int name_of(int fd, Address& address, NameCall call) {
  address.length = sizeof address.storage;
  std::memset(&address.storage, 0, sizeof address.storage);
  auto* name = reinterpret_cast<sockaddr*>(&address.storage);
  return call(fd, name, &address.length) == 0 ? 0 : -errno;
}

}  // namespace

int parse_ip(const char* text, int port, Address& address) {
  if (port < 0 || port > 65535) return -EINVAL;
  addrinfo hints = {};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  char service[8];
  std::snprintf(service, sizeof service, "%d", port);
  addrinfo* found = nullptr;
  if (getaddrinfo(text, service, &hints, &found) != 0) return -EINVAL;
  std::memset(&address.storage, 0, sizeof address.storage);
  std::memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
  address.length = found->ai_addrlen;
  freeaddrinfo(found);
  return 0;
}

int parse_path(const char* path, Address& address) {
  std::memset(&address.storage, 0, sizeof address.storage);
  auto* name = reinterpret_cast<sockaddr_un*>(&address.storage);
  size_t length = std::strlen(path);
  if (length == 0) return -EINVAL;
  if (length >= sizeof name->sun_path) return -ENAMETOOLONG;
  name->sun_family = AF_UNIX;
  std::memcpy(name->sun_path, path, length + 1);
  address.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length + 1);
  return 0;
}

void format_address(const Address& address, char (&text)[ADDRESS_TEXT_MAX]) {
  text[0] = '\0';
  char host[INET6_ADDRSTRLEN + 20];
  if (address.family() != AF_INET && address.family() != AF_INET6) return;
  const auto* name = reinterpret_cast<const sockaddr*>(&address.storage);
  int failed = getnameinfo(name, address.length, host, sizeof host, nullptr, 0, NI_NUMERICHOST);
  if (failed != 0) return;
  std::snprintf(text, sizeof text, "%s:%d", host, port_of(address));
}

const char* path_of(const Address& address) {
  // The kernel ends a path with a zero unless it fills sun_path, after which storage has zeros.
  const auto* name = reinterpret_cast<const sockaddr_un*>(&address.storage);
  return address.family() == AF_UNIX ? name->sun_path : "";
}

int local_address(int fd, Address& address) { return name_of(fd, address, getsockname); }
int remote_address(int fd, Address& address) { return name_of(fd, address, getpeername); }

int port_of(const Address& address) {
  const void* name = &address.storage;
  if (address.family() == AF_INET) return ntohs(static_cast<const sockaddr_in*>(name)->sin_port);
  if (address.family() == AF_INET6) {
    return ntohs(static_cast<const sockaddr_in6*>(name)->sin6_port);
  }
  return 0;
}

}  // namespace holdfast
