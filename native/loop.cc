#include "loop.h"

#include <unistd.h>

namespace holdfast {

namespace {
constexpr int32_t RECORDS_PER_EVENT = ACCEPTS_MAX + 1;
constexpr int32_t BATCH_SIZES = COUNTER_COUNT - COUNTER_BATCH_SIZES;
}  // namespace

Loop::Loop(int epoll_fd, const SharedMemory& shared)
    : epoll_fd_(epoll_fd),
      shared_(shared),
      connections_(epoll_fd, shared_),
      acceptors_(epoll_fd, shared_.counters),
      writer_(connections_, shared_.counters) {}

Loop::~Loop() {
  connections_.abandon_all();
  acceptors_.close_all();
  ::close(epoll_fd_);
}

bool Loop::set_queued(double* queued, int32_t length) {
  if (length < connections_.table().size()) return false;
  shared_.queued = queued;
  shared_.queued_length = length;
  return true;
}

void Loop::collect(RecordList& told, bool accepts) {
  connections_.begin_batch();
  int32_t count = collect_ready(told);
  count += collect_events(told, accepts);
  count_batch(count);
}

bool Loop::has_room(const RecordList& told, int32_t bytes) const {
  return connections_.can_read(bytes) && told.room() >= RECORDS_PER_EVENT;
}

/**
 * Those that are listed now: one that is listed again waits until the others had a turn. They get
 * half of the receive buffer, so that those who send most do not starve the others.
 */
int32_t Loop::collect_ready(RecordList& told) {
  ReadyList& ready = connections_.ready();
  auto listed = static_cast<int32_t>(ready.size() < EVENTS_MAX ? ready.size() : EVENTS_MAX);
  int32_t count = 0;
  for (; count < listed && has_room(told, RECEIVE_BYTES / 2); count++) {
    uint64_t key = ready.shift();
    if (live_socket(key) == nullptr) shared_.counters[COUNTER_STALE_EVENTS]++;
    else connections_.on_ready(static_cast<int32_t>(key & 0xffffffff), told);
  }
  return count;
}

/** Events that did not fit the last batch come first. */
int32_t Loop::collect_events(RecordList& told, bool accepts) {
  if (next_event_ == event_count_) {
    next_event_ = 0;
    int ready = epoll_wait(epoll_fd_, events_, EVENTS_MAX, 0);
    event_count_ = ready > 0 ? ready : 0;
  }
  int32_t first = next_event_;
  while (next_event_ < event_count_ && has_room(told, RECEIVE_BYTES)) {
    on_event(events_[next_event_++], told, accepts);
  }
  return next_event_ - first;
}

/** Null where the connection has gone, whoever has its channel now. */
Socket* Loop::live_socket(uint64_t key) {
  Socket* socket = connections_.table().get(static_cast<int32_t>(key & 0xffffffff));
  if (socket == nullptr || socket->generation != static_cast<uint32_t>(key >> 32)) return nullptr;
  return socket->phase == PHASE_ENDED ? nullptr : socket;
}

void Loop::on_event(const epoll_event& event, RecordList& told, bool accepts) {
  uint64_t key = event.data.u64;
  if (acceptors_.is_event(key)) {
    // Level-triggered: the next turn finds it again.
    if (!accepts) return;
    int32_t index = acceptors_.index_of(key);
    if (index >= 0) acceptors_.on_event(index, told);
    else shared_.counters[COUNTER_STALE_EVENTS]++;
  } else if (live_socket(key) != nullptr) {
    connections_.on_event(static_cast<int32_t>(key & 0xffffffff), event.events, told);
  } else {
    shared_.counters[COUNTER_STALE_EVENTS]++;
  }
}

void Loop::count_batch(int32_t events) {
  if (events == 0) return;
  shared_.counters[COUNTER_BATCHES]++;
  shared_.counters[COUNTER_EVENTS] += events;
  int32_t size = 0;
  while ((1 << size) < events && size < BATCH_SIZES - 1) size++;
  shared_.counters[COUNTER_BATCH_SIZES + size]++;
}

}  // namespace holdfast
