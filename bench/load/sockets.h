// What the load clients do with sockets, all of them alike: connections from addresses of 127/8.
#ifndef SOCKETS_H
#define SOCKETS_H
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include "clocks.h"

// Whoever connects takes a port when it is known where to, so that each of an address's ports can
// be had for each server.
static inline int client_socket(void) {
  int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket: %s", strerror(errno));
  setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

// From address `index` of 127.BASE, the first of which is 127.BASE.0.2.
static inline void connect_from(int fd, int base, uint32_t index, const char *host, int port) {
  uint32_t source = 0x7f000002u + ((uint32_t)base << 16) + index;
  struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(source)};
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  if (inet_pton(AF_INET, host, &to.sin_addr) != 1) die("no address: %s", host);
  if (bind(fd, (struct sockaddr *)&from, sizeof from) != 0) die("bind: %s", strerror(errno));
  if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS) {
    die("connect: %s", strerror(errno));
  }
}

// Of a socket that has become writable for the first time.
static inline void check_connected(int fd) {
  int error = 0;
  socklen_t length = sizeof error;
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
  if (error != 0) die("connect: %s", strerror(error));
}

static inline void watch_fd(int epoll_fd, int operation, int fd, uint32_t slot, uint32_t events) {
  struct epoll_event event = {.events = events, .data.u32 = slot};
  if (epoll_ctl(epoll_fd, operation, fd, &event) != 0) die("epoll_ctl: %s", strerror(errno));
}

// As many as this process may have.
static inline void raise_file_limit(void) {
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
}

static inline int new_epoll(void) {
  int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd < 0) die("epoll: %s", strerror(errno));
  return epoll_fd;
}

// Commands on standard input are told of as `slot`. Unbuffered: none is kept where epoll would not
// see it.
static inline void watch_commands(int epoll_fd, uint32_t slot) {
  setvbuf(stdin, NULL, _IONBF, 0);
  watch_fd(epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, slot, EPOLLIN);
}

#endif
