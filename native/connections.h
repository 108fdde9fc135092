// What happens to the connections of a loop: bytes come, the queue drains, ends come in every order.
// Everything here takes the list that tells JavaScript of it. Nothing here calls JavaScript.
//
// Epoll is edge-triggered: a level-triggered event costs a second poll of its socket in the next
// epoll_wait, a tenth of an echo. What an event promised and was not read (a full read, a pause) is
// remembered in the socket's flags, and read later from a list.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>

#include "layout.h"
#include "record_list.h"
#include "ready_list.h"
#include "socket_table.h"

namespace holdfast {

/** Memory of JavaScript's; it outlives the loop's use of it. */
struct SharedMemory {
  uint8_t* receive = nullptr;
  double* counters = nullptr;
  /** Bytes queued, by channel. */
  double* queued = nullptr;
  int32_t queued_length = 0;
};

class Connections {
 public:
  Connections(int epoll_fd, SharedMemory& shared) : epoll_fd_(epoll_fd), shared_(shared) {}
  ~Connections();
  Connections(const Connections&) = delete;
  Connections& operator=(const Connections&) = delete;

  SocketTable& table() { return table_; }
  /**
   * A connection that has more than this waiting and is given more is reset: its owner ignores its
   * limits. A first write may be of any size.
   */
  void limit_queue(size_t bytes) { queue_bytes_max_ = bytes; }

  /** Takes a file over that is open, or that is connecting. @returns the channel, or -errno. */
  int32_t add(int fd, uint8_t member, Phase phase);
  /** What epoll reported of a channel. Adds four records at most. */
  void on_event(int32_t channel, uint32_t events, RecordList& told);
  /** Connections that have something to read and will get no event for it. */
  ReadyList& ready() { return ready_; }
  /** The turn of one that was listed. Adds two records at most. */
  void on_ready(int32_t channel, RecordList& told);
  /** One more read fits the first so many bytes of the receive buffer. */
  bool can_read(int32_t bytes) const { return received_ + READ_BYTES_MAX <= bytes; }
  /** The receive buffer is free again. */
  void begin_batch() { received_ = 0; }

  /** Writes what it can and queues the rest. Adds one record at most (queued or closed). */
  void write(int32_t channel, iovec* pieces, int count, RecordList& told);
  void pause(int32_t channel);
  void resume(int32_t channel);
  void close(int32_t channel, RecordList& told);
  void reset(int32_t channel, RecordList& told);
  /** JavaScript has been told of its end, and has told everybody. */
  void free(int32_t channel);
  /** Closes every file, without a record. */
  void abandon_all();

 private:
  void on_connecting(int32_t channel, uint32_t events, RecordList& told);
  void on_readable(int32_t channel, RecordList& told);
  void read(int32_t channel, RecordList& told);
  void drain(int32_t channel, RecordList& told);
  void enqueue(int32_t channel, const iovec* pieces, int count, size_t sent, RecordList& told);
  void shut(int32_t channel, RecordList& told);
  void want_read(int32_t channel);
  /** @param error errno; 0: in order. */
  void end(int32_t channel, int error, RecordList& told);
  void drop_queue(Socket& socket, int32_t channel);
  void watch_out(int32_t channel);
  void set_queued(int32_t channel, double bytes);
  void count(Counter counter, double by) { shared_.counters[counter] += by; }

  const int epoll_fd_;
  SharedMemory& shared_;
  SocketTable table_;
  ReadyList ready_;
  size_t queue_bytes_max_ = SIZE_MAX;
  /** Bytes of the receive buffer that this batch has filled. */
  int32_t received_ = 0;
};

}  // namespace holdfast
