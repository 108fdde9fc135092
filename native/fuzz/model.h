// What the fuzz expects: the streams of every connection, what was asked of it, what was told of
// it. Whatever differs from it is a breach, which ends the program.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>

#include "../address.h"

namespace holdfast::fuzz {

/** Names the run in what is printed about a breach. */
struct Position {
  uint64_t seed = 0;
  uint64_t episode = 0;
  uint64_t operation = 0;
  const char* action = "";
};
extern Position position;

[[noreturn]] void breach(const char* format, ...) __attribute__((format(printf, 1, 2)));

/** Bytes of a stream from a position on, at least PATTERN_BYTES: they tell where they belong. */
constexpr uint32_t PATTERN_BYTES = 262144;
const uint8_t* pattern(uint32_t key, uint64_t offset);

/** One direction of a connection. */
struct Stream {
  uint32_t key = 0;
  uint64_t sent = 0;
  uint64_t got = 0;
};

/** The far end: a socket of the fuzz. */
struct Peer {
  /** -1: closed, or not accepted yet. */
  int fd = -1;
  bool is_unix = false;
  /** It seldom reads. */
  bool is_slow = false;
  bool has_shut = false;
  bool has_closed = false;
  bool has_reset = false;
  /** To the loop and from the loop; `out.sent` is what the loop was asked for and may not drop. */
  Stream in;
  Stream out;
};

enum class State : uint8_t { FREE, CONNECTING, OPEN, ENDED };

/** A connection as the loop must see it. */
struct Link {
  State state = State::FREE;
  uint8_t member = 0;
  int fd = -1;
  Peer peer;
  /** Bytes written, flushed or not. */
  uint64_t asked = 0;
  /** Asked for by operations that may not be flushed yet. */
  bool is_close_appended = false;
  bool is_reset_appended = false;
  /** Asked for by operations that were flushed. */
  bool is_paused = false;
  bool is_close_asked = false;
  bool is_reset_asked = false;
  /** Told. */
  bool has_queue = false;
  bool has_ended = false;
  bool is_close_told = false;
  /** It was given more while more than its limit waited. */
  bool is_to_overflow = false;
  int error = 0;
  bool is_free_appended = false;
  bool is_freed = false;
  /** Outbound: its peer is still to be accepted by a listener of the fuzz. */
  bool is_awaited = false;
  /** Nobody listens where it connects to. */
  bool is_refused = false;
  /** It connects to where it is never answered. */
  bool is_stuck = false;
  /** Nobody knows which peer it has: it ended before it was accepted. */
  bool is_orphan = false;
  /** The size of its queue when it was last looked at. */
  double queued = 0;
  /** Index into the live ones; -1: it is none. */
  int32_t live = -1;

  bool is_live() const { return state == State::OPEN || state == State::CONNECTING; }
  bool is_peer_well() const {
    return peer.fd >= 0 && !peer.has_closed && !peer.has_reset && !is_orphan;
  }
};

/** A peer that has called an acceptor of the loop, and was not accepted yet. */
struct Caller {
  Peer peer;
  int32_t acceptor = -1;
  Address name;
};

/** An acceptor of the loop. */
struct Listener {
  bool is_open = false;
  /** It was told that it has run out of files, at some time. */
  bool has_starved = false;
  uint8_t member = 0;
  Address address;
  std::string path;
  /** The socket that it was inherited from; -1 where there is none. */
  int inherited = -1;
};

}  // namespace holdfast::fuzz
