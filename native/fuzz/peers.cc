// What the far ends of connections do, well-behaved or not.
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "world.h"

namespace holdfast::fuzz {

namespace {
/** How long an end of TCP may take on loopback. */
constexpr int END_MS_MAX = 5000;
}  // namespace

void World::send_some(Peer& peer, size_t length) {
  if (peer.fd < 0 || peer.has_shut) return;
  const uint8_t* bytes = pattern(peer.in.key, peer.in.sent);
  ssize_t sent = ::send(peer.fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent > 0) peer.in.sent += static_cast<uint64_t>(sent);
}

void World::peer_send() {
  Link* link = pick();
  if (link != nullptr && link->is_peer_well()) send_some(link->peer, random_length());
}

/** More than the receive buffer holds: a batch ends before all its events were looked at. */
void World::peer_burst() {
  for (int32_t channel : live_) {
    Link& link = links_[static_cast<size_t>(channel)];
    if (link.is_peer_well()) send_some(link.peer, 65536);
  }
}

/** @param result bytes, 0 at the end, -errno */
bool World::read_some(Peer& peer, size_t length, int& result) {
  ssize_t got = recv(peer.fd, scratch_.data(), length, MSG_DONTWAIT);
  result = got < 0 ? -errno : static_cast<int>(got);
  if (got <= 0) return false;
  Stream& out = peer.out;
  auto count = static_cast<size_t>(got);
  if (std::memcmp(scratch_.data(), pattern(out.key, out.got), count) != 0) {
    breach("a peer got wrong bytes at %llu", static_cast<unsigned long long>(out.got));
  }
  out.got += count;
  return true;
}

/** Something else than bytes was read. */
void World::check_end(Link& link, int result) {
  if (result == -EAGAIN || !link.is_live() || link.is_orphan) return;
  int32_t channel = channel_of(link);
  const Stream& out = link.peer.out;
  if (result != 0) breach("the peer of %d finds %s", channel, strerror(-result));
  if (!link.is_close_asked) breach("%d sent a FIN that nobody asked for", channel);
  if (out.got != out.sent) breach("%d sent its FIN before its bytes", channel);
}

void World::peer_read() {
  Link* link = pick();
  if (link == nullptr || link->peer.fd < 0 || link->is_awaited) return;
  if (link->peer.is_slow && !prng_.once_in(16)) return;
  int result = 0;
  bool is_more = read_some(link->peer, 1 + prng_.below(65536), result);
  if (!is_more) check_end(*link, result);
}

void World::peer_drain() {
  Link* link = pick();
  if (link == nullptr || (link->peer.is_slow && !prng_.once_in(16))) return;
  read_all(channel_of(*link));
}

void World::read_all(int32_t channel) {
  Link& link = links_[static_cast<size_t>(channel)];
  if (link.peer.fd < 0 || link.is_awaited) return;
  int result = 0;
  while (read_some(link.peer, scratch_.size(), result)) continue;
  check_end(link, result);
  // A Unix socket hands over at once: what was not queued is here.
  const Stream& out = link.peer.out;
  bool is_exact = link.peer.is_unix && link.state == State::OPEN && link.is_peer_well();
  auto missing = static_cast<double>(out.sent - out.got);
  double queued = queued_[static_cast<size_t>(channel)];
  if (is_exact && missing != queued) {
    breach("of %d %g bytes are missing and %g are queued", channel, missing, queued);
  }
}

void World::peer_shut() {
  Link* link = pick();
  if (link == nullptr || !link->is_peer_well()) return;
  ::shutdown(link->peer.fd, SHUT_WR);
  link->peer.has_shut = true;
}

/** With bytes unread, as it comes: then it is a reset. */
void World::peer_close() {
  Link* link = pick();
  if (link != nullptr && link->is_peer_well()) close_peer(link->peer, false);
}

void World::peer_reset() {
  Link* link = pick();
  if (link == nullptr || !link->is_peer_well()) return;
  // With bytes and the reset in one event.
  if (prng_.once_in(2)) send_some(link->peer, random_length());
  close_peer(link->peer, true);
}

void World::close_peer(Peer& peer, bool is_hard) {
  if (peer.fd < 0) return;
  if (is_hard && !peer.is_unix) {
    linger hard = {1, 0};
    setsockopt(peer.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    peer.has_reset = true;
  }
  ::close(peer.fd);
  peer.fd = -1;
  peer.has_closed = true;
}

/** The loop has closed its file: the peer finds all that it must find, and the end. */
void World::bury(Link& link) {
  Peer& peer = link.peer;
  bool is_well = link.is_peer_well();
  if (is_well) {
    int result = 0;
    for (;;) {
      if (read_some(peer, scratch_.size(), result)) continue;
      if (result != -EAGAIN) break;
      pollfd waiting = {peer.fd, POLLIN, 0};
      bool is_over = peer.is_unix || poll(&waiting, 1, END_MS_MAX) == 0;
      if (is_over) breach("%d was told closed and is open", channel_of(link));
    }
    bool is_in_order = link.error == 0 && !link.is_reset_asked && link.is_close_asked;
    if (is_in_order && (result != 0 || peer.out.got != peer.out.sent)) {
      breach("%d ended in order and lost bytes (%d)", channel_of(link), result);
    }
    if (peer.out.got > peer.out.sent) breach("%d sent too much", channel_of(link));
  }
  close_peer(peer, prng_.once_in(2));
}

}  // namespace holdfast::fuzz
