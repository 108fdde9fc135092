#include "connections.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <new>

namespace holdfast {

namespace {

/** RDHUP and PRI: a read that falls short is not the last one then. */
constexpr uint32_t EVENTS_IN = EPOLLIN | EPOLLRDHUP | EPOLLPRI | EPOLLET;
constexpr uint32_t EVENTS_OUT = EVENTS_IN | EPOLLOUT;
constexpr uint32_t ENDS = EPOLLRDHUP | EPOLLHUP | EPOLLERR;

bool is_unix(int fd) {
  int domain = 0;
  socklen_t length = sizeof domain;
  return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 && domain == AF_UNIX;
}

int pending_error(int fd) {
  int error = 0;
  socklen_t length = sizeof error;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return errno;
  return error;
}

size_t total_of(const iovec* pieces, int count) {
  size_t total = 0;
  for (int index = 0; index < count; index++) total += pieces[index].iov_len;
  return total;
}

// recv() and send() are cancellation points of threads, which costs 2% of an echo. Sanitizers check
// the memory of those that they know.
#if defined(__SANITIZE_ADDRESS__)
ssize_t receive(int fd, void* bytes, size_t length) { return recv(fd, bytes, length, MSG_DONTWAIT); }

ssize_t transmit(int fd, const void* bytes, size_t length, int flags) {
  return send(fd, bytes, length, flags);
}
#else
ssize_t receive(int fd, void* bytes, size_t length) {
  return syscall(SYS_recvfrom, fd, bytes, length, MSG_DONTWAIT, nullptr, nullptr);
}

ssize_t transmit(int fd, const void* bytes, size_t length, int flags) {
  return syscall(SYS_sendto, fd, bytes, length, flags, nullptr, 0);
}
#endif

/** MSG_NOSIGNAL: whoever embeds us may not ignore SIGPIPE. */
ssize_t send_pieces(int fd, iovec* pieces, int count) {
  for (;;) {
    ssize_t sent;
    if (count == 1) {
      sent = transmit(fd, pieces[0].iov_base, pieces[0].iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
    } else {
      msghdr message = {};
      message.msg_iov = pieces;
      message.msg_iovlen = static_cast<size_t>(count);
      sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    if (sent >= 0 || errno != EINTR) return sent;
  }
}

}  // namespace

Connections::~Connections() { abandon_all(); }

int32_t Connections::add(int fd, uint8_t member, Phase phase) {
  int32_t channel = table_.add(fd, member, phase);
  if (channel < 0) return -ENOMEM;
  if (channel >= shared_.queued_length) {
    table_.free(channel);
    return -ENOSPC;
  }
  Socket& socket = table_.at(channel);
  bool is_connecting = phase == PHASE_CONNECTING;
  if (is_connecting) socket.flags |= SOCKET_WATCHES_OUT;
  // A message that carries files ends a read of a Unix socket.
  if (is_unix(fd)) socket.flags |= SOCKET_READ_TO_END;
  epoll_event event = {};
  event.events = is_connecting ? EVENTS_OUT : EVENTS_IN;
  event.data.u64 = event_key(channel, socket.generation);
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0) {
    int error = errno;
    table_.free(channel);
    return -error;
  }
  set_queued(channel, 0);
  count(COUNTER_SOCKETS, 1);
  return channel;
}

void Connections::on_event(int32_t channel, uint32_t events, RecordList& told) {
  if (table_.at(channel).phase == PHASE_CONNECTING) on_connecting(channel, events, told);
  Socket& socket = table_.at(channel);
  if (socket.phase != PHASE_OPEN) return;
  if ((events & EPOLLOUT) != 0) drain(channel, told);
  if (socket.phase != PHASE_OPEN || (events & (EPOLLIN | EPOLLPRI | ENDS)) == 0) return;
  if ((events & (EPOLLPRI | ENDS)) != 0) socket.flags |= SOCKET_READ_TO_END;
  socket.flags |= SOCKET_READABLE;
  // One that is paused finds out when it is resumed: what came before a reset is told before it.
  // One that is listed has its turn there: it must not get two.
  if ((socket.flags & (SOCKET_PAUSED | SOCKET_LISTED)) == 0) on_readable(channel, told);
}

void Connections::on_readable(int32_t channel, RecordList& told) {
  Socket& socket = table_.at(channel);
  if ((socket.flags & SOCKET_PEER_ENDED) == 0) {
    read(channel, told);
    return;
  }
  // After its FIN only a reset can come, which no read would tell of.
  socket.flags &= static_cast<uint8_t>(~SOCKET_READABLE);
  int error = pending_error(socket.fd);
  if (error != 0) end(channel, error, told);
}

void Connections::on_connecting(int32_t channel, uint32_t events, RecordList& told) {
  Socket& socket = table_.at(channel);
  int error = pending_error(socket.fd);
  if (error != 0) {
    end(channel, error, told);
  } else if ((events & EPOLLOUT) != 0) {
    socket.phase = PHASE_OPEN;
    count(COUNTER_CONNECTS, 1);
    told.add(RECORD_CONNECTED, socket.member, channel, 0, 0);
  } else if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
    end(channel, ECONNRESET, told);
  }
}

void Connections::on_ready(int32_t channel, RecordList& told) {
  Socket& socket = table_.at(channel);
  socket.flags &= static_cast<uint8_t>(~SOCKET_LISTED);
  bool is_readable = (socket.flags & (SOCKET_READABLE | SOCKET_PAUSED)) == SOCKET_READABLE;
  if (is_readable) on_readable(channel, told);
}

/** Lists it, where there is something to read and nothing against it. */
void Connections::want_read(int32_t channel) {
  Socket& socket = table_.at(channel);
  if ((socket.flags & SOCKET_READABLE) == 0 || (socket.flags & SOCKET_LISTED) != 0) return;
  // Without memory for its place it waits for the peer's next bytes, or for its deadline.
  if (ready_.push(event_key(channel, socket.generation))) socket.flags |= SOCKET_LISTED;
}

/** One read: what it leaves comes after everybody else had a turn. */
void Connections::read(int32_t channel, RecordList& told) {
  Socket& socket = table_.at(channel);
  ssize_t length = receive(socket.fd, shared_.receive + received_, READ_BYTES_MAX);
  count(COUNTER_READS, 1);
  if (length > 0) {
    told.add(RECORD_DATA, socket.member, channel, received_, static_cast<int32_t>(length));
    received_ += static_cast<int32_t>(length);
    count(COUNTER_BYTES_IN, static_cast<double>(length));
    bool is_last = length < READ_BYTES_MAX && (socket.flags & SOCKET_READ_TO_END) == 0;
    if (is_last) socket.flags &= static_cast<uint8_t>(~SOCKET_READABLE);
    else want_read(channel);
  } else if (length == 0) {
    socket.flags |= SOCKET_PEER_ENDED;
    socket.flags &= static_cast<uint8_t>(~SOCKET_READABLE);
    told.add(RECORD_END, socket.member, channel, 0, 0);
    if ((socket.flags & SOCKET_SHUT) != 0) {
      end(channel, 0, told);
      return;
    }
    // A reset that came before the FIN was read hides behind it, and its event may be over.
    int error = pending_error(socket.fd);
    if (error != 0) end(channel, error, told);
  } else if (errno == EAGAIN) {
    socket.flags &= static_cast<uint8_t>(~SOCKET_READABLE);
    count(COUNTER_READ_AGAIN, 1);
  } else if (errno == EINTR) {
    want_read(channel);
  } else {
    end(channel, errno, told);
  }
}

void Connections::write(int32_t channel, iovec* pieces, int piece_count, RecordList& told) {
  Socket& socket = table_.at(channel);
  if (socket.queue != nullptr) {
    enqueue(channel, pieces, piece_count, 0, told);
    return;
  }
  ssize_t sent = send_pieces(socket.fd, pieces, piece_count);
  count(COUNTER_WRITES, 1);
  if (sent < 0) {
    if (errno != EAGAIN) {
      end(channel, errno, told);
      return;
    }
    sent = 0;
  }
  count(COUNTER_BYTES_OUT, static_cast<double>(sent));
  if (static_cast<size_t>(sent) == total_of(pieces, piece_count)) return;
  count(COUNTER_WRITE_AGAIN, 1);
  enqueue(channel, pieces, piece_count, static_cast<size_t>(sent), told);
}

void Connections::enqueue(int32_t channel, const iovec* pieces, int piece_count, size_t sent,
                          RecordList& told) {
  Socket& socket = table_.at(channel);
  bool is_first = socket.queue == nullptr;
  if (is_first) {
    socket.queue = new (std::nothrow) OutputQueue();
    if (socket.queue == nullptr) {
      end(channel, ENOMEM, told);
      return;
    }
    count(COUNTER_QUEUES, 1);
  }
  size_t before = socket.queue->size();
  if (before > queue_bytes_max_) {
    end(channel, ENOBUFS, told);
    return;
  }
  size_t skipped = sent;
  int error = 0;
  for (int index = 0; index < piece_count && error == 0; index++) {
    const iovec& piece = pieces[index];
    size_t begin = skipped < piece.iov_len ? skipped : piece.iov_len;
    skipped -= begin;
    const auto* bytes = static_cast<const uint8_t*>(piece.iov_base);
    if (!socket.queue->append(bytes + begin, piece.iov_len - begin)) error = ENOMEM;
  }
  size_t size = socket.queue->size();
  count(COUNTER_QUEUE_BYTES, static_cast<double>(size - before));
  if (error != 0) {
    end(channel, error, told);
    return;
  }
  set_queued(channel, static_cast<double>(size));
  if (!is_first) return;
  told.add(RECORD_QUEUED, socket.member, channel, 0, 0);
  if ((socket.flags & SOCKET_WATCHES_OUT) == 0) watch_out(channel);
}

void Connections::drain(int32_t channel, RecordList& told) {
  Socket& socket = table_.at(channel);
  if (socket.queue == nullptr) return;
  iovec piece = {const_cast<uint8_t*>(socket.queue->data()), socket.queue->size()};
  ssize_t sent = send_pieces(socket.fd, &piece, 1);
  count(COUNTER_WRITES, 1);
  if (sent < 0) {
    if (errno == EAGAIN) count(COUNTER_WRITE_AGAIN, 1);
    else end(channel, errno, told);
    return;
  }
  count(COUNTER_BYTES_OUT, static_cast<double>(sent));
  count(COUNTER_QUEUE_BYTES, -static_cast<double>(sent));
  socket.queue->consume(static_cast<size_t>(sent));
  size_t left = socket.queue->size();
  set_queued(channel, static_cast<double>(left));
  if (left > 0) {
    count(COUNTER_WRITE_AGAIN, 1);
    return;
  }
  drop_queue(socket, channel);
  told.add(RECORD_DRAIN, socket.member, channel, 0, 0);
  if ((socket.flags & SOCKET_CLOSE_ASKED) != 0) shut(channel, told);
}

void Connections::pause(int32_t channel) {
  Socket& socket = table_.at(channel);
  // Once it is to end, the peer's end must be heard.
  if (socket.phase != PHASE_OPEN || (socket.flags & SOCKET_CLOSE_ASKED) != 0) return;
  socket.flags |= SOCKET_PAUSED;
}

void Connections::resume(int32_t channel) {
  Socket& socket = table_.at(channel);
  if (socket.phase != PHASE_OPEN || (socket.flags & SOCKET_PAUSED) == 0) return;
  socket.flags &= static_cast<uint8_t>(~SOCKET_PAUSED);
  want_read(channel);
}

void Connections::close(int32_t channel, RecordList& told) {
  Socket& socket = table_.at(channel);
  if (socket.phase == PHASE_CONNECTING) {
    end(channel, 0, told);
    return;
  }
  if (socket.phase != PHASE_OPEN || (socket.flags & SOCKET_CLOSE_ASKED) != 0) return;
  socket.flags |= SOCKET_CLOSE_ASKED;
  socket.flags &= static_cast<uint8_t>(~SOCKET_PAUSED);
  if (socket.queue == nullptr) shut(channel, told);
  if (socket.phase == PHASE_OPEN) want_read(channel);
}

void Connections::shut(int32_t channel, RecordList& told) {
  Socket& socket = table_.at(channel);
  socket.flags |= SOCKET_SHUT;
  // It fails where the peer has reset already: the read that follows tells how it ended.
  ::shutdown(socket.fd, SHUT_WR);
  if ((socket.flags & SOCKET_PEER_ENDED) != 0) end(channel, 0, told);
}

void Connections::reset(int32_t channel, RecordList& told) {
  Socket& socket = table_.at(channel);
  if (socket.phase != PHASE_OPEN && socket.phase != PHASE_CONNECTING) return;
  linger hard = {1, 0};
  setsockopt(socket.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  end(channel, 0, told);
}

void Connections::end(int32_t channel, int error, RecordList& told) {
  Socket& socket = table_.at(channel);
  ::close(socket.fd);
  socket.fd = -1;
  socket.phase = PHASE_ENDED;
  count(COUNTER_SOCKETS, -1);
  if (socket.queue != nullptr) {
    count(COUNTER_QUEUE_BYTES, -static_cast<double>(socket.queue->size()));
    drop_queue(socket, channel);
  }
  told.add(RECORD_CLOSED, socket.member, channel, error, 0);
}

void Connections::drop_queue(Socket& socket, int32_t channel) {
  delete socket.queue;
  socket.queue = nullptr;
  count(COUNTER_QUEUES, -1);
  set_queued(channel, 0);
}

void Connections::free(int32_t channel) {
  Socket* socket = table_.get(channel);
  if (socket == nullptr || socket->phase != PHASE_ENDED) {
    count(COUNTER_INVALID_OPERATIONS, 1);
    return;
  }
  table_.free(channel);
}

void Connections::abandon_all() {
  for (int32_t channel = 0; channel < table_.size(); channel++) {
    Socket* socket = table_.get(channel);
    if (socket == nullptr) continue;
    // An array of JavaScript's for the sizes may have gone already; the counters live with the loop.
    if (socket->queue != nullptr) {
      count(COUNTER_QUEUE_BYTES, -static_cast<double>(socket->queue->size()));
      count(COUNTER_QUEUES, -1);
      delete socket->queue;
      socket->queue = nullptr;
    }
    if (socket->fd >= 0) {
      count(COUNTER_SOCKETS, -1);
      ::close(socket->fd);
      socket->fd = -1;
    }
    table_.free(channel);
  }
}

/**
 * The first time that something is queued: from then on for good, since under an edge trigger it
 * costs nothing while nothing is queued. If it has become writable meanwhile, epoll says so now.
 */
void Connections::watch_out(int32_t channel) {
  Socket& socket = table_.at(channel);
  epoll_event event = {};
  event.events = EVENTS_OUT;
  event.data.u64 = event_key(channel, socket.generation);
  epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, socket.fd, &event);
  socket.flags |= SOCKET_WATCHES_OUT;
}

void Connections::set_queued(int32_t channel, double bytes) { shared_.queued[channel] = bytes; }

}  // namespace holdfast
