// Connections that come and go: what accepting costs, and what is left of those that were. One
// thread, one epoll instance, every connection from 127.BASE.0.x.
//
//   lives --port P --protocol raw|holdfast --pid SERVER --source-base BASE
//     commands on standard input:
//       `hold N`         opens N, reads the clocks when the server has gone idle, then has each of
//                        them answered and resets it
//       `cycle N HELD`   opens and closes N, HELD of them at a time, in four ways, in turn:
//                        answered and ended in order, answered and reset, reset with the answer
//                        unread, reset with nothing said
//
// Every result is one line of JSON on standard output. Linux only.
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
// Their ports are free again when their turn comes, also of those that linger for a minute.
#define SOURCES 100
// Connections that are being opened at once: below any listener's backlog.
#define OPENING_MAX 200
#define CONNECTIONS_MAX 100000
#define EVENTS_MAX 512
// The server is idle when its clock has stood still for so long, but for timers.
#define IDLE_SECONDS 0.05
#define IDLE_SHARE_MAX 0.1
#define STUCK_SECONDS_MAX 10

enum phase { FREE, CONNECTING, OPEN, ASKING, ENDING };
enum way { END, RESET, RESET_UNREAD, RESET_UNSAID, WAYS };

struct connection {
  int fd;
  uint8_t phase, way;
};

static struct {
  int port, pid, source_base;
  bool holdfast;
} options;

static const char echo[] = "thirty-two bytes there and back.";
// ClientMessage{id 1, hello{version 1, client "load"}} in its frame.
static const uint8_t hello[] = {0,    0,    0, 12,   0x08, 1,   0x12, 8,
                                0x08, 1,    0x1a, 4, 'l',  'o', 'a',  'd'};

static struct connection connections[CONNECTIONS_MAX];
static int free_slots[CONNECTIONS_MAX], free_count;
static int epoll_fd, opening, alive;
static uint64_t begun, opened, answers, ended, errors;
static bool is_cycling, has_command;
static double moved_at;

static void die(const char *format, ...) {
  va_list values;
  va_start(values, format);
  fprintf(stderr, "lives: ");
  vfprintf(stderr, format, values);
  fprintf(stderr, "\n");
  va_end(values);
  exit(1);
}

static double seconds_of(clockid_t clock) {
  struct timespec time;
  if (clock_gettime(clock, &time) != 0) die("clock: %s", strerror(errno));
  return time.tv_sec + time.tv_nsec / 1e9;
}

static double now(void) { return seconds_of(CLOCK_MONOTONIC); }

// CPU time of all threads of the server so far.
static double server_cpu_seconds(void) {
  clockid_t clock;
  if (clock_getcpuclockid(options.pid, &clock) != 0) die("process %d is gone", options.pid);
  return seconds_of(clock);
}

static void watch(int operation, int slot, uint32_t events) {
  struct epoll_event event = {.events = events, .data.u32 = (uint32_t)slot};
  if (epoll_ctl(epoll_fd, operation, connections[slot].fd, &event) != 0) {
    die("epoll_ctl: %s", strerror(errno));
  }
}

// --- A connection's life ---

static void begin(void) {
  uint64_t source = begun / PORTS_PER_SOURCE % SOURCES + 2;
  uint32_t host = 0x7f000000u + ((uint32_t)options.source_base << 16) + (uint32_t)source;
  struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(host)};
  struct sockaddr_in to = {.sin_family = AF_INET,
                           .sin_port = htons((uint16_t)options.port),
                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int on = 1, slot = free_slots[--free_count];
  struct connection *connection = &connections[slot];
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket: %s", strerror(errno));
  setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (bind(fd, (struct sockaddr *)&from, sizeof from) != 0) die("bind: %s", strerror(errno));
  if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS) {
    die("connect: %s", strerror(errno));
  }
  *connection = (struct connection){.fd = fd, .phase = CONNECTING, .way = begun++ % WAYS};
  opening++;
  alive++;
  watch(EPOLL_CTL_ADD, slot, EPOLLOUT);
}

static void drop(int slot, bool is_reset) {
  struct connection *connection = &connections[slot];
  struct linger at_once = {.l_onoff = 1, .l_linger = 0};
  if (is_reset) {
    setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  }
  close(connection->fd);
  connection->phase = FREE;
  free_slots[free_count++] = slot;
  alive--;
  ended++;
}

static void ask(int slot) {
  struct connection *connection = &connections[slot];
  const void *bytes = options.holdfast ? (const void *)hello : (const void *)echo;
  ssize_t length = options.holdfast ? (ssize_t)sizeof hello : (ssize_t)sizeof echo - 1;
  if (send(connection->fd, bytes, (size_t)length, MSG_NOSIGNAL) != length) errors++;
  connection->phase = ASKING;
}

static void connected(int slot) {
  struct connection *connection = &connections[slot];
  int error = 0;
  socklen_t length = sizeof error;
  getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &length);
  if (error != 0) die("connect: %s", strerror(error));
  opening--;
  opened++;
  connection->phase = OPEN;
  watch(EPOLL_CTL_MOD, slot, EPOLLIN);
  if (!is_cycling) return;
  if (connection->way == RESET_UNSAID) drop(slot, true);
  else ask(slot);
}

static void answered(int slot) {
  struct connection *connection = &connections[slot];
  if (is_cycling && connection->way == RESET_UNREAD) {
    drop(slot, true);
    return;
  }
  char bytes[1024];
  ssize_t got = recv(connection->fd, bytes, sizeof bytes, 0);
  if (got < 0 && errno == EAGAIN) return;
  bool is_echo = got == (ssize_t)sizeof echo - 1 && memcmp(bytes, echo, (size_t)got) == 0;
  // A Welcome that is cut in two is not worth waiting for: it is small and comes whole.
  bool is_welcome = got > 8 && bytes[4] == 0x08 && bytes[5] == 1 && bytes[6] == 0x12;
  if (!(options.holdfast ? is_welcome : is_echo)) {
    if (errors++ == 0) fprintf(stderr, "lives: an answer of %zd bytes\n", got);
    drop(slot, true);
    return;
  }
  answers++;
  if (is_cycling && connection->way == END) {
    connection->phase = ENDING;
    shutdown(connection->fd, SHUT_WR);
  } else {
    drop(slot, true);
  }
}

static void readable(int slot) {
  struct connection *connection = &connections[slot];
  if (connection->phase == ASKING) {
    answered(slot);
    return;
  }
  char bytes[1024];
  ssize_t got = recv(connection->fd, bytes, sizeof bytes, 0);
  if (got > 0 || (got < 0 && errno == EAGAIN)) return;
  if (got < 0 || connection->phase != ENDING) errors++;
  drop(slot, false);
}

static void turn(int ms) {
  struct epoll_event events[EVENTS_MAX];
  int count = epoll_wait(epoll_fd, events, EVENTS_MAX, ms);
  if (count < 0 && errno != EINTR) die("epoll_wait: %s", strerror(errno));
  if (count > 0) moved_at = now();
  else if (now() - moved_at > STUCK_SECONDS_MAX && alive > 0) {
    die("nothing for %d s: %d alive, %d opening", STUCK_SECONDS_MAX, alive, opening);
  }
  for (int i = 0; i < count; i++) {
    int slot = (int)events[i].data.u32;
    if (slot == CONNECTIONS_MAX) has_command = true;
    else if (connections[slot].phase == CONNECTING) connected(slot);
    else if (connections[slot].phase != FREE) readable(slot);
  }
}

// --- Commands ---

// The server has taken what waits in its backlog. @returns its CPU time by then.
static double cpu_when_idle(void) {
  double limit = now() + STUCK_SECONDS_MAX;
  for (double cpu = server_cpu_seconds();;) {
    double end = now() + IDLE_SECONDS, before = cpu;
    while (now() < end) turn(10);
    cpu = server_cpu_seconds();
    if (cpu - before < IDLE_SECONDS * IDLE_SHARE_MAX) return cpu;
    if (now() > limit) die("the server is not idle after %d s", STUCK_SECONDS_MAX);
  }
}

static void result(const char *what, uint64_t count, double seconds, double cpu) {
  printf("{\"%s\":%llu,\"seconds\":%.6f,\"cpuMicros\":%.0f,\"answers\":%llu,\"errors\":%llu}\n",
         what, (unsigned long long)count, seconds, cpu * 1e6, (unsigned long long)answers,
         (unsigned long long)errors);
  fflush(stdout);
}

static void hold(uint64_t count) {
  uint64_t target = opened + count, last = begun + count;
  double began = now(), cpu = cpu_when_idle();
  answers = 0;
  for (began = now(); opened < target;) {
    while (begun < last && opening < OPENING_MAX) begin();
    turn(100);
  }
  double seconds = now() - began;
  cpu = cpu_when_idle() - cpu;
  // That each was accepted is asked when the clocks have been read, a few at a time.
  for (int slot = 0; slot < CONNECTIONS_MAX; slot++) {
    if (connections[slot].phase != OPEN) continue;
    ask(slot);
    turn(0);
  }
  while (alive > 0) turn(100);
  if (answers != count) errors++;
  result("held", count, seconds, cpu);
}

static void cycle(uint64_t count, int held) {
  uint64_t last = begun + count;
  double began = now(), cpu = server_cpu_seconds();
  answers = 0;
  is_cycling = true;
  while (begun < last || alive > 0) {
    while (begun < last && alive < held && opening < OPENING_MAX) begin();
    turn(100);
  }
  is_cycling = false;
  double seconds = now() - began;
  cpu = cpu_when_idle() - cpu;
  result("cycles", count, seconds, cpu);
}

// @returns false where standard input has ended.
static bool command(void) {
  char line[64];
  unsigned long long count;
  int held;
  has_command = false;
  if (fgets(line, sizeof line, stdin) == NULL) return false;
  moved_at = now();
  if (sscanf(line, "hold %llu", &count) == 1 && count <= CONNECTIONS_MAX) {
    hold(count);
  } else if (sscanf(line, "cycle %llu %d", &count, &held) == 2 && held <= CONNECTIONS_MAX) {
    cycle(count, held);
  } else {
    die("no such command: %s", line);
  }
  return true;
}

static void read_options(int argc, char **argv) {
  static const struct option known[] = {{"port", 1, NULL, 'p'},
                                        {"protocol", 1, NULL, 'P'},
                                        {"pid", 1, NULL, 'i'},
                                        {"source-base", 1, NULL, 'b'},
                                        {NULL, 0, NULL, 0}};
  int option;
  while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
    switch (option) {
      case 'p': options.port = atoi(optarg); break;
      case 'P': options.holdfast = strcmp(optarg, "holdfast") == 0; break;
      case 'i': options.pid = atoi(optarg); break;
      case 'b': options.source_base = atoi(optarg); break;
      default: exit(2);
    }
  }
  if (options.port < 1 || options.port > 65535) die("--port is missing");
  if (options.pid < 1) die("--pid is missing");
  if (options.source_base < 0 || options.source_base > 200) die("--source-base: 0 to 200");
}

int main(int argc, char **argv) {
  struct rlimit files;
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = CONNECTIONS_MAX};
  read_options(argc, argv);
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  while (free_count < CONNECTIONS_MAX) {
    free_slots[free_count] = CONNECTIONS_MAX - 1 - free_count;
    free_count++;
  }
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  setvbuf(stdin, NULL, _IONBF, 0);
  if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &event) != 0) {
    die("epoll: %s", strerror(errno));
  }
  do {
    has_command = false;
    while (!has_command) turn(1000);
  } while (command());
  return errors > 0 ? 1 : 0;
}
