// The load client of the benchmarks: one thread, one epoll instance, plain TCP or WebSocket, and
// what it says over them in dialects.h. Every answer is compared byte by byte.
//
//   load --mode echo|hold --port P --transport tcp|websocket --protocol raw|holdfast|socket.io
//        --pid SERVER [--bytes N]
//     echo:  --connections N --in-flight K --warmup S --seconds S [--rate R] [--mark 1]
//            A closed loop: what was answered is asked again. With --rate an open one: R messages a
//            second, evenly, whoever has been answered; latency counts from when each was due.
//            With --mark the server gets SIGUSR2 when the measurement begins and when it ends.
//     hold:  commands on standard input: `open N` (N more), `stat`, `close`
//
// Every result is one line of JSON on standard output. CPU time is that of the process SERVER, read
// at the very moments that begin and end the measurement. Linux only.
#define _GNU_SOURCE
#define PROGRAM "load"
#include <fcntl.h>
#include <signal.h>
#include "clocks.h"
#include "connection.h"
#include "dialects.h"
#include "frames.h"
#include "latency.h"
#include "load-options.h"
#include "sockets.h"

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

// When each id of each connection was asked, or was due to be.
static uint32_t *stamps;
static int started, opening, ready, target;
static uint64_t messages, errors, lost, heartbeats;
// Of the open loop: when it began and how many messages were due so far.
static double schedule_began;
static uint64_t due;
static bool running, measuring;
static uint32_t tick;
static double spun;
static uint8_t in[READ_BYTES * 2];

static void wrong(const char *what) {
  if (errors++ == 0) fprintf(stderr, "load: %s\n", what);
}

// --- Asking ---

static bool is_waiting(const struct connection *connection, int id) {
  return (connection->waiting[id >> 6] & 1ull << (id & 63)) != 0;
}

static uint32_t *stamp_of(const struct connection *connection, int id) {
  return &stamps[(connection - connections) * options.in_flight + id - 1];
}

static void ask(struct connection *connection, int id, uint32_t since) {
  connection->waiting[id >> 6] |= 1ull << (id & 63);
  *stamp_of(connection, id) = since;
  put_id(say(&request), &request, id);
}

static uint8_t after(uint8_t id) { return id == options.in_flight ? 1 : (uint8_t)(id + 1); }

// Asks what is due of this connection and fits beside what it waits for. Message number k of all is
// that of connection k modulo their number.
static void ask_due(struct connection *connection) {
  uint64_t index = (uint64_t)(connection - connections), count = (uint64_t)started;
  while (connection->phase == READY && !is_waiting(connection, connection->next_ask)) {
    uint64_t number = connection->asked * count + index;
    if (number >= due) break;
    ask(connection, connection->next_ask, tick_of(schedule_began + (double)number / options.rate));
    connection->next_ask = after(connection->next_ask);
    connection->asked++;
  }
}

// --- A connection's life ---

static void ended(struct connection *connection) {
  if (connection->phase == READY) ready--;
  else if (connection->phase != LEAVING) opening--;
  if (connection->phase != LEAVING) lost++;
  connection->phase = CLOSED;
  close(connection->fd);
  free(connection->rest);
  free(connection->unsent);
  connection->rest = connection->unsent = NULL;
  connection->unsent_bytes = 0;
}

static void begin(void) {
  struct connection *connection = &connections[started];
  connection->fd = client_socket();
  connect_from(connection->fd, options.source_base, (uint32_t)(started / PORTS_PER_SOURCE),
               options.host, options.port);
  *connection = (struct connection){
      .fd = connection->fd, .phase = CONNECTING, .next_answer = 1, .next_ask = 1};
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
  connection->phase = GREETING;
  if (dialect == RAW) became_ready(connection);
  // A server of Socket.IO speaks first.
  else if (dialect == HOLDFAST) say(&hello);
}

static void connected(struct connection *connection) {
  check_connected(connection->fd);
  watch(connection, EPOLL_CTL_MOD, EPOLLIN);
  if (over_websocket) {
    char text[UPGRADE_BYTES_MAX];
    const char *path = dialect == SOCKET_IO ? "/socket.io/?EIO=4&transport=websocket" : "/";
    const char *subprotocol = dialect == HOLDFAST ? "Sec-WebSocket-Protocol: holdfast.v1\r\n" : "";
    struct message upgrade = {.bytes = (uint8_t *)text};
    upgrade.length = upgrade_request(text, options.port, path, subprotocol);
    connection->phase = UPGRADING;
    say(&upgrade);
  } else {
    greet(connection);
  }
  flush_to(connection);
}

static void leave(struct connection *connection) {
  if (connection->phase != READY) return;
  ready--;
  connection->phase = LEAVING;
  if (over_websocket) {
    say(&farewell);
    flush_to(connection);
  } else {
    shutdown(connection->fd, SHUT_WR);
  }
}

// --- Receiving ---

static void answered(struct connection *connection, int id) {
  if (id == 0 || !is_waiting(connection, id)) {
    wrong("an answer that is not what was asked for");
    return;
  }
  connection->waiting[id >> 6] &= ~(1ull << (id & 63));
  messages++;
  if (measuring) latency_add(tick - *stamp_of(connection, id));
  if (!running) return;
  if (options.rate > 0) ask_due(connection);
  else ask(connection, id, tick);
}

static void on_frame(struct connection *connection, const uint8_t *frame, size_t length) {
  if (length == 4) {
    heartbeats++;
    if (connection->phase == READY) say(&heartbeat);
  } else if (connection->phase == GREETING) {
    if (is_welcome(frame, length)) became_ready(connection);
    else wrong("no Welcome");
  } else if (connection->phase == READY && frame[4] != 0x3a) {
    // 0x3a begins a GoAway: the close that follows is counted.
    answered(connection, id_of_reply(frame, length, options.in_flight));
  }
}

// @returns how many bytes made whole answers, as the others of this kind do
static size_t take_frames(struct connection *connection, const uint8_t *bytes, size_t length) {
  size_t at = 0;
  while (length - at >= 4) {
    const uint8_t *head = bytes + at;
    size_t body = (size_t)head[0] << 24 | head[1] << 16 | head[2] << 8 | head[3];
    if (body > READ_BYTES - 4) die("a frame of %zu bytes", body);
    if (length - at < 4 + body) break;
    on_frame(connection, bytes + at, 4 + body);
    at += 4 + body;
  }
  return at;
}

static size_t take_echoes(struct connection *connection, const uint8_t *bytes, size_t length) {
  size_t at = 0;
  for (; length - at >= payload_bytes; at += payload_bytes) {
    // They come in the order in which they were asked.
    int id = connection->next_answer;
    answered(connection, memcmp(bytes + at, payload, payload_bytes) == 0 ? id : 0);
    connection->next_answer = after(connection->next_answer);
  }
  return at;
}

// One packet of Engine.IO, which is a whole WebSocket message.
static size_t take_packet(struct connection *connection, const uint8_t *bytes, size_t length) {
  if (bytes[0] == '0') {
    say(&hello);
  } else if (bytes[0] == '2') {
    heartbeats++;
    say(&heartbeat);
  } else if (connection->phase == GREETING) {
    if (length >= 2 && bytes[1] == '0') became_ready(connection);
    else wrong("Socket.IO did not let it in");
  } else if (connection->phase == READY) {
    answered(connection, id_of_reply(bytes, length, options.in_flight));
  }
  return length;
}

static size_t take(struct connection *connection, const uint8_t *bytes, size_t length) {
  return dialect == HOLDFAST ? take_frames(connection, bytes, length)
                             : take_echoes(connection, bytes, length);
}

// Of a WebSocket message, as much as is there. @returns how much of it is done with
static size_t take_part(struct connection *connection, const uint8_t *bytes, size_t length,
                        bool is_whole) {
  // Answers within a binary message are taken one by one: a server may put many into one.
  if (connection->opcode == 2 && dialect != SOCKET_IO) return take(connection, bytes, length);
  if (!is_whole) return 0;
  if (connection->opcode == 1 && dialect == SOCKET_IO && length > 0) {
    return take_packet(connection, bytes, length);
  }
  if (connection->opcode == 9 && length < 126) {
    uint8_t frame[HEAD_BYTES_MAX + 126];
    struct message pong = {.bytes = frame, .length = masked(frame, 10, bytes, length)};
    say(&pong);
  } else if (connection->opcode != 8) {
    wrong("a WebSocket message of a kind that was not expected");
  }
  return length;
}

// @returns the length of a WebSocket message's header, once all of it is there; else 0
static size_t take_head(struct connection *connection, const uint8_t *bytes, size_t length) {
  if (length < 2) return 0;
  size_t size = bytes[1], more = size == 126 ? 2 : size == 127 ? 8 : 0;
  if (size > 127) die("a WebSocket message from the server is masked");
  if (length < 2 + more) return 0;
  connection->opcode = bytes[0] & 15;
  connection->left = more == 0 ? size : 0;
  for (size_t i = 0; i < more; i++) connection->left = connection->left << 8 | bytes[2 + i];
  return 2 + more;
}

static size_t take_websocket(struct connection *connection, const uint8_t *bytes, size_t length) {
  size_t at = 0;
  for (;;) {
    if (connection->left == 0) {
      size_t head = take_head(connection, bytes + at, length - at);
      if (head == 0) return at;
      at += head;
    }
    bool is_whole = connection->left <= length - at;
    size_t part = is_whole ? (size_t)connection->left : length - at;
    size_t taken = take_part(connection, bytes + at, part, is_whole);
    if (is_whole && taken != part) {
      wrong("a WebSocket message that ends inside an answer");
      taken = part;
    }
    at += taken;
    connection->left -= taken;
    if (!is_whole) return at;
  }
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
  // One look at the clock for all that one read brought.
  if (running) tick = tick_of(now());
  if (connection->phase == UPGRADING) at = take_upgrade(connection, in, length);
  if (connection->phase != UPGRADING) {
    at += over_websocket ? take_websocket(connection, in + at, length - at)
                            : take(connection, in + at, length - at);
  }
  keep(connection, in + at, length - at);
  flush_to(connection);
}

static bool has_command;

// Waits for at most `ms` and handles what came; opens connections as long as some are missing.
// @returns how many had something
static int turn(int ms) {
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
    else if (connection->unsent_bytes > 0 && events[i].events & EPOLLOUT) writable(connection);
    if (connection->phase != CONNECTING && events[i].events & ~EPOLLOUT) readable(connection);
  }
  return count;
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

// What is due by now of the open loop.
static void keep_pace(double time) {
  double total = (time - schedule_began) * options.rate;
  while ((double)due < total) {
    struct connection *connection = &connections[due % (uint64_t)started];
    due++;
    ask_due(connection);
    flush_to(connection);
  }
}

static void run_for(double seconds) {
  double end = now() + seconds, heard = now();
  for (double time = heard, after; time < end; time = after) {
    uint64_t before = messages;
    // To wake a client that sleeps is charged to the server that let it, so it sleeps only where
    // the server is kept from its core; there it must, to get its own back. What is due at a time
    // is not slept away.
    bool is_spinning = options.rate > 0 || time - heard < SPIN_SECONDS;
    if (options.rate > 0) keep_pace(time);
    bool is_idle = turn(is_spinning ? 0 : 50) <= 0;
    after = now();
    if (is_idle && is_spinning) spun += after - time;
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

static void begin_asking(void) {
  running = true;
  schedule_began = now();
  tick = tick_of(schedule_began);
  if (options.rate > 0) return;
  for (int i = 0; i < started; i++) {
    for (int id = 1; id <= options.in_flight; id++) ask(&connections[i], id, tick);
    flush_to(&connections[i]);
  }
}

static void mark(void) {
  if (options.mark && kill(options.pid, SIGUSR2) != 0) die("the server is gone");
}

static void echo(void) {
  open_more(options.connections);
  begin_asking();
  run_for(options.warmup);
  uint64_t before = messages;
  mark();
  measuring = true;
  spun = 0;
  double own = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
  double began = now(), cpu = cpu_seconds(options.pid);
  run_for(options.seconds);
  cpu = cpu_seconds(options.pid) - cpu;
  double seconds = now() - began;
  // Without the turns in which it only looked whether there was an answer.
  own = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - own - spun;
  uint64_t count = messages - before, behind = due - (options.rate > 0 ? messages : 0);
  measuring = false;
  mark();
  settle();
  printf("{\"messages\":%llu,\"seconds\":%.3f,\"cpuMicros\":%.0f,\"errors\":%llu,\"lost\":%llu,"
         "\"p50\":%.4f,\"p99\":%.4f",
         (unsigned long long)count, seconds, cpu * 1e6, (unsigned long long)errors,
         (unsigned long long)lost, latency_at(0.5), latency_at(0.99));
  // Where others took its core, what it spent cannot be told from how long it looked.
  if (own > 0 && count > 0) printf(",\"generatorCpuPerMessage\":%.3f", own * 1e6 / (double)count);
  else printf(",\"generatorCpuPerMessage\":null");
  if (options.rate > 0) printf(",\"behind\":%llu", (unsigned long long)behind);
  printf("}\n");
}

static void stat_line(void) {
  printf("{\"open\":%d,\"lost\":%llu,\"errors\":%llu,\"heartbeats\":%llu,\"seconds\":%.6f,"
         "\"cpuMicros\":%.0f}\n",
         ready, (unsigned long long)lost, (unsigned long long)errors,
         (unsigned long long)heartbeats, now(), cpu_seconds(options.pid) * 1e6);
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
  watch_commands(epoll_fd, UINT32_MAX);
  do {
    has_command = false;
    while (!has_command) turn(1000);
  } while (command());
}

int main(int argc, char **argv) {
  read_options(argc, argv);
  raise_file_limit();
  build_messages((size_t)options.bytes);
  connections = calloc(CONNECTIONS_MAX, sizeof *connections);
  stamps = calloc((size_t)options.connections * (size_t)options.in_flight, sizeof *stamps);
  if (connections == NULL || stamps == NULL) die("out of memory");
  epoll_fd = new_epoll();
  make_room((size_t)options.in_flight * request.length);
  if (options.hold) hold();
  else echo();
  return errors > 0 || (lost > 0 && !options.hold) ? 1 : 0;
}
