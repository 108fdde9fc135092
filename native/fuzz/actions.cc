// What JavaScript does to a loop, in order and out of order.
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "../tcp_facts.h"
#include "world.h"

namespace holdfast::fuzz {

const std::vector<World::Weighted>& World::actions() {
  static const std::vector<Weighted> all = {
      {&World::write, "write", 300},
      {&World::write_burst, "write burst", 2},
      {&World::write_nothing, "write nothing", 4},
      {&World::pause, "pause", 12},
      {&World::resume, "resume", 16},
      {&World::close, "close", 8},
      {&World::reset, "reset", 5},
      {&World::free_one, "free", 30},
      {&World::flush_action, "flush", 60},
      {&World::collect, "collect", 60},
      {&World::write_outside, "write outside", 4},
      {&World::write_unknown, "unknown operation", 4},
      {&World::free_wrongly, "free an open one", 1},
      {&World::ask, "ask", 3},
      {&World::grow_queued, "grow", 1},
      {&World::sometimes_quiesce, "quiesce", 1},
      {&World::open_pair, "open a pair", 14},
      {&World::call_acceptor, "call an acceptor", 10},
      {&World::connect_tcp, "connect by TCP", 4},
      {&World::connect_unix, "connect to a path", 3},
      {&World::connect_nowhere, "connect to nobody", 2},
      {&World::connect_for_ever, "connect for ever", 1},
      {&World::replace, "replace", 4},
      {&World::adopt_wrongly, "adopt what is none", 1},
      {&World::accept_waiting, "accept", 8},
      {&World::add_acceptor, "add an acceptor", 2},
      {&World::add_inherited, "inherit an acceptor", 1},
      {&World::add_acceptor_wrongly, "listen where it fails", 1},
      {&World::remove_acceptor, "remove an acceptor", 1},
      {&World::retry_acceptors, "retry acceptors", 1},
      {&World::starve, "run out of files", 2},
      {&World::peer_send, "peer sends", 130},
      {&World::peer_burst, "peers send", 1},
      {&World::peer_read, "peer reads", 110},
      {&World::peer_drain, "peer reads all", 20},
      {&World::peer_shut, "peer shuts", 4},
      {&World::peer_close, "peer closes", 4},
      {&World::peer_reset, "peer resets", 3},
  };
  return all;
}

void World::add_slabs() {
  const struct {
    int32_t slot;
    size_t length;
  } sizes[] = {{0, 64}, {1, 1024}, {7, 16384}, {100, 65536}, {200, 262144}, {255, 4096}};
  for (auto [slot, length] : sizes) {
    slabs_.push_back({slot, std::unique_ptr<uint8_t[]>(new uint8_t[length]), length});
    loop_->writer().set_slot(slot, {slabs_.back().memory.get(), length});
  }
}

/** Mostly what messages have, sometimes what fills a socket. */
size_t World::random_length() {
  switch (prng_.below(16)) {
    case 0:
      return 1 + prng_.below(65536);
    case 1:
    case 2:
      return 1 + prng_.below(4096);
    case 3:
      return 1;
    default:
      return 1 + prng_.below(200);
  }
}

void World::append(int32_t word, int32_t channel, int32_t start, int32_t end) {
  if (operation_count_ == OPERATIONS_MAX) flush();
  operations_[static_cast<size_t>(operation_count_++)] = {word, channel, start, end};
}

void World::write() {
  Link* link = pick();
  if (link != nullptr) write_to(channel_of(*link), random_length());
}

void World::write_to(int32_t channel, size_t length) {
  // Flushed first: the bytes are of the position that they will have.
  if (operation_count_ == OPERATIONS_MAX) flush();
  Slab& slab = slabs_[prng_.once_in(4) ? prng_.below(6) : 3];
  if (length > slab.length) length = 1 + prng_.below(static_cast<uint32_t>(slab.length));
  if (slab.used + length > slab.length) flush();
  size_t room = slab.length - slab.used - length;
  size_t gap = prng_.once_in(3) ? prng_.below(9) : 0;
  slab.used += gap < room ? gap : 0;
  Link& link = links_[static_cast<size_t>(channel)];
  size_t start = slab.used;
  slab.used += length;
  std::memcpy(slab.memory.get() + start, pattern(link.peer.out.key, link.asked), length);
  // The last byte of a slab is written as often as the others.
  append(OPERATION_WRITE | (slab.slot << 8), channel, static_cast<int32_t>(start),
         static_cast<int32_t>(start + length));
  bool is_taken =
      link.state == State::OPEN && !link.is_close_appended && !link.is_reset_appended;
  if (is_taken) link.asked += length;
  else if (link.state == State::CONNECTING) flush();
}

/** Many small pieces with gaps: more than one system call takes. */
void World::write_burst() {
  Link* link = pick();
  if (link == nullptr) return;
  int32_t channel = channel_of(*link);
  uint32_t pieces = 50 + prng_.below(200);
  for (uint32_t piece = 0; piece < pieces; piece++) {
    write_to(channel, 1 + prng_.below(60));
    if (!links_[static_cast<size_t>(channel)].is_live()) return;
  }
}

void World::write_nothing() {
  Link* link = pick();
  if (link == nullptr) return;
  const Slab& slab = slabs_[prng_.below(6)];
  auto at = static_cast<int32_t>(prng_.below(static_cast<uint32_t>(slab.length) + 1));
  append(OPERATION_WRITE | (slab.slot << 8), channel_of(*link), at, at);
}

void World::pause() {
  Link* link = pick();
  if (link == nullptr) return;
  append(OPERATION_PAUSE, channel_of(*link), 0, 0);
  if (link->state == State::CONNECTING) flush();
}

void World::resume() {
  Link* link = pick();
  if (link != nullptr) append(OPERATION_RESUME, channel_of(*link), 0, 0);
}

void World::close() {
  Link* link = pick();
  if (link == nullptr) return;
  link->is_close_appended = true;
  append(OPERATION_CLOSE, channel_of(*link), 0, 0);
}

void World::reset() {
  Link* link = pick();
  if (link == nullptr) return;
  link->is_reset_appended = true;
  append(OPERATION_RESET, channel_of(*link), 0, 0);
}

/** In any order, and long after they were told. */
void World::free_one() {
  if (closed_.empty()) return;
  size_t at = prng_.below(static_cast<uint32_t>(closed_.size()));
  int32_t channel = closed_[at];
  closed_[at] = closed_.back();
  closed_.pop_back();
  links_[static_cast<size_t>(channel)].is_free_appended = true;
  append(OPERATION_FREE, channel, 0, 0);
  // Nothing of what follows may be carried out.
  if (!prng_.once_in(20)) return;
  append(OPERATION_FREE, channel, 0, 0);
  append(OPERATION_RESUME, channel, 0, 0);
  append(OPERATION_CLOSE, channel, 0, 0);
}

void World::write_outside() {
  Link* link = pick();
  if (link == nullptr) return;
  const Slab& slab = slabs_[prng_.below(6)];
  auto length = static_cast<int32_t>(slab.length);
  const struct {
    int32_t slot, start, end;
  } wrong[] = {
      {slab.slot, -1, 5},
      {slab.slot, 0, length + 1},
      {slab.slot, length, length + 1},
      {slab.slot, 9, 3},
      {slab.slot, INT32_MIN, INT32_MAX},
      {slab.slot, INT32_MAX, INT32_MIN},
      {slab.slot, 0, -1},
      // A slot that was never set has no bytes.
      {3, 0, 1},
      {254, 0, INT32_MAX},
      {SLOTS_MAX, 0, 1},
      {INT32_MAX >> 8, 0, 1},
      {-1, 0, 1},
      {INT32_MIN >> 8, 0, 1},
  };
  auto [slot, start, end] = wrong[prng_.below(sizeof wrong / sizeof wrong[0])];
  auto word = static_cast<int32_t>(static_cast<uint32_t>(slot) << 8);
  append(OPERATION_WRITE | word, channel_of(*link), start, end);
}

void World::write_unknown() {
  auto count = static_cast<int32_t>(links_.size());
  const int32_t channels[] = {-1, count, count + 1, INT32_MIN, INT32_MAX, 0, last_channel_};
  const int32_t kinds[] = {6, 7, 99, 255, static_cast<int32_t>(0xffffff00u) | 77};
  int32_t channel = channels[prng_.below(7)];
  if (channel == 0 || channel == last_channel_) append(kinds[prng_.below(5)], channel, 0, 0);
  else append(static_cast<int32_t>(prng_.below(8)), channel, 0, 0);
  // A channel that is none now may be one when it is flushed.
  flush();
}

void World::free_wrongly() {
  flush();
  Link* link = pick();
  if (link == nullptr || !link->is_peer_well() || !link->is_live()) return;
  append(OPERATION_FREE, channel_of(*link), 0, 0);
  flush();
}

void World::ask() {
  const int32_t numbers[] = {-1, ACCEPTORS_MAX, INT32_MAX, INT32_MIN};
  int32_t number = numbers[prng_.below(4)];
  loop_->acceptors().remove(number);
  loop_->acceptors().retry(number);
  if (loop_->acceptors().fd_of(number) != -1) breach("acceptor %d has a file", number);
  if (loop_->connections().table().get(number) != nullptr && number != ACCEPTORS_MAX) {
    breach("there is a channel %d", number);
  }
  Link* link = pick();
  if (link == nullptr) return;
  Address address;
  char text[ADDRESS_TEXT_MAX];
  double facts[TCP_FACTS];
  if (local_address(link->fd, address) == 0) format_address(address, text);
  if (remote_address(link->fd, address) == 0) format_address(address, text);
  bool is_known = read_tcp_facts(link->fd, facts) == 0;
  if (is_known == link->peer.is_unix && !link->is_orphan) breach("TCP_INFO of the wrong kind");
}

void World::grow_queued() {
  if (prng_.once_in(2) && used_ > 1) {
    // Too short for the channels that there are: refused, or it would be written beyond its end.
    int32_t length = loop_->connections().table().size() - 1;
    std::unique_ptr<double[]> shorter(new double[1]);
    if (loop_->set_queued(shorter.get(), length)) breach("an array of %d is taken", length);
    return;
  }
  int32_t length = queued_length_ + 1 + static_cast<int32_t>(prng_.below(64));
  std::unique_ptr<double[]> larger(new double[static_cast<size_t>(length)]);
  std::memcpy(larger.get(), queued_.get(), sizeof(double) * static_cast<size_t>(queued_length_));
  queued_ = std::move(larger);
  queued_length_ = length;
  loop_->set_queued(queued_.get(), length);
}

}  // namespace holdfast::fuzz
