// One epoll instance with its connections and acceptors. It knows neither JavaScript nor libuv:
// whoever polls it calls collect() when something is ready, and flush() with what was asked for.
#pragma once

#include <sys/epoll.h>

#include <cstdint>

#include "acceptor.h"
#include "connections.h"
#include "layout.h"
#include "record_list.h"
#include "writer.h"

namespace holdfast {

class Loop {
 public:
  /** Owns `epoll_fd` from now on. */
  Loop(int epoll_fd, const SharedMemory& shared);
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  int epoll_fd() const { return epoll_fd_; }
  Connections& connections() { return connections_; }
  Acceptors& acceptors() { return acceptors_; }
  Writer& writer() { return writer_; }
  /**
   * A larger array for the sizes of queues; it holds the old ones.
   * @returns false: it is too short for the channels that there are, and nothing has changed.
   */
  bool set_queued(double* queued, int32_t length);
  /**
   * One batch: reads, drains and accepts what is ready, EVENTS_MAX events at most.
   * Whatever was read lies in the receive buffer until the next call.
   * @param accepts false: a further batch of the same turn, in which acceptors wait.
   */
  void collect(RecordList& told, bool accepts = true);
  /** There is more to collect, of which epoll will not tell. */
  bool has_more() {
    return next_event_ < event_count_ || connections_.ready().size() > 0;
  }

 private:
  bool has_room(const RecordList& told, int32_t bytes) const;
  int32_t collect_ready(RecordList& told);
  int32_t collect_events(RecordList& told, bool accepts);
  Socket* live_socket(uint64_t key);
  void on_event(const epoll_event& event, RecordList& told, bool accepts);
  void count_batch(int32_t events);

  const int epoll_fd_;
  SharedMemory shared_;
  Connections connections_;
  Acceptors acceptors_;
  Writer writer_;
  epoll_event events_[EVENTS_MAX];
  int32_t event_count_ = 0;
  /** The next event to be looked at: a batch may fill up before all were. */
  int32_t next_event_ = 0;
};

}  // namespace holdfast
