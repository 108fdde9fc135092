// WebSocket clients that only listen: each sends what it was told to, and then counts messages.
// One thread, one epoll instance; reading a message is one recv and a look at its header, so that a
// server's fan-out is measured and not its clients.
//
//   subscribers --port P --count N --source-base BASE --request HEX --greeting HEX --answers A
//               [--framed]
//     opens N connections from 127.BASE.0.x; each sends the request, waits for the end of the HTTP
//     answer, sends the greeting and waits for A messages; then prints {"ready":N}
//     with --framed, what counts as a message is a frame of Holdfast's in a WebSocket message
//     command on standard input:
//       `expect M`   prints {"received":R,"lastNs":T} when M messages have come, or no more for 10 s;
//                    T is CLOCK_MONOTONIC at the last of them
//
// Linux only.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

// The kernel's search for a free port slows as an address fills up.
#define PORTS_PER_SOURCE 2000
// Connections that are being opened at once: below any listener's backlog.
#define OPENING_MAX 200
#define CONNECTIONS_MAX 100000
#define EVENTS_MAX 512
#define MESSAGE_BYTES_MAX 1024
#define STUCK_SECONDS_MAX 10

enum phase { CONNECTING, UPGRADING, GREETING, LISTENING };

struct connection {
  int fd;
  uint32_t answers;
  uint8_t phase;
};

static struct {
  int port, count, source_base, answers;
  uint8_t request[MESSAGE_BYTES_MAX], greeting[MESSAGE_BYTES_MAX];
  size_t request_bytes, greeting_bytes;
  bool is_framed;
} options;

static struct connection connections[CONNECTIONS_MAX];
static int epoll_fd, begun, opening, ready;
static uint64_t received, expected;
static int64_t last_ns;
static bool has_command, has_ended;

static void die(const char *format, ...) {
  va_list values;
  va_start(values, format);
  fprintf(stderr, "subscribers: ");
  vfprintf(stderr, format, values);
  fprintf(stderr, "\n");
  va_end(values);
  exit(1);
}

static int64_t now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000ll + time.tv_nsec;
}

static void watch(int operation, int slot, uint32_t events) {
  struct epoll_event event = {.events = events, .data.u32 = (uint32_t)slot};
  if (epoll_ctl(epoll_fd, operation, connections[slot].fd, &event) != 0) {
    die("epoll_ctl: %s", strerror(errno));
  }
}

static void begin(void) {
  int on = 1, slot = begun++;
  uint32_t host = 0x7f000002u + ((uint32_t)options.source_base << 16);
  struct sockaddr_in from = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(host + (uint32_t)(slot / PORTS_PER_SOURCE))};
  struct sockaddr_in to = {.sin_family = AF_INET,
                           .sin_port = htons((uint16_t)options.port),
                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket: %s", strerror(errno));
  setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (bind(fd, (struct sockaddr *)&from, sizeof from) != 0) die("bind: %s", strerror(errno));
  if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS) {
    die("connect: %s", strerror(errno));
  }
  connections[slot] = (struct connection){.fd = fd, .phase = CONNECTING};
  opening++;
  watch(EPOLL_CTL_ADD, slot, EPOLLOUT);
}

static void say(int slot, const uint8_t *bytes, size_t count) {
  if (count == 0) return;
  if (send(connections[slot].fd, bytes, count, MSG_NOSIGNAL) != (ssize_t)count) {
    die("send: %s", strerror(errno));
  }
}

// Frames in a message: four bytes of length, then the body. One of no length is a heartbeat.
static uint32_t frames_in(const uint8_t *bytes, size_t count) {
  uint32_t frames = 0, length;
  for (size_t at = 0; at + 4 <= count; at += 4 + ntohl(length)) {
    memcpy(&length, bytes + at, 4);
    if (length != 0) frames++;
  }
  return frames;
}

// Whole messages in the bytes: nobody sends one so large, or so many at once, that it is cut.
static uint32_t messages_in(const uint8_t *bytes, size_t count) {
  uint32_t messages = 0;
  for (size_t at = 0; at < count;) {
    if (count - at < 2) die("a message that is cut off");
    size_t length = bytes[at + 1] & 0x7f, head = 2;
    if ((bytes[at] & 0x0f) == 8) die("a server closed a connection");
    if (length == 127) die("a message that is too large");
    if (length == 126) {
      if (count - at < 4) die("a message that is cut off");
      length = (size_t)bytes[at + 2] << 8 | bytes[at + 3];
      head = 4;
    }
    if (length > count - at - head) die("a message that is cut off");
    at += head;
    messages += options.is_framed ? frames_in(bytes + at, length) : 1;
    at += length;
  }
  return messages;
}

static void listen_now(int slot) {
  connections[slot].phase = LISTENING;
  opening--;
  ready++;
}

static void take(int slot, const uint8_t *bytes, size_t count) {
  struct connection *connection = &connections[slot];
  if (connection->phase == UPGRADING) {
    const uint8_t *end = memmem(bytes, count, "\r\n\r\n", 4);
    if (end == NULL || memcmp(bytes, "HTTP/1.1 101", 12) != 0) die("no upgrade");
    count -= (size_t)(end + 4 - bytes);
    bytes = end + 4;
    connection->phase = GREETING;
    say(slot, options.greeting, options.greeting_bytes);
  }
  uint32_t messages = messages_in(bytes, count);
  if (connection->phase == LISTENING) {
    received += messages;
    if (messages > 0) last_ns = now_ns();
    return;
  }
  connection->answers += messages;
  if (connection->answers >= (uint32_t)options.answers) listen_now(slot);
}

static void connected(int slot) {
  int error = 0;
  socklen_t length = sizeof error;
  getsockopt(connections[slot].fd, SOL_SOCKET, SO_ERROR, &error, &length);
  if (error != 0) die("connect: %s", strerror(error));
  connections[slot].phase = UPGRADING;
  watch(EPOLL_CTL_MOD, slot, EPOLLIN);
  say(slot, options.request, options.request_bytes);
}

static void turn(int ms) {
  static uint8_t bytes[65536];
  struct epoll_event events[EVENTS_MAX];
  int count = epoll_wait(epoll_fd, events, EVENTS_MAX, ms);
  if (count < 0 && errno != EINTR) die("epoll_wait: %s", strerror(errno));
  for (int i = 0; i < count; i++) {
    int slot = (int)events[i].data.u32;
    if (slot == CONNECTIONS_MAX) {
      has_command = true;
    } else if (connections[slot].phase == CONNECTING) {
      connected(slot);
    } else {
      ssize_t got = recv(connections[slot].fd, bytes, sizeof bytes, 0);
      if (got < 0 && errno == EAGAIN) continue;
      if (got <= 0) die("a connection ended");
      take(slot, bytes, (size_t)got);
    }
  }
}

static void command(void) {
  char line[64];
  unsigned long long count;
  has_command = false;
  if (fgets(line, sizeof line, stdin) == NULL) {
    has_ended = true;
    return;
  }
  if (sscanf(line, "expect %llu", &count) != 1) die("no such command: %s", line);
  // The first may have come before the command did.
  expected = count;
  int64_t moved_at = now_ns();
  for (uint64_t seen = received; received < expected;) {
    turn(100);
    if (received != seen) moved_at = now_ns();
    else if (now_ns() - moved_at > STUCK_SECONDS_MAX * 1000000000ll) break;
    seen = received;
  }
  printf("{\"received\":%llu,\"lastNs\":%lld}\n", (unsigned long long)received,
         (long long)last_ns);
  fflush(stdout);
  received = 0;
}

static size_t bytes_of(const char *hex, uint8_t *bytes) {
  size_t count = strlen(hex) / 2;
  if (count > MESSAGE_BYTES_MAX) die("more than %d bytes", MESSAGE_BYTES_MAX);
  for (size_t i = 0; i < count; i++) {
    unsigned value;
    if (sscanf(hex + 2 * i, "%2x", &value) != 1) die("no hex: %s", hex);
    bytes[i] = (uint8_t)value;
  }
  return count;
}

static void read_options(int argc, char **argv) {
  static const struct option known[] = {
      {"port", 1, NULL, 'p'},    {"count", 1, NULL, 'n'},    {"source-base", 1, NULL, 'b'},
      {"request", 1, NULL, 'r'}, {"greeting", 1, NULL, 'g'}, {"answers", 1, NULL, 'a'},
      {"framed", 0, NULL, 'f'},  {NULL, 0, NULL, 0}};
  int option;
  while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
    switch (option) {
      case 'p': options.port = atoi(optarg); break;
      case 'n': options.count = atoi(optarg); break;
      case 'b': options.source_base = atoi(optarg); break;
      case 'r': options.request_bytes = bytes_of(optarg, options.request); break;
      case 'g': options.greeting_bytes = bytes_of(optarg, options.greeting); break;
      case 'a': options.answers = atoi(optarg); break;
      case 'f': options.is_framed = true; break;
      default: exit(2);
    }
  }
  if (options.port < 1 || options.port > 65535) die("--port is missing");
  if (options.count < 1 || options.count > CONNECTIONS_MAX) die("--count is missing");
  if (options.source_base < 0 || options.source_base > 200) die("--source-base: 0 to 200");
}

int main(int argc, char **argv) {
  struct rlimit files;
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = CONNECTIONS_MAX};
  read_options(argc, argv);
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  setvbuf(stdin, NULL, _IONBF, 0);
  if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &event) != 0) {
    die("epoll: %s", strerror(errno));
  }
  for (int before = -1; ready < options.count;) {
    while (begun < options.count && opening < OPENING_MAX) begin();
    if (ready == before && !has_command) turn(1000 * STUCK_SECONDS_MAX);
    else turn(100);
    before = ready;
  }
  printf("{\"ready\":%d}\n", ready);
  fflush(stdout);
  while (!has_ended) {
    while (!has_command) turn(1000);
    command();
  }
  return 0;
}
