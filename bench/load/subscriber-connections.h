// The connections of subscribers.c, each with its script: it sends what it was told to, waits for
// so many answers, and is ready; from then on it listens, or has stopped reading.
#ifndef SUBSCRIBER_CONNECTIONS_H
#define SUBSCRIBER_CONNECTIONS_H
#include "clocks.h"
#include "latency.h"
#include "sockets.h"
#include "subscriber-dialects.h"

// The kernel's search for a free port slows as an address fills up.
#define PORTS_PER_SOURCE 2000
// Connections that are being opened at once: below any listener's backlog.
#define OPENING_MAX 200
#define CONNECTIONS_MAX 100000
#define EVENTS_MAX 512
// Of latency.h.
#define NS_PER_TICK 100
#define SCRIPT_BYTES_MAX 20000
// What the kernel may hold for one that has stopped reading. A loopback's segments have 64 KiB, and
// by their size the server's kernel would take megabytes for each; these are as on a network.
#define STALLED_RECEIVE_BYTES 2048
#define STALLED_SEGMENT_BYTES 1460

enum phase { CONNECTING, UPGRADING, GREETING, LISTENING, STALLED, LOST };

struct connection {
  int fd;
  uint32_t answers;
  // Messages since the last command's end.
  uint32_t got;
  // Bytes of a piece that are neither looked at nor kept, and of the WebSocket message around it.
  size_t skip, inside;
  // The beginning of a piece that was cut, and how much of it there is.
  uint8_t head[HEAD_BYTES_MAX], kept;
  // Of the answer to an upgrade: bytes seen of its first line, and of the empty line at its end.
  uint8_t begun, ended;
  uint8_t phase;
};

struct script {
  uint8_t greeting[SCRIPT_BYTES_MAX];
  size_t greeting_bytes;
  uint32_t answers;
};

static struct {
  int port, source_base, pid, stalled;
  enum dialect dialect;
  size_t bytes;
  uint8_t request[SCRIPT_BYTES_MAX], message[SCRIPT_BYTES_MAX];
  size_t request_bytes, message_bytes;
  struct script subscriber, publisher;
} options = {.bytes = 32};

// One more than there may be subscribers: the last one publishes.
#define PUBLISHER CONNECTIONS_MAX
#define COMMANDS (CONNECTIONS_MAX + 1)
static struct connection connections[CONNECTIONS_MAX + 1];
static int epoll_fd, begun, opening, listening, stalled, lost, stalled_lost;
// Wrong is a message that does not say when it was sent, or, where one is sent at a time, another.
static uint64_t received, gaps, wrong;
static int64_t last_ns, only_ns;
static uint64_t delay_max;
static bool has_command;
// In which it only looked whether something had come, instead of sleeping.
static int64_t spun_ns;

static int64_t now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000ll + time.tv_nsec;
}

static const struct script *script_of(int slot) {
  return slot == PUBLISHER ? &options.publisher : &options.subscriber;
}

static bool stalls(int slot) { return slot < options.stalled; }

static void watch(int operation, int slot, uint32_t events) {
  watch_fd(epoll_fd, operation, connections[slot].fd, (uint32_t)slot, events);
}

static void begin(int slot) {
  int receive = STALLED_RECEIVE_BYTES, segment = STALLED_SEGMENT_BYTES, fd = client_socket();
  if (stalls(slot)) {
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive, sizeof receive);
    setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment);
  }
  connect_from(fd, options.source_base, (uint32_t)(slot / PORTS_PER_SOURCE), "127.0.0.1",
               options.port);
  connections[slot] = (struct connection){.fd = fd, .phase = CONNECTING};
  opening++;
  watch(EPOLL_CTL_ADD, slot, EPOLLOUT);
}

static void say(int slot, const void *bytes, size_t count) {
  if (count == 0) return;
  if (send(connections[slot].fd, bytes, count, MSG_NOSIGNAL) != (ssize_t)count) {
    die("send: %s", errno == EAGAIN ? "the server does not read" : strerror(errno));
  }
}

static void ready(int slot) {
  connections[slot].phase = LISTENING;
  opening--;
  if (slot == PUBLISHER) return;
  if (!stalls(slot)) {
    listening++;
    return;
  }
  // Not read any more; only its end is noticed.
  connections[slot].phase = STALLED;
  stalled++;
  watch(EPOLL_CTL_MOD, slot, EPOLLRDHUP);
}

static void greet(int slot) {
  const struct script *script = script_of(slot);
  connections[slot].phase = GREETING;
  say(slot, script->greeting, script->greeting_bytes);
  if (script->answers == 0) ready(slot);
}

static void lose(int slot) {
  struct connection *connection = &connections[slot];
  if (connection->phase < LISTENING) die("a connection ended before it was ready");
  if (slot == PUBLISHER) die("the publisher's connection ended");
  if (connection->phase == STALLED) {
    stalled--;
    stalled_lost++;
  } else {
    listening--;
    lost++;
  }
  connection->phase = LOST;
  close(connection->fd);
}

// One message, or an answer to the greeting: where a dialect does not tell them apart, what comes
// before a connection is ready is an answer.
static void take_message(int slot, int64_t sent_ns, bool is_answer) {
  struct connection *connection = &connections[slot];
  if (connection->phase == GREETING) {
    if (++connection->answers == script_of(slot)->answers) ready(slot);
    return;
  }
  if (is_answer || slot == PUBLISHER) die("an answer that nobody asked for");
  // After a signal that it stops reading, what came in the same read is dropped.
  if (connection->phase != LISTENING) return;
  received++;
  connection->got++;
  last_ns = now_ns();
  if (sent_ns < 0 || (only_ns > 0 && sent_ns != only_ns)) wrong++;
  if (sent_ns < 0) return;
  uint64_t delay = last_ns > sent_ns ? (uint64_t)(last_ns - sent_ns) : 0;
  latency_add((uint32_t)(delay / NS_PER_TICK));
  if (delay > delay_max) delay_max = delay;
}

static void take_piece(int slot, const uint8_t *bytes, size_t count) {
  struct connection *connection = &connections[slot];
  switch (piece_kind(options.dialect, bytes, count, connection->inside)) {
    case MESSAGE: take_message(slot, stamp_of(bytes, count), false); break;
    case ANSWER: take_message(slot, -1, true); break;
    case PING:
      say(slot, dialects[options.dialect].pong, dialects[options.dialect].pong_bytes);
      break;
    case WEBSOCKET_PING: say(slot, websocket_pong, sizeof websocket_pong); break;
    case GAP: gaps++; break;
    case GOODBYE: lose(slot); break;
    case WRONG: die("a server said what was not expected: %.*s", (int)count, (const char *)bytes);
    case NOTHING: break;
  }
}

// Whether a piece begins here of which enough is there; then it is taken, and *size is its bytes.
static bool take_if_whole(int slot, const uint8_t *bytes, size_t count, size_t *size) {
  struct connection *connection = &connections[slot];
  size_t inside = connection->inside;
  *size = piece_size(options.dialect, bytes, count, inside, options.bytes);
  if (*size == 0 || (count < *size && count < HEAD_BYTES_MAX)) return false;
  if (inside > 0 && *size > inside) die("a frame that is cut by the end of its message");
  take_piece(slot, bytes, *size < HEAD_BYTES_MAX ? *size : HEAD_BYTES_MAX);
  if (inside > 0) {
    connection->inside -= *size;
  } else if (options.dialect == HOLDFAST_WEBSOCKET && (bytes[0] & 0x0f) < 8) {
    size_t length = 0;
    websocket_head(bytes, count, &length);
    connection->inside = length;
  }
  return true;
}

// Bytes of these that belong to a piece that was taken already.
static size_t skip(struct connection *connection, const uint8_t *bytes, size_t count) {
  if (connection->skip == TO_END_OF_LINE) {
    const uint8_t *end = memchr(bytes, '\n', count);
    if (end == NULL) return count;
    connection->skip = 0;
    return (size_t)(end - bytes) + 1;
  }
  size_t part = connection->skip < count ? connection->skip : count;
  connection->skip -= part;
  return part;
}

// The bytes are either skipped, or the beginning of a piece is put together in `head`.
static void take(int slot, const uint8_t *bytes, size_t count) {
  struct connection *connection = &connections[slot];
  while (count > 0 && connection->phase != LOST) {
    size_t kept = connection->kept, used, size;
    if (connection->skip > 0) {
      used = skip(connection, bytes, count);
    } else if (kept == 0 && take_if_whole(slot, bytes, count, &size)) {
      used = size < count ? size : count;
      if (size == TO_END_OF_LINE) used = HEAD_BYTES_MAX;
      connection->skip = size == TO_END_OF_LINE ? size : size - used;
    } else {
      // One byte of a header more may tell its size, so they are added one by one: this is rare.
      connection->head[connection->kept++] = bytes[0];
      used = 1;
      if (take_if_whole(slot, connection->head, connection->kept, &size)) {
        connection->skip = size == TO_END_OF_LINE ? size : size - connection->kept;
        connection->kept = 0;
      }
      if (connection->kept == HEAD_BYTES_MAX) die("a header that does not end");
    }
    bytes += used;
    count -= used;
  }
}

// @returns how many of the bytes belong to the HTTP answer, which ends with an empty line.
static size_t take_upgrade(int slot, const uint8_t *bytes, size_t count) {
  static const char expected[] = "HTTP/1.1 101", end[] = "\r\n\r\n";
  struct connection *connection = &connections[slot];
  for (size_t at = 0; at < count; at++) {
    if (connection->begun < sizeof expected - 1 && bytes[at] != expected[connection->begun++]) {
      die("no upgrade: %.*s", (int)count, (const char *)bytes);
    }
    if (bytes[at] == end[connection->ended]) connection->ended++;
    else connection->ended = bytes[at] == '\r';
    if (connection->ended < sizeof end - 1) continue;
    greet(slot);
    return at + 1;
  }
  return count;
}

static void connected(int slot) {
  check_connected(connections[slot].fd);
  watch(EPOLL_CTL_MOD, slot, EPOLLIN);
  if (!dialects[options.dialect].is_websocket) {
    greet(slot);
    return;
  }
  connections[slot].phase = UPGRADING;
  say(slot, options.request, options.request_bytes);
}

static void readable(int slot) {
  static uint8_t bytes[65536];
  ssize_t got = recv(connections[slot].fd, bytes, sizeof bytes, 0);
  size_t used = 0;
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) {
    lose(slot);
    return;
  }
  if (connections[slot].phase == UPGRADING) used = take_upgrade(slot, bytes, (size_t)got);
  take(slot, bytes + used, (size_t)got - used);
}

// Whatever there is to do now; waits for it for at most so long, and 0 does not sleep.
static void turn(int ms) {
  struct epoll_event events[EVENTS_MAX];
  int64_t began_ns = ms == 0 ? now_ns() : 0;
  int count = epoll_wait(epoll_fd, events, EVENTS_MAX, ms);
  if (ms == 0 && count == 0) spun_ns += now_ns() - began_ns;
  if (count < 0 && errno != EINTR) die("epoll_wait: %s", strerror(errno));
  for (int i = 0; i < count; i++) {
    int slot = (int)events[i].data.u32;
    if (slot == COMMANDS) has_command = true;
    else if (connections[slot].phase == CONNECTING) connected(slot);
    else if (connections[slot].phase == STALLED) lose(slot);
    else if (connections[slot].phase != LOST) readable(slot);
  }
}

#endif
