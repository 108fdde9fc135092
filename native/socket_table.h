// The connections of a loop by channel. A channel is used again only after JavaScript has freed it;
// its generation goes into the epoll event, so that no event of a former connection is mistaken.
#pragma once

#include <cstddef>
#include <cstdint>

#include "output_queue.h"

namespace holdfast {

enum Phase : uint8_t {
  PHASE_FREE = 0,
  PHASE_CONNECTING = 1,
  PHASE_OPEN = 2,
  /** The file is closed; JavaScript has not freed the channel yet. */
  PHASE_ENDED = 3,
};

enum SocketFlag : uint8_t {
  SOCKET_PAUSED = 1,
  /** The peer has sent its FIN. */
  SOCKET_PEER_ENDED = 2,
  /** JavaScript has asked for our FIN. */
  SOCKET_CLOSE_ASKED = 4,
  /** Our FIN was sent. */
  SOCKET_SHUT = 8,
  /** There may be something to read, of which epoll will not tell again. */
  SOCKET_READABLE = 16,
  /** In the list of those that are read without an event. */
  SOCKET_LISTED = 32,
  /** epoll tells when it can be written to. */
  SOCKET_WATCHES_OUT = 64,
  /** A short read does not mean that nothing is left. */
  SOCKET_READ_TO_END = 128,
};

/** 32 bytes, beside 8 for the size of its queue in shared memory. */
struct Socket {
  int32_t fd;
  uint32_t generation;
  OutputQueue* queue;
  /** Operations of the flush under way, -1 where there is none. While free: the next free one. */
  int32_t first_operation;
  int32_t last_operation;
  Phase phase;
  uint8_t flags;
  uint8_t member;
};

class SocketTable {
 public:
  SocketTable() = default;
  ~SocketTable();
  SocketTable(const SocketTable&) = delete;
  SocketTable& operator=(const SocketTable&) = delete;

  /** @returns the channel; -1 where there is no memory. */
  int32_t add(int32_t fd, uint8_t member, Phase phase);
  /** The channel may be given to somebody else from now on. */
  void free(int32_t channel);
  /** Null where there is no such channel, or it is free. */
  Socket* get(int32_t channel);
  Socket& at(int32_t channel) { return sockets_[channel]; }

  /** Channels that are or were in use. */
  int32_t size() const { return size_; }
  /** Channels that JavaScript has not freed. */
  int32_t used() const { return used_; }

 private:
  bool grow();

  Socket* sockets_ = nullptr;
  int32_t size_ = 0;
  int32_t capacity_ = 0;
  int32_t used_ = 0;
  int32_t first_free_ = -1;
};

inline uint64_t event_key(int32_t channel, uint32_t generation) {
  return (static_cast<uint64_t>(generation) << 32) | static_cast<uint32_t>(channel);
}

}  // namespace holdfast
