// A bare echo on epoll, in plain C: the floor that tcp-epoll is measured against. One thread, level
// triggered; what was read is sent back at once. A peer that does not take all of it is not read
// again until it has. Prints its port as one line of JSON and ends with standard input.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 4096
#define EVENTS_MAX 512
#define READ_BYTES 65536
// Accepted in one go; then the others get their turn.
#define ACCEPTS_MAX 64

struct rest {
  char *bytes;
  size_t at, length;
};

static int epoll_fd, listen_fd;
static char bytes[READ_BYTES];
// What a peer has not taken yet, by file.
static struct rest *rests;

static void die(const char *what) {
  perror(what);
  exit(1);
}

static bool watch(int operation, int fd, uint32_t events) {
  struct epoll_event event = {.events = events, .data.fd = fd};
  return epoll_ctl(epoll_fd, operation, fd, &event) == 0;
}

static void end(int fd) {
  free(rests[fd].bytes);
  rests[fd] = (struct rest){0};
  close(fd);
}

static void accept_some(void) {
  for (int i = 0; i < ACCEPTS_MAX; i++) {
    int on = 1;
    int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0 && errno != EAGAIN && errno != ECONNABORTED) die("accept4");
    if (fd < 0) return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (!watch(EPOLL_CTL_ADD, fd, EPOLLIN)) die("epoll_ctl");
  }
}

static void echo(int fd) {
  ssize_t got = recv(fd, bytes, sizeof bytes, 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) {
    end(fd);
    return;
  }
  ssize_t sent = send(fd, bytes, (size_t)got, MSG_NOSIGNAL);
  if (sent == got) return;
  if (sent < 0 && errno != EAGAIN) {
    end(fd);
    return;
  }
  size_t taken = sent < 0 ? 0 : (size_t)sent, length = (size_t)got - taken;
  rests[fd] = (struct rest){.bytes = malloc(length), .length = length};
  if (rests[fd].bytes == NULL) die("malloc");
  memcpy(rests[fd].bytes, bytes + taken, length);
  if (!watch(EPOLL_CTL_MOD, fd, EPOLLOUT)) die("epoll_ctl");
}

static void send_rest(int fd) {
  struct rest *rest = &rests[fd];
  ssize_t sent = send(fd, rest->bytes + rest->at, rest->length - rest->at, MSG_NOSIGNAL);
  if (sent < 0 && errno == EAGAIN) return;
  if (sent < 0) {
    end(fd);
    return;
  }
  rest->at += (size_t)sent;
  if (rest->at < rest->length) return;
  free(rest->bytes);
  *rest = (struct rest){0};
  if (!watch(EPOLL_CTL_MOD, fd, EPOLLIN)) die("epoll_ctl");
}

static void listen_anywhere(void) {
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (listen_fd < 0) die("socket");
  if (bind(listen_fd, (struct sockaddr *)&address, length) != 0) die("bind");
  if (listen(listen_fd, BACKLOG) != 0) die("listen");
  if (getsockname(listen_fd, (struct sockaddr *)&address, &length) != 0) die("getsockname");
  printf("{\"tcp\":%d}\n", ntohs(address.sin_port));
  fflush(stdout);
}

int main(void) {
  struct rlimit files;
  struct epoll_event events[EVENTS_MAX];
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  rests = calloc(files.rlim_cur, sizeof *rests);
  if (epoll_fd < 0 || rests == NULL) die("epoll_create1");
  listen_anywhere();
  if (!watch(EPOLL_CTL_ADD, listen_fd, EPOLLIN) || !watch(EPOLL_CTL_ADD, STDIN_FILENO, EPOLLIN)) {
    die("epoll_ctl");
  }
  for (;;) {
    int count = epoll_wait(epoll_fd, events, EVENTS_MAX, -1);
    if (count < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < count; i++) {
      int fd = events[i].data.fd;
      if (fd == listen_fd) accept_some();
      else if (fd != STDIN_FILENO && rests[fd].length > 0) send_rest(fd);
      else if (fd != STDIN_FILENO) echo(fd);
      else if (read(fd, bytes, sizeof bytes) <= 0) return 0;
    }
  }
}
