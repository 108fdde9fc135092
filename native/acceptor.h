// Listening sockets. Each accepts at most ACCEPTS_MAX connections in a batch and hands their files
// to JavaScript, which admits them before anything is allocated.
#pragma once

#include <cstdint>

#include "layout.h"
#include "record_list.h"

namespace holdfast {

/** Set on the listening socket: on Linux what it accepts inherits them, at no cost each. */
struct SocketOptions {
  bool no_delay = true;
  /** Silence in seconds after which the kernel probes the peer; 0: never. */
  int keep_alive_seconds = 0;
  /** Milliseconds that sent bytes may stay unacknowledged; 0: the kernel's default. */
  int user_timeout_ms = 0;
};

/** @returns 0, or -errno. */
int apply_options(int fd, const SocketOptions& options);

struct Acceptor {
  /** -1: this place is free. */
  int fd = -1;
  uint32_t generation = 0;
  uint8_t member = 0;
  /** Out of files, and JavaScript knows, which retries it: until then it may not be watched. */
  bool is_starved = false;
};

class Acceptors {
 public:
  Acceptors(int epoll_fd, double* counters);
  ~Acceptors();
  Acceptors(const Acceptors&) = delete;
  Acceptors& operator=(const Acceptors&) = delete;

  /** Watches a socket that listens, and owns it. @returns its number, or -errno. */
  int32_t add(int fd, uint8_t member);
  /** Closes it: what it has not accepted is lost. */
  void remove(int32_t index);
  /** Tries again whether there are files. @returns whether it is out of files, as far as known. */
  bool retry(int32_t index);
  /** Nothing of it may be called afterwards. */
  void close_all();
  /** Connections wait. Adds ACCEPTS_MAX records and one more at most. */
  void on_event(int32_t index, RecordList& told);

  /** -1 where there is no such acceptor. */
  int fd_of(int32_t index) const;
  bool is_event(uint64_t key) const { return (key & EVENT_BIT) != 0; }
  /** The acceptor of an event; -1 where it has gone. */
  int32_t index_of(uint64_t key) const;

 private:
  static constexpr uint64_t EVENT_BIT = 0x80000000;

  bool watch(int32_t index);
  void starve(int32_t index, int error, RecordList& told);
  bool refuse_waiting(Acceptor& acceptor);
  void refuse(int fd);

  const int epoll_fd_;
  double* const counters_;
  /** Given up for a moment to accept a connection that there is no file for, and to close it. */
  int reserve_fd_;
  Acceptor acceptors_[ACCEPTORS_MAX];
};

}  // namespace holdfast
