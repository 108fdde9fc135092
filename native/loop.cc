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

void Loop::set_queued(double* queued, int32_t length) {
  shared_.queued = queued;
  shared_.queued_length = length;
}

/**
 * Events that did not fit the last batch come first: epoll would name the same connections again,
 * and those that send most would starve the others.
 */
void Loop::collect(RecordList& told) {
  if (next_event_ == event_count_) {
    next_event_ = 0;
    event_count_ = 0;
    int ready = epoll_wait(epoll_fd_, events_, EVENTS_MAX, 0);
    if (ready > 0) event_count_ = ready;
  }
  connections_.begin_batch();
  int32_t first = next_event_;
  while (next_event_ < event_count_ && connections_.can_read() &&
         told.room() >= RECORDS_PER_EVENT) {
    on_event(events_[next_event_++], told);
  }
  count_batch(next_event_ - first);
}

void Loop::on_event(const epoll_event& event, RecordList& told) {
  uint64_t key = event.data.u64;
  if (acceptors_.is_event(key)) {
    int32_t index = acceptors_.index_of(key);
    if (index >= 0) acceptors_.on_event(index, told);
    else shared_.counters[COUNTER_STALE_EVENTS]++;
    return;
  }
  auto channel = static_cast<int32_t>(key & 0xffffffff);
  auto generation = static_cast<uint32_t>(key >> 32);
  Socket* socket = connections_.table().get(channel);
  bool is_live = socket != nullptr && socket->generation == generation &&
                 (socket->phase == PHASE_OPEN || socket->phase == PHASE_CONNECTING);
  if (is_live) connections_.on_event(channel, event.events, told);
  else shared_.counters[COUNTER_STALE_EVENTS]++;
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
