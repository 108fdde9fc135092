#include "world.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

namespace holdfast::fuzz {

namespace {

/** A record fits the room of every event: as in loop.cc. */
constexpr int32_t RECORDS_MIN = ACCEPTS_MAX + 1;
/** How long the kernel may take to bring about what must come about. */
constexpr int QUIET_MS_MAX = 10000;
/** After so long nothing more is expected of a peer that has closed. */
constexpr int DESERTED_MS = 300;

int32_t kind_of(int32_t word) { return word & 0xff; }

}  // namespace

World::World(Prng& prng, const std::string& folder, Tally& tally)
    : prng_(prng),
      folder_(folder),
      tally_(tally),
      records_(RECORDS_MAX),
      results_(RESULTS_MAX),
      operations_(OPERATIONS_MAX),
      receive_(new uint8_t[RECEIVE_BYTES]),
      counters_(COUNTER_COUNT),
      queued_length_(1 + static_cast<int32_t>(prng.below(64))),
      limit_(65536u << prng.below(5)),
      live_max_(prng.once_in(20) ? 700 : 4 + prng.below(120)),
      scratch_(PATTERN_BYTES) {
  queued_.reset(new double[static_cast<size_t>(queued_length_)]);
  SharedMemory shared;
  shared.receive = receive_.get();
  shared.counters = counters_.data();
  shared.queued = queued_.get();
  shared.queued_length = queued_length_;
  int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd < 0) breach("epoll_create1: %s", strerror(errno));
  loop_.reset(new Loop(epoll_fd, shared));
  loop_->connections().limit_queue(limit_);
  may_run_out_ = prng_.once_in(3);
  add_slabs();
  listen_for_outbound();
}

World::~World() {
  for (Link& link : links_) close_peer(link.peer, false);
  for (Caller& caller : callers_) close_peer(caller.peer, false);
  for (Listener& listener : listeners_) {
    if (!listener.is_open) continue;
    if (!listener.path.empty()) unlink(listener.path.c_str());
    if (listener.inherited >= 0) ::close(listener.inherited);
  }
  ::close(tcp_listener_);
  ::close(unix_listener_);
  ::close(deaf_socket_);
  ::close(full_listener_);
  for (int filler : fillers_) ::close(filler);
  unlink(unix_path_.c_str());
}

void World::step() {
  const std::vector<Weighted>& all = actions();
  static const int total = [&all] {
    int sum = 0;
    for (const Weighted& weighted : all) sum += weighted.weight;
    return sum;
  }();
  auto at = static_cast<int>(prng_.below(static_cast<uint32_t>(total)));
  for (const Weighted& weighted : all) {
    at -= weighted.weight;
    if (at >= 0) continue;
    act(weighted);
    return;
  }
}

void World::act(const Weighted& weighted) {
  position.action = weighted.name;
  (this->*weighted.action)();
}

Link* World::pick() {
  if (live_.empty()) return nullptr;
  // Often the same one as before, so that operations of one connection meet in a flush.
  int32_t channel = last_channel_;
  bool is_same = prng_.once_in(2) && channel < static_cast<int32_t>(links_.size()) &&
                 links_[static_cast<size_t>(channel)].is_live();
  if (!is_same) channel = live_[prng_.below(static_cast<uint32_t>(live_.size()))];
  last_channel_ = channel;
  return &links_[static_cast<size_t>(channel)];
}

void World::forget_live(Link& link) {
  if (link.live < 0) return;
  int32_t last = live_.back();
  live_[static_cast<size_t>(link.live)] = last;
  links_[static_cast<size_t>(last)].live = link.live;
  live_.pop_back();
  link.live = -1;
}

/** What an operation does to the model, at the moment at which it is carried out. */
void World::apply(const Operation& operation) {
  bool is_known = operation.channel >= 0 &&
                  operation.channel < static_cast<int32_t>(links_.size()) &&
                  links_[static_cast<size_t>(operation.channel)].state != State::FREE;
  if (!is_known) {
    invalid_++;
    return;
  }
  Link& link = links_[static_cast<size_t>(operation.channel)];
  bool is_open = link.state == State::OPEN && !link.is_reset_asked;
  switch (kind_of(operation.word)) {
    case OPERATION_WRITE: {
      const Slab* named = nullptr;
      for (const Slab& slab : slabs_) {
        if (slab.slot == operation.word >> 8) named = &slab;
      }
      size_t length = named == nullptr ? 0 : named->length;
      bool is_valid = operation.start >= 0 && operation.start <= operation.end &&
                      static_cast<size_t>(operation.end) <= length &&
                      operation.word >> 8 >= 0 && operation.word >> 8 < SLOTS_MAX;
      if (!is_valid) invalid_++;
      else if (is_open && !link.is_close_asked) {
        link.peer.out.sent += static_cast<uint64_t>(operation.end - operation.start);
        double waiting = queued_[static_cast<size_t>(operation.channel)];
        bool is_over = operation.end > operation.start && waiting > static_cast<double>(limit_);
        if (is_over) link.is_to_overflow = true;
      }
      return;
    }
    case OPERATION_PAUSE:
      if (is_open && !link.is_close_asked) link.is_paused = true;
      return;
    case OPERATION_RESUME:
      if (is_open) link.is_paused = false;
      return;
    case OPERATION_CLOSE:
      if (link.is_live()) {
        link.is_close_asked = true;
        link.is_paused = false;
      }
      return;
    case OPERATION_RESET:
      if (link.is_live()) link.is_reset_asked = true;
      return;
    case OPERATION_FREE:
      if (link.state == State::ENDED && !link.is_freed) link.is_freed = true;
      else invalid_++;
      return;
    default:
      invalid_++;
  }
}

void World::flush() {
  int32_t count = operation_count_;
  operation_count_ = 0;
  for (int32_t index = 0; index < count; index++) apply(operations_[static_cast<size_t>(index)]);
  RecordList told = {results_.data(), RESULTS_MAX, 0};
  failing_memory.is_out = may_run_out_ && prng_.once_in(50);
  loop_->writer().flush(operations_.data(), count, told);
  failing_memory.is_out = false;
  for (int32_t index = 0; index < count; index++) {
    int32_t channel = operations_[static_cast<size_t>(index)].channel;
    if (channel < 0 || channel >= static_cast<int32_t>(links_.size())) continue;
    Link& link = links_[static_cast<size_t>(channel)];
    if (!link.is_freed) continue;
    if (loop_->connections().table().get(channel) != nullptr) breach("%d was not freed", channel);
    close_peer(link.peer, false);
    link = Link();
    used_--;
  }
  for (Slab& slab : slabs_) {
    // Whatever was not sent was copied: the slab belongs to somebody else now.
    std::memset(slab.memory.get(), 0xee, slab.used);
    slab.used = 0;
  }
  check_records(told, true);
  check_all(true);
  handle(told, false);
}

void World::collect() {
  // A handler that runs the loop: the batch that is under way comes first.
  if (is_handling_) return;
  bool is_small = prng_.once_in(8);
  int32_t capacity = is_small ? RECORDS_MIN + static_cast<int32_t>(prng_.below(80)) : RECORDS_MAX;
  RecordList told = {records_.data(), capacity, 0};
  // Further batches of the same turn do not accept.
  loop_->collect(told, is_quiet_wanted_ || !prng_.once_in(4));
  check_records(told, false);
  check_all(false);
  is_handling_ = true;
  handle(told, true);
  is_handling_ = false;
}

/** Everything that was told, against the state that the loop was in. */
void World::check_records(const RecordList& told, bool is_flush) {
  expected_.assign(static_cast<size_t>(told.count), nullptr);
  int32_t received = 0;
  for (int32_t index = 0; index < told.count; index++) {
    const Record& record = told.records[index];
    int32_t kind = kind_of(record.word);
    if (kind == RECORD_ACCEPTED || kind == RECORD_ACCEPT_ERROR) {
      if (is_flush) breach("a flush accepts");
      check_acceptor(record);
      continue;
    }
    bool is_known = record.channel >= 0 && record.channel < static_cast<int32_t>(links_.size());
    if (!is_known) breach("record %d of channel %d", kind, record.channel);
    Link& link = links_[static_cast<size_t>(record.channel)];
    if (!link.is_live()) breach("record %d of %d, which is not live", kind, record.channel);
    int32_t member = record.word >> 8;
    if (member != link.member) breach("member %d told of %d's", member, link.member);
    bool is_result = kind == RECORD_QUEUED || kind == RECORD_CLOSED;
    if (is_flush && !is_result) breach("a flush tells %d", kind);
    if (kind == RECORD_DATA) {
      if (record.offset != received) breach("bytes at %d, not at %d", record.offset, received);
      received += record.length;
      expected_[static_cast<size_t>(index)] = pattern(link.peer.in.key, link.peer.in.got);
      check_data(link, record);
    } else if (kind == RECORD_END) {
      check_end_told(link, record);
    } else if (kind == RECORD_DRAIN) {
      if (!link.has_queue) breach("%d is drained and had no queue", record.channel);
      link.has_queue = false;
      tally_.drained++;
    } else if (kind == RECORD_QUEUED) {
      if (link.has_queue) breach("%d is told twice that it has a queue", record.channel);
      link.has_queue = true;
      tally_.queued++;
    } else if (kind == RECORD_CONNECTED) {
      if (link.state != State::CONNECTING) breach("%d is connected twice", record.channel);
      if (link.is_stuck) breach("%d is connected and nobody has answered", record.channel);
      link.state = State::OPEN;
      tally_.connected++;
    } else if (kind == RECORD_CLOSED) {
      check_closed(link, record);
    } else {
      breach("a record of kind %d", kind);
    }
  }
  if (received > RECEIVE_BYTES - READ_BYTES_MAX) tally_.full_batches++;
}

void World::check_data(Link& link, const Record& record) {
  Stream& in = link.peer.in;
  if (link.state != State::OPEN) breach("bytes of %d, which is not open", record.channel);
  if (link.is_paused) breach("bytes of %d, which is paused", record.channel);
  if (link.has_ended) breach("bytes of %d after its end", record.channel);
  bool fits = record.length > 0 && record.length <= READ_BYTES_MAX &&
              record.offset + record.length <= RECEIVE_BYTES;
  if (!fits) breach("%d bytes at %d", record.length, record.offset);
  in.got += static_cast<uint64_t>(record.length);
  tally_.bytes_in += static_cast<uint64_t>(record.length);
  if (!link.is_orphan && in.got > in.sent) breach("%d got more than was sent", record.channel);
}

void World::check_end_told(Link& link, const Record& record) {
  const Peer& peer = link.peer;
  if (link.state != State::OPEN || link.has_ended) breach("a second end of %d", record.channel);
  if (link.is_paused) breach("the end of %d, which is paused", record.channel);
  link.has_ended = true;
  if (link.is_orphan) return;
  if (!peer.has_shut && !peer.has_closed) breach("an end of %d that is none", record.channel);
  bool is_whole = peer.in.got == peer.in.sent || peer.has_reset;
  if (!is_whole) breach("the end of %d before all its bytes", record.channel);
}

void World::check_closed(Link& link, const Record& record) {
  int error = record.offset;
  bool is_in_order = link.is_reset_asked || (link.is_close_asked && link.has_ended) ||
                     (link.is_close_asked && link.state == State::CONNECTING);
  if (error == 0 && !is_in_order) breach("%d was closed by nobody", record.channel);
  if (error != 0 && !is_expected_error(link, error)) {
    breach("%d ended with %s", record.channel, strerror(error));
  }
  if (error == ENOBUFS) tally_.overflowed++;
  else if (error == ENOMEM) tally_.out_of_memory++;
  else if (error != 0) tally_.failed++;
  else if (link.is_reset_asked) tally_.reset++;
  else tally_.ended_in_order++;
  link.error = error;
  link.has_queue = false;
  // What it was while it lived decides what its peer must find.
  if (link.state == State::CONNECTING) link.is_orphan = true;
  link.state = State::ENDED;
  open_files_--;
  forget_live(link);
}

bool World::is_expected_error(const Link& link, int error) const {
  const Peer& peer = link.peer;
  switch (error) {
    case ENOBUFS:
      return peer.out.sent - peer.out.got > limit_;
    case ENOMEM:
      return failing_memory.failures > 0;
    case ECONNREFUSED:
      return link.state == State::CONNECTING && link.is_refused;
    case ECONNRESET:
    case EPIPE:
      return peer.has_closed || peer.has_reset || link.is_orphan;
    default:
      return false;
  }
}

void World::check_acceptor(const Record& record) {
  bool is_number = record.channel >= 0 && record.channel < ACCEPTORS_MAX;
  if (!is_number || !listeners_[record.channel].is_open) breach("no acceptor %d", record.channel);
  Listener& listener = listeners_[record.channel];
  if (record.word >> 8 != listener.member) breach("another's acceptor %d", record.channel);
  if (kind_of(record.word) == RECORD_ACCEPTED) {
    if (record.offset < 0) breach("accepted the file %d", record.offset);
    tally_.accepted++;
    return;
  }
  if (record.offset != EMFILE) breach("accepting failed: %s", strerror(record.offset));
  listener.has_starved = true;
  tally_.starved++;
}

/** What both sides can see at any time. @param may_grow queues grow by writing, never by events. */
void World::check_all(bool may_grow) {
  double bytes = 0;
  int32_t queues = 0;
  for (size_t index = 0; index < links_.size(); index++) {
    Link& link = links_[index];
    if (link.state == State::FREE) continue;
    auto channel = static_cast<int32_t>(index);
    double queued = queued_[index];
    if (link.is_live() && link.is_reset_asked) breach("%d was reset and lives", channel);
    if ((queued > 0) != link.has_queue) breach("%d has %g bytes queued", channel, queued);
    if (link.is_live() && link.is_to_overflow) breach("%d exceeds the limit and lives", channel);
    if (!may_grow && queued > link.queued) breach("the queue of %d grew by itself", channel);
    if (queued > static_cast<double>(link.peer.out.sent - link.peer.out.got)) {
      breach("%d has more queued than it was asked for", channel);
    }
    bool has_left = link.state == State::OPEN && link.is_close_asked && link.has_ended;
    if (has_left && queued == 0) breach("%d has ended both ways and lives", channel);
    link.queued = queued;
    bytes += queued;
    queues += queued > 0 ? 1 : 0;
  }
  if (counters_[COUNTER_QUEUE_BYTES] != bytes) breach("%g bytes queued in all", bytes);
  if (counters_[COUNTER_QUEUES] != queues) breach("%d queues in all", queues);
  if (counters_[COUNTER_SOCKETS] != open_files_) breach("%d files in all", open_files_);
  if (counters_[COUNTER_INVALID_OPERATIONS] != invalid_) {
    breach("%g invalid operations, expected %g", counters_[COUNTER_INVALID_OPERATIONS], invalid_);
  }
  if (loop_->connections().table().used() != used_) breach("%d channels in all", used_);
}

void World::handle(const RecordList& told, bool is_batch) {
  std::vector<Record> records(told.records, told.records + told.count);
  std::vector<const uint8_t*> expected = expected_;
  for (size_t index = 0; index < records.size(); index++) {
    handle_one(records[index], expected[index]);
    // A flush never calls a member.
    if (is_batch && !is_quiet_wanted_ && prng_.once_in(3)) step();
  }
}

void World::handle_one(const Record& record, const uint8_t* expected) {
  switch (kind_of(record.word)) {
    case RECORD_DATA: {
      // The key of an orphan is not known.
      if (expected == nullptr) return;
      const uint8_t* bytes = receive_.get() + record.offset;
      bool is_right = std::memcmp(bytes, expected, static_cast<size_t>(record.length)) == 0;
      Link& link = links_[static_cast<size_t>(record.channel)];
      if (!is_right && !link.is_orphan) breach("bytes of %d are wrong", record.channel);
      // What a handler most often does that has had enough.
      if (!is_quiet_wanted_ && link.state == State::OPEN && prng_.once_in(16)) {
        append(OPERATION_PAUSE, record.channel, 0, 0);
      }
      return;
    }
    case RECORD_CLOSED: {
      Link& link = links_[static_cast<size_t>(record.channel)];
      link.is_close_told = true;
      bury(link);
      closed_.push_back(record.channel);
      return;
    }
    case RECORD_ACCEPTED:
      on_accepted(record.channel, record.offset);
      return;
    default:
      return;
  }
}

/** Seldom: TCP takes its time. */
void World::sometimes_quiesce() {
  if (!is_handling_ && prng_.once_in(16)) quiesce();
}

/** Everything that is under way arrives. */
void World::quiesce() {
  is_quiet_wanted_ = true;
  bool could_run_out = may_run_out_;
  may_run_out_ = false;
  flush();
  // What reaches those that are paused is not told: it waits for them.
  push();
  for (int32_t channel : std::vector<int32_t>(live_)) append(OPERATION_RESUME, channel, 0, 0);
  retry_acceptors();
  push_until_quiet();
  callers_.clear();
  may_run_out_ = could_run_out;
  is_quiet_wanted_ = false;
}

void World::push_until_quiet() {
  const char* reason = nullptr;
  for (int waited = 0; waited < QUIET_MS_MAX; waited++) {
    // The kernel's other half of loopback runs when it likes.
    if (waited > 2) poll(nullptr, 0, 1);
    push();
    reason = unrest();
    if (reason == nullptr) return;
  }
  describe_restless();
  breach("never: %s", reason);
}

void World::push() {
  flush();
  accept_waiting();
  for (int32_t channel : std::vector<int32_t>(live_)) read_all(channel);
  collect();
  flush();
  sweep_callers();
}

/** Null: nothing is under way any more. */
const char* World::unrest() {
  for (const Caller& caller : callers_) {
    if (caller.peer.fd >= 0) return "a caller is accepted or refused";
  }
  for (int32_t channel : live_) {
    const Link& link = links_[static_cast<size_t>(channel)];
    const char* reason = unrest_of(link, channel);
    restless_ = channel;
    bool has_reset = link.peer.has_reset && !link.is_orphan;
    if (has_reset && link.state == State::OPEN) return "a reset is told once it is read";
    if (reason != nullptr) return reason;
  }
  restless_ = -1;
  return nullptr;
}

/** What both sides and the kernel know of the connection that something was expected of. */
void World::describe_restless() {
  if (restless_ < 0) return;
  const Link& link = links_[static_cast<size_t>(restless_)];
  const Socket& socket = loop_->connections().table().at(restless_);
  int unread = 0;
  int unsent = 0;
  tcp_info info = {};
  socklen_t length = sizeof info;
  if (!link.peer.is_unix) getsockopt(link.fd, IPPROTO_TCP, TCP_INFO, &info, &length);
  pollfd waiting = {link.fd, POLLIN | POLLOUT | POLLRDHUP, 0};
  poll(&waiting, 1, 0);
  ioctl(link.fd, SIOCINQ, &unread);
  if (link.peer.fd >= 0) ioctl(link.peer.fd, SIOCOUTQ, &unsent);
  const Peer& peer = link.peer;
  std::fprintf(stderr, "%d (%s): flags %#x, state %d, poll %#x, %d bytes unread, %d unsent%s%s%s, ",
               restless_, peer.is_unix ? "Unix" : "TCP", static_cast<unsigned>(socket.flags),
               info.tcpi_state, static_cast<unsigned>(waiting.revents), unread, unsent,
               peer.has_shut ? ", shut" : "", peer.has_closed ? ", closed" : "",
               peer.has_reset ? ", reset" : "");
  std::fprintf(stderr, "got %llu of %llu\n", static_cast<unsigned long long>(peer.in.got),
               static_cast<unsigned long long>(peer.in.sent));
}

/**
 * Its peer has closed, and the kernel has nothing to tell of it: of a TCP peer that closed with
 * bytes unsent it sometimes brings neither those nor an end within many seconds.
 */
bool World::is_deserted(const Link& link) {
  if (!link.peer.has_closed || link.peer.is_unix) return false;
  pollfd waiting = {link.fd, POLLIN | POLLRDHUP, 0};
  return poll(&waiting, 1, 0) == 0;
}

const char* World::unrest_of(const Link& link, int32_t channel) {
  const Peer& peer = link.peer;
  if (link.is_orphan || link.is_stuck) return nullptr;
  if (link.is_awaited) return "an outbound connection is accepted";
  if (link.state != State::OPEN) return "an outbound connection opens or fails";
  if (is_deserted(link)) return nullptr;
  if (peer.in.got != peer.in.sent) return "all bytes of a peer arrive";
  bool is_over = peer.has_shut || peer.has_closed;
  if (is_over && !link.has_ended) return "the end of a peer is told";
  if (peer.has_reset) return "a reset is told";
  if (queued_[static_cast<size_t>(channel)] > 0) return "a queue drains";
  bool is_read = peer.has_closed || peer.out.got == peer.out.sent;
  return is_read ? nullptr : "a peer gets all bytes";
}

void World::close_everything() {
  flush();
  for (int32_t channel : std::vector<int32_t>(live_)) {
    Link& link = links_[static_cast<size_t>(channel)];
    link.is_close_appended = true;
    append(OPERATION_CLOSE, channel, 0, 0);
  }
  flush();
  for (int waited = 0; waited < QUIET_MS_MAX && !live_.empty(); waited++) {
    if (waited > 2) poll(nullptr, 0, 1);
    push();
    for (int32_t channel : live_) {
      Link& link = links_[static_cast<size_t>(channel)];
      Peer& peer = link.peer;
      if (waited > DESERTED_MS && is_deserted(link)) append(OPERATION_RESET, channel, 0, 0);
      if (peer.fd >= 0 && !peer.has_shut) ::shutdown(peer.fd, SHUT_WR);
      peer.has_shut = true;
    }
  }
  if (!live_.empty()) breach("never: %d ends in order", live_.front());
}

void World::finish() {
  position.action = "finish";
  quiesce();
  is_quiet_wanted_ = true;
  may_run_out_ = false;
  for (int32_t index = 0; index < ACCEPTORS_MAX; index++) {
    if (listeners_[index].is_open && prng_.once_in(2)) loop_->acceptors().retry(index);
  }
  close_everything();
  while (!closed_.empty()) free_one();
  flush();
  for (int counter : {COUNTER_SOCKETS, COUNTER_QUEUES, COUNTER_QUEUE_BYTES}) {
    if (counters_[static_cast<size_t>(counter)] != 0) breach("counter %d is not 0", counter);
  }
  if (used_ != 0) breach("%d channels are left", used_);
  abandon();
}

void World::abandon() {
  position.action = "abandon";
  tally_.stale_events += static_cast<uint64_t>(counters_[COUNTER_STALE_EVENTS]);
  tally_.invalid_operations += static_cast<uint64_t>(counters_[COUNTER_INVALID_OPERATIONS]);
  tally_.bytes_out += static_cast<uint64_t>(counters_[COUNTER_BYTES_OUT]);
  loop_.reset();
  for (int counter : {COUNTER_SOCKETS, COUNTER_QUEUES, COUNTER_QUEUE_BYTES}) {
    if (counters_[static_cast<size_t>(counter)] != 0) breach("counter %d is not 0", counter);
  }
}

}  // namespace holdfast::fuzz
