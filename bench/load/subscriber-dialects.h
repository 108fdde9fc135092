// What servers say to their subscribers, by dialect: how long a piece of it is and what it means. A
// piece may be cut anywhere between two reads, so each is first looked for by its beginning.
#ifndef SUBSCRIBER_DIALECTS_H
#define SUBSCRIBER_DIALECTS_H
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

// As much of a piece is looked at: its header and the time that its payload begins with.
#define HEAD_BYTES_MAX 96
// A line whose end is not among them; what follows is skipped to the end of it.
#define TO_END_OF_LINE SIZE_MAX

enum dialect { RAW, WEBSOCKET, HOLDFAST, HOLDFAST_WEBSOCKET, SOCKET_IO, NATS, MQTT, DIALECTS };

// GAP: the server says that this subscriber missed some. WRONG ends the program.
enum kind { MESSAGE, ANSWER, PING, WEBSOCKET_PING, NOTHING, GAP, GOODBYE, WRONG };

static const struct {
  const char *name;
  // The answer to a sign of life, whole; messages to WebSocket servers are masked with zero.
  const char *pong;
  size_t pong_bytes;
  bool is_websocket;
} dialects[DIALECTS] = {
    [RAW] = {"raw", NULL, 0, false},
    [WEBSOCKET] = {"websocket", NULL, 0, true},
    [HOLDFAST] = {"holdfast", "\0\0\0\0", 4, false},
    [HOLDFAST_WEBSOCKET] = {"holdfast-websocket", "\x82\x84\0\0\0\0\0\0\0\0", 10, true},
    [SOCKET_IO] = {"socket.io", "\x81\x81\0\0\0\0" "3", 7, true},
    [NATS] = {"nats", "PONG\r\n", 6, false},
    [MQTT] = {"mqtt", NULL, 0, false},
};
static const char websocket_pong[] = {'\x8a', '\x80', 0, 0, 0, 0};

static uint64_t big_endian(const uint8_t *bytes, size_t count) {
  uint64_t value = 0;
  for (size_t i = 0; i < count; i++) value = value << 8 | bytes[i];
  return value;
}

// Bytes of a WebSocket message's header; 0: more must be read first.
static size_t websocket_head(const uint8_t *bytes, size_t count, size_t *length) {
  size_t head;
  if (count < 2) return 0;
  *length = bytes[1] & 0x7f;
  head = *length == 127 ? 10 : *length == 126 ? 4 : 2;
  if (count < head) return 0;
  if (head > 2) *length = (size_t)big_endian(bytes + 2, head - 2);
  return head;
}

// Bytes of an MQTT packet's header: its length is a varint of up to four bytes.
static size_t mqtt_head(const uint8_t *bytes, size_t count, size_t *length) {
  *length = 0;
  for (size_t i = 1; i < count && i <= 4; i++) {
    *length |= (size_t)(bytes[i] & 0x7f) << 7 * (i - 1);
    if (bytes[i] < 0x80) return i + 1;
  }
  return 0;
}

// A line, or a line and as many bytes as it says at its end: MSG <subject> <sid> <bytes>.
static size_t nats_size(const uint8_t *bytes, size_t count) {
  const uint8_t *end = memchr(bytes, '\n', count);
  size_t line, payload = 0, unit = 1;
  if (end == NULL) return count >= HEAD_BYTES_MAX ? TO_END_OF_LINE : 0;
  line = (size_t)(end - bytes) + 1;
  if (line < 6 || memcmp(bytes, "MSG ", 4) != 0) return line;
  for (size_t at = line - 3; bytes[at] >= '0' && bytes[at] <= '9'; at--, unit *= 10) {
    payload += unit * (bytes[at] - '0');
  }
  return line + payload + 2;
}

// Bytes of the piece that begins here; 0: more must be read before that is known.
//   inside: what is left of the WebSocket message that Holdfast's frames come in, whole
//   raw_bytes: of a message that has no header
static size_t piece_size(enum dialect dialect, const uint8_t *bytes, size_t count, size_t inside,
                         size_t raw_bytes) {
  size_t head, length;
  switch (dialect) {
    case RAW: return raw_bytes;
    case NATS: return nats_size(bytes, count);
    case MQTT: head = mqtt_head(bytes, count, &length); return head == 0 ? 0 : head + length;
    case HOLDFAST: return count < 4 ? 0 : 4 + (size_t)big_endian(bytes, 4);
    case HOLDFAST_WEBSOCKET:
      if (inside > 0) return count < 4 ? 0 : 4 + (size_t)big_endian(bytes, 4);
      head = websocket_head(bytes, count, &length);
      // The header alone: the frames behind it are pieces of their own.
      return head == 0 ? 0 : (bytes[0] & 0x0f) < 8 ? head : head + length;
    default: head = websocket_head(bytes, count, &length); return head == 0 ? 0 : head + length;
  }
}

// A ServerMessage: an id, where there is one, and then its body.
static enum kind holdfast_kind(const uint8_t *bytes, size_t count) {
  size_t at = 4;
  if (count == 4) return PING;
  if (bytes[at] == 0x08) {
    for (at++; at < count && bytes[at] >= 0x80;) at++;
    at++;
  }
  if (at >= count) return WRONG;
  switch (bytes[at] >> 3) {
    case 2: case 3: return ANSWER;
    case 5: return MESSAGE;
    case 6: return GAP;
    case 7: return GOODBYE;
    default: return WRONG;
  }
}

// Engine.IO's packets and, in those of type 4, Socket.IO's.
static enum kind socket_io_kind(const uint8_t *bytes, size_t count) {
  size_t length, head = websocket_head(bytes, count, &length);
  if (length == 0) return WRONG;
  switch (bytes[head]) {
    case '0': return NOTHING;
    case '1': return GOODBYE;
    case '2': return PING;
    case '4': break;
    default: return WRONG;
  }
  if (length == 1) return WRONG;
  return bytes[head + 1] == '0' ? ANSWER : bytes[head + 1] == '2' ? MESSAGE : WRONG;
}

static enum kind nats_kind(const uint8_t *bytes, size_t count) {
  if (count < 3) return WRONG;
  if (memcmp(bytes, "MSG", 3) == 0) return MESSAGE;
  if (count >= 4 && memcmp(bytes, "PONG", 4) == 0) return ANSWER;
  if (count >= 4 && memcmp(bytes, "PING", 4) == 0) return PING;
  return bytes[0] == '-' ? WRONG : NOTHING;
}

static enum kind mqtt_kind(const uint8_t *bytes, size_t count) {
  switch (bytes[0] >> 4) {
    case 2: return count == 4 && bytes[3] == 0 ? ANSWER : WRONG;
    case 3: return MESSAGE;
    case 9: return count == 5 && bytes[4] == 0 ? ANSWER : WRONG;
    case 13: return NOTHING;
    default: return WRONG;
  }
}

static enum kind websocket_kind(uint8_t first) {
  switch (first & 0x0f) {
    case 8: return GOODBYE;
    case 9: return WEBSOCKET_PING;
    case 10: return NOTHING;
    // Nobody sends fragments.
    default: return first & 0x80 ? MESSAGE : WRONG;
  }
}

// What a piece means, by its first bytes: all of it, or HEAD_BYTES_MAX.
static enum kind piece_kind(enum dialect dialect, const uint8_t *bytes, size_t count,
                            size_t inside) {
  enum kind kind;
  switch (dialect) {
    case RAW: return MESSAGE;
    case HOLDFAST: return holdfast_kind(bytes, count);
    case NATS: return nats_kind(bytes, count);
    case MQTT: return mqtt_kind(bytes, count);
    default: break;
  }
  if (dialect == HOLDFAST_WEBSOCKET && inside > 0) return holdfast_kind(bytes, count);
  kind = websocket_kind(bytes[0]);
  if (kind != MESSAGE || dialect == WEBSOCKET) return kind;
  return dialect == SOCKET_IO ? socket_io_kind(bytes, count) : NOTHING;
}

// CLOCK_MONOTONIC when a message was due to be sent: `T=` and 16 hexadecimal digits, first in its
// payload. -1: it has none.
static int64_t stamp_of(const uint8_t *bytes, size_t count) {
  const uint8_t *mark = memmem(bytes, count, "T=", 2);
  uint64_t value = 0;
  if (mark == NULL || (size_t)(bytes + count - mark) < 18) return -1;
  for (int i = 2; i < 18; i++) {
    uint8_t digit = mark[i];
    if (digit >= '0' && digit <= '9') digit -= '0';
    else if (digit >= 'a' && digit <= 'f') digit -= 'a' - 10;
    else return -1;
    value = value << 4 | digit;
  }
  return (int64_t)value;
}

#endif
