// A connection of the load client, and what is to be sent on it: gathered, written in one go, and
// what the kernel would not take at once kept until it does.
#ifndef CONNECTION_H
#define CONNECTION_H
#include "clocks.h"
#include "dialects.h"
#include "sockets.h"

// Beside what is asked: heartbeats and pongs that one read may call for.
#define OUT_BYTES_SPARE 65536

enum phase { CONNECTING, UPGRADING, GREETING, READY, LEAVING, CLOSED };

struct connection {
  int fd;
  uint8_t phase;
  // Of the WebSocket message that is being read, and the id whose answer is next, where answers
  // carry none, and whose question is next.
  uint8_t opcode, next_answer, next_ask;
  // Bytes of an incomplete answer, in `rest`.
  uint32_t kept;
  uint8_t *rest;
  // What the kernel would not take: `unsent` from `unsent_at` on.
  uint32_t unsent_at, unsent_bytes;
  uint8_t *unsent;
  // Bytes of the WebSocket message that are still to come.
  uint64_t left;
  // Which ids wait for their answer.
  uint64_t waiting[2];
  // How many were asked, where there is a rate.
  uint32_t asked;
};

static int epoll_fd;
static struct connection *connections;
static uint8_t *out;
static size_t out_bytes, out_bytes_max;

// For so much as may be asked at once.
static void make_room(size_t length) {
  out_bytes_max = length + OUT_BYTES_SPARE;
  out = malloc(out_bytes_max);
  if (out == NULL) die("out of memory");
}

static void watch(struct connection *connection, int operation, uint32_t events) {
  watch_fd(epoll_fd, operation, connection->fd, (uint32_t)(connection - connections), events);
}

static uint8_t *say(const struct message *message) {
  uint8_t *to = out + out_bytes;
  if (out_bytes + message->length > out_bytes_max) die("more to say than was asked for");
  memcpy(to, message->bytes, message->length);
  out_bytes += message->length;
  return to;
}

// Sent as soon as the socket takes more.
static void keep_unsent(struct connection *connection, const uint8_t *bytes, size_t length) {
  uint8_t *rest = connection->unsent;
  if (connection->unsent_bytes == 0) {
    watch(connection, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
  } else if (connection->unsent_at > 0) {
    memmove(rest, rest + connection->unsent_at, connection->unsent_bytes);
  }
  connection->unsent_at = 0;
  rest = realloc(rest, connection->unsent_bytes + length);
  if (rest == NULL) die("out of memory");
  memcpy(rest + connection->unsent_bytes, bytes, length);
  connection->unsent = rest;
  connection->unsent_bytes += (uint32_t)length;
}

// What was said since the last call, in one write.
static void flush_to(struct connection *connection) {
  ssize_t sent = 0;
  if (out_bytes == 0) return;
  if (connection->unsent_bytes == 0) {
    sent = send(connection->fd, out, out_bytes, MSG_NOSIGNAL);
    // That a connection is broken is said when it is read.
    if (sent < 0) sent = errno == EAGAIN ? 0 : (ssize_t)out_bytes;
  }
  if ((size_t)sent < out_bytes) keep_unsent(connection, out + sent, out_bytes - (size_t)sent);
  out_bytes = 0;
}

static void writable(struct connection *connection) {
  const uint8_t *rest = connection->unsent + connection->unsent_at;
  ssize_t sent = send(connection->fd, rest, connection->unsent_bytes, MSG_NOSIGNAL);
  if (sent < 0 && errno == EAGAIN) return;
  if (sent < 0) sent = connection->unsent_bytes;
  connection->unsent_at += (uint32_t)sent;
  connection->unsent_bytes -= (uint32_t)sent;
  if (connection->unsent_bytes > 0) return;
  free(connection->unsent);
  connection->unsent = NULL;
  connection->unsent_at = 0;
  watch(connection, EPOLL_CTL_MOD, EPOLLIN);
}

#endif
