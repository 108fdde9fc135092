// What the load client says and wants to hear, by protocol. Messages are built before the clock
// starts, so that the client costs little beside the server it measures; only the id is put in.
//
//   raw        the payload alone, which is to come back
//   holdfast   a call of method `echo`, and its result
//   socket.io  an event `echo` with an acknowledgement, in Engine.IO 4 over WebSocket
#ifndef DIALECTS_H
#define DIALECTS_H
#include "clocks.h"
#include "frames.h"

#define PAYLOAD_BYTES_MIN 32
// With what stands around it, it fits Holdfast's frames and short WebSocket messages: 64 KB.
#define PAYLOAD_BYTES_MAX 60000
// Ids are 1 .. in_flight and take one byte each as a varint.
#define IN_FLIGHT_MAX 127
// Socket.IO's ids are decimal: of three digits each, so that messages are of one length.
#define DECIMAL_BASE 99

enum dialect { RAW, HOLDFAST, SOCKET_IO };

struct message {
  uint8_t *bytes;
  size_t length;
  // Where the id is, how many bytes it has and how the first of them is masked.
  size_t id_at, id_bytes;
  uint8_t id_mask[3];
};

static enum dialect dialect;
static bool over_websocket;
static uint8_t *payload;
static size_t payload_bytes;
static struct message request, reply, hello, heartbeat, farewell;

static void put_id(uint8_t *bytes, const struct message *message, int id) {
  if (message->id_bytes == 1) bytes[message->id_at] = (uint8_t)id ^ message->id_mask[0];
  if (message->id_bytes != 3) return;
  for (int digit = 2, rest = id + DECIMAL_BASE; digit >= 0; digit--, rest /= 10) {
    bytes[message->id_at + digit] = (uint8_t)('0' + rest % 10) ^ message->id_mask[digit];
  }
}

// @returns the id that a whole reply has if it is byte by byte what is to come, else 0
static int id_of_reply(const uint8_t *bytes, size_t length, int in_flight) {
  size_t at = reply.id_at, after = at + reply.id_bytes;
  int id = 0;
  if (length != reply.length) return 0;
  if (reply.id_bytes == 1) id = bytes[at];
  if (reply.id_bytes == 3) {
    const uint8_t *digits = bytes + at;
    id = (digits[0] - '0') * 100 + (digits[1] - '0') * 10 + digits[2] - '0' - DECIMAL_BASE;
  }
  if (id < 1 || id > in_flight) return 0;
  bool is_right = memcmp(bytes, reply.bytes, at) == 0 &&
                  memcmp(bytes + after, reply.bytes + after, length - after) == 0;
  return is_right ? id : 0;
}

// A message as the transport carries it: `bytes` itself, or a WebSocket message around it.
static struct message sealed(uint8_t opcode, const uint8_t *bytes, size_t length, size_t id_at,
                             size_t id_bytes) {
  struct message made = {.length = length, .id_at = id_at, .id_bytes = id_bytes};
  made.bytes = malloc(length + HEAD_BYTES_MAX);
  if (made.bytes == NULL) die("out of memory");
  if (over_websocket) {
    made.length = masked(made.bytes, opcode, bytes, length);
    made.id_at = made.length - length + id_at;
    for (size_t i = 0; i < id_bytes; i++) made.id_mask[i] = mask[(id_at + i) & 3];
  } else {
    memcpy(made.bytes, bytes, length);
  }
  return made;
}

// What a server's message is to be, without WebSocket's header.
static struct message expected(const uint8_t *bytes, size_t length, size_t id_at, size_t id_bytes) {
  struct message made = {.length = length, .id_at = id_at, .id_bytes = id_bytes};
  made.bytes = malloc(length);
  if (made.bytes == NULL) die("out of memory");
  memcpy(made.bytes, bytes, length);
  return made;
}

// Text that neither protobuf nor JSON has to escape, and no part of it like another.
static void build_payload(size_t length) {
  static const char first[] = "thirty-two bytes there and back.";
  static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  uint32_t state = 1;
  payload_bytes = length;
  payload = malloc(length);
  if (payload == NULL) die("out of memory");
  memcpy(payload, first, PAYLOAD_BYTES_MIN);
  for (size_t i = PAYLOAD_BYTES_MIN; i < length; i++) {
    state = state * 1664525u + 1013904223u;
    payload[i] = (uint8_t)letters[state >> 26];
  }
}

// ClientMessage{id, call{method "echo", payload}} and ServerMessage{id, result{payload}}.
static void build_holdfast(uint8_t *body, uint8_t *frame) {
  static const uint8_t nothing[4] = {0}, method[] = {0x0a, 4, 'e', 'c', 'h', 'o'};
  size_t field = 1 + varint_bytes(payload_bytes) + payload_bytes;
  for (int is_call = 0; is_call < 2; is_call++) {
    size_t at = 0;
    body[at++] = 0x08;
    body[at++] = 1;
    body[at++] = 0x1a;
    at += varint(body + at, field + (is_call ? sizeof method : 0));
    if (is_call) memcpy(body + at, method, sizeof method);
    if (is_call) at += sizeof method;
    body[at++] = is_call ? 0x12 : 0x0a;
    at += varint(body + at, payload_bytes);
    memcpy(body + at, payload, payload_bytes);
    size_t length = framed(frame, body, at + payload_bytes);
    if (is_call) request = sealed(2, frame, length, 5, 1);
    else reply = expected(frame, length, 5, 1);
  }
  hello = sealed(2, frame, hello_frame(frame), 0, 0);
  heartbeat = sealed(2, nothing, sizeof nothing, 0, 0);
}

static void build_socket_io(uint8_t *body) {
  const char *asking = "42000[\"echo\",\"", *answering = "43000[\"";
  size_t at = strlen(asking);
  memcpy(body, asking, at);
  memcpy(body + at, payload, payload_bytes);
  memcpy(body + at + payload_bytes, "\"]", 2);
  request = sealed(1, body, at + payload_bytes + 2, 2, 3);
  at = strlen(answering);
  memcpy(body, answering, at);
  memcpy(body + at, payload, payload_bytes);
  memcpy(body + at + payload_bytes, "\"]", 2);
  reply = expected(body, at + payload_bytes + 2, 2, 3);
  hello = sealed(1, (const uint8_t *)"40", 2, 0, 0);
  heartbeat = sealed(1, (const uint8_t *)"3", 1, 0, 0);
}

static void build_messages(size_t length) {
  static const uint8_t code[2] = {0x03, 0xe8};
  uint8_t *body = malloc(length + HEAD_BYTES_MAX), *frame = malloc(length + HEAD_BYTES_MAX);
  if (body == NULL || frame == NULL) die("out of memory");
  build_payload(length);
  if (dialect == HOLDFAST) {
    build_holdfast(body, frame);
  } else if (dialect == SOCKET_IO) {
    build_socket_io(body);
  } else {
    request = sealed(2, payload, payload_bytes, 0, 0);
    reply = expected(payload, payload_bytes, 0, 0);
  }
  farewell = sealed(8, code, sizeof code, 0, 0);
  free(body);
  free(frame);
}

#endif
