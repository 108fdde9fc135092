// Frames as clients send them: WebSocket's, Holdfast's, and the varints of protobuf.
#ifndef FRAMES_H
#define FRAMES_H
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

// The most that stands before a payload: WebSocket's header, Holdfast's, and a call's fields.
#define HEAD_BYTES_MAX 64
#define UPGRADE_BYTES_MAX 400

// Every mask is this one, which costs the server as much to undo as any other.
static const uint8_t mask[4] = {0x5a, 0xc3, 0x17, 0x9e};

// A client's WebSocket message of less than 64 KB around `bytes`. @returns its length
static inline size_t masked(uint8_t *to, uint8_t opcode, const uint8_t *bytes, size_t length) {
  size_t at = 2;
  to[0] = 0x80 | opcode;
  to[1] = 0x80 | (uint8_t)(length < 126 ? length : 126);
  if (length >= 126) {
    to[at++] = (uint8_t)(length >> 8);
    to[at++] = (uint8_t)length;
  }
  memcpy(to + at, mask, 4);
  at += 4;
  for (size_t i = 0; i < length; i++) to[at + i] = bytes[i] ^ mask[i & 3];
  return at + length;
}

// Holdfast's frame: the length of its body, and the body.
static inline size_t framed(uint8_t *to, const uint8_t *body, size_t length) {
  to[0] = (uint8_t)(length >> 24);
  to[1] = (uint8_t)(length >> 16);
  to[2] = (uint8_t)(length >> 8);
  to[3] = (uint8_t)length;
  memcpy(to + 4, body, length);
  return 4 + length;
}

static inline size_t varint_bytes(size_t value) { return value < 128 ? 1 : value < 16384 ? 2 : 3; }

static inline size_t varint(uint8_t *to, size_t value) {
  size_t at = 0;
  for (; value >= 128; value >>= 7) to[at++] = (uint8_t)(value | 128);
  to[at++] = (uint8_t)value;
  return at;
}

// ClientMessage{id 1, hello{version 1, client "load"}} in its frame. @returns its length
static inline size_t hello_frame(uint8_t *to) {
  static const uint8_t body[] = {0x08, 1, 0x12, 8, 0x08, 1, 0x1a, 4, 'l', 'o', 'a', 'd'};
  return framed(to, body, sizeof body);
}

// Whether a frame begins with ServerMessage{id 1, welcome}.
static inline bool is_welcome(const uint8_t *frame, size_t length) {
  return length > 8 && frame[4] == 0x08 && frame[5] == 1 && frame[6] == 0x12;
}

// The request for a WebSocket, in `to` of UPGRADE_BYTES_MAX. @returns its length
static inline size_t upgrade_request(char *to, int port, const char *path, const char *headers) {
  int length = snprintf(to, UPGRADE_BYTES_MAX,
                        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
                        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n",
                        path, port, headers);
  return (size_t)length;
}

#endif
