#include "socket_table.h"

#include <cstdlib>
#include <cstring>

namespace holdfast {

namespace {
constexpr int32_t FIRST_CAPACITY = 64;
}

SocketTable::~SocketTable() { std::free(sockets_); }

bool SocketTable::grow() {
  int32_t capacity = capacity_ == 0 ? FIRST_CAPACITY : capacity_ * 2;
  void* memory = std::realloc(sockets_, sizeof(Socket) * static_cast<size_t>(capacity));
  if (memory == nullptr) return false;
  sockets_ = static_cast<Socket*>(memory);
  capacity_ = capacity;
  return true;
}

int32_t SocketTable::add(int32_t fd, uint8_t member, Phase phase) {
  int32_t channel = first_free_;
  if (channel == -1) {
    if (size_ == capacity_ && !grow()) return -1;
    channel = size_++;
    sockets_[channel].generation = 0;
  } else {
    first_free_ = sockets_[channel].first_operation;
  }
  Socket& socket = sockets_[channel];
  socket.fd = fd;
  socket.queue = nullptr;
  socket.first_operation = -1;
  socket.last_operation = -1;
  socket.phase = phase;
  socket.flags = 0;
  socket.member = member;
  used_++;
  return channel;
}

void SocketTable::free(int32_t channel) {
  Socket& socket = sockets_[channel];
  socket.phase = PHASE_FREE;
  socket.fd = -1;
  socket.generation++;
  socket.first_operation = first_free_;
  first_free_ = channel;
  used_--;
}

Socket* SocketTable::get(int32_t channel) {
  if (channel < 0 || channel >= size_) return nullptr;
  Socket& socket = sockets_[channel];
  return socket.phase == PHASE_FREE ? nullptr : &socket;
}

}  // namespace holdfast
