// Connections that come and go: what accepting costs, and what is left of those that were. One
// thread, one epoll instance, every connection from 127.BASE.0.x.
//
//   lives --port P --transport tcp|websocket --protocol raw|holdfast|socket.io --pid SERVER
//         --source-base BASE
//     commands on standard input:
//       `hold N`         opens N until they are ready for use: upgraded and greeted, where that is
//                        the protocol's way. Reads the clocks when the server has gone idle. Who
//                        said nothing yet, because nothing is to be said, is then asked for an
//                        echo; and all are reset
//       `cycle N HELD`   opens and closes N, HELD of them at a time, in four ways, in turn:
//                        answered and ended in order, answered and reset, reset with the answer
//                        unread, reset with nothing said. Over tcp alone
//
// Every result is one line of JSON on standard output. Linux only.
#define _GNU_SOURCE
#define PROGRAM "lives"
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include "clocks.h"
#include "frames.h"
#include "sockets.h"
#include "words.h"

// The kernel's search for a free port slows as an address fills up.
#define PORTS_PER_SOURCE 2000
// Their ports are free again when their turn comes, also of those that linger for a minute.
#define SOURCES 100
// Connections that are being opened at once: below any listener's backlog.
#define OPENING_MAX 200
// To connect is quicker than to accept, so they come in waves that fit a backlog of 4096: whoever
// finds it full tries again a second later.
#define WAVE_MAX 3000
#define CONNECTIONS_MAX 100000
#define EVENTS_MAX 512
// The server is idle when its clock has stood still for so long, but for timers.
#define IDLE_SECONDS 0.05
// So often it is looked at meanwhile.
#define LOOK_SECONDS 0.002
#define IDLE_SHARE_MAX 0.1
#define STUCK_SECONDS_MAX 10

enum phase { FREE, CONNECTING, UPGRADING, GREETING, OPEN, ASKING, ENDING };
enum protocol { RAW, HOLDFAST, SOCKET_IO };
enum way { END, RESET, RESET_UNREAD, RESET_UNSAID, WAYS };

struct connection {
  int fd;
  uint8_t phase, way;
};

static struct {
  int port, pid, source_base;
  enum protocol protocol;
  bool websocket;
} options;

static const char echo[] = "thirty-two bytes there and back.";
// What a client says when it is connected, and then when it is upgraded, or has been greeted.
static uint8_t upgrade[UPGRADE_BYTES_MAX], hello[HEAD_BYTES_MAX];
static size_t upgrade_bytes, hello_bytes;

static struct connection connections[CONNECTIONS_MAX];
static int free_slots[CONNECTIONS_MAX], free_count;
static int epoll_fd, opening, alive;
static uint64_t begun, opened, answers, ended, errors;
static bool is_cycling, has_command;
static double moved_at, busy_at;

static void watch(int operation, int slot, uint32_t events) {
  watch_fd(epoll_fd, operation, connections[slot].fd, (uint32_t)slot, events);
}

// --- A connection's life ---

static void begin(void) {
  int slot = free_slots[--free_count], fd = client_socket();
  struct connection *connection = &connections[slot];
  connect_from(fd, options.source_base, (uint32_t)(begun / PORTS_PER_SOURCE % SOURCES),
               "127.0.0.1", options.port);
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

static void tell(int slot, const void *bytes, size_t length, enum phase phase) {
  struct connection *connection = &connections[slot];
  if (send(connection->fd, bytes, length, MSG_NOSIGNAL) != (ssize_t)length) errors++;
  connection->phase = phase;
}

static void ask(int slot) {
  if (options.protocol == HOLDFAST) tell(slot, hello, hello_bytes, ASKING);
  else tell(slot, echo, sizeof echo - 1, ASKING);
}

static void became_open(int slot) {
  opening--;
  opened++;
  connections[slot].phase = OPEN;
}

static void connected(int slot) {
  struct connection *connection = &connections[slot];
  check_connected(connection->fd);
  watch(EPOLL_CTL_MOD, slot, EPOLLIN);
  if (options.websocket) {
    tell(slot, upgrade, upgrade_bytes, UPGRADING);
  } else if (!is_cycling && options.protocol == HOLDFAST) {
    tell(slot, hello, hello_bytes, GREETING);
  } else {
    became_open(slot);
    if (!is_cycling) return;
    if (connection->way == RESET_UNSAID) drop(slot, true);
    else ask(slot);
  }
}

static void unexpected(int slot, const char *what) {
  if (errors++ == 0) fprintf(stderr, "lives: %s\n", what);
  if (connections[slot].phase < OPEN) opening--;
  drop(slot, true);
}

// A message of a server that greets. @returns false where it is not one
static bool greeted(int slot, const uint8_t *bytes, size_t length) {
  if (options.protocol == SOCKET_IO && length > 0 && bytes[0] == '0') {
    tell(slot, hello, hello_bytes, GREETING);
    return true;
  }
  bool is_ready = options.protocol == SOCKET_IO
                      ? length > 2 && bytes[0] == '4' && bytes[1] == '0'
                      : is_welcome(bytes, length);
  if (!is_ready) return false;
  answers++;
  became_open(slot);
  return true;
}

// What comes before a connection is ready. It is small: one that comes in parts is not waited for.
static void greeting(int slot) {
  uint8_t bytes[1024];
  struct connection *connection = &connections[slot];
  ssize_t got = recv(connection->fd, bytes, sizeof bytes, 0);
  if (got < 0 && errno == EAGAIN) return;
  const uint8_t *at = bytes, *end = bytes + (got > 0 ? got : 0);
  if (connection->phase == UPGRADING) {
    const uint8_t *blank = memmem(bytes, (size_t)(end - bytes), "\r\n\r\n", 4);
    if (blank == NULL || memcmp(bytes, "HTTP/1.1 101", 12) != 0) {
      unexpected(slot, "it was not upgraded");
      return;
    }
    at = blank + 4;
    connection->phase = GREETING;
    if (options.protocol == HOLDFAST) tell(slot, hello, hello_bytes, GREETING);
    if (options.protocol == RAW) {
      answers++;
      became_open(slot);
    }
  } else if (got <= 0) {
    unexpected(slot, "it was closed before it was ready");
    return;
  }
  while (at < end) {
    // A server's WebSocket message of less than 126 bytes has a header of two, with its length.
    size_t head = options.websocket ? 2 : 0, there = (size_t)(end - at);
    size_t size = options.websocket && there >= head ? at[1] : there;
    if (head + size > there || !greeted(slot, at + head, size)) {
      unexpected(slot, "a greeting that was not expected");
      return;
    }
    at += head + size;
  }
}

static void answered(int slot) {
  struct connection *connection = &connections[slot];
  if (is_cycling && connection->way == RESET_UNREAD) {
    drop(slot, true);
    return;
  }
  uint8_t bytes[1024];
  ssize_t got = recv(connection->fd, bytes, sizeof bytes, 0);
  if (got < 0 && errno == EAGAIN) return;
  size_t length = got > 0 ? (size_t)got : 0;
  bool is_echo = length == sizeof echo - 1 && memcmp(bytes, echo, length) == 0;
  // A Welcome that is cut in two is not worth waiting for: it is small and comes whole.
  if (!(options.protocol == HOLDFAST ? is_welcome(bytes, length) : is_echo)) {
    unexpected(slot, "an answer that was not expected");
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
  if (connection->phase == UPGRADING || connection->phase == GREETING) {
    greeting(slot);
    return;
  }
  if (connection->phase == ASKING) {
    answered(slot);
    return;
  }
  char bytes[1024];
  ssize_t got = recv(connection->fd, bytes, sizeof bytes, 0);
  // Heartbeats and pings may come at any time; they are not waited for here.
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

// The server has taken what waits in its backlog, and was last at work at busy_at. @returns its CPU
// time by then
static double cpu_when_idle(void) {
  double began = now(), cpu = cpu_seconds(options.pid), before = cpu, look = began;
  busy_at = began;
  for (double time = began; time - busy_at < IDLE_SECONDS; time = now()) {
    turn(1);
    if (time - look < LOOK_SECONDS) continue;
    cpu = cpu_seconds(options.pid);
    if (cpu - before > (time - look) * IDLE_SHARE_MAX) busy_at = time;
    look = time;
    before = cpu;
    if (time - began > STUCK_SECONDS_MAX) {
      die("the server is not idle after %d s", STUCK_SECONDS_MAX);
    }
  }
  return cpu_seconds(options.pid);
}

static void result(const char *what, uint64_t count, double seconds, double cpu) {
  printf("{\"%s\":%llu,\"seconds\":%.6f,\"cpuMicros\":%.0f,\"answers\":%llu,\"errors\":%llu}\n",
         what, (unsigned long long)count, seconds, cpu * 1e6, (unsigned long long)answers,
         (unsigned long long)errors);
  fflush(stdout);
}

// @returns how long the server was at work with so many
static double wave(uint64_t count) {
  uint64_t target = opened + count, last = begun + count, failed = errors;
  double began = now();
  // One that failed is dropped and counted as an error.
  while (opened + (errors - failed) < target) {
    while (begun < last && opening < OPENING_MAX) begin();
    turn(100);
  }
  // The last may be accepted later than it was connected.
  cpu_when_idle();
  return busy_at - began;
}

static void hold(uint64_t count) {
  double seconds = 0, cpu = cpu_when_idle();
  answers = 0;
  for (uint64_t left = count; left > 0;) {
    uint64_t next = left < WAVE_MAX ? left : WAVE_MAX;
    seconds += wave(next);
    left -= next;
  }
  cpu = cpu_seconds(options.pid) - cpu;
  // That each was accepted is asked when the clocks have been read, a few at a time. Who was
  // greeted was.
  bool is_asked = options.protocol == RAW && !options.websocket;
  for (int slot = 0; slot < CONNECTIONS_MAX; slot++) {
    if (connections[slot].phase != OPEN) continue;
    if (is_asked) ask(slot);
    else drop(slot, true);
    turn(0);
  }
  while (alive > 0) turn(100);
  if (answers != count) errors++;
  result("held", count, seconds, cpu);
}

static void cycle(uint64_t count, int held) {
  uint64_t last = begun + count;
  double began = now(), cpu = cpu_seconds(options.pid);
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
    if (options.websocket) die("cycles are over tcp");
    cycle(count, held);
  } else {
    die("no such command: %s", line);
  }
  return true;
}

static void read_options(int argc, char **argv) {
  static const char *const transports[] = {"tcp", "websocket", NULL};
  static const char *const protocols[] = {"raw", "holdfast", "socket.io", NULL};
  static const struct option known[] = {{"port", 1, NULL, 'p'},
                                        {"transport", 1, NULL, 't'},
                                        {"protocol", 1, NULL, 'P'},
                                        {"pid", 1, NULL, 'i'},
                                        {"source-base", 1, NULL, 'b'},
                                        {NULL, 0, NULL, 0}};
  int option, index = 0;
  while ((option = getopt_long(argc, argv, "", known, &index)) != -1) {
    const char *flag = known[index].name;
    switch (option) {
      case 'p': options.port = (int)number(flag, optarg, 1, 65535); break;
      case 't': options.websocket = which(flag, optarg, transports) == 1; break;
      case 'P': options.protocol = (enum protocol)which(flag, optarg, protocols); break;
      case 'i': options.pid = (int)number(flag, optarg, 1, INT32_MAX); break;
      case 'b': options.source_base = (int)number(flag, optarg, 0, 200); break;
      default: exit(2);
    }
  }
  if (options.port == 0) die("--port is missing");
  if (options.pid == 0) die("--pid is missing");
}

static void build_greetings(void) {
  const char *path = options.protocol == SOCKET_IO ? "/socket.io/?EIO=4&transport=websocket" : "/";
  const char *subprotocol = "Sec-WebSocket-Protocol: holdfast.v1\r\n";
  uint8_t frame[HEAD_BYTES_MAX];
  upgrade_bytes = upgrade_request((char *)upgrade, options.port, path,
                                  options.protocol == HOLDFAST ? subprotocol : "");
  size_t length = hello_frame(frame);
  if (options.protocol == SOCKET_IO) hello_bytes = masked(hello, 1, (const uint8_t *)"40", 2);
  else if (options.websocket) hello_bytes = masked(hello, 2, frame, length);
  else hello_bytes = hello_frame(hello);
}

int main(int argc, char **argv) {
  read_options(argc, argv);
  build_greetings();
  raise_file_limit();
  while (free_count < CONNECTIONS_MAX) {
    free_slots[free_count] = CONNECTIONS_MAX - 1 - free_count;
    free_count++;
  }
  epoll_fd = new_epoll();
  watch_commands(epoll_fd, CONNECTIONS_MAX);
  do {
    has_command = false;
    while (!has_command) turn(1000);
  } while (command());
  return errors > 0 ? 1 : 0;
}
