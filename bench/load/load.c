// The load client of the benchmarks: one thread, one epoll instance. It speaks plain TCP and
// WebSocket, either a bare echo of 32 bytes or Holdfast's protocol with frames that were built
// before the clock started, so that the client costs little beside the server it measures.
//
//   load --mode echo|hold --port P --transport tcp|websocket --protocol raw|holdfast --pid SERVER
//     echo:  --connections N --in-flight K --warmup S --seconds S
//     hold:  commands on standard input: `open N` (N more), `stat`, `close`
//
// Every result is one line of JSON on standard output. CPU time is that of the process SERVER, read
// at the very moments that begin and end the measurement. Linux only; load.mjs is the same in Node.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
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

#define PAYLOAD_BYTES 32
// Ids are 1 .. in_flight and take one byte each as a varint.
#define IN_FLIGHT_MAX 127
#define REQUEST_BYTES_MAX 80
#define CONNECTIONS_MAX 100000
// The kernel's search for a free port slows as an address fills up.
#define PORTS_PER_SOURCE 4000
// Connections that are being opened at once: below any listener's backlog.
#define OPENING_MAX 200
#define READ_BYTES 65536
#define OPEN_SECONDS_MAX 60
#define STUCK_SECONDS_MAX 10
#define SPIN_SECONDS 0.0001
#define CLOSE_SECONDS_MAX 20
#define SETTLE_SECONDS_MAX 2

enum phase { CONNECTING, UPGRADING, GREETING, READY, LEAVING, CLOSED };

struct connection {
  int fd;
  uint8_t phase;
  // Bytes of an incomplete reply, in `rest`.
  uint32_t kept;
  uint8_t *rest;
  // Which ids wait for their answer; raw connections count in the first word.
  uint64_t waiting[2];
};

static struct {
  const char *host;
  int port;
  bool websocket, holdfast, hold;
  int connections, in_flight, pid, source_base;
  double warmup, seconds;
} options = {.host = "127.0.0.1", .connections = 1, .in_flight = 1, .seconds = 3, .warmup = 1};

static const char payload[PAYLOAD_BYTES + 1] = "thirty-two bytes there and back.";
static uint8_t requests[IN_FLIGHT_MAX + 1][REQUEST_BYTES_MAX];
static uint8_t replies[IN_FLIGHT_MAX + 1][REQUEST_BYTES_MAX];
static size_t request_bytes, reply_bytes;
static uint8_t hello[REQUEST_BYTES_MAX], heartbeat[REQUEST_BYTES_MAX], farewell[REQUEST_BYTES_MAX];
static size_t hello_bytes, heartbeat_bytes, farewell_bytes;

static struct connection *connections;
static int epoll_fd, started, opening, ready, target;
static uint64_t messages, errors, lost, heartbeats;
static bool running;
static uint8_t in[READ_BYTES * 2], out[READ_BYTES];
static size_t out_bytes;

static void die(const char *format, ...) {
  va_list values;
  va_start(values, format);
  fprintf(stderr, "load: ");
  vfprintf(stderr, format, values);
  fprintf(stderr, "\n");
  va_end(values);
  exit(1);
}

static void wrong(const char *what) {
  if (errors++ == 0) fprintf(stderr, "load: %s\n", what);
}

static double seconds_of(clockid_t clock) {
  struct timespec time;
  if (clock_gettime(clock, &time) != 0) die("clock: %s", strerror(errno));
  return time.tv_sec + time.tv_nsec / 1e9;
}

static double now(void) { return seconds_of(CLOCK_MONOTONIC); }

// CPU time of all threads of the server so far, in microseconds; 0 where no process was named.
static double server_cpu_micros(void) {
  clockid_t clock;
  if (options.pid == 0) return 0;
  if (clock_getcpuclockid(options.pid, &clock) != 0) die("process %d is gone", options.pid);
  return seconds_of(clock) * 1e6;
}

// --- Frames ---

// A client's WebSocket frame around `bytes`; its mask is a constant, which costs the server as much
// to undo as any other.
static size_t masked(uint8_t *to, uint8_t opcode, const uint8_t *bytes, size_t length) {
  static const uint8_t mask[4] = {0x5a, 0xc3, 0x17, 0x9e};
  to[0] = 0x80 | opcode;
  to[1] = 0x80 | (uint8_t)length;
  memcpy(to + 2, mask, 4);
  for (size_t i = 0; i < length; i++) to[6 + i] = bytes[i] ^ mask[i & 3];
  return 6 + length;
}

static size_t wrapped(uint8_t *to, const uint8_t *bytes, size_t length) {
  if (options.websocket) return masked(to, 2, bytes, length);
  memcpy(to, bytes, length);
  return length;
}

static size_t framed(uint8_t *to, const uint8_t *body, size_t length) {
  to[0] = to[1] = to[2] = 0;
  to[3] = (uint8_t)length;
  memcpy(to + 4, body, length);
  return 4 + length;
}

// ClientMessage{id, call{method "echo", payload}} and ServerMessage{id, result{payload}}.
static void build_call(int id) {
  uint8_t body[REQUEST_BYTES_MAX] = {
      0x08, (uint8_t)id, 0x1a, 8 + PAYLOAD_BYTES, 0x0a, 4, 'e', 'c', 'h', 'o', 0x12, PAYLOAD_BYTES};
  uint8_t frame[REQUEST_BYTES_MAX];
  memcpy(body + 12, payload, PAYLOAD_BYTES);
  request_bytes = wrapped(requests[id], frame, framed(frame, body, 12 + PAYLOAD_BYTES));
  uint8_t answer[REQUEST_BYTES_MAX] = {
      0x08, (uint8_t)id, 0x1a, 2 + PAYLOAD_BYTES, 0x0a, PAYLOAD_BYTES};
  memcpy(answer + 6, payload, PAYLOAD_BYTES);
  reply_bytes = framed(replies[id], answer, 6 + PAYLOAD_BYTES);
}

static void build_frames(void) {
  // ClientMessage{id 1, hello{version 1, client "load"}}.
  static const uint8_t body[] = {0x08, 1, 0x12, 8, 0x08, 1, 0x1a, 4, 'l', 'o', 'a', 'd'};
  static const uint8_t nothing[4] = {0}, code[2] = {0x03, 0xe8};
  uint8_t frame[REQUEST_BYTES_MAX];
  hello_bytes = wrapped(hello, frame, framed(frame, body, sizeof body));
  heartbeat_bytes = wrapped(heartbeat, nothing, sizeof nothing);
  farewell_bytes = masked(farewell, 8, code, sizeof code);
  if (options.holdfast) {
    for (int id = 1; id <= options.in_flight; id++) build_call(id);
  } else {
    request_bytes = wrapped(requests[0], (const uint8_t *)payload, PAYLOAD_BYTES);
  }
}

// --- Sending ---

static void say(const uint8_t *bytes, size_t length) {
  if (out_bytes + length > sizeof out) die("more to say than fits one write");
  memcpy(out + out_bytes, bytes, length);
  out_bytes += length;
}

// What was said since the last call, in one write. So little is in flight that a socket takes all.
static void flush_to(struct connection *connection) {
  if (out_bytes == 0) return;
  ssize_t sent = send(connection->fd, out, out_bytes, MSG_NOSIGNAL);
  bool is_short = sent < 0 ? errno == EAGAIN : (size_t)sent < out_bytes;
  if (is_short) die("a socket took %zd of %zu bytes", sent, out_bytes);
  out_bytes = 0;
}

static void ask(struct connection *connection, int id) {
  if (options.holdfast) connection->waiting[id >> 6] |= 1ull << (id & 63);
  else connection->waiting[0]++;
  say(requests[id], request_bytes);
}

// --- A connection's life ---

static void watch(struct connection *connection, int operation, uint32_t events) {
  struct epoll_event event = {.events = events, .data.u32 = (uint32_t)(connection - connections)};
  if (epoll_ctl(epoll_fd, operation, connection->fd, &event) != 0) {
    die("epoll_ctl: %s", strerror(errno));
  }
}

static void ended(struct connection *connection) {
  if (connection->phase == READY) ready--;
  else if (connection->phase != LEAVING) opening--;
  if (connection->phase != LEAVING) lost++;
  connection->phase = CLOSED;
  close(connection->fd);
  free(connection->rest);
  connection->rest = NULL;
}

static void begin(void) {
  struct connection *connection = &connections[started];
  uint32_t source = 0x7f000001u + ((uint32_t)options.source_base << 16) +
                    (uint32_t)(started / PORTS_PER_SOURCE + 1);
  struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(source)};
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
  int on = 1;
  inet_pton(AF_INET, options.host, &to.sin_addr);
  connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (connection->fd < 0) die("socket: %s", strerror(errno));
  setsockopt(connection->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
  setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (bind(connection->fd, (struct sockaddr *)&from, sizeof from) != 0) {
    die("bind: %s", strerror(errno));
  }
  if (connect(connection->fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS) {
    die("connect: %s", strerror(errno));
  }
  connection->phase = CONNECTING;
  connection->kept = 0;
  connection->waiting[0] = connection->waiting[1] = 0;
  started++;
  opening++;
  watch(connection, EPOLL_CTL_ADD, EPOLLOUT);
}

static void became_ready(struct connection *connection) {
  connection->phase = READY;
  opening--;
  ready++;
}

static void greet(struct connection *connection) {
  if (!options.holdfast) {
    became_ready(connection);
    return;
  }
  connection->phase = GREETING;
  say(hello, hello_bytes);
}

static void connected(struct connection *connection) {
  int error = 0;
  socklen_t length = sizeof error;
  getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &length);
  if (error != 0) die("connect: %s", strerror(error));
  watch(connection, EPOLL_CTL_MOD, EPOLLIN);
  if (options.websocket) {
    char request[400];
    int size = snprintf(request, sizeof request,
                        "GET / HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\n"
                        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n",
                        options.host, options.port,
                        options.holdfast ? "Sec-WebSocket-Protocol: holdfast.v1\r\n" : "");
    connection->phase = UPGRADING;
    say((uint8_t *)request, (size_t)size);
  } else {
    greet(connection);
  }
  flush_to(connection);
}

static void leave(struct connection *connection) {
  if (connection->phase != READY) return;
  ready--;
  connection->phase = LEAVING;
  if (options.websocket) {
    say(farewell, farewell_bytes);
    flush_to(connection);
  } else {
    shutdown(connection->fd, SHUT_WR);
  }
}

// --- Receiving ---

static void answered(struct connection *connection, const uint8_t *frame, size_t length) {
  int id = length == reply_bytes ? frame[5] : 0;
  bool is_ours = id >= 1 && id <= options.in_flight && memcmp(frame, replies[id], length) == 0;
  uint64_t bit = 1ull << (id & 63);
  if (!is_ours || (connection->waiting[id >> 6] & bit) == 0) {
    wrong("an answer that is not what was asked for");
    return;
  }
  connection->waiting[id >> 6] &= ~bit;
  messages++;
  if (running) ask(connection, id);
}

static void on_frame(struct connection *connection, const uint8_t *frame, size_t length) {
  const uint8_t *body = frame + 4;
  if (length == 4) {
    heartbeats++;
    if (connection->phase == READY) say(heartbeat, heartbeat_bytes);
  } else if (connection->phase == GREETING) {
    if (length < 8 || body[0] != 0x08 || body[1] != 1 || body[2] != 0x12) wrong("no Welcome");
    else became_ready(connection);
  } else if (connection->phase == READY && body[0] != 0x3a) {
    // 0x3a begins a GoAway: the close that follows is counted.
    answered(connection, frame, length);
  }
}

// @returns how many bytes made whole replies.
static size_t take_frames(struct connection *connection, const uint8_t *bytes, size_t length) {
  size_t at = 0;
  while (length - at >= 4) {
    const uint8_t *head = bytes + at;
    size_t body = (size_t)head[0] << 24 | head[1] << 16 | head[2] << 8 | head[3];
    if (body > READ_BYTES) die("a frame of %zu bytes", body);
    if (length - at < 4 + body) break;
    on_frame(connection, bytes + at, 4 + body);
    at += 4 + body;
  }
  return at;
}

static size_t take_echoes(struct connection *connection, const uint8_t *bytes, size_t length) {
  size_t at = 0;
  for (; length - at >= PAYLOAD_BYTES; at += PAYLOAD_BYTES) {
    if (memcmp(bytes + at, payload, PAYLOAD_BYTES) != 0 || connection->waiting[0] == 0) {
      wrong("an echo that is not what was sent");
      continue;
    }
    connection->waiting[0]--;
    messages++;
    if (running) ask(connection, 0);
  }
  return at;
}

static size_t take(struct connection *connection, const uint8_t *bytes, size_t length) {
  return options.holdfast ? take_frames(connection, bytes, length)
                          : take_echoes(connection, bytes, length);
}

static size_t take_websocket(struct connection *connection, const uint8_t *bytes, size_t length) {
  size_t at = 0;
  while (length - at >= 2) {
    size_t header = 2, size = bytes[at + 1];
    if (size == 126) {
      if (length - at < 4) break;
      size = (size_t)bytes[at + 2] << 8 | bytes[at + 3];
      header = 4;
    } else if (size > 126) {
      die("a WebSocket message that is masked or longer than any answer");
    }
    if (length - at < header + size) break;
    uint8_t opcode = bytes[at] & 15;
    if (opcode == 2 && take(connection, bytes + at + header, size) != size) {
      wrong("a WebSocket message that ends inside an answer");
    } else if (opcode == 9) {
      uint8_t pong[REQUEST_BYTES_MAX];
      say(pong, masked(pong, 10, NULL, 0));
    } else if (opcode != 2 && opcode != 8) {
      wrong("a WebSocket message that is not binary");
    }
    at += header + size;
  }
  return at;
}

// The answer to the upgrade. @returns its length once it is whole.
static size_t take_upgrade(struct connection *connection, const uint8_t *bytes, size_t length) {
  const uint8_t *end = memmem(bytes, length, "\r\n\r\n", 4);
  if (end == NULL) return 0;
  if (memcmp(bytes, "HTTP/1.1 101", 12) != 0) die("the upgrade was refused: %.40s", bytes);
  greet(connection);
  return (size_t)(end + 4 - bytes);
}

static void keep(struct connection *connection, const uint8_t *bytes, size_t length) {
  if (length > READ_BYTES) die("%zu bytes and no whole answer", length);
  connection->kept = (uint32_t)length;
  if (length == 0) return;
  connection->rest = realloc(connection->rest, length);
  if (connection->rest == NULL) die("out of memory");
  memcpy(connection->rest, bytes, length);
}

static void readable(struct connection *connection) {
  size_t length = connection->kept, at = 0;
  if (length > 0) memcpy(in, connection->rest, length);
  ssize_t got = recv(connection->fd, in + length, READ_BYTES, 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) {
    ended(connection);
    return;
  }
  length += (size_t)got;
  if (connection->phase == UPGRADING) at = take_upgrade(connection, in, length);
  if (connection->phase != UPGRADING) {
    at += options.websocket ? take_websocket(connection, in + at, length - at)
                            : take(connection, in + at, length - at);
  }
  keep(connection, in + at, length - at);
  flush_to(connection);
}

static bool has_command;

// Waits for at most `ms` and handles what came; opens connections as long as some are missing.
static void turn(int ms) {
  struct epoll_event events[512];
  while (started < target && opening < OPENING_MAX) begin();
  int count = epoll_wait(epoll_fd, events, 512, ms);
  if (count < 0 && errno != EINTR) die("epoll_wait: %s", strerror(errno));
  for (int i = 0; i < count; i++) {
    if (events[i].data.u32 == UINT32_MAX) {
      has_command = true;
      continue;
    }
    struct connection *connection = &connections[events[i].data.u32];
    if (connection->phase == CLOSED) continue;
    if (connection->phase == CONNECTING) connected(connection);
    else readable(connection);
  }
}

static void open_more(int count) {
  double limit = now() + OPEN_SECONDS_MAX;
  if (started + count > CONNECTIONS_MAX) die("more than %d connections", CONNECTIONS_MAX);
  target = started + count;
  while (started < target || opening > 0) {
    turn(100);
    if (now() > limit) die("%d of %d connections after %d s", ready, target, OPEN_SECONDS_MAX);
  }
}

// --- What is measured ---

static void run_for(double seconds) {
  double end = now() + seconds, heard = now();
  for (double time = heard; time < end; time = now()) {
    uint64_t before = messages;
    // To wake a client that sleeps is charged to the server that let it, so it sleeps only where
    // the server is kept from its core; there it must, to get its own back.
    turn(time - heard < SPIN_SECONDS ? 0 : 50);
    if (messages != before) heard = time;
    if (time - heard > STUCK_SECONDS_MAX) die("no answer for %d s", STUCK_SECONDS_MAX);
  }
}

static int unanswered(void) {
  int count = 0;
  for (int i = 0; i < started; i++) {
    count += (connections[i].waiting[0] | connections[i].waiting[1]) != 0;
  }
  return count;
}

// Nothing new is asked: all that was asked is answered, and nothing else comes.
static void settle(void) {
  double limit = now() + SETTLE_SECONDS_MAX;
  running = false;
  while (unanswered() > 0 && now() < limit) turn(10);
  if (unanswered() > 0) wrong("not everything was answered");
  for (limit = now() + 0.05; now() < limit;) turn(10);
}

static void echo(void) {
  open_more(options.connections);
  running = true;
  for (int i = 0; i < started; i++) {
    for (int id = 1; id <= options.in_flight; id++) ask(&connections[i], options.holdfast ? id : 0);
    flush_to(&connections[i]);
  }
  run_for(options.warmup);
  uint64_t before = messages;
  double began = now(), cpu = server_cpu_micros();
  run_for(options.seconds);
  cpu = server_cpu_micros() - cpu;
  double seconds = now() - began;
  uint64_t count = messages - before;
  settle();
  printf("{\"messages\":%llu,\"seconds\":%.3f,\"cpuMicros\":%.0f,\"errors\":%llu,\"lost\":%llu}\n",
         (unsigned long long)count, seconds, cpu, (unsigned long long)errors,
         (unsigned long long)lost);
}

static void stat_line(void) {
  printf("{\"open\":%d,\"lost\":%llu,\"errors\":%llu,\"heartbeats\":%llu,\"seconds\":%.6f,"
         "\"cpuMicros\":%.0f}\n",
         ready, (unsigned long long)lost, (unsigned long long)errors,
         (unsigned long long)heartbeats, now(), server_cpu_micros());
  fflush(stdout);
}

static void close_all(void) {
  double limit = now() + CLOSE_SECONDS_MAX;
  int left = 1;
  for (int i = 0; i < started; i++) leave(&connections[i]);
  while (left > 0) {
    turn(20);
    left = 0;
    for (int i = 0; i < started; i++) left += connections[i].phase == LEAVING;
    if (now() > limit) die("%d connections were not closed after %d s", left, CLOSE_SECONDS_MAX);
  }
  started = target = 0;
}

// @returns false where standard input has ended.
static bool command(void) {
  char line[64];
  int count;
  has_command = false;
  if (fgets(line, sizeof line, stdin) == NULL) return false;
  if (sscanf(line, "open %d", &count) == 1 && count > 0) open_more(count);
  else if (strcmp(line, "close\n") == 0) close_all();
  else if (strcmp(line, "stat\n") != 0) die("no such command: %s", line);
  stat_line();
  return true;
}

static void hold(void) {
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = UINT32_MAX};
  setvbuf(stdin, NULL, _IONBF, 0);
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, 0, &event) != 0) die("stdin: %s", strerror(errno));
  do {
    has_command = false;
    while (!has_command) turn(1000);
  } while (command());
}

static bool is(const char *what, const char *yes, const char *no) {
  if (strcmp(what, yes) == 0) return true;
  if (strcmp(what, no) != 0) die("%s is neither %s nor %s", what, yes, no);
  return false;
}

static void read_options(int argc, char **argv) {
  static const struct option known[] = {
      {"host", 1, NULL, 'h'},       {"port", 1, NULL, 'p'},      {"transport", 1, NULL, 't'},
      {"protocol", 1, NULL, 'P'},   {"pid", 1, NULL, 'i'},       {"connections", 1, NULL, 'c'},
      {"in-flight", 1, NULL, 'f'},  {"warmup", 1, NULL, 'w'},    {"seconds", 1, NULL, 's'},
      {"source-base", 1, NULL, 'b'}, {"mode", 1, NULL, 'm'},     {NULL, 0, NULL, 0}};
  int option;
  while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
    switch (option) {
      case 'h': options.host = optarg; break;
      case 'p': options.port = atoi(optarg); break;
      case 't': options.websocket = is(optarg, "websocket", "tcp"); break;
      case 'P': options.holdfast = is(optarg, "holdfast", "raw"); break;
      case 'i': options.pid = atoi(optarg); break;
      case 'c': options.connections = atoi(optarg); break;
      case 'f': options.in_flight = atoi(optarg); break;
      case 'w': options.warmup = atof(optarg); break;
      case 's': options.seconds = atof(optarg); break;
      case 'b': options.source_base = atoi(optarg); break;
      case 'm': options.hold = is(optarg, "hold", "echo"); break;
      default: exit(2);
    }
  }
  if (strncmp(options.host, "127.", 4) != 0) die("only loopback addresses are loaded");
  if (options.port < 1 || options.port > 65535) die("--port is missing");
  if (options.in_flight < 1 || options.in_flight > IN_FLIGHT_MAX) die("--in-flight: 1 to 127");
  if (options.source_base < 0 || options.source_base > 200) die("--source-base: 0 to 200");
}

int main(int argc, char **argv) {
  struct rlimit files;
  read_options(argc, argv);
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  connections = calloc(CONNECTIONS_MAX, sizeof *connections);
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (connections == NULL || epoll_fd < 0) die("out of memory or files");
  build_frames();
  if (options.hold) hold();
  else echo();
  return errors > 0 || (lost > 0 && !options.hold) ? 1 : 0;
}
